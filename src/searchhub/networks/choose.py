"""Chooses the networks that come out of a search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from searchhub.costs.structure import cells_of
from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.generation import Limit, generate, sample_within
from searchhub.networks.choose_cells import choose_cells
from searchhub.networks.network import AT_COST, LARGEST, RANDOM, Network, check_distinct, network_name
from searchhub.result import SearchResult
from searchhub.space import Architecture, SearchSpace
from searchhub.training.batches import derive_seed

Finder: TypeAlias = Callable[..., Architecture]
"""Function that finds the architecture for some limits. It takes a result and limits, as `generate` does."""

LimitSet: TypeAlias = Limit | Sequence[Limit]
"""The limits of one network: a single limit, or several that must all hold."""


def default_limits(costs: Sequence[CostTable]) -> list[LimitSet]:
    """Returns three limits on multiply-adds and one on parameters, across the space, for a search without limits."""
    tables = {cost.name: cost for cost in costs}
    # If all architectures cost the same, the three are one.
    macs = list(dict.fromkeys(between(tables["macs"], share) for share in (0.1, 0.2, 0.35)))
    return [*(Limit("macs", max=value) for value in macs), Limit("params", max=between(tables["params"], 0.2))]


def check_limits(
    costs: Sequence[CostTable],
    limits: Sequence[LimitSet],
    *,
    random_networks: int = 0,
    with_largest: bool = False,
    seed: int = 0,
    find: Finder = generate,
    baselines: Mapping[str, Finder] | None = None,
) -> None:
    """Fails now, rather than after the search, if `choose_networks` could not serve these limits.

    It takes the same arguments. Random cells are not counted, because their number depends on the derived network.

    Raises:
        InfeasibleLimitError: No architecture of the space meets a limit.
        InvalidInputError: Two limits are the same, or have fewer than `random_networks` architectures beside them.
    """
    space = costs[0].space
    anything = SearchResult(space, (), ArchitectureDistribution.uniform(space)).with_costs(*costs)
    if cells_of(space) is not None:
        random_networks = 0
    choose_networks(
        anything,
        limits,
        random_networks=random_networks,
        with_largest=with_largest,
        seed=seed,
        find=find,
        baselines=baselines,
    )


def between(cost: CostTable, share: float) -> float:
    """Returns a cost at a share of the way from the smallest to the largest, in two digits (more in narrow spaces)."""
    low, high = cost.bounds()
    if low == high:
        return high
    value = low + share * (high - low)
    digit = 10.0 ** math.floor(min(math.log10(value) - 1, math.log10((high - low) / 20)))
    return round(value / digit) * digit


def choose_networks(
    result: SearchResult,
    limits: Sequence[LimitSet],
    *,
    random_networks: int,
    with_largest: bool,
    seed: int,
    on_unmet: Callable[[str], None] | None = None,
    find: Finder = generate,
    baselines: Mapping[str, Finder] | None = None,
) -> list[Network]:
    """Returns, for each limit, the generated network and random ones of its cost, then the largest network.

    In a space of cells the derived network comes first, and random ones have its number of parameters (`choose_cells`).
    A search without θ (random search) can only return architectures that it tried. If none of them meets a limit, that
    limit gets no network, and `on_unmet` is told.

    Args:
        result: The result of the search, with cost tables.
        limits: The limits of each network.
        random_networks: Number of random architectures beside each network. Their cost is in (0.95 ν, ν]. If several
            limits hold at once, the one that binds the generated network most counts, and the network's cost takes the
            place of ν. Where a single limit does not bind, so that the network costs at most 0.95 ν, as many more are
            drawn at its own cost, if there are so many; otherwise `on_unmet` is told.
        with_largest: Whether to add the network with the most multiply-adds.
        seed: Seed of the random architectures. They depend neither on the search nor on other limits.
        on_unmet: Function that is told which limits were not met. None: an unmet limit is an error.
        find: Function that finds the architecture for some limits.
        baselines: Functions that find baselines to train beside each network, by name. If one finds nothing, there is
            no such baseline, and `on_unmet` is told.

    Raises:
        InfeasibleLimitError: Nothing meets a limit.
        InvalidInputError: Two limits are the same, or have too few architectures in the window beside them; or there
            are to be random architectures, but no limit has an upper end.
    """
    together = [(wanted,) if isinstance(wanted, Limit) else tuple(wanted) for wanted in limits]
    if cells_of(result.space) is not None:
        if with_largest or baselines:
            raise InvalidInputError(
                "Of cells there is no largest network, and no baseline but random ones. Drop these."
            )
        return choose_cells(result, together, random_networks=random_networks, seed=seed, on_unmet=on_unmet, find=find)
    networks: list[Network] = []
    for wanted in together:
        name = network_name(wanted)
        generated = None
        try:
            generated = find(result, *wanted)
            networks.append(Network(name, generated, wanted))
        except InfeasibleLimitError as error:
            if result.objective != "score" or on_unmet is None:
                raise
            on_unmet(f"No network for {' and '.join(map(str, wanted))}: {error}")
        rng = np.random.default_rng(derive_seed(seed, "random networks", name))
        for i, architecture in enumerate(_random_beside(result, wanted, generated, random_networks, rng)):
            networks.append(Network(f"{name}-{RANDOM}{i}", architecture, wanted, published=False))
        if generated is not None:
            for i, architecture in enumerate(
                _random_at_cost(result, wanted, generated, random_networks, seed, on_unmet)
            ):
                networks.append(Network(f"{name}-{AT_COST}{i}", architecture, wanted, published=False))
        for label, other in (baselines or {}).items():
            baseline = _found(other, result, wanted, label, on_unmet)
            if baseline is not None:
                networks.append(Network(f"{name}-{label}", baseline, wanted, published=False))
    if with_largest:
        networks.append(Network(LARGEST, result.space.decode(result.costs["macs"].extreme_row(1)), published=False))
    check_distinct(networks)
    return networks


def _found(
    find: Finder, result: SearchResult, limits: Sequence[Limit], label: str, on_unmet: Callable[[str], None] | None
) -> Architecture | None:
    try:
        return find(result, *limits)
    except InfeasibleLimitError as error:
        if on_unmet is not None:
            on_unmet(f"No {label} network for {' and '.join(map(str, limits))}: {error}")
        return None


def first_within(candidates: Sequence[Architecture]) -> Finder:
    """Returns a `Finder` of the first of these architectures that keeps to the limits."""

    def find(result: SearchResult, *limits: Limit) -> Architecture:
        costs = {limit.name: result.costs[limit.name] for limit in limits}
        for architecture in candidates:
            if all(limit.low <= costs[limit.name](architecture) <= limit.high for limit in limits):
                return architecture
        smallest = {name: min(cost(a) for a in candidates) for name, cost in costs.items()}
        raise InfeasibleLimitError(
            f"One of {len(candidates)} architectures must keep to {' and '.join(map(str, limits))}, but they have at "
            f"least {', '.join(f'{value:,.6g} {name}' for name, value in smallest.items())}. Raise the limit.",
            smallest,
        )

    return find


def uniform_architectures(space: SearchSpace) -> list[Architecture]:
    """Returns the architectures that have one candidate in all layers, or in fewer of them where layers are optional.

    A layer is optional where it offers what not all layers offer, as the layers of a mobile space that may be left out.
    Layers that are left out are spread evenly.

    Raises:
        InvalidInputError: No candidate is on offer in all layers.
    """
    common = [c for c in space.choices[0].candidates if all(c in choice.candidates for choice in space.choices)]
    if not common or any(choice.condition is not None for choice in space.choices):
        raise InvalidInputError(
            f"A space must offer one candidate in all its choices for a network to be uniform, but `{space.name}` does "
            "not. Drop `--uniform`."
        )
    absent = {
        choice.name: next(c for c in choice.candidates if c not in common)
        for choice in space.choices
        if set(choice.candidates) - set(common)
    }
    n = len(absent)
    without = [{list(absent)[(2 * i + 1) * n // (2 * out)] for i in range(out)} for out in range(n + 1)]
    return [
        Architecture({c.name: absent[c.name] if c.name in names else block for c in space.choices})
        for names in without
        for block in common
    ]


def uniform_within(result: SearchResult, *limits: Limit) -> Architecture:
    """Returns the architecture with one candidate in all layers that uses most of the first limit with an upper end.

    It is what a hand would make of the space: one block throughout, and fewer layers where the limit asks for it. The
    search's scores take no part.

    Raises:
        InfeasibleLimitError: No such architecture keeps to the limits.
        InvalidInputError: No limit has an upper end, or no candidate is on offer in all layers.
    """
    bounded = [limit for limit in limits if math.isfinite(limit.high)]
    if not bounded:
        raise InvalidInputError(
            "A limit must have an upper end for a uniform network to use most of it, but got "
            f"{' and '.join(f'`{limit}`' for limit in limits) or 'none'}. Give a `max`."
        )
    largest_first = sorted(uniform_architectures(result.space), key=result.costs[bounded[0].name], reverse=True)
    return first_within(largest_first)(result, *limits)


def _random_beside(
    result: SearchResult,
    limits: Sequence[Limit],
    generated: Architecture | None,
    n: int,
    rng: np.random.Generator,
) -> list[Architecture]:
    if n == 0:
        return []
    costs = [result.costs[limit.name] for limit in limits]
    bounded = [i for i, limit in enumerate(limits) if math.isfinite(limit.high)]
    if not bounded:
        raise InvalidInputError(
            "A limit must have an upper end for random networks to stand beside it, but got "
            f"{' and '.join(f'`{limit}`' for limit in limits)}. Give a `max`, or no random networks."
        )
    tops = [limit.high for limit in limits]
    tightest = bounded[0]
    if len(limits) > 1 and generated is not None:
        reached = [cost(generated) for cost in costs]
        tightest = max(bounded, key=lambda i: reached[i] / tops[i])
        tops[tightest] = reached[tightest]
    lows = [limit.low for limit in limits]
    lows[tightest] = max(lows[tightest], math.nextafter(0.95 * tops[tightest], math.inf))
    windows = [
        Limit(cost, min=low if math.isfinite(low) else None, max=top if math.isfinite(top) else None)
        for cost, low, top in zip(costs, lows, tops, strict=True)
    ]
    try:
        return sample_within(result.space, windows, n, rng)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"`random_networks` must be at most the number of architectures in (0.95 ν, ν] of `{limits[tightest]}`, "
            f"but is {n}: {error}"
        ) from error


def _random_at_cost(
    result: SearchResult,
    limits: Sequence[Limit],
    generated: Architecture,
    n: int,
    seed: int,
    on_unmet: Callable[[str], None] | None,
) -> list[Architecture]:
    """Returns random networks in (0.95 c, c] of a network's cost c, where its only limit leaves more than 5 %.

    They depend on the seed and the cost alone, so that limits with the same network have the same ones.
    """
    if n == 0 or len(limits) != 1 or not math.isfinite(limits[0].high):
        return []
    cost = result.costs[limits[0].name]
    top = cost(generated)
    if top > 0.95 * limits[0].high:
        return []
    rng = np.random.default_rng(derive_seed(seed, "random networks", f"{cost.name} {top!r}"))
    try:
        return sample_within(result.space, [Limit(cost, min=math.nextafter(0.95 * top, math.inf), max=top)], n, rng)
    except InvalidInputError as error:
        if on_unmet is not None:
            on_unmet(f"No random networks at the cost of the network for {limits[0]}: {error}")
        return []
