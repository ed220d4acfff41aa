"""The hooks by which a search informs whatever watches it: a progress display, a tracker, a log."""

from __future__ import annotations

from collections.abc import Sequence

from searchhub.result import SearchResult
from searchhub.trial import Trial, TrialResult


class SearchCallback:
    """Receives the events of a search. A subclass overrides the methods it needs.

    The hooks are called on the main process only, so they must not communicate between processes. An error in a
    callback ends the search; what was saved stays saved.
    """

    def on_search_start(self, total: int, done: int, best: float | None) -> None:
        """The search begins or goes on.

        Args:
            total: How many trials the whole search takes.
            done: How many of them a run folder already holds.
            best: The best score among those; None: there is none yet.
        """

    def on_proposal_start(self, trials: Sequence[Trial]) -> None:
        """Trials begin that train shared weights together, before each of them is scored."""

    def on_trial_start(self, trial: Trial) -> None:
        """A trial begins."""

    def on_trial_end(self, result: TrialResult, done: int, total: int, best: float | None) -> None:
        """A trial has ended and, if there is a run folder, is saved; `best` is None while weights are warmed up."""

    def on_search_end(self, result: SearchResult) -> None:
        """All trials are done, or a run was found finished."""

    def on_message(self, text: str) -> None:
        """There is something that a person should know, e.g. that a damaged checkpoint was skipped."""
