"""Runs Lloyd's algorithm and its k-means++ start on rows of codes.

Only integers are summed over architectures, and nothing here calls a threaded library: labels, centroids and inertia
are the same to the bit whatever the number of threads. k-means++ draws from sums of real numbers, which are added in
blocks of fixed size and in fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchhub.distribution import FloatArray
from searchhub.searchers.code_space import BLOCK, CodedSamples, Counts, look_up

__all__ = ["Clusters"]


@dataclass(frozen=True, eq=False)
class Clusters:
    """A division of s architectures into K clusters (DC-NAS Eq. 5).

    Args:
        labels: Cluster of each architecture, int32 [s].
        centroids: Means of the features, float64 [K, layers · epochs], with the epochs of a layer side by side.
        counts: Number of architectures in each cluster, int64 [K]; duplicates count.
        inertia: Σ of squared distances to each architecture's own centroid.
        iterations: Number of iterations; 0 if the method has none.
        converged: Whether the stopping rule was met before `max_iter`.
        refilled: How often a cluster fell empty and moved to the farthest architecture. None: not known.
        threads: Number of threads with which it was computed. None: any number gives the same bits.
    """

    labels: NDArray[np.int32]
    centroids: FloatArray
    counts: NDArray[np.int64]
    inertia: float
    iterations: int
    converged: bool
    refilled: int | None
    threads: int | None = None

    @property
    def empty(self) -> tuple[int, ...]:
        """Clusters without an architecture; there are none unless `max_iter` or the tolerance stopped too early."""
        return tuple(int(k) for k in np.flatnonzero(self.counts == 0))

    def summary(self) -> dict[str, Any]:
        """Returns all but labels and centroids, as plain JSON."""
        return {
            "num_clusters": len(self.counts),
            "counts": [int(count) for count in self.counts],
            "inertia": self.inertia,
            "iterations": self.iterations,
            "converged": self.converged,
            "refilled": self.refilled,
            "threads": self.threads,
        }


def lloyd(samples: CodedSamples, centroids: FloatArray, *, max_iter: int, tol: float) -> Clusters:
    """Runs Lloyd's algorithm from given centroids, with scikit-learn's order of steps and stopping rule.

    1. It ends when no label changes, or when the centroids' squared shifts sum to at most `tol` × the mean variance of
       the features. Then labels are assigned once more, so that they fit the centroids.
    2. Among equally near centroids the first is taken.
    3. A cluster that falls empty takes the architecture farthest from its centroid, and the next one the farthest with
       different features (scikit-learn: also with the same); among equally far ones the first.
    """
    assignment = _Assignment(samples, len(centroids))
    whole = [count.sum(axis=0, keepdims=True) for count in assignment.counts]
    tolerance = tol * samples.inertia(samples.means(whole), whole) / (len(samples) * centroids.shape[1])
    refilled, converged, fitting = 0, False, False
    for iteration in range(1, max_iter + 1):
        moved = assignment.update(centroids)
        lent = assignment.for_empty(centroids)
        refilled += len(lent)
        updated = samples.means(assignment.lending(lent))
        shift = float(((updated - centroids) ** 2).sum())
        centroids = updated
        # All labels are 0 at the start, so in the first iteration it means nothing if none moves.
        fitting = moved == 0 and iteration > 1
        converged = fitting or shift <= tolerance
        if converged:
            break
    if not fitting:
        assignment.update(centroids)
    inertia = samples.inertia(centroids, assignment.counts)
    return Clusters(assignment.labels, centroids, assignment.sizes, inertia, iteration, converged, refilled)


class _Assignment:
    """Tracks which centroid is nearest to each architecture, and how many of each cluster hold each word.

    An architecture that is far nearer to its own centroid than to any other need not be checked when centroids move a
    little. So each architecture has a slack, at most the second smallest squared distance less the smallest. When the
    centroids move, it shrinks by the most that any architecture of the cluster can lose, a sum over layers of maxima
    over candidates. While some slack is left, the label stays. This changes no label, only the time.

    Attributes:
        labels: Cluster of each architecture, int32 [s]; 0 at first.
        counts: Number of architectures with each word, for each group int64 [K, words].
    """

    def __init__(self, samples: CodedSamples, num_clusters: int) -> None:
        self.samples = samples
        self.labels = np.zeros(len(samples), dtype=np.int32)
        histograms = samples.histograms()
        self.counts: Counts = [np.zeros((num_clusters, len(h)), dtype=np.int64) for h in histograms]
        for count, histogram in zip(self.counts, histograms, strict=True):
            count[0] = histogram
        self._slack = np.zeros(len(samples))
        self._rounding = 0.0
        self._distances: list[FloatArray] = []

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of architectures in each cluster, int64 [K]."""
        return np.asarray(self.counts[0].sum(axis=1))

    def update(self, centroids: FloatArray) -> int:
        """Gives each architecture the nearest centroid and updates the counts; returns how many architectures moved."""
        distances = self.samples.squared_distances(centroids)
        tables = self.samples.joined(distances)
        loss = _largest_loss(self._distances, distances)
        self._distances = distances
        self._rounding = max(self._rounding, 1e-12 * sum(float(d.max()) for d in distances))
        moved = 0
        for block in self.samples.blocks():
            slack, labels = self._slack[block], self.labels[block]
            slack -= loss[labels]
            unsure = np.flatnonzero(slack <= self._rounding)
            if len(unsure):
                words = self.samples.words[:, block].take(unsure, axis=1)
                nearest, slack[unsure] = _nearest(look_up(tables, words))
                changed = np.flatnonzero(nearest != labels[unsure])
                self._count(words[:, changed], nearest[changed], labels[unsure[changed]].astype(np.intp))
                labels[unsure] = nearest
                moved += len(changed)
        return moved

    def _count(self, words: NDArray[np.uint16], new: NDArray[np.intp], old: NDArray[np.intp]) -> None:
        if len(new):
            for count, own in zip(self.counts, words, strict=True):
                size = count.shape[1]
                count += np.bincount(new * size + own, minlength=count.size).reshape(count.shape)
                count -= np.bincount(old * size + own, minlength=count.size).reshape(count.shape)

    def for_empty(self, centroids: FloatArray) -> dict[int, int]:
        """Returns, for each empty cluster, the architecture to put it on: the farthest from its own centroid."""
        empty = np.flatnonzero(self.sizes == 0)
        lent: dict[int, int] = {}
        if not len(empty):
            return lent
        tables = self.samples.joined(self.samples.squared_distances(centroids))
        for cluster in empty:
            farthest, at = 0.0, -1
            for block in self.samples.blocks():
                words = self.samples.words[:, block]
                own = self.labels[block, None].astype(np.intp)
                distances = np.take_along_axis(look_up(tables, words), own, axis=1)[:, 0]
                for taken in lent.values():
                    distances[(words == self.samples.words[:, taken, None]).all(axis=0)] = 0.0
                best = int(distances.argmax())
                if distances[best] > farthest:
                    farthest, at = float(distances[best]), block.start + best
            if at < 0:  # all that is left lies on a centroid
                break
            lent[int(cluster)] = at
        return lent

    def lending(self, lent: dict[int, int]) -> Counts:
        """Returns the counts with one architecture each moved to the clusters that are empty."""
        if not lent:
            return self.counts
        counts = [count.copy() for count in self.counts]
        for cluster, at in lent.items():
            for count, word in zip(counts, self.samples.words[:, at], strict=True):
                count[self.labels[at], word] -= 1
                count[cluster, word] += 1
        return counts


def _nearest(distances: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    """Returns the nearest centroid, and how much farther the second is (inf: there is none), from distances [n, K]."""
    smallest, second = distances[:, 0].copy(), np.full(len(distances), np.inf)
    # This goes by columns: numpy sorts or reduces short rows at half the speed.
    for column in distances.T[1:]:
        np.minimum(second, np.maximum(smallest, column), out=second)
        np.minimum(smallest, column, out=smallest)
    return distances.argmin(axis=1), second - smallest


def _largest_loss(before: Sequence[FloatArray], after: Sequence[FloatArray]) -> FloatArray:
    """Returns, for each own centroid [K], the most by which any other centroid can come nearer relative to it.

    Args:
        before: Squared distances [candidates, K] to the centroids before the move, for each layer. Empty: not known.
        after: The same distances after the move.
    """
    loss = np.zeros((after[0].shape[1],) * 2)
    for old, new in zip(before, after, strict=bool(before)):
        change = new - old
        loss += (change[:, :, None] - change[:, None, :]).max(axis=0)
    np.fill_diagonal(loss, -np.inf)
    return np.asarray(loss.max(axis=1))


# -- k-means++ --------------------------------------------------------------------------------------------------------


def plus_plus(samples: CodedSamples, num_clusters: int, rng: np.random.Generator) -> FloatArray:
    """Runs greedy k-means++ (Arthur and Vassilvitskii, 2007), with scikit-learn's 2 + ln K trials per centroid.

    Draws are exact however many architectures there are: a point of [0, Σ squared distances to the nearest centroid so
    far) falls into a block by the blocks' sums, and within the block on an architecture.

    Returns:
        Centroids [K, layers · epochs], each the features of an architecture.
    """
    trials = 2 + int(math.log(num_clusters))
    chosen = samples.features(rng.integers(len(samples), size=1))
    nearest = np.full(len(samples), np.inf)
    sums = _approach(samples, chosen, nearest)
    for _ in range(1, num_clusters):
        candidates = samples.features(_draw(nearest, sums, rng.random(trials)))
        tables = samples.joined(samples.squared_distances(candidates))
        left = np.zeros(trials)
        for block in samples.blocks():
            distances = look_up(tables, samples.words[:, block])
            left += [np.minimum(distances[:, trial], nearest[block]).sum() for trial in range(trials)]
        best = candidates[left.argmin()][None]
        sums = _approach(samples, best, nearest)
        chosen = np.concatenate([chosen, best])
    return chosen


def _approach(samples: CodedSamples, point: FloatArray, nearest: FloatArray) -> FloatArray:
    """Lowers squared distances [s] in place to those to a point [1, features]; returns their sums [blocks]."""
    tables = samples.joined(samples.squared_distances(point))
    sums = []
    for block in samples.blocks():
        np.minimum(nearest[block], look_up(tables, samples.words[:, block])[:, 0], out=nearest[block])
        sums.append(nearest[block].sum())
    return np.array(sums)


def _draw(weights: FloatArray, sums: FloatArray, points: FloatArray) -> NDArray[np.intp]:
    """Draws architectures with probability proportional to their weight [s], for points in [0, 1)."""
    ends = np.cumsum(sums)
    drawn = []
    for point in points * ends[-1]:
        # Sums round differently in another order: the last one with a weight stands for what lies beyond it.
        block = min(int(np.searchsorted(ends, point, side="right")), int(np.flatnonzero(sums)[-1]))
        own = weights[block * BLOCK : (block + 1) * BLOCK]
        within = np.searchsorted(np.cumsum(own), max(point - (ends[block] - sums[block]), 0.0), side="right")
        drawn.append(block * BLOCK + min(int(within), int(np.flatnonzero(own)[-1])))
    return np.array(drawn)
