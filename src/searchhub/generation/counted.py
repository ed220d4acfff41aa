"""Counts the architectures within a window of a cost exactly, and draws from them where hardly any draw would fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searchhub.distribution import FloatArray
from searchhub.generation.limits import CostRange
from searchhub.space import INACTIVE, Branch, Codes

MOST_SUMS = 1 << 21
"""How many different sums of costs are kept for the last choices of a branch; a space with more is not counted."""


class CountedWindow:
    """The architectures of one branch within a window of a cost whose numbers are whole.

    Different architectures share sums: parameters of 12 choices with 10 candidates each have some thousand of them, not
    10^12. So the number of ways in which the choices from the i-th on reach each sum is counted from the last choice
    back, and an architecture is drawn from the first one on, each candidate in proportion to the ways that it leaves.

    Args:
        branch: The branch.
        window: The window; its table adds up over choices.
        sums: For each choice from the i-th on, the sums that they can have, ascending, and the number of ways of each.
    """

    def __init__(self, branch: Branch, window: CostRange, sums: Sequence[tuple[FloatArray, FloatArray]]) -> None:
        self.branch, self.window = branch, window
        self._sums = [(values, np.concatenate([[0.0], np.cumsum(ways)])) for values, ways in sums]
        self.size = self._ways(0, window.table.fixed)

    def _ways(self, i: int, spent: float) -> float:
        """Returns in how many ways the choices from the i-th on stay in the window, after so much was spent."""
        values, upto = self._sums[i]
        start = np.searchsorted(values, self.window.low - spent, side="left")
        end = np.searchsorted(values, self.window.high - spent, side="right")
        return float(upto[end] - upto[start])

    def draw(self, rng: np.random.Generator) -> Codes:
        """Draws one architecture, uint8 [choices], each with the same probability."""
        row = np.full(len(self.branch.codes), INACTIVE, dtype=np.uint8)
        spent = self.window.table.fixed
        for i, own in enumerate(self.branch.codes):
            if not own:
                continue
            costs = self.window.table.entries[i][list(own)]
            ways = np.array([self._ways(i + 1, spent + cost) for cost in costs])
            picked = int(rng.choice(len(own), p=ways / ways.sum()))
            row[i] = own[picked]
            spent += float(costs[picked])
        return row


def count_within(branch: Branch, windows: Sequence[CostRange]) -> CountedWindow | None:
    """Counts a branch's architectures within a window.

    Returns:
        None if there are several windows, the cost is coupled or not of whole numbers, or there are too many sums.
    """
    if len(windows) != 1 or windows[0].table.pairs:
        return None
    table = windows[0].table
    if any((entry != np.rint(entry)).any() for entry in table.entries) or table.fixed != np.rint(table.fixed):
        return None
    values, ways = np.zeros(1), np.ones(1)
    sums = [(values, ways)]
    for i in range(len(branch.codes) - 1, -1, -1):
        own = branch.codes[i]
        if own:
            costs = table.entries[i][list(own)]
            if len(values) * len(costs) > MOST_SUMS:
                return None
            added = np.asarray(np.add.outer(costs, values), dtype=np.float64)
            values, inverse = np.unique(added, return_inverse=True)
            ways = np.asarray(np.bincount(inverse.ravel(), np.tile(ways, len(costs))), dtype=np.float64)
        sums.append((values, ways))
    return CountedWindow(branch, windows[0], sums[::-1])
