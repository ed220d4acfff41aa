"""How well a table of measured blocks tells the latency of whole networks, beside multiply-adds alone.

    python benchmarks/latency.py --threads 1

A table is measured for a small supernet at the size of CIFAR-10 (`--image_size 224`: the full-size space) and
calibrated on 8 networks; 24 others tell its error and that of a line on multiply-adds. Then networks are generated for
limits across the range, from a random θ: as the table promises, and with `generate_measured`, which times its answers.
All of them are timed once more, in rounds: how many keep to their limit, and how far they are from it, in the table's
milliseconds and by the clock. `drift` is how unsteady the machine was, the 95th percentile of the reference network's
calls over the 5th; `ratio` is the table's error over that of multiply-adds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

import numpy as np
import torch

from searchhub import (
    LatencyTable,
    Limit,
    MobileSupernetConfig,
    MobileSupernetForImageClassification,
    SearchResult,
    generate,
    generate_measured,
    measure_latency,
)
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InvalidInputError
from searchhub.generation.measured import MeasuredLatency, measure_networks

SMALL = {
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


def said_of(limits: list[float], measured: list[MeasuredLatency], what: str) -> dict[str, float]:
    """How many keep to their limit, and how far they are from it."""
    if not limits:
        return {"met": 0}
    shares = np.array([m.ms for m in measured]) / limits
    by_clock = np.array([m.clock_ms for m in measured]) / limits
    print(
        f"{what}: {(shares <= 1).sum()} of {len(limits)} keep to their limit; they take {shares.min():.1%} to "
        f"{shares.max():.1%} of it, in the median {np.median(shares):.1%}; by the clock {(by_clock <= 1).sum()}, "
        f"{by_clock.min():.1%} to {by_clock.max():.1%}, {np.median(by_clock):.1%}"
    )
    return {
        "met": int((shares <= 1).sum()),
        "median_share": round(float(np.median(shares)), 4),
        "largest_share": round(float(shares.max()), 4),
        "met_by_clock": int((by_clock <= 1).sum()),
        "median_share_by_clock": round(float(np.median(by_clock)), 4),
        "largest_share_by_clock": round(float(by_clock.max()), 4),
    }


def limits_met(
    supernet: MobileSupernetForImageClassification, table: LatencyTable, count: int, rounds: int
) -> dict[str, Any]:
    """Networks generated for limits across the range, without and with measuring them, all timed again."""
    low, high = table.bounds()
    limits = [float(at) for at in low + np.linspace(0.15, 0.85, count) * (high - low)]
    promised, found = [], {}
    for seed, limit in enumerate(limits):
        result = random_result(table, seed)
        promised.append(generate(result, Limit(table, max=limit)))
        try:
            found[limit] = generate_measured(supernet, result, table, limit, tries=10, rounds=rounds)
        except InvalidInputError as error:
            print(f"limit {limit:7.3f} ms   with measuring nothing was found: {error}")
    again = measure_networks(supernet, [*promised, *(f.architecture for f in found.values())], table, rounds=rounds)
    for limit, plain, seen in zip(limits, promised, again[:count], strict=True):
        print(
            f"limit {limit:7.3f} ms   table {plain.certificate.costs[table.name]:7.3f}, measured {seen.ms:7.3f} ms "
            f"({seen.ms / limit:6.1%})"
        )
    for (limit, f), checked in zip(found.items(), again[count:], strict=True):
        print(
            f"limit {limit:7.3f} ms   with measuring, try {len(f.bounds)}: {f.measured.ms:7.3f}, again "
            f"{checked.ms:7.3f} ms ({checked.ms / limit:6.1%})"
        )
    told = np.array([plain.certificate.costs[table.name] for plain in promised])
    ms = np.array([m.ms for m in again[:count]])
    off, bias = 100 * float(np.mean(np.abs(told / ms - 1))), float(np.mean(ms / told))
    print(f"on these {count} that were generated the table is {off:.1f} % off; they take {bias:.3f} × what it says")
    slowness = float(np.median([m.clock_ms / m.ms for m in again]))
    print(f"by the clock the machine took {slowness:.3f} × as long as while the table was measured")
    return {
        "generated_mape": round(off, 3),
        "generated_bias": round(bias, 4),
        "slowness": round(slowness, 4),
        "promised": said_of(limits, again[:count], "by the table"),
        "verified": {
            **said_of(list(found), again[count:], "with measuring"),
            "found": len(found),
            "tries": sum(len(f.bounds) for f in found.values()),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image_size", type=int, choices=[32, 224], default=32, help="default: 32")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--batch_size", type=int, default=1, help="default: 1")
    parser.add_argument("--rounds", type=int, default=10, help="how often each is timed for the table (default: 10)")
    parser.add_argument("--check_rounds", type=int, default=10, help="and for a limit (default: 10)")
    parser.add_argument("--calibration", type=int, default=8, help="networks to calibrate on (default: 8)")
    parser.add_argument("--held_out", type=int, default=24, help="networks to tell the error on (default: 24)")
    parser.add_argument("--limits", type=int, default=12, help="limits to generate for (default: 12)")
    parser.add_argument("--seed", type=int, default=0, help="of the networks that are drawn (default: 0)")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    config = MobileSupernetConfig(**SMALL) if arguments.image_size == 32 else MobileSupernetConfig()
    supernet = MobileSupernetForImageClassification(config)
    started = time.perf_counter()
    table = measure_latency(
        supernet,
        batch_size=arguments.batch_size,
        threads=arguments.threads,
        calibration_networks=arguments.calibration,
        held_out_networks=arguments.held_out,
        rounds=arguments.rounds,
        seed=arguments.seed,
    )
    seconds = time.perf_counter() - started
    accuracy, reference = table.accuracy, table.reference
    assert accuracy is not None
    assert reference is not None
    low, high = table.bounds()
    print(
        f"{table.unit}, {os.cpu_count()} CPUs, load {load:.1f}; measured in {seconds:.0f} s; networks of {low:.2f} to "
        f"{high:.2f} ms; the reference took {reference.ms:.2f} ms, its 95th percentile {reference.drift:.2f} × its 5th"
    )
    print(
        f"on {accuracy.networks} held-out networks: table {accuracy.mape:.1f} % off, τ {accuracy.kendall_tau:.2f}; "
        f"multiply-adds {accuracy.macs_mape:.1f} % off, τ {accuracy.macs_kendall_tau:.2f}"
    )
    met = limits_met(supernet, table, arguments.limits, arguments.check_rounds)
    result = {
        "ratio": round(accuracy.mape / accuracy.macs_mape, 4),
        "mape": round(accuracy.mape, 3),
        "kendall_tau": round(accuracy.kendall_tau, 3),
        "macs_mape": round(accuracy.macs_mape, 3),
        "macs_kendall_tau": round(accuracy.macs_kendall_tau, 3),
        "limits": arguments.limits,
        **met,
        "slope": round(table.calibration["slope"], 3),
        "drift": round(reference.drift, 3),
        "seconds": round(seconds, 1),
        "all_seconds": round(time.perf_counter() - started, 1),
        "load_average": round(load, 2),
    }
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main()
