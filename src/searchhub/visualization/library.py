"""Draws what single changes of a whole network cost in quality: which parts matter, and which hardly do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from searchhub.errors import InvalidInputError
from searchhub.space import Architecture
from searchhub.visualization.style import STYLE, save_figure


def plot_library(whole: Architecture, scores: Mapping[Architecture, float], path: str | Path | IO[bytes]) -> None:
    """Draws −log(score) of each single change: a panel for each kind of choice, a row for each layer.

    Choices whose names end alike ("layer3.num_attention_heads") share a panel; their rows are what stands before.

    Args:
        whole: The architecture that was changed.
        scores: Scores exp(−loss), in (0, 1], of the whole and of its single changes (`searchhub.library`).
        path: File to write, as its suffix says, or a binary file, which gets PNG.

    Raises:
        InvalidInputError: The whole architecture has no score.
    """
    if whole not in scores:
        raise InvalidInputError("`scores` must hold the whole architecture's, too, but does not.")
    panels = _panels(whole, scores)
    with matplotlib.rc_context(STYLE):
        heights = [0.3 * (len(rows) + 2.2) for rows, _, _ in panels.values()]
        figure = Figure(figsize=(7.2, sum(heights) + 0.3), layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        largest = max(float(np.nanmax(values)) for _, _, values in panels.values())
        for axis, (kind, (rows, columns, values)) in zip(axes, panels.items(), strict=True):
            axis.imshow(values, cmap="YlOrRd", vmin=0.0, vmax=largest or 1.0, aspect="auto")
            axis.set_title(kind, loc="left", fontsize=9.0)
            axis.set_xticks(range(len(columns)), [str(c) for c in columns])
            axis.set_yticks(range(len(rows)), rows)
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
            for (i, j), value in np.ndenumerate(values):
                if not math.isnan(value):
                    ink = "white" if value > 0.6 * largest else "#24292f"
                    axis.text(
                        j,
                        i,
                        f"{value:.2g}" if value >= 1e-5 else "0",
                        ha="center",
                        va="center",
                        fontsize=7.0,
                        color=ink,
                    )
        save_figure(figure, path)


def _panels(
    whole: Architecture, scores: Mapping[Architecture, float]
) -> dict[str, tuple[list[str], list[object], np.ndarray]]:
    """Returns, for each kind of choice, its rows, its candidates, and the losses [rows, candidates]."""
    losses: dict[str, dict[str, dict[object, float]]] = {}
    base = -math.log(scores[whole])
    for name, candidate in whole.items():
        row, _, kind = name.rpartition(".")
        losses.setdefault(kind, {})[row] = {candidate: base}
    for change, score in scores.items():
        # Where others depend on a choice (a depth), that one is what was changed.
        changed = next((n for n, candidate in whole.items() if n in change and change[n] != candidate), None)
        if changed is not None and score > 0:
            row, _, kind = changed.rpartition(".")
            losses[kind][row][change[changed]] = -math.log(score)
    panels = {}
    for kind, rows in losses.items():
        columns = sorted({c for own in rows.values() for c in own}, key=lambda c: (str(type(c)), c))
        values = np.array([[own.get(c, math.nan) for c in columns] for own in rows.values()])
        panels[kind] = (list(rows), list(columns), values)
    return panels
