"""The layer-wise space of FBNet (DC-NAS Sec. 4.2): which block stands in each of 22 layers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from searchhub.errors import InvalidInputError
from searchhub.space import Choice, SearchSpace

__all__ = ["fbnet_space"]

SKIP = "skip"
"""The candidate that cancels a block: an identity, or a strided 1x1 convolution where a layer changes the shape."""

FBNET_CANDIDATES = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", SKIP)
"""Kernel size of the depthwise convolution, expansion, and groups of the 1x1 convolutions."""

PARAMETER, NON_PARAMETER = "parameter", "non-parameter"


def fbnet_space(
    *,
    stem_width: int = 16,
    stage_widths: Sequence[int] = (16, 24, 32, 64, 112, 184, 352),
    stage_depths: Sequence[int] = (1, 4, 4, 4, 4, 4, 1),
    stage_strides: Sequence[int] = (1, 2, 2, 2, 1, 2, 1),
    candidates: Sequence[str] = FBNET_CANDIDATES,
) -> SearchSpace:
    """A choice per layer among the same candidates everywhere. The defaults are the full space, 9^22 architectures.

    Candidates are in two groups, blocks against a skip that is an identity, so that a search by DDPNAS keeps the best
    of each. Where a layer changes the shape, skip is a convolution and in one group with the blocks.

    Args:
        stem_width: Channels that enter the first stage.
        stage_widths: Output channels of each stage.
        stage_depths: Layers of each stage, at least 1.
        stage_strides: Stride of the first layer of each stage, 1 or 2.
        candidates: "k{kernel}_e{expansion}", with "_g{groups}" for grouped 1x1 convolutions and channel shuffle, or
            "skip".

    Raises:
        InvalidInputError: Anything above does not hold.
    """
    if not len(stage_widths) == len(stage_depths) == len(stage_strides) >= 1:
        raise InvalidInputError(
            "`stage_widths`, `stage_depths` and `stage_strides` must have the same length, at least 1, but have "
            f"{len(stage_widths)}, {len(stage_depths)} and {len(stage_strides)}."
        )
    if min(stage_depths) < 1 or not set(stage_strides) <= {1, 2}:
        raise InvalidInputError(
            f"Depths must be at least 1 and strides 1 or 2, but got {list(stage_depths)} and {list(stage_strides)}."
        )
    wrong = [c for c in candidates if c != SKIP and not re.fullmatch(r"k\d*[13579]_e[1-9]\d*(_g[2-9])?", c)]
    if wrong or not candidates:
        raise InvalidInputError(
            f'`candidates` must be "{SKIP}" or like "k3_e6" or "k5_e1_g2" (odd kernel), but got {wrong or "none"}.'
        )
    choices = []
    width = stem_width
    for s, (out, depth, stride) in enumerate(zip(stage_widths, stage_depths, stage_strides, strict=True), start=1):
        for layer in range(1, depth + 1):
            keeps_shape = width == out and (stride == 1 or layer > 1)
            groups = tuple(NON_PARAMETER if c == SKIP and keeps_shape else PARAMETER for c in candidates)
            choices.append(Choice(f"stage{s}.layer{layer}", tuple(candidates), groups))
            width = out
    return SearchSpace("fbnet", tuple(choices))
