"""Counts parameters: weights and biases of the published model, without buffers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from searchhub.costs.counting import count_table
from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.models.supernet import Supernet


def params_per_module(model: nn.Module, inputs: Mapping[str, torch.Tensor] | None = None) -> dict[str, int]:
    """Counts parameters per module name; "" is the whole model. `inputs` is not used."""
    return {name: sum(p.numel() for p in module.parameters()) for name, module in model.named_modules()}


def params_table(supernet: Supernet, *, embeddings: bool = True) -> CostTable:
    """Returns the parameters of every architecture of a supernet.

    Args:
        supernet: The supernet to count. Its weights stay as they are.
        embeddings: Whether to count those of `supernet.embedding_modules` too. Without them the table is called
            "encoder_params". In BERT-base they are 23.8M of 109.5M, and no architecture has fewer.

    Raises:
        InvalidInputError: `embeddings` is False, but the supernet has no embeddings.
    """
    if embeddings:
        return count_table(supernet, "params", "parameters", params_per_module)
    if not supernet.embedding_modules:
        raise InvalidInputError(
            f"`embeddings=False` needs a supernet that embeds tokens, but `{type(supernet).__name__}` does not. "
            "Leave it out."
        )

    def without_embeddings(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> dict[str, int]:
        counts = params_per_module(model)
        return {**counts, "": counts[""] - sum(counts[name] for name in supernet.embedding_modules)}

    return count_table(supernet, "encoder_params", "parameters without embeddings", without_embeddings)
