"""What comes of dividing architectures (DC-NAS Sec. 3.3): clusters, their winners, and the order of these."""

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
    """What the division of a search came to. Cluster 0 holds the winner of them all, as early stopping alone sees it.

    Args:
        sizes: Architectures a cluster; duplicates count.
        winners: The best of each cluster (Eq. 8 or 9).
        won_by: The winners' scores after early stopping (Eq. 8), or the logarithms of their probabilities (Eq. 9),
            in decreasing order.
        labels: The cluster of each sampled network, in the order of the trials, -1 where it diverged; None: of
            architectures sampled from a supernet, which are no trials.
        summary: How the clustering went, plain JSON; empty with one cluster.
        drawn: Of architectures sampled from a supernet, codes and cluster of the first few, for pictures.
    """

    sizes: tuple[int, ...]
    winners: tuple[Architecture, ...]
    won_by: tuple[float, ...]
    labels: tuple[int, ...] | None = None
    summary: Mapping[str, Any] | None = None
    drawn: tuple[tuple[tuple[int, ...], int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; `from_dict` reads it."""
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
        """The division that `to_dict` wrote."""
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
        cluster: From 0.
        size: Architectures in the cluster.
        architecture: The winner.
        won_by: As in `Division`.
        score: After full training.
    """

    cluster: int
    size: int
    architecture: Architecture
    won_by: float
    score: float


def winners_in_order(result: SearchResult) -> list[Winner]:
    """The winners of a DC-NAS search that were fully trained, best first: the first is DC-NAS Eq. 10's answer.

    Those that diverged meanwhile are not among them.

    Raises:
        InvalidInputError: The result is not of such a search.
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
    """Cluster networks that were trained apart (Eq. 5) and find the best of each cluster (Eq. 8).

    1. Clusters are numbered by their winners' scores, best first; of equal ones the one sampled first.
    2. One cluster is early stopping without division: features are not looked at.

    Args:
        features: [s, layers, epochs].
        scores: After early stopping, [s].
        num_clusters: K.
        method: "kmeans" or "hierarchical".
        seed: Of k-means.
        n_init: Starts of k-means.

    Returns:
        The cluster of each, int32 [s]; the positions of the winners, int64 [K]; the clustering, whose own numbers are
        others, or None for one cluster.

    Raises:
        InvalidInputError: As `cluster_features` and `best_of`.
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
