"""Uses rows of codes as samples of k-means, so that the matrix of features is never built.

The features of an architecture are one row of a table per layer, gathered over its codes (DC-NAS Eq. 7 at the layers of
a supernet). So the squared distance to a centroid is a sum over layers of a small table [candidates, K], a centroid is
a mean of the table's rows weighted by integer counts, and inertia and variances follow from the counts alone. The work
per architecture is to add up a few looked-up numbers and to take the smallest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.space import INACTIVE, Codes

BLOCK = 1 << 14  # architectures at a time; part of what a seed means, since k-means++ sums over blocks
WORD = 1 << 10  # largest number of code combinations that share a table; larger ones leave the processor's cache

Counts = list[NDArray[np.int64]]


class CodedSamples:
    """Holds architectures as words: one number joins the codes of a few layers, so that one look-up serves them.

    Candidates of a layer with equal features count as one candidate here.

    Args:
        table: Features of each layer's candidates, float64 [candidates, epochs]; an array [layers, candidates, epochs]
            is accepted too.
        codes: Codes of the architectures, uint8 [s, layers].

    Attributes:
        values: Distinct rows of each layer's table, float64 [distinct, epochs].
        words: uint16 [groups, s].

    Raises:
        InvalidInputError: One of the reasons that `check_table` and `check_codes` name.
    """

    def __init__(self, table: Sequence[FloatArray] | FloatArray, codes: Codes) -> None:
        rows = check_table(table)
        check_codes(codes, [len(r) for r in rows])
        # Adding 0.0 turns -0.0 into 0.0, which `unique` may tell apart.
        distinct = [np.unique(r + 0.0, axis=0, return_inverse=True) for r in rows]
        self.values = [values for values, _ in distinct]
        self.groups = _groups([len(values) for values in self.values])
        self.words = np.zeros((len(self.groups), len(codes)), dtype=np.uint16)
        for words, (start, stop) in zip(self.words, self.groups, strict=True):
            stride = 1
            for layer in reversed(range(start, stop)):
                weight = (distinct[layer][1].reshape(-1) * stride).astype(np.uint16)
                for block in self.blocks():
                    words[block] += weight[codes[block, layer]]
                stride *= len(self.values[layer])

    def __len__(self) -> int:
        return self.words.shape[1]

    def blocks(self) -> Iterator[slice]:
        """Yields all architectures in order, a block at a time."""
        for start in range(0, len(self), BLOCK):
            yield slice(start, min(start + BLOCK, len(self)))

    # -- one look-up a group ------------------------------------------------------------------------------------------

    def joined(self, per_layer: Sequence[FloatArray]) -> list[FloatArray]:
        """Returns, for each group, the sums [words, columns] of its layers' tables [distinct, columns]."""
        tables = []
        for start, stop in self.groups:
            table = per_layer[start]
            for layer in range(start + 1, stop):
                table = (table[:, None] + per_layer[layer]).reshape(-1, table.shape[1])
            tables.append(table)
        return tables

    def squared_distances(self, points: FloatArray) -> list[FloatArray]:
        """Returns each layer's part of squared distances to points [K, layers · epochs]: float64 [distinct, K]."""
        split = points.reshape(len(points), len(self.values), -1)
        return [((v[:, None, :] - split[:, layer]) ** 2).sum(axis=2) for layer, v in enumerate(self.values)]

    def features(self, indices: NDArray[np.integer[Any]]) -> FloatArray:
        """Returns the feature vectors of a few architectures, float64 [indices, layers · epochs]."""
        columns = []
        for (start, stop), words in zip(self.groups, self.words[:, indices], strict=True):
            own = self.values[start:stop]
            codes = np.unravel_index(words, [len(values) for values in own])
            columns += [values[code] for values, code in zip(own, codes, strict=True)]
        return np.concatenate(columns, axis=1)

    # -- what follows from counts -------------------------------------------------------------------------------------

    def histograms(self) -> Counts:
        """Returns, for each group, how many architectures hold each word, int64 [words]."""
        sizes = [math.prod(len(v) for v in self.values[start:stop]) for start, stop in self.groups]
        counts = [np.zeros(size, dtype=np.int64) for size in sizes]
        for block in self.blocks():
            for count, words in zip(counts, self.words[:, block], strict=True):
                count += np.bincount(words, minlength=len(count))
        return counts

    def by_layer(self, counts: Counts) -> Counts:
        """Returns, for each layer, int64 [K, distinct], from counts per group [K, words]."""
        per_layer = []
        for (start, stop), count in zip(self.groups, counts, strict=True):
            sizes = [len(values) for values in self.values[start:stop]]
            cube = count.reshape(-1, *sizes)
            axes = range(1, cube.ndim)
            per_layer += [cube.sum(axis=tuple(a for a in axes if a != axis)) for axis in axes]
        return per_layer

    def means(self, counts: Counts) -> FloatArray:
        """Returns the centroids [K, layers · epochs] from counts per group [K, words].

        An empty cluster is put on the largest cluster's centroid, as in scikit-learn.
        """
        weights = counts[0].sum(axis=1)
        own = np.where(weights > 0, np.arange(len(weights)), weights.argmax())
        # einsum, as BLAS may split a product differently with another number of threads.
        sums = [
            np.einsum("ko,oe->ke", c.astype(np.float64), v)
            for c, v in zip(self.by_layer(counts), self.values, strict=True)
        ]
        return np.asarray((np.concatenate(sums, axis=1) / np.maximum(weights, 1)[:, None])[own])

    def inertia(self, centroids: FloatArray, counts: Counts) -> float:
        """Returns Σ of squared distances to the centroids, from counts per group [K, words]."""
        distances = self.squared_distances(centroids)
        return float(sum((c * d.T).sum() for c, d in zip(self.by_layer(counts), distances, strict=True)))

    def num_distinct(self, enough: int) -> int:
        """Returns how many feature vectors differ; counting ends at `enough`."""
        seen: set[bytes] = set()
        for block in self.blocks():
            seen.update(row.tobytes() for row in self.words[:, block].T)
            if len(seen) >= enough:
                return enough
        return len(seen)


def look_up(tables: Sequence[FloatArray], words: NDArray[np.uint16]) -> FloatArray:
    """Returns Σ over groups of the rows of tables [words, columns], float64 [n, columns], for words [groups, n]."""
    # No word is out of bounds: "clip" only spares numpy the check.
    total: FloatArray = tables[0].take(words[0], axis=0, mode="clip")
    for table, own in zip(tables[1:], words[1:], strict=True):
        total += table.take(own, axis=0, mode="clip")
    return total


def _groups(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Returns neighbouring layers [start, stop) whose codes make at most `WORD` combinations."""
    groups, start, product = [], 0, 1
    for layer, size in enumerate(sizes):
        if layer > start and product * size > WORD:
            groups.append((start, layer))
            start, product = layer, 1
        product *= size
    return [*groups, (start, len(sizes))]


# -- checks -----------------------------------------------------------------------------------------------------------


def check_table(table: Sequence[FloatArray] | FloatArray) -> list[FloatArray]:
    """Returns float64 [candidates, epochs] for each layer.

    Raises:
        InvalidInputError: Layers differ in their epochs, there is only one epoch, or a number is not finite.
    """
    rows = [np.asarray(r, dtype=np.float64) for r in table]
    if not rows or any(r.ndim != 2 or not r.size for r in rows) or len({r.shape[1] for r in rows}) > 1:
        raise InvalidInputError(
            "`table` must hold for each layer an array [candidates, epochs] with the same epochs, but got shapes "
            f"{[r.shape for r in rows]}."
        )
    if rows[0].shape[1] == 1:
        raise InvalidInputError(
            "Features must cover at least 2 epochs, but got 1: the cosine of epoch 1 to itself is always 1, and no "
            "network differs from another. Train for more epochs."
        )
    for layer, r in enumerate(rows):
        if not np.isfinite(r).all():
            candidate, epoch = np.argwhere(~np.isfinite(r))[0]
            raise InvalidInputError(
                f"Features must be finite, but layer {layer}, candidate {candidate}, epoch {epoch + 1} is "
                f"{r[candidate, epoch]}. What was measured diverged: lower its learning rate."
            )
    return rows


def check_codes(codes: Codes, sizes: Sequence[int]) -> None:
    """Checks that codes are uint8 [s, layers], with s at least 1 and each below its layer's number of candidates.

    Raises:
        InvalidInputError: They are not. Conditional choices, which an architecture may lack, have no features.
    """
    if not isinstance(codes, np.ndarray) or codes.dtype != np.uint8 or codes.ndim != 2 or not len(codes):
        got = f"{codes.dtype} {list(codes.shape)}" if isinstance(codes, np.ndarray) else type(codes).__name__
        raise InvalidInputError(f"`codes` must be a uint8 array [architectures, layers] with a row, but got {got}.")
    if codes.shape[1] != len(sizes):
        raise InvalidInputError(
            f"`codes` must have a column for each of the {len(sizes)} layers, but has {codes.shape[1]}."
        )
    for layer, (largest, size) in enumerate(zip(codes.max(axis=0).tolist(), sizes, strict=True)):
        if largest == INACTIVE:
            raise InvalidInputError(
                f"Every layer must exist in every architecture, but layer {layer} is inactive in some: a layer that is "
                "not there has no features. Cluster the architectures of each branch of the space apart."
            )
        if largest >= size:
            raise InvalidInputError(f"Codes of layer {layer} must be below {size}, but the largest is {largest}.")
