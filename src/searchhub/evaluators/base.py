"""Defines how `search()` asks whatever trains networks, or looks up scores, how good an architecture is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from searchhub.distribution import ArchitectureDistribution
from searchhub.trial import Trial, TrialResult

T = TypeVar("T")


class Evaluator(ABC):
    """Scores trials. A subclass implements `__call__`, and the rest if it has state or several processes."""

    @abstractmethod
    def __call__(self, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        """Yields one result per trial, in order, each as soon as it is known.

        The result of a trial must depend only on the evaluator's saved state and the trial, not on what ran before in
        this process: this makes a resumed search bit-identical.
        """

    scores_untrained: bool = False
    """Whether it takes trials of no budget (`searchhub.trial.SCORED`), which score shared weights as they are."""

    # -- proposals ----------------------------------------------------------------------------------------------------

    @property
    def whole_proposals(self) -> bool:
        """Whether the trials of one call are one piece of work, so that there is nothing to save between them."""
        return False

    def sample_from(self, distribution: ArchitectureDistribution) -> None:
        """Hears, before each call with trials, from which distribution paths to train may be drawn.

        `search` calls it on every process if proposals are whole.
        """

    # -- resume -------------------------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decides the scores (data, model, settings, seed), as plain JSON. It is compared on resume."""
        return {"evaluator": type(self).__name__}

    @property
    def environment(self) -> dict[str, Any]:
        """What bit-identity needs beyond `config`: processes, threads, device. It is compared on resume."""
        return {}

    def save(self, folder: Path) -> None:
        """Writes all state as plain files (safetensors, JSON) into an empty folder. Called on the main process only."""

    @property
    def earlier(self) -> dict[str, Any]:
        """What settings that `config` leaves out at some value have then, by name, for the error of a resume."""
        return {}

    def load(self, folder: Path) -> None:
        """Restores what `save` wrote. Called on every process."""

    # -- several processes --------------------------------------------------------------------------------------------

    @property
    def is_main_process(self) -> bool:
        """Whether this process asks the searcher and writes files."""
        return True

    def broadcast(self, value: T) -> T:
        """Returns the main process's value, on every process."""
        return value
