"""The text form in which derived DARTS cells are published, read without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from searchhub.errors import InvalidInputError
from searchhub.space import Architecture
from searchhub.spaces.darts import KINDS, NONE, NUM_INPUTS, OPERATIONS, cell_edges, cell_inputs, edge_name

__all__ = ["Genotype"]

Cell = tuple[tuple[str, int], ...]

INPUTS_A_NODE = 2
"""A published cell keeps this many inputs for each of its intermediate nodes."""

_EXAMPLE = "Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=[...], ...)"


@dataclass(frozen=True)
class Genotype:
    """Two derived cells as DARTS writes them; `str` gives the text, `Genotype.parse` reads it.

    Args:
        normal: (operation, source) of the edges of the normal cell, two a node, in the order of the nodes.
        reduction: The same of the reduction cell ("reduce" in the text).
    """

    normal: Cell
    reduction: Cell

    def __post_init__(self) -> None:
        for kind, cell in zip(KINDS, (self.normal, self.reduction), strict=True):
            _check_cell(kind, cell)
        if len(self.normal) != len(self.reduction):
            raise InvalidInputError(
                "Both cells of a genotype must have the same number of edges, "
                f"but have {len(self.normal)} and {len(self.reduction)}."
            )

    @property
    def num_nodes(self) -> int:
        """Intermediate nodes of a cell."""
        return len(self.normal) // INPUTS_A_NODE

    def __str__(self) -> str:
        concat = f"range({NUM_INPUTS}, {NUM_INPUTS + self.num_nodes})"
        return (
            f"Genotype(normal={list(self.normal)}, normal_concat={concat}, "
            f"reduce={list(self.reduction)}, reduce_concat={concat})"
        )

    @classmethod
    def parse(cls, text: str, name: str | None = None) -> Genotype:
        """Read `Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=..., ...)`.

        Nothing of the text is run. A name before it (`DARTS_V2 = Genotype(...)`) is accepted.

        Args:
            text: Holds one genotype, or several with a name each.
            name: Name of the one to read, as it stands there or before `identifier` made it. None: the only one.

        Raises:
            InvalidInputError: Text of another form, unknown operations, an input that is not there, two edges from the
                same input to a node, an output that leaves an intermediate node out, or no one genotype of that name.
        """
        fields = _fields(_call(text, name))
        genotype = cls(_cell("normal", fields["normal"]), _cell("reduce", fields["reduce"]))
        expected = list(range(NUM_INPUTS, NUM_INPUTS + genotype.num_nodes))
        for name in ("normal_concat", "reduce_concat"):
            concat = _integers(name, fields[name])
            if sorted(concat) != expected:
                raise InvalidInputError(
                    f"`{name}` must name every intermediate node of its cell, {expected}, but names {concat}. "
                    "Cells whose output leaves some out are not of this space."
                )
        return genotype

    @classmethod
    def of(cls, architecture: Architecture) -> Genotype:
        """The genotype of a derived architecture.

        Raises:
            InvalidInputError: A node of it has not exactly two inputs that are not `none`.
        """
        cells = []
        for kind in KINDS:
            edges: list[tuple[str, int]] = []
            for node, inputs in sorted(cell_inputs(architecture, kind).items()):
                if len(inputs) != INPUTS_A_NODE:
                    raise InvalidInputError(
                        f"A genotype has {INPUTS_A_NODE} inputs a node, but node {node} of the {kind} cell has "
                        f"{len(inputs)}. Derive an architecture first: `searchhub.generate`."
                    )
                edges += inputs
            cells.append(tuple(edges))
        return cls(*cells)

    @classmethod
    def from_operations(cls, normal: Sequence[str], reduction: Sequence[str]) -> Genotype:
        """The genotype of the operations on all edges of two cells, in the order of `cell_edges`.

        Raises:
            InvalidInputError: They are not those of a cell, or a node has not exactly two inputs.
        """
        chosen: dict[str, str] = {}
        for kind, operations in zip(KINDS, (normal, reduction), strict=True):
            num_nodes = next((n for n in range(1, 100) if len(cell_edges(n)) >= len(operations)), 0)
            edges = cell_edges(num_nodes)
            if len(edges) != len(operations):
                raise InvalidInputError(f"A cell must have an operation an edge, 2, 5, 9, 14 …; got {len(operations)}.")
            chosen |= {edge_name(kind, *edge): op for edge, op in zip(edges, operations, strict=True)}
        return cls.of(Architecture(chosen))

    def architecture(self) -> Architecture:
        """The architecture of `darts_space()`: the genotype's operations, and `none` on every other edge."""
        chosen = {}
        for kind, cell in zip(KINDS, (self.normal, self.reduction), strict=True):
            kept = {(source, _target(i)): operation for i, (operation, source) in enumerate(cell)}
            for source, target in cell_edges(self.num_nodes):
                chosen[edge_name(kind, source, target)] = kept.get((source, target), NONE)
        return Architecture(chosen)


def _target(edge: int) -> int:
    return NUM_INPUTS + edge // INPUTS_A_NODE


def _check_cell(kind: str, cell: Cell) -> None:
    if not cell or len(cell) % INPUTS_A_NODE:
        raise InvalidInputError(f"The {kind} cell must have {INPUTS_A_NODE} edges a node, but has {len(cell)} in all.")
    known = [operation for operation in OPERATIONS if operation != NONE]
    for i, (operation, source) in enumerate(cell):
        if operation not in known:
            raise InvalidInputError(f"An operation of a genotype must be one of {known}, but got {operation!r}.")
        if not 0 <= source < _target(i):
            raise InvalidInputError(
                f"An input of node {_target(i)} of the {kind} cell must be 0 to {_target(i) - 1}, but is {source}."
            )
    for start in range(0, len(cell), INPUTS_A_NODE):
        sources = [source for _, source in cell[start : start + INPUTS_A_NODE]]
        if len(set(sources)) != len(sources):
            raise InvalidInputError(
                f"Node {_target(start)} of the {kind} cell must have different inputs, but has {sources}: "
                "such cells are not of this space, which has one operation an edge."
            )


def identifier(name: str) -> str:
    """A network's name as one that Python takes, to stand before its genotype.

    >>> identifier("non_parameter-equal-4")
    'non_parameter_equal_4'
    """
    return re.sub(r"\W|^(?=\d)", "_", name)


def _call(text: str, name: str | None) -> ast.Call:
    """The `Genotype(...)` of that name in a text."""
    try:
        statements = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidInputError(f"A genotype must look like {_EXAMPLE}, but got {_short(text)}.") from error
    found: list[tuple[str, ast.Call]] = []
    for statement in statements:
        value = statement.value if isinstance(statement, ast.Expr | ast.Assign) else None
        if not isinstance(value, ast.Call) or ast.unparse(value.func).rpartition(".")[2] != "Genotype":
            raise InvalidInputError(f"A genotype must look like {_EXAMPLE}, but got {_short(ast.unparse(statement))}.")
        found.append((ast.unparse(statement.targets[0]) if isinstance(statement, ast.Assign) else "", value))
    wanted = [value for own, value in found if name is None or own == identifier(name)]
    if not found:
        raise InvalidInputError(f"A genotype must look like {_EXAMPLE}, but got {_short(text)}.")
    if len(wanted) != 1:
        named = f"there are {len(wanted)} of the name `{name}`" if name is not None else "no name says which"
        raise InvalidInputError(
            f"One genotype must be chosen of {[own for own, _ in found]}, but {named}. Give the name of one."
        )
    return wanted[0]


def _fields(call: ast.Call) -> dict[str, ast.expr]:
    expected = ("normal", "normal_concat", "reduce", "reduce_concat")
    # What stands without a name and is one too many gets a name that no field has.
    given = [*zip((*expected, *["another"] * len(call.args)), call.args, strict=False)]
    given += [(keyword.arg or "**", keyword.value) for keyword in call.keywords]
    names = [name for name, _ in given]
    if sorted(names) != sorted(expected):
        raise InvalidInputError(f"A genotype must have the fields {list(expected)}, but has {names}.")
    return dict(given)


def _cell(name: str, node: ast.expr) -> Cell:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, list | tuple) or not all(
        isinstance(edge, list | tuple)
        and len(edge) == 2
        and isinstance(edge[0], str)
        and isinstance(edge[1], int)
        and not isinstance(edge[1], bool)
        for edge in value
    ):
        raise InvalidInputError(
            f"`{name}` must be a list like [('sep_conv_3x3', 1), ...], but is {_short(ast.unparse(node))}."
        )
    return tuple((str(operation), int(source)) for operation, source in value)


def _integers(name: str, node: ast.expr) -> list[int]:
    call = isinstance(node, ast.Call) and ast.unparse(node.func) == "range" and not node.keywords
    try:
        value = [ast.literal_eval(part) for part in node.args] if call else ast.literal_eval(node)  # type: ignore[attr-defined]
    except (ValueError, TypeError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, list | tuple) or not all(type(v) is int for v in value) or (call and len(value) != 2):
        raise InvalidInputError(
            f"`{name}` must be like range(2, 6) or [2, 3, 4, 5], but is {_short(ast.unparse(node))}."
        )
    if call and value[1] - value[0] > 100:
        raise InvalidInputError(f"`{name}` must name the nodes of a cell, but is {_short(ast.unparse(node))}.")
    return list(range(*value)) if call else list(value)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
