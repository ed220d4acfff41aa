"""Gives each candidate one color, the same in every picture of a space."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping

from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb

from searchhub.space import Candidate, SearchSpace

HOLLOW = frozenset({"none", "zero", "skip", "skip_connect", "identity"})
"""Candidates that compute nothing: gray in plots, hollow in diagrams."""

GRAY = "#8a8f98"
_HOLLOW_COLORS = (GRAY, "#4a5058", "#bcb3a2")

# Colors that readers with the common color vision deficiencies can tell apart, in this order (after Paul Tol's
# schemes).
_COLORS = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#ee8866",
    "#332288",
    "#44bb99",
    "#882255",
)


def is_hollow(candidate: Candidate) -> bool:
    """Whether a candidate leaves its place empty, judged by its name."""
    return str(candidate).lower() in HOLLOW


def candidate_colors(candidates: Iterable[Candidate]) -> dict[Candidate, str]:
    """Returns a color for each distinct candidate, in order of appearance.

    1. Hollow candidates are grays.
    2. Numbers (ratios, depths) go from dark to light in their order.
    3. Up to ten names get colors that are easy to tell apart; more are spread over the rainbow.
    """
    distinct = list(dict.fromkeys(candidates))
    solid = [c for c in distinct if not is_hollow(c)]
    numeric = bool(solid) and all(isinstance(c, int | float) for c in solid)
    if numeric or len(solid) > len(_COLORS):
        order = sorted(solid, key=float) if numeric else solid
        scale = colormaps["viridis" if numeric else "turbo"]
        span = max(len(order) - 1, 1)
        colors = {c: to_hex(scale(0.05 + 0.85 * i / span)) for i, c in enumerate(order)}
    else:
        colors = dict(zip(solid, _COLORS, strict=False))
    hollow = [c for c in distinct if is_hollow(c)]
    colors |= {c: _HOLLOW_COLORS[min(i, len(_HOLLOW_COLORS) - 1)] for i, c in enumerate(hollow)}
    return {c: colors[c] for c in distinct}


def space_colors(space: SearchSpace) -> dict[Candidate, str]:
    """Returns a color for each candidate of any choice of a space."""
    return candidate_colors(c for choice in space.choices for c in choice.candidates)


def architecture_colors(
    architecture: Mapping[str, Candidate], space: SearchSpace | None = None
) -> dict[Candidate, str]:
    """Returns a color for each candidate of an architecture: its space's, or by sorted name if no space is given."""
    if space is not None:
        return space_colors(space)
    return candidate_colors(sorted(set(architecture.values()), key=str))


def class_colours(number: int) -> list[tuple[int, int, int]]:
    """Returns a colour (red, green, blue) for each class of a data set that has none of its own; none is near black.

    >>> class_colours(2)
    [(230, 69, 69), (83, 112, 184)]
    """
    colours = []
    for i in range(number):
        hue = i * 0.6180339887 % 1  # the golden ratio spreads any number of hues
        red, green, blue = colorsys.hsv_to_rgb(hue, (0.7, 0.55)[i % 2], (0.9, 0.72, 0.55)[i % 3])
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours


def ink_on(color: str) -> str:
    """Returns black or white, whichever is readable on a color."""
    red, green, blue = to_rgb(color)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "black"
