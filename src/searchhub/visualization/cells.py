"""Draws cells: the graph of each kind, as DDPNAS Fig. 5."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Path2D

from searchhub.space import Candidate, SearchSpace
from searchhub.visualization.palette import architecture_colors
from searchhub.visualization.style import FAINT, INK, STYLE, save_figure

NONE = "none"
_EDGE = re.compile(r"(?:(\w+)\.)?node(\d+)\.from(\d+)")
_COLUMN = 1.25
"""Distance from node to node in inches."""


@dataclass(frozen=True)
class CellGraph:
    """One kind of cell.

    Args:
        kind: Name of the kind; "" if there is only one.
        inputs: Nodes that no edge of the space enters.
        nodes: The other nodes, in order.
        edges: The edges that are not `none`: source, target, operation.
    """

    kind: str
    inputs: tuple[int, ...]
    nodes: tuple[int, ...]
    edges: tuple[tuple[int, int, Candidate], ...]


def are_cells(names: Iterable[str]) -> bool:
    """Whether choices are edges of cells, judged by their names: "normal.node2.from0", "node2.from0"."""
    return all(_EDGE.fullmatch(name) for name in names)


def cell_graphs(architecture: Mapping[str, Candidate]) -> list[CellGraph]:
    """Returns the cells of an architecture whose choices are edges, one graph for each kind."""
    by_kind: dict[str, list[tuple[int, int, Candidate]]] = {}
    for name, operation in architecture.items():
        found = _EDGE.fullmatch(name)
        assert found is not None, f"`{name}` is no edge"
        by_kind.setdefault(found[1] or "", []).append((int(found[3]), int(found[2]), operation))
    graphs = []
    for kind, edges in by_kind.items():
        targets = sorted({target for _, target, _ in edges})
        inputs = sorted({source for source, _, _ in edges} - set(targets))
        graphs.append(CellGraph(kind, tuple(inputs), tuple(targets), tuple(e for e in edges if e[2] != NONE)))
    return graphs


def plot_cells(
    architecture: Mapping[str, Candidate],
    path: str | Path | IO[bytes],
    title: str | None = None,
    *,
    space: SearchSpace | None = None,
) -> None:
    """Draws each kind of cell as a graph: its nodes in a row, and an arc for each operation that is not `none`.

    The arcs that enter a node alternate above and below the row.

    Args:
        architecture: Choices named like "normal.node2.from0" or "node2.from0".
        path: File to write.
        title: Title above the picture.
        space: Gives each operation its color in `plot_distribution`. None: colors follow the sorted names.
    """
    colors = architecture_colors(architecture, space)
    graphs = cell_graphs(architecture)
    with matplotlib.rc_context(STYLE):
        heights = [_reach(graph, 1) + _reach(graph, -1) + 0.45 for graph in graphs]
        width = 1.1 + _COLUMN * (max(len(_stops(graph)) for graph in graphs) - 1)
        top = 0.3 if title else 0.02
        figure = Figure(figsize=(width, sum(heights) + top), dpi=150)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.set(xlim=(0.0, width), ylim=(-sum(heights) - top, 0.0))
        if title:
            axes.text(0.08, -0.08, title, fontsize=10, va="top")
        y = -top
        for graph, height in zip(graphs, heights, strict=True):
            if graph.kind:
                axes.text(0.08, y - 0.06, f"{graph.kind} cell", fontsize=9, fontweight="bold", va="top")
            _draw(axes, graph, y - 0.25 - _reach(graph, 1), colors)
            y -= height
        save_figure(figure, path)


def _stops(graph: CellGraph) -> dict[int | str, str]:
    """Returns what stands in the row, in order: nodes by number, the output of several inputs' cells, their names."""
    stops: dict[int | str, str] = {}
    for i, node in enumerate(graph.inputs):
        stops[node] = f"cell k−{len(graph.inputs) - i}" if len(graph.inputs) > 1 else "input"
    stops |= {node: f"node {node}" for node in graph.nodes}
    if len(graph.inputs) > 1:
        return {**stops, "output": "output"}
    return {**stops, graph.nodes[-1]: "output"}


def _arcs(graph: CellGraph) -> Iterator[tuple[int, int, Candidate, int, int]]:
    """Yields each arc's source, target, operation, side (1 above, -1 below) and how many columns it spans."""
    row = list(_stops(graph))
    entered = dict.fromkeys(graph.nodes, 0)
    for source, target, operation in graph.edges:
        side = 1 if entered[target] % 2 == 0 else -1
        entered[target] += 1
        yield source, target, operation, side, row.index(target) - row.index(source)


def _rise(span: int) -> float:
    return 0.12 + 0.22 * span


def _reach(graph: CellGraph, side: int) -> float:
    """Returns how far the cell's picture goes above (side 1) or below (-1) its row, in inches."""
    spans = [span for _, _, _, own, span in _arcs(graph) if own == side]
    return 0.25 + max(map(_rise, spans), default=0.0)


def _draw(axes: Axes, graph: CellGraph, y: float, colors: Mapping[Candidate, str]) -> None:
    stops = _stops(graph)
    x = {stop: 0.55 + _COLUMN * i for i, stop in enumerate(stops)}
    for source, target, operation, side, span in _arcs(graph):
        _draw_arc(axes, (x[source] + 0.14, x[target] - 0.14), y, side, _rise(span), colors[operation], str(operation))
    if "output" in x:
        axes.plot([x[graph.nodes[0]], x["output"]], [y, y], color=FAINT, lw=1.2, zorder=1)
    for stop, name in stops.items():
        _draw_box(axes, x[stop], y, name, hollow=stop in graph.inputs or stop == "output")


def _draw_arc(
    axes: Axes, ends: tuple[float, float], y: float, side: int, rise: float, color: str, operation: str
) -> None:
    """Draws an arc from the left box over (or under) the row to the right box, with its operation written on it."""
    edge = y + side * 0.18
    top = edge + side * rise * 4 / 3  # a cubic curve reaches three quarters of its control points' height
    corners = [(ends[0], edge), (ends[0], top), (ends[1], top), (ends[1], edge)]
    path = Path2D(corners, [Path2D.MOVETO, Path2D.CURVE4, Path2D.CURVE4, Path2D.CURVE4])
    axes.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=9, color=color, linewidth=1.6, zorder=2))
    label = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    middle = sum(ends) / 2
    axes.text(
        middle, edge + side * rise, operation, ha="center", va="center", fontsize=7, color=INK, bbox=label, zorder=3
    )


def _draw_box(axes: Axes, x: float, y: float, name: str, *, hollow: bool) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x - 0.34, y - 0.12),
            0.68,
            0.24,
            boxstyle="round,pad=0.04,rounding_size=0.08",
            facecolor="white" if hollow else "#e8eaee",
            edgecolor="#9aa0a8",
            linewidth=1.0,
            zorder=4,
        )
    )
    axes.text(x, y, name, ha="center", va="center", fontsize=8, color=INK, zorder=5)
