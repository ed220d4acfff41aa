"""Draws what came out of a search: how good trained networks are, against what they cost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from searchhub.errors import InvalidInputError
from searchhub.formatting import magnitude
from searchhub.visualization.labels import place_labels
from searchhub.visualization.palette import GRAY
from searchhub.visualization.style import FAINT, STYLE, save_figure

CHOSEN = "chosen by the search"

_MARKS: dict[str, dict[str, Any]] = {
    CHOSEN: {"color": "#ee6677", "marker": "o", "ms": 7, "zorder": 5},
    "random, within the same limits": {"color": GRAY, "marker": "o", "ms": 4.5, "zorder": 3},
    "the largest": {"color": "#4477aa", "marker": "s", "ms": 6.5, "zorder": 4},
    "before the search": {"color": "#228833", "marker": "D", "ms": 6, "zorder": 4},
}
_OTHER: dict[str, Any] = {"color": "#ccbb44", "marker": "^", "ms": 6.5, "zorder": 4}


@dataclass(frozen=True)
class Measured:
    """A trained network as a point.

    Args:
        name: Name of the network.
        role: What it stands for, e.g. "chosen by the search".
        cost: Its cost.
        value: Its metric on the test split.
        error: Standard error of that. None: it is not known.
    """

    name: str
    role: str
    cost: float
    value: float
    error: float | None = None


def plot_outcome(
    points: Sequence[Measured],
    path: str | Path | IO[bytes],
    *,
    cost: str,
    metric: str,
    limits: Sequence[float] = (),
    named: Collection[str] | None = None,
    size: tuple[float, float] = (7.2, 4.4),
) -> None:
    """Draws each network's metric against its cost, with error bars, and limits on that cost as lines.

    Args:
        points: The networks, at least one.
        path: File to write.
        cost: Label of the horizontal axis.
        metric: Label of the vertical axis.
        limits: Limits on that cost.
        named: Names of the chosen networks whose names are written. None: all are.
        size: Width and height in inches.
    """
    if not points:
        raise InvalidInputError("A picture of what came out needs at least one trained network, but there is none.")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        axes = figure.subplots()
        for i, limit in enumerate(sorted(set(limits))):
            axes.axvline(limit, color="#9aa0a8", lw=1.0, ls=(0, (4, 3)), zorder=1, label="" if i else "a limit")
        for role in dict.fromkeys(point.role for point in points):
            of = [point for point in points if point.role == role]
            bars = [point.error or 0.0 for point in of] if any(point.error for point in of) else None
            mark = _MARKS.get(role, _OTHER)
            axes.errorbar(
                [point.cost for point in of],
                [point.value for point in of],
                yerr=bars,
                ls="none",
                elinewidth=1.0,
                capsize=2.5,
                label=role,
                **mark,
            )
        letter, factor = magnitude(max(point.cost for point in points))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / factor:.4g}{letter}"))
        axes.set_xlabel(cost)
        axes.set_ylabel(metric)
        axes.grid(color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        axes.margins(x=0.08, y=0.12)
        figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8.5)
        chosen = {point.name: (point.cost, point.value) for point in points if point.role == CHOSEN}
        chosen = {name: at for name, at in chosen.items() if named is None or name in named}
        others = [(point.cost, point.value) for point in points if point.name not in chosen]
        if chosen:
            place_labels(figure, axes, chosen, line=list(chosen.values()), dots=others)
        save_figure(figure, path)
