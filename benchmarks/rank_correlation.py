r"""Kendall's τ between shared weights and training alone, during a DDPNAS search on NAS-Bench-201 (DDPNAS Fig. 7).

    python benchmarks/rank_correlation.py --dataset cifar10/ --table nasbench201/ --output_dir runs/rank --seeds 4

One search a seed on the supernet of the whole benchmark. At its start and after every `--every` trials the same random
architectures are validated on the shared weights, as they are, and compared with the benchmark's table: its test
accuracies after 200 epochs, at full size. `answer` is the table's accuracy of the network that the search ends with
(argmax θ of the survivors), beside the mean of the table and the best of it.

What the probe tells, and what it does not:

- It never trains its networks: an operation has the weights that the search's trials left it, maybe long ago, and most
  networks hold candidates that the search has pruned, which no trial trains any more. So `alive` restricts τ to the
  networks whose candidates all still take part at that time; they get few.
- What DDPNAS itself uses are the scores of its trials, each right after its own epoch: τ of those over the whole
  search, where weights get better meanwhile, by round, and over pairs of trials of the same draw, which come closest to
  what a round compares.
- Two plain properties of a network beside both its probe and the table: how many convolutions lie on a path from the
  cell's input to its output, and whether a path without parameters (skip, pooling) leads there.

The defaults are a reduced size, which RESULT states; the benchmark's own is `--image_size 32 --cells_per_stage 5
--train_samples 25000 --eval_samples 25000`. A killed run goes on with the same command; more seeds are added to it.
Intervals are of 95 %, from 2,000 bootstrap draws of the architectures. Ends with `RESULT {json}`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau
from shared_weights import agreement
from transformers.utils import logging as transformers_logging

import searchhub
from searchhub import DDPSearcher, SupernetEvaluator, TrainingSettings, load_image_task
from searchhub.callbacks.base import SearchCallback
from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError, SearchhubError
from searchhub.evaluators.tabular import BenchmarkTable, read_nasbench201, table_index
from searchhub.files import write_json
from searchhub.models.nasbench201.supernet_nasbench201 import (
    NasBench201SupernetConfig,
    NasBench201SupernetForImageClassification,
)
from searchhub.result import SearchResult
from searchhub.searchers.credit import Estimator
from searchhub.space import Codes
from searchhub.spaces.nasbench201 import EDGES, OPERATIONS
from searchhub.training.loop import evaluate, reestimate_batch_norm
from searchhub.trial import TrialResult

SIZES = ("image_size", "width", "cells_per_stage", "train_samples", "epochs_per_trial")
"""Arguments that say how far a search is from the benchmark's own size."""


class Probe(SearchCallback):
    """Validates the same architectures on the shared weights every so many trials, and keeps the scores.

    Args:
        evaluator: Holds the shared weights; they stay as they are.
        codes: What to validate, uint8 [n, choices].
        every: How many trials lie between.
        file: Where the scores are kept: by the number of trials done.
    """

    def __init__(self, evaluator: SupernetEvaluator, codes: Codes, every: int, file: Path) -> None:
        self.evaluator = evaluator
        self.codes = codes
        self.every = every
        self.file = file
        self.scores: dict[str, list[float]] = json.loads(file.read_text()) if file.exists() else {}
        self.seconds = 0.0

    def on_search_start(self, total: int, done: int, best: float | None) -> None:
        self._probe(done, total)

    def on_trial_end(self, result: TrialResult, done: int, total: int, best: float | None) -> None:
        print(f"trial {done} of {total}: {result.score:.4f} in {result.seconds:.1f} s", flush=True)
        self._probe(done, total)

    def _probe(self, done: int, total: int) -> None:
        if str(done) in self.scores or (done % self.every and done != total):
            return
        started = time.perf_counter()
        space = self.evaluator.supernet.search_space
        self.scores[str(done)] = [shared_score(self.evaluator, space.decode(row)) for row in self.codes]
        write_json(self.file, self.scores)
        print(f"{len(self.codes)} architectures after {done} trials: {time.perf_counter() - started:.0f} s", flush=True)


def shared_score(evaluator: SupernetEvaluator, architecture: searchhub.Architecture) -> float:
    """The validation score of an architecture on the supernet's weights, as the search scores trials."""
    subnet = evaluator.supernet.subnet(architecture)
    of = evaluator.task, "train", evaluator.settings, evaluator.accelerator
    reestimate_batch_norm(subnet, *of, batches=evaluator.batch_norm_batches)
    size = evaluator.settings.eval_batch_size
    measured = evaluate(subnet, evaluator.task, "validation", size, evaluator.accelerator)
    return evaluator.task.search_score(measured.metrics)


def main(argv: list[str]) -> None:
    """Search, probe, compare."""
    args = arguments(argv)
    transformers_logging.disable_progress_bar()
    table = read_nasbench201(args.table, "cifar10", groups=args.groups)
    runs = [one_seed(args, table, seed) for seed in range(args.seeds)]
    report(args, table, runs)


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="CIFAR-10: a folder, or a Hub id")
    parser.add_argument("--table", type=Path, required=True, help="nasbench201.parquet, or the folder that holds it")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1, help="searches: seeds 0, 1, …")
    parser.add_argument("--architectures", type=int, default=100, help="random ones that are probed")
    parser.add_argument("--every", type=int, default=12, help="trials between two probes")
    parser.add_argument("--estimation_epochs", type=int, default=3, help="T")
    parser.add_argument("--estimator", choices=["mean", "regression", "pairs"], default="mean")
    parser.add_argument("--groups", action="store_true", help="keep one operation with parameters and one without")
    parser.add_argument("--image_size", type=int, default=16)
    parser.add_argument("--width", type=int, default=16, help="channels of the first stage")
    parser.add_argument("--cells_per_stage", type=int, default=2)
    parser.add_argument("--train_samples", type=int, default=10_000)
    parser.add_argument("--eval_samples", type=int, default=2_000)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--learning_rate", type=float, default=0.05)
    parser.add_argument("--epochs_per_trial", type=int, default=1)
    parser.add_argument("--paths", choices=["fresh", "turns", "together", "trial"], default="trial")
    parser.add_argument("--score", choices=["likelihood", "metric"], default="metric")
    parser.add_argument("--mixed_precision", default="no")
    args = parser.parse_args(argv)
    for name in ("seeds", "architectures", "every", "estimation_epochs", "epochs_per_trial"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if args.architectures < 2:
        parser.error("--architectures must be at least 2")
    return args


def one_seed(args: argparse.Namespace, table: BenchmarkTable, seed: int) -> dict[str, Any]:
    """A search with its probes; everything that it left is read where it is finished."""
    folder = args.output_dir / f"seed{seed}"
    accelerator = searchhub.make_accelerator(mixed_precision=args.mixed_precision, seed=seed)
    if accelerator.num_processes > 1:
        raise InvalidInputError("This benchmark must run as one process. Start it with `python`.")
    task = load_image_task(
        args.dataset,
        image_size=args.image_size,
        max_train_samples=args.train_samples,
        max_eval_samples=args.eval_samples,
        validation_size=0.5,
        seed=seed,
    )
    torch.manual_seed(seed)
    config = NasBench201SupernetConfig(
        num_labels=task.num_labels,
        image_size=args.image_size,
        width=args.width,
        cells_per_stage=args.cells_per_stage,
        groups=args.groups,
    )
    supernet = NasBench201SupernetForImageClassification(config)
    budget = searchhub.Budget(epochs=args.epochs_per_trial)
    estimator: Estimator = args.estimator
    searcher = DDPSearcher(
        supernet.search_space, estimation_epochs=args.estimation_epochs, estimator=estimator, seed=seed, budget=budget
    )
    settings = TrainingSettings(batch_size=args.batch_size, learning_rate=args.learning_rate)
    evaluator = SupernetEvaluator(
        supernet,
        task,
        settings,
        accelerator,
        num_trials=searcher.num_trials,
        epochs_per_trial=args.epochs_per_trial,
        seed=seed,
        paths=args.paths,
        score=args.score,
    )
    # The same for every seed, so that what differs between seeds is the search.
    numbers = np.random.default_rng(2020).permutation(table.space.size)[: args.architectures]
    sizes = [len(choice.candidates) for choice in table.space.choices]
    codes = np.stack(np.unravel_index(numbers, sizes), axis=1).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    probe = Probe(evaluator, codes, args.every, folder / f"probe{args.architectures}.json")
    result = searchhub.search(searcher, evaluator, run_dir=folder / "run", callbacks=[probe])
    return {"result": result, "scores": probe.scores, "codes": codes}


# -- figures ----------------------------------------------------------------------------------------------------------


def tau(one: FloatArray, other: FloatArray) -> float | None:
    """Kendall's τ_b of two columns [n]; None where one is constant, or n < 2."""
    if len(np.unique(one)) < 2 or len(np.unique(other)) < 2:
        return None
    return round(float(kendalltau(one, other).statistic), 3)


def all_alive(result: SearchResult, codes: Codes, done: int) -> NDArray[np.bool_]:
    """Whether all candidates of architectures took part in the search after so many trials, [n]."""
    ends = np.cumsum(np.bincount([r.trial.round for r in result.history]))
    alive = result.trajectory[int((ends <= done).sum())].alive
    return np.all([own[column] for own, column in zip(alive, codes.T, strict=True)], axis=0)


def within_draws(result: SearchResult, table: BenchmarkTable) -> dict[str, Any]:
    """How many pairs of trials of the same draw the table orders as their scores do (concordant), and how many not."""
    concordant = discordant = 0
    for number, state in enumerate(result.trajectory[:-1]):
        own = [r for r in result.history if r.trial.round == number]
        per_draw = max(int(alive.sum()) for alive in state.alive)
        for start in range(0, len(own), per_draw):
            draw = own[start : start + per_draw]
            codes = np.stack([table.space.encode(r.trial.architecture) for r in draw])
            final = table.final[table_index(table.space, codes)]
            for (a, x), (b, y) in itertools.combinations(zip((r.score for r in draw), final, strict=True), 2):
                concordant += int((a - b) * (x - y) > 0)
                discordant += int((a - b) * (x - y) < 0)
    pairs = concordant + discordant
    share = round((concordant - discordant) / pairs, 3) if pairs else None
    return {"concordant": concordant, "discordant": discordant, "tau": share}


def properties(codes: Codes) -> dict[str, FloatArray]:
    """Of architectures of NAS-Bench-201 by their codes [n, 6], float64 [n] each.

    "live_convolutions": on a path from the cell's input to its output; "free_path": 1 where a path of operations
    without parameters leads there, else 0.
    """
    found = []
    for row in codes:
        operations = [OPERATIONS[code] for code in row]
        edges = [(*edge, operation) for edge, operation in zip(EDGES, operations, strict=True) if operation != "none"]
        reached, free, leads_on = {0}, {0}, {3}
        for source, target, operation in edges:
            reached |= {target} if source in reached else set()
            free |= {target} if source in free and not operation.startswith("nor_conv") else set()
        for source, target, _ in reversed(edges):
            leads_on |= {source} if target in leads_on else set()
        live = [o for s, t, o in edges if s in reached and t in leads_on and o.startswith("nor_conv")]
        found.append((len(live), 3 in free))
    return dict(zip(("live_convolutions", "free_path"), np.array(found, dtype=np.float64).T, strict=True))


def trials_of(result: SearchResult, table: BenchmarkTable) -> list[dict[str, Any]]:
    """Per round, τ between the scores of its trials and the table."""
    rows = []
    for number in sorted({r.trial.round for r in result.history}):
        own = [r for r in result.history if r.trial.round == number]
        codes = np.stack([table.space.encode(r.trial.architecture) for r in own])
        scores = np.array([r.score for r in own])
        rows.append(
            {"round": number, "trials": len(own), **agreement(scores, table.final[table_index(table.space, codes)])}
        )
    return rows


def whole_search(result: SearchResult, table: BenchmarkTable) -> dict[str, float | None]:
    """τ between the scores of all trials and the table."""
    codes = np.stack([table.space.encode(r.trial.architecture) for r in result.history])
    scores = np.array([r.score for r in result.history])
    return agreement(scores, table.final[table_index(table.space, codes)])


def answer_of(result: SearchResult, table: BenchmarkTable) -> tuple[float, float]:
    """The table's accuracy of what the search ends with, in percent, and the share of architectures that are better."""
    answer = searchhub.generate(result, candidates="survivors")
    final = table.final[table_index(table.space, table.space.encode(answer)[None, :])][0]
    return 100.0 * float(final), float((table.final > final).mean())


def report_probes(runs: list[dict[str, Any]], final: FloatArray) -> list[dict[str, Any]]:
    """Print and return a row a probe, of all seeds."""
    print("Probed architectures on shared weights, which train none of them for it, against the table:")
    print(f"{'trials':>8} {'τ (mean)':>9} {'sd':>6} {'τ alive':>8} {'n alive':>8}   τ of seeds")
    rows = []
    for done in sorted({int(done) for run in runs for done in run["scores"]}):
        probed = [run for run in runs if str(done) in run["scores"]]
        scores = [np.array(run["scores"][str(done)]) for run in probed]
        alive = [all_alive(run["result"], run["codes"], done) for run in probed]
        known = [value for own in scores if (value := tau(own, final)) is not None]
        restricted = [tau(own[kept], final[kept]) for own, kept in zip(scores, alive, strict=True)]
        restricted_known = [value for value in restricted if value is not None]
        row = {
            "trials": done,
            "tau": round(float(np.mean(known)), 3) if known else None,
            "sd": round(float(np.std(known, ddof=1)), 3) if len(known) > 1 else None,
            "tau_alive": round(float(np.mean(restricted_known)), 3) if restricted_known else None,
            "n_alive": round(float(np.mean([own.sum() for own in alive])), 1),
        }
        rows.append(row)
        shown = ["-" if row[name] is None else row[name] for name in ("tau", "sd", "tau_alive", "n_alive")]
        print(f"{done:8} {shown[0]:>9} {shown[1]:>6} {shown[2]:>8} {shown[3]:>8}   {known}")
    return rows


def report_trials(runs: list[dict[str, Any]], table: BenchmarkTable) -> dict[str, Any]:
    """Print and return τ of what the search itself saw, of each seed."""
    rounds = [trials_of(run["result"], table) for run in runs]
    whole = [whole_search(run["result"], table) for run in runs]
    draws = [within_draws(run["result"], table) for run in runs]
    print("Scores of the trials, each right after its own epoch, as the search uses them, against the table:")
    print(f"{'':>24}   τ of seeds")
    for rows in zip(*rounds, strict=True):
        name = f"round {rows[0]['round']}, {rows[0]['trials']} trials"
        print(f"{name:>24}   {[row['tau'] for row in rows]}")
    print(f"{'the whole search':>24}   {[row['tau'] for row in whole]}")
    pairs = [f"{row['tau']} ({row['concordant']} : {row['discordant']})" for row in draws]
    print(f"{'pairs of the same draw':>24}   {', '.join(pairs)}")
    return {"tau_of_trials": whole, "tau_within_draws": draws, "tau_in_rounds": rounds}


def report_properties(runs: list[dict[str, Any]], final: FloatArray) -> dict[str, Any]:
    """Print and return τ of plain properties of the probed architectures with the table, and with the last probe."""
    found = properties(runs[0]["codes"])
    of_table = {name: tau(final, own) for name, own in found.items()}
    last = [np.array(run["scores"][str(len(run["result"].history))]) for run in runs]
    of_probe = [{name: tau(scores, own) for name, own in found.items()} for scores in last]
    print("Plain properties of the probed architectures against the table, and against the last probe (τ of seeds):")
    for name, value in of_table.items():
        print(f"{name:>24} {value!s:>7}   {[own[name] for own in of_probe]}")
    return {"tau_of_properties": {"table": of_table, "probe": of_probe}}


def report(args: argparse.Namespace, table: BenchmarkTable, runs: list[dict[str, Any]]) -> None:
    index = table_index(table.space, runs[0]["codes"])
    final = table.final[index]
    probes = report_probes(runs, final)
    more = {**report_trials(runs, table), **report_properties(runs, final)}
    answers = [answer_of(run["result"], table) for run in runs]
    last = [agreement(np.array(run["scores"][str(len(run["result"].history))]), final) for run in runs]
    result = {
        "seeds": len(runs),
        "architectures": args.architectures,
        "trials": len(runs[0]["result"].history),
        "estimator": args.estimator,
        "size": {name: getattr(args, name) for name in SIZES},
        "tau": probes,
        "tau_at_the_end": last,
        "tau_of_12_epochs": agreement(table.scores[index], final),
        **more,
        "answer": [round(accuracy, 2) for accuracy, _ in answers],
        "better_than_answer": [round(share, 4) for _, share in answers],
        "table_mean": round(100.0 * float(table.final.mean()), 2),
        "table_best": round(100.0 * float(table.final.max()), 2),
        "seconds_per_trial": round(float(np.mean([r.seconds for run in runs for r in run["result"].history])), 2),
    }
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
