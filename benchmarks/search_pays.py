r"""Does a search pay? Networks that searches on shared weights find, by what NAS-Bench-Macro knows of them.

    python benchmarks/search_pays.py --dataset cifar10/ --table nas-bench-macro/ --seeds 3 --folder runs/pays

Searches are real, at a reduced size, which RESULT states: the supernet of the whole benchmark at a quarter of its width
on 16 x 16 pictures. The truth is the table's, at full size: an architecture's mean test accuracy after 50 epochs. All
figures are over the 3,969 networks that are distinct by meaning; where several rows of the table, or codes, mean one
network, it has their mean. Limits are the deciles of their multiply-adds, and ν's window is (0.95 ν, ν].

Each seed has these parts (`--parts`), all with as many passes over the training data:

- `search`: shared weights trained as `--paths` says, then `--scored` architectures scored by forward passes alone on
  the final weights, and the network of largest predicted quality generated for each limit. On the same weights, beside
  it: a fixed random sample for τ, the same for every seed; random search, which is the best of the same scores within a
  limit; and evolution, which spends as many scores on all limits together, an equal part of them within each.
- `paper`: DDPNAS as written: a path a trial, accuracy, mean, T = 3, γ = .8, pruning, a cosine to 0, E[α] of all
  candidates. Its 15 trials have equal shares of the passes.
- `alone`: the passes spread over 9, 18 and 36 random networks trained alone, in whole passes each. They score
  exp(-validation loss); the answer is the best of them within the limit, or the network of largest predicted quality,
  with effects fitted to them as to the search's scores.

A network's *gain* is its accuracy minus its window's mean, averaged over the limits. Its *share* of the possible gain
is Σ (accuracy - mean) / Σ (best - mean), sums over the limits, best and mean those of the window. A method without a
network within a limit gains nothing there, as if it drew one at random. `effects of the table` shows what effects that
add up can reach at all: they are fitted to the accuracies of the whole table. Intervals, of 95 %, are Student's over
seeds, paired by seed where methods are compared; the column `lead` says how far the search is ahead. `near` is the
agreement of two orders over all pairs of networks whose multiply-adds differ by at most 5 %: concordant minus
discordant pairs, by their number.

Without `--table` (any other data set) there is no truth: it prints how far seeds agree with each other. `--alone N`
trains the first N networks of the sample alone, for `--alone_epochs` each, once for all seeds, and compares with them.

Every finished piece is a JSON file in `--folder`, named after a digest of the settings that it depends on, so that a
killed run goes on, and several settings share a folder. It runs on one thread, and `seconds` are CPU seconds. Ends with
`RESULT {json}`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rank_correlation import tau
from scipy.stats import t as student
from search_pays_pieces import DECILES, PARTS, SEARCH, SIZE, TRAINING, Networks, Seed
from transformers.utils import logging as transformers_logging

from searchhub import (
    Limit,
    generate,
)
from searchhub.distribution import FloatArray
from searchhub.effects import PredictedQuality, normal_scores
from searchhub.errors import SearchhubError
from searchhub.result import SearchResult
from searchhub.trial import SCORING

NEAR = 0.05
"""By which share the multiply-adds of two networks differ that count as near."""


def main(argv: list[str]) -> None:
    """Measure what is missing, then compare."""
    args = arguments(argv)
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(1)
    networks = Networks(args.table)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    runs = [Seed(args, networks, seed).measured() for seed in seeds]
    known = Seed(args, networks, 0).sample_alone()
    report(args, networks, runs, known)


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="CIFAR-10, or another: a folder, or a Hub id")
    parser.add_argument("--table", type=Path, help="nas-bench-macro_cifar10.json, or the folder that holds it")
    parser.add_argument("--folder", type=Path, default=Path("runs/search_pays"), help="of the finished pieces")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, help="file of a picture of the accuracies within each limit")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="default: all; without a table: search")
    parser.add_argument("--passes", type=float, default=36, help="over the training data, of every part")
    parser.add_argument("--searcher", choices=["ddp", "ddp-noprune"], default="ddp")
    parser.add_argument("--estimation_epochs", type=int, default=3, help="T of the search")
    parser.add_argument("--estimator", choices=["mean", "regression", "pairs"], default="mean")
    parser.add_argument("--paths", choices=["fresh", "turns", "together", "trial"], default="fresh")
    parser.add_argument("--score", choices=["likelihood", "metric"], default="likelihood")
    parser.add_argument("--scored", type=int, default=300, help="S: architectures scored on the final weights")
    parser.add_argument("--first_scored", type=int, help="how many of them answers are from; default: all")
    parser.add_argument("--rivals", action=argparse.BooleanOptionalAction, default=True, help="evolution, too")
    parser.add_argument("--sample", type=int, default=150, help="random networks on which τ is measured")
    parser.add_argument("--alone", type=int, default=0, help="how many of the sample are trained alone")
    parser.add_argument("--alone_epochs", type=int, default=20, help="passes of each of them")
    parser.add_argument("--image_size", type=int, default=16)
    parser.add_argument("--width_divisor", type=int, default=4, help="by what the benchmark's channels are divided")
    parser.add_argument("--train_samples", type=int, default=5000)
    parser.add_argument("--eval_samples", type=int, default=1000)
    parser.add_argument("--batch_norm_batches", type=int, default=4)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--learning_rate", type=float, default=0.05)
    parser.add_argument("--min_learning_rate", type=float, default=0.0, help="of the search; 0 in all else")
    parser.add_argument("--weight_decay", type=float, default=3e-4)
    parser.add_argument("--max_grad_norm", type=float)
    args = parser.parse_args(argv)
    for name in ("seeds", "estimation_epochs", "scored", "alone_epochs", "width_divisor"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if args.sample < max(2, args.alone):
        parser.error("--sample must be at least 2 and no less than --alone")
    if not args.table and args.parts not in (None, ["search"]):
        parser.error("--parts other than `search` need a --table")
    args.parts = args.parts or (PARTS if args.table else PARTS[:1])
    return args


# -- figures ----------------------------------------------------------------------------------------------------------


def near_agreement(one: FloatArray, other: FloatArray, costs: FloatArray) -> float | None:
    """Concordant minus discordant pairs of networks of nearly the same cost, by their number; None without a pair."""
    order = np.argsort(costs, kind="stable")
    one, other, costs = one[order], other[order], costs[order]
    starts = np.searchsorted(costs, (1 - NEAR) * costs)
    pairs = int((np.arange(len(costs)) - starts).sum())
    if not pairs:
        return None
    difference = sum(
        float((np.sign(one[start:i] - one[i]) * np.sign(other[start:i] - other[i])).sum())
        for i, start in enumerate(starts)
    )
    return round(difference / pairs, 3)


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean of values [seeds] and Student's interval of 95 %; without ends for one seed."""
    mean, n = float(np.mean(values)), len(values)
    if n == 1:
        return {"mean": round(mean, 3), "low": None, "high": None}
    half = float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return {"mean": round(mean, 3), "low": round(mean - half, 3), "high": round(mean + half, 3)}


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the values that there are."""
    there = [value for value in values if value is not None]
    return round(float(np.mean(there)), 3) if there else None


class Windows:
    """What there is within each limit.

    Args:
        networks: With accuracies.
    """

    def __init__(self, networks: Networks) -> None:
        assert networks.accuracies is not None
        self.networks, self.accuracies = networks, networks.accuracies
        costs = networks.costs
        within = [self.accuracies[(costs > 0.95 * limit) & (costs <= limit)] for limit in networks.limits]
        self.sizes = [len(own) for own in within]
        self.mean = np.array([own.mean() for own in within])
        self.best = np.array([own.max() for own in within])
        largest = [costs == costs[costs <= limit].max() for limit in networks.limits]
        self.largest = np.array([self.accuracies[own].mean() for own in largest])
        sizes = [len(choice.candidates) for choice in networks.space.choices]
        columns = [np.eye(size)[codes] for size, codes in zip(sizes, networks.codes.T, strict=True)]
        one_hot, own = np.concatenate(columns, axis=1), self.accuracies[networks.index(networks.codes)]
        values = one_hot @ np.linalg.lstsq(one_hot, normal_scores(own), rcond=None)[0]
        self.additive = self.best_scored(networks.codes, values)

    def generated(
        self, result: SearchResult, objective: str, *, low: float = 0.0, use_budget: bool = False
    ) -> FloatArray:
        """Accuracies of what a result generates within (low · ν, ν] of each limit ν, the optima by default."""
        rows = []
        for limit in self.networks.limits:
            least = math.nextafter(low * limit, math.inf) if low else None
            within = Limit(self.networks.macs, min=least, max=float(limit))
            found = generate(result, within, objective=objective, use_budget=use_budget)
            rows.append(self.networks.space.encode(found))
        return np.asarray(self.accuracies[self.networks.index(np.stack(rows))])

    def best_scored(self, codes: Any, scores: Any) -> FloatArray:
        """Accuracies of the networks [n, choices] with the best of scores [n] within each limit; NaN where none is."""
        of = self.networks.index(np.array(codes, dtype=np.uint8))
        found = []
        for limit in self.networks.limits:
            fits = np.where(self.networks.costs[of] <= limit, scores, -np.inf)
            found.append(self.accuracies[of[np.argmax(fits)]] if np.isfinite(fits).any() else np.nan)
        return np.array(found)

    def gain(self, accuracies: FloatArray) -> float:
        """Accuracy over the window's mean, in points, in the mean of the limits; nothing where there is no network."""
        return float(np.where(np.isnan(accuracies), 0.0, accuracies - self.mean).mean())

    def share(self, gain: float) -> float:
        """A gain, by that of the best in each window."""
        return gain / float((self.best - self.mean).mean())


def searched(run: Mapping[str, Any], part: str) -> SearchResult:
    return SearchResult.from_dict(run[part]["result"])


def fitted_alone(networks: Networks, pieces: Sequence[Mapping[str, Any]]) -> SearchResult:
    """Effects of networks trained alone, in the form of a search's result."""
    codes = np.array([piece["codes"] for piece in pieces], dtype=np.uint8)
    scores = np.exp(-np.array([piece["loss"] for piece in pieces]))
    return SearchResult(networks.space, (), prediction=PredictedQuality.of_scores(networks.space, codes, scores))


def answers(windows: Windows, run: Mapping[str, Any], first_scored: int | None = None) -> dict[str, FloatArray]:
    """Accuracies [limits] of what each method finds with one seed; None: from all scores of the search."""
    found = {}
    if "search" in run:
        result = searched(run, "search")
        scored = [r for r in result.history if r.trial.round == SCORING][:first_scored]
        if first_scored is not None:
            result = replace(result, prediction=PredictedQuality.fit(result.space, scored))
        codes = [result.space.encode(r.trial.architecture).tolist() for r in scored]
        found["search"] = windows.generated(result, "predicted")
        found["search, near-ties"] = windows.generated(result, "predicted", use_budget=True)
        found["search, in the window"] = windows.generated(result, "predicted", low=0.95)
        found["E[α] of the search"] = windows.generated(result, "expectation")
        found["random search"] = windows.best_scored(codes, [r.score for r in scored])
        if "evolution" in run["search"]:
            evolved = run["search"]["evolution"]
            found["evolution"] = windows.best_scored(evolved["codes"], evolved["scores"])
    if "paper" in run:
        found["as in the paper"] = windows.generated(searched(run, "paper"), "expectation")
    for n, pieces in run.get("alone", {}).items():
        found[f"{n} alone, best"] = windows.best_scored(
            [piece["codes"] for piece in pieces], [-piece["loss"] for piece in pieces]
        )
        found[f"{n} alone, effects"] = windows.generated(fitted_alone(windows.networks, pieces), "predicted")
    return found


def report_answers(
    windows: Windows, runs: Sequence[Mapping[str, Any]], first_scored: int | None = None
) -> dict[str, Any]:
    """Print and return the accuracies of what is found, and how far the search is ahead of the rest."""
    of_seeds = [answers(windows, run, first_scored) for run in runs]
    # What depends on no seed stands in the same table.
    fixed = {
        "window's mean": windows.mean,
        "window's best": windows.best,
        "effects of the table": windows.additive,
        "largest that fits": windows.largest,
    }
    of_seeds = [{**fixed, **found} for found in of_seeds]
    print(
        f"{'accuracy, mean of seeds':>28}"
        + "".join(f"{q:>7.1f}" for q in DECILES)
        + "   gain  share  least    lead [95 %]"
    )
    print(f"{'million multiply-adds':>28}" + "".join(f"{limit / 1e6:7.1f}" for limit in windows.networks.limits))
    print(f"{'networks in the window':>28}" + "".join(f"{n:7d}" for n in windows.sizes))
    methods: dict[str, Any] = {}
    for name in of_seeds[0]:
        rows = np.array([found[name] for found in of_seeds])
        gains = [windows.gain(row) for row in rows]
        shares = [windows.share(gain) for gain in gains]
        own = {"gain": interval(gains), "share": interval(shares), "smallest_share": round(min(shares), 3)}
        shown = ""
        if "search" in of_seeds[0] and name != "search":
            ahead = [windows.gain(found["search"]) - gain for found, gain in zip(of_seeds, gains, strict=True)]
            own["lead_of_search"] = interval(ahead)
            shown = "{mean:8.2f}".format(**own["lead_of_search"])
            if len(runs) > 1:
                shown += " [{low:.2f}, {high:.2f}]".format(**own["lead_of_search"])
        there = ~np.isnan(rows)
        means = np.where(there, rows, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
        own["accuracies"] = [round(float(m), 2) if t.any() else None for m, t in zip(means, there.T, strict=True)]
        methods[name] = own
        cells = "".join(f"{'–' if m is None else format(m, '.2f'):>7}" for m in own["accuracies"])
        print(f"{name:>28}{cells}{own['gain']['mean']:7.2f}{own['share']['mean']:7.2f}{min(shares):7.2f}{shown}")
    return methods


DRAWN = {
    "window's best": ("the best there is", {"color": "#8a9099", "ls": (0, (4, 2)), "lw": 1.2}),
    "search": ("searchhub, one search", {"color": "#4477aa", "lw": 2.4, "marker": "o", "ms": 5}),
    "as in the paper": ("DDPNAS as written", {"color": "#cc6677", "lw": 1.4, "marker": "s", "ms": 4}),
    "largest that fits": ("the largest that fits", {"color": "#ddaa33", "lw": 1.4, "marker": "^", "ms": 4}),
    "window's mean": ("a random network", {"color": "#8a9099", "lw": 1.4}),
}
"""Methods in the picture, with their labels and lines."""


def draw(networks: Networks, methods: Mapping[str, Any], path: Path) -> None:
    """Draws the accuracies of what methods find within each limit."""
    figure = Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    for name, (label, line) in DRAWN.items():
        if name in methods:
            axes.plot(networks.limits / 1e6, methods[name]["accuracies"], label=label, **line)
    axes.set_xlabel("limit on multiply-adds, million")
    axes.set_ylabel("accuracy in the table, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path)


def orders(networks: Networks, run: Mapping[str, Any]) -> dict[str, tuple[NDArray[np.intp], FloatArray]]:
    """What orders networks with one seed: which networks, and a value for each, larger is better."""
    everything = np.arange(len(networks.costs))
    found: dict[str, tuple[NDArray[np.intp], FloatArray]] = {}
    for part in ("search", "paper"):
        if part not in run:
            continue
        sample = run[part]["sample"]
        of = networks.index(np.array(sample["codes"], dtype=np.uint8))
        found[f"{part}: loss"] = of, -np.array(sample["losses"])
        found[f"{part}: accuracy"] = of, np.array(sample["accuracies"])
        result = searched(run, part)
        assert result.distribution is not None
        if result.prediction is not None:
            found[f"{part}: predictions"] = everything, networks.predictions(result.prediction)
        found[f"{part}: E[α]"] = everything, networks.mean(result.distribution.expectation(networks.codes))
        if part == "search":
            found["multiply-adds of the sample"] = of, networks.costs[of]
    for n, pieces in run.get("alone", {}).items():
        of = networks.index(np.array([piece["codes"] for piece in pieces], dtype=np.uint8))
        found[f"{n} alone: loss"] = of, -np.array([piece["loss"] for piece in pieces])
        prediction = fitted_alone(networks, pieces).prediction
        assert prediction is not None
        found[f"{n} alone: predictions"] = everything, networks.predictions(prediction)
    found["multiply-adds"] = everything, networks.costs
    return found


def agreements(networks: Networks, truth: FloatArray, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how far each order agrees with a truth of all networks [distinct], NaN where it is not known."""
    per_seed = [orders(networks, run) for run in runs]
    found: dict[str, Any] = {}
    for name in per_seed[0]:
        taus, nears, sizes = [], [], []
        for order in per_seed:
            of, values = order[name]
            there = ~np.isnan(truth[of])
            of, values = of[there], values[there]
            taus.append(tau(values, truth[of]))
            nears.append(near_agreement(values, truth[of], networks.costs[of]))
            sizes.append(len(of))
        found[name] = {
            "networks": sizes[0],
            "tau": mean_of(taus),
            "near": mean_of(nears),
            "tau_of_seeds": taus,
            "near_of_seeds": nears,
        }
    return found


def between_seeds(networks: Networks, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how far each order agrees between two seeds, over the pairs of seeds, where networks are the same."""
    per_seed = [orders(networks, run) for run in runs]
    found: dict[str, Any] = {}
    for name in per_seed[0]:
        pairs = [(a[name], b[name]) for a, b in itertools.combinations(per_seed, 2)]
        if name.startswith("multiply-adds") or not all(np.array_equal(a[0], b[0]) for a, b in pairs):
            continue
        taus = [tau(a[1], b[1]) for a, b in pairs]
        nears = [near_agreement(a[1], b[1], networks.costs[a[0]]) for a, b in pairs]
        found[name] = {"networks": len(per_seed[0][name][0]), "tau": mean_of(taus), "near": mean_of(nears)}
    return found


def print_agreements(title: str, found: Mapping[str, Any]) -> None:
    print(f"{title:>48} networks    tau   near   tau of seeds")
    for name, own in found.items():
        cells = "".join(f"{'–' if own[key] is None else format(own[key], '.3f'):>7}" for key in ("tau", "near"))
        seeds = ", ".join("–" if value is None else f"{value:.3f}" for value in own.get("tau_of_seeds", ()))
        print(f"{name:>48} {own['networks']:8,}{cells}   {seeds}")


def seconds(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """CPU seconds of each part, in the mean of seeds, and of a whole seed."""
    found = {}
    for part in ("search", "paper"):
        if part in runs[0]:
            laps = [run[part]["seconds"] for run in runs]
            found |= {f"{part}: {name}": float(np.mean([lap[name] for lap in laps])) for name in laps[0]}
    for n in runs[0].get("alone", {}):
        spent = [sum(piece["seconds"]["training"] for piece in run["alone"][n]) for run in runs]
        found[f"{n} alone"] = float(np.mean(spent))
    return {name: round(value, 1) for name, value in {**found, "a seed": sum(found.values())}.items()}


def report(
    args: argparse.Namespace,
    networks: Networks,
    runs: Sequence[Mapping[str, Any]],
    known: Sequence[Mapping[str, Any]],
) -> None:
    """Print all tables, and RESULT."""
    result: dict[str, Any] = {}
    if networks.accuracies is not None:
        with_table = agreements(networks, networks.accuracies, runs)
        print_agreements("agreement with the table", with_table)
        methods = report_answers(Windows(networks), runs, args.first_scored)
        if args.picture:
            draw(networks, methods, args.picture)
        if "search" in runs[0]:
            of_search = with_table["search: loss" if args.score == "likelihood" else "search: accuracy"]
            result = {
                "tau": of_search["tau"],
                "near": of_search["near"],
                "tau_predictions": with_table["search: predictions"]["tau"],
                "gain_over_window_mean": methods["search"]["gain"]["mean"],
                "share_of_possible_gain": methods["search"]["share"]["mean"],
            }
        result |= {"agreement": with_table, "methods": methods}
    if len(runs) > 1:
        result["between_seeds"] = between_seeds(networks, runs)
        print_agreements("agreement between seeds", result["between_seeds"])
    if known:
        truth = np.full(len(networks.costs), np.nan)
        truth[networks.index(np.array([piece["codes"] for piece in known], dtype=np.uint8))] = [
            -piece["loss"] for piece in known
        ]
        result["with_alone"] = agreements(networks, truth, runs)
        print_agreements(f"agreement with {len(known)} trained alone, by loss", result["with_alone"])
    spent = seconds(runs)
    print("CPU seconds: " + ", ".join(f"{name} {value:,}" for name, value in spent.items()))
    result |= {"seeds": [args.first_seed, args.first_seed + args.seeds - 1], "seconds": spent}
    names = (*SIZE[1:], *TRAINING, *SEARCH)
    settings = {"dataset": Path(args.dataset).name, **{name: getattr(args, name) for name in names}}
    print("RESULT " + json.dumps({**result, "settings": settings}))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
