"""Chooses the networks that come out of a search of cells: derived, one per limit, and random ones of their sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from searchhub.errors import InvalidInputError
from searchhub.generation import Limit, generate
from searchhub.generation.cell_sampling import MOST_DRAWN, random_cells
from searchhub.generation.cells import derive
from searchhub.networks.network import RANDOM, Network, check_distinct, each_once, network_name
from searchhub.result import SearchResult
from searchhub.space import Architecture
from searchhub.training.batches import derive_seed

DERIVED = "derived"


def choose_cells(
    result: SearchResult,
    limits: Sequence[Sequence[Limit]],
    *,
    random_networks: int,
    seed: int,
    on_unmet: Callable[[str], None] | None = None,
    find: Callable[..., Architecture] = generate,
) -> list[Network]:
    """Returns the derived network and one per limit; beside each, random cells with its number of parameters.

    Args:
        result: The result of a search of cells, with the cost "params".
        limits: The limits of each network.
        random_networks: Number of random networks beside each.
        seed: Seed of the random networks.
        on_unmet: Function that is told if fewer random networks were found. None: that is an error.
        find: Function that finds the architecture for some limits.

    Raises:
        InfeasibleLimitError: Nothing meets some limits.
        InvalidInputError: Two limits are the same, the result has no θ, or too few random networks were found.
    """
    chosen = [Network(DERIVED, derive(result))]
    chosen += [Network(network_name(wanted), find(result, *wanted), tuple(wanted)) for wanted in limits]
    check_distinct(chosen)
    return [
        n
        for network in each_once(chosen)
        for n in (network, *random_beside(network, result, random_networks, seed, on_unmet))
    ]


def random_beside(
    network: Network, result: SearchResult, n: int, seed: int, on_unmet: Callable[[str], None] | None = None
) -> list[Network]:
    """Returns random cells with a network's number of parameters, to train beside it.

    Args:
        network: A network of cells.
        result: A search result with the cost "params".
        n: Number of random networks.
        seed: Seed of the draw, together with the network's name.
        on_unmet: Function that is told if fewer were found. None: that is an error.

    Raises:
        InvalidInputError: Fewer were found, and `on_unmet` is None.
    """
    params = result.costs["params"]
    rng = np.random.default_rng(derive_seed(seed, "random cells", network.name))
    top = params(network.architecture)
    drawn = random_cells(result.space, params, top, n, rng)
    if len(drawn) < n:
        message = (
            f"`random_networks` must be at most the number of cells with params in (0.95, 1] of {top:,.0f}, but of {n} "
            f"only {len(drawn)} were found among {MOST_DRAWN:,}."
        )
        if on_unmet is None:
            raise InvalidInputError(f"{message} Ask for fewer.")
        on_unmet(f"{len(drawn)} random networks beside {network.name}: {message}")
    return [
        Network(f"{network.name}-{RANDOM}{i}", architecture, published=False) for i, architecture in enumerate(drawn)
    ]
