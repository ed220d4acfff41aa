"""Shows an architecture in an HTML page: as boxes that wrap, or as the graphs of its cells."""

from __future__ import annotations

from collections.abc import Mapping

from searchhub.errors import InvalidInputError
from searchhub.reports.inline_svg import inline_svg
from searchhub.reports.markup import Markup, tag
from searchhub.space import Candidate, SearchSpace
from searchhub.visualization.cells import are_cells, plot_cells
from searchhub.visualization.diagram import stages_of
from searchhub.visualization.palette import architecture_colors, ink_on, is_hollow


def diagram(architecture: Mapping[str, Candidate], space: SearchSpace | None, prefix: str) -> Markup:
    """Draws an architecture as boxes that wrap, one row per stage, in the colors of the plots; draws cells as graphs.

    Args:
        architecture: Any architecture.
        space: Gives the colors, if it contains the architecture.
        prefix: A prefix that no other picture on the page has.
    """
    known = space if space is not None and fits(space, architecture) else None
    if architecture and are_cells(architecture):
        svg = inline_svg(lambda path: plot_cells(architecture, path, space=known), label="The cells", prefix=prefix)
        return tag("div", tag("figure", svg, class_="wide"), class_="scroll", tabindex="0")
    colors = architecture_colors(architecture, known)
    rows: list[Markup] = []
    for stage, names in stages_of(architecture).items():
        boxes = []
        for name in names:
            candidate = architecture[name]
            inside = (tag("small", name.rpartition(".")[2]), str(candidate))
            if is_hollow(candidate):
                boxes.append(tag("li", *inside, class_="hollow"))
            else:
                color = colors[candidate]
                boxes.append(tag("li", *inside, style=f"background: {color}; color: {ink_on(color)}"))
        rows.append(tag("div", tag("h4", stage), tag("ol", *boxes)))
    return tag("div", *rows, class_="diagram")


def fits(space: SearchSpace, architecture: Mapping[str, Candidate]) -> bool:
    """Whether an architecture belongs to the space."""
    try:
        space.encode(architecture)
    except InvalidInputError:
        return False
    return True
