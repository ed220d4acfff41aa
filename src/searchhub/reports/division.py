"""Writes the part of a report that tells how DC-NAS divided the architectures it sampled, and which ones won."""

from __future__ import annotations

from searchhub.reports.inline_svg import inline_svg
from searchhub.reports.markup import Markup, joined, table, tag
from searchhub.result import SearchResult
from searchhub.searchers.division import Division, winners_in_order
from searchhub.visualization.clusters import over_k_caption, over_k_rows, plot_clusters, plot_winners


def division_section(result: SearchResult) -> Markup:
    """Shows sizes, winners and their order, pictures, and the outcome of other numbers of clusters.

    Args:
        result: Result of a DC-NAS search.
    """
    division = Division.from_dict(result.division)
    apart = division.labels is not None
    won_by = "early-stopped score" if apart else "log-probability"
    rows = [
        {
            "order": order,
            "cluster": winner.cluster,
            "architectures": f"{winner.size:,}",
            won_by: f"{winner.won_by:.4f}",
            "fully trained": f"{winner.score:.4f}",
            "winner": " · ".join(map(str, winner.architecture.values())),
        }
        for order, winner in enumerate(winners_in_order(result), 1)
    ]
    sampled = f"{sum(division.sizes):,} architectures in {len(division.sizes)} clusters"
    lost = (division.labels or ()).count(-1)
    diverged = f"; {lost:,} diverged and are in none" if lost else ""
    parts = [
        tag("p", f"{sampled}{diverged}. The order is that of validation."),
        table(rows, class_="cards"),
    ]
    pictures = [(plot_winners, "The candidates of each cluster's winner")]
    if (apart or "points" in result.division) and len(division.sizes) > 1:
        pictures.insert(0, (plot_clusters, "Networks in two principal components of their features"))
    for plot, label in pictures:
        svg = inline_svg(lambda path, plot=plot: plot(result, path), label=label, prefix=plot.__name__)  # type: ignore[misc]
        parts.append(tag("figure", svg))
    if over_k := over_k_rows(result):
        parts += [tag("p", over_k_caption(result)), table(over_k, class_="cards")]
    return joined(parts)
