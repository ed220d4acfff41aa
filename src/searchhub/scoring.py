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
from searchhub.generation import Limit, generate, sample_within
from searchhub.generation.cell_sampling import draw_cells
from searchhub.generation.cells import reachable_range
from searchhub.result import SearchResult
from searchhub.searchers.base import Searcher
from searchhub.space import Architecture, Codes
from searchhub.trial import SCORED, SCORING, Budget, TrialResult

__all__ = ["ScoringSearcher"]

EVEN_SHARE = 0.5
"""Share of the scores that are spent evenly over costs; the rest goes near the front."""

ROUNDS_NEAR = 4
"""In how many rounds the rest is spent; effects are fitted anew before each."""

BANDS = 20
"""Into how many bands of equal width a cost is divided, to draw from each alike."""

MOST_DRAWS = 20
"""How often an architecture is drawn anew that was scored already."""


class ScoringSearcher(Searcher):
    """Lets another searcher search, then scores `scored` architectures on the final shared weights without training.

    The first half is drawn evenly over the costs, in bands of equal width. Then effects that add up are fitted to the
    scores (`PredictedQuality`), drawn from their posterior, and what is best under such a draw within a limit, itself
    drawn evenly over the costs, is scored next (Thompson sampling). So scores lie where limits will ask.

    1. These trials have the budget `SCORED` and the round `SCORING`. They train nothing and are in no schedule.
    2. The result has θ as the searcher left it, and the effects of all scores that compare (`SearchResult.prediction`),
       by which `generate` then chooses.
    3. Architectures are scored once, unless nearly all are known. Cells are drawn as they are generated, with two
       inputs per node.

    >>> searcher = ScoringSearcher(DDPSearcher(space), scored=200, costs=[macs_table(supernet)])  # doctest: +SKIP

    Args:
        searcher: A new searcher, whose trials train shared weights.
        scored: S, number of architectures to score, at least 1.
        costs: Cost tables over which the architectures are spread, at least one.
    """

    def __init__(self, searcher: Searcher, *, scored: int, costs: Sequence[CostTable]) -> None:
        super().__init__(searcher.space, seed=searcher.seed, budget=searcher.budget)
        if scored < 1 or not costs:
            raise InvalidInputError(
                f"`scored >= 1` and at least one cost must hold, but got {scored} and {len(costs)} costs."
            )
        self.searcher = searcher
        self.scored = scored
        self.costs = tuple(costs)
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
        """A uniform one: candidates that the searcher prunes are scored, too, and may be generated."""
        return ArchitectureDistribution.uniform(self.space)

    @property
    def config(self) -> dict[str, Any]:
        return {**self.searcher.config, "scored": self.scored, "scored_costs": [cost.name for cost in self.costs]}

    def budget_in(self, round: int) -> Budget:
        return SCORED if round == SCORING else self.searcher.budget_in(round)

    # -- what to try --------------------------------------------------------------------------------------------------

    def propose(self) -> Codes:
        trials = self.searcher.ask()
        if trials:
            self.round = self.searcher.round
            return np.array([self.space.encode(trial.architecture) for trial in trials], dtype=np.uint8)
        self.round = SCORING
        done = sum(result.trial.round == SCORING for result in self.history)
        even = max(1, round(EVEN_SHARE * self.scored))
        if done < even:
            return self._even(even)
        each = -(-(self.scored - even) // ROUNDS_NEAR)
        return self._near(min(each, self.scored - done))

    def _even(self, n: int) -> Codes:
        """Draws architectures evenly over the costs."""
        if cells_of(self.space) is not None:
            return draw_cells(self.space, n, self.rng)
        known = self._known()
        rows = []
        for i in range(n):
            cost = self.costs[i % len(self.costs)]
            band = (i // len(self.costs)) % BANDS
            rows.append(self._new(known, lambda c=cost, b=band: self._in_band(c, b)))
        return np.stack(rows)

    def _in_band(self, cost: CostTable, band: int) -> Codes:
        """Draws an architecture of a band of a cost, or of a wider one around it if it holds none."""
        low, high = cost.bounds()
        width = (high - low) / BANDS
        for wider in range(BANDS):
            window = Limit(cost, min=low + (band - wider) * width, max=low + (band + 1 + wider) * width)
            try:
                return self.space.encode(sample_within(self.space, [window], 1, self.rng)[0])
            except InvalidInputError:
                continue
        return self.space.sample(1, self.rng)[0]

    def _near(self, n: int) -> Codes:
        """Draws architectures that are the best within a limit for all that is known of the effects."""
        known = self._known()
        if n <= 0:
            return np.empty((0, len(self.space.choices)), dtype=np.uint8)
        prediction = PredictedQuality.fit(self.space, self.history)
        return np.stack([self._new(known, lambda: self._best_under_a_draw(prediction)) for _ in range(n)])

    def _best_under_a_draw(self, prediction: PredictedQuality) -> Codes:
        cost = self.costs[int(self.rng.integers(len(self.costs)))]
        low, high = reachable_range(cost)
        limit = Limit(cost, max=max(low, low + float(self.rng.random()) * (high - low)))
        drawn = SearchResult(self.space, (), prediction=prediction.draw(self.rng))
        return self.space.encode(generate(drawn, limit))

    def _known(self) -> set[bytes]:
        return {self._key(result.trial.architecture) for result in self.history if result.trial.round == SCORING}

    def _key(self, architecture: Architecture) -> bytes:
        return self.space.encode(architecture).tobytes()

    def _new(self, known: set[bytes], draw: Any) -> Codes:
        """Draws until an architecture comes that was not scored yet, and notes it; gives up on one that was."""
        for _ in range(MOST_DRAWS):
            row: Codes = draw()
            if row.tobytes() not in known:
                break
        known.add(row.tobytes())
        return row

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
