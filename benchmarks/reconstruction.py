r"""What solving output matrices anew does for cuts of a BERT checkpoint that nobody trained: distance from the whole.

    python benchmarks/reconstruction.py      # a tiny BERT with random weights, on made-up texts: that it works
    python benchmarks/reconstruction.py --model_name_or_path path/to/bert --dataset texts.csv --text_column text

Heads and neurons are ordered by `--order`. Then `--networks` random architectures are drawn at each share of the
parameters without embeddings, as many of each depth. Each is measured on `--held_out` texts as it is cut, and with
output matrices that least squares fit to the whole network's activations on `--texts` other texts
(`searchhub.gather_reconstruction`). Labels are not looked at.

The distance is KL(whole ‖ cut) of the classes, in nats, if the checkpoint has a classifier; otherwise the squared
distance of the last hidden states, token by token, relative to the variance of the whole network's (of a number that
the checkpoint predicts, likewise). `left` is what is left of the distance: its mean over architectures with solved
matrices over that without; `better` is the share of architectures that come closer. `tau` says how far both distances
order the architectures of a share alike, `depths` holds both means for each depth.

`--steps N` trains every network, as it is cut and as it is solved, towards the whole one on the texts of `--texts`, by
the same distance: how much of the lead is left, and, as `cut_tells` and `solved_tells`, how well each distance before
training orders the trained networks (τ). Ends with one line `RESULT {json}`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from bert_step import SIZES, noise_task
from scipy.stats import kendalltau
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from searchhub import (
    Architecture,
    BertReconstruction,
    BertSupernetForSequenceClassification,
    Limit,
    gather_reconstruction,
    order_by_importance,
    params_table,
    sample_within,
)
from searchhub.data.task import Batch
from searchhub.data.text import TextTask
from searchhub.data.text_loading import load_text_task, load_tokenizer
from searchhub.models.bert.reconstruction_bert import RIDGE
from searchhub.models.bert.supernet_bert import BertSupernetConfig
from searchhub.models.shells import Shells
from searchhub.spaces.bert import DEPTH

PARTS = 12
"""Widths on offer are twelfths of the whole, and a 24th and a 48th: enough for every share to be met closely."""


def dense(whole: int) -> list[int]:
    """Sizes on offer, from a 48th of the whole to all of it."""
    shares = [1 / 48, 1 / 24, *(part / PARTS for part in range(1, PARTS + 1))]
    return sorted({max(1, round(share * whole)) for share in shares})


def load(arguments: argparse.Namespace) -> tuple[BertSupernetForSequenceClassification, TextTask, bool]:
    """Returns the checkpoint with dense sizes on offer, texts, and whether the checkpoint has a classifier."""
    torch.manual_seed(arguments.seed)
    if arguments.model_name_or_path is None:
        config = BertSupernetConfig(num_labels=2, initializer_range=0.3, **SIZES["tiny"], **offers(SIZES["tiny"]))
        supernet = BertSupernetForSequenceClassification(config)
        task = noise_task(arguments.texts, arguments.held_out, 16, config.vocab_size)
        return supernet, task, True
    name = arguments.model_name_or_path
    sizes, _ = BertSupernetConfig.get_config_dict(name)
    supernet, info = BertSupernetForSequenceClassification.from_pretrained(
        name, dtype=torch.float32, output_loading_info=True, **offers(sizes)
    )
    has_head = not any(key.startswith("classifier.") for key in info["missing_keys"])
    return supernet, texts_of(arguments, load_tokenizer(name)), has_head


def offers(sizes: dict[str, Any]) -> dict[str, list[int]]:
    """Every depth from half of the layers on, and dense sizes."""
    layers = sizes["num_hidden_layers"]
    return {
        "depths": list(range((layers + 1) // 2, layers + 1)),
        "intermediate_sizes": dense(sizes["intermediate_size"]),
        "num_heads": dense(sizes["num_attention_heads"]),
    }


def texts_of(arguments: argparse.Namespace, tokenizer: PreTrainedTokenizerBase) -> TextTask:
    """Returns the texts of a data set: those to gather from as its train split, held-out ones as validation."""
    return load_text_task(
        arguments.dataset,
        tokenizer,
        text_column=arguments.text_column,
        pair_column=arguments.pair_column,
        label_column=arguments.label_column,
        max_length=arguments.max_length,
        validation_size=arguments.held_out,
        max_train_samples=arguments.texts,
        max_eval_samples=arguments.held_out,
        seed=arguments.seed,
    )


def batches(task: TextTask, split: str, size: int) -> Iterator[Batch]:
    """Yields the texts of a split, without labels."""
    for part in torch.arange(task.size(split)).split(size):
        batch = task.batch(split, part, device=torch.device("cpu"))
        yield {name: tensor for name, tensor in batch.items() if name != "labels"}


class Whole:
    """The whole network, which says how far others are from it, and trains them towards it.

    Args:
        model: The whole network.
        texts: Batches to train on.
        held_out: Batches to measure on.
        has_head: Whether its classifier is to be compared, and not its hidden states.
    """

    def __init__(
        self, model: PreTrainedModel, texts: Sequence[Batch], held_out: Sequence[Batch], has_head: bool
    ) -> None:
        self._model, self._texts, self._held_out, self._has_head = model.eval(), texts, held_out, has_head
        self._expected = self._all_outputs(model)
        self._variance = (self._expected - self._expected.mean(0)).square().mean()

    def distance(self, model: PreTrainedModel) -> float:
        """Returns how far a network is from the whole one on held-out texts."""
        return self._apart(self._all_outputs(model.eval()), self._expected).item()

    def trained_distance(self, model: PreTrainedModel, steps: int, learning_rate: float) -> float:
        """Trains a network of its own weights towards the whole one; the learning rate falls to 0."""
        optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
        for batch, _ in zip(itertools.cycle(self._texts), range(steps), strict=False):
            with torch.no_grad():
                expected = self._outputs(self._model, batch)
            optimizer.zero_grad()
            self._apart(self._outputs(model.train(), batch), expected).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        return self.distance(model)

    def _outputs(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        if self._has_head:
            return model(**batch).logits
        return model.base_model(**batch).last_hidden_state[batch["attention_mask"].bool()]

    @torch.no_grad()
    def _all_outputs(self, model: PreTrainedModel) -> torch.Tensor:
        return torch.cat([self._outputs(model, batch) for batch in self._held_out])

    def _apart(self, found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        if self._has_head and expected.shape[1] > 1:
            logs = found.log_softmax(-1), expected.log_softmax(-1)
            return torch.nn.functional.kl_div(*logs, reduction="batchmean", log_target=True)
        return (found - expected).square().mean() / self._variance


Figures = dict[str, list[float]]
"""The distances of some architectures by what was done to them."""


def figures_of(
    supernet: BertSupernetForSequenceClassification,
    reconstruction: BertReconstruction,
    whole: Whole,
    drawn: Sequence[Architecture],
    arguments: argparse.Namespace,
) -> Figures:
    """Returns the distances of architectures as they are cut and as they are solved, and after training from both."""
    shells = Shells(supernet, reconstruction)
    figures = {
        "cut": [whole.distance(supernet.subnet(architecture)) for architecture in drawn],
        "solved": [whole.distance(shells.model(architecture)) for architecture in drawn],
    }
    if arguments.steps:
        figures |= {"cut_trained": [], "solved_trained": []}
        for architecture in drawn:
            for name, found in (("cut", supernet.subnet(architecture)), ("solved", shells.model(architecture))):
                torch.manual_seed(arguments.seed)
                distance = whole.trained_distance(supernet.extract(found), arguments.steps, arguments.learning_rate)
                figures[f"{name}_trained"].append(distance)
    return figures


def tau(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Kendall's τ; None where there is none, as of a single network."""
    found = kendalltau(one, other).statistic
    return None if np.isnan(found) else round(float(found), 3)


def row(share: float, depths: Sequence[int], figures: Figures) -> dict[str, Any]:
    """Returns the means of one share of the parameters, and what follows from single architectures."""
    cut, solved = figures["cut"], figures["solved"]
    found: dict[str, Any] = {
        "share": share,
        "networks": len(depths),
        **{name: round(statistics.mean(values), 4) for name, values in figures.items()},
        "left": round(statistics.mean(solved) / statistics.mean(cut), 4),
        "better": round(statistics.mean(b < a for a, b in zip(cut, solved, strict=True)), 4),
        "tau": tau(cut, solved),
        "depths": {
            depth: {
                name: round(statistics.mean(x for x, d in zip(values, depths, strict=True) if d == depth), 4)
                for name, values in figures.items()
            }
            for depth in sorted(set(depths))
        },
    }
    if "solved_trained" in figures:
        trained = figures["solved_trained"]
        found |= {"cut_tells": tau(cut, trained), "solved_tells": tau(solved, trained)}
    return found


def measured(
    supernet: BertSupernetForSequenceClassification,
    reconstruction: BertReconstruction,
    whole: Whole,
    arguments: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Returns a row for each share, printed as it is there."""
    cost, rng = params_table(supernet, embeddings=False), np.random.default_rng(arguments.seed)
    rows = []
    for share in arguments.shares:
        most = share * cost.bounds()[1]
        limit = Limit(cost, min=0.93 * most, max=most)
        drawn = sample_within(supernet.search_space, [limit], arguments.networks, rng, by_branch=True)
        figures = figures_of(supernet, reconstruction, whole, drawn, arguments)
        rows.append(row(share, [int(architecture[DEPTH]) for architecture in drawn], figures))
        told = {name: value for name, value in rows[-1].items() if name not in ("share", "depths")}
        print(f"{share:.0%}: {', '.join(f'{name} {value}' for name, value in told.items())}", flush=True)
        for depth, means in rows[-1]["depths"].items():
            print(f"    {depth} layers: {', '.join(f'{name} {value}' for name, value in means.items())}", flush=True)
    return rows


def parsed() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", help="BERT checkpoint: a Hub id or a folder (default: a tiny one)")
    parser.add_argument("--dataset", help="its texts: a Hub id, or a csv, tsv, json or parquet file or folder")
    parser.add_argument("--text_column", help="column of texts (default: the only one)")
    parser.add_argument("--pair_column", help="column of second texts")
    parser.add_argument("--label_column", help="column of classes, which is read with the texts and not used")
    parser.add_argument("--max_length", type=int, default=128, help="longest text in tokens (default: 128)")
    parser.add_argument("--texts", type=int, default=512, help="texts to gather activations from (default: 512)")
    parser.add_argument("--held_out", type=int, default=256, help="texts to measure on (default: 256)")
    parser.add_argument("--networks", type=int, default=8, help="architectures of each share (default: 8)")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.6, 0.25, 0.15, 0.07], help="of the encoder")
    parser.add_argument("--order", choices=["magnitude", "none"], default="magnitude", help="default: magnitude")
    parser.add_argument("--ridge", type=float, default=RIDGE, help=f"see gather_reconstruction (default: {RIDGE:g})")
    parser.add_argument("--steps", type=int, default=0, help="of training each network from both starts (default: 0)")
    parser.add_argument("--learning_rate", type=float, default=5e-4, help="of that training (default: 5e-4)")
    parser.add_argument("--batch_size", type=int, default=32, help="default: 32")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    arguments = parser.parse_args()
    if bool(arguments.model_name_or_path) != bool(arguments.dataset):
        parser.error("--model_name_or_path and --dataset go together")
    return arguments


def main() -> None:
    arguments = parsed()
    transformers_logging.set_verbosity_error()
    supernet, task, has_head = load(arguments)
    order_by_importance(supernet, order=None if arguments.order == "none" else arguments.order)
    started = time.process_time()
    reconstruction = gather_reconstruction(
        supernet, batches(task, "train", arguments.batch_size), ridge=arguments.ridge
    )
    seconds = time.process_time() - started
    what = "KL of classes" if has_head else "squared distance of hidden states, relative"
    print(f"{what}; solved from {task.size('train')} texts, {reconstruction.settings}, {seconds:.0f} CPU-seconds")
    whole = supernet.subnet_of_any_size(supernet.full_architecture)
    texts, held_out = (list(batches(task, split, arguments.batch_size)) for split in ("train", "validation"))
    rows = measured(supernet, reconstruction, Whole(whole, texts, held_out, has_head), arguments)
    result = {
        "distance": "kl" if has_head else "hidden",
        "left": rows[-1]["left"],
        "rows": rows,
        "texts": task.size("train"),
        "held_out": task.size("validation"),
        "steps": arguments.steps,
        "seconds": round(seconds, 1),
        **reconstruction.settings,
    }
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main()
