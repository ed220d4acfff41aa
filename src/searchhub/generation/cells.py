"""Generates cells with two inputs per node within limits (efficient network generation, DDPNAS Sec. 3.3, Table 4).

A space consists of cells if all its choices are edges of cells (`costs.structure.cells_of`). `generate` and `pareto`
come here for such spaces. The answer holds `none` on the edges that it leaves out. E[α] (DDPNAS Eq. 9) is the mean of θ
over the edges that it keeps; predicted quality counts `none` on the others, as in the networks that were scored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, cast

import numpy as np

from searchhub.costs.structure import Cells, HeightCost, cells_of, structural_costs
from searchhub.costs.table import CostTable
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.generation.architecture import Certificate, GeneratedArchitecture, decode_all
from searchhub.generation.infeasible import infeasible_error
from searchhub.generation.knapsack import TooManyStatesError
from searchhub.generation.limits import CostRange, unbound
from searchhub.generation.nodes import INPUTS, METHOD, Reach, front_codes, solve_cells
from searchhub.generation.objective import Expectation, Objective
from searchhub.generation.solve import UndecidedError
from searchhub.result import SearchResult
from searchhub.space import Codes

Candidates = Literal["all", "survivors"]
Costs = Mapping[str, CostTable | HeightCost]


def known_costs(result: SearchResult) -> Mapping[str, CostTable]:
    """Returns the costs that limits may name: the result's, and for cells N and H.

    H is no `CostTable`, but has what limits and pictures need; code that reads entries must check first.
    """
    cells = cells_of(result.space)
    return result.costs if cells is None else {**cast(Mapping[str, CostTable], structural_costs(cells)), **result.costs}


def reachable_range(table: CostTable) -> tuple[float, float]:
    """Returns the smallest and the largest cost that networks of a table's space can have, correctly rounded.

    For cells, only those count that can be generated: they have two inputs per node.
    """
    cells = cells_of(table.space)
    return table.bounds() if cells is None else _range(CostRange(table, -math.inf, math.inf), Reach.all_of(cells))


def reachable_mean(table: CostTable) -> float:
    """Returns the mean cost of networks of a table's space, with everything about them drawn uniformly.

    For cells, nodes have two inputs, and both hold an operation other than `none`.
    """
    cells = cells_of(table.space)
    if cells is None:
        return table.mean()
    total = table.fixed
    for node in cells.nodes:
        for i in node.choices:
            kept, left_out = np.delete(table.entries[i], cells.none[i]), table.entries[i][cells.none[i]]
            share = INPUTS / len(node.choices)
            total += share * float(kept.mean()) + (1.0 - share) * float(left_out)
    return total


def generate_cells(
    objective: Objective,
    windows: Sequence[CostRange],
    tables: Costs,
    cells: Cells,
    codes: Sequence[Sequence[int]],
    *,
    reach: str,
    way_out: str,
) -> GeneratedArchitecture:
    """Returns the best cells within the ranges; nodes have two inputs, never `none`.

    Args:
        objective: What is maximised.
        windows: Ranges of cost, at most one per cost.
        tables: Costs that the certificate names.
        cells: Cells of the searched space.
        codes: Codes in reach, for each choice.
        reach: What is in reach, in words, e.g. "this space".
        way_out: What to do if nothing is within the ranges, besides moving a limit.

    Raises:
        InfeasibleLimitError: Nothing is within the ranges; the error names the smallest value that can be met.
        InvalidInputError: A cost does not add up over the edges, or a node has fewer than two edges in reach.
    """
    _require_sums(windows)
    within = Reach.of(cells, codes)
    answer = solve_cells(objective.entries(codes), windows, within)
    if answer is None:
        raise _nothing_within(windows, within, reach, way_out)
    costs = {name: table.of_row(answer.row) for name, table in tables.items()}
    notes = (answer.note, _unbound(objective, windows, costs, answer.row, within, reach), objective.note(answer.row))
    certificate = Certificate(
        answer.proved,
        answer.method,
        score=None,
        costs=costs,
        note=" ".join(note for note in notes if note),
        **objective.told(answer.row[None, :])[0],
    )
    for window in windows:
        assert window.holds(costs[window.table.name]), f"`{window}` must hold for every answer"
    return GeneratedArchitecture(cells.space.decode(answer.row), certificate)


def front_of_cells(
    objective: Objective,
    table: CostTable | HeightCost,
    tables: Costs,
    cells: Cells,
    codes: Sequence[Sequence[int]],
) -> list[GeneratedArchitecture]:
    """Returns the exact front of the objective against one cost, in increasing cost and objective; see `pareto`.

    Raises:
        InvalidInputError: The cost does not add up over the edges, or the front is too long.
    """
    within, entries = Reach.of(cells, codes), objective.entries(codes)
    if isinstance(table, HeightCost):
        answers = [solve_cells(entries, [_exactly(table, h)], within) for h in _all_heights(table)]
        rows = np.array([answer.row for answer in answers if answer is not None])
    else:
        _require_sums([CostRange(table, -math.inf, math.inf)])
        try:
            rows = front_codes(entries, table, within)
        except TooManyStatesError:
            raise InvalidInputError(
                f"The front of `{table.name}` has too many points. Ask for the limits that matter with `generate`."
            ) from None
    points: list[GeneratedArchitecture] = []
    highest = -math.inf
    values, told = objective.values(rows), objective.told(rows)
    for chosen, value, what, row in zip(decode_all(cells.space, rows), values, told, rows, strict=True):
        costs = {name: cost.of_row(row) for name, cost in tables.items()}
        if value > highest:
            if points and points[-1].certificate.costs[table.name] == costs[table.name]:
                points.pop()
            certificate = Certificate(True, METHOD, score=None, costs=costs, **what)
            points.append(GeneratedArchitecture(chosen, certificate))
            highest = value
    return points


def derive(
    result: SearchResult, *, candidates: Candidates = "survivors", exclude_none: bool = True
) -> GeneratedArchitecture:
    """Derives cells as DARTS and DDPNAS do: in each node the two strongest edges, on each the strongest operation.

    An edge is as strong as the largest θ of its operations; among equals the first is taken. The paper derives from the
    survivors of the search. If `none` is excluded, as in DARTS's code, this is what `generate` finds without limits
    with the objective "expectation".

    Args:
        result: Result of a search of cells that has a θ.
        candidates: "survivors", or "all" with the θ that pruned candidates keep.
        exclude_none: Whether `none` is passed over. False: it competes, and an edge on which it is the strongest is
            taken and stays empty, so that a node may have one input.

    Raises:
        InvalidInputError: The space does not consist of cells, the result has no θ, or a node would have too few
            inputs.
    """
    cells, distribution = cells_of(result.space), result.distribution
    if cells is None or distribution is None:
        raise InvalidInputError(
            f"Cells are derived from the θ of a space of cells, but `{result.space.name}` "
            f"{'has no θ in this result' if cells is not None else 'is none'}. Use `generate`."
        )
    everything = [tuple(range(len(choice.candidates))) for choice in result.space.choices]
    codes: Sequence[Sequence[int]] = everything if candidates == "all" else distribution.survivors
    if exclude_none:
        codes = Reach.of(cells, codes).codes
    row = np.array(cells.none, dtype=np.uint8)
    for node in cells.nodes:
        strongest = {i: max(codes[i], key=distribution.theta[i].__getitem__) for i in node.choices if codes[i]}
        edges = sorted(strongest, key=lambda i: -distribution.theta[i][strongest[i]])[:INPUTS]
        for i in edges:
            row[i] = strongest[i]
        if all(row[i] == cells.none[i] for i in edges):
            raise InvalidInputError(
                f"A node must have an input, but `none` is the strongest on both edges of node {node.number} of the "
                f"{node.kind} cell. Pass `exclude_none=True`."
            )
    costs = {name: table.of_row(row) for name, table in result.costs.items()}
    expectation = Expectation(distribution, cells).values(row[None, :])[0]
    certificate = Certificate(exclude_none, "derived", expectation, None, costs)
    return GeneratedArchitecture(result.space.decode(row), certificate)


def _unbound(
    objective: Objective,
    windows: Sequence[CostRange],
    costs: Mapping[str, float],
    row: Codes,
    within: Reach,
    reach: str,
) -> str:
    """Returns a sentence for each upper limit that does not bind; it solves what this takes only if there is one."""
    upper = [window for window in windows if math.isfinite(window.high) and window.low < window.high]
    if not upper:
        return ""
    free = solve_cells(objective.entries(within.codes), (), within)
    assert free is not None, "without windows there is always an answer"
    ranges = {window.table.name: _range(window, within) for window in upper}
    as_good = objective.exact(row) == objective.exact(free.row)
    return unbound(upper, costs, ranges, unconstrained=as_good, reach=reach)


def _require_sums(windows: Sequence[CostRange]) -> None:
    for window in windows:
        if isinstance(window.table, CostTable) and window.table.pairs:
            raise InvalidInputError(
                f"`{window.table.name}` must add up over the edges of cells, but couples choices. Give another cost."
            )


def _all_heights(table: HeightCost) -> range:
    low, high = table.bounds()
    return range(int(low), int(high) + 1)


def _exactly(table: HeightCost, height: int) -> CostRange:
    return CostRange(cast(CostTable, table), float(height), float(height))


# -- limits that nothing meets ----------------------------------------------------------------------------------------


def _nothing_within(windows: Sequence[CostRange], within: Reach, reach: str, way_out: str) -> InfeasibleLimitError:
    def nearest(window: CostRange, kept: Sequence[CostRange]) -> tuple[float | None, float | None] | None:
        if _extreme(window, kept, within, -1.0) is None:
            return None
        below = _extreme(window, [*kept, CostRange(window.table, -math.inf, window.high)], within, 1.0)
        above = _extreme(window, [*kept, CostRange(window.table, window.low, math.inf)], within, -1.0)
        return below, above

    ranges = {window.table.name: _range(window, within) for window in windows}
    return infeasible_error(windows, nearest, ranges, reach=reach, way_out=way_out)


def _range(window: CostRange, within: Reach) -> tuple[float, float]:
    """Returns the smallest and the largest cost in reach."""
    smallest, largest = _extreme(window, (), within, -1.0), _extreme(window, (), within, 1.0)
    assert smallest is not None, "without windows there is always an answer"
    assert largest is not None
    return smallest, largest


def _extreme(window: CostRange, kept: Sequence[CostRange], within: Reach, sign: float) -> float | None:
    """Returns the largest (sign 1) or smallest (-1) cost within ranges; None if there is none, or none was found."""
    table = window.table
    try:
        if isinstance(table, HeightCost):
            own = [w for w in kept if w.table is table]
            others = [w for w in kept if w.table is not table]
            flat = [np.zeros(len(choice.candidates)) for choice in within.cells.space.choices]
            for height in sorted(_all_heights(table), key=lambda h: -sign * h):
                held = all(w.holds(height) for w in own)
                if held and solve_cells(flat, [*others, _exactly(table, height)], within) is not None:
                    return float(height)
            return None
        answer = solve_cells([sign * entry for entry in table.entries], kept, within)
    except UndecidedError:
        return None
    return None if answer is None else table.of_row(answer.row)
