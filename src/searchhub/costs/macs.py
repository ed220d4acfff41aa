"""Counts multiply-adds. The papers' "FLOPs" are multiply-adds of convolutions and linear layers; so are these."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from searchhub.costs.counting import count_table, example_tokens
from searchhub.costs.table import CostTable
from searchhub.models.supernet import Supernet


def macs_per_module(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Counts multiply-adds of one forward pass, per module name; "" is the whole model.

    Args:
        model: A model on the meta device, where nothing is computed.
        inputs: Keyword arguments of the model's forward, on the meta device. A batch of one gives the figure of the
            papers.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**inputs)
    root = type(model).__name__
    # torch counts a multiply-add as two operations.
    return {
        name.removeprefix(root).removeprefix("."): sum(operations.values()) // 2
        for name, operations in counter.get_flop_counts().items()
        if name != "Global"
    }


def count_macs(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> int:
    """Counts multiply-adds of one forward pass of a model on the meta device."""
    return macs_per_module(model, inputs).get("", 0)


def macs_table(supernet: Supernet) -> CostTable:
    """Returns multiply-adds of every architecture of a supernet, for one example at its native size."""
    tokens = example_tokens(supernet)
    unit = "multiply-adds" if tokens is None else f"multiply-adds at {tokens} tokens"
    return count_table(supernet, "macs", unit, macs_per_module)
