"""Pictures of a division: networks in two principal components of their features, and each cluster's winner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.reports.labels import place_labels
from searchhub.reports.palette import candidate_colors
from searchhub.reports.style import FAINT, STYLE, save_figure
from searchhub.result import SearchResult
from searchhub.searchers.division import Division, winners_in_order

_MOST_DOTS = 1000


def plot_clusters(
    result: SearchResult, path: str | Path | IO[bytes], *, table: Sequence[FloatArray] | FloatArray | None = None
) -> None:
    """Networks in the two directions in which their features differ most, with each cluster's winner.

    Args:
        result: Of `DCSearcher` or `DCSupernetSearcher`, with at least two clusters.
        path: Where to write.
        table: Features of each candidate, of `DCSupernetSearcher`; a few of what it sampled are drawn.

    Raises:
        InvalidInputError: The result has no clusters of networks with features.
    """
    division = _division(result)
    if (table is None and division.labels is None) or len(division.sizes) < 2:
        raise InvalidInputError(
            "A picture of clusters needs two or more of networks that were trained apart, or the `table` of a "
            f"supernet, but this result has {len(division.sizes)} of architectures that were "
            f"{'sampled from a supernet' if division.labels is None else 'trained apart'}."
        )
    features, labels, winners = _trained_apart(result, division) if table is None else _sampled(result, division, table)
    points, shares = principal_components(features)
    colors = candidate_colors([f"cluster {k}" for k in range(len(division.sizes))])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.8), dpi=150, layout="constrained")
        axes = figure.subplots()
        for k, (name, color) in enumerate(colors.items()):
            own = points[labels == k]
            label = f"{name}: {division.sizes[k]:,} networks"
            look: Any = {"s": 16, "linewidths": 0, "alpha": 0.6, "rasterized": len(points) > _MOST_DOTS}
            axes.scatter(own[:, 0], own[:, 1], color=color, label=label, **look)
            x, y = points[winners[k]]
            axes.scatter([x], [y], s=150, marker="*", color=color, edgecolors="black", lw=0.8, zorder=5)
        words = [f"principal component {i + 1} of the features ({100 * share:.0f} %)" for i, share in enumerate(shares)]
        axes.set_xlabel(words[0])
        axes.set_ylabel(words[1])
        what = "Early-stopped networks" if table is None else f"{len(points):,} of the sampled architectures"
        axes.set_title(f"{what} of {result.space.name}; stars: winners", loc="left", fontsize=10)
        axes.grid(color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        axes.margins(0.08)
        figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=8.5)
        named = {f"{k}: {won:.3f}": tuple(points[winners[k]].tolist()) for k, won in enumerate(division.won_by)}
        dots = [tuple(point) for point in points[:_MOST_DOTS].tolist()]
        place_labels(figure, axes, named, line=list(named.values()), dots=dots)
        save_figure(figure, path)


Drawn = tuple[FloatArray, NDArray[np.int64], Sequence[int]]
"""Features [s, f], the cluster of each, and the place of each cluster's winner among them."""


def _trained_apart(result: SearchResult, division: Division) -> Drawn:
    labels = np.array(division.labels)
    trials = [r for r in result.history if r.trial.number < len(labels) and labels[r.trial.number] >= 0]
    features = np.array([r.features for r in trials]).reshape(len(trials), -1)
    architectures = [r.trial.architecture for r in trials]
    winners = [architectures.index(winner) for winner in division.winners]
    return features, labels[[r.trial.number for r in trials]], winners


def _sampled(result: SearchResult, division: Division, table: Sequence[FloatArray] | FloatArray) -> Drawn:
    """The winners come last, whether they are among those that are drawn or not."""
    rows = [*(row for row, _ in division.drawn), *(result.space.encode(winner) for winner in division.winners)]
    labels = [*(cluster for _, cluster in division.drawn), *range(len(division.winners))]
    codes = np.array(rows, dtype=np.uint8)
    features = np.concatenate([np.asarray(t)[codes[:, layer]] for layer, t in enumerate(table)], axis=1)
    return features, np.array(labels), range(len(division.drawn), len(codes))


def principal_components(features: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Features [s, f] in their first two principal components, [s, 2], and the shares of variance, [2].

    Signs are such that in each direction the feature with the largest weight has a positive one.
    """
    centred = features - features.mean(axis=0)
    _, strengths, directions = np.linalg.svd(centred, full_matrices=False)
    two = np.zeros((2, features.shape[1]))
    two[: min(2, len(directions))] = directions[:2]
    two *= np.where(two[[0, 1], np.abs(two).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    variances = np.zeros(2)
    variances[: min(2, len(strengths))] = strengths[:2] ** 2
    return centred @ two.T, variances / max(float((strengths**2).sum()), 1e-300)


def plot_winners(result: SearchResult, path: str | Path | IO[bytes]) -> None:
    """The candidate of every layer of each cluster's winner, as DC-NAS Fig. 3: a line a cluster.

    Args:
        result: Of a DC-NAS search.
        path: Where to write.

    Raises:
        InvalidInputError: The result is not of such a search.
    """
    division = _division(result)
    scores = {winner.cluster: winner.score for winner in winners_in_order(result)}
    names = [choice.name for choice in result.space.choices]
    rungs = list(dict.fromkeys(str(c) for choice in result.space.choices for c in choice.candidates))
    colors = candidate_colors([f"cluster {k}" for k in range(len(division.sizes))])
    with matplotlib.rc_context(STYLE):
        size = (max(4.8, 1.6 + 0.45 * len(names)), max(3.2, 1.6 + 0.28 * len(rungs)))
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        axes = figure.subplots()
        for k, (winner, (name, color)) in enumerate(zip(division.winners, colors.items(), strict=True)):
            places = [(i, rungs.index(str(winner[n]))) for i, n in enumerate(names) if n in winner]
            shift = 0.09 * (k - (len(division.winners) - 1) / 2)  # so that equal candidates do not hide each other
            trained = f", {scores[k]:.3f} when fully trained" if k in scores else ""
            x, y = [i for i, _ in places], [rung + shift for _, rung in places]
            axes.plot(x, y, color=color, marker="o", ms=4, lw=1.5, label=f"{name}{trained}")
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
        axes.set_yticks(range(len(rungs)), rungs, fontsize=8)
        axes.set_title(f"The winner of each cluster of {result.space.name}", loc="left", fontsize=10)
        axes.grid(color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        figure.legend(loc="outside lower left", ncols=2 if size[0] > 6 else 1, frameon=False, fontsize=8.5)
        save_figure(figure, path)


def _division(result: SearchResult) -> Division:
    if not result.division:
        raise InvalidInputError("A picture of clusters needs a result of DC-NAS, but this one has no `division`.")
    return Division.from_dict(result.division)
