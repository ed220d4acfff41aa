"""The loop that joins a searcher and an evaluator: ask, evaluate, tell. It runs on several processes, and resumes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from searchhub.callbacks.base import SearchCallback
from searchhub.checkpoints import Checkpoint
from searchhub.distributed import OnMain
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InvalidInputError, RunFolderError
from searchhub.evaluators.base import Evaluator
from searchhub.result import SearchResult
from searchhub.run_folder import RunFolder
from searchhub.searchers.base import Searcher
from searchhub.trial import Trial, TrialResult, most_trained

logger = logging.getLogger(__name__)


def search(
    searcher: Searcher,
    evaluator: Evaluator,
    *,
    run_dir: str | Path | None = None,
    callbacks: Sequence[SearchCallback] = (),
    config: Mapping[str, Any] | None = None,
) -> SearchResult:
    """Runs a search to its end, or continues one.

    With `run_dir`, every finished trial is saved, or every finished proposal where its trials are one piece of work
    (`Evaluator.whole_proposals`). The same call after a crash, a kill or Ctrl-C goes on from the last
    good checkpoint, to the same bits as a search that was never interrupted. On a finished run it returns the result at
    once, with the evaluator as it was at the end.

    If there are several processes, each makes this call, with an evaluator that shares their work. The main process
    owns the searcher and the folder, and all get the same result or the same error.

    1. A checkpoint that is damaged, or that the journal does not fit, is skipped, and `on_message` says so.
    2. Without callbacks, messages are logged as warnings.
    3. The metrics of a trial must be finite numbers, because they are written as JSON.

    >>> result = search(RandomSearcher(space, num_trials=20), evaluator)  # doctest: +SKIP

    Args:
        searcher: Decides what to try. It must have no trials yet if the run folder is new.
        evaluator: Tells how good each architecture is.
        run_dir: Folder of the run: new, empty or of the same search. None: everything stays in memory.
        callbacks: Callbacks that are informed of events, on the main process.
        config: Further settings that decide the outcome, as plain JSON. They are frozen in the folder and compared on
            resume.

    Returns:
        θ, survivors and history: what result.json holds, on every process.

    Raises:
        RunMismatchError: The folder was started with other settings, data, space, processes or threads.
        RunFolderError: The folder is in use or damaged, does not hold a run, or cannot be written to.
        InvalidInputError: The evaluator did not give exactly one usable result per trial.
    """
    run = _Run(searcher, evaluator, None if run_dir is None else Path(run_dir), callbacks)
    on_main = OnMain(evaluator)
    try:
        checkpoint = on_main(partial(run.open, config or {}))
        if checkpoint is not None:
            evaluator.load(Path(checkpoint))
        on_main(run.start)
        while True:
            asked, sampling = on_main(run.ask)
            trials = [Trial.from_dict(t) for t in asked]
            if not trials:
                break
            if sampling is not None:
                evaluator.sample_from(ArchitectureDistribution.from_dict(searcher.space, sampling))
            done = 0
            for result in evaluator(trials):
                on_main(partial(run.record, result))
                done += 1
            if done != len(trials):
                raise InvalidInputError(
                    f"An evaluator must give one result a trial: {len(trials)} asked, {done} given."
                )
        return SearchResult.from_dict(on_main(run.finish))
    except KeyboardInterrupt:
        run.interrupted()
        raise
    finally:
        run.close()


class _Run:
    """Owns the searcher, the folder and the callbacks on the main process. On the others it does nothing."""

    def __init__(
        self, searcher: Searcher, evaluator: Evaluator, path: Path | None, callbacks: Sequence[SearchCallback]
    ) -> None:
        self._searcher = searcher
        self._evaluator = evaluator
        self._path = path
        self._callbacks = tuple(callbacks)
        self._folder: RunFolder | None = None
        self._waiting: list[Trial] = []

    # -- in the order in which they are called ------------------------------------------------------------------------

    def open(self, config: Mapping[str, Any]) -> str | None:
        """Opens the folder and restores the searcher; returns the checkpoint from which to load the evaluator."""
        if self._path is None:
            return None
        searcher, evaluator = self._searcher, self._evaluator
        settings = {
            "space": {"name": searcher.space.name, "fingerprint": searcher.space.fingerprint()},
            "searcher": searcher.config,
            "evaluator": evaluator.config,
            "environment": evaluator.environment,
            "config": dict(config),
        }
        earlier: dict[str, Any] = {"searcher.scored": 0}
        earlier |= {f"evaluator.{name}": value for name, value in evaluator.earlier.items()}
        self._folder = RunFolder(self._path, settings, self._say, earlier)
        checkpoint = self._folder.restore()
        if checkpoint is None:
            if searcher.history:
                raise InvalidInputError(
                    f"A new run folder needs a searcher without trials, but this one has {len(searcher.history)}: a "
                    "killed run could not be repeated from its start. Make a new searcher."
                )
            return None
        try:
            searcher.load_state_dict(self._whole_state(checkpoint, self._folder))
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(
                f"`{checkpoint.path}` must hold the state of a {type(searcher).__name__}, but that cannot be read "
                f"({error!r}). Go on with the version of searchhub named in config.yaml, or choose another folder."
            ) from error
        return str(checkpoint.path)

    def _whole_state(self, checkpoint: Checkpoint, folder: RunFolder) -> dict[str, Any]:
        """Returns a checkpoint's state of the searcher together with the history, which is in the journal."""
        state = checkpoint.searcher_state()
        if "history" not in state:  # checkpoints of earlier versions hold it, and their journals no budgets
            budget = self._searcher.budget_in
            state["history"] = [{"budget": budget(line["round"]).to_dict(), **line} for line in folder.lines()]
        return state

    def start(self) -> None:
        self._tell("on_search_start", self._searcher.num_trials, len(self._searcher.history), self._best())

    def ask(self) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        """Returns the next trials, and the distribution to draw paths from, as plain JSON for every process."""
        self._waiting = list(self._searcher.ask())
        self._announce_next()
        if self._waiting and self._evaluator.whole_proposals:
            self._tell("on_proposal_start", tuple(self._waiting))
        sampling = self._searcher.sampling.to_dict() if self._waiting and self._evaluator.whole_proposals else None
        return [trial.to_dict() for trial in self._waiting], sampling

    def record(self, result: TrialResult) -> None:
        """Tells the searcher, then saves."""
        line = _journal_line(result)
        self._searcher.tell([result])
        self._waiting.pop(0)
        if self._folder is not None:
            # The history is left out, because the journal holds it: a checkpoint of thousands of trials stays small.
            # What a whole proposal trained lies before its first score, so a checkpoint comes after its last.
            if self._waiting and self._evaluator.whole_proposals:
                self._folder.note(line)
            else:
                state = {name: value for name, value in self._searcher.state_dict().items() if name != "history"}
                self._folder.record(line, state, self._evaluator.save)
        done, total = len(self._searcher.history), self._searcher.num_trials
        self._tell("on_trial_end", result, done, total, self._best())
        self._announce_next()

    def finish(self) -> dict[str, Any]:
        result = self._searcher.result()
        if self._folder is not None:
            result = self._folder.finish(result)
        self._tell("on_search_end", result)
        return result.to_dict()

    def interrupted(self) -> None:
        if not self._evaluator.is_main_process:
            return
        total = self._searcher.num_trials
        if self._folder is None:
            self._say(f"Interrupted: {len(self._searcher.history)} of {total} trials were done; none are saved.")
        else:
            self._say(
                f"Interrupted: {self._folder.saved} of {total} trials are saved in `{self._path}`. "
                "Run the same command again to go on."
            )

    def close(self) -> None:
        if self._folder is not None:
            self._folder.close()

    # -- telling ------------------------------------------------------------------------------------------------------

    def _best(self) -> float | None:
        return max((r.score for r in most_trained(self._searcher.history)), default=None)

    def _announce_next(self) -> None:
        if self._waiting:
            self._tell("on_trial_start", self._waiting[0])

    def _tell(self, event: str, *values: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, event)(*values)

    def _say(self, text: str) -> None:
        logger.log(logging.INFO if self._callbacks else logging.WARNING, text)
        self._tell("on_message", text)


def _journal_line(result: TrialResult) -> dict[str, Any]:
    line = {**result.to_dict(), "time": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    try:
        json.dumps(line, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"Score and metrics of a trial must be finite numbers (Python's own), but trial {result.trial.number} has "
            f"score {result.score!r} and metrics {dict(result.metrics)!r}: {error}."
        ) from error
    return line
