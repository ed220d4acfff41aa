"""The cells of DARTS (Liu et al., ICLR 2019; DDPNAS Sec. 3.1): an operation on each edge of two kinds of cell."""

from __future__ import annotations

import re
from collections.abc import Sequence

from searchhub.errors import InvalidInputError
from searchhub.space import Architecture, Choice, SearchSpace
from searchhub.spaces.mobile import NON_PARAMETER, PARAMETER

__all__ = ["darts_space"]

KINDS = ("normal", "reduction")

NUM_NODES = 4
"""Intermediate nodes of a cell; its output is all of them, side by side."""

NUM_INPUTS = 2
"""Nodes 0 and 1 are the outputs of the two cells before; the intermediate nodes count on from 2."""

NONE = "none"
"""The operation that gives zeros: an edge that is not there. A derived cell has it on every edge that it leaves out."""

OPERATIONS = (
    NONE,
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""In the order of the authors' code."""

WITH_PARAMETERS = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")


def cell_edges(num_nodes: int = NUM_NODES) -> tuple[tuple[int, int], ...]:
    """(source, target) of every edge of a cell, by target, then by source: the order of the authors' code.

    >>> cell_edges(2)
    ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    """
    return tuple((source, target) for target in range(NUM_INPUTS, NUM_INPUTS + num_nodes) for source in range(target))


def edge_name(kind: str, source: int, target: int) -> str:
    """What the choice of an edge is called, e.g. "normal.node2.from0"."""
    return f"{kind}.node{target}.from{source}"


def edge_of(choice: str) -> tuple[str, int, int]:
    """(kind, source, target) of a choice's name; `edge_name` the other way round."""
    found = re.fullmatch(r"(\w+)\.node(\d+)\.from(\d+)", choice)
    if found is None:
        raise InvalidInputError(f'An edge must be called like "normal.node2.from0", but got {choice!r}.')
    return found[1], int(found[3]), int(found[2])


def darts_space(
    *, num_nodes: int = NUM_NODES, operations: Sequence[str] = OPERATIONS, groups: bool = True
) -> SearchSpace:
    """A choice per edge of the normal and of the reduction cell: 28 choices of 8 operations, 8^28 architectures.

    An architecture has one operation on each edge. What is published keeps two inputs a node: it is the architecture
    with `none` on the others (the paper counts its space as 2 · 8^14).

    >>> darts_space().size == 8**28
    True

    Args:
        num_nodes: Intermediate nodes of a cell, at least 1.
        operations: Operations on offer on each edge, a subset of `OPERATIONS`.
        groups: Whether a search keeps one operation with parameters and one without (DDPNAS Sec. 3.2). False: a
            pruned search ends with one operation an edge.
    """
    if num_nodes < 1:
        raise InvalidInputError(f"`num_nodes >= 1` must hold, but got {num_nodes}.")
    unknown = set(operations) - set(OPERATIONS)
    if unknown:
        raise InvalidInputError(f"Operations must be of {list(OPERATIONS)}, but got {sorted(unknown)}.")
    labels = tuple(PARAMETER if operation in WITH_PARAMETERS else NON_PARAMETER for operation in operations)
    return SearchSpace(
        "darts",
        tuple(
            Choice(edge_name(kind, source, target), tuple(operations), labels if groups else ())
            for kind in KINDS
            for source, target in cell_edges(num_nodes)
        ),
    )


def cell_inputs(architecture: Architecture, kind: str) -> dict[int, list[tuple[str, int]]]:
    """Per intermediate node of a kind of cell, the (operation, source) of its edges that are not `none`."""
    inputs: dict[int, list[tuple[str, int]]] = {}
    for name, operation in architecture.items():
        of, source, target = edge_of(name)
        if of == kind:
            node = inputs.setdefault(target, [])
            if operation != NONE:
                node.append((str(operation), source))
    return inputs
