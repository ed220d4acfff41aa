"""Scores many architectures after a search, by forward passes alone, on the weights as the search left them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from searchhub.costs.structure import cells_of
from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.effects import PredictedQuality
from searchhub.errors import InvalidInputError
from searchhub.evaluators.base import Evaluator
from searchhub.generation import generate
from searchhub.generation.cell_sampling import draw_cells
from searchhub.generation.limits import Limit
from searchhub.generation.size_sampling import SizeSampler
from searchhub.result import SearchResult
from searchhub.searchers.base import Searcher
from searchhub.space import Architecture, Codes
from searchhub.trial import SCORED, SCORING, Budget, Trial, TrialResult

__all__ = ["ScoringSearcher"]

MOST_DRAWS = 20
"""How often an architecture is drawn anew that was scored already."""


class ScoringSearcher(Searcher):
    """Lets another searcher search, then scores `scored` architectures on the final shared weights without training.

    They are drawn uniformly (`SearchSpace.sample`), or with `sizes` so that their sizes are spread evenly. Effects that
    add up are fitted to their scores (`PredictedQuality`), by which `generate` then chooses.

    1. These trials have the budget `SCORED` and the round `SCORING`. They train nothing and are in no schedule.
    2. The result has θ as the searcher left it, and the effects of all scores that compare (`SearchResult.prediction`).
    3. Paths to train are drawn from all candidates, since those that the searcher prunes are scored, too, and may be
       generated.
    4. Architectures are scored once, unless nearly all are known. Cells are drawn as they are generated, with two
       inputs per node.

    >>> searcher = ScoringSearcher(DDPSearcher(space), scored=200)  # doctest: +SKIP

    Args:
        searcher: A new searcher, whose trials train shared weights.
        scored: S, number of architectures to score, at least 1.
        sizes: Cost of which the logarithm is spread evenly over what is scored (`SizeSampler`). None: each candidate of
            a choice is drawn alike.
    """

    def __init__(self, searcher: Searcher, *, scored: int, sizes: CostTable | None = None) -> None:
        super().__init__(searcher.space, seed=searcher.seed, budget=searcher.budget)
        if scored < 1:
            raise InvalidInputError(f"`scored >= 1` must hold, but got {scored}.")
        self.searcher = searcher
        self.scored = scored
        self.sizes = sizes
        self.rng = np.random.default_rng([searcher.seed, 2])
        self.round = searcher.round

    @property
    def num_trials(self) -> int:
        return self.searcher.num_trials + self.scored

    @property
    def trained_trials(self) -> int:
        return self.searcher.trained_trials

    @property
    def sampling(self) -> ArchitectureDistribution:
        return ArchitectureDistribution.uniform(self.space)

    @property
    def config(self) -> dict[str, Any]:
        sizes = {} if self.sizes is None else {"scored_sizes": self.sizes.name}
        return {**self.searcher.config, "scored": self.scored, **sizes}

    def budget_in(self, round: int) -> Budget:
        return SCORED if round == SCORING else self.searcher.budget_in(round)

    def propose(self) -> Codes:
        trials = self.searcher.ask()
        if trials:
            self.round = self.searcher.round
            return np.array([self.space.encode(trial.architecture) for trial in trials], dtype=np.uint8)
        done = 0 if self.round != SCORING else self.scored
        self.round = SCORING
        return self._draw(self.scored - done)

    def _draw(self, n: int) -> Codes:
        """Draws distinct architectures, or some again where the space has hardly others."""
        cells = cells_of(self.space) is not None
        sampler = None if self.sizes is None else SizeSampler(self.sizes)
        known: dict[bytes, Codes] = {}
        for _ in range(MOST_DRAWS if n else 0):
            if sampler is not None:
                drawn = sampler.draw_many(n, self.rng)
            else:
                drawn = draw_cells(self.space, n, self.rng) if cells else self.space.sample(n, self.rng)
            for row in drawn:
                known.setdefault(row.tobytes(), row)
            if len(known) >= n:
                break
        found = list(known.values())
        return np.array([found[i % len(found)] for i in range(n)], dtype=np.uint8).reshape(n, len(self.space.choices))

    # -- what came of it ----------------------------------------------------------------------------------------------

    def observe(self, results: Sequence[TrialResult]) -> None:
        if self.round != SCORING:
            asked = self.searcher.ask()
            self.searcher.tell([replace(r, trial=trial) for r, trial in zip(results, asked, strict=True)])
            self.round = self.searcher.round

    def result(self) -> SearchResult:
        found = replace(self.searcher.result(), history=tuple(self.history), searcher=self.config)
        if any(result.trial.round == SCORING for result in self.history):
            return replace(found, prediction=PredictedQuality.fit(self.space, self.history))
        return found

    def extra_state(self) -> dict[str, Any]:
        return {"searcher": {name: v for name, v in self.searcher.state_dict().items() if name != "history"}}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        told = self.history[: len(self.history) - len(self._proposal)]
        history = [result.to_dict() for result in told if result.trial.round != SCORING]
        self.searcher.load_state_dict({**state["searcher"], "history": history})


REFINED_AT_ONCE = 8
"""How many architectures are scored before effects are fitted anew."""


def refine(
    result: SearchResult, limits: Sequence[Limit], evaluator: Evaluator, n: int, *, first: int, seed: int = 0
) -> SearchResult:
    """Scores near-optimal architectures of some limits whole, and fits effects to all scores again.

    An architecture is proposed by a draw of the effects from their posterior: it is the best one under that draw (as in
    Thompson sampling), so where the effects are uncertain other architectures are tried, and where they are sure the
    optimum itself is. Effects are fitted anew after every few of them. Architectures that have a score already are not
    scored again.

    Args:
        result: A search with predicted quality.
        limits: The limits of one network.
        evaluator: The evaluator with the weights that the search left.
        n: How many architectures to propose.
        first: Number of the first trial.
        seed: Seed of the draws.

    Raises:
        InvalidInputError: The result has no prediction.
        InfeasibleLimitError: Nothing meets the limits.
    """
    if result.prediction is None:
        raise InvalidInputError("Only a search with predicted quality can be refined, but this one has none.")
    rng = np.random.default_rng([seed, 3])
    while n > 0:
        prediction = result.prediction
        assert prediction is not None
        known = {r.trial.architecture for r in result.history if r.trial.round == SCORING}
        wanted: list[Architecture] = []
        for _ in range(min(n, REFINED_AT_ONCE)):
            drawn = replace(result, prediction=prediction.draw(rng))
            found = Architecture(generate(drawn, *limits, use_budget=False))
            if found not in known and found not in wanted:
                wanted.append(found)
        n -= REFINED_AT_ONCE
        if not wanted:
            continue
        trials = [Trial(first + i, architecture, SCORED, SCORING) for i, architecture in enumerate(wanted)]
        first += len(trials)
        history = (*result.history, *evaluator(trials))
        result = replace(result, history=history, prediction=PredictedQuality.fit(result.space, history))
    return result
