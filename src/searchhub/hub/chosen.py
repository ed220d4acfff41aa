"""Which networks come out of a search."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.generation import Limit, generate, sample_within
from searchhub.hub.trained import LARGEST, Network
from searchhub.reports.figures import plot_distribution, plot_pareto
from searchhub.reports.tables import magnitude
from searchhub.result import SearchResult
from searchhub.space import Architecture, SearchSpace
from searchhub.training.batches import derive_seed


def limits_from(
    costs: Sequence[CostTable], max_macs: Sequence[float] | None, max_params: Sequence[float] | None
) -> list[Limit]:
    """The limits asked for; where none are, three on multiply-adds and one on parameters across the space."""
    macs, params = costs
    if max_macs is None and max_params is None:
        # Where all architectures cost the same, the three are one.
        max_macs = list(dict.fromkeys(_between(macs, share) for share in (0.1, 0.2, 0.35)))
        max_params = [_between(params, 0.2)]
    return [*(Limit("macs", max=v) for v in max_macs or ()), *(Limit("params", max=v) for v in max_params or ())]


def check_limits(
    costs: Sequence[CostTable], limits: Sequence[Limit], *, random_networks: int = 0, seed: int = 0
) -> None:
    """Say before a search, not after it, what would stop `choose_networks`.

    Raises:
        InfeasibleLimitError: No architecture of the space meets a limit.
        InvalidInputError: Two limits are the same, or have fewer than `random_networks` architectures beside them.
    """
    space = costs[0].space
    anything = SearchResult(space, (), ArchitectureDistribution.uniform(space)).with_costs(*costs)
    choose_networks(anything, limits, random_networks=random_networks, with_largest=False, seed=seed)


def _between(cost: CostTable, share: float) -> float:
    """A number at a share of the way from the smallest to the largest cost; of two digits, or more in narrow spaces."""
    low, high = cost.bounds()
    if low == high:
        return high
    value = low + share * (high - low)
    digit = 10.0 ** math.floor(min(math.log10(value) - 1, math.log10((high - low) / 20)))
    return round(value / digit) * digit


def choose_networks(
    result: SearchResult,
    limits: Sequence[Limit],
    *,
    random_networks: int,
    with_largest: bool,
    seed: int,
    on_unmet: Callable[[str], None] | None = None,
) -> list[Network]:
    """For each limit the generated network and random ones of its cost; and the one with the most multiply-adds.

    A search without θ (random search) can only return what it tried. Where that meets a limit nowhere, the limit goes
    without a network, and `on_unmet` hears of it.

    Args:
        result: With cost tables.
        limits: Each with a `max`.
        random_networks: How many random architectures in (0.95 ν, ν] stand beside each.
        with_largest: Whether the largest network is among them.
        seed: Of the random ones; they depend neither on the search nor on other limits.
        on_unmet: Told what was not met; None: that is an error.

    Raises:
        InfeasibleLimitError: Nothing meets a limit.
        InvalidInputError: Two limits are the same, have no `max`, or too few architectures in the window beside them.
    """
    networks: list[Network] = []
    for limit in limits:
        if limit.max is None:
            raise InvalidInputError(f"A limit must give `max` to be compared with random networks, but is `{limit}`.")
        letter, factor = magnitude(limit.max)
        name = f"{limit.name}-{limit.max / factor:.12g}{letter}"
        try:
            networks.append(Network(name, generate(result, limit), (limit,)))
        except InfeasibleLimitError as error:
            if result.distribution is not None or on_unmet is None:
                raise
            on_unmet(f"No network for {limit}: {error}")
        rng = np.random.default_rng(derive_seed(seed, "random networks", name))
        for i, architecture in enumerate(_random_beside(result, limit, limit.max, random_networks, rng)):
            networks.append(Network(f"{name}-random{i}", architecture, (limit,), published=False))
    if with_largest:
        networks.append(Network(LARGEST, _largest(result.space, result.costs["macs"]), published=False))
    names = [n.name for n in networks]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InvalidInputError(f"Limits must be distinct, but {twice} come twice. Drop one.")
    return networks


def _random_beside(
    result: SearchResult, limit: Limit, highest: float, n: int, rng: np.random.Generator
) -> list[Architecture]:
    if n == 0:
        return []
    window = Limit(result.costs[limit.name], min=math.nextafter(0.95 * highest, math.inf), max=highest)
    try:
        return sample_within(result.space, [window], n, rng)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"`random_networks` must be at most the number of architectures in (0.95 ν, ν] of `{limit}`, but is {n}: "
            f"{error}"
        ) from error


def _largest(space: SearchSpace, cost: CostTable) -> Architecture:
    return space.decode([int(np.argmax(entry)) for entry in cost.entries])


def draw_run(result: SearchResult, networks: Sequence[Network], folder: Path) -> list[Path]:
    """Draw θ over the rounds, and a Pareto front for each cost that was limited, with the chosen points."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    if len(result.trajectory) > 1:
        paths.append(folder / "theta.png")
        plot_distribution(result, paths[-1])
    for name, cost in result.costs.items():
        chosen = {str(n.limits[0]): n.architecture for n in networks if n.published and n.limits[0].name == name}
        if chosen:
            paths.append(folder / f"pareto_{name}.png")
            plot_pareto(result, cost, chosen, paths[-1])
    return paths
