"""Estimates what a training step keeps in memory, without running it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def activation_bytes(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> int:
    """Returns the bytes that the backward pass keeps for one more example in a batch.

    Every memory that autograd saves counts once, however many views of it are saved. What does not grow with the batch
    (parameters, statistics of BatchNorm) does not count.

    Args:
        model: A model on the meta device. It is counted in training mode.
        inputs: Keyword arguments of the model's forward, on the meta device, for one example.
    """
    model.train()
    # BatchNorm would refuse a single example if a feature map is a single pixel.
    return _saved_bytes(model, _repeated(inputs, 3)) - _saved_bytes(model, _repeated(inputs, 2))


def _repeated(inputs: Mapping[str, torch.Tensor], n: int) -> dict[str, torch.Tensor]:
    return {name: tensor.new_empty((n, *tensor.shape[1:])) for name, tensor in inputs.items()}


def _saved_bytes(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> int:
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        # The key is the same for all views of one memory; data pointers are all 0 on the meta device. The storage is
        # kept, so that no other takes its address.
        saved[int(storage._cdata)] = storage
        return tensor

    def unpack(tensor: Any) -> Any:
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        model(**inputs)
    return sum(storage.nbytes() for storage in saved.values())
