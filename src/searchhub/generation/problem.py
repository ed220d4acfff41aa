"""Writes one branch of a space under limits with integers: sums of floats are rounded, sums of integers are not.

Floats are fractions whose denominator is a power of two, so a cost, a θ and a limit are integers over one denominator.
If the integers of a sum need more than 62 bits, they are rounded *down* to 62. This loses nothing feasible, and what it
wrongly lets through is found by comparing the answer with the limits exactly (`Row.holds`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchhub.distribution import FloatArray
from searchhub.generation.limits import CostRange
from searchhub.space import INACTIVE, Codes

IntArray = NDArray[Any]
"""int64, or Python integers (dtype object) in a problem that must be exact whatever the floats are."""

BITS = 62
NEVER = -1e300
"""Value, in padded arrays, of a candidate that does not exist."""

UNLIMITED = Fraction(1 << 1100)
"""A limit above every sum of floats."""

_TINY = Fraction(1, 1 << 1100)


@dataclass(frozen=True)
class Row:
    """An exact inequality: Σ over the active choices of entries[choice][candidate] + Σ of pairs <= limit.

    The sums are those of `CostTable`.
    """

    entries: tuple[FloatArray, ...]
    limit: Fraction
    pairs: tuple[FloatArray, ...] = ()

    def holds(self, row: Codes) -> bool:
        """Whether a row [choices] of codes satisfies the inequality."""
        return exact_sum(self.entries, row, self.pairs) <= self.limit


def exact_sum(entries: Sequence[FloatArray], row: Codes, pairs: Sequence[FloatArray] = ()) -> Fraction:
    """Returns Σ over the active choices of entries[choice][candidate] and Σ of pairs, without any rounding."""
    ratios = [float(e[c]).as_integer_ratio() for e, c in zip(entries, row, strict=True) if c != INACTIVE]
    ratios += [float(p[c, d]).as_integer_ratio() for p, c, d in zip(pairs, row[:-1], row[1:], strict=False)]
    denominator = max(d for _, d in ratios)
    return Fraction(sum(n * (denominator // d) for n, d in ratios), denominator)


def rows_of(window: CostRange) -> list[Row]:
    """Returns the inequalities of a window, `high` first, exactly as `window.holds(table.of_row(row))` decides them."""
    table, rows = window.table, []
    if math.isfinite(window.high):
        rows.append(Row(table.entries, _rounding_to(window.high) - Fraction(table.fixed), table.pairs))
    if math.isfinite(window.low):
        limit = _rounding_to(-window.low) + Fraction(table.fixed)
        rows.append(Row(negated(table.entries), limit, negated(table.pairs)))
    return rows


def negated(arrays: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
    """Returns the arrays with the other sign."""
    return tuple(-array for array in arrays)


def _rounding_to(bound: float) -> Fraction:
    """Returns the largest sum of floats that, correctly rounded, is at most `bound`."""
    if bound == sys.float_info.max:
        return Fraction(bound)
    half_way = (Fraction(bound) + Fraction(math.nextafter(bound, math.inf))) / 2
    return half_way if float(half_way) <= bound else half_way - _TINY


@dataclass(frozen=True)
class Problem:
    """The problem max Σ values[i][pick_i] s.t. Σ costs[i][r, pick_i] <= bounds[r] for each row r.

    It is shifted so that the smallest value and the smallest cost of each layer are 0.

    Args:
        codes: Codes of each layer's candidates; a pick is an index into them.
        layers: Position of each layer's choice in the space.
        values: Integers [candidates] for each layer.
        costs: Integers [rows, candidates] for each layer.
        bounds: One bound for each row; -1 if even the cheapest candidates exceed it.
        value_array: float64 [layers, most candidates] in units of the largest sum; `NEVER` where there is no candidate.
        cost_array: float64 [rows, layers, most candidates], likewise; 0 where there is no candidate.
        bound_array: float64 [rows], in the units of `cost_array`.
        exact: Whether the integers are the floats' exact values.
        width: Number of choices of the space.
    """

    codes: tuple[NDArray[np.uint8], ...]
    layers: tuple[int, ...]
    values: tuple[IntArray, ...]
    costs: tuple[IntArray, ...]
    bounds: tuple[int, ...]
    value_array: FloatArray
    cost_array: FloatArray
    bound_array: FloatArray
    exact: bool
    width: int

    def decode(self, picks: NDArray[Any]) -> Codes:
        """Returns codes uint8 [n, choices] of picks [n, layers]."""
        codes = np.full((len(picks), self.width), INACTIVE, dtype=np.uint8)
        for i, (layer, own) in enumerate(zip(self.layers, self.codes, strict=True)):
            codes[:, layer] = own[picks[:, i]]
        return codes

    def value(self, picks: Sequence[int]) -> int:
        """Returns the integer objective of one pick per layer."""
        return sum(int(v[k]) for v, k in zip(self.values, picks, strict=True))

    def feasible(self, picks: Sequence[int]) -> bool:
        """Whether one pick per layer keeps to every bound."""
        return all(
            sum(int(c[r, k]) for c, k in zip(self.costs, picks, strict=True)) <= bound
            for r, bound in enumerate(self.bounds)
        )


def build(
    objective: Sequence[FloatArray], rows: Sequence[Row], branch: Sequence[Sequence[int]], *, exact: bool = False
) -> Problem:
    """Builds the problem of one branch.

    Args:
        objective: One finite number per candidate, for each choice; the sum over the active choices is maximised.
        rows: Inequalities that must hold, at least one. All but the first are left out if nothing can break them.
        branch: Codes in reach, for each choice; none if it is inactive.
        exact: Whether to keep every bit, with Python integers where int64 has too few.
    """
    layers = tuple(i for i, codes in enumerate(branch) if codes)
    codes = tuple(np.array(branch[i], dtype=np.uint8) for i in layers)
    values, _ = _integers(objective, layers, codes, None, exact)
    priced = [_integers(row.entries, layers, codes, row.limit, exact) for row in rows]
    kept = breakable(priced)
    dtype = integer_type([values, *(columns for columns, _ in kept)])
    most = max(len(own) for own in codes)
    value_array, _ = scaled(values, most, NEVER)
    priced_arrays = [scaled(columns, most, 0.0) for columns, _ in kept]
    return Problem(
        codes,
        layers,
        tuple(np.array(column, dtype=dtype) for column in values),
        tuple(
            np.array([c[i] for c, _ in kept], dtype=dtype).reshape(len(kept), len(codes[i])) for i in range(len(layers))
        ),
        tuple(bound for _, bound in kept),
        value_array,
        np.array([array for array, _ in priced_arrays]).reshape(len(kept), len(layers), most),
        np.array([ratio(b, total) for (_, b), (_, total) in zip(kept, priced_arrays, strict=True)]),
        exact,
        len(branch),
    )


def _integers(
    entries: Sequence[FloatArray],
    layers: Sequence[int],
    codes: Sequence[NDArray[np.uint8]],
    limit: Fraction | None,
    exact: bool,
) -> tuple[list[list[int]], int]:
    """Returns entries and limit over one denominator, less each layer's smallest, in at most 62 bits unless `exact`."""
    ratios = [[x.as_integer_ratio() for x in entries[i][own].tolist()] for i, own in zip(layers, codes, strict=True)]
    denominator = max(d for column in ratios for _, d in column)
    return shifted([[n * (denominator // d) for n, d in column] for column in ratios], denominator, limit, exact)


def shifted(
    columns: list[list[int]], denominator: int, limit: Fraction | None, exact: bool
) -> tuple[list[list[int]], int]:
    """Returns integers over a denominator and a limit, less each column's least, in at most 62 bits unless `exact`."""
    smallest = [min(column) for column in columns]
    columns = [[x - low for x in column] for column, low in zip(columns, smallest, strict=True)]
    total = sum(max(column) for column in columns)
    shift = 0 if exact else max(0, total.bit_length() - BITS)
    bound = total if limit is None else math.floor(limit * denominator) - sum(smallest)
    return [[x >> shift for x in column] for column in columns], max(-1, min(bound, total) >> shift)


def breakable(priced: Sequence[tuple[list[list[int]], int]]) -> list[tuple[list[list[int]], int]]:
    """Returns the first of several rows of columns with their bounds, and those that something can break."""
    return [(c, b) for r, (c, b) in enumerate(priced) if r == 0 or b < sum(max(column) for column in c)]


def integer_type(rows: Sequence[list[list[int]]]) -> type:
    """Returns int64 if all sums of columns fit, else Python's integers."""
    fits = all(sum(max(column) for column in columns) < 1 << BITS for columns in rows)
    return np.int64 if fits else object


def scaled(columns: list[list[int]], most: int, padding: float) -> tuple[FloatArray, int]:
    """Returns the columns as floats in units of their largest sum, padded, and that sum."""
    total = sum(max(column) for column in columns)
    array = np.full((len(columns), most), padding)
    for i, column in enumerate(columns):
        array[i, : len(column)] = [ratio(x, total) for x in column]
    return array, total


def ratio(x: int, total: int) -> float:
    return x / total if total else float(x > 0) - float(x < 0)
