"""Draws random architectures of a given cost, with which a searched one has to be compared."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.generation.counted import count_within
from searchhub.generation.infeasible import extreme, nothing_within
from searchhub.generation.limits import CostRange, Limit, windows_of
from searchhub.space import INACTIVE, Architecture, Branch, Codes, SearchSpace

TAILS = 1 << 15
"""How many combinations of the last choices are laid out and sorted by cost."""
BATCH = 4096
MAX_DRAWS = 1 << 20
COUNTED_DRAWS = 50
"""How many draws are made for each architecture that is asked for, where they are counted."""


def sample_within(
    space: SearchSpace,
    limits: Sequence[Limit],
    n: int,
    rng: np.random.Generator,
    *,
    by_branch: bool = False,
    max_draws: int = MAX_DRAWS,
) -> list[Architecture]:
    """Draws distinct architectures, each with the same probability among all that keep to the limits.

    This is rejection, but of many at once: some choices (the head) are drawn, all combinations of the others (the
    tails, sorted by cost) are compared with what the window leaves, and the draw is kept with a probability in
    proportion to how many fit. Therefore even windows that hold one architecture in 10^8 are within reach.

    1. Bounds are inclusive, as everywhere: for (0.95 ν, ν] give `min=math.nextafter(0.95 * ν, math.inf)`.
    2. The draw is uniform over *architectures*. If choices are conditional, `space.sample` favours architectures with
       few active choices; this function does not. Nearly all of its draws may then belong to one branch (the deepest,
       which has the most). `by_branch` takes equally many of each branch that has any, in turn, and takes fewer from a
       branch that is too small.
    3. Spaces of at most 2^15 architectures are laid out whole, so that it is certain what is missing.
    4. In larger spaces, a window on a cost that is coupled along the chain of choices is kept by plain rejection.
    5. Where rejection finds too few, and the one window is on a cost of whole numbers that adds up (parameters,
       multiply-adds), architectures are counted by their sums and drawn from these counts, just as evenly.

    >>> from searchhub.costs.table import CostTable
    >>> from searchhub.space import Choice
    >>> space = SearchSpace("three layers", tuple(Choice(f"layer.{i}", (1, 2, 3)) for i in range(3)))
    >>> width = CostTable("width", space, 0.0, (np.array([1.0, 2.0, 3.0]),) * 3)
    >>> drawn = sample_within(space, [Limit(width, min=4, max=5)], 2, np.random.default_rng(0))
    >>> [sum(architecture.values()) for architecture in drawn]
    [5, 4]

    Args:
        space: Space to draw from.
        limits: Limits on cost tables (not names), all of which hold. None given: the whole space.
        n: How many architectures to draw, at least 0.
        rng: Source of the randomness.
        by_branch: Whether to draw equally many of each branch (e.g. of each depth), uniform within it.
        max_draws: How many heads to draw before giving up; with `by_branch`, for each branch.

    Raises:
        InfeasibleLimitError: A limit lies outside what the space reaches.
        InvalidInputError: Fewer than n architectures keep to the limits, or fewer were found in `max_draws`.
    """
    if n < 0 or max_draws < 1:
        raise InvalidInputError(f"`n >= 0` and `max_draws >= 1` must hold, but got {n} and {max_draws}.")
    windows = windows_of(limits, space)
    branches = list(space.branches())
    codes = [branch.codes for branch in branches]
    for window in windows:
        smallest, largest = (extreme(window.table, [], codes, sign) for sign in (-1.0, 1.0))
        assert smallest is not None
        assert largest is not None
        if smallest > window.high or largest < window.low:
            raise nothing_within([window], codes, reach="this space", way_out="add candidates that reach it.")
    groups = [[branch] for branch in branches if _reaches(branch, windows)] if by_branch else [branches]
    drawn = [_draw(space, group, windows, n, rng, max_draws) for group in groups]
    found = [row for turn in itertools.zip_longest(*drawn) for row in turn if row is not None][:n]
    if len(found) < n:
        counted = _counted(branches, windows)
        if counted is not None and counted < n:
            raise _too_few(n, f"the space holds {counted:,.0f}", windows, "Ask for fewer, or widen the limits.")
        if space.size <= TAILS:
            raise _too_few(n, f"the space holds {len(found)}", windows, "Ask for fewer, or widen the limits.")
        way_out = "Ask for fewer, widen the limits, or raise `max_draws`."
        raise _too_few(n, f"{max_draws:,} draws found {len(found)}", windows, way_out)
    return [space.decode(row) for row in found]


def _reaches(branch: Branch, windows: Sequence[CostRange]) -> bool:
    """Whether each window alone may hold something of the branch."""
    for window in windows:
        smallest, largest = (extreme(window.table, [], [branch.codes], sign) for sign in (-1.0, 1.0))
        if smallest is None or largest is None or smallest > window.high or largest < window.low:
            return False
    return True


def _too_few(n: int, came: str, windows: Sequence[CostRange], way_out: str) -> InvalidInputError:
    given = " and ".join(f"`{window}`" for window in windows) or "no limits"
    return InvalidInputError(f"At least {n} distinct architectures must keep to {given}, but {came}. {way_out}")


def _all_within(branches: Sequence[Branch], windows: Sequence[CostRange]) -> list[Codes]:
    rows: list[Codes] = []
    for branch in branches:
        codes = _product(branch, branch.active)
        codes = codes[_roughly_within(codes, windows)]
        rows += [row for row in codes if _within(row, windows)]
    return rows


@dataclass(frozen=True)
class _Stratum:
    """One branch, cut into a head that is drawn and tails that are laid out.

    Args:
        branch: Codes that may be chosen.
        head: Choices that are drawn.
        tails: Codes [tails, choices] of the other choices, in increasing cost.
        costs: Costs [tails] of the tails in the window's table.
        window: Window that the tails are compared with. None: every tail fits.
        slack: A number larger than the rounding of a cost.
        most: The largest number of tails that fit to any head.
    """

    branch: Branch
    head: tuple[int, ...]
    tails: Codes
    costs: FloatArray
    window: CostRange | None
    slack: float
    most: int

    @property
    def weight(self) -> int:
        """A number in proportion to how often the branch is to be drawn: its heads times `most`."""
        return self.most * math.prod(len(self.branch.codes[i]) for i in self.head)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Codes, NDArray[np.bool_]]:
        """Draws n heads, each with a tail if the draw is kept, and tells which are kept."""
        codes = np.full((n, len(self.branch.codes)), INACTIVE, dtype=np.uint8)
        for i in self.head:
            own = np.array(self.branch.codes[i], dtype=np.uint8)
            codes[:, i] = own[rng.integers(len(own), size=n)]
        start, end = np.zeros(n, dtype=np.intp), np.full(n, len(self.costs))
        if self.window is not None:
            spent = self.window.table.of_codes(codes)
            start = np.searchsorted(self.costs, self.window.low - spent - self.slack, side="left")
            end = np.searchsorted(self.costs, self.window.high - spent + self.slack, side="right")
        pick = start + rng.integers(self.most, size=n)
        kept = pick < end
        tails = self.tails[np.minimum(pick, len(self.tails) - 1)]
        return np.where(tails == INACTIVE, codes, tails), kept


def _stratum(branch: Branch, windows: Sequence[CostRange]) -> _Stratum:
    """Lays out the tails: of the choices whose costs differ most, as many as there is room for.

    If a cost is coupled along the chain, the cost of a tail depends on the head: its window is left to rejection.
    """
    additive = [window for window in windows if not window.table.pairs]
    window = min(additive, key=lambda w: (w.high - w.low) / (_reach(w, branch) or 1.0)) if additive else None
    order = sorted(branch.active, key=lambda i: -(_spread(window, branch, i) if window else 0.0))
    tail: list[int] = []
    size = 1
    for i in order:
        if size * len(branch.codes[i]) <= TAILS:
            tail.append(i)
            size *= len(branch.codes[i])
    tails = _product(branch, tail)
    head = tuple(i for i in branch.active if i not in tail)
    if window is None:
        return _Stratum(branch, head, tails, np.zeros(size), None, 0.0, size)
    costs = window.table.of_codes(tails) - window.table.fixed
    tails, costs = tails[np.argsort(costs, kind="stable")], np.sort(costs, kind="stable")
    slack = _slack(window)
    ends = np.searchsorted(costs, costs + (window.high - window.low) + 4.0 * slack, side="right")
    return _Stratum(branch, head, tails, costs, window, slack, int((ends - np.arange(size)).max()))


def _draw(
    space: SearchSpace,
    branches: Sequence[Branch],
    windows: Sequence[CostRange],
    n: int,
    rng: np.random.Generator,
    max_draws: int,
) -> list[Codes]:
    """Draws up to n distinct rows of some branches, in the order drawn."""
    if space.size <= TAILS:
        rows = _all_within(branches, windows)
        return [rows[i] for i in rng.permutation(len(rows))[:n]]
    strata = [_stratum(branch, windows) for branch in branches]
    total = sum(stratum.weight for stratum in strata)
    chances = np.array([stratum.weight / total for stratum in strata])
    found: dict[bytes, Codes] = {}
    drawn = 0
    while len(found) < n and drawn < max_draws:
        size = min(BATCH, max_draws - drawn)
        drawn += size
        which = rng.choice(len(strata), size=size, p=chances / chances.sum())
        codes = np.empty((size, len(space.choices)), dtype=np.uint8)
        kept = np.zeros(size, dtype=bool)
        for at in np.unique(which):
            mine = which == at
            codes[mine], kept[mine] = strata[at].draw(int(mine.sum()), rng)
        codes = codes[kept]
        for row in codes[_roughly_within(codes, windows)]:
            if len(found) < n and _within(row, windows):
                found.setdefault(row.tobytes(), row)
    if len(found) < n:
        return _draw_counted(branches, windows, n, rng) or list(found.values())
    return list(found.values())


def _counted(branches: Sequence[Branch], windows: Sequence[CostRange]) -> float | None:
    """Returns how many architectures are within; None if they cannot be counted."""
    counted = [count_within(branch, windows) for branch in branches]
    return None if any(c is None for c in counted) else sum(c.size for c in counted if c is not None)


def _draw_counted(
    branches: Sequence[Branch], windows: Sequence[CostRange], n: int, rng: np.random.Generator
) -> list[Codes]:
    """Draws up to n distinct rows by exact counts, where rejection found too few; none if they cannot be counted."""
    counted = [count_within(branch, windows) for branch in branches]
    if any(c is None for c in counted):
        return []
    parts = [c for c in counted if c is not None and c.size > 0]
    total = sum(c.size for c in parts)
    if not total:
        return []
    found: dict[bytes, Codes] = {}
    for _ in range(COUNTED_DRAWS * n):
        row = parts[int(rng.choice(len(parts), p=[c.size / total for c in parts]))].draw(rng)
        if _within(row, windows):
            found.setdefault(row.tobytes(), row)
        if len(found) == min(n, total):
            break
    return list(found.values())


def _product(branch: Branch, choices: Sequence[int]) -> Codes:
    """Returns codes [combinations, choices] of all combinations of some choices; `INACTIVE` elsewhere."""
    sizes = [len(branch.codes[i]) for i in choices]
    codes = np.full((math.prod(sizes), len(branch.codes)), INACTIVE, dtype=np.uint8)
    if choices:
        for i, column in zip(choices, np.indices(sizes).reshape(len(sizes), -1), strict=True):
            codes[:, i] = np.array(branch.codes[i], dtype=np.uint8)[column]
    return codes


def _within(row: Codes, windows: Sequence[CostRange]) -> bool:
    return all(window.holds(window.table.of_row(row)) for window in windows)


def _roughly_within(codes: Codes, windows: Sequence[CostRange]) -> NDArray[np.bool_]:
    """Tells which rows may be within the windows; sums of floats are rounded, so they do not decide."""
    may = np.ones(len(codes), dtype=bool)
    for window in windows:
        costs, slack = window.table.of_codes(codes), _slack(window)
        may &= (costs >= window.low - slack) & (costs <= window.high + slack)
    return may


def _slack(window: CostRange) -> float:
    largest = sum(float(np.abs(part).max()) for part in (*window.table.entries, *window.table.pairs))
    return 1e-13 * (abs(window.table.fixed) + largest)


def _spread(window: CostRange, branch: Branch, choice: int) -> float:
    own = window.table.entries[choice][list(branch.codes[choice])]
    return float(own.max() - own.min())


def _reach(window: CostRange, branch: Branch) -> float:
    return sum(_spread(window, branch, i) for i in branch.active)
