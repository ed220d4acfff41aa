"""Finds a network that keeps to a limit on latency when it is measured, not only according to its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from searchhub.costs.device import device_name
from searchhub.costs.latency_table import TORCH, LatencyTable
from searchhub.costs.timing import Bench, Progress, Stopwatch, Time
from searchhub.errors import InvalidInputError
from searchhub.generation.architecture import GeneratedArchitecture
from searchhub.generation.generate import Candidates, generate
from searchhub.generation.limits import Limit
from searchhub.generation.objective import ObjectiveName
from searchhub.models.supernet import Supernet
from searchhub.result import SearchResult
from searchhub.space import Architecture

STANDARD_ERRORS = 2.0
"""How many standard errors must fit between a measurement and the limit."""


@dataclass(frozen=True)
class MeasuredLatency:
    """Latency of a network that was timed in turn with the reference of a table.

    Args:
        ms: Latency in milliseconds at the speed that the machine had while the table was measured, as the table's are.
        error_ms: Standard error of `ms`.
        clock_ms: Latency in milliseconds by the clock, at the machine's speed now.
    """

    ms: float
    error_ms: float
    clock_ms: float


@dataclass(frozen=True)
class MeasuredArchitecture:
    """A network that keeps to a limit when it is measured.

    Args:
        architecture: The architecture, as `generate` found it within the last of `bounds`.
        measured: Latency of that architecture.
        bounds: Milliseconds that the table had to promise, one for each try; the first is the limit itself.
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
    """Measures the latency of whole networks on this device, to compare with a table that was measured on it.

    Args:
        supernet: Supernet of the table's space. Its weights do not matter.
        architectures: Architectures of that space.
        table: Result of `measure_latency`, or a file of it.
        device: "cpu" or "cuda", where the table was measured. None: the supernet's device.
        rounds: How often each network is timed, at least 2.
        time: Function that times a network and the reference in turn. None: `searchhub.costs.timing.Stopwatch.in_turn`.
        on_progress: Function that is called after each measurement.

    Raises:
        InvalidInputError: The table belongs to another space or device, or names no reference; or there are fewer than
            2 rounds.
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
    threads = table.threads or torch.get_num_threads()
    time = time or Stopwatch(threads).in_turn
    space = table.space
    row = space.encode(reference.architecture)
    runtime = table.runtime or TORCH
    bench = Bench(supernet, device, table.batch_size, row, rounds, time, on_progress, runtime=runtime, threads=threads)
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
    objective: ObjectiveName | None = None,
    tries: int = 5,
    device: torch.device | str | None = None,
    rounds: int = 10,
    time: Time | None = None,
    on_progress: Progress | None = None,
) -> MeasuredArchitecture:
    """Generates a network, times it, and asks for less if it is slower than the limit, until its measured latency fits.

    The returned network was timed on this device, and its latency lies two standard errors or more below the limit. The
    table's milliseconds count (`MeasuredLatency.ms`): on a machine that has become slower since, any network takes
    longer by the same factor, as the clock and `clock_ms` show.

    1. The table's own error decides how many tries are needed: most often one to three.
    2. The answer is the best that the table promises within the last bound, so some of the limit may stay unused.

    Args:
        supernet: Supernet of the result's space. Its weights do not matter.
        result: A finished search.
        table: Result of `measure_latency` for this supernet.
        max_ms: Largest latency in milliseconds, for the table's batch and threads.
        limits: Further limits that must hold, as in `generate`.
        candidates: "all", or only the candidates that the search did not prune.
        objective: What is maximised, as in `generate`.
        tries: How many networks may be timed, at least 1.
        device: "cpu" or "cuda", where the table was measured. None: the supernet's device.
        rounds: How often each network is timed, at least 2.
        time: Function that times a network and the reference in turn. None: `searchhub.costs.timing.Stopwatch.in_turn`.
        on_progress: Function that is called after each measurement.

    Raises:
        InfeasibleLimitError: Nothing meets the limits according to the table, or according to the table less what
            networks exceeded it by.
        InvalidInputError: No network kept to the limit in that many tries; or the table does not belong to this device.
    """
    if tries < 1:
        raise InvalidInputError(f"`tries >= 1` must hold, but got {tries}.")
    bound, bounds = max_ms, []
    for _ in range(tries):
        bounds.append(bound)
        architecture = generate(result, Limit(table, max=bound), *limits, candidates=candidates, objective=objective)
        (measured,) = measure_networks(
            supernet, [architecture], table, device=device, rounds=rounds, time=time, on_progress=on_progress
        )
        slowest = measured.ms + STANDARD_ERRORS * measured.error_ms
        if slowest <= max_ms:
            return MeasuredArchitecture(architecture, measured, tuple(bounds))
        # The bound is less than the table says of this network, so that the network is not found again.
        bound = architecture.certificate.costs[table.name] * max_ms / slowest
    raise InvalidInputError(
        f"A network within {max_ms:g} ms must be found in {tries} tries, but the last took {measured.ms:.4g} ± "
        f"{measured.error_ms:.2g} ms. Allow more `tries` or `rounds`, or measure the table anew."
    )
