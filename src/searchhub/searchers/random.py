"""Random search: the baseline that every other searcher has to beat at equal cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from searchhub.errors import InvalidInputError
from searchhub.result import SearchResult
from searchhub.searchers.base import Searcher
from searchhub.space import Codes, SearchSpace
from searchhub.trial import Budget, TrialResult

__all__ = ["RandomSearcher"]


class RandomSearcher(Searcher):
    """Draws every architecture uniformly and independently. The result is the evaluated architectures, without a θ.

    Args:
        space: Space to search.
        num_trials: How many architectures to evaluate, at least 1.
        seed: Seed of the draws.
        budget: Training that each trial is given.
    """

    def __init__(self, space: SearchSpace, *, num_trials: int, seed: int = 0, budget: Budget | None = None) -> None:
        super().__init__(space, seed=seed, budget=budget)
        if num_trials < 1:
            raise InvalidInputError(f"`num_trials >= 1` must hold, but got {num_trials}.")
        self._num_trials = num_trials

    @property
    def num_trials(self) -> int:
        return self._num_trials

    @property
    def config(self) -> dict[str, Any]:
        return {**super().config, "num_trials": self._num_trials}

    def propose(self) -> Codes:
        return self.space.sample(1 if len(self.history) < self._num_trials else 0, self.rng)

    def observe(self, results: Sequence[TrialResult]) -> None:
        self.round += 1

    def result(self) -> SearchResult:
        return SearchResult(self.space, tuple(self.history), searcher=self.config)


SEARCHERS = {"random": RandomSearcher}
