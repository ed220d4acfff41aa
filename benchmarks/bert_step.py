"""What a path of a BERT supernet costs, beside the same network standing alone; how fast published networks are.

    python benchmarks/bert_step.py                # a training step, and a whole trial: as in supernet_step.py
    python benchmarks/bert_step.py --latency      # parameters, multiply-adds and latency, beside the original

BERT of MiniLM's size (`--size base`: of BERT-base's), its weights drawn at random, on random words; AdamW and clipping
as in the recipe. Steps and trials, in CPU-seconds, are of random architectures, the full one and the narrowest; a trial
validates on 0.4 examples for each that it trains on.

Latency is of one thread in inference mode, without padding; the random networks have 57 to 60 % of the original's
parameters without embeddings. Each call of a network is paired with one of the original, stock BERT, and medians of the
pairs count. `speedup_per_macs` is the speed-up over what multiply-adds promise: 1 where both fall alike. `linear_share`
is how much of a call its linear layers take when they run alone, on what they were given in it; the rest is what
multiply-adds leave out, and attention. `--models` and `--original` time saved networks instead.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from supernet_step import Bench
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    BertTokenizer,
    PreTrainedModel,
)

from searchhub import (
    Architecture,
    BertSupernetForSequenceClassification,
    Limit,
    SearchSpace,
    TextTask,
    TrainingSettings,
    params_table,
    sample_within,
)
from searchhub.costs.macs import count_macs
from searchhub.costs.timing import Pairs, Stopwatch
from searchhub.models.bert.supernet_bert import BertSupernetConfig
from searchhub.spaces.bert import full_width

SIZES: dict[str, dict[str, int]] = {
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "tiny": {
        "hidden_size": 24,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 32,
        "vocab_size": 50,
        "max_position_embeddings": 64,
    },
}
"""Others are those of BERT: 30,522 tokens, 512 positions. "tiny" shows that all of this works, and nothing else."""

CLOCKS = {"wall": None, "cpu": time.process_time}
"""Latency is by the clock on the wall; CPU-seconds of one thread are the same where nothing else runs."""

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def noise_task(train: int, validation: int, length: int, vocab_size: int) -> TextTask:
    """A task of random words, of half to all of `length` tokens."""
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(vocab_size - len(SPECIAL_TOKENS))]
    vocabulary = {word: i for i, word in enumerate((*SPECIAL_TOKENS, *words))}

    def split(n: int) -> Dataset:
        lengths = rng.integers(length // 2, length, n, endpoint=True) - 2  # [CLS] and [SEP] are added
        texts = [" ".join(words[i] for i in rng.integers(0, len(words), k)) for k in lengths]
        return Dataset.from_dict({"text": texts, "label": rng.integers(0, 2, n).tolist()})

    return TextTask(
        "noise",
        {"train": split(train), "validation": split(validation), "test": split(16)},
        BertTokenizer(vocab=vocabulary, model_max_length=length),
        text_columns=["text"],
        label_column="label",
        label_names=["0", "1"],
        max_length=length,
    )


def narrowest(space: SearchSpace) -> Architecture:
    """The least of everything."""
    shallowest = full_width(space)[-1]
    return Architecture({name: min(space.choices[space.index(name)].candidates) for name in shallowest})


# -- training ---------------------------------------------------------------------------------------------------------


def training_figures(supernet: BertSupernetForSequenceClassification, arguments: argparse.Namespace) -> dict[str, Any]:
    """Ratios of windows to networks of their own."""
    settings = TrainingSettings(
        optimizer="adamw",
        learning_rate=5e-5,
        min_learning_rate=2e-5,
        weight_decay=0.01,
        max_grad_norm=1.0,
        batch_size=arguments.batch_size,
    )
    train = arguments.batch_size * arguments.steps_per_epoch
    task = noise_task(train, round(0.4 * train), arguments.sequence_length, supernet.config.vocab_size)
    space = supernet.search_space
    rows = space.sample(arguments.architectures, np.random.default_rng(0))
    architectures = {f"random {i}": space.decode(row) for i, row in enumerate(rows)}
    architectures |= {"full": full_width(space)[0], "narrowest": narrowest(space)}
    figures = Bench(supernet, task, settings).compare(architectures, arguments.steps)
    return {**figures, "steps_per_epoch": arguments.steps_per_epoch, "batch_size": arguments.batch_size}


# -- latency ----------------------------------------------------------------------------------------------------------


def drawn_networks(
    supernet: BertSupernetForSequenceClassification, count: int
) -> tuple[PreTrainedModel, dict[str, PreTrainedModel]]:
    """Stock BERT at full size, and the full, random and narrowest networks as they would be published."""
    cost, space = params_table(supernet, embeddings=False), supernet.search_space
    most = 0.6 * cost.bounds()[1]
    drawn = sample_within(space, [Limit(cost, min=0.95 * most, max=most)], count, np.random.default_rng(0))
    architectures = {"full": full_width(space)[0], **{f"random {i}": a for i, a in enumerate(drawn)}}
    architectures["narrowest"] = narrowest(space)
    original = BertForSequenceClassification(supernet.config)
    return original, {name: supernet.extract(a) for name, a in architectures.items()}


def sizes(model: PreTrainedModel, length: int) -> dict[str, int]:
    """Parameters, with and without embeddings, and multiply-adds of an example of `length` tokens."""
    with torch.device("meta"):
        shape = type(model)(model.config).eval()
        macs = count_macs(shape, {"input_ids": torch.ones(1, length, dtype=torch.int64)})
    params = model.num_parameters()
    embeddings = sum(p.numel() for p in model.base_model.embeddings.parameters())
    return {"params": params, "encoder_params": params - embeddings, "macs": macs}


class LinearLayers(nn.Module):
    """The linear layers of a model alone, each called with what it receives when the model is called with `inputs`."""

    def __init__(self, model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.calls: list[tuple[nn.Module, torch.Tensor]] = []

        def record(module: nn.Module, received: tuple[torch.Tensor, ...]) -> None:
            self.calls.append((module, received[0].clone()))

        linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
        hooks = [module.register_forward_pre_hook(record) for module in linear]
        with torch.inference_mode():
            model(**inputs)
        for hook in hooks:
            hook.remove()

    def forward(self) -> None:
        for module, received in self.calls:
            module(received)


def latency_rows(
    original: PreTrainedModel, networks: Mapping[str, PreTrainedModel], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row for each network at each batch size, printed as it is there."""
    length = arguments.sequence_length
    of_original = sizes(original, length)
    stopwatch = Stopwatch(min_run_time=arguments.min_run_time, clock=CLOCKS[arguments.clock])
    print(f"the original: {of_original}, {length} tokens; sizes in millions")
    width = max(len("network"), *map(len, networks))
    print(f"batch  {'network':>{width}}     params  encoder       MACs        ms  linear  speed-up  by MACs  ratio")
    rows = []
    for batch_size in arguments.batch_sizes:
        ids = torch.randint(1, original.config.vocab_size, (batch_size, length))
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        blocks = {name: (model.eval(), (), inputs) for name, model in networks.items()}
        times = {name: [] for name in networks}
        for _ in range(arguments.rounds):
            for name, block in blocks.items():
                times[name].append(stopwatch.in_turn(block, (original.eval(), (), inputs)))
        for name, model in networks.items():
            own, pairs = sizes(model, length), Pairs(times[name])
            linear = Pairs([stopwatch.in_turn((LinearLayers(model, inputs), (), {}), blocks[name])])
            speedup, macs_ratio = 1 / pairs.ratio, of_original["macs"] / own["macs"]
            row = {
                "name": name,
                "batch_size": batch_size,
                **own,
                "ms": round(pairs.milliseconds, 2),
                "linear_share": round(linear.ratio, 3),
                "speedup": round(speedup, 3),
                "macs_ratio": round(macs_ratio, 3),
                "speedup_per_macs": round(speedup / macs_ratio, 3),
            }
            rows.append(row)
            print(
                f"{batch_size:5d}  {name:>{width}}  {own['params'] / 1e6:9.2f}  {own['encoder_params'] / 1e6:7.2f}  "
                f"{own['macs'] / 1e6:9.1f}  {row['ms']:8.2f}  {row['linear_share']:6.3f}  {speedup:8.3f}  "
                f"{macs_ratio:7.3f}  {speedup / macs_ratio:5.3f}",
                flush=True,
            )
    return rows


def latency_figures(
    original: PreTrainedModel, networks: Mapping[str, PreTrainedModel], arguments: argparse.Namespace
) -> dict[str, Any]:
    """All rows; the median and the lowest of `speedup_per_macs`, without networks as large as the original."""
    rows = latency_rows(original, networks, arguments)
    smaller = [row for row in rows if row["macs_ratio"] > 1]
    ratios = [row["speedup_per_macs"] for row in smaller or rows]
    print(
        f"{os.cpu_count()} CPUs, 1 thread, {arguments.clock} time, load {os.getloadavg()[0]:.1f}; speed-up over "
        f"the ratio of MACs {min(ratios):.3f} … {max(ratios):.3f}"
    )
    return {
        "speedup_per_macs": round(statistics.median(ratios), 4),
        "lowest_speedup_per_macs": min(ratios),
        "clock": arguments.clock,
        "networks": rows,
    }


def parsed() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="minilm", help="default: minilm")
    parser.add_argument("--sequence_length", type=int, default=64, help="tokens, at most (default: 64)")
    parser.add_argument("--architectures", type=int, default=3, help="random ones, for steps and trials (default: 3)")
    parser.add_argument("--steps", type=int, default=4, help="timed steps of each (default: 4)")
    parser.add_argument("--steps_per_epoch", type=int, default=6, help="length of a trial's epoch (default: 6)")
    parser.add_argument("--batch_size", type=int, default=32, help="in training (default: 32)")
    parser.add_argument("--latency", action="store_true", help="time inference, not training")
    parser.add_argument("--networks", type=int, default=3, help="random ones, for latency (default: 3)")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 32], help="for latency (default: 1 32)")
    parser.add_argument("--rounds", type=int, default=2, help="how often latency is timed (default: 2)")
    parser.add_argument("--min_run_time", type=float, default=0.5, help="seconds of each timing (default: 0.5)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="of latency (default: wall)")
    parser.add_argument("--models", nargs="+", help="for latency: folders of published networks")
    parser.add_argument("--original", help="and the folder of the network that they are smaller than")
    arguments = parser.parse_args()
    if bool(arguments.models) != bool(arguments.original):
        parser.error("--models and --original go together")
    return arguments


def main() -> None:
    arguments = parsed()
    torch.manual_seed(0)
    if arguments.models:
        load = AutoModelForSequenceClassification.from_pretrained
        networks = {folder: load(folder) for folder in arguments.models}
        figures = latency_figures(load(arguments.original), networks, arguments)
    else:
        supernet = BertSupernetForSequenceClassification(BertSupernetConfig(num_labels=2, **SIZES[arguments.size]))
        if arguments.latency:
            figures = latency_figures(*drawn_networks(supernet, arguments.networks), arguments)
        else:
            figures = training_figures(supernet, arguments)
        figures["size"] = arguments.size
    figures |= {"sequence_length": arguments.sequence_length, "load_average": round(os.getloadavg()[0], 2)}
    print("RESULT", json.dumps(figures))


if __name__ == "__main__":
    main()
