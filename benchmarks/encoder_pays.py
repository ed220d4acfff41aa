r"""Does a search pay where an encoder shrinks to a tenth? Networks trained alike, and compared item by item.

    python benchmarks/encoder_pays.py --config recipes/ddp_bert_small.yaml --model_name_or_path MiniLM --dataset qnli/ \
        --text_column question --pair_column sentence --max_length 96 --shares 0.15 0.07 --output_dir runs/small

The original is fine-tuned once, unless it comes with the labels. Then each seed has, for each share of the encoder's
parameters:

- `this`: shared weights are trained by the original's outputs, `--scored` architectures are judged by them, effects are
  fitted, `--refined` more are judged near the optimum, and the best is generated;
- `library`: single changes of the original, judged without any training, and the optimum of their sum;
- `paper`: DDPNAS as written, on labels, with equal steps of shared weights (T = 3, γ = .8, accuracy, E[α]);
- `random`: `--random_networks` architectures drawn evenly over all of that size; `at_depth`: over those of the depth
  that `this` chose;
- `uniform_depth`: evenly spread whole layers; `uniform_width`: all layers, cut alike; `largest`: the most parameters;
- `magnitude`: torch-pruning to that size; `fisher`: heads and neurons of all layers by their Fisher information for
  each parameter (Kwon et al. 2022).

All networks are trained alike: same data, teacher, passes and starting weights (`--start`: those after this seed's
search, or the original's), and so is the original, trained on (`--alike false` leaves that out). Shares are of the
better of the two originals. `magnitude` and `fisher` keep other heads and neurons than the search's order, so that
starting from its weights suits them less; `--start original` is the fair start for them. Intervals, of 95 %, are a
bootstrap over seeds, drawn networks and test items, paired: the same items of two networks. τ says how scores order the
trained networks, over all of a size and within the depth of `this`. `--quick` is one seed of few rows in at most 40
minutes of one core.

Every finished piece is a file in `--output_dir`, so that a killed run goes on. Ends with `RESULT {json}`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from encoder_pays_pieces import (
    AT_DEPTH,
    DRAWN,
    LARGEST,
    OWN_ORDER,
    RANDOM,
    ROWS,
    THIS,
    Parent,
    Seed,
    Settings,
    latencies,
)
from numpy.typing import NDArray
from rank_correlation import tau
from transformers.utils import logging as transformers_logging

import searchhub
from searchhub import Architecture, Limit
from searchhub.data.describe import describe_task
from searchhub.data.text_loading import load_tokenizer
from searchhub.errors import InvalidInputError, SearchhubError
from searchhub.formatting import markdown_table
from searchhub.spaces.bert import DEPTH
from searchhub.training.accelerator import make_accelerator
from searchhub.workflows.arguments import RunArguments, option, parse
from searchhub.workflows.text_arguments import (
    BertArguments,
    BertNetworkArguments,
    BertSearcherArguments,
    BertTrainingArguments,
    TextDataArguments,
)

RESAMPLES = 2000


@dataclass
class BenchmarkArguments:
    """What is measured."""

    shares: list[float] = option([0.15, 0.07], "Shares of the encoder's parameters.")
    seeds: int = option(1, "Number of seeds.")
    rows: list[str] = option(list(ROWS), f"Rows: {', '.join(ROWS)}.")
    steps: int = option(500, "Optimizer steps by which shared weights are trained.")
    refined: int = option(40, "Architectures to judge near each optimum.")
    alike: bool = option(True, "Also train the original on as the networks are. `--quick` does not.")
    trivial: float | None = option(None, "Score of a trivial rule, above which shares are told, too.")
    measure_latency: bool = option(
        False, "Also time the network of `this` beside the original, in torch and onnxruntime."
    )
    quick: bool = option(False, "One seed, one size, few rows and few examples.")


KINDS = (
    TextDataArguments,
    BertArguments,
    BertSearcherArguments,
    BertTrainingArguments,
    BertNetworkArguments,
    RunArguments,
    BenchmarkArguments,
)
"""Those of the recipe, so that the same YAML file fits both; of limits `--shares` takes the place."""


def main(argv: list[str]) -> None:
    """Measure, print tables, and end with RESULT."""
    data, sizes, searching, training, networks, where, wanted = parse(KINDS, argv, __doc__)
    transformers_logging.set_verbosity_error()
    if wanted.quick:
        wanted.seeds, wanted.shares, wanted.alike = 1, [min(wanted.shares)], False
        wanted.rows, networks.random_networks = [THIS, RANDOM, AT_DEPTH, LARGEST], 2
        data.max_train_samples = min(data.max_train_samples or 4000, 4000)
        wanted.steps, searching.scored, wanted.refined = min(wanted.steps, 200), min(searching.scored, 80), 16
    unknown = sorted(set(wanted.rows) - set(ROWS))
    if unknown or THIS not in wanted.rows:
        raise InvalidInputError(f"`--rows` must be among {list(ROWS)} and hold `{THIS}`, but are {wanted.rows}.")
    if not all(0 < share < 1 for share in wanted.shares):
        raise InvalidInputError(f"`--shares` must be between 0 and 1, but are {wanted.shares}.")
    accelerator = make_accelerator(mixed_precision=training.mixed_precision, seed=where.seed)
    task = data.task(load_tokenizer(sizes.model_name_or_path), where.seed)
    print(describe_task(task))
    original = sizes.original(task, where.seed, accelerator)
    folder = Path(where.output_dir)
    settings = Settings(
        steps=wanted.steps,
        scored=searching.scored,
        refined=wanted.refined,
        judged=searching.judged,
        epochs=training.epochs,
        search=training.bert_search_settings(searching),
        final=training.bert_final_settings(),
        start=training.start,
        random_networks=networks.random_networks,
    )
    hidden = bool(settings.search.hidden_weight or settings.final.hidden_weight)
    parent = Parent(
        original,
        task,
        accelerator,
        folder,
        training.original_settings(sizes.original_learning_rate),
        where.seed,
        hidden,
    )
    print(f"The original: {parent.original_size:,} parameters without embeddings, {parent.facts['metrics']}")
    seeds = [Seed(parent, settings, where.seed + i) for i in range(wanted.seeds)]
    measured = {share: [networks_of(seed, share, wanted.rows) for seed in seeds] for share in wanted.shares}
    whole = seeds[0].original_alike() if wanted.alike else None
    reached = parent.facts["metrics"][task.metric_name]
    if whole is not None:
        print(f"\nThe original: {reached:.4f}; trained on alike: {whole['score']:.4f}. Shares are of the better one.")
    best = max(reached, 0.0 if whole is None else whole["score"])
    figures: dict[str, Any] = {}
    for share, of_seeds in measured.items():
        print(f"\n## {100 * share:g} % of the encoder\n")
        rows, figures[f"{share:g}"] = compare(of_seeds, best, wanted.trivial)
        print(markdown_table(rows))
        print()
        print(markdown_table(agreement(seeds[0], of_seeds[0])))
        if wanted.measure_latency:
            found = Architecture(of_seeds[0][THIS]["architecture"])
            print(f"\n{task.max_length} tokens, one thread, in turn:\n")
            print(markdown_table(latencies(parent, found, task.max_length)))
    smallest = figures[f"{min(wanted.shares):g}"]
    result = {
        "kept": smallest["kept"],
        "ahead_of_random": smallest.get(f"ahead_of_{RANDOM}"),
        "ahead_at_depth": smallest.get(f"ahead_of_{AT_DEPTH}"),
        "original": round(reached, 4),
        "alike": None if whole is None else round(whole["score"], 4),
        "by_share": figures,
        "seeds": wanted.seeds,
        "task": task.name,
        "searchhub": searchhub.__version__,
    }
    print("RESULT " + json.dumps(result))


def networks_of(seed: Seed, share: float, rows: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the networks of a size reach, by their names; equal architectures are trained once."""
    limit = Limit(seed.parent.size, max=float(int(share * seed.parent.original_size)))
    found = {}
    for name, architecture in seed.architectures(limit, rows).items():
        found[name] = seed.trained(name, architecture, limit)
        print(f"seed {seed.seed}, {100 * share:g} %, {name}: {found[name]['score']:.4f}", flush=True)
    return found


# -- tables -----------------------------------------------------------------------------------------------------------


def row_of(name: str) -> str:
    """The row of a network: its name without a number."""
    return name.rstrip("0123456789")


def compare(
    of_seeds: Sequence[Mapping[str, Mapping[str, Any]]], original: float, trivial: float | None
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """A table of the rows, with how far `this` is ahead of each, and the figures of RESULT."""
    rows, figures = [], {}
    this = float(np.mean([networks[THIS]["score"] for networks in of_seeds]))
    for row in dict.fromkeys(row_of(name) for networks in of_seeds for name in networks):
        own = [[n for name, n in networks.items() if row_of(name) == row] for networks in of_seeds]
        scores = [n["score"] for networks in own for n in networks]
        mean = float(np.mean(scores))
        lead, low, high = (0.0, 0.0, 0.0) if row == THIS else ahead(of_seeds, row)
        spread = f" ± {np.std(scores, ddof=1):.4f}" if len(scores) > 1 else ""
        kept = {"share": f"{100 * mean / original:.1f} %"}
        if trivial is not None:
            kept["above trivial"] = f"{100 * (mean - trivial) / (original - trivial):.0f} %"
        depths = sorted({str(n["architecture"][DEPTH]) for networks in own for n in networks})
        rows.append(
            {
                "row": row,
                "score": f"{mean:.4f}{spread} (n={len(scores)})",
                **kept,
                "depths": ", ".join(depths),
                "encoder": f"{np.mean([n['encoder_params'] for networks in own for n in networks]):,.0f}",
                "this is ahead by [95 %]": "" if row == THIS else f"{lead:+.4f} [{low:+.4f}, {high:+.4f}]",
            }
        )
        if row in (*DRAWN, LARGEST):
            figures[f"ahead_of_{row}"] = round(low, 4)
    return rows, {"kept": round(this / original, 4), "score": round(this, 4), **figures}


def ahead(of_seeds: Sequence[Mapping[str, Mapping[str, Any]]], row: str) -> tuple[float, float, float]:
    """How far `this` is ahead of a row in the mean, and its 95 %: a paired bootstrap.

    Seeds, the networks of a row that is drawn, and test items are drawn again. With one seed the interval says nothing
    about other searches and trainings; with two or three it is too narrow.
    """
    leads: list[NDArray[np.float64]] = []  # [networks, items] a seed
    for networks in of_seeds:
        others = [n for name, n in networks.items() if row_of(name) == row]
        if others:
            this, rest = _outcome(networks[THIS]), np.array([_outcome(n) for n in others])
            leads.append(this[None, :] - rest)
    if not leads:
        return 0.0, 0.0, 0.0
    rng, means = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        items = rng.integers(leads[0].shape[1], size=leads[0].shape[1])
        chosen = [leads[i] for i in rng.integers(len(leads), size=len(leads))]
        drawn = [own[rng.integers(len(own), size=len(own))].mean(0) for own in chosen]
        means.append(float(np.mean([own[items].mean() for own in drawn])))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean([own.mean() for own in leads])), float(low), float(high)


def _outcome(network: Mapping[str, Any]) -> NDArray[np.float64]:
    """Which test items a network gets right; where labels are numbers, its score alone."""
    return _right(network) if "right" in network else np.array([network["score"]])


def _right(network: Mapping[str, Any]) -> NDArray[np.float64]:
    return np.array([float(c) for c in network["right"]])


def agreement(seed: Seed, networks: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Kendall's τ of each kind of score with what networks of one size reach, over all and within one depth.

    Networks that keep heads and neurons in another order than the search's are left out.
    """
    space = seed.space
    own = {
        json.dumps(n["architecture"], sort_keys=True): n  # each architecture counts once
        for name, n in networks.items()
        if row_of(name) not in OWN_ORDER and _fits(space, n["architecture"])
    }
    inside = list(own.values())
    architectures = [Architecture(n["architecture"]) for n in inside]
    if len(inside) < 3:
        return [{"score": "too few networks"}]
    truth = np.array([n["score"] for n in inside])
    codes = np.array([space.encode(a) for a in architectures])
    result, evaluator = seed.search
    assert result.prediction is not None
    shared = seed.scores(architectures, evaluator, "shared")
    untrained = seed.scores(architectures, seed.untrained, "untrained")
    kinds = {
        "judged on shared weights": [shared[a] for a in architectures],
        "predicted": result.prediction.value(codes),
        "judged without training": [untrained[a] for a in architectures],
        "sum of single changes": seed.library.prediction.value(codes),  # type: ignore[union-attr]
        "parameters": [n["encoder_params"] for n in inside],
    }
    depth = networks[THIS]["architecture"][DEPTH]
    at_depth = np.array([n["architecture"][DEPTH] == depth for n in inside])
    rows = []
    for kind, values in kinds.items():
        scores = np.array(values, dtype=np.float64)
        own_depth = _tau(scores[at_depth], truth[at_depth])
        rows.append({"score": kind, "τ, all": _tau(scores, truth), f"τ, depth {depth}": own_depth})
    return rows


def _tau(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> str:
    found = tau(scores, truth) if len(scores) > 2 else None
    return "" if found is None else f"{found:.2f} (n={len(scores)})"


def _fits(space: Any, architecture: Mapping[str, Any]) -> bool:
    try:
        space.encode(Architecture(architecture))
    except InvalidInputError:
        return False
    return True


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
