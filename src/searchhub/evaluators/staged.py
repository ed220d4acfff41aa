"""Evaluates early-stopped trials by one evaluator, fully trained ones by another (the two stages of DC-NAS Alg. 1)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from searchhub.evaluators.base import Evaluator
from searchhub.trial import Budget, Trial, TrialResult

T = TypeVar("T")


class StagedEvaluator(Evaluator):
    """Sends each trial to one of two evaluators, by its budget.

    Args:
        early: Evaluator of all trials except those with the full budget.
        full: Evaluator of the trials with the full budget.
        budget: The full budget.
    """

    def __init__(self, early: Evaluator, full: Evaluator, budget: Budget) -> None:
        self.early = early
        self.full = full
        self.budget = budget

    def __call__(self, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        for is_full, group in itertools.groupby(trials, key=lambda trial: trial.budget == self.budget):
            yield from (self.full if is_full else self.early)(list(group))

    # -- resume -------------------------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        return {
            **super().config,
            "task": self.full.config.get("task"),
            "early": self.early.config,
            "full": self.full.config,
        }

    @property
    def environment(self) -> dict[str, Any]:
        return {**self.early.environment, **self.full.environment}

    def save(self, folder: Path) -> None:
        for name, evaluator in (("early", self.early), ("full", self.full)):
            (folder / name).mkdir()
            evaluator.save(folder / name)

    def load(self, folder: Path) -> None:
        for name, evaluator in (("early", self.early), ("full", self.full)):
            if (folder / name).is_dir():
                evaluator.load(folder / name)

    # -- several processes --------------------------------------------------------------------------------------------

    @property
    def is_main_process(self) -> bool:
        return self.full.is_main_process

    def broadcast(self, value: T) -> T:
        return self.full.broadcast(value)
