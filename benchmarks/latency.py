"""How well a table of measured blocks tells the latency of whole networks, beside multiply-adds alone.

    python benchmarks/latency.py --clock wall --threads 1

A table is measured for a small supernet at the size of CIFAR-10 and calibrated on 8 networks; 12 others tell its error
and that of a line on multiply-adds. Then networks are generated for limits across the range, from a random θ, and are
measured: how many keep to their limit, and how far they are from it. `ratio` is the table's error over that of
multiply-adds. Needs a quiet machine; `--clock cpu` counts the time of this thread alone, where others take the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import time

import numpy as np
import torch

from searchhub import (
    LatencyTable,
    Limit,
    MobileSupernetConfig,
    MobileSupernetForImageClassification,
    SearchResult,
    generate,
    measure_latency,
)
from searchhub.costs.timing import Stopwatch
from searchhub.distribution import ArchitectureDistribution

SIZES = {
    "num_labels": 10,
    "image_size": 32,
    "stem_width": 16,
    "stem_stride": 1,
    "first_width": 16,
    "stage_widths": [24, 32, 64],
    "stage_depths": [2, 3, 3],
    "stage_strides": [1, 2, 2],
    "head_width": 256,
}


def random_result(table: LatencyTable, seed: int) -> SearchResult:
    """A finished search as far as generation is concerned: a random θ."""
    rng = np.random.default_rng(seed)
    sizes = [len(choice.candidates) for choice in table.space.choices]
    theta = tuple(rng.dirichlet(np.ones(n)) for n in sizes)
    alive = tuple(np.ones(n, dtype=bool) for n in sizes)
    return SearchResult(table.space, (), ArchitectureDistribution(table.space, theta, theta, alive))


def limits_met(
    supernet: MobileSupernetForImageClassification,
    table: LatencyTable,
    stopwatch: Stopwatch,
    arguments: argparse.Namespace,
) -> list[float]:
    """Measured latency over the limit, of one generated network a limit."""
    example = supernet.example_inputs()["pixel_values"]
    pixels = torch.randn(arguments.batch_size, *example.shape[1:], generator=torch.Generator().manual_seed(0))
    low, high = table.bounds()
    shares = []
    for i, at in enumerate(np.linspace(0.15, 0.85, arguments.limits)):
        limit = low + float(at) * (high - low)
        architecture = generate(random_result(table, i), Limit(table, max=limit))
        model = supernet.extract(architecture).eval()
        inputs = {"pixel_values": pixels}
        measured = float(np.median([stopwatch(model, (), inputs) for _ in range(arguments.rounds)]))
        told = architecture.certificate.costs[table.name]
        print(f"limit {limit:7.3f} ms   table {told:7.3f} ms   measured {measured:7.3f} ms   {measured / limit:6.1%}")
        shares.append(measured / limit)
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="default: wall")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--batch_size", type=int, default=1, help="default: 1")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed (default: 3)")
    parser.add_argument("--min_run_time", type=float, default=0.05, help="seconds of each timing (default: 0.05)")
    parser.add_argument("--calibration", type=int, default=8, help="networks to calibrate on (default: 8)")
    parser.add_argument("--held_out", type=int, default=12, help="networks to tell the error on (default: 12)")
    parser.add_argument("--limits", type=int, default=12, help="limits to generate for (default: 12)")
    arguments = parser.parse_args()
    if arguments.clock == "cpu" and arguments.threads > 1:
        parser.error("--clock cpu counts one thread only. Pass --threads 1.")
    load = os.getloadavg()[0]
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    supernet = MobileSupernetForImageClassification(MobileSupernetConfig(**SIZES))
    clock = time.thread_time if arguments.clock == "cpu" else None
    stopwatch = Stopwatch(arguments.threads, arguments.min_run_time, clock)
    started = time.perf_counter()
    table = measure_latency(
        supernet,
        batch_size=arguments.batch_size,
        threads=arguments.threads,
        calibration_networks=arguments.calibration,
        held_out_networks=arguments.held_out,
        rounds=arguments.rounds,
        time=stopwatch,
    )
    seconds = time.perf_counter() - started
    shares = limits_met(supernet, table, stopwatch, arguments)
    accuracy = table.accuracy
    assert accuracy is not None
    met = sum(share <= 1 for share in shares)
    low, high = table.bounds()
    print(
        f"{table.unit}, {arguments.clock} clock, {os.cpu_count()} CPUs, load {load:.1f}; measured in {seconds:.0f} s; "
        f"networks of {low:.2f} to {high:.2f} ms"
    )
    print(
        f"on {accuracy.networks} held-out networks: table {accuracy.mape:.1f} % off, τ {accuracy.kendall_tau}; "
        f"multiply-adds {accuracy.macs_mape:.1f} % off, τ {accuracy.macs_kendall_tau}"
    )
    print(f"{met} of {len(shares)} generated networks keep to their limit; the slowest takes {max(shares):.1%} of it")
    result = {
        "ratio": round(accuracy.mape / accuracy.macs_mape, 4),
        "mape": round(accuracy.mape, 3),
        "kendall_tau": accuracy.kendall_tau,
        "macs_mape": round(accuracy.macs_mape, 3),
        "macs_kendall_tau": accuracy.macs_kendall_tau,
        "limits": len(shares),
        "limits_met": met,
        "largest_share": round(max(shares), 4),
        "median_share": round(float(np.median(shares)), 4),
        "seconds": round(seconds, 1),
        "load_average": round(load, 2),
        "clock": arguments.clock,
    }
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main()
