"""Explains limits that nothing meets: which of them fails, and what would have to hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from searchhub.costs.table import CostTable
from searchhub.errors import InfeasibleLimitError
from searchhub.generation.limits import CostRange, did_you_mean, number, within
from searchhub.generation.solve import UndecidedError, solve

Branches = Sequence[Sequence[Sequence[int]]]
"""For each branch and each of its choices, the codes in reach; none if the choice is inactive."""

Nearest = Callable[[CostRange, Sequence[CostRange]], "tuple[float | None, float | None] | None"]
"""Function of a range and of ranges that can be met together. Among all that meet these, it returns the largest cost at
or below the range's high end, and the smallest at or above its low end; None for one that does not exist, or if that
end is open. It returns None if nothing meets them.
"""


def nothing_within(
    windows: Sequence[CostRange], branches: Branches, *, reach: str, way_out: str
) -> InfeasibleLimitError:
    """Returns the error for branches that hold nothing within the ranges.

    Args:
        windows: Ranges that nothing meets.
        branches: Branches that were in reach.
        reach: What was in reach, in words, e.g. "this space".
        way_out: What to do besides moving the limit; the message ends with it.
    """

    def nearest(window: CostRange, kept: Sequence[CostRange]) -> tuple[float | None, float | None] | None:
        table = window.table
        if extreme(table, kept, branches, -1.0) is None:
            return None
        # Nothing can lie beyond an open end. To come close to a bound from there would be a subset-sum problem.
        below = above = None
        if math.isfinite(window.low):
            below = extreme(table, [*kept, CostRange(table, -math.inf, window.high)], branches, 1.0)
        if math.isfinite(window.high):
            above = extreme(table, [*kept, CostRange(table, window.low, math.inf)], branches, -1.0)
        return below, above

    ranges = {window.table.name: cost_range(window.table, branches) for window in windows}
    return infeasible_error(windows, nearest, ranges, reach=reach, way_out=way_out)


def never_cut(highs: Mapping[str, float], costs: Mapping[str, CostTable]) -> str:
    """Returns a sentence on the embeddings, where they alone make a limit on all parameters too low; else "".

    Args:
        highs: Upper ends of limits, by the names of the costs.
        costs: The tables that limits can name; where there are embeddings, "encoder_params" is without these.
    """
    if not {"params", "encoder_params"} <= set(costs):
        return ""
    (low, high), (encoder_low, encoder_high) = (costs[name].bounds() for name in ("params", "encoder_params"))
    if highs.get("params", math.inf) >= low:
        return ""
    return (
        f"Of all parameters {number(low - encoder_low)} are embeddings, which are never cut, so that networks have "
        f"{number(low)} to {number(high)}. Limit what is cut, `encoder_params`, of which they have "
        f"{number(encoder_low)} to {number(encoder_high)}; half of the largest's are `encoder_params=50%`, "
        f"{number(encoder_high // 2)}."
    )


def cost_range(table: CostTable, branches: Branches) -> tuple[float, float]:
    """Returns the smallest and the largest cost in reach."""
    smallest, largest = extreme(table, [], branches, -1.0), extreme(table, [], branches, 1.0)
    assert smallest is not None, "without windows every branch holds something"
    assert largest is not None
    return smallest, largest


def extreme(table: CostTable, windows: Sequence[CostRange], branches: Branches, sign: float) -> float | None:
    """Returns the largest (sign 1) or smallest (-1) cost within the ranges; None if none exists or none was found."""
    objective, pairs = (tuple(sign * array for array in arrays) for arrays in (table.entries, table.pairs))
    found = []
    for branch in branches:
        try:
            answer = solve(objective, windows, branch, pairs)
        except UndecidedError:
            return None
        if answer is not None:
            found.append(table.of_row(answer.row))
    return (max(found) if sign > 0 else min(found)) if found else None


def infeasible_error(
    windows: Sequence[CostRange],
    nearest: Nearest,
    ranges: Mapping[str, tuple[float, float]],
    *,
    reach: str,
    way_out: str,
) -> InfeasibleLimitError:
    """Returns the error that names the first limit that cannot be met once those before it are.

    Args:
        windows: Ranges that cannot all be met.
        nearest: Function that returns the costs on both sides of a range.
        ranges: Smallest and largest cost in reach, by name.
        reach: What was in reach, in words, e.g. "this space".
        way_out: What to do besides moving the limit; the message ends with it.
    """
    smallest = {name: low for name, (low, _) in ranges.items()}
    for i, window in enumerate(windows):
        kept = windows[:i]
        found = nearest(window, kept)
        if found is None:
            continue
        below, above = found
        if any(x is not None and window.holds(x) for x in (below, above)):
            continue
        where = f" where {' and '.join(f'`{w}`' for w in kept)}" if kept else ""
        message = _message(window, below, above, f"{reach}{where}", way_out)
        question = did_you_mean(window, *ranges[window.table.name])
        return InfeasibleLimitError(f"{message} {question}".rstrip(), smallest)
    given = ", ".join(f"`{window}`" for window in windows)
    return InfeasibleLimitError(f"{reach} must hold something within {given}, but does not. {way_out}", smallest)


def _message(window: CostRange, below: float | None, above: float | None, reach: str, way_out: str) -> str:
    name = window.table.name
    if math.isinf(window.low) and above is not None:
        return (
            f"`max {name} >= {within(above, up=True)}` must hold for {reach}, but got {number(window.high)}. "
            f"Raise the limit, or {way_out}"
        )
    if math.isinf(window.high) and below is not None:
        return (
            f"`min {name} <= {within(below, up=False)}` must hold for {reach}, but got {number(window.low)}. "
            f"Lower the limit, or {way_out}"
        )
    both = ((below, "below"), (above, "above"))
    sides = [f"{within(x, up=side == 'above')} {side}" for x, side in both if x is not None]
    nearest = f"the nearest: {' and '.join(sides)}" if sides else "nothing near it was found"
    return f"`{window}` must hold for something in {reach}, but {nearest}. Move the limit, or {way_out}"
