"""Defines how all pictures look, and writes them."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from matplotlib.figure import Figure

from searchhub.errors import InvalidInputError
from searchhub.files import replacing

INK = "#24292f"
FAINT = "#d8dbe0"
STYLE: Any = {
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": "#9aa0a8",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "#5b626b",
    "ytick.color": "#5b626b",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may hold dollars
}
MOST_COLUMNS = 7
"""Largest number of panels in a row, or of boxes after the first."""


def save_figure(figure: Figure, path: str | Path | IO[bytes]) -> None:
    """Writes a figure as its suffix says (PNG, SVG, PDF), whole or not at all; a binary file gets PNG.

    Raises:
        InvalidInputError: The suffix does not name a picture format.
    """
    if not isinstance(path, str | Path):
        figure.savefig(path, format="png", facecolor="white")
        return
    path = Path(path)
    kind = path.suffix[1:].lower() or "png"
    if kind not in figure.canvas.get_supported_filetypes():
        raise InvalidInputError(f"A picture must end in .png, .svg or .pdf, but the path is `{path.name}`.")
    with replacing(path) as temporary:
        figure.savefig(temporary, format=kind, facecolor="white")
