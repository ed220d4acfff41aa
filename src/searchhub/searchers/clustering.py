"""Divides architectures by how they learn, and picks one of each cluster (DC-NAS Secs. 3.2 and 3.3).

`cluster_codes` is for architectures sampled from a supernet, 10^7 of them; `cluster_features` is for networks trained
apart. `best_of` (Eq. 8) and `most_probable` (Eq. 9) then name the winner of each cluster. Equations are those of
DC-NAS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.searchers.code_space import BLOCK, CodedSamples, check_codes
from searchhub.searchers.lloyd import Clusters, lloyd, plus_plus
from searchhub.space import Codes

__all__ = ["best_of", "cluster_codes", "cluster_features", "most_probable", "over_k", "over_k_features"]

Method = Literal["kmeans", "hierarchical"]


# -- sampled from a supernet ------------------------------------------------------------------------------------------


def cluster_codes(
    table: Sequence[FloatArray] | FloatArray,
    codes: Codes,
    num_clusters: int,
    *,
    seed: int = 0,
    start: FloatArray | None = None,
    n_init: int = 1,
    max_iter: int = 300,
    tol: float = 1e-4,
) -> Clusters:
    """Clusters architectures by exact k-means (Eq. 5), on their codes alone; their features are a table's rows.

    Labels, centroids and inertia are those of scikit-learn's `KMeans(algorithm="lloyd")` from the same start on the
    matrix [s, layers · epochs], which is never built. They are the same to the bit with any number of threads.

    1. Duplicates among the architectures count with multiplicity.
    2. Among equally near centroids the first is taken.
    3. A cluster that falls empty moves to the architecture farthest from its centroid (`Clusters.refilled`).
    4. Choices that some architecture lacks are refused: cluster each branch of such a space apart.

    >>> table = np.array([[[1.0, 0.9], [1.0, 0.8], [1.0, 0.1]]])
    >>> cluster_codes(table, np.array([[0], [1], [2], [2]], dtype=np.uint8), 2).counts.tolist()
    [2, 2]

    Args:
        table: Features of each layer's candidates, [candidates, epochs] with at least 2 epochs; an array [layers,
            candidates, epochs] or, if layers differ in candidates, a list.
        codes: Codes of the architectures, uint8 [s, layers].
        num_clusters: Number of clusters K, from 1 to the number of different feature vectors.
        seed: Seed of the k-means++ start.
        start: Centroids [K, layers · epochs] to start from. None: k-means++ finds them.
        n_init: Number of k-means++ starts. The one with the smallest inertia is kept, the first among equals.
        max_iter: Largest number of iterations, at least 1.
        tol: Lloyd's algorithm ends when the squared shifts of all centroids sum to at most this × the mean variance of
            the features.

    Raises:
        InvalidInputError: Anything above does not hold, a number is not finite (the error names layer and epoch), or no
            feature varies.
    """
    if n_init < 1 or max_iter < 1 or not tol >= 0:
        raise InvalidInputError(
            f"`n_init >= 1`, `max_iter >= 1` and `tol >= 0` must hold, but got {n_init}, {max_iter} and {tol}."
        )
    return _cluster(CodedSamples(table, codes), num_clusters, seed, start, n_init, max_iter, tol)


def _cluster(
    samples: CodedSamples,
    num_clusters: int,
    seed: int,
    start: FloatArray | None = None,
    n_init: int = 1,
    max_iter: int = 300,
    tol: float = 1e-4,
) -> Clusters:
    check_num_clusters(num_clusters, samples.num_distinct(max(num_clusters, 2)))
    if start is not None:
        start = np.asarray(start, dtype=np.float64)
        features = sum(values.shape[1] for values in samples.values)
        if start.shape != (num_clusters, features) or not np.isfinite(start).all():
            raise InvalidInputError(
                f"`start` must hold {num_clusters} × {features} finite numbers, but has shape {start.shape}"
                f"{'' if np.isfinite(start).all() else ' and some that are not finite'}."
            )
        if n_init > 1:
            raise InvalidInputError(f"`n_init` must be 1 where `start` is given, but is {n_init}. Leave one of them.")
        return lloyd(samples, start, max_iter=max_iter, tol=tol)
    rng = np.random.default_rng(seed)
    best: Clusters | None = None
    for _ in range(n_init):
        found = lloyd(samples, plus_plus(samples, num_clusters, rng), max_iter=max_iter, tol=tol)
        if best is None or found.inertia < best.inertia:
            best = found
    assert best is not None
    return best


@dataclass(frozen=True)
class ClusterCount:
    """The outcome of one number of clusters.

    Args:
        num_clusters: Number of clusters K.
        inertia: Σ of squared distances to each architecture's own centroid.
        silhouette: Mean silhouette of a random part of the architectures, in [-1, 1]; None for K = 1.
        counts: Number of architectures in each cluster.
        iterations: Number of iterations of Lloyd's algorithm.
        converged: Whether Lloyd's algorithm met its stopping rule.
    """

    num_clusters: int
    inertia: float
    silhouette: float | None
    counts: tuple[int, ...]
    iterations: int
    converged: bool


def over_k(
    table: Sequence[FloatArray] | FloatArray,
    codes: Codes,
    ks: Sequence[int],
    *,
    seed: int = 0,
    n_init: int = 1,
    silhouette_samples: int = 2000,
) -> list[ClusterCount]:
    """Returns inertia and silhouette for each number of clusters in `ks`, to help choose K.

    The silhouette is exact on architectures drawn once without replacement, the same for every K.

    Args:
        table: Features of each layer's candidates, see `cluster_codes`.
        codes: Codes of the architectures, uint8 [s, layers].
        ks: Numbers of clusters.
        seed: Seed of the starts and of the draw.
        n_init: Number of k-means++ starts for each K.
        silhouette_samples: How many architectures the silhouette covers; time grows with its square.

    Raises:
        InvalidInputError: One of the reasons that `cluster_codes` names.
    """
    samples = CodedSamples(table, codes)
    part = _part(len(samples), silhouette_samples, seed)
    features = samples.features(part)
    return [_count(_cluster(samples, k, seed, n_init=n_init), features, part) for k in ks]


def over_k_features(
    features: FloatArray,
    ks: Sequence[int],
    *,
    method: Method = "kmeans",
    seed: int = 0,
    n_init: int = 10,
    silhouette_samples: int = 2000,
) -> list[ClusterCount]:
    """Does the same as `over_k` for networks trained apart, with `cluster_features` for each of `ks`.

    Args:
        features: Features of the networks, see `cluster_features`.
        ks: Numbers of clusters.
        method: "kmeans" or "hierarchical".
        seed: Seed of the starts and of the draw.
        n_init: Number of starts of k-means for each K.
        silhouette_samples: How many networks the silhouette covers; time grows with its square.

    Raises:
        InvalidInputError: One of the reasons that `cluster_features` names.
    """
    matrix = _flat(features)
    part = _part(len(matrix), silhouette_samples, seed)
    found = [cluster_features(features, k, method=method, seed=seed, n_init=n_init) for k in ks]
    return [_count(clusters, matrix[part], part) for clusters in found]


def _part(samples: int, most: int, seed: int) -> NDArray[np.int64]:
    # The draw has a generator of its own: the starts use `seed` alone.
    rng = np.random.default_rng([seed, 1])
    return np.sort(rng.choice(samples, size=min(most, samples), replace=False))


def _count(found: Clusters, features: FloatArray, part: NDArray[np.int64]) -> ClusterCount:
    """Summarizes a clustering, given the features [part, features] of some of its samples."""
    counts = tuple(int(count) for count in found.counts)
    score = silhouette(features, found.labels[part])
    return ClusterCount(len(counts), found.inertia, score, counts, found.iterations, found.converged)


def silhouette(features: FloatArray, labels: NDArray[np.integer[Any]]) -> float | None:
    """Returns the mean silhouette of features [s, features], in [-1, 1]; None with one cluster, or as many as rows."""
    if not 2 <= len(np.unique(labels)) < len(labels):
        return None
    from sklearn.metrics import silhouette_score

    with _one_thread():
        return float(silhouette_score(features, labels))


# -- networks trained apart -------------------------------------------------------------------------------------------


def cluster_features(
    features: FloatArray, num_clusters: int, *, method: Method = "kmeans", seed: int = 0, n_init: int = 10
) -> Clusters:
    """Divides networks that were trained apart by scikit-learn's k-means or hierarchical clustering (Ward).

    It runs on one thread, and the result says so: with two, k-means gave other clusters from the same seed.

    Args:
        features: float64 [s, layers, epochs] with at least 2 epochs, or flat [s, layers · epochs].
        num_clusters: Number of clusters K, from 1 to the number of different rows.
        method: "kmeans", or "hierarchical" (memory grows with s²: 1 GB at 15,625), which has no randomness.
        seed: Seed of k-means.
        n_init: Number of starts of k-means.

    Raises:
        InvalidInputError: K does not fit, a number is not finite (the error names layer and epoch), or no feature
            varies.
    """
    matrix = _flat(features)
    distinct = len(np.unique(matrix, axis=0))
    check_num_clusters(num_clusters, distinct)
    if method not in ("kmeans", "hierarchical"):
        raise InvalidInputError(f'`method` must be "kmeans" or "hierarchical", but is {method!r}.')
    from sklearn.cluster import AgglomerativeClustering, KMeans

    with _one_thread():
        if method == "kmeans":
            found = KMeans(num_clusters, n_init=n_init, random_state=seed, algorithm="lloyd").fit(matrix)
        else:
            found = AgglomerativeClustering(num_clusters).fit(matrix)
    labels = found.labels_.astype(np.int32)
    counts = np.bincount(labels, minlength=num_clusters).astype(np.int64)
    if method == "kmeans":
        centroids, iterations, converged = found.cluster_centers_, int(found.n_iter_), found.n_iter_ < found.max_iter
    else:
        centroids = np.stack([matrix[labels == k].mean(axis=0) for k in range(num_clusters)])
        iterations, converged = 0, True
    inertia = float(((matrix - centroids[labels]) ** 2).sum())
    return Clusters(labels, centroids, counts, inertia, iterations, bool(converged), None, threads=1)


def _one_thread() -> Any:
    """Returns a context in which the libraries that are loaded by now use one thread."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    return threadpool_limits(limits=1)


def _flat(features: FloatArray) -> FloatArray:
    features = np.asarray(features, dtype=np.float64)
    if features.ndim not in (2, 3) or not features.size:
        raise InvalidInputError(
            "`features` must have shape [networks, layers, epochs] or [networks, layers · epochs], but has "
            f"{list(features.shape)}."
        )
    if features.ndim == 3 and features.shape[2] == 1:
        raise InvalidInputError(
            "Features must cover at least 2 epochs, but got 1: the cosine of epoch 1 to itself is always 1. Raise "
            "`proxy_epochs`."
        )
    if not np.isfinite(features).all():
        at = np.argwhere(~np.isfinite(features))[0]
        where = f"layer {at[1]}, epoch {at[2] + 1}" if features.ndim == 3 else f"column {at[1]}"
        raise InvalidInputError(
            f"Features must be finite, but network {at[0]}, {where} is {features[tuple(at)]}. Leave networks that "
            "diverged out."
        )
    return features.reshape(len(features), -1)


def check_num_clusters(num_clusters: int, num_distinct: int) -> None:
    """Checks that K fits; `num_distinct` is the number of different feature vectors, or at least 2 and K if it is more.

    Raises:
        InvalidInputError: K < 1, K is more than the samples that differ, or all samples are alike.
    """
    if num_clusters < 1:
        raise InvalidInputError(f"`num_clusters >= 1` must hold, but got {num_clusters}.")
    if num_distinct < 2:
        raise InvalidInputError(
            "Some feature must vary, but every column is constant: all architectures are alike, or nothing moved "
            "between the epochs. Sample more architectures, or raise `proxy_epochs`."
        )
    if num_clusters > num_distinct:
        raise InvalidInputError(
            f"`num_clusters <= {num_distinct}` must hold, the number of architectures with different features, but "
            f"got {num_clusters}. Lower it, or sample more."
        )


# -- one of each cluster ----------------------------------------------------------------------------------------------


def best_of(labels: NDArray[np.integer[Any]], scores: FloatArray, num_clusters: int | None = None) -> NDArray[np.int64]:
    """Returns the architecture with the largest score in each cluster (Eq. 8: the score after early stopping).

    >>> best_of(np.array([0, 0, 1]), np.array([0.3, 0.5, 0.1])).tolist()
    [1, 2]

    Args:
        labels: Cluster of each architecture, integers [s].
        scores: Score of each architecture, [s]; larger is better, -inf where training diverged. Among equals the first
            wins.
        num_clusters: Number of clusters K. None: the largest label + 1.

    Returns:
        int64 [K], positions among the s.

    Raises:
        InvalidInputError: A score is NaN, a cluster is empty, or lengths or labels do not fit.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape or not len(labels):
        raise InvalidInputError(
            f"`labels` and `scores` must be equally long, but have shapes {labels.shape} and {scores.shape}."
        )
    if np.isnan(scores).any():
        raise InvalidInputError(
            f"Scores must not be NaN, but that of architecture {int(np.isnan(scores).argmax())} is. Give -inf where "
            "training diverged."
        )
    num_clusters = int(labels.max()) + 1 if num_clusters is None else num_clusters
    if labels.min() < 0 or labels.max() >= num_clusters:
        raise InvalidInputError(
            f"Labels must lie in 0 … {num_clusters - 1}, but lie in {int(labels.min())} … {int(labels.max())}."
        )
    winners = np.empty(num_clusters, dtype=np.int64)
    for k in range(num_clusters):
        own = np.flatnonzero(labels == k)
        if not len(own):
            raise InvalidInputError(f"Every cluster must hold an architecture, but cluster {k} is empty. Lower K.")
        winners[k] = own[scores[own].argmax()]
    return winners


def most_probable(
    codes: Codes, labels: NDArray[np.integer[Any]], logits: Sequence[FloatArray] | FloatArray, num_clusters: int
) -> NDArray[np.int64]:
    """Returns the most probable architecture of each cluster (Eq. 9).

    Eq. 9 sums a over the layers. The a are logits: their sum is the logarithm of the probability up to a constant, but
    a sum of softmax outputs is not.

    Args:
        codes: Codes of the architectures, uint8 [s, layers].
        labels: Cluster of each architecture, integers [s] in 0 … K − 1.
        logits: One number per candidate, for each layer; logarithms of probabilities are logits.
        num_clusters: Number of clusters K.

    Returns:
        int64 [K], positions among the s; among equally probable ones the first.

    Raises:
        InvalidInputError: Logits are NaN or +inf or are probabilities, a code or label does not fit, or a cluster is
            empty.
    """
    rows = [np.asarray(row, dtype=np.float64) for row in logits]
    for layer, row in enumerate(rows):
        if row.ndim != 1 or not row.size or np.isnan(row).any() or (row == np.inf).any():
            raise InvalidInputError(
                f"`logits` must hold one number below infinity a candidate, but got {row} for layer {layer}."
            )
    check_codes(codes, [len(row) for row in rows])
    if all((row >= 0).all() and abs(row.sum() - 1) < 1e-6 for row in rows):
        raise InvalidInputError(
            "`logits` must not be probabilities, but every layer's are positive and sum to 1. Give `np.log` of them."
        )
    scores = np.zeros(len(codes))
    for first in range(0, len(codes), BLOCK):
        block = slice(first, first + BLOCK)
        for layer, row in enumerate(rows):
            scores[block] += row[codes[block, layer]]
    return best_of(labels, scores, num_clusters)
