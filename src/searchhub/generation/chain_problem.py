"""Writes a space under limits that are coupled along its chain of choices with integers (see `problem`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchhub.distribution import FloatArray
from searchhub.generation.problem import IntArray, Row, breakable, integer_type, ratio, scaled, shifted
from searchhub.space import Codes


@dataclass(frozen=True)
class ChainProblem:
    """max Σ values[i][pick_{i-1}, pick_i] s.t. Σ costs[i][r, pick_{i-1}, pick_i] <= bounds[r] for each row r.

    The step to the first layer starts from one place. Numbers are shifted so that the smallest of each step is 0.

    Args:
        codes: Codes of each layer's candidates; a pick is an index into them. A layer is a choice.
        values: Integers [candidates before, candidates] for each layer.
        costs: Integers [rows, candidates before, candidates] for each layer.
        bounds: One bound per row; -1 if even the smallest numbers exceed it.
        value_arrays: The same as `values`, float64, in units of the sum of each step's largest.
        cost_arrays: The same as `costs`, likewise.
        bound_array: float64 [rows], in the units of `cost_arrays`.
    """

    codes: tuple[NDArray[np.uint8], ...]
    values: tuple[IntArray, ...]
    costs: tuple[IntArray, ...]
    bounds: tuple[int, ...]
    value_arrays: tuple[FloatArray, ...]
    cost_arrays: tuple[FloatArray, ...]
    bound_array: FloatArray

    def decode(self, picks: NDArray[Any]) -> Codes:
        """Returns codes uint8 [n, choices] of picks [n, layers]."""
        return np.stack([own[column] for own, column in zip(self.codes, picks.T, strict=True)], axis=1)

    def feasible(self, picks: Sequence[int]) -> bool:
        """Whether one pick per layer keeps to every bound."""
        steps = list(zip(self.costs, [0, *picks], picks, strict=False))
        return all(sum(int(c[r, j, k]) for c, j, k in steps) <= bound for r, bound in enumerate(self.bounds))

    def float_value(self, picks: Sequence[int]) -> float:
        """Returns the objective of one pick per layer, in the units of `value_arrays`."""
        return sum(float(v[j, k]) for v, j, k in zip(self.value_arrays, [0, *picks], picks, strict=False))


def build_chain(
    objective: Sequence[FloatArray],
    pairs: Sequence[FloatArray],
    rows: Sequence[Row],
    branch: Sequence[Sequence[int]],
    *,
    exact: bool = False,
) -> ChainProblem:
    """Builds the problem of a space without conditional choices.

    Args:
        objective: One finite number per candidate, for each choice.
        pairs: Pairs of the objective, like those of a `CostTable`; empty if there are none.
        rows: Inequalities that must hold, at least one. All but the first are left out if nothing can break them.
        branch: Codes in reach, for each choice.
        exact: Whether to keep every bit, with Python integers where int64 has too few.
    """
    codes = tuple(np.array(own, dtype=np.uint8) for own in branch)
    values, _ = _steps(objective, pairs, codes, None, exact)
    kept = breakable([_steps(row.entries, row.pairs, codes, row.limit, exact) for row in rows])
    dtype = integer_type([values, *(columns for columns, _ in kept)])
    shapes = [(before, len(own)) for before, own in zip([1, *map(len, codes)], codes, strict=False)]
    most = max(before * own for before, own in shapes)
    value_array, _ = scaled(values, most, 0.0)
    priced = [scaled(columns, most, 0.0) for columns, _ in kept]
    return ChainProblem(
        codes,
        tuple(np.array(column, dtype=dtype).reshape(shape) for column, shape in zip(values, shapes, strict=True)),
        tuple(
            np.array([columns[i] for columns, _ in kept], dtype=dtype).reshape(len(kept), *shape)
            for i, shape in enumerate(shapes)
        ),
        tuple(bound for _, bound in kept),
        tuple(value_array[i, : shape[0] * shape[1]].reshape(shape) for i, shape in enumerate(shapes)),
        tuple(
            np.stack([array[i, : shape[0] * shape[1]].reshape(shape) for array, _ in priced])
            for i, shape in enumerate(shapes)
        ),
        np.array([ratio(bound, total) for (_, bound), (_, total) in zip(kept, priced, strict=True)]),
    )


def _steps(
    entries: Sequence[FloatArray],
    pairs: Sequence[FloatArray],
    codes: Sequence[NDArray[np.uint8]],
    limit: Fraction | None,
    exact: bool,
) -> tuple[list[list[int]], int]:
    """Returns the cost of each layer's steps, [candidates before · candidates], over one denominator; and the limit."""
    own = [[x.as_integer_ratio() for x in entry[kept].tolist()] for entry, kept in zip(entries, codes, strict=True)]
    coupled = [
        [[x.as_integer_ratio() for x in line] for line in pair[np.ix_(codes[i], codes[i + 1])].tolist()]
        for i, pair in enumerate(pairs)
    ]
    numbers = [*(x for column in own for x in column), *(x for pair in coupled for line in pair for x in line)]
    denominator = max(d for _, d in numbers)
    columns = []
    for i, column in enumerate(own):
        whole = [n * (denominator // d) for n, d in column]
        before = len(codes[i - 1]) if i else 1
        lines = coupled[i - 1] if i and pairs else [[(0, 1)] * len(column)] * before
        columns += [[n * (denominator // d) + x for line in lines for (n, d), x in zip(line, whole, strict=True)]]
    return shifted(columns, denominator, limit, exact)
