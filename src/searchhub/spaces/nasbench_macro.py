"""The space of NAS-Bench-Macro (Su et al., CVPR 2021): which block stands in each of 8 layers, in stages of 2, 3, 3."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searchhub.errors import InvalidInputError
from searchhub.space import Choice, Codes, SearchSpace
from searchhub.spaces.mobile import NON_PARAMETER, PARAMETER

__all__ = ["nasbench_macro_space"]

IDENTITY = "identity"
"""The candidate that leaves a layer out; in a stage's first layer it is a strided 1x1 convolution."""

CANDIDATES = (IDENTITY, "mb3_k3", "mb6_k5")
"""Inverted residuals of expansion 3 and 6, in the order of the digits by which the table names an architecture."""

STAGE_DEPTHS = (2, 3, 3)


def nasbench_macro_space(*, stage_depths: Sequence[int] = STAGE_DEPTHS, groups: bool = False) -> SearchSpace:
    """A choice per layer among identity, "mb3_k3" and "mb6_k5" (expansion and kernel); 3^8 = 6,561 architectures.

    Codes are the digits of the table's keys: "02012100" is the architecture of codes 0, 2, 0, 1, 2, 1, 0, 0. Some of
    them are the same network (`canonical_codes`).

    >>> nasbench_macro_space().size
    6561

    Args:
        stage_depths: Layers of each stage, at least 1. Another value than the default is no benchmark any more.
        groups: Whether a search keeps identity and one of the blocks in every layer (DDPNAS Sec. 3.2). In a stage's
            first layer, where identity is a convolution, all candidates are in one group. False: a pruned search ends
            with one candidate a layer.

    Raises:
        InvalidInputError: There is no stage, or one without layers.
    """
    if min(stage_depths, default=0) < 1:
        raise InvalidInputError(f"Each of `stage_depths` must be at least 1, but got {list(stage_depths)}.")
    choices: list[Choice] = []
    for depth in stage_depths:
        for layer in range(depth):
            labels = tuple(NON_PARAMETER if c == IDENTITY and layer > 0 else PARAMETER for c in CANDIDATES)
            choices.append(Choice(f"layer.{len(choices)}", CANDIDATES, labels if groups else ()))
    return SearchSpace("nasbench-macro", tuple(choices))


def canonical_codes(codes: Codes, stage_depths: Sequence[int] = STAGE_DEPTHS) -> Codes:
    """Returns codes that are equal exactly where two architectures are the same network.

    The first layer of a stage changes the shape. After it identities compute nothing, so it does not matter between
    which blocks they stand: they go to the end of their stage. So 3,969 of the 6,561 architectures are distinct.

    Args:
        codes: uint8 [..., layers].
        stage_depths: Layers of each stage, as in `nasbench_macro_space`.

    Returns:
        uint8 [..., layers]: an architecture of the same space, which is the same for all that mean the same network.

    Raises:
        InvalidInputError: The stages have another number of layers than the codes.
    """
    canonical = np.array(codes, dtype=np.uint8)
    if canonical.ndim == 0 or canonical.shape[-1] != sum(stage_depths):
        raise InvalidInputError(
            f"Codes must have one entry for each of {sum(stage_depths)} layers, but have shape {canonical.shape}."
        )
    end = 0
    for depth in stage_depths:
        end += depth
        later = canonical[..., end - depth + 1 : end]
        order = np.argsort(later == CANDIDATES.index(IDENTITY), axis=-1, kind="stable")
        later[...] = np.take_along_axis(later, order, axis=-1)
    return canonical
