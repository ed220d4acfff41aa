"""From a limit on latency to a network that keeps to it when it is measured, not only by its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from searchhub.costs.device import device_name
from searchhub.costs.latency_table import LatencyTable
from searchhub.costs.timing import Bench, Progress, Stopwatch, Time
from searchhub.errors import InvalidInputError
from searchhub.generation.architecture import GeneratedArchitecture
from searchhub.generation.generate import Candidates, generate
from searchhub.generation.limits import Limit
from searchhub.models.supernet import Supernet
from searchhub.result import SearchResult
from searchhub.space import Architecture

STANDARD_ERRORS = 2.0
"""How many of them must fit between a measurement and the limit."""


@dataclass(frozen=True)
class MeasuredLatency:
    """What a network took, timed in turn with the reference of a table.

    Args:
        ms: At the speed that the machine had while the table was measured: these are the table's milliseconds.
        error_ms: Standard error of `ms`.
        clock_ms: By the clock, at the speed that the machine has now.
    """

    ms: float
    error_ms: float
    clock_ms: float


@dataclass(frozen=True)
class MeasuredArchitecture:
    """A network that keeps to a limit when it is measured.

    Args:
        architecture: As `generate` found it within the last of `bounds`.
        measured: Its latency.
        bounds: Milliseconds that the table had to promise, one a try; the first is the limit itself.
    """

    architecture: GeneratedArchitecture
    measured: MeasuredLatency
    bounds: tuple[float, ...]


def measure_networks(
    supernet: Supernet,
    architectures: Sequence[Architecture],
    table: LatencyTable,
    *,
    device: torch.device | str | None = None,
    rounds: int = 10,
    time: Time | None = None,
    on_progress: Progress | None = None,
) -> list[MeasuredLatency]:
    """The latency of whole networks on this device, to hold against a table that was measured on it.

    Args:
        supernet: Of the table's space. Its weights do not matter.
        architectures: Of that space.
        table: What `measure_latency` returned, or a file of it.
        device: "cpu" or "cuda", where the table was measured; None: where the supernet is.
        rounds: How often each is timed, at least 2.
        time: What times a network and the reference in turn; None: `searchhub.costs.timing.Stopwatch.in_turn`.
        on_progress: Called after each measurement.

    Raises:
        InvalidInputError: The table is of another space or device, or names no reference; or fewer than 2 rounds.
    """
    reference = table.reference
    if reference is None:
        raise InvalidInputError(
            "Networks must be timed against the `reference` of a table, but this one has none. Measure one with "
            "`measure_latency`."
        )
    device = torch.device(supernet.device if device is None else device)
    name = device_name(device)
    if table.space != supernet.search_space or name != table.device:
        raise InvalidInputError(
            f"A table must be of the supernet's space and this device (`{supernet.search_space.name}` on {name}), but "
            f"is of `{table.space.name}` on {table.device}. Pass its `device`, or measure one with `measure_latency`."
        )
    if rounds < 2:
        raise InvalidInputError(f"`rounds >= 2` must hold for an error to be told, but got {rounds}.")
    time = time or Stopwatch(table.threads or torch.get_num_threads()).in_turn
    space = table.space
    row = space.encode(reference.architecture)
    bench = Bench(supernet, device, table.batch_size, row, rounds, time, on_progress)
    return [
        MeasuredLatency(reference.ms * pairs.ratio, reference.ms * pairs.error, pairs.milliseconds)
        for pairs in bench.networks([space.encode(architecture) for architecture in architectures])
    ]


def generate_measured(
    supernet: Supernet,
    result: SearchResult,
    table: LatencyTable,
    max_ms: float,
    *limits: Limit,
    candidates: Candidates = "all",
    tries: int = 5,
    device: torch.device | str | None = None,
    rounds: int = 10,
    time: Time | None = None,
    on_progress: Progress | None = None,
) -> MeasuredArchitecture:
    """A network within a latency that was measured: `generate`, time the answer, and ask for less where it is slower.

    What is returned was timed on this device, and its latency lies two standard errors or more below the limit. The
    table's milliseconds count (`MeasuredLatency.ms`): on a machine that has become slower since, as the clock and
    `clock_ms` will say, any network takes longer by as much.

    1. The table's own error decides how many tries it takes: most often one to three.
    2. The answer is the best that the table promises within the last bound, so it may leave some of the limit unused.

    Args:
        supernet: Of the result's space. Its weights do not matter.
        result: A finished search.
        table: What `measure_latency` returned for this supernet.
        max_ms: Milliseconds, of the table's batch and threads.
        limits: What else must hold, as in `generate`.
        candidates: "all", or only those that the search did not prune.
        tries: How many networks may be timed, at least 1.
        device: "cpu" or "cuda", where the table was measured; None: where the supernet is.
        rounds: How often each is timed, at least 2.
        time: What times a network and the reference in turn; None: `searchhub.costs.timing.Stopwatch.in_turn`.
        on_progress: Called after each measurement.

    Raises:
        InfeasibleLimitError: Nothing meets the limits by the table, or by the table less what networks ran over it.
        InvalidInputError: No network kept to the limit in so many tries; or the table is not one of this device.
    """
    if tries < 1:
        raise InvalidInputError(f"`tries >= 1` must hold, but got {tries}.")
    bound, bounds = max_ms, []
    for _ in range(tries):
        bounds.append(bound)
        architecture = generate(result, Limit(table, max=bound), *limits, candidates=candidates)
        (measured,) = measure_networks(
            supernet, [architecture], table, device=device, rounds=rounds, time=time, on_progress=on_progress
        )
        slowest = measured.ms + STANDARD_ERRORS * measured.error_ms
        if slowest <= max_ms:
            return MeasuredArchitecture(architecture, measured, tuple(bounds))
        # Less than the table says of this network, so that it is not found again.
        bound = architecture.certificate.costs[table.name] * max_ms / slowest
    raise InvalidInputError(
        f"A network within {max_ms:g} ms must be found in {tries} tries, but the last took {measured.ms:.4g} ± "
        f"{measured.error_ms:.2g} ms. Allow more `tries` or `rounds`, or measure the table anew."
    )
