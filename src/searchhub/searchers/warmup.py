"""Runs trials before a search. They warm up shared weights, and nothing learns from their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InvalidInputError
from searchhub.result import SearchResult
from searchhub.searchers.base import Searcher
from searchhub.space import Codes
from searchhub.trial import WARMUP, Budget, TrialResult

__all__ = ["WarmupSearcher"]


class WarmupSearcher(Searcher):
    """Trains `warmup_trials` random paths first, then hands over to `searcher`, which never sees their scores.

    The first trials of a search cut a network for the first time, and their scores are low whatever they hold. With few
    trials per candidate, a candidate's credit would depend on when it was drawn.

    1. Paths are drawn uniformly, apart from the searcher's own randomness: it draws what it would draw without them.
    2. They are trials with the budget of the first round, in round `WARMUP`. So they are trained, numbered, journaled
       and resumed like all others, and a learning rate falls over all of them.
    3. They are in the result's history, but are not considered for its best trial.

    Args:
        searcher: A new searcher, which searches after the warm-up.
        warmup_trials: Number of random paths, at least 1.
    """

    def __init__(self, searcher: Searcher, warmup_trials: int) -> None:
        super().__init__(searcher.space, seed=searcher.seed, budget=searcher.budget)
        if warmup_trials < 1:
            raise InvalidInputError(f"`warmup_trials >= 1` must hold, but got {warmup_trials}.")
        self.searcher = searcher
        self.warmup_trials = warmup_trials
        self.rng = np.random.default_rng([searcher.seed, 1])
        self.round = WARMUP

    @property
    def num_trials(self) -> int:
        return self.warmup_trials + self.searcher.num_trials

    @property
    def config(self) -> dict[str, Any]:
        return {**self.searcher.config, "warmup_trials": self.warmup_trials}

    @property
    def trained_trials(self) -> int:
        return self.warmup_trials + self.searcher.trained_trials

    @property
    def sampling(self) -> ArchitectureDistribution:
        return self.searcher.sampling

    def budget_in(self, round: int) -> Budget:
        return self.searcher.budget_in(max(round, 0))

    def propose(self) -> Codes:
        if not self.history:
            return self.space.sample(self.warmup_trials, self.rng)
        trials = self.searcher.ask()
        self.round = self.searcher.round
        codes = [self.space.encode(trial.architecture) for trial in trials]
        return np.array(codes, dtype=np.uint8).reshape(len(codes), len(self.space.choices))

    def observe(self, results: Sequence[TrialResult]) -> None:
        if self.round != WARMUP:
            asked = self.searcher.ask()
            self.searcher.tell([replace(r, trial=trial) for r, trial in zip(results, asked, strict=True)])
        self.round = self.searcher.round

    def result(self) -> SearchResult:
        return replace(self.searcher.result(), history=tuple(self.history), searcher=self.config)

    def extra_state(self) -> dict[str, Any]:
        return {"searcher": {name: v for name, v in self.searcher.state_dict().items() if name != "history"}}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        told = self.history[self.warmup_trials : len(self.history) - len(self._proposal)]
        history = [{**result.to_dict(), "trial": number} for number, result in enumerate(told)]
        self.searcher.load_state_dict({**state["searcher"], "history": history})
