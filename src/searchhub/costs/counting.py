"""Counting what a supernet's architectures cost, exactly, from the models themselves on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from searchhub.costs.table import CostTable
from searchhub.models.supernet import Supernet
from searchhub.space import Architecture

Count = Callable[[nn.Module, Mapping[str, torch.Tensor]], Mapping[str, int]]
"""Counts a model on the meta device, given inputs: a number per module name, "" for the whole."""


def count_table(supernet: Supernet, name: str, unit: str, count: Count) -> CostTable:
    """A cost table from one model per candidate: each candidate is counted where it stands, in the module it decides.

    Two random architectures are counted whole and compared, so that a cost that does not add up is an error, not a
    wrong number.

    Raises:
        ValueError: The cost of whole architectures is not the sum of their parts.
    """
    space = supernet.search_space
    entries = [np.zeros(len(choice.candidates)) for choice in space.choices]
    fixed: set[int] = set()
    for k in range(max(len(choice.candidates) for choice in space.choices)):
        codes = [k % len(choice.candidates) for choice in space.choices]
        counts = count_architecture(supernet, space.decode(codes), count)
        for entry, code, choice in zip(entries, codes, space.choices, strict=True):
            entry[code] = counts.get(supernet.choice_modules[choice.name], 0)
        fixed.add(counts[""] - int(sum(entry[code] for entry, code in zip(entries, codes, strict=True))))
    table = CostTable(name, space, float(fixed.pop()), tuple(entries), unit)
    for row in space.sample(2, np.random.default_rng(0)):
        counted = count_architecture(supernet, space.decode(row), count)[""]
        if fixed or counted != table.of_row(row):
            raise ValueError(
                f"`{name}` of `{space.name}` does not add up over its choices ({counted} counted, {table.of_row(row)} "
                "summed); it needs a cost of its own."
            )
    return table


def count_architecture(supernet: Supernet, architecture: Architecture, count: Count) -> Mapping[str, int]:
    """Counts per module name of one architecture's model, built on the meta device."""
    with torch.device("meta"):
        model = supernet.subnet_class(supernet.subnet_config(architecture)).eval()
        return count(model, supernet.example_inputs())
