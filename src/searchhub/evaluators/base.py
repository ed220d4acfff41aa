"""How good an architecture is: the interface between `search()` and whatever trains or looks up scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from searchhub.trial import Trial, TrialResult

T = TypeVar("T")


class Evaluator(ABC):
    """Scores trials. One of your own implements `__call__`, and the rest where it has state or several processes."""

    @abstractmethod
    def __call__(self, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        """Yield one result a trial, in order, each as soon as it is there.

        What a trial yields must depend only on the evaluator's saved state and the trial, not on what ran before in
        this process: that is what makes a resumed search bit-identical.
        """

    # -- resume -------------------------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decides the scores (data set, model, settings, seed), as plain JSON. Compared on resume."""
        return {"evaluator": type(self).__name__}

    @property
    def environment(self) -> dict[str, Any]:
        """What bit-identity rests on beyond `config`: processes, threads, device. Compared on resume."""
        return {}

    def save(self, folder: Path) -> None:
        """Write all state as plain files (safetensors, JSON) into an empty folder. Called on the main process only."""

    def load(self, folder: Path) -> None:
        """Take back what `save` wrote. Called on every process."""

    # -- several processes --------------------------------------------------------------------------------------------

    @property
    def is_main_process(self) -> bool:
        """Whether this process asks the searcher and writes files."""
        return True

    def broadcast(self, value: T) -> T:
        """The main process's value, on every process."""
        return value
