"""The outcome of dividing architectures (DC-NAS Sec. 3.3): clusters, their winners, and the order of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.result import SearchResult
from searchhub.searchers.clustering import Method, best_of, cluster_features
from searchhub.searchers.lloyd import Clusters
from searchhub.space import Architecture
from searchhub.trial import DIVERGED

__all__ = ["winners_in_order"]


@dataclass(frozen=True)
class Division:
    """The outcome of a search's division. Cluster 0 holds the best winner as far as early stopping alone can tell.

    Args:
        sizes: Number of architectures in each cluster; duplicates count.
        winners: The best architecture of each cluster (Eq. 8 or 9).
        won_by: The winners' scores after early stopping (Eq. 8), or the logarithms of their probabilities (Eq. 9),
            in decreasing order.
        labels: Cluster of each sampled network, in the order of the trials, -1 if it diverged. None: architectures were
            sampled from a supernet, which are not trials.
        summary: How the clustering went, as plain JSON; empty with one cluster.
        drawn: Codes and cluster of the first few architectures that were sampled from a supernet, for pictures.
    """

    sizes: tuple[int, ...]
    winners: tuple[Architecture, ...]
    won_by: tuple[float, ...]
    labels: tuple[int, ...] | None = None
    summary: Mapping[str, Any] | None = None
    drawn: tuple[tuple[tuple[int, ...], int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON; `from_dict` reads it."""
        return {
            "sizes": list(self.sizes),
            "winners": [winner.to_dict() for winner in self.winners],
            "won_by": list(self.won_by),
            "labels": None if self.labels is None else list(self.labels),
            "summary": None if self.summary is None else dict(self.summary),
            "drawn": [[list(codes), cluster] for codes, cluster in self.drawn],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Division:
        """Reads the division that `to_dict` wrote."""
        return cls(
            tuple(data["sizes"]),
            tuple(Architecture(winner) for winner in data["winners"]),
            tuple(data["won_by"]),
            None if data["labels"] is None else tuple(data["labels"]),
            data["summary"],
            tuple((tuple(codes), cluster) for codes, cluster in data.get("drawn", ())),
        )


@dataclass(frozen=True)
class Winner:
    """One cluster's winner, fully trained.

    Args:
        cluster: Number of the cluster, from 0.
        size: Number of architectures in the cluster.
        architecture: The winner.
        won_by: Score or log-probability by which it won, see `Division`.
        score: Score after full training.
    """

    cluster: int
    size: int
    architecture: Architecture
    won_by: float
    score: float


def winners_in_order(result: SearchResult) -> list[Winner]:
    """Returns the fully trained winners of a DC-NAS search, best first: the first is the answer of DC-NAS Eq. 10.

    Winners that diverged in full training are left out.

    Raises:
        InvalidInputError: The result does not come from such a search.
    """
    if not result.division:
        raise InvalidInputError("The winners of clusters need a result of DC-NAS, but this one has no `division`.")
    division = Division.from_dict(result.division)
    trained = [r for r in result.history if r.trial.number >= len(division.labels or ())]
    scores = {r.trial.architecture: r.score for r in trained if DIVERGED not in r.metrics}
    rows = zip(division.sizes, division.winners, division.won_by, strict=True)
    winners = [
        Winner(cluster, size, winner, won_by, scores[winner])
        for cluster, (size, winner, won_by) in enumerate(rows)
        if winner in scores
    ]
    return sorted(winners, key=lambda winner: -winner.score)


def divide(
    features: FloatArray,
    scores: FloatArray,
    num_clusters: int,
    *,
    method: Method = "kmeans",
    seed: int = 0,
    n_init: int = 10,
) -> tuple[NDArray[np.int32], NDArray[np.int64], Clusters | None]:
    """Clusters networks that were trained apart (Eq. 5) and finds the best of each cluster (Eq. 8).

    1. Clusters are numbered by their winners' scores, best first; among equals the one sampled first comes first.
    2. One cluster is early stopping without division: features are not used.

    Args:
        features: Features [s, layers, epochs].
        scores: Scores after early stopping, [s].
        num_clusters: Number of clusters K.
        method: "kmeans" or "hierarchical".
        seed: Seed of k-means.
        n_init: Number of starts of k-means.

    Returns:
        The cluster of each network, int32 [s]; the positions of the winners, int64 [K]; the clustering, which numbers
        clusters in its own way, or None for one cluster.

    Raises:
        InvalidInputError: One of the reasons that `cluster_features` and `best_of` name.
    """
    if num_clusters == 1:
        labels = np.zeros(len(scores), dtype=np.int32)
        return labels, best_of(labels, scores, 1), None
    clusters = cluster_features(features, num_clusters, method=method, seed=seed, n_init=n_init)
    winners = best_of(clusters.labels, scores, num_clusters)
    order = np.lexsort((winners, -np.asarray(scores, dtype=np.float64)[winners]))
    number = np.empty(num_clusters, dtype=np.int32)
    number[order] = np.arange(num_clusters, dtype=np.int32)
    return number[clusters.labels], winners[order], clusters
