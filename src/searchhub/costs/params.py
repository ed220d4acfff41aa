"""Parameters: weights and biases of the published model, buffers not counted."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from searchhub.costs.counting import count_table
from searchhub.costs.table import CostTable
from searchhub.models.supernet import Supernet


def params_per_module(model: nn.Module, inputs: Mapping[str, torch.Tensor] | None = None) -> dict[str, int]:
    """Number of parameters per module name; "" is the whole model. `inputs` is not looked at."""
    return {name: sum(p.numel() for p in module.parameters()) for name, module in model.named_modules()}


def params_table(supernet: Supernet) -> CostTable:
    """Parameters of every architecture of a supernet."""
    return count_table(supernet, "params", "parameters", params_per_module)
