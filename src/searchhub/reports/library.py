"""Writes the part of a report that shows what single changes of the original cost in quality."""

from __future__ import annotations

import io

from searchhub.files import read_json_object
from searchhub.reports.markup import Markup, image, joined, tag
from searchhub.reports.run import Run
from searchhub.run_folder import LIBRARY
from searchhub.space import Architecture
from searchhub.visualization.library import plot_library


def library_section(run: Run) -> Markup | None:
    """Shows the picture of single changes; None where the run did not look at them."""
    kept = read_json_object(run.path / LIBRARY)
    if kept is None:
        return None
    scores = {Architecture(entry["architecture"]): float(entry["score"]) for entry in kept["changes"]}
    whole = next(iter(scores))
    picture = io.BytesIO()
    plot_library(whole, scores, picture)
    words = (
        f"How far the original's outputs are from its own when one thing is changed and nothing is trained: the mean "
        f"divergence on {kept['texts']:,} validation texts, 0 for the original itself. What matters is dark. Training "
        "after a cut changes this; networks are chosen by scores on trained weights."
    )
    return joined(
        [
            image(picture.getvalue(), "png", "Divergence of single changes, by layer and size", class_="figure"),
            tag("p", words, class_="caption"),
        ]
    )
