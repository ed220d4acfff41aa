"""The channel-ratio space of DC-NAS (Sec. 4.1): how wide each convolution of a plain network is."""

from __future__ import annotations

from collections.abc import Sequence

from searchhub.errors import InvalidInputError
from searchhub.space import Choice, SearchSpace

__all__ = ["channels_space"]

RATIOS = (0.25, 0.5, 1, 2, 4)
"""On offer in every layer: multiples of the layer's channels in the base network."""


def channels_space(num_layers: int = 6, ratios: Sequence[float] = RATIOS) -> SearchSpace:
    """A choice per layer, "layer1" first, and a channel ratio as candidate; by default 5^6 = 15,625 architectures.

    >>> channels_space().size
    15625

    Args:
        num_layers: Convolutions, at least 1.
        ratios: Ratios on offer in every layer, each greater than 0, in increasing order.
    """
    if num_layers < 1:
        raise InvalidInputError(f"`num_layers >= 1` must hold, but got {num_layers}.")
    if not ratios or min(ratios) <= 0 or sorted(set(ratios)) != list(ratios):
        raise InvalidInputError(f"Channel ratios must be greater than 0 and increasing, but got {list(ratios)}.")
    return SearchSpace("channels", tuple(Choice(f"layer{i}", tuple(ratios)) for i in range(1, num_layers + 1)))
