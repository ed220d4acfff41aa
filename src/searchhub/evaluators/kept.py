"""Keeps results in a folder of their own, so that what is done with them can change without losing them."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from searchhub.distributed import OnMain
from searchhub.errors import InvalidInputError, RunFolderError
from searchhub.evaluators.base import Evaluator
from searchhub.journal import Journal, Mark
from searchhub.run_folder import JOURNAL, RUN_CONFIG, RunFolder
from searchhub.trial import Trial, TrialResult

T = TypeVar("T")

logger = logging.getLogger(__name__)


class KeptEvaluator(Evaluator):
    """Writes every result of another evaluator into a folder, and reads it there when the same trial comes again.

    The folder is like a run's: it holds config.yaml with the settings of that evaluator alone, and a journal with one
    line per result. A search that uses it may end, or start with other settings in another folder, and no trial is
    lost. For example, DC-NAS divides the same early-stopped networks into another number of clusters.

    1. Trials are the same if number, architecture, budget and round are the same.
    2. A killed process leaves at most a torn line, which is dropped.

    >>> with KeptEvaluator(ScratchEvaluator(...), "runs/a/early") as kept:  # doctest: +SKIP
    ...     search(searcher, kept, run_dir="runs/a")

    Args:
        evaluator: Evaluator whose results depend on the trial alone.
        path: Path of the folder, which is locked as long as the `with` block lasts. It is made if there is none.
        take_from: Another such folder with the same settings. Its results are copied first, and it is left as it is.
    """

    def __init__(self, evaluator: Evaluator, path: str | Path, *, take_from: str | Path | None = None) -> None:
        self.evaluator = evaluator
        self.path = Path(path)
        self.take_from = None if take_from is None else Path(take_from)
        self._folder: RunFolder | None = None
        self._journal: Journal | None = None
        self._kept: dict[Trial, TrialResult] = {}

    def __enter__(self) -> KeptEvaluator:
        """Opens and locks the folder.

        Raises:
            InvalidInputError: There is no folder to take results from.
            RunMismatchError: One of them holds results of other settings.
            RunFolderError: One of them is in use, damaged, something else, or cannot be written to.
        """
        OnMain(self)(self._open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def _open(self) -> None:
        # This comes first, so that nothing is written here if that does not fit.
        taken = {} if self.take_from is None else self._of_another(self.take_from)
        settings = {"evaluator": self.evaluator.config, "environment": self.evaluator.environment}
        self._folder = RunFolder(self.path, settings, logger.warning)
        try:
            self._journal, results = _read(self.path / JOURNAL)
            self._kept = {result.trial: result for result in results}
            for trial, result in taken.items():
                if trial not in self._kept:
                    self._keep(result)
        except BaseException:
            self._close()
            raise

    def _of_another(self, folder: Path) -> dict[Trial, TrialResult]:
        if not (folder / RUN_CONFIG).is_file():
            raise InvalidInputError(
                f"`{folder}` must hold results of an evaluator, but has no {RUN_CONFIG}. Name the folder of another "
                "run."
            )
        other = KeptEvaluator(self.evaluator, folder)
        other._open()
        other._close()
        return other._kept

    def _close(self) -> None:
        if self._folder is not None:
            self._folder.close()

    def __call__(self, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        on_main = OnMain(self)
        known: list[TrialResult | None] = on_main(lambda: [self._kept.get(trial) for trial in trials])
        for is_known, pairs in itertools.groupby(zip(trials, known, strict=True), key=lambda pair: pair[1] is not None):
            group = list(pairs)
            if is_known:
                yield from (result for _, result in group if result is not None)
                continue
            for result in self.evaluator([trial for trial, _ in group]):
                on_main(partial(self._keep, result))
                yield result

    def _keep(self, result: TrialResult) -> None:
        assert self._journal is not None, "used outside its `with` block"
        try:
            self._journal.append(result.to_dict())
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"Score and metrics of a trial must be finite numbers (Python's own), but trial {result.trial.number} "
                f"has {dict(result.metrics)!r}: {error}."
            ) from error
        self._kept[result.trial] = result

    # -- of the other -------------------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        return self.evaluator.config

    @property
    def environment(self) -> dict[str, Any]:
        return self.evaluator.environment

    @property
    def is_main_process(self) -> bool:
        return self.evaluator.is_main_process

    def broadcast(self, value: T) -> T:
        return self.evaluator.broadcast(value)


def _read(path: Path) -> tuple[Journal, list[TrialResult]]:
    """Returns a journal that ends with its last whole line, and its results."""
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    results: list[TrialResult] = []
    try:
        results += (TrialResult.from_dict(json.loads(line)) for line in whole.splitlines())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(
            f"Line {len(results) + 1} of `{path}` must be a result as it was written, but cannot be read ({error!r}). "
            "Delete the line: only its network is trained again."
        ) from error
    journal = Journal(path)
    journal.cut(Mark(len(whole), hashlib.sha256(whole).hexdigest()))
    return journal, results
