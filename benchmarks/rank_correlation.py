r"""Kendall's τ between shared weights and training alone, during a DDPNAS search on NAS-Bench-201 (DDPNAS Fig. 7).

    python benchmarks/rank_correlation.py --dataset cifar10/ --table nasbench201/ --output_dir runs/rank --seeds 4

One search a seed on the supernet of the whole benchmark. At its start and after every `--every` trials the same random
architectures are validated on the shared weights, as they are, and compared with the benchmark's table: its test
accuracies after 200 epochs, at full size. What the search itself saw, the score of each trial right after its epoch, is
compared round by round. `answer` is the table's accuracy of the network that the search ends with (argmax θ of the
survivors), beside the mean of the table and the best of it.

The defaults are a reduced size, which RESULT states; the benchmark's own is `--image_size 32 --cells_per_stage 5
--train_samples 25000 --eval_samples 25000`. A killed run goes on with the same command; more seeds are added to it.
Intervals are of 95 %, from 2,000 bootstrap draws of the architectures. Ends with `RESULT {json}`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shared_weights import agreement
from transformers.utils import logging as transformers_logging

import searchhub
from searchhub import DDPSearcher, SupernetEvaluator, TrainingSettings, load_image_task
from searchhub.callbacks import SearchCallback
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
from searchhub.training.loop import predict, reestimate_batch_norm
from searchhub.trial import TrialResult


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

    def on_trial_end(self, result: TrialResult, done: int, total: int, best: float) -> None:
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
    pair = predict(subnet, evaluator.task, "validation", evaluator.settings.eval_batch_size, evaluator.accelerator)
    return evaluator.task.search_score(evaluator.task.score(*pair))


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


def answer_of(result: SearchResult, table: BenchmarkTable) -> tuple[float, float]:
    """The table's accuracy of what the search ends with, in percent, and the share of architectures that are better."""
    answer = searchhub.generate(result, candidates="survivors")
    final = table.final[table_index(table.space, table.space.encode(answer)[None, :])][0]
    return 100.0 * float(final), float((table.final > final).mean())


def report(args: argparse.Namespace, table: BenchmarkTable, runs: list[dict[str, Any]]) -> None:
    index = table_index(table.space, runs[0]["codes"])
    final = table.final[index]
    probes = []
    print(f"{'trials':>8} {'τ (mean)':>9} {'sd':>6}   of seeds")
    for done in sorted({int(done) for run in runs for done in run["scores"]}):
        each = [agreement(np.array(run["scores"][str(done)]), final) for run in runs if str(done) in run["scores"]]
        known = [own["tau"] for own in each if own["tau"] is not None]
        if known:
            sd = float(np.std(known, ddof=1)) if len(known) > 1 else None
            probes.append(
                {"trials": done, "tau": round(float(np.mean(known)), 3), "sd": None if sd is None else round(sd, 3)}
            )
            print(f"{done:8} {np.mean(known):9.3f} {'' if sd is None else f'{sd:6.3f}'}   {known}")
    answers = [answer_of(run["result"], table) for run in runs]
    last = [agreement(np.array(run["scores"][str(len(run["result"].history))]), final) for run in runs]
    result = {
        "seeds": len(runs),
        "architectures": args.architectures,
        "trials": len(runs[0]["result"].history),
        "estimator": args.estimator,
        "size": {name: getattr(args, name) for name in ("image_size", "width", "cells_per_stage", "train_samples")},
        "tau": probes,
        "tau_at_the_end": last,
        "tau_of_12_epochs": agreement(table.scores[index], final),
        "tau_in_rounds": [trials_of(run["result"], table) for run in runs],
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
