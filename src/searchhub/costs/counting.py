"""Counts what a supernet's architectures cost, exactly, from the models themselves on the meta device."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from searchhub.costs.table import CostTable
from searchhub.distribution import FloatArray
from searchhub.models.supernet import Supernet
from searchhub.space import INACTIVE, Architecture, Codes, SearchSpace

Count = Callable[[nn.Module, Mapping[str, torch.Tensor]], Mapping[str, int]]
"""Function that counts a model on the meta device, given inputs: one number per module name, "" for the whole model."""


def count_table(supernet: Supernet, name: str, unit: str, count: Count) -> CostTable:
    """Makes a cost table from few models: each candidate is counted where it stands, in the modules that it decides.

    What no candidate's modules hold is fixed or, if choices depend on others (a depth), is a cost of those others. If
    the modules also depend on the previous choice (`Supernet.chain_coupled`), each candidate is counted after each
    candidate of that choice. Two random architectures are counted whole and compared, so that a cost that does not add
    up is an error, not a wrong number.

    Raises:
        ValueError: The cost of whole architectures is not the sum of their parts.
    """
    space = supernet.search_space
    if supernet.chain_coupled:
        return _chain_table(supernet, name, unit, count)
    parents = sorted({space.index(c.condition.choice) for c in space.choices if c.condition is not None})
    entries = [np.zeros(len(choice.candidates)) for choice in space.choices]
    rest: dict[tuple[int, ...], int] = {}
    counted: list[tuple[Codes, int]] = []
    known: set[tuple[int, int]] = set()
    rows = covering(space)
    # The fullest rows come first: they hold the candidates of many others, of which one a branch is then enough.
    for row in sorted(rows, key=lambda row: int((row == INACTIVE).sum())):
        assignment, standing = tuple(int(row[p]) for p in parents), {*enumerate(row.tolist())}
        if assignment in rest and standing <= known:
            continue
        known |= standing
        architecture = space.decode(row)
        counts = count_architecture(supernet, architecture, count)
        decided = 0
        for choice, modules in supernet.choice_modules(architecture).items():
            i = space.index(choice)
            entries[i][row[i]] = own = sum(counts.get(module, 0) for module in modules)
            decided += own
        rest.setdefault(assignment, counts[""] - decided)
        counted.append((row, counts[""]))
    first = tuple(int(rows[0][p]) for p in parents)
    for assignment, left in rest.items():
        changed = [p for p, (a, b) in enumerate(zip(assignment, first, strict=True)) if a != b]
        if len(changed) == 1:
            entries[parents[changed[0]]][assignment[changed[0]]] += left - rest[first]
    table = CostTable(name, space, float(rest[first]), tuple(entries), unit)
    return _checked(table, supernet, count, counted)


def _chain_table(supernet: Supernet, name: str, unit: str, count: Count) -> CostTable:
    """Counts every candidate after every candidate of the previous choice."""
    space = supernet.search_space
    own: dict[tuple[int, int, int], float] = {}
    counted: list[tuple[Codes, int]] = []
    for row in covering_pairs(space):
        architecture = space.decode(row)
        counts = count_architecture(supernet, architecture, count)
        for choice, modules in supernet.choice_modules(architecture).items():
            own[step_of(space.index(choice), row)] = sum(counts.get(module, 0) for module in modules)
        counted.append((row, counts[""]))
    entries, pairs = chain_terms(space, own)
    table = CostTable(name, space, 0.0, entries, unit, pairs)
    row, total = counted[0]
    table = replace(table, fixed=float(total - table.of_row(row)))
    return _checked(table, supernet, count, counted)


def example_tokens(supernet: Supernet) -> int | None:
    """Returns the number of tokens of the example that costs refer to; None if it is not text."""
    tokens = supernet.example_inputs().get("input_ids")
    return None if tokens is None else int(tokens.shape[-1])


def step_of(choice: int, row: Codes) -> tuple[int, int, int]:
    """Describes a choice by its position, the previous code (0 before the first choice) and its own code."""
    return choice, int(row[choice - 1]) if choice else 0, int(row[choice])


def chain_terms(
    space: SearchSpace, own: Mapping[tuple[int, int, int], float]
) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]:
    """Returns entries and pairs of a `CostTable` from each candidate's cost after each candidate of the previous
    choice.

    An entry is the cost after the first candidate of the previous choice; pairs are the differences from it.
    """
    sizes = [len(choice.candidates) for choice in space.choices]
    steps = [np.zeros((before, size)) for before, size in zip([1, *sizes], sizes, strict=False)]
    for (choice, before, code), cost in own.items():
        steps[choice][before, code] = cost
    return tuple(costs[0] for costs in steps), tuple(costs - costs[0] for costs in steps[1:])


def _checked(table: CostTable, supernet: Supernet, count: Count, counted: list[tuple[Codes, int]]) -> CostTable:
    space = table.space
    others = space.sample(2, np.random.default_rng(0))
    counted = [*counted, *((row, count_architecture(supernet, space.decode(row), count)[""]) for row in others)]
    for row, total in counted:
        if total != table.of_row(row):
            raise ValueError(
                f"`{table.name}` of `{space.name}` does not add up over its choices ({total} counted, "
                f"{table.of_row(row)} summed); it needs a cost of its own."
            )
    return table


def covering(space: SearchSpace) -> list[Codes]:
    """Returns rows of codes in which every candidate of every choice stands at least once, in every branch."""
    rows = []
    for branch in space.branches():
        for k in range(max(len(codes) for codes in branch.codes)):
            row = [codes[k % len(codes)] if codes else INACTIVE for codes in branch.codes]
            rows.append(np.array(row, dtype=np.uint8))
    return rows


def covering_pairs(space: SearchSpace) -> list[Codes]:
    """Returns rows of codes in which every two candidates of consecutive choices stand together at least once."""
    sizes = np.array([len(choice.candidates) for choice in space.choices])
    even = np.arange(len(sizes)) % 2 == 0
    pairs = itertools.product(range(max(sizes)), repeat=2)
    return list(np.unique([np.where(even, k, other) % sizes for k, other in pairs], axis=0).astype(np.uint8))


def count_architecture(supernet: Supernet, architecture: Architecture, count: Count) -> Mapping[str, int]:
    """Returns counts per module name of one architecture's model, which is built on the meta device."""
    with torch.device("meta"):
        model = supernet.subnet_class(supernet.subnet_config(architecture)).eval()
        return count(model, supernet.example_inputs())
