"""Holds out whole stretches of the frames of videos: a frame beside one that is trained on would say little."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from searchhub.errors import InvalidInputError

BLOCKS = 4
"""Number of stretches that are held out where the user does not say."""

GAP = 2
"""Largest number of frames that are left out at each end of a stretch where the user does not say."""


def usual_gap(length: int) -> int:
    """Returns how many frames are left out at each end of a stretch: half as many as it has, at most `GAP`.

    So gaps never take more frames than stretches do, but for stretches of a single frame.

    >>> [usual_gap(length) for length in (1, 2, 3, 18)]
    [1, 1, 2, 2]
    """
    return min(GAP, -(-length // 2))


def in_order(names: Sequence[str | None]) -> np.ndarray:
    """Returns positions in the order of file names, numbers in them by their value; as they are if some have none."""
    if None in names or len(set(names)) < len(names):
        return np.arange(len(names))
    parts = [re.split(r"(\d+)", str(name)) for name in names]
    keys = [[(int(part), "") if part.isdecimal() else (-1, part) for part in own] for own in parts]
    return np.array(sorted(range(len(names)), key=keys.__getitem__))


def hold_out(
    amount: int, wanted: int, blocks: int, gap: int, seed: int, name: str
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Draws stretches of frames, each in its own equal part of all frames, at a random place there.

    Args:
        amount: Number of frames, in order.
        wanted: Number of frames to hold out.
        blocks: Number of stretches.
        gap: Number of frames that are left out at each end of a stretch.
        seed: Seed of the draw.
        name: Name of the split that is held out, for errors.

    Returns:
        (first, end) of each stretch, and the positions of the frames that are left, in order.

    Raises:
        InvalidInputError: A stretch, or what is left, would be empty.
    """
    if blocks < 1 or gap < 0:
        raise InvalidInputError(
            f"`--validation_blocks` must be at least 1 and the gap at least 0, but they are {blocks} and {gap}."
        )
    rng = np.random.default_rng(seed)
    edges = np.linspace(0, amount, blocks + 1).round().astype(int)
    ends = np.linspace(0, wanted, blocks + 1).round().astype(int)
    lengths = np.diff(ends)
    left = np.ones(amount, dtype=bool)
    stretches = []
    for low, high, length in zip(edges[:-1], edges[1:], lengths, strict=True):
        if 0 < length <= high - low:
            first = int(low + rng.integers(high - low - length + 1))
            stretches.append((first, first + int(length)))
            left[max(0, first - gap) : first + length + gap] = False
    if len(stretches) < blocks or not left.any():
        raise InvalidInputError(
            f"`--{name}_size` must leave frames for training and for each of {blocks} stretches, but {wanted} of "
            f"{amount} frames, with {gap} left out at each end of a stretch, do not. Change the size, or take fewer "
            "`--validation_blocks`."
        )
    return stretches, np.flatnonzero(left)
