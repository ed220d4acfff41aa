"""Draws one architecture: a row for each stage, a box for each choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from searchhub.errors import InvalidInputError
from searchhub.space import Candidate, SearchSpace
from searchhub.visualization.cells import are_cells, plot_cells
from searchhub.visualization.palette import GRAY, architecture_colors, ink_on, is_hollow
from searchhub.visualization.style import MOST_COLUMNS, STYLE, save_figure


def plot_architecture(
    architecture: Mapping[str, Candidate],
    path: str | Path | IO[bytes],
    title: str | None = None,
    *,
    space: SearchSpace | None = None,
) -> None:
    """Draws an architecture, one row of boxes per stage, colored by candidate; what computes nothing is hollow.

    Args:
        architecture: Any architecture. Choices named like "stage2.layer1" stand in one row per stage, others in one row
            that wraps. Edges of cells ("normal.node2.from0") become graphs
            (`searchhub.visualization.cells.plot_cells`).
        path: File to write.
        title: Title above the picture.
        space: Gives each candidate its color in `plot_distribution`. None: colors follow the sorted names.
    """
    if architecture and are_cells(architecture):
        plot_cells(architecture, path, title, space=space)
        return
    colors = architecture_colors(architecture, space)
    rows = [
        (stage if start == 0 else "", names[start : start + MOST_COLUMNS + 1])
        for stage, names in stages_of(architecture).items()
        for start in range(0, len(names), MOST_COLUMNS + 1)
    ]
    if not rows:
        raise InvalidInputError("A diagram needs an architecture with at least one active choice, but it has none.")
    width = max(len(names) for _, names in rows)
    margin = 0.085 * max(len(label) for label, _ in rows) + 0.15
    top = 0.35 if title else 0.08
    with matplotlib.rc_context(STYLE):
        size = (margin + 1.6 * width + 0.1, top + 0.78 * len(rows) + (-0.12 if title else -0.22))
        figure = Figure(figsize=size, dpi=150)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.set(xlim=(-margin, size[0] - margin), ylim=(-size[1] + top, top))
        if title:
            axes.text(-margin + 0.1, top - 0.12, title, fontsize=10, va="top")
        for r, (label, names) in enumerate(rows):
            y = -0.78 * r - (0.1 if title else 0.0)
            axes.text(-0.12, y - 0.24, label, ha="right", va="center", fontsize=9, fontweight="bold")
            if r + 1 < len(rows):
                _draw_turn(axes, 1.6 * (len(names) - 1) + 0.68, y - 0.48)
            for column, name in enumerate(names):
                _draw_box(axes, 1.6 * column, y, name.rpartition(".")[2], architecture[name], colors)
                if column + 1 < len(names):
                    _draw_arrow(axes, (1.6 * column + 1.37, y - 0.24), (1.6 * column + 1.59, y - 0.24))
        save_figure(figure, path)


def stages_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Groups names by what stands before their first dot, in order. Names without a dot are under ""."""
    stages: dict[str, list[str]] = {}
    for name in names:
        stages.setdefault(name.partition(".")[0] if "." in name else "", []).append(name)
    return stages


def _draw_box(axes: Axes, x: float, y: float, name: str, candidate: Candidate, colors: Mapping[Candidate, str]) -> None:
    """Draws a box of 1.36 × 0.48 inches with its upper left corner at (x, y)."""
    hollow = is_hollow(candidate)
    color = "white" if hollow else colors[candidate]
    axes.add_patch(
        FancyBboxPatch(
            (x + 0.05, y - 0.43),
            1.26,
            0.38,
            boxstyle="round,pad=0.05,rounding_size=0.09",
            facecolor=color,
            edgecolor=GRAY if hollow else color,
            linestyle="--" if hollow else "-",
            linewidth=1.0,
        )
    )
    ink, text = "#5b626b" if hollow else ink_on(color), str(candidate)
    axes.text(x + 0.68, y - 0.15, name, ha="center", va="center", fontsize=6.5, color=ink, alpha=0.85)
    size = min(9.0, 1.26 * 72 / (0.62 * max(len(text), 1)))
    axes.text(x + 0.68, y - 0.31, text, ha="center", va="center", fontsize=size, color=ink)


def _draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate(
        "", end, start, arrowprops={"arrowstyle": "-|>", "color": GRAY, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
    )


def _draw_turn(axes: Axes, x: float, y: float) -> None:
    """Draws a line from under the last box of a row to above the first box of the next."""
    middle = y - 0.13
    axes.plot([x, x, 0.68], [y, middle, middle], color=GRAY, lw=0.9, solid_joinstyle="round")
    _draw_arrow(axes, (0.68, middle), (0.68, y - 0.3))


# -- files ------------------------------------------------------------------------------------------------------------
