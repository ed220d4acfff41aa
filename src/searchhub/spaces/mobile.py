"""The layer-wise space of ProxylessNAS (DDPNAS Sec. 3.1): which inverted residual block stands in each layer."""

from __future__ import annotations

from collections.abc import Sequence

from searchhub.errors import InvalidInputError
from searchhub.space import Choice, SearchSpace

__all__ = ["mobile_space"]

ZERO = "zero"
"""The candidate that leaves a layer out; possible where a layer keeps width and resolution."""

PARAMETER, NON_PARAMETER = "parameter", "non-parameter"


def mobile_space(
    *,
    first_width: int = 16,
    stage_widths: Sequence[int] = (24, 40, 80, 96, 192, 320),
    stage_depths: Sequence[int] = (4, 4, 4, 4, 4, 1),
    stage_strides: Sequence[int] = (2, 2, 2, 1, 2, 1),
    expansions: Sequence[int] = (3, 6),
    kernel_sizes: Sequence[int] = (3, 5, 7),
) -> SearchSpace:
    """A choice per layer: blocks ("mbconv_e3_k5": inverted residual, expansion 3, kernel 5) and, where it fits, zero.

    The defaults are the full space: 21 layers, 15 of them with zero, 6^6 · 7^15 architectures (the paper says 7^20).
    Zero is an identity, so it is offered only where stride is 1 and the layer keeps its width. Candidates are in two
    groups, blocks against zero, so that a search keeps the best of each.

    Args:
        first_width: Channels that enter the first stage.
        stage_widths: Output channels of each stage.
        stage_depths: Layers of each stage, at least 1.
        stage_strides: Stride of the first layer of each stage, 1 or 2.
        expansions: Expansion ratios on offer, at least 1.
        kernel_sizes: Depthwise kernel sizes on offer, odd.
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
    if min(expansions, default=0) < 1 or not all(k >= 1 and k % 2 for k in kernel_sizes) or not kernel_sizes:
        raise InvalidInputError(
            f"Expansions must be at least 1 and kernel sizes odd, but got {list(expansions)} and {list(kernel_sizes)}."
        )
    blocks = tuple(f"mbconv_e{e}_k{k}" for e in expansions for k in kernel_sizes)
    choices = []
    width = first_width
    for s, (out, depth, stride) in enumerate(zip(stage_widths, stage_depths, stage_strides, strict=True), start=1):
        for layer in range(1, depth + 1):
            keeps_shape = width == out and (stride == 1 or layer > 1)
            candidates = (*blocks, ZERO) if keeps_shape else blocks
            groups = tuple(NON_PARAMETER if c == ZERO else PARAMETER for c in candidates)
            choices.append(Choice(f"stage{s}.layer{layer}", candidates, groups))
            width = out
    return SearchSpace("mobile", tuple(choices))
