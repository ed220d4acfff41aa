"""What DDPNAS Theorems 2 and 3 are worth on NAS-Bench-201, whose truth is known, and whether to wait for them.

    python benchmarks/pruning_confidence.py --table nasbench201/ --seeds 100

`calibration`: per round of DDPNAS, how often the theorems' estimates (`pruning_confidence`) say that pruning errs, and
how often it did. The truth of a candidate is its mean score over all architectures that are left.

`when`: a round ends with its T-th draw (`fixed`, DDPNAS Fig. 6), or as soon as Sec. 4.3's probability that the best
candidate is lost is at most a level, with at most 20 draws (`level`). Number of evaluations, seconds of a search, and
test accuracy after 200 epochs of the survivors, means over seeds with standard errors.

`gaussian`: DDPNAS Fig. 3 and Eqs. 11-12. For every choice and candidate, 100 random architectures that hold it:
skewness and excess kurtosis (0 for normal numbers), the share that the Shapiro-Wilk test rejects at 5 %, and the
deviation in points, of scores (early) and of accuracies after full training (converged). `--picture` draws the
converged ones of the first choice. Ends with `RESULT {json}`. Without `--table`, an artificial one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import kurtosis, norm, shapiro, skew
from tabular import artificial_table, most_likely

from searchhub.distribution import FloatArray
from searchhub.evaluators.tabular import (
    NASBENCH201_DATASETS,
    BenchmarkTable,
    TabularEvaluator,
    read_nasbench201,
    table_index,
)
from searchhub.result import SearchResult
from searchhub.search import search
from searchhub.searchers.confidence import pruning_confidence, round_confidence
from searchhub.searchers.ddp import DDPSearcher
from searchhub.space import Codes
from searchhub.trial import TrialResult

CALIBRATED = (3, 6, 10)
FIXED = (1, 2, 3, 4, 6, 8, 10)
NETWORKS = 100
LEVELS = (0.1, 0.03, 0.01, 0.003)
MOST_DRAWS = 20


class ConfidentSearcher(DDPSearcher):
    """DDPNAS whose rounds end once the probability that the best candidate is lost is at most `level`."""

    level = 0.0

    def propose(self) -> Codes:
        if all(alive.sum() == 1 for alive in self.distribution.alive):
            return np.empty((0, len(self.space.choices)), dtype=np.uint8)
        return super().propose()

    def observe(self, results: Sequence[TrialResult]) -> None:
        codes, scores = self._trials([r for r in self.history if r.trial.round == self.round])
        alive = self.distribution.alive
        found = round_confidence(codes, scores, alive, [False] * len(alive), max(int(a.sum()) for a in alive))
        if found is not None and found.best_lost <= self.level:
            self._draws = self.estimation_epochs - 1
        super().observe(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="nasbench201.parquet, or the folder that holds it")
    parser.add_argument("--seeds", type=int, default=20, help="searches of each kind (default: 20)")
    parser.add_argument("--picture", type=Path, help="write the histograms of the first table here (.svg, .png)")
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error("--seeds must be at least 2")
    tables = {"artificial": artificial_table()}
    if args.table is not None:
        tables = {name: read_nasbench201(args.table, name) for name in NASBENCH201_DATASETS}
    result = {
        "seeds": args.seeds,
        "calibration": {t: calibration(next(iter(tables.values())), t, args.seeds) for t in CALIBRATED},
        "when": {name: when(table, args.seeds) for name, table in tables.items()},
        "gaussian": {name: gaussian(table) for name, table in tables.items()},
    }
    if args.picture is not None:
        plot_first_choice(next(iter(tables.values())), args.picture)
    print("RESULT " + json.dumps(result))


def calibration(table: BenchmarkTable, estimation_epochs: int, seeds: int) -> list[dict[str, float]]:
    """Per round, what the theorems say and what happened, means over seeds and choices."""
    rounds: dict[int, list[list[float]]] = {}
    for seed in range(seeds):
        result = run(table, DDPSearcher(table.space, estimation_epochs=estimation_epochs, seed=seed))
        for found in pruning_confidence(result):
            said = [found.candidates, found.sigma, found.zeta, found.error, found.bound, found.best_lost]
            rounds.setdefault(found.round, []).append([*said, *happened(table, result, found.round)])
    names = ("candidates", "sigma", "zeta", "error", "bound", "best_lost", "another_than_the_worst", "the_best")
    rows = [
        {name: round(float(x), 4) for name, x in zip(names, np.mean(own, axis=0), strict=True)}
        for own in rounds.values()
    ]
    print(
        f"T = {estimation_epochs}: candidates, Theorem 2, Theorem 3, best lost; another than the worst, the best lost"
    )
    for row in rows:
        print("  ".join(f"{row[name]:8.3f}" for name in names if name not in ("sigma", "zeta")))
    return rows


def happened(table: BenchmarkTable, result: SearchResult, number: int) -> tuple[float, float]:
    """Shares of the pruned candidates that were not the worst of what was left, and that were the best."""
    before, after = result.trajectory[number], result.trajectory[number + 1]
    left = [np.flatnonzero(alive) for alive in before.alive]
    scores = table.scores.reshape([len(choice.candidates) for choice in table.space.choices])[np.ix_(*left)]
    wrong, best = [], []
    for i, own in enumerate(left):
        gone = before.alive[i] & ~after.alive[i]
        if gone.any():
            truth: FloatArray = scores.mean(axis=tuple(j for j in range(scores.ndim) if j != i))
            pruned = truth[np.searchsorted(own, np.flatnonzero(gone)[0])]
            wrong.append(pruned > truth.min())
            best.append(pruned == truth.max())
    return float(np.mean(wrong)), float(np.mean(best))


def when(table: BenchmarkTable, seeds: int) -> dict[str, dict[str, float]]:
    """Evaluations and accuracies of each way to end a round."""

    def confident(level: float) -> Callable[[int], DDPSearcher]:
        def make(seed: int) -> DDPSearcher:
            searcher = ConfidentSearcher(table.space, estimation_epochs=MOST_DRAWS, seed=seed)
            searcher.level = level
            return searcher

        return make

    ways: dict[str, Callable[[int], DDPSearcher]] = {
        f"fixed {t}": (lambda seed, t=t: DDPSearcher(table.space, estimation_epochs=t, seed=seed)) for t in FIXED
    }
    ways |= {f"level {level}": confident(level) for level in LEVELS}
    rows = {}
    for name, make in ways.items():
        start = time.perf_counter()
        results = [run(table, make(seed)) for seed in range(seeds)]
        seconds = (time.perf_counter() - start) / seeds
        final = [100.0 * float(table.final[table_index(table.space, most_likely(r.distribution))][0]) for r in results]
        rows[name] = {
            "evaluations": round(float(np.mean([len(r.history) for r in results])), 1),
            "accuracy": round(float(np.mean(final)), 2),
            "standard_error": round(float(np.std(final, ddof=1)) / len(final) ** 0.5, 2),
            "seconds": round(seconds, 4),
        }
        print(f"{table.name}, {name}: {rows[name]}")
    return rows


def holding(table: BenchmarkTable, values: FloatArray, choice: int) -> list[FloatArray]:
    """Per candidate of a choice, the values in percent of random architectures that hold it, float64 [NETWORKS]."""
    grid = values.reshape([len(c.candidates) for c in table.space.choices])
    rng = np.random.default_rng(choice)
    return [
        100.0 * rng.choice(grid.take(k, axis=choice).ravel(), NETWORKS, replace=False)
        for k in range(grid.shape[choice])
    ]


def gaussian(table: BenchmarkTable) -> dict[str, dict[str, float]]:
    """How normal the values of architectures with one candidate in common are, medians over choices and candidates."""
    rows = {}
    for name, values in {"early": table.scores, "converged": table.final}.items():
        samples = [x for i in range(len(table.space.choices)) for x in holding(table, values, i)]
        rows[name] = {
            "samples": len(samples),
            "rejected": round(float(np.mean([shapiro(x).pvalue < 0.05 for x in samples])), 3),
            "skewness": round(float(np.median([skew(x) for x in samples])), 2),
            "excess_kurtosis": round(float(np.median([kurtosis(x) for x in samples])), 2),
            "deviation": round(float(np.median([np.std(x, ddof=1) for x in samples])), 2),
        }
        print(f"{table.name}, {name}: {rows[name]}")
    return rows


def plot_first_choice(table: BenchmarkTable, path: Path) -> None:
    """A panel a candidate of the first choice: histogram of converged accuracies, and the normal curve fitted to it."""
    choice, samples = table.space.choices[0], holding(table, table.final, 0)
    figure = Figure(figsize=(2.4 * len(samples), 2.6), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(samples), squeeze=False, sharex=True)[0]
    for axes, candidate, sample in zip(panels, choice.candidates, samples, strict=True):
        axes.hist(sample, bins=25, density=True, color="0.75")
        x = np.linspace(sample.min(), 100.0, 300)
        axes.plot(x, norm.pdf(x, sample.mean(), sample.std(ddof=1)), "k", lw=1)
        axes.set(title=str(candidate), xlabel="accuracy, %", yticks=[])
    figure.savefig(path)


def run(table: BenchmarkTable, searcher: DDPSearcher) -> SearchResult:
    return search(searcher, TabularEvaluator(table.space, table.scores))


if __name__ == "__main__":
    main()
