"""Generation (DDPNAS Eq. 10): the exact front and one limit, beside the paper's traversal.

    python benchmarks/generation.py --seeds 5

21 choices × 7 candidates, all of them in reach (7^21 architectures), with real-valued costs:

- nearly uniform: θ = 1/7, differing by 1e-9
- peaked: θ = softmax of normal numbers, deviation 2
- follows cost: θ grows with the square root of the cost, with 5 % of noise: most candidates are worth their cost
- concave: the same without noise, so that every candidate is on the front of its choice; an artificial worst case, kept
  out of RESULT's figures but for those called `concave_…`

The traversal is what the paper does: 20 layers, two survivors each, E and f of all 2^20 architectures, here in numpy,
in chunks. It is also compared with `generate` on the same survivors, whose answer must be the same.
`cells`: DDPNAS Table 4's six limits, one search of the DARTS space (two kinds of cell, 14 edges, 8 operations) each
seed, beside parameters and multiply-adds of about the size of its networks for a seventh answer with four limits; of
all operations and of two survivors an edge.

Times are medians over seeds and limits in ms; limits lie 30, 50 and 70 % of the way from the smallest cost to that of
argmax θ. `ratio` is traversal / limit, of 2^20 against 7^21 architectures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.generation import Limit, generate, pareto
from searchhub.result import SearchResult
from searchhub.space import Choice, SearchSpace
from searchhub.spaces.darts import darts_space

KINDS = ("nearly uniform", "peaked", "follows cost", "concave")
FRACTIONS = (0.3, 0.5, 0.7)
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="searches of each kind (default: 5)")
    parser.add_argument("--layers", type=int, default=21, help="choices of the space (default: 21)")
    parser.add_argument("--survivor-layers", type=int, default=20, help="layers of the traversal (default: 20)")
    arguments = parser.parse_args()
    if arguments.seeds < 1 or arguments.layers < 1 or not 1 <= arguments.survivor_layers <= 24:
        parser.error("--seeds and --layers must be at least 1, and --survivor-layers 1 to 24")
    figures = {kind: {"front": [], "limit": [], "points": []} for kind in KINDS}
    traversals: list[float] = []
    survivors: list[float] = []
    for seed in range(arguments.seeds):
        for kind in KINDS:
            measure(search(kind, seed, arguments.layers), figures[kind])
        for kind in KINDS[:2]:
            compare(search(kind, seed, arguments.survivor_layers), traversals, survivors)
    cells = {
        kind: [x for seed in range(arguments.seeds) for x in cell_times(seed, kind)] for kind in ("all", "survivors")
    }
    report(figures, traversals, survivors, cells, arguments)


def search(kind: str, seed: int, layers: int) -> SearchResult:
    """A finished search with a cost table "macs"; two survivors a choice."""
    rng = np.random.default_rng(seed)
    space = SearchSpace("benchmark", tuple(Choice(f"layer.{i}", tuple(range(7))) for i in range(layers)))
    costs = tuple(5e6 * rng.lognormal(0.0, 0.6, size=7) for _ in range(layers))
    if kind == "nearly uniform":
        theta = [np.full(7, 1 / 7) * (1.0 + 1e-9 * rng.normal(size=7)) for _ in costs]
    elif kind == "peaked":
        theta = [np.exp(2.0 * rng.normal(size=7)) for _ in costs]
    else:
        noise = 0.05 if kind == "follows cost" else 0.0
        theta = [np.sqrt(cost) * np.exp(noise * rng.normal(size=7)) for cost in costs]
    theta = [t / t.sum() for t in theta]
    alive = tuple(np.isin(np.arange(7), rng.permutation(7)[:2]) for _ in costs)
    distribution = ArchitectureDistribution(space, tuple(theta), tuple(np.zeros(7) for _ in costs), alive)
    return SearchResult(space, (), distribution, costs={"macs": CostTable("macs", space, 1e7, costs)})


def measure(result: SearchResult, figures: dict[str, list[float]]) -> None:
    """Time the front and the limits; what `generate` finds must be on the front."""
    milliseconds, front = timed(lambda: pareto(result, "macs"))
    figures["front"].append(milliseconds)
    figures["points"].append(len(front))
    costs = [point.certificate.costs["macs"] for point in front]
    for fraction in FRACTIONS:
        limit = costs[0] + fraction * (costs[-1] - costs[0])
        milliseconds, answer = timed(lambda limit=limit: generate(result, Limit("macs", max=limit)))
        figures["limit"].append(milliseconds)
        assert answer == front[int(np.searchsorted(costs, limit, side="right")) - 1]
        assert answer.certificate.optimal


def compare(result: SearchResult, traversals: list[float], survivors: list[float]) -> None:
    """Time the traversal and `generate` on the same survivors; they must find the same."""
    table = result.costs["macs"]
    alive = result.distribution.survivors
    limit = table.fixed + sum(float(entry[list(own)].mean()) for entry, own in zip(table.entries, alive, strict=True))
    milliseconds, best = timed(lambda: traverse(result, limit))
    traversals.append(milliseconds)
    milliseconds, answer = timed(lambda: generate(result, Limit(table, max=limit), candidates="survivors"))
    survivors.append(milliseconds)
    assert table(answer) <= limit
    assert abs(answer.certificate.expectation - best) <= 1e-14


def traverse(result: SearchResult, limit: float, chunk: int = 1 << 16) -> float:
    """The largest E of all combinations of two survivors a layer with f <= limit."""
    table, theta = result.costs["macs"], result.distribution.theta
    pairs = result.distribution.survivors
    layers = len(pairs)
    gains = np.array([[t[b] - t[a], e[b] - e[a]] for t, e, (a, b) in zip(theta, table.entries, pairs, strict=True)])
    expectation = sum(t[a] for t, (a, _) in zip(theta, pairs, strict=True))
    cost = table.fixed + sum(e[a] for e, (a, _) in zip(table.entries, pairs, strict=True))
    best = -np.inf
    for start in range(0, 1 << layers, chunk):
        numbers = np.arange(start, min(start + chunk, 1 << layers))
        bits = ((numbers[:, None] >> np.arange(layers)) & 1).astype(np.float64)
        sums = bits @ gains
        within = cost + sums[:, 1] <= limit
        if within.any():
            best = max(best, float((expectation + sums[within, 0]).max()) / layers)
    return best


TABLE_4 = ((None, 2), (None, 4), (None, 6), (1, 4), (2, 4), (3, 4))
"""H (None: any) and N."""


def cell_search(seed: int) -> SearchResult:
    """A finished search of cells; costs in units of a 1×1 convolution of the first cells, by operation and stride."""
    rng = np.random.default_rng(seed)
    space = darts_space()
    theta = tuple(rng.dirichlet(np.full(8, 3.0)) for _ in space.choices)
    alive = tuple(np.isin(np.arange(8), [np.argmax(t[:4]), 4 + np.argmax(t[4:])]) for t in theta)
    convolutions = {"sep_conv_3x3": 2.5, "sep_conv_5x5": 3.4, "dil_conv_3x3": 1.3, "dil_conv_5x5": 1.7}
    tables = []
    for name, of_reduction in (("params", 0.16), ("macs", 0.08)):
        entries = []
        for choice in space.choices:
            entry = np.array([convolutions.get(str(o), 0.0) for o in choice.candidates])
            if choice.name.startswith("reduction"):
                entry *= of_reduction
                if choice.name.endswith(("from0", "from1")):
                    entry[choice.candidates.index("skip_connect")] = 1.0 * of_reduction
            entries.append(np.rint(1e6 * entry))
        tables.append(CostTable(name, space, 1e7, tuple(entries)))
    distribution = ArchitectureDistribution(space, theta, tuple(np.zeros(8) for _ in theta), alive)
    return SearchResult(space, (), distribution).with_costs(*tables)


def cell_times(seed: int, candidates: str) -> list[float]:
    """ms of each answer."""
    result, times = cell_search(seed), []
    for height, n in TABLE_4:
        limits = [Limit("non_parameter", equal=n)] + ([] if height is None else [Limit("height", equal=height)])
        milliseconds, answer = timed(lambda limits=limits: generate(result, *limits, candidates=candidates))
        assert answer.certificate.optimal
        times.append(milliseconds)
    costs = answer.certificate.costs
    limits += [Limit(name, max=0.95 * costs[name]) for name in ("params", "macs")]
    milliseconds, answer = timed(lambda: generate(result, *limits, candidates=candidates))
    assert answer.certificate.optimal
    return [*times, milliseconds]


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Median ms of a few calls, and what the last returned."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        value = function()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times), value


def report(
    figures: dict[str, dict[str, list[float]]],
    traversals: list[float],
    survivors: list[float],
    cells: dict[str, list[float]],
    arguments: argparse.Namespace,
) -> None:
    load = os.getloadavg()[0]
    print(f"{arguments.layers} choices x 7 candidates, {arguments.seeds} seeds; {os.cpu_count()} CPUs, load {load:.2f}")
    print(f"{'θ':<16} {'front ms':>8} {'worst':>8} {'points':>8} {'limit ms':>8} {'worst':>8}")
    for kind, own in figures.items():
        front, limit = (f"{statistics.median(own[name]):>8.2f} {max(own[name]):>8.2f}" for name in ("front", "limit"))
        print(f"{kind:<16} {front} {statistics.median(own['points']):>8.0f} {limit}")
    traversal, survivor = statistics.median(traversals), statistics.median(survivors)
    size = f"2^{arguments.survivor_layers}"
    print(f"traversal of {size}: {traversal:.1f} ms; `generate` on the same survivors: {survivor:.2f} ms")
    for kind, times in cells.items():
        print(f"cells, {kind}: {statistics.median(times):.0f} ms an answer, worst {max(times):.0f} ms")
    usual = [figures[kind] for kind in KINDS[:3]]
    limit = statistics.median(x for own in usual for x in own["limit"])
    line = {
        "front_ms": round(statistics.median(x for own in usual for x in own["front"]), 2),
        "front_ms_worst": round(max(x for own in usual for x in own["front"]), 2),
        "limit_ms": round(limit, 3),
        "limit_ms_worst": round(max(x for own in usual for x in own["limit"]), 3),
        "traversal_ms": round(traversal, 2),
        "ratio": round(traversal / limit, 3),
        "survivors_ms": round(survivor, 3),
        "ratio_survivors": round(traversal / survivor, 1),
        "front_points": int(statistics.median(x for own in usual for x in own["points"])),
        "concave_front_ms": round(statistics.median(figures["concave"]["front"]), 2),
        "concave_front_points": int(statistics.median(figures["concave"]["points"])),
        "concave_limit_ms": round(statistics.median(figures["concave"]["limit"]), 3),
        "cells_ms": round(statistics.median(cells["all"]), 1),
        "cells_ms_worst": round(max(cells["all"]), 1),
        "cells_survivors_ms": round(statistics.median(cells["survivors"]), 1),
        "seeds": arguments.seeds,
        "cpus": os.cpu_count(),
        "load": round(load, 2),
    }
    print("RESULT " + json.dumps(line))


if __name__ == "__main__":
    main()
