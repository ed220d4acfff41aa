"""Prices a cell's structure (DDPNAS Table 4): N, how many operations have no parameters, and H, how high the cell is.

A space consists of cells if all its choices are edges of cells, judged by their names (`spaces.darts.edge_name`). A
published architecture of such a space has two inputs per node: `none` stands on the edges that it leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchhub.costs.table import CostTable
from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.space import INACTIVE, Candidate, Choice, Codes, SearchSpace
from searchhub.spaces.darts import NONE, NUM_INPUTS, WITH_PARAMETERS, edge_of
from searchhub.spaces.mobile import NON_PARAMETER

HEIGHT = "height"
NON_PARAMETER_COST = "non_parameter"

_NOT_REACHED = -1_000_000
"""Depth of a node that no path from an input leads to: it is below 0 however many nodes follow."""


@dataclass(frozen=True)
class CellNode:
    """A node of a cell and the edges that may enter it.

    Args:
        kind: Kind of the cell, e.g. "normal".
        number: Number of the node, from `NUM_INPUTS` on. Lower numbers are the cell's inputs.
        sources: Nodes or inputs from which the edges come, in order.
        choices: Positions of the edges in the space.
    """

    kind: str
    number: int
    sources: tuple[int, ...]
    choices: tuple[int, ...]


@dataclass(frozen=True)
class Cells:
    """The cells of a space: the nodes of each kind, in order.

    Args:
        space: Space in which every choice is an edge.
        nodes: Nodes of all kinds.
        none: Code of the operation that leaves an edge out, for each choice.
    """

    space: SearchSpace
    nodes: tuple[CellNode, ...]
    none: tuple[int, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of cell, in the order of the space."""
        return tuple(dict.fromkeys(node.kind for node in self.nodes))

    def left_out(self, codes: Codes) -> Codes:
        """Returns codes [n, choices] with `INACTIVE` on the edges that hold `none`: these take no part in E[α]."""
        return np.where(codes == np.array(self.none, dtype=np.uint8), np.uint8(INACTIVE), codes).astype(np.uint8)

    def heights(self, codes: Codes, kind: str) -> NDArray[np.int64]:
        """Returns, for codes [n, choices], the number of nodes, [n], on the longest path from input to output of a kind
        of cell.

        It is 0 if no path connects them.
        """
        depths = {i: np.zeros(len(codes), dtype=np.int64) for i in range(NUM_INPUTS)}
        highest = np.zeros(len(codes), dtype=np.int64)
        for node in self.nodes:
            if node.kind != kind:
                continue
            reached = np.full(len(codes), _NOT_REACHED)
            for source, i in zip(node.sources, node.choices, strict=True):
                reached = np.where(codes[:, i] != self.none[i], np.maximum(reached, depths[source] + 1), reached)
            depths[node.number] = reached
            highest = np.maximum(highest, reached)
        return highest


def cells_of(space: SearchSpace) -> Cells | None:
    """Returns the cells of a space; None if it does not consist of cells.

    Raises:
        InvalidInputError: An edge cannot be left out, or cells are not complete.
    """
    if not all(_is_edge(choice.name) for choice in space.choices):
        return None
    edges: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for i, choice in enumerate(space.choices):
        if NONE not in choice.candidates:
            raise InvalidInputError(
                f"Every edge of a cell must have `{NONE}` to leave it out, but `{choice.name}` has "
                f"{list(choice.candidates)}. Add it to the operations."
            )
        kind, source, target = edge_of(choice.name)
        edges.setdefault((kind, target), []).append((source, i))
    nodes = []
    for (kind, target), own in sorted(edges.items(), key=lambda item: min(i for _, i in item[1])):
        own = sorted(own)
        if [source for source, _ in own] != list(range(target)):
            raise InvalidInputError(
                f"Node {target} of the {kind} cell must have an edge from each node before it, but has them from "
                f"{[source for source, _ in own]}."
            )
        nodes.append(CellNode(kind, target, tuple(s for s, _ in own), tuple(i for _, i in own)))
    return Cells(space, tuple(nodes), tuple(choice.candidates.index(NONE) for choice in space.choices))


@dataclass(frozen=True, eq=False)
class HeightCost:
    """The H of DDPNAS Table 4: the number of nodes on the longest path from a cell's inputs to its output.

    It is not a sum over edges, so it is no `CostTable`. Limits name it: `Limit("height", max=2)`.

    Args:
        cells: Cells of the space.
        kind: Kind of cell. None: the higher one of all kinds.
    """

    cells: Cells
    kind: str | None = None
    unit: str = "nodes"

    @property
    def name(self) -> str:
        """The name that limits use: "height", "normal.height"."""
        return HEIGHT if self.kind is None else f"{self.kind}.{HEIGHT}"

    @property
    def space(self) -> SearchSpace:
        """The space whose architectures it prices."""
        return self.cells.space

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of cell among which it takes the largest height."""
        return self.cells.kinds if self.kind is None else (self.kind,)

    def __call__(self, architecture: Mapping[str, Candidate]) -> float:
        """Returns the height of one architecture."""
        return self.of_row(self.space.encode(architecture))

    def of_row(self, row: NDArray[np.integer[Any]]) -> float:
        """Returns the height of one row [choices] of codes."""
        return float(self.of_codes(np.asarray(row)[None, :])[0])

    def of_codes(self, codes: Codes) -> FloatArray:
        """Returns the heights, float64 [n], of codes [n, choices]."""
        heights = [self.cells.heights(codes, kind) for kind in self.kinds]
        return np.asarray(np.max(heights, axis=0), dtype=np.float64)

    def bounds(self) -> tuple[float, float]:
        """Returns the smallest and the largest height of cells in which every node has inputs."""
        nodes = [sum(node.kind == kind for node in self.cells.nodes) for kind in self.kinds]
        return 1.0, float(max(nodes))


def non_parameter_table(space: SearchSpace, kind: str | None = None) -> CostTable:
    """Returns the N of DDPNAS Table 4: how many operations of an architecture have no parameters, not counting `none`.

    The paper does not say whether N covers both kinds of cell together. The sizes in its table fit only that: what a
    network has above one without any convolution is then about the same for each of the 16 - N operations.

    Args:
        space: A space with groups, or with DARTS's operations.
        kind: Kind of cell whose operations alone are counted. None: all choices of the space count.

    Raises:
        InvalidInputError: The space does not say which operations have parameters, or has no such kind of cell.
    """
    prefix = "" if kind is None else f"{kind}."
    if not any(choice.name.startswith(prefix) for choice in space.choices):
        raise InvalidInputError(f"`kind` must be a kind of cell of `{space.name}`, but got {kind!r}.")
    entries = tuple(
        np.array([float(choice.name.startswith(prefix) and _counts(choice, k)) for k in range(len(choice.candidates))])
        for choice in space.choices
    )
    return CostTable(f"{prefix}{NON_PARAMETER_COST}", space, 0.0, entries, "operations without parameters")


def _is_edge(choice: str) -> bool:
    try:
        edge_of(choice)
    except InvalidInputError:
        return False
    return True


def _counts(choice: Choice, code: int) -> bool:
    candidate = choice.candidates[code]
    if candidate == NONE:
        return False
    if choice.groups:
        return choice.groups[code] == NON_PARAMETER
    if not _is_edge(choice.name):
        raise InvalidInputError(
            f"`{choice.name}` must have groups that say which candidates have no parameters, but has none. "
            "Make the space with them."
        )
    return candidate not in WITH_PARAMETERS


def structural_costs(cells: Cells) -> dict[str, CostTable | HeightCost]:
    """Returns what limits on cells may name without a table of their own: N and H, of all kinds and of each kind."""
    costs: list[CostTable | HeightCost] = []
    for kind in (None, *cells.kinds):
        costs += [non_parameter_table(cells.space, kind), HeightCost(cells, kind)]
    return {cost.name: cost for cost in costs}
