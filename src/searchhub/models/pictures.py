"""Reads how large the pictures are that a model is meant for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def height_and_width(size: Any) -> tuple[int, int] | None:
    """Reads the size that processors and configurations write: a number, a pair, or a mapping. None: it is no size."""
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        size = (size.get("height", edge), size.get("width", edge))
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) and all(size) else None


def example_pictures(config: Any) -> dict[str, torch.Tensor]:
    """Returns the shape of one picture, as a meta tensor, of the size that the costs of a supernet's networks refer to.

    Args:
        config: The supernet's configuration, with `num_channels` and `image_size`. `cost_size` comes before the latter.
    """
    size = height_and_width(getattr(config, "cost_size", None)) or height_and_width(config.image_size)
    assert size is not None
    return {"pixel_values": torch.empty(1, config.num_channels, *size, device="meta")}
