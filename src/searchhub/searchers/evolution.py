"""Regularized evolution (Real et al., AAAI 2019): the strong baseline that needs no model of the space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from searchhub.errors import InvalidInputError
from searchhub.result import SearchResult
from searchhub.searchers.base import Searcher
from searchhub.space import Codes, SearchSpace
from searchhub.trial import Budget, TrialResult

__all__ = ["EvolutionSearcher"]


class EvolutionSearcher(Searcher):
    """Mutates the best of a few trials drawn from the youngest ones; the oldest dies, however good (Alg. 1).

    The population is always the last `population_size` trials. It starts at random. Then, one trial at a time,
    `tournament_size` members are drawn with replacement, and the best of these (among equals the first drawn) has a
    child: one choice, drawn among the active ones, takes another candidate. The paper's identity mutation (1 in 20) is
    left out, so a child always differs; choices that only the child has get a candidate at random. The result is the
    evaluated architectures, without a θ.

    Args:
        space: Space to search.
        num_trials: How many architectures to evaluate, at least 1.
        population_size: Size P of the population, at least 1. The default suits about a hundred to a few hundred
            trials; the paper has 100 for 20,000.
        tournament_size: Size S of the tournament, at least 1; a larger one is greedier. The paper has 25.
        seed: Seed of the draws.
        budget: Training that each trial is given.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        num_trials: int,
        population_size: int = 10,
        tournament_size: int = 5,
        seed: int = 0,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(space, seed=seed, budget=budget)
        for name, value in (
            ("num_trials", num_trials),
            ("population_size", population_size),
            ("tournament_size", tournament_size),
        ):
            if value < 1:
                raise InvalidInputError(f"`{name} >= 1` must hold, but got {value}.")
        self._num_trials = num_trials
        self.population_size = population_size
        self.tournament_size = tournament_size

    @property
    def num_trials(self) -> int:
        return self._num_trials

    @property
    def config(self) -> dict[str, Any]:
        return {
            **super().config,
            "num_trials": self._num_trials,
            "population_size": self.population_size,
            "tournament_size": self.tournament_size,
        }

    def propose(self) -> Codes:
        left = self._num_trials - len(self.history)
        if left == 0 or not self.history:
            return self.space.sample(min(left, self.population_size), self.rng)
        population = self.history[-self.population_size :]
        drawn = [population[i] for i in self.rng.integers(len(population), size=self.tournament_size)]
        parent = max(drawn, key=lambda result: result.score)
        return mutated(self.space, self.space.encode(parent.trial.architecture), self.rng)[None]

    def observe(self, results: Sequence[TrialResult]) -> None:
        self.round += 1

    def result(self) -> SearchResult:
        return SearchResult(self.space, tuple(self.history), searcher=self.config)


def mutated(space: SearchSpace, row: Codes, rng: np.random.Generator) -> Codes:
    """Returns a row [choices] in which one active choice has another candidate.

    1. Choices that become active with it get a candidate uniformly at random.
    2. If no active choice has a second candidate, the row is returned as it is.
    """
    active = space.active(row[None])[0]
    changeable = [i for i in np.flatnonzero(active) if len(space.choices[i].candidates) > 1]
    if not changeable:
        return row
    i = changeable[rng.integers(len(changeable))]
    size = len(space.choices[i].candidates)
    child = np.array([rng.integers(len(choice.candidates)) for choice in space.choices], dtype=np.uint8)
    child[active] = row[active]
    child[i] = (int(row[i]) + 1 + rng.integers(size - 1)) % size
    masked: Codes = space.mask_inactive(child[None])[0]
    return masked


SEARCHERS = {"evolution": EvolutionSearcher}
