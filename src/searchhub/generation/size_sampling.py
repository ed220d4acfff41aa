"""Draws architectures whose sizes are spread evenly, so that small ones count as much as large ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution, FloatArray
from searchhub.errors import InvalidInputError
from searchhub.space import INACTIVE, Codes

SMALLEST = 0.02
"""The smallest size that is drawn, as a share of the largest, if the space reaches that low."""

STEPS = 40
"""Halvings of the interval that holds a tilt."""

STEEPEST = 1000.0
"""Largest tilt, in units of the largest difference within a choice: beyond it only the extreme candidate is drawn."""


class SizeSampler:
    """Draws architectures, of which the logarithm of the size is spread evenly over what the space reaches.

    If each candidate were drawn alike, the sizes of deep networks would all lie near their mean, and hardly one be as
    small as a limit asks for. So:

    1. A size is drawn, log-uniform from `SMALLEST` of the largest to the largest.
    2. A branch (e.g. a depth) is drawn among those that reach it, in proportion to its own probability.
    3. Candidates are drawn with probabilities in proportion to p · exp(−λ · cost), with the one λ by which the
       expected cost of the architecture is that size. Among all distributions of that mean it is the nearest to p.

    Args:
        table: The cost that is a network's size. It adds up over choices.

    Raises:
        InvalidInputError: The cost is coupled along the chain of choices, or no architecture costs anything.
    """

    def __init__(self, table: CostTable) -> None:
        if table.pairs:
            raise InvalidInputError(
                f"Sizes must add up over choices to be drawn evenly, but `{table.name}` is coupled. Give another cost."
            )
        self.table = table
        conditions = {c.condition.choice for c in table.space.choices if c.condition is not None}
        self._parents = [i for i, choice in enumerate(table.space.choices) if choice.name in conditions]
        self._branches = [branch.codes for branch in table.space.branches()]
        self._costs = [_padded([table.entries[i][list(own)] for i, own in enumerate(b)]) for b in self._branches]
        largest = max(table.fixed + float(costs.max(1, initial=0.0).sum()) for costs in self._costs)
        if not largest > 0:
            raise InvalidInputError(f"`{table.name}` must be positive somewhere, but is at most {largest:g}.")

    def draw(self, rng: np.random.Generator, distribution: ArchitectureDistribution | None = None) -> Codes:
        """Draws one architecture, uint8 [choices].

        Args:
            rng: Source of the randomness.
            distribution: The probabilities p; candidates that are not alive are never drawn. None: all alike.
        """
        weights = [_padded([_weights(distribution, i, own) for i, own in enumerate(b)]) for b in self._branches]
        of_branch = np.array([math.prod(_weight(distribution, i, b[i]) for i in self._parents) for b in self._branches])
        if not of_branch.any():
            of_branch = np.ones(len(self._branches))
        ranges = np.array([self._range(c, w) for c, w in zip(self._costs, weights, strict=True)])
        low, high = ranges[of_branch > 0, 0].min(), ranges[of_branch > 0, 1].max()
        size = math.exp(rng.uniform(math.log(max(low, SMALLEST * high)), math.log(high)))
        reach = of_branch * ((ranges[:, 0] <= size) & (size <= ranges[:, 1]))
        if reach.any():
            at = int(rng.choice(len(reach), p=reach / reach.sum()))
        else:  # between the ranges of two branches there may be a gap: then the nearest one is taken
            gaps = np.maximum(ranges[:, 0] - size, size - ranges[:, 1])
            at = int(np.argmin(np.where(of_branch > 0, gaps, np.inf)))
        tilted = _tilted(self._costs[at], weights[at], size - self.table.fixed)
        row = np.full(len(tilted), INACTIVE, dtype=np.uint8)
        for i, own in enumerate(self._branches[at]):
            if own:
                row[i] = own[int(rng.choice(len(own), p=tilted[i, : len(own)]))]
        return row

    def draw_many(self, n: int, rng: np.random.Generator) -> Codes:
        """Draws architectures, uint8 [n, choices]; some may be equal."""
        return np.array([self.draw(rng) for _ in range(n)], dtype=np.uint8).reshape(n, len(self.table.entries))

    def _range(self, costs: FloatArray, weights: FloatArray) -> tuple[float, float]:
        """Returns the least and the largest size of a branch, of the candidates that may be drawn."""
        least = np.where(weights > 0, costs, np.inf).min(1)
        most = np.where(weights > 0, costs, -np.inf).max(1)
        there = (weights > 0).any(1)
        return self.table.fixed + float(least[there].sum()), self.table.fixed + float(most[there].sum())


def _padded(rows: Sequence[FloatArray]) -> FloatArray:
    """Returns rows of different lengths as one array, with zeros behind them."""
    found = np.zeros((len(rows), max(len(row) for row in rows)))
    for i, row in enumerate(rows):
        found[i, : len(row)] = row
    return found


def _weight(distribution: ArchitectureDistribution | None, choice: int, codes: tuple[int, ...]) -> float:
    """Returns the probability of what a branch has of a choice on which others depend; 1 if it has nothing of it."""
    if distribution is None or not codes:
        return 1.0
    return float(np.where(distribution.alive[choice], distribution.theta[choice], 0.0)[list(codes)].sum())


def _weights(distribution: ArchitectureDistribution | None, choice: int, codes: tuple[int, ...]) -> FloatArray:
    """Returns the probabilities of a choice's codes in a branch; all alike where none of them is alive."""
    if distribution is None or not codes:
        return np.full(len(codes), 1.0 / max(1, len(codes)))
    own = np.where(distribution.alive[choice], distribution.theta[choice], 0.0)[list(codes)]
    return np.asarray(own / own.sum()) if own.sum() > 0 else np.full(len(codes), 1.0 / len(codes))


def _tilted(costs: FloatArray, weights: FloatArray, size: float) -> FloatArray:
    """Returns probabilities [choices, candidates] by which the expected sum of costs is `size`, or nearest to it."""
    may = weights > 0
    there = may.any(1)
    least = np.where(may, costs, np.inf).min(1, initial=np.inf)
    most = np.where(may, costs, -np.inf).max(1, initial=-np.inf)
    scale = float((most - least)[there].max(initial=0.0))
    if scale == 0.0:
        return weights

    def at(tilt: float) -> FloatArray:
        nearest = np.where(there, least if tilt > 0 else most, 0.0)[:, None]
        found = weights * np.exp(np.where(may, -tilt * (costs - nearest) / scale, 0.0))
        return np.asarray(found / np.where(there, found.sum(1), 1.0)[:, None])

    low, high = -STEEPEST, STEEPEST
    for _ in range(STEPS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if float((at(middle) * costs).sum()) > size else (low, middle)
    return at((low + high) / 2.0)
