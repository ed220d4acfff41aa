"""Finds the best cells with two inputs per node, exactly (DDPNAS Sec. 3.3, Table 4).

What is chosen is not an operation on each edge but, in each node, two edges and an operation on each: the options of a
node. Nodes are the layers of a `Problem`, so limits that add up over edges are solved as everywhere else. Height is no
sum. But once it is laid down how deep each node lies, every node again chooses on its own, among the edges that put it
there; so each such layout (15 a kind of cell with four nodes) is a problem of its own. They are solved in the order of
Lagrange's bound, until none that is left can beat what was found.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from searchhub.costs.structure import Cells, HeightCost
from searchhub.costs.table import CostTable
from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.generation import knapsack
from searchhub.generation.limits import CostRange
from searchhub.generation.milp import SECONDS
from searchhub.generation.problem import NEVER, UNLIMITED, IntArray, Problem, Row, build, rows_of
from searchhub.generation.solve import Answer, UndecidedError, optimise
from searchhub.space import Codes
from searchhub.spaces.darts import NUM_INPUTS

INPUTS = 2
"""Number of edges that enter a node of a generated architecture."""

METHOD = "list-DP over nodes"

Index = NDArray[np.intp]


@dataclass(frozen=True)
class Reach:
    """What may be generated: for each choice, the codes on offer if its edge is kept; `none` is never one of them.

    Raises:
        InvalidInputError: A node has fewer than two edges left.
    """

    cells: Cells
    codes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        for node in self.cells.nodes:
            left = sum(bool(self.codes[i]) for i in node.choices)
            if left < INPUTS:
                raise InvalidInputError(
                    f"Node {node.number} of the {node.kind} cell must have {INPUTS} edges with an operation other than "
                    f'`none`, but has {left} in reach. Pass `candidates="all"`, or add operations to the space.'
                )

    @classmethod
    def of(cls, cells: Cells, codes: Sequence[Sequence[int]]) -> Reach:
        """Returns what is in reach, given the codes of each choice."""
        return cls(
            cells, tuple(tuple(k for k in own if k != none) for own, none in zip(codes, cells.none, strict=True))
        )

    @classmethod
    def all_of(cls, cells: Cells) -> Reach:
        """Returns everything that the cells allow."""
        return cls.of(cells, [range(len(choice.candidates)) for choice in cells.space.choices])


@dataclass(frozen=True)
class Nodes:
    """The problem whose layers are the nodes of all cells.

    Args:
        reach: What may be generated.
        edges: The two edges that each option keeps, int [options, 2] for each node.
        codes: The codes on these edges, int [options, 2] for each node.
        problem: Problem in which the candidates of a layer are the options of a node. Its `decode` has no meaning.
    """

    reach: Reach
    edges: tuple[Index, ...]
    codes: tuple[Index, ...]
    problem: Problem

    def only(self, kept: Sequence[Index]) -> Problem:
        """Returns the same problem with some options of each node, by their positions."""
        whole, most = self.problem, max(len(own) for own in kept)
        value_array = np.full((len(kept), most), NEVER)
        cost_array = np.zeros((len(whole.bounds), len(kept), most))
        for i, own in enumerate(kept):
            value_array[i, : len(own)] = whole.value_array[i, own]
            cost_array[:, i, : len(own)] = whole.cost_array[:, i, own]
        return replace(
            whole,
            values=tuple(values[own] for values, own in zip(whole.values, kept, strict=True)),
            costs=tuple(costs[:, own] for costs, own in zip(whole.costs, kept, strict=True)),
            value_array=value_array,
            cost_array=cost_array,
        )

    def row(self, picks: Sequence[int]) -> Codes:
        """Returns the codes [choices] of one option per node."""
        row = np.array(self.reach.cells.none, dtype=np.uint8)
        for node, edges, codes, pick in zip(self.reach.cells.nodes, self.edges, self.codes, picks, strict=True):
            row[np.array(node.choices)[edges[pick]]] = codes[pick]
        return row


def solve_cells(objective: Sequence[FloatArray], windows: Sequence[CostRange], reach: Reach) -> Answer | None:
    """Returns the largest Σ objective over all edges within the ranges, or None; edges left out hold `none`.

    Among equal objectives it takes the lower cost of the first range that adds up, then of the first height.

    Args:
        objective: One finite number per operation, for each choice.
        windows: Ranges of cost, at most one per cost; tables that add up over the edges, or heights.
        reach: What may be generated.

    Raises:
        UndecidedError: HiGHS found nothing in its time, nor proved that there is nothing.
    """
    additive = [window for window in windows if not isinstance(window.table, HeightCost)]
    rows = [row for window in additive for row in rows_of(window)]
    entries = additive[0].table.entries if additive else tuple(np.zeros_like(o) for o in objective)
    if not rows or rows[0].entries is not entries:
        # The first row decides between equal answers.
        rows = [Row(entries, UNLIMITED), *rows]
    for exact in (False, True):
        nodes = build_nodes(objective, rows, reach, exact=exact)
        answer = _best_layout(nodes, windows)
        if answer is None or all(window.holds(window.table.of_row(answer.row)) for window in windows):
            return answer if windows or answer is None else replace(answer, method="argmax")
    raise AssertionError("an exact problem gave an answer outside its limits")


def front_codes(objective: Sequence[FloatArray], table: CostTable, reach: Reach) -> Codes:
    """Returns codes [n, choices] of the whole front of Σ objective against a cost that adds up.

    Raises:
        TooManyStatesError: The front is longer than the list-DP's cap.
    """
    nodes = build_nodes(objective, [Row(table.entries, UNLIMITED)], reach)
    return np.array([nodes.row(picks) for picks in knapsack.front(nodes.problem).tolist()])


# -- one option a node ------------------------------------------------------------------------------------------------


def build_nodes(objective: Sequence[FloatArray], rows: Sequence[Row], reach: Reach, *, exact: bool = False) -> Nodes:
    """Builds the problem over nodes from the integers of that over edges: `none` is on an edge that is left out."""
    branch = [(none, *own) for none, own in zip(reach.cells.none, reach.codes, strict=True)]
    over_edges = build(objective, rows, branch, exact=exact)
    edges, codes, values, costs = [], [], [], []
    for node in reach.cells.nodes:
        own_values = [over_edges.values[i] for i in node.choices]
        own_costs = [over_edges.costs[i] for i in node.choices]
        kept, picks = _options([len(v) - 1 for v in own_values])
        edges.append(kept)
        # The numbers separate what `none` takes on every edge from what changes where the edge is kept.
        values.append(sum(v[0] for v in own_values) + _gains([v[None] for v in own_values], kept, picks)[0])
        costs.append(np.sum([c[:, :1] for c in own_costs], axis=0) + _gains(own_costs, kept, picks))
        offers = _padded([np.array([branch[i]]) for i in node.choices])
        codes.append(np.array([offers[kept[:, side], 0, picks[:, side]] for side in range(INPUTS)]).T)
    problem = _scaled(over_edges, values, costs)
    return Nodes(reach, tuple(edges), tuple(codes), problem)


def _options(sizes: Sequence[int]) -> tuple[Index, Index]:
    """Lists two edges and a candidate (from 1) on each, int [options, 2] both, for each edge's number of operations."""
    options = [
        ((a, b), (p, q))
        for a, b in itertools.combinations(range(len(sizes)), INPUTS)
        for p in range(1, sizes[a] + 1)
        for q in range(1, sizes[b] + 1)
    ]
    return np.array([edges for edges, _ in options]), np.array([picks for _, picks in options])


def _gains(numbers: Sequence[IntArray], edges: Index, picks: Index) -> IntArray:
    """Returns [rows, options]: how much more than `none` the two kept edges take; numbers are [rows, candidates]."""
    gains = _padded([own - own[:, :1] for own in numbers])
    return np.asarray(np.sum([gains[edges[:, side], :, picks[:, side]] for side in range(INPUTS)], axis=0).T)


def _padded(numbers: Sequence[IntArray]) -> IntArray:
    """Returns [edges, rows, most candidates] from [rows, candidates] per edge."""
    most = max(own.shape[1] for own in numbers)
    return np.array([np.pad(own, ((0, 0), (0, most - own.shape[1]))) for own in numbers])


def _scaled(over_edges: Problem, values: list[IntArray], costs: list[IntArray]) -> Problem:
    """Returns the problem of these layers, with values and costs shifted so that the smallest of each layer is 0."""
    lowest = [c.min(axis=1) for c in costs]
    bounds = [int(b) - sum(int(low[r]) for low in lowest) for r, b in enumerate(over_edges.bounds)]
    values = [v - v.min() for v in values]
    costs = [c - low[:, None] for c, low in zip(costs, lowest, strict=True)]
    total = sum(int(v.max()) for v in values) or 1
    totals = [sum(int(c[r].max()) for c in costs) for r in range(len(bounds))]
    bounds = [max(-1, min(bound, full)) for bound, full in zip(bounds, totals, strict=True)]
    most = max(len(v) for v in values)
    value_array = np.full((len(values), most), NEVER)
    cost_array = np.zeros((len(bounds), len(values), most))
    for i, (v, c) in enumerate(zip(values, costs, strict=True)):
        value_array[i, : len(v)] = v / total
        cost_array[:, i, : len(v)] = c / np.array([[full or 1] for full in totals], dtype=v.dtype)
    return replace(
        over_edges,
        codes=tuple(np.zeros(len(v), dtype=np.uint8) for v in values),  # `Nodes.codes` takes their place
        layers=tuple(range(len(values))),
        values=tuple(values),
        costs=tuple(costs),
        bounds=tuple(bounds),
        value_array=value_array,
        cost_array=cost_array,
        bound_array=np.array([bound / (full or 1) for bound, full in zip(bounds, totals, strict=True)]),
    )


# -- how deep each node lies ------------------------------------------------------------------------------------------


def _best_layout(nodes: Nodes, windows: Sequence[CostRange]) -> Answer | None:
    """Returns the best answer of all layouts; those that cannot reach it by Lagrange's bound are not solved.

    HiGHS gets `SECONDS` for all of them together, and a second for each.
    """
    deadline = time.monotonic() + SECONDS
    problem = nodes.problem
    if any(bound < 0 for bound in problem.bounds):
        return None
    multipliers = knapsack.lagrange_multipliers(problem)
    reduced = problem.value_array - np.tensordot(multipliers, problem.cost_array, axes=1)
    spent = float(multipliers @ problem.bound_array)
    margin = knapsack.MARGIN * (1.0 + float(np.abs(reduced.max(axis=1)).sum()) + spent)
    layouts = [
        (spent + sum(float(reduced[i, own].max()) for i, own in enumerate(kept)), kept)
        for kept in _layouts(nodes, windows)
    ]
    best: Answer | None = None
    best_key: tuple[Fraction, ...] = ()
    reached = -math.inf
    undecided: UndecidedError | None = None
    all_proved = True
    for bound, kept in sorted(layouts, key=lambda layout: -layout[0]):
        if bound < reached - margin:
            break
        try:
            outcome = _solve_one(nodes.only(kept), windows, max(1.0, deadline - time.monotonic()))
        except UndecidedError as error:
            undecided = error
            continue
        if outcome is None:
            continue
        own, method, proved, note = outcome
        all_proved &= proved  # what a layout could still give may be better than what it gave
        picks = [int(k[pick]) for k, pick in zip(kept, own, strict=True)]
        row = nodes.row(picks)
        costs = [Fraction(window.table.of_row(row)) for window in sorted(windows, key=_is_height)]
        key = (Fraction(problem.value(picks)), *(-cost for cost in costs))
        if best is None or key > best_key:
            best, best_key = Answer(row, method, proved, note), key
            reached = sum(float(problem.value_array[i, pick]) for i, pick in enumerate(picks))
    if best is None and undecided is not None:
        raise undecided
    if best is not None and best.proved and (undecided is not None or not all_proved):
        return replace(best, proved=False, note="Another layout of the cells was not solved to the end.")
    return best


def _solve_one(
    problem: Problem, windows: Sequence[CostRange], seconds: float
) -> tuple[list[int], str, bool, str] | None:
    """Returns picks, the method, whether they are proved the best, and a note."""
    try:
        picks = knapsack.best(problem)
    except knapsack.TooManyStatesError:
        return optimise(problem, windows, seconds)
    return None if picks is None else (picks, METHOD, True, "")


def _is_height(window: CostRange) -> bool:
    return isinstance(window.table, HeightCost)


def _layouts(nodes: Nodes, windows: Sequence[CostRange]) -> Iterator[list[Index]]:
    """Yields each node's options in reach, by position, for every way in which nodes may lie within the heights."""
    cells, limits = nodes.reach.cells, [(w, w.table) for w in windows if isinstance(w.table, HeightCost)]
    if not limits:
        yield [np.arange(len(options)) for options in nodes.edges]
        return
    of_kind = [_layouts_of_kind(nodes, kind) for kind in cells.kinds]
    for combination in itertools.product(*of_kind):
        heights = {kind: height for kind, (height, _) in zip(cells.kinds, combination, strict=True)}
        if all(window.holds(max(heights[kind] for kind in cost.kinds)) for window, cost in limits):
            by_node = {n: own for _, kept in combination for n, own in kept.items()}
            yield [by_node[n] for n in range(len(cells.nodes))]


def _layouts_of_kind(nodes: Nodes, kind: str) -> list[tuple[int, dict[int, Index]]]:
    """Lists, for all depths that nodes of a kind may have, the height and each node's options that give its depth."""
    layouts: list[tuple[dict[int, int], dict[int, Index]]] = [(dict.fromkeys(range(NUM_INPUTS), 0), {})]
    for n, node in enumerate(nodes.reach.cells.nodes):
        if node.kind != kind:
            continue
        grown = []
        for depths, kept in layouts:
            of_source = np.array([depths[source] for source in node.sources])
            reached = 1 + of_source[nodes.edges[n]].max(axis=1)
            grown += [
                ({**depths, node.number: depth}, {**kept, n: np.flatnonzero(reached == depth)})
                for depth in np.unique(reached).tolist()
            ]
        layouts = grown
    return [(max(depths.values()), kept) for depths, kept in layouts]
