"""Counting what a supernet's architectures cost, exactly, from the models themselves on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from searchhub.costs.table import CostTable
from searchhub.models.supernet import Supernet
from searchhub.space import INACTIVE, Architecture, Codes, SearchSpace

Count = Callable[[nn.Module, Mapping[str, torch.Tensor]], Mapping[str, int]]
"""Counts a model on the meta device, given inputs: a number per module name, "" for the whole."""


def count_table(supernet: Supernet, name: str, unit: str, count: Count) -> CostTable:
    """A cost table from few models: each candidate is counted where it stands, in the modules that it decides.

    What no candidate's modules hold is fixed, or, where choices depend on others (a depth), costs of those.
    Two random architectures are counted whole and compared, so that a cost that does not add up is an error, not a
    wrong number.

    Raises:
        ValueError: The cost of whole architectures is not the sum of their parts.
    """
    space = supernet.search_space
    parents = sorted({space.index(c.condition.choice) for c in space.choices if c.condition is not None})
    entries = [np.zeros(len(choice.candidates)) for choice in space.choices]
    rest: dict[tuple[int, ...], int] = {}
    counted: list[tuple[Codes, int]] = []
    for row in covering(space):
        architecture = space.decode(row)
        counts = count_architecture(supernet, architecture, count)
        decided = 0
        for choice, modules in supernet.choice_modules(architecture).items():
            i = space.index(choice)
            entries[i][row[i]] = own = sum(counts.get(module, 0) for module in modules)
            decided += own
        rest.setdefault(tuple(int(row[p]) for p in parents), counts[""] - decided)
        counted.append((row, counts[""]))
    first = next(iter(rest))
    for assignment, left in rest.items():
        changed = [p for p, (a, b) in enumerate(zip(assignment, first, strict=True)) if a != b]
        if len(changed) == 1:
            entries[parents[changed[0]]][assignment[changed[0]]] += left - rest[first]
    table = CostTable(name, space, float(rest[first]), tuple(entries), unit)
    others = space.sample(2, np.random.default_rng(0))
    counted += [(row, count_architecture(supernet, space.decode(row), count)[""]) for row in others]
    for row, total in counted:
        if total != table.of_row(row):
            raise ValueError(
                f"`{name}` of `{space.name}` does not add up over its choices ({total} counted, {table.of_row(row)} "
                "summed); it needs a cost of its own."
            )
    return table


def covering(space: SearchSpace) -> list[Codes]:
    """Rows of codes in which every candidate of every choice stands at least once, in every branch."""
    rows = []
    for branch in space.branches():
        for k in range(max(len(codes) for codes in branch.codes)):
            row = [codes[k % len(codes)] if codes else INACTIVE for codes in branch.codes]
            rows.append(np.array(row, dtype=np.uint8))
    return rows


def count_architecture(supernet: Supernet, architecture: Architecture, count: Count) -> Mapping[str, int]:
    """Counts per module name of one architecture's model, built on the meta device."""
    with torch.device("meta"):
        model = supernet.subnet_class(supernet.subnet_config(architecture)).eval()
        return count(model, supernet.example_inputs())
