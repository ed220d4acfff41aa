"""Draws random cells, with which searches of cells are compared."""

from __future__ import annotations

import numpy as np

from searchhub.costs.structure import cells_of
from searchhub.costs.table import CostTable
from searchhub.space import Architecture, Codes, SearchSpace
from searchhub.spaces.darts import NONE
from searchhub.spaces.genotype import INPUTS_A_NODE

_AT_ONCE, MOST_DRAWN = 10_000, 1_000_000
"""How many random cells are drawn at once, and how many in all."""


def random_cells(
    space: SearchSpace, cost: CostTable, top: float, n: int, rng: np.random.Generator
) -> list[Architecture]:
    """Draws distinct random cells that cost in (0.95 top, top]: two inputs per node, both and their operations uniform.

    Args:
        space: A space of cells.
        cost: Cost of the networks.
        top: The largest cost, ν.
        n: How many architectures to draw.
        rng: Generator that draws them.

    Returns:
        Fewer than n architectures if a million draws hold no more.
    """
    found: dict[bytes, Codes] = {}
    for _ in range(0, MOST_DRAWN if n else 0, _AT_ONCE):
        codes = draw_cells(space, _AT_ONCE, rng)
        costs = cost.of_codes(codes)
        for row in codes[(costs > 0.95 * top) & (costs <= top)]:
            found.setdefault(row.tobytes(), row)
            if len(found) == n:
                break
        if len(found) == n:
            break
    return [space.decode(row) for row in found.values()]


def draw_cells(space: SearchSpace, n: int, rng: np.random.Generator) -> Codes:
    """Draws codes [n, choices] of random cells with two inputs per node, both and their operations uniform."""
    cells = cells_of(space)
    assert cells is not None, "asked for a space of cells only"
    codes = np.tile(np.array(cells.none, dtype=np.uint8), (n, 1))
    for node in cells.nodes:
        order = rng.random((n, len(node.choices))).argsort(axis=1)[:, :INPUTS_A_NODE]
        for chosen in order.T:
            for i, choice in enumerate(node.choices):
                candidates = space.choices[choice].candidates
                operations = [k for k, operation in enumerate(candidates) if operation != NONE]
                here = chosen == i
                codes[here, choice] = rng.choice(operations, int(here.sum()))
    return codes
