"""Which networks of cells come out of a search: the derived one, one a limit, and random ones of their sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from searchhub.costs.structure import cells_of
from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.generation import Limit, generate
from searchhub.generation.cells import derive
from searchhub.networks.network import RANDOM, Network, network_name
from searchhub.result import SearchResult
from searchhub.space import Architecture, Codes, SearchSpace
from searchhub.spaces.darts import NONE
from searchhub.spaces.genotype import INPUTS_A_NODE
from searchhub.training.batches import derive_seed

DERIVED = "derived"

_AT_ONCE, _MOST = 10_000, 1_000_000
"""Random cells are drawn so many at once, and so many in all."""


def choose_cells(
    result: SearchResult,
    limits: Sequence[Sequence[Limit]],
    *,
    random_networks: int,
    seed: int,
    on_unmet: Callable[[str], None] | None = None,
) -> list[Network]:
    """The derived network and one for each of some limits; beside each, random cells with its number of parameters.

    Args:
        result: Of a search of cells, with the cost "params".
        limits: Per network, what it keeps to.
        random_networks: How many random networks stand beside each.
        seed: Of the random ones.
        on_unmet: Told where fewer random networks were found; None: that is an error.

    Raises:
        InfeasibleLimitError: Nothing meets some limits.
        InvalidInputError: Two limits are the same, the result has no θ, or too few random networks were found.
    """
    chosen = [Network(DERIVED, derive(result))]
    chosen += [Network(network_name(wanted), generate(result, *wanted), tuple(wanted)) for wanted in limits]
    names = [network.name for network in chosen]
    if len(set(names)) < len(names):
        raise InvalidInputError(f"Limits must be distinct, but would make networks {sorted(names)}. Drop one.")
    return [
        n for network in chosen for n in (network, *random_beside(network, result, random_networks, seed, on_unmet))
    ]


def random_beside(
    network: Network, result: SearchResult, n: int, seed: int, on_unmet: Callable[[str], None] | None = None
) -> list[Network]:
    """Random cells with a network's number of parameters, to train beside it.

    Args:
        network: Of cells.
        result: With the cost "params".
        n: How many.
        seed: Of the draw, with the network's name.
        on_unmet: Told where fewer are found; None: that is an error.

    Raises:
        InvalidInputError: Fewer are found, and nobody is told.
    """
    params = result.costs["params"]
    rng = np.random.default_rng(derive_seed(seed, "random cells", network.name))
    top = params(network.architecture)
    drawn = random_cells(result.space, params, top, n, rng)
    if len(drawn) < n:
        message = (
            f"`random_networks` must be at most the number of cells with params in (0.95, 1] of {top:,.0f}, but of {n} "
            f"only {len(drawn)} were found among {_MOST:,}."
        )
        if on_unmet is None:
            raise InvalidInputError(f"{message} Ask for fewer.")
        on_unmet(f"{len(drawn)} random networks beside {network.name}: {message}")
    return [
        Network(f"{network.name}-{RANDOM}{i}", architecture, published=False) for i, architecture in enumerate(drawn)
    ]


def random_cells(
    space: SearchSpace, cost: CostTable, top: float, n: int, rng: np.random.Generator
) -> list[Architecture]:
    """Distinct random cells with two inputs a node, both and their operations uniform, that cost in (0.95 top, top].

    Args:
        space: Of cells.
        cost: Of the networks.
        top: The largest cost, ν.
        n: How many.
        rng: Draws them.

    Returns:
        Fewer than n where no more are found among a million.
    """
    found: dict[bytes, Codes] = {}
    for _ in range(0, _MOST if n else 0, _AT_ONCE):
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
    """Codes [n, choices] of random cells with two inputs a node, both and their operations uniform."""
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
