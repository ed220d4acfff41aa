"""Draws examples that are held out: few of each class, or such that what belongs together stays together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

DRAWS = 100
"""How often examples that belong together are drawn; the draw most like what was asked for is taken."""


def draw_few(labels: np.ndarray, wanted: int, seed: int) -> np.ndarray:
    """Draws positions, in random order, so that classes keep their proportions as far as one example of each stays."""
    rng = np.random.default_rng(seed)
    _, of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    share = wanted * counts / len(labels)
    taken = np.minimum(np.floor(share).astype(int), counts - 1)
    while (missing := wanted - taken.sum()) > 0:
        order = np.lexsort((rng.random(len(counts)), taken - share))  # most is due first
        taken[order[taken[order] < counts[order] - 1][:missing]] += 1
    drawn = [rng.permutation(np.flatnonzero(of == i))[:n] for i, n in enumerate(taken)]
    return rng.permutation(np.concatenate(drawn))


class Together(Protocol):
    """What belongs together, as an order in which examples are held out."""

    words: str
    """Words for people about what belongs together."""

    def ranks(self, rng: np.random.Generator) -> np.ndarray:
        """Draws the rank of each example: all below some rank can be held out, and the rest be left."""


class Groups:
    """Examples with the same value belong together; one without a value belongs to no other.

    Args:
        values: Value of each example.
    """

    def __init__(self, values: Sequence[object]) -> None:
        keys = [("alone", i) if value is None else ("group", value) for i, value in enumerate(values)]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        self._of = np.array([numbers[key] for key in keys])
        sizes = np.bincount(self._of)
        self.words = f"{len(sizes)} groups, of {sizes.min()} to {sizes.max()} examples"

    def ranks(self, rng: np.random.Generator) -> np.ndarray:
        """Returns the rank of each example's group."""
        return rng.permutation(self._of.max() + 1)[self._of]


class Contained:
    """A text is held out only with all texts that it stands in, so that nothing that is left holds it, word for word.

    Letters count as small ones, and spaces as one. What is left may stand in what is held out.

    Args:
        texts: The texts.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        rows = [tuple(text.lower().split()) for text in texts]
        numbers = {words: number for number, words in enumerate(dict.fromkeys(rows))}
        self._of = np.array([numbers[words] for words in rows])
        lengths: dict[tuple[str, ...], set[int]] = {}
        for words in numbers:
            lengths.setdefault(words[:2], set()).add(len(words))
        inner: list[int] = []
        outer: list[int] = []
        for words, number in numbers.items():
            within = set()
            for start in range(len(words)):
                for head in (words[start : start + 1], words[start : start + 2]):
                    for length in lengths.get(head, ()):
                        part = words[start : start + length]
                        if length < len(words) and part in numbers:
                            within.add(numbers[part])
            inner += within
            outer += [number] * len(within)
        alone = np.ones(len(numbers), dtype=bool)
        alone[inner] = False
        pairs = np.array([inner, outer], dtype=int).reshape(2, -1)
        # It is enough to look at those that stand in no other: what holds a text is itself held by one of them.
        self._inner, self._outer = pairs[:, alone[pairs[1]]]
        self._whole = np.flatnonzero(alone)
        self.words = f"{len(self._whole):,} texts that stand in no other, of {len(numbers):,}"

    def ranks(self, rng: np.random.Generator) -> np.ndarray:
        """Returns the rank of each text: the highest of those that it stands in."""
        rank = np.zeros(self._of.max() + 1, dtype=int)
        rank[self._whole] = rng.permutation(len(self._whole))
        np.maximum.at(rank, self._inner, rank[self._outer])
        return rank[self._of]


def draw_together(together: Together, labels: np.ndarray | None, wanted: int, seed: int) -> np.ndarray | None:
    """Draws positions, in random order, of about as many examples as are wanted, with nearly all classes' shares.

    Args:
        together: What belongs together.
        labels: Class of each example. None: there are no classes.
        wanted: Number of examples.
        seed: Seed of the draw.

    Returns:
        The positions. None: no draw leaves an example of each class.
    """
    rng = np.random.default_rng(seed)
    best, least = None, math.inf
    for _ in range(DRAWS):
        ranks = together.ranks(rng)
        ends = np.cumsum(np.bincount(ranks))[:-1]
        if not len(ends) or not 0 < wanted < len(ranks):
            return None
        drawn = ranks <= int(np.abs(ends - wanted).argmin())
        classes = np.zeros(len(ranks), dtype=int) if labels is None else np.unique(labels, return_inverse=True)[1]
        counts = np.bincount(classes)
        part = np.bincount(classes[drawn], minlength=len(counts))
        if not part.any():
            continue
        off = abs(part.sum() - wanted) / len(ranks) + float(np.abs(part / part.sum() - counts / len(ranks)).sum())
        if (part < counts).all() and off < least:
            best, least = np.flatnonzero(drawn), off
    return None if best is None else rng.permutation(best)
