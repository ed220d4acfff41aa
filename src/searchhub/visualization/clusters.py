"""Draws a division: networks in two principal components of their features, and each cluster's winner. It also tells
how other numbers of clusters would divide them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.formatting import markdown_table
from searchhub.result import SearchResult
from searchhub.searchers.clustering import over_k, over_k_features
from searchhub.searchers.code_space import CodedSamples
from searchhub.searchers.dc import DCSupernetSearcher
from searchhub.searchers.division import Division, winners_in_order
from searchhub.trial import TrialResult
from searchhub.visualization.labels import place_labels
from searchhub.visualization.palette import candidate_colors
from searchhub.visualization.style import FAINT, STYLE, save_figure

MOST_COUNTED = 100_000
"""Other numbers of clusters are tried on at most this many of the architectures sampled from a supernet."""

_MOST_DOTS = 1000


def summarize_clusters(result: SearchResult, searcher: DCSupernetSearcher | None = None) -> SearchResult:
    """Returns the same result with a `division` that also covers other numbers of clusters and all that pictures need.

    "over_k" gets one row for each of K' = 1 … 2K with inertia, silhouette and the clusters' sizes, as far as there are
    that many different features. Nothing is added if there is one cluster, or if the result holds all this already.

    Args:
        result: Result of a DC-NAS search.
        searcher: The searcher, if architectures were sampled from a supernet; its table is needed. Other numbers of
            clusters are tried on at most `MOST_COUNTED` architectures, drawn as the searcher draws them.

    Raises:
        InvalidInputError: The result does not come from such a search.
    """
    division = _division(result)
    if len(division.sizes) < 2 or "over_k" in result.division:
        return result
    ks = range(1, 2 * len(division.sizes) + 1)
    places: dict[str, Any] = {}
    if searcher is None:
        features = _features(_in_clusters(result, division))
        options = {name: result.searcher[name] for name in ("method", "seed", "n_init") if name in result.searcher}
        counts = over_k_features(features, ks[: len(np.unique(features, axis=0))], **options)
    else:
        rng, probabilities = np.random.default_rng(searcher.seed), [np.exp(row) for row in searcher.logits]
        codes = result.space.sample(min(searcher.num_samples, MOST_COUNTED), rng, probabilities)
        distinct = CodedSamples(searcher.table, codes).num_distinct(len(ks))
        if distinct < 2:  # one architecture is so probable that hardly another is drawn
            return result
        counts = over_k(searcher.table, codes, ks[:distinct], seed=searcher.seed, n_init=searcher.n_init)
        points, shares = principal_components(_sampled(result, division, searcher.table))
        places = {"points": np.round(points, 6).tolist(), "shares": shares.tolist()}
    rows = [
        {"K": row.num_clusters, "inertia": row.inertia, "silhouette": row.silhouette, "sizes": sorted(row.counts)}
        for row in counts
    ]
    return replace(result, division={**result.division, "over_k": rows, **places})


def over_k_rows(result: SearchResult) -> list[dict[str, Any]]:
    """Returns what `summarize_clusters` found for each number of clusters, as rows; empty if it was not called."""
    return [
        {
            "K": row["K"],
            "inertia": row["inertia"],
            "silhouette": row["silhouette"],
            "smallest cluster": row["sizes"][0],
            "largest cluster": row["sizes"][-1],
        }
        for row in result.division.get("over_k", ())
    ]


def over_k_text(result: SearchResult) -> str:
    """Returns the same rows as Markdown, with their caption."""
    rows = over_k_rows(result)
    return f"{over_k_caption(result)}\n\n{markdown_table(rows)}\n" if rows else ""


def over_k_caption(result: SearchResult) -> str:
    """Returns a caption that says what the rows describe."""
    n, k = sum(result.division["over_k"][0]["sizes"]), len(result.division["sizes"])
    return (
        f"Other numbers of clusters K on {n:,} of the architectures; K = {k} was taken. Inertia: the sum of squared "
        "distances to the own centroid. Silhouette: the mean over at most 2,000, from -1 to 1: how far clusters "
        "lie apart."
    )


def plot_clusters(
    result: SearchResult, path: str | Path | IO[bytes], *, table: Sequence[FloatArray] | FloatArray | None = None
) -> None:
    """Draws networks in the two directions in which their features differ most, with each cluster's winner.

    Args:
        result: Result of `DCSearcher` or `DCSupernetSearcher`, with at least two clusters.
        path: File to write.
        table: Features of each candidate, from `DCSupernetSearcher`; a few of the sampled architectures are drawn.
            None: the points that `summarize_clusters` stored are drawn.

    Raises:
        InvalidInputError: The result has no clusters of networks with features.
    """
    division = _division(result)
    known = division.labels is not None or table is not None or "points" in result.division
    if not known or len(division.sizes) < 2:
        raise InvalidInputError(
            "A picture of clusters needs two or more of networks that were trained apart, or the `table` of a "
            f"supernet, but this result has {len(division.sizes)} of architectures that were "
            f"{'sampled from a supernet' if division.labels is None else 'trained apart'}."
        )
    points, shares, labels, winners = _placed(result, division, table)
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
        apart = division.labels is not None
        what = "Early-stopped networks" if apart else f"{len(points):,} of the sampled architectures"
        axes.set_title(f"{what} of {result.space.name}; stars: winners", loc="left", fontsize=10)
        axes.grid(color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        axes.margins(0.08)
        figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=8.5)
        named = {f"{k}: {won:.3f}": tuple(points[winners[k]].tolist()) for k, won in enumerate(division.won_by)}
        dots = [tuple(point) for point in points[:_MOST_DOTS].tolist()]
        place_labels(figure, axes, named, line=list(named.values()), dots=dots)
        save_figure(figure, path)


Placed = tuple[FloatArray, FloatArray, NDArray[np.int64], Sequence[int]]
"""Points [s, 2], shares of variance [2], the cluster of each point, the place of each cluster's winner among them."""


def _placed(result: SearchResult, division: Division, table: Sequence[FloatArray] | FloatArray | None) -> Placed:
    if division.labels is not None:
        labels = np.array(division.labels)
        trials = _in_clusters(result, division)
        architectures = [r.trial.architecture for r in trials]
        winners = [architectures.index(winner) for winner in division.winners]
        return *principal_components(_features(trials)), labels[[r.trial.number for r in trials]], winners
    labels = np.array([*(cluster for _, cluster in division.drawn), *range(len(division.winners))])
    last = range(len(division.drawn), len(labels))
    if table is not None:
        return *principal_components(_sampled(result, division, table)), labels, last
    return np.array(result.division["points"]), np.array(result.division["shares"]), labels, last


def _in_clusters(result: SearchResult, division: Division) -> list[TrialResult]:
    """Returns the trials of networks trained apart that did not diverge."""
    labels = division.labels or ()
    return [r for r in result.history if r.trial.number < len(labels) and labels[r.trial.number] >= 0]


def _features(trials: Sequence[TrialResult]) -> FloatArray:
    return np.array([r.features for r in trials]).reshape(len(trials), -1)


def _sampled(result: SearchResult, division: Division, table: Sequence[FloatArray] | FloatArray) -> FloatArray:
    """Returns features [s, f]. The winners come last, whether or not they are among those that are drawn."""
    rows = [*(row for row, _ in division.drawn), *(result.space.encode(winner) for winner in division.winners)]
    codes = np.array(rows, dtype=np.uint8)
    return np.concatenate([np.asarray(t)[codes[:, layer]] for layer, t in enumerate(table)], axis=1)


def principal_components(features: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Projects features [s, f] on their first two principal components; returns [s, 2] and the shares of variance, [2].

    Signs are chosen so that in each direction the feature with the largest weight has a positive one.
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
    """Draws the candidate of every layer of each cluster's winner, one line for each cluster, as DC-NAS Fig. 3.

    Args:
        result: Result of a DC-NAS search.
        path: File to write.

    Raises:
        InvalidInputError: The result does not come from such a search.
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
