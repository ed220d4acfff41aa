"""Searchers on a table of trained networks: regret at equal numbers of evaluations.

    python benchmarks/tabular.py --table PATH --evaluations 50 --seeds 200

Regret is the best accuracy in the table minus that of the architecture which a searcher returns, in percentage points.
Random search returns the best that it evaluated; DDPNAS returns its survivors (of several, the one with the largest θ),
whether it evaluated them or not. DDPNAS sets its own number of evaluations, T · Σ k: T is the largest that stays within
`--evaluations`, and the others get exactly the number that comes of it.

Without `--table`, an artificial table shows that the script works; its figures say nothing about networks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from searchhub.distribution import ArchitectureDistribution
from searchhub.evaluators.tabular import BenchmarkTable, TabularEvaluator, nasbench_macro_space, read_nasbench_macro
from searchhub.result import SearchResult
from searchhub.search import search
from searchhub.searchers.ddp import DDPSearcher, pruned_search_trials
from searchhub.searchers.random import RandomSearcher
from searchhub.space import Codes

READERS: dict[str, Callable[[Path], BenchmarkTable]] = {"nas-bench-macro*.json": read_nasbench_macro}
"""By the name of the file: another table is one function and a line here."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="the table's file, or the folder that holds it")
    parser.add_argument("--evaluations", type=int, default=50, help="at most so many a search (default: 50)")
    parser.add_argument("--seeds", type=int, default=100, help="searches of each kind (default: 100)")
    arguments = parser.parse_args()
    table = artificial_table() if arguments.table is None else read(parser, arguments.table)
    per_epoch = pruned_search_trials(table.space, 1)
    estimation_epochs = arguments.evaluations // per_epoch
    if estimation_epochs < 1 or arguments.seeds < 2:
        parser.error(f"--evaluations must be at least {per_epoch} on this table, and --seeds at least 2")
    report(table, compare(table, estimation_epochs, arguments.seeds), estimation_epochs, arguments.evaluations)


def read(parser: argparse.ArgumentParser, path: Path) -> BenchmarkTable:
    for pattern, reader in READERS.items():
        files = sorted(path.glob(pattern)) if path.is_dir() else [path] if path.match(pattern) else []
        if files:
            return reader(files[0])
    parser.error(f"--table must be one of {list(READERS)}, or a folder that holds one, but is {path}")


def artificial_table() -> BenchmarkTable:
    """Main effects and weak interactions of neighbours on the space of NAS-Bench-Macro."""
    space, rng = nasbench_macro_space(), np.random.default_rng(0)
    grid = np.zeros((3,) * 8)
    for i in range(8):
        grid += rng.normal(size=3).reshape([3 if j == i else 1 for j in range(8)])
        if i:
            grid += 0.5 * rng.normal(size=(3, 3)).reshape([3 if j in (i - 1, i) else 1 for j in range(8)])
    return BenchmarkTable("artificial", space, 0.9 + 0.1 * (grid.ravel() - grid.max()) / np.ptp(grid))


def compare(table: BenchmarkTable, estimation_epochs: int, seeds: int) -> dict[str, list[float]]:
    """Regrets by searcher, one a seed; the searchers take turns, so that they are compared under the same load."""
    evaluator = TabularEvaluator(table.space, table.scores)
    best = float(table.scores.max())
    evaluations = pruned_search_trials(table.space, estimation_epochs)
    regrets: dict[str, list[float]] = {"random": [], "ddp": [], "ddp_best_evaluated": [], "ddp_noprune": []}

    def add(name: str, accuracy: float) -> None:
        regrets[name].append(100.0 * (best - accuracy))

    for seed in range(seeds):
        sampled = search(RandomSearcher(table.space, num_trials=evaluations, seed=seed), evaluator)
        add("random", sampled.best_trial.score)
        pruned = search(DDPSearcher(table.space, estimation_epochs=estimation_epochs, seed=seed), evaluator)
        add("ddp", answer(pruned, evaluator))
        add("ddp_best_evaluated", pruned.best_trial.score)
        unpruned = DDPSearcher(
            table.space, estimation_epochs=estimation_epochs, prune=False, evaluations=evaluations, seed=seed
        )
        add("ddp_noprune", answer(search(unpruned, evaluator), evaluator))
        for result in (sampled, pruned, unpruned):
            assert len(result.history) == evaluations
    return regrets


def answer(result: SearchResult, evaluator: TabularEvaluator) -> float:
    """The accuracy of what DDPNAS returns."""
    assert result.distribution is not None
    return float(evaluator.of_codes(most_likely(result.distribution))[0])


def most_likely(distribution: ArchitectureDistribution) -> Codes:
    """Codes [1, choices]: argmax θ among the survivors."""
    return np.array(
        [
            [
                np.argmax(np.where(alive, theta, -np.inf))
                for theta, alive in zip(distribution.theta, distribution.alive, strict=True)
            ]
        ],
        dtype=np.uint8,
    )


def report(table: BenchmarkTable, regrets: dict[str, list[float]], estimation_epochs: int, asked: int) -> None:
    seeds = len(regrets["ddp"])
    evaluations = pruned_search_trials(table.space, estimation_epochs)
    summary = {
        name: {"mean": round(float(np.mean(r)), 4), "stderr": round(float(np.std(r, ddof=1) / np.sqrt(seeds)), 4)}
        for name, r in regrets.items()
    }
    anywhere = 100.0 * (float(table.scores.max()) - float(table.scores.mean()))
    print(f"{table.name}: {table.space.size:,} architectures, best {100 * table.scores.max():.2f} %")
    print(f"{evaluations} evaluations each (at most {asked} asked; DDPNAS with T = {estimation_epochs}), {seeds} seeds")
    print(f"{'searcher':<20} {'regret':>8} {'± std err':>10}")
    for name, figures in summary.items():
        print(f"{name:<20} {figures['mean']:>8.3f} {figures['stderr']:>10.3f}")
    print(f"{'(any architecture)':<20} {anywhere:>8.3f}")
    line = {
        "table": table.name,
        "evaluations": evaluations,
        "estimation_epochs": estimation_epochs,
        "seeds": seeds,
        "regret": summary,
        "ratio_ddp_to_random": ratio(summary, "ddp", "random"),
        "ratio_ddp_to_noprune": ratio(summary, "ddp", "ddp_noprune"),
    }
    print("RESULT " + json.dumps(line))


def ratio(summary: dict[str, dict[str, float]], one: str, other: str) -> float | None:
    """None where the other never errs."""
    return round(summary[one]["mean"] / summary[other]["mean"], 4) if summary[other]["mean"] else None


if __name__ == "__main__":
    main()
