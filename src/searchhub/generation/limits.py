"""Defines what a network may cost: limits as a user writes them, and the ranges of cost that they amount to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from numbers import Real

from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.space import SearchSpace

SLIPS = (1e3, 1e6, 1e9)
"""Factors by which people confuse units: 600 for 600M."""

FAR = 10.0
"""A limit that lies this many times beyond what there is looks like a slip of units."""


@dataclass(frozen=True)
class Limit:
    """A limit ν of DDPNAS Eq. 10 on a cost f(α).

    1. Bounds are inclusive and are compared with `CostTable.of_row`, the correctly rounded cost; there is no tolerance.
    2. `equal` therefore asks for exactly that number. It is meant for costs that count something (the number of
       non-parameter operations of DDPNAS Table 4); for costs that are measured, give `min` and `max`.

    >>> str(Limit("macs", max=600_000_000))
    'macs <= 600,000,000'

    Args:
        cost: The cost table, or the name of one in the result (`SearchResult.costs`).
        max: Upper bound: f(α) <= max.
        min: Lower bound: f(α) >= min.
        equal: Exact value: f(α) = equal. Give it alone.
    """

    cost: CostTable | str
    _: KW_ONLY
    max: float | None = None
    min: float | None = None
    equal: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.cost, CostTable | str):
            raise InvalidInputError(
                f"The cost of a limit must be a CostTable or the name of one, but got {self.cost!r}."
            )
        given = {name: getattr(self, name) for name in ("max", "min", "equal") if getattr(self, name) is not None}
        for name, bound in given.items():
            if isinstance(bound, bool) or not isinstance(bound, Real) or not math.isfinite(bound):
                raise InvalidInputError(
                    f"`{name}` of the limit on `{self.name}` must be a finite number, but got {bound!r}."
                )
        if not given:
            raise InvalidInputError(f"The limit on `{self.name}` must give `max`, `min` or `equal`, but gives none.")
        if "equal" in given and len(given) > 1:
            raise InvalidInputError(
                f"`equal` must stand alone, but the limit on `{self.name}` gives {given}. Drop the others."
            )
        if self.low > self.high:
            raise InvalidInputError(
                f"`min <= max` must hold, but the limit on `{self.name}` has min {number(self.low)} and "
                f"max {number(self.high)}."
            )

    @property
    def name(self) -> str:
        """Name of the cost."""
        return self.cost if isinstance(self.cost, str) else self.cost.name

    @property
    def low(self) -> float:
        """The smallest cost allowed; -inf if there is no lower bound."""
        bound = self.min if self.equal is None else self.equal
        return -math.inf if bound is None else float(bound)

    @property
    def high(self) -> float:
        """The largest cost allowed; inf if there is no upper bound."""
        bound = self.max if self.equal is None else self.equal
        return math.inf if bound is None else float(bound)

    def __str__(self) -> str:
        return describe(self.name, self.low, self.high)


@dataclass(frozen=True)
class CostRange:
    """All limits on one cost, taken together: low <= f(α) <= high."""

    table: CostTable
    low: float
    high: float

    def holds(self, cost: float) -> bool:
        """Whether a cost lies in the window."""
        return self.low <= cost <= self.high

    def __str__(self) -> str:
        return describe(self.table.name, self.low, self.high)


def windows_of(
    limits: Iterable[Limit], space: SearchSpace, costs: Mapping[str, CostTable] | None = None
) -> list[CostRange]:
    """Returns one range per cost, in the order in which the limits first name the costs.

    Args:
        limits: Limits, of which several may be on one cost; their ranges are intersected.
        space: Space that the tables must price.
        costs: The tables that limits may name.

    Raises:
        InvalidInputError: A table is unknown, prices another space, shares its name with another one, or its limits
            contradict each other.
    """
    windows: dict[str, CostRange] = {}
    for limit in limits:
        if not isinstance(limit, Limit):
            raise InvalidInputError(f"Limits must be of type Limit, but got {limit!r}.")
        table = table_of(limit.cost, space, costs)
        window = CostRange(table, limit.low, limit.high)
        if table.name in windows:
            window = _intersect(windows[table.name], window)
        windows[table.name] = window
    return list(windows.values())


def table_of(cost: CostTable | str, space: SearchSpace, costs: Mapping[str, CostTable] | None = None) -> CostTable:
    """Returns the cost table that a limit means.

    Raises:
        InvalidInputError: There is no table of this name, or it prices another space.
    """
    if isinstance(cost, str):
        known = dict(costs or {})
        if cost not in known:
            raise InvalidInputError(
                f"The name of a cost must be one of {sorted(known)}, but got {cost!r}. Add the table with "
                "`result.with_costs(table)`, or give the table itself."
            )
        cost = known[cost]
    if cost.space is not space and cost.space != space:
        raise InvalidInputError(
            f"The cost `{cost.name}` must price the space `{space.name}`, but prices `{cost.space.name}`"
            f"{' with other choices' if cost.space.name == space.name else ''}. Make the table for this space."
        )
    return cost


def _intersect(one: CostRange, other: CostRange) -> CostRange:
    same = one.table is other.table or one.table.to_dict() == other.table.to_dict()
    if not same:
        raise InvalidInputError(
            f"Costs must have distinct names, but two tables are called `{one.table.name}`. Rename one."
        )
    both = CostRange(one.table, max(one.low, other.low), min(one.high, other.high))
    if both.low > both.high:
        raise InvalidInputError(f"Limits on one cost must not contradict each other, but got `{one}` and `{other}`.")
    return both


def unbound(
    windows: Iterable[CostRange],
    costs: Mapping[str, float],
    ranges: Mapping[str, tuple[float, float]],
    *,
    unconstrained: bool,
    reach: str,
) -> str:
    """Returns a sentence for each upper limit that does not bind; "" if all bind, or if that is unknown.

    Args:
        windows: Ranges that were met.
        costs: Costs of the answer, by name.
        ranges: Smallest and largest cost in reach, by name.
        unconstrained: Whether the answer is as good as any without limits.
        reach: What the ranges are those of, in words, e.g. "this space".
    """
    notes = []
    for window in windows:
        name, (smallest, largest) = window.table.name, ranges[window.table.name]
        if math.isinf(window.high) or window.low == window.high:
            continue
        if largest <= window.high:
            most = within(largest, up=True)
            why = f"nothing in {reach} costs more than {most}. {did_you_mean(window, smallest, largest)}"
        elif unconstrained:
            why = f"the best of {reach} costs {within(costs[name], up=True)}."
        else:
            continue
        notes.append(f"`{describe(name, -math.inf, window.high)}` does not bind: {why}".rstrip())
    return " ".join(notes)


def did_you_mean(window: CostRange, smallest: float, largest: float) -> str:
    """Returns a question if a limit is far from all costs but among them in another unit; else "".

    Args:
        window: Range that was asked for.
        smallest: The smallest cost in reach.
        largest: The largest cost in reach.
    """
    bounds = list(dict.fromkeys(bound for bound in (window.low, window.high) if math.isfinite(bound)))
    if not all(bound * FAR < smallest or bound > largest * FAR for bound in bounds):
        return ""
    for factor in SLIPS:
        for scaled in ([bound * factor for bound in bounds], [bound / factor for bound in bounds]):
            if all(smallest <= bound <= largest for bound in scaled):
                # Fifteen digits are kept: 0.0021 was meant as 2.1, not as 2.0999999999999996.
                return f"Did you mean {' and '.join(number(float(f'{bound:.15g}')) for bound in scaled)}?"
    return ""


def describe(name: str, low: float, high: float) -> str:
    """Returns a range in words.

    >>> describe("macs", -math.inf, 600_000), describe("macs", math.nextafter(285_000, math.inf), 300_000)
    ('macs <= 600,000', '285,000 < macs <= 300,000')
    """
    if low == high:
        return f"{name} = {number(low)}"
    below = math.nextafter(low, -math.inf)
    if math.isfinite(low) and len(number(below)) < len(number(low)):  # e.g. the least number above 0.95 ν
        return f"{name} > {number(below)}" if math.isinf(high) else f"{number(below)} < {name} <= {number(high)}"
    left = "" if math.isinf(low) else f"{number(low)} <= "
    right = "" if math.isinf(high) else f" <= {number(high)}"
    return f"{name} >= {number(low)}" if left and not right else f"{left}{name}{right}"


def within(x: float, *, up: bool) -> str:
    """Returns a cost as a bound that the cost itself keeps to: integers whole, others in three digits, up or down.

    >>> within(0.50404134101375, up=True), within(0.50404134101375, up=False), within(812_004, up=True)
    ('0.505', '0.504', '812,004')
    """
    if x == int(x) or not math.isfinite(x):
        return number(x)
    unit = Decimal(1).scaleb(Decimal(x).adjusted() - 2)
    rounded = (
        Decimal(x).quantize(unit, ROUND_CEILING if up else ROUND_FLOOR)
        if unit < 1
        else Decimal(math.ceil(x) if up else math.floor(x))
    )
    return f"{rounded.normalize():,f}"


def number(x: float) -> str:
    """Returns a cost with thousands separated and all digits: what is named as feasible must be so when typed in."""
    return f"{int(x):,}" if x == int(x) and abs(x) < 1e15 else f"{x:,}"
