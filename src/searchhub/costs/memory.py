"""What a training step keeps in memory, without running it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def activation_bytes(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> int:
    """Bytes that the backward pass of one example needs kept: every tensor that autograd saves, counted once.

    Args:
        model: On the meta device; counted in training mode.
        inputs: Keyword arguments of its forward, on the meta device, for one example.
    """
    own = {id(p) for p in model.parameters()} | {id(b) for b in model.buffers()}
    saved: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in own:
            saved[id(tensor)] = tensor
        return tensor

    def unpack(tensor: Any) -> Any:
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        model(**inputs)
    return sum(t.numel() * t.element_size() for t in saved.values())
