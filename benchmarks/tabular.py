"""Searchers on tables of trained networks: what they find at equal numbers of evaluations.

    python benchmarks/tabular.py --table PATH --evaluations 140 --seeds 200 --curves regret.svg

A search sees the scores of the table and answers with one architecture; what counts is that one's accuracy after full
training. On NAS-Bench-201 scores are validation accuracies after 12 epochs, accuracies test ones after 200 epochs, on
each of three data sets; on NAS-Bench-Macro both are the same.

- random, evolution: the best score that they evaluated
- ddp: DDPNAS as in the paper; its survivors, whether it evaluated them or not
- noprune: the paper's ablation, all candidates in every round; argmax θ
- regression, pairs: DDPNAS with another estimator (searchhub/searchers/credit.py)
- ours: "pairs" without pruning, all trials in one round; argmax θ
- γ = …: DDPNAS as in the paper with another momentum, for each `--momentum`

`all trained` is what training every evaluated architecture to the end would find: the best accuracy among them. DDPNAS
Table 2's random search is that, with 100.

DDPNAS sets its own number of evaluations, T · Σ k: T is the largest that stays within `--evaluations`, and the others
get exactly the number that comes of it. RESULT holds mean accuracies in percent, and their standard errors over seeds.

Without `--table`, an artificial table shows that the script works; its figures say nothing about networks.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from searchhub.distribution import ArchitectureDistribution, FloatArray
from searchhub.evaluators.tabular import (
    NASBENCH201_DATASETS,
    BenchmarkTable,
    TabularEvaluator,
    read_nasbench201,
    read_nasbench_macro,
    table_index,
)
from searchhub.result import SearchResult
from searchhub.search import search
from searchhub.searchers.base import Searcher
from searchhub.searchers.ddp import DDPSearcher, pruned_search_trials
from searchhub.searchers.evolution import EvolutionSearcher
from searchhub.searchers.random import RandomSearcher
from searchhub.space import Codes, SearchSpace
from searchhub.spaces.nasbench_macro import nasbench_macro_space
from searchhub.visualization.palette import candidate_colors

Tables = Mapping[str, BenchmarkTable]
"""By data set."""

READERS: dict[str, Callable[[Path], Tables]] = {
    "nas-bench-macro*.json": lambda path: {"cifar10": read_nasbench_macro(path)},
    "nasbench201*.parquet": lambda path: {name: read_nasbench201(path, name) for name in NASBENCH201_DATASETS},
}
"""By the name of the file: another table is one function and a line here."""


def searchers(
    space: SearchSpace, estimation_epochs: int, seed: int, momenta: Sequence[float] = ()
) -> dict[str, Searcher]:
    """All that are compared, with as many trials each."""
    trials = pruned_search_trials(space, estimation_epochs)

    def ddp(**options: object) -> DDPSearcher:
        return DDPSearcher(space, **{"estimation_epochs": estimation_epochs, "seed": seed, **options})  # type: ignore[arg-type]

    return {
        "random": RandomSearcher(space, num_trials=trials, seed=seed),
        "evolution": EvolutionSearcher(space, num_trials=trials, seed=seed),
        "ddp": ddp(),
        "noprune": ddp(prune=False, evaluations=trials),
        "regression": ddp(estimator="regression"),
        "pairs": ddp(estimator="pairs"),
        "ours": ddp(estimator="pairs", prune=False, evaluations=trials, estimation_epochs=trials),
        **{f"γ = {momentum:g}": ddp(momentum=momentum) for momentum in momenta},
    }


@dataclass
class Outcomes:
    """Of one searcher on one table, one entry a seed. Accuracies after full training, in percent.

    Args:
        answers: Of what the searcher answers with.
        evaluated: Of the architecture with the best score that it evaluated.
        trained: The best of all that it evaluated.
        curves: The same after each trial, float64 [trials].
        seconds: Of the searches together.
    """

    answers: list[float] = field(default_factory=list)
    evaluated: list[float] = field(default_factory=list)
    trained: list[float] = field(default_factory=list)
    curves: list[FloatArray] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, table: BenchmarkTable, result: SearchResult, seconds: float) -> None:
        codes = np.stack([table.space.encode(r.trial.architecture) for r in result.history])
        scores = np.array([r.score for r in result.history])
        # The first of the best, as `SearchResult.best_trial`.
        best = [int(np.argmax(scores[: n + 1])) for n in range(len(scores))]
        curve = 100.0 * table.final[table_index(table.space, codes[best])]
        self.curves.append(curve)
        self.evaluated.append(float(curve[-1]))
        self.trained.append(float(100.0 * table.final[table_index(table.space, codes)].max()))
        if result.distribution is None:
            self.answers.append(float(curve[-1]))
        else:
            row = table_index(table.space, most_likely(result.distribution))
            self.answers.append(float(100.0 * table.final[row][0]))
        self.seconds += seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="the table's file, or the folder that holds it")
    parser.add_argument("--evaluations", type=int, default=50, help="at most so many a search (default: 50)")
    parser.add_argument("--seeds", type=int, default=20, help="searches of each kind (default: 20)")
    parser.add_argument("--momentum", type=float, nargs="*", default=[], help="also DDPNAS with each of these γ")
    parser.add_argument("--curves", type=Path, help="write the picture of regret over evaluations here (.svg, .png)")
    arguments = parser.parse_args()
    tables = {"artificial": artificial_table()} if arguments.table is None else read(parser, arguments.table)
    per_epoch = pruned_search_trials(next(iter(tables.values())).space, 1)
    estimation_epochs = arguments.evaluations // per_epoch
    if estimation_epochs < 1 or arguments.seeds < 2:
        parser.error(f"--evaluations must be at least {per_epoch} on this table, and --seeds at least 2")
    outcomes = {
        name: compare(table, estimation_epochs, arguments.seeds, arguments.momentum) for name, table in tables.items()
    }
    if arguments.curves is not None:
        plot_regret(tables, outcomes, arguments.curves)
    report(tables, outcomes, estimation_epochs, arguments.seeds)


def read(parser: argparse.ArgumentParser, path: Path) -> Tables:
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


def compare(
    table: BenchmarkTable, estimation_epochs: int, seeds: int, momenta: Sequence[float] = ()
) -> dict[str, Outcomes]:
    """By searcher; they take turns, so that their times are those of the same load."""
    evaluator = TabularEvaluator(table.space, table.scores)
    trials = pruned_search_trials(table.space, estimation_epochs)
    outcomes: dict[str, Outcomes] = {}
    for seed in range(seeds):
        for name, searcher in searchers(table.space, estimation_epochs, seed, momenta).items():
            start = time.perf_counter()
            result = search(searcher, evaluator)
            seconds = time.perf_counter() - start
            assert len(result.history) == trials
            outcomes.setdefault(name, Outcomes()).add(table, result, seconds)
    return outcomes


def most_likely(distribution: ArchitectureDistribution) -> Codes:
    """Codes [1, choices]: argmax θ among the survivors."""
    alive = zip(distribution.theta, distribution.alive, strict=True)
    return np.array([[np.argmax(np.where(a, theta, -np.inf)) for theta, a in alive]], dtype=np.uint8)


def report(tables: Tables, outcomes: Mapping[str, Mapping[str, Outcomes]], estimation_epochs: int, seeds: int) -> None:
    means: dict[str, dict[str, float]] = {}
    errors: dict[str, dict[str, float]] = {}
    all_trained: dict[str, dict[str, float]] = {}
    for dataset, table in tables.items():
        final = 100.0 * table.final
        evaluations = pruned_search_trials(table.space, estimation_epochs)
        print(f"{table.name}: {table.space.size:,} architectures, {evaluations} evaluations each, {seeds} seeds")
        print(f"best accuracy {final.max():.2f}, that of the best score {final[table.scores.argmax()]:.2f}")
        columns = f"{'regret':>8} {'best evaluated':>20} {'all trained':>16} {'a minute':>9}"
        print(f"{'searcher':<12} {'accuracy':>9} {'± std err':>9} {columns}")
        for name, outcome in outcomes[dataset].items():
            mean, error = _mean(outcome.answers)
            evaluated, evaluated_error = _mean(outcome.evaluated)
            trained, trained_error = _mean(outcome.trained)
            print(
                f"{name:<12} {mean:>9.3f} {error:>9.3f} {final.max() - mean:>8.3f} {evaluated:>11.3f} ± "
                f"{evaluated_error:.3f} {trained:>8.3f} ± {trained_error:.3f} {60 * seeds / outcome.seconds:>9,.0f}"
            )
            means.setdefault(name, {})[dataset] = round(mean, 3)
            errors.setdefault(name, {})[dataset] = round(error, 3)
            all_trained.setdefault(name, {})[dataset] = round(trained, 3)
        print(f"{'(any)':<12} {final.mean():>9.3f} {'':>9} {final.max() - final.mean():>8.3f}\n")
    settings = {"evaluations": evaluations, "estimation_epochs": estimation_epochs, "seeds": seeds}
    best = {dataset: round(100.0 * float(table.final.max()), 3) for dataset, table in tables.items()}
    print("RESULT " + json.dumps({**means, "stderr": errors, "all_trained": all_trained, "best": best, **settings}))


def _mean(values: list[float]) -> tuple[float, float]:
    """The mean and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def plot_regret(tables: Tables, outcomes: Mapping[str, Mapping[str, Outcomes]], path: Path) -> None:
    """A panel a data set: the best accuracy of the table minus that of the best score so far; dots are the answers."""
    figure = Figure(figsize=(3.4 * len(tables) + 0.6, 3.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    colors = candidate_colors(next(iter(outcomes.values())))
    for axes, (dataset, table) in zip(panels, tables.items(), strict=True):
        best = 100.0 * float(table.final.max())
        for name, outcome in outcomes[dataset].items():
            curve = best - np.mean(outcome.curves, axis=0)
            trials = np.arange(1, len(curve) + 1)
            axes.plot(trials, curve, color=colors[name], lw=1.5, label=name)
            axes.plot(trials[-1] * 1.03, best - np.mean(outcome.answers), "o", color=colors[name], ms=4)
        axes.set(title=table.name, xlabel="evaluations", ylabel="regret, percentage points", yscale="log")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4 if len(tables) == 1 else 7,
        frameon=False,
    )
    figure.savefig(path)


if __name__ == "__main__":
    main()
