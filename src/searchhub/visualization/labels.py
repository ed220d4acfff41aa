"""Finds places for labels beside points so that they cover nothing."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

Point = tuple[float, float]

# Offsets in typographic points, the nearest first.
_OFFSETS: list[Point] = sorted(
    (
        (dx, dy)
        for dx in (-90.0, -60.0, -35.0, -14.0, 0.0, 14.0, 35.0, 60.0, 90.0)
        for dy in (-100.0, -70.0, -45.0, -30.0, -17.0, 17.0, 30.0, 45.0, 70.0)
    ),
    key=lambda offset: (abs(offset[0]) + 1.3 * abs(offset[1]), -offset[0]),
)


def place_labels(
    figure: Figure, axes: Axes, points: Mapping[str, Point], *, line: Sequence[Point], dots: Sequence[Point]
) -> None:
    """Writes each label near its point, joined to it by a thin line, at the place where it covers the least.

    A label must not cover other labels and their lines, labelled points, or the edge of the axes. It should not cover
    the drawn line and the dots.

    Args:
        figure: The figure, finished except for the labels.
        axes: The axes that hold the points.
        points: The point of each label, in data coordinates.
        line: Corners of the drawn line.
        dots: Points of less importance.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    window = axes.get_window_extent(renderer)
    pixels = axes.transData.transform
    avoid = pixels(list(points.values()))
    corners = pixels(list(line))
    lesser = np.concatenate([_along(a, b) for a, b in itertools.pairwise(corners)] or [corners])
    lesser = np.concatenate([lesser, pixels(list(dots))]) if dots else lesser
    taken: list[Bbox] = []
    for label, point in points.items():
        start = pixels(point)
        boxes = _boxes(axes, label, point, renderer)
        places: list[tuple[float, Point, Bbox]] = []
        for number, (offset, box) in enumerate(zip(_OFFSETS, boxes, strict=True)):
            joint = _along(start, np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2]))
            badness = 100.0 * (not _inside(box, window)) + number / len(_OFFSETS)
            badness += sum(20.0 * box.overlaps(other) + 10.0 * (other.count_contains(joint) > 0) for other in taken)
            badness += 10.0 * (box.count_contains(avoid) > 0) + min(box.count_contains(lesser), 4)
            places.append((badness, offset, box))
        _, offset, box = min(places, key=lambda place: place[0])
        _write(axes, label, point, offset)
        taken.append(box)
        avoid = np.concatenate([avoid, _along(start, np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2]))])


def _boxes(axes: Axes, label: str, point: Point, renderer: RendererAgg) -> list[Bbox]:
    """Returns the pixels that the label covers at each offset: its side of the point aligns it, the rest moves it."""
    at_side: dict[float, Bbox] = {}
    for side in (-1.0, 0.0, 1.0):
        text = _write(axes, label, point, (side, 0.0))
        text.update_positions(renderer)
        box = Text.get_window_extent(text, renderer)  # The text alone, without its line.
        text.remove()
        at_side[side] = box.translated(-renderer.points_to_pixels(side), 0.0).padded(3.0)
    return [
        at_side[float(np.sign(dx))].translated(renderer.points_to_pixels(dx), renderer.points_to_pixels(dy))
        for dx, dy in _OFFSETS
    ]


def _write(axes: Axes, label: str, point: Point, offset: Point) -> Annotation:
    text = axes.annotate(
        label,
        point,
        xytext=offset,
        textcoords="offset points",
        ha="left" if offset[0] > 0 else "right" if offset[0] < 0 else "center",
        va="center",
        fontsize=8.5,
        arrowprops={"arrowstyle": "-", "color": "#9aa0a8", "lw": 0.7, "shrinkB": 5},
        bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8},
        zorder=6,
    )
    text.set_in_layout(False)
    return text


def _along(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns 24 points [24, 2] on the way from start to end."""
    return np.asarray(np.linspace(start, end, 24))


def _inside(box: Bbox, window: Bbox) -> bool:
    return bool(window.x0 <= box.x0 and box.x1 <= window.x1 and window.y0 <= box.y0 and box.y1 <= window.y1)
