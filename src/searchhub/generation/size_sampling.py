"""Draws architectures whose sizes are spread evenly, so that small ones count as much as large ones."""

from __future__ import annotations

import math

import numpy as np

from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution, FloatArray
from searchhub.errors import InvalidInputError
from searchhub.space import INACTIVE, Codes

SMALLEST = 0.02
"""The smallest size that is drawn, as a share of the largest, if the space reaches that low."""

STEPS = 60
"""Halvings of the interval that holds a tilt: as many as a float has bits, and a few."""


class SizeSampler:
    """Draws architectures, of which the logarithm of the size is spread evenly over what the space reaches.

    If each candidate were drawn alike, the sizes of deep networks would all lie near their mean, and hardly one be as
    small as a limit asks for. So:

    1. A size is drawn, log-uniform from `SMALLEST` of the largest to the largest.
    2. A branch (e.g. a depth) is drawn evenly among those that reach it.
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
        self._branches = [branch.codes for branch in table.space.branches()]
        own = [[entry[list(codes)] for entry, codes in zip(table.entries, b, strict=True)] for b in self._branches]
        self._ranges = [
            tuple(table.fixed + sum(float(pick(e)) for e in entries if len(e)) for pick in (np.min, np.max))
            for entries in own
        ]
        self._largest = max(high for _, high in self._ranges)
        if not self._largest > 0:
            raise InvalidInputError(f"`{table.name}` must be positive somewhere, but is at most {self._largest:g}.")
        self._smallest = max(SMALLEST * self._largest, min(low for low, _ in self._ranges))

    def draw(self, rng: np.random.Generator, distribution: ArchitectureDistribution | None = None) -> Codes:
        """Draws one architecture, uint8 [choices].

        Args:
            rng: Source of the randomness.
            distribution: The probabilities p; candidates that are not alive are never drawn. None: all alike.
        """
        size = math.exp(rng.uniform(math.log(self._smallest), math.log(self._largest)))
        reaching = [i for i, (low, high) in enumerate(self._ranges) if low <= size <= high]
        # Between the ranges of two branches there may be a gap: then the nearest one is taken.
        gaps = [max(low - size, size - high) for low, high in self._ranges]
        branch = self._branches[int(rng.choice(reaching)) if reaching else int(np.argmin(gaps))]
        costs = [entry[list(own)] for entry, own in zip(self.table.entries, branch, strict=True)]
        weights = [_weights(distribution, i, own) for i, own in enumerate(branch)]
        tilted = _tilted(costs, weights, size - self.table.fixed)
        row = np.full(len(branch), INACTIVE, dtype=np.uint8)
        for i, own in enumerate(branch):
            if own:
                row[i] = own[int(rng.choice(len(own), p=tilted[i]))]
        return row

    def draw_many(self, n: int, rng: np.random.Generator) -> Codes:
        """Draws architectures, uint8 [n, choices]; some may be equal."""
        return np.array([self.draw(rng) for _ in range(n)], dtype=np.uint8).reshape(n, len(self.table.entries))


def _weights(distribution: ArchitectureDistribution | None, choice: int, codes: tuple[int, ...]) -> FloatArray:
    """Returns the probabilities of a choice's codes in a branch; all alike where none of them is alive."""
    if distribution is None or not codes:
        return np.full(len(codes), 1.0 / max(1, len(codes)))
    own = np.where(distribution.alive[choice], distribution.theta[choice], 0.0)[list(codes)]
    return np.asarray(own / own.sum()) if own.sum() > 0 else np.full(len(codes), 1.0 / len(codes))


def _tilted(costs: list[FloatArray], weights: list[FloatArray], size: float) -> list[FloatArray]:
    """Returns probabilities by which the expected sum of costs is `size`, or as near as it gets."""
    scale = max((float(np.ptp(c)) for c in costs if len(c)), default=0.0)
    if scale == 0.0:
        return weights

    def at(tilt: float) -> tuple[list[FloatArray], float]:
        found, mean = [], 0.0
        for c, w in zip(costs, weights, strict=True):
            if not len(c):
                found.append(w)
                continue
            p = w * np.exp(-tilt * (c - (c.min() if tilt > 0 else c.max())) / scale)
            p = p / p.sum()
            found.append(p)
            mean += float(p @ c)
        return found, mean

    low, high = -_STEEPEST, _STEEPEST
    for _ in range(STEPS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if at(middle)[1] > size else (low, middle)
    return at((low + high) / 2.0)[0]


_STEEPEST = 1000.0
"""Largest tilt, in units of the largest difference within a choice: beyond it only the extreme candidate is drawn."""
