"""Which networks come out of a search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.generation import Limit, generate, sample_within
from searchhub.networks.network import LARGEST, RANDOM, Network, network_name
from searchhub.result import SearchResult
from searchhub.space import Architecture
from searchhub.training.batches import derive_seed

Find: TypeAlias = Callable[..., Architecture]
"""Finds an architecture: of a result and limits, like `generate`."""

Wanted: TypeAlias = Limit | tuple[Limit, ...]
"""What one network must keep to: a limit, or several at once."""


def limits_together(asked: Mapping[str, Sequence[float] | None], *, together: bool = False) -> list[Wanted]:
    """A network for each number that was asked for, by the name of its cost.

    Args:
        asked: Largest values of each cost; None: it was not limited.
        together: One network for the first number of every cost at once, one for all second ones, and so on.

    Raises:
        InvalidInputError: Limits together need as many numbers of every cost.
    """
    given = {name: values for name, values in asked.items() if values}
    if not together:
        return [Limit(name, max=value) for name, values in given.items() for value in values]
    if len({len(values) for values in given.values()}) > 1:
        counts = ", ".join(f"{len(values)} of {name}" for name, values in given.items())
        raise InvalidInputError(f"Limits together must have as many numbers of every cost, but there are {counts}.")
    rows = [[Limit(name, max=value) for value in values] for name, values in given.items()]
    return [tuple(row) for row in zip(*rows, strict=True)]


def limits_from(
    costs: Sequence[CostTable], max_macs: Sequence[float] | None, max_params: Sequence[float] | None
) -> list[Wanted]:
    """The limits asked for; where none are, three on multiply-adds and one on parameters across the space."""
    macs, params = costs
    if max_macs is None and max_params is None:
        # Where all architectures cost the same, the three are one.
        max_macs = list(dict.fromkeys(between(macs, share) for share in (0.1, 0.2, 0.35)))
        max_params = [between(params, 0.2)]
    return limits_together({"macs": max_macs, "params": max_params})


def check_limits(
    costs: Sequence[CostTable],
    limits: Sequence[Wanted],
    *,
    random_networks: int = 0,
    seed: int = 0,
    find: Find = generate,
) -> None:
    """Say before a search, not after it, what would stop `choose_networks`; the arguments are of it.

    Raises:
        InfeasibleLimitError: No architecture of the space meets a limit.
        InvalidInputError: Two limits are the same, or have fewer than `random_networks` architectures beside them.
    """
    space = costs[0].space
    anything = SearchResult(space, (), ArchitectureDistribution.uniform(space)).with_costs(*costs)
    choose_networks(anything, limits, random_networks=random_networks, with_largest=False, seed=seed, find=find)


def between(cost: CostTable, share: float) -> float:
    """A number at a share of the way from the smallest to the largest cost; of two digits, or more in narrow spaces."""
    low, high = cost.bounds()
    if low == high:
        return high
    value = low + share * (high - low)
    digit = 10.0 ** math.floor(min(math.log10(value) - 1, math.log10((high - low) / 20)))
    return round(value / digit) * digit


def choose_networks(
    result: SearchResult,
    limits: Sequence[Wanted],
    *,
    random_networks: int,
    with_largest: bool,
    seed: int,
    on_unmet: Callable[[str], None] | None = None,
    find: Find = generate,
    beside: Mapping[str, Find] | None = None,
) -> list[Network]:
    """For each limit the generated network and random ones of its cost; and the one with the most multiply-adds.

    A search without θ (random search) can only return what it tried. Where that meets a limit nowhere, the limit goes
    without a network, and `on_unmet` hears of it.

    Args:
        result: With cost tables.
        limits: Each with a `max`.
        random_networks: How many random architectures stand beside each: of a cost in (0.95 ν, ν]; of several limits
            at once it is the one that binds the generated network most, and its cost takes the place of ν.
        with_largest: Whether the largest network is among them.
        seed: Of the random ones; they depend neither on the search nor on other limits.
        on_unmet: Told what was not met; None: that is an error.
        find: What finds the network of some limits.
        beside: By name, what finds baselines to train with them; one that finds nothing stays away, and
            `on_unmet` hears of it.

    Raises:
        InfeasibleLimitError: Nothing meets a limit.
        InvalidInputError: Two limits are the same, have no `max`, or too few architectures in the window beside them.
    """
    networks: list[Network] = []
    for wanted in limits:
        together = wanted if isinstance(wanted, tuple) else (wanted,)
        if any(limit.max is None for limit in together):
            raise InvalidInputError(
                "A limit must give `max` to be compared with random networks, but got "
                f"{' and '.join(f'`{limit}`' for limit in together)}."
            )
        name = network_name(together)
        generated = None
        try:
            generated = find(result, *together)
            networks.append(Network(name, generated, together))
        except InfeasibleLimitError as error:
            if result.distribution is not None or on_unmet is None:
                raise
            on_unmet(f"No network for {' and '.join(map(str, together))}: {error}")
        rng = np.random.default_rng(derive_seed(seed, "random networks", name))
        for i, architecture in enumerate(_random_beside(result, together, generated, random_networks, rng)):
            networks.append(Network(f"{name}-{RANDOM}{i}", architecture, together, published=False))
        for label, other in (beside or {}).items():
            baseline = _found(other, result, together, label, on_unmet)
            if baseline is not None:
                networks.append(Network(f"{name}-{label}", baseline, together, published=False))
    if with_largest:
        networks.append(Network(LARGEST, result.space.decode(result.costs["macs"].extreme_row(1)), published=False))
    names = [n.name for n in networks]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InvalidInputError(f"Limits must be distinct, but {twice} come twice. Drop one.")
    return networks


def _found(
    find: Find, result: SearchResult, limits: Sequence[Limit], label: str, on_unmet: Callable[[str], None] | None
) -> Architecture | None:
    try:
        return find(result, *limits)
    except InfeasibleLimitError as error:
        if on_unmet is not None:
            on_unmet(f"No {label} network for {' and '.join(map(str, limits))}: {error}")
        return None


def first_within(candidates: Sequence[Architecture]) -> Find:
    """Finds the first of some architectures that keeps to the limits; for `choose_networks`."""

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
    tops = [limit.high for limit in limits]
    tightest = 0
    if len(limits) > 1 and generated is not None:
        reached = [cost(generated) for cost in costs]
        tightest = max(range(len(limits)), key=lambda i: reached[i] / tops[i])
        tops[tightest] = reached[tightest]
    windows = [Limit(cost, max=top) for cost, top in zip(costs, tops, strict=True)]
    lowest = math.nextafter(0.95 * tops[tightest], math.inf)
    windows[tightest] = Limit(costs[tightest], min=lowest, max=tops[tightest])
    try:
        return sample_within(result.space, windows, n, rng)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"`random_networks` must be at most the number of architectures in (0.95 ν, ν] of `{limits[tightest]}`, "
            f"but is {n}: {error}"
        ) from error
