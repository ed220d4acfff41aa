r"""What a search has to beat: magnitude pruning with torch-pruning to the same size, then trained alike.

    python benchmarks/bert_pruning.py --config recipes/ddp_bert_minilm.yaml --task_name sst2 --output_dir runs/sst2 \
        --model_name_or_path nreimers/MiniLM-L6-H384-uncased --max encoder_params=6.48M

Give the settings of a run of `recipes/ddp_bert_glue.py`. For each limit, the fine-tuned original in that run's folder
is pruned to the largest size within it (feed-forward neurons and whole heads; the hidden size and all layers stay), and
fine-tuned like the run's networks. What was measured goes to the run's `baselines/`, where reports find it, as column
"pruned"; what is there already is not trained again. `--dry_run` prunes and stops. Ends with a line `RESULT {json}` a
limit.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from transformers import BertForSequenceClassification, PreTrainedModel
from transformers.utils import logging as transformers_logging

import searchhub
from searchhub import Architecture, BertSupernetForSequenceClassification, Limit
from searchhub.callbacks.progress import ProgressDisplay
from searchhub.costs.counting import count_architecture
from searchhub.costs.macs import macs_per_module
from searchhub.costs.params import params_per_module
from searchhub.data.task import Task
from searchhub.data.text_loading import load_tokenizer
from searchhub.errors import InfeasibleLimitError, InvalidInputError, SearchhubError
from searchhub.files import read_json_object, write_json
from searchhub.formatting import markdown_table
from searchhub.models.bert.plain_bert import as_plain_bert
from searchhub.models.identity import name_labels, weights_digest
from searchhub.networks.identity import training_identity
from searchhub.networks.network import BASELINES, network_name
from searchhub.run_folder import ORIGINAL
from searchhub.spaces.bert import DEPTH, heads_choice, intermediate_choice, kept_layers
from searchhub.training.distillation import distilled
from searchhub.training.fit import fit
from searchhub.training.settings import TrainingSettings
from searchhub.workflows.arguments import RunArguments, parse
from searchhub.workflows.text_arguments import (
    BertArguments,
    BertNetworkArguments,
    BertSearcherArguments,
    BertTrainingArguments,
    TextDataArguments,
)

try:
    import torch_pruning
except ImportError:
    sys.exit('error: this benchmark needs torch-pruning. Install it with: pip install "searchhub[bench]"')

KINDS = (
    TextDataArguments,
    BertArguments,
    BertSearcherArguments,
    BertTrainingArguments,
    BertNetworkArguments,
    RunArguments,
)
"""Those of the recipe, so that the same YAML file and the same words fit both."""

COSTS = ("macs", "params", "encoder_params")
ROLE = "pruned"
COARSE = 10
"""Ratios are tried in steps of 1 / COARSE, then halved between two of them until no neuron is between them."""


# -- pruning ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pruned:
    """What is left of the original.

    Args:
        model: Stock BERT whose layers were narrowed.
        architecture: Its sizes, in the words of the search space.
        neuron_ratio: The share of feed-forward neurons that torch-pruning was told to remove.
        head_ratio: The share of heads.
    """

    model: BertForSequenceClassification
    architecture: Architecture
    neuron_ratio: float
    head_ratio: float


def prune(
    original: BertForSequenceClassification, neuron_ratio: float, head_ratio: float
) -> BertForSequenceClassification:
    """A copy without some of its feed-forward neurons and heads: of all layers together, the least important.

    Importance is torch-pruning's default, as in its own example for BERT: the squared L2 norm of the weights that go
    together, mean over their matrices (of a head, also over its rows), relative to the mean in the layer. Neurons are
    ranked among neurons, heads among heads. A layer that would lose all neurons, or all heads, keeps all of them:
    torch-pruning leaves it out.

    Args:
        original: Left as it is.
        neuron_ratio: Share of the neurons of all layers, in [0, 1).
        head_ratio: Share of the heads of all layers, in [0, 1).
    """
    pruned = copy.deepcopy(original).eval()
    attentions = [layer.attention.self for layer in pruned.bert.encoder.layer]
    pruner = torch_pruning.pruner.BasePruner(
        pruned,
        {"input_ids": torch.ones(1, 4, dtype=torch.int64, device=pruned.device)},
        torch_pruning.importance.MagnitudeImportance(p=2),
        global_pruning=True,
        # Without a ranking of their own, neurons would be ranked among the dimensions of heads, which all stay.
        pruning_ratio_dict={tuple(layer.intermediate.dense for layer in pruned.bert.encoder.layer): neuron_ratio},
        pruning_ratio=head_ratio,  # of those dimensions: where it is 0, heads are not looked at
        head_pruning_ratio=head_ratio,
        num_heads={linear: a.num_attention_heads for a in attentions for linear in (a.query, a.key, a.value)},
        prune_num_heads=True,
        prune_head_dims=False,
        # All that writes to the hidden states goes with the embeddings: its width stays.
        ignored_layers=[pruned.bert.embeddings, pruned.bert.pooler, pruned.classifier],
        output_transform=lambda output: output.logits.sum(),
        # The defaults are dicts that all pruners would share, and that would keep every model alive.
        in_channel_groups={},
        out_channel_groups={},
    )
    pruner.step()
    for attention in attentions:
        # Not `pruner.num_heads`, which counts heads of layers that were left out as removed.
        attention.all_head_size = attention.query.out_features
        attention.num_attention_heads = attention.all_head_size // attention.attention_head_size
    return pruned


def prune_to(
    supernet: BertSupernetForSequenceClassification, original: BertForSequenceClassification, limits: Sequence[Limit]
) -> Pruned:
    """Prune as little as keeps to some limits: one ratio for neurons and heads, then neurons back to fill the gap.

    A head is as large as many neurons, so that one ratio alone would stop short of the limit by up to a head.

    Raises:
        InfeasibleLimitError: No ratio below 1 keeps to them.
    """

    def make(neuron_ratio: float, head_ratio: float) -> Pruned:
        model = prune(original, neuron_ratio, head_ratio)
        return Pruned(model, architecture_of(model, supernet.config.num_hidden_layers), neuron_ratio, head_ratio)

    def fits(pruned: Pruned) -> bool:
        return all(cost_of(supernet, pruned.architecture, limit.name) <= limit.high for limit in limits)

    neurons = sum(layer.intermediate.dense.out_features for layer in original.bert.encoder.layer)
    alike = least_pruned(lambda ratio: make(ratio, ratio), fits, 1 / neurons)
    if alike is None:
        most = 1 - 1 / COARSE
        left = costs_of(supernet, make(most, most).architecture)
        reached = {limit.name: float(left[limit.name]) for limit in limits}
        raise InfeasibleLimitError(
            f"Pruning must keep to {' and '.join(map(str, limits))}, but without {most:.0%} of neurons and heads there "
            f"are {', '.join(f'{value:,.0f} {name}' for name, value in reached.items())}. Raise the limit.",
            reached,
        )
    return least_pruned(lambda ratio: make(ratio, alike.head_ratio), fits, 1 / neurons) or alike


def least_pruned(make: Callable[[float], Pruned], fits: Callable[[Pruned], bool], step: float) -> Pruned | None:
    """What fits by the smallest ratio, which `make` is given, in steps of half a `step`; None: nothing does.

    Size falls with the ratio only until layers are left out (see `prune`): halving starts beside the first that fits.
    """
    for tenth in range(COARSE):
        best = make(tenth / COARSE)
        if fits(best):
            break
    else:
        return None
    low, high = (tenth - 1) / COARSE, tenth / COARSE
    while tenth and high - low > step / 2:
        middle = (low + high) / 2
        pruned = make(middle)
        if fits(pruned):
            best, high = pruned, middle
        else:
            low = middle
    return best


def architecture_of(pruned: BertForSequenceClassification, num_hidden_layers: int) -> Architecture:
    """Its sizes, named as in the search space of a checkpoint with so many layers; few of them are candidates there."""
    layers = pruned.bert.encoder.layer
    sizes: dict[str, int] = {DEPTH: len(layers)}
    for number, layer in zip(kept_layers(len(layers), num_hidden_layers), layers, strict=True):
        sizes[intermediate_choice(number)] = layer.intermediate.dense.out_features
        sizes[heads_choice(number)] = layer.attention.self.num_attention_heads
    return Architecture(sizes)


def cost_of(supernet: BertSupernetForSequenceClassification, architecture: Architecture, name: str) -> int:
    """One of COSTS, counted as that of the run's networks is."""
    count = macs_per_module if name == "macs" else params_per_module
    counts = count_architecture(supernet, architecture, count)
    left_out = supernet.embedding_modules if name == "encoder_params" else ()
    return counts[""] - sum(counts[module] for module in left_out)


def costs_of(supernet: BertSupernetForSequenceClassification, architecture: Architecture) -> dict[str, int]:
    """All of COSTS."""
    return {name: cost_of(supernet, architecture, name) for name in COSTS}


def as_searched(supernet: BertSupernetForSequenceClassification, pruned: Pruned) -> PreTrainedModel:
    """The same network in the class of the run's networks; that every weight fits says that all sizes are right."""
    network = supernet.subnet_class(supernet.subnet_config(pruned.architecture))
    network.load_state_dict(pruned.model.state_dict())
    return network


# -- training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PrunedTrainer:
    """Trains pruned networks as `searchhub.NetworkTrainer` trains searched ones; arguments as there."""

    supernet: BertSupernetForSequenceClassification
    task: Task
    settings: TrainingSettings
    accelerator: Accelerator
    epochs: int
    seed: int
    folder: Path

    def train(
        self, name: str, limits: Sequence[Limit], pruned: Pruned, on_step: Callable[[int, int], None]
    ) -> dict[str, Any]:
        """Train and write what was measured, or read it where it is there already."""
        network = as_searched(self.supernet, pruned)
        name_labels(network, self.task)
        identity = self._identity(network, pruned)
        path = self.folder / BASELINES / f"{name}.json"
        found = [read_json_object(path) if self.accelerator.is_main_process else None]
        facts = broadcast_object_list(found)[0]
        if facts is not None and facts.get("identity") == identity:
            return facts
        fitted = fit(
            network,
            self.task,
            self.settings,
            self.accelerator,
            epochs=self.epochs,
            seed=self.seed,
            on_step=on_step,
        )
        facts = {
            "name": name,
            "identity": identity,
            "limits": [{"cost": x.name, "max": x.max, "min": x.min, "equal": x.equal} for x in limits],
            "costs": costs_of(self.supernet, pruned.architecture),
            "task": self.task.source,
            **fitted.to_dict(),
        }
        if self.accelerator.is_main_process:
            write_json(path, facts)
        self.accelerator.wait_for_everyone()
        return facts

    def _identity(self, network: PreTrainedModel, pruned: Pruned) -> dict[str, Any]:
        return training_identity(
            network.config,
            self.task,
            self.settings,
            self.accelerator,
            epochs=self.epochs,
            seed=self.seed,
            architecture=pruned.architecture.to_dict(),
            inherit_weights=True,
            inherited=weights_digest(network),
            pruning={
                "by": f"torch-pruning {version('torch-pruning')}",
                "importance": "L2 magnitude",
                "scope": "all layers together",
                "neuron_ratio": pruned.neuron_ratio,
                "head_ratio": pruned.head_ratio,
            },
        )


# -- the script -------------------------------------------------------------------------------------------------------


def load_original(folder: Path) -> BertSupernetForSequenceClassification:
    """The fine-tuned checkpoint of a run, as a supernet.

    Raises:
        InvalidInputError: The run has none.
    """
    if not (folder / ORIGINAL / "config.json").is_file():
        raise InvalidInputError(
            f"`{folder}` must hold a fine-tuned checkpoint (`{ORIGINAL}/`) to prune, but does not. Run "
            "recipes/ddp_bert_glue.py with these settings first; it comes before the search."
        )
    return BertSupernetForSequenceClassification.from_pretrained(folder / ORIGINAL)


def wanted_limits(wanted: BertNetworkArguments) -> dict[str, tuple[Limit, ...]]:
    """What each network must keep to, by its name.

    Raises:
        InvalidInputError: There is no limit, or one on what cannot be counted.
    """
    together = [x if isinstance(x, tuple) else (x,) for x in wanted.limits()]
    names = list(dict.fromkeys(limit.name for limits in together for limit in limits))
    if not names or not set(names) <= set(COSTS):
        raise InvalidInputError(
            f"There must be limits on {', '.join(COSTS)} (`--max encoder_params=6.48M`), and on nothing else, but "
            f"there are {', '.join(f'`{name}`' for name in names) or 'none'}."
        )
    return {f"{network_name(x)}-{ROLE}": x for x in together}


def described(pruned: Pruned, costs: dict[str, int], limits: Sequence[Limit]) -> dict[str, Any]:
    """How close it comes to its limits, and by how much pruning: cells of a table."""
    gaps = [(limit.high - costs[limit.name], limit.high) for limit in limits]
    return {
        "limit": " and ".join(map(str, limits)),
        **costs,
        "below the limit": " and ".join(f"{gap:,.0f} ({gap / high:.3%})" for gap, high in gaps),
        "neurons pruned": f"{pruned.neuron_ratio:.2%}",
        "heads pruned": f"{pruned.head_ratio:.2%}",
    }


def main(argv: list[str]) -> None:
    """Prune, fine-tune, tell."""
    data, sizes, _, training, wanted, run = parse(KINDS, argv, __doc__)
    folder, seed = Path(run.output_dir), run.seed
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    limits = wanted_limits(wanted)
    supernet = load_original(folder)
    whole = supernet.extract(supernet.subnet_of_any_size(supernet.full_architecture))
    pruned = {name: prune_to(supernet, as_plain_bert(whole), together) for name, together in limits.items()}
    rows = [described(pruned[x], costs_of(supernet, pruned[x].architecture), limits[x]) for x in limits]
    if run.dry_run:
        print(markdown_table(rows))
        return
    accelerator = searchhub.make_accelerator(mixed_precision=training.mixed_precision, seed=seed)
    with accelerator.main_process_first():
        task: Task = data.task(load_tokenizer(sizes.model_name_or_path), seed)
    if supernet.config.num_labels != task.num_labels:
        raise InvalidInputError(
            f"The original in `{folder}` must tell apart the {task.num_labels} labels of {task.name}, but has "
            f"{supernet.config.num_labels}. Give the settings of its run."
        )
    if training.distillation_weight:
        task = distilled(task, whole, accelerator)
    settings = training.distilling(training.final_settings())
    trainer = PrunedTrainer(supernet, task, settings, accelerator, training.epochs, seed, folder)
    results = []
    with (
        ProgressDisplay(1, enabled=accelerator.is_main_process) as progress,
        progress.stage(f"train {len(limits)} networks", len(limits)) as stage,
    ):
        for (name, together), row in zip(limits.items(), rows, strict=True):
            stage.begin(name)
            facts = trainer.train(name, together, pruned[name], stage.step)
            stage.advance(best=facts["metrics"][task.metric_name])
            row[f"test {task.metric_name}"] = f"{facts['metrics'][task.metric_name]:.4f}"
            about = {key: facts[key] for key in ("name", "metrics", "epochs")}
            results.append({**about, **facts["costs"], "seconds": round(facts["seconds"], 1)})
    if accelerator.is_main_process:
        print(markdown_table(rows))
        for result in results:
            print("RESULT", json.dumps(result))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to go on.", file=sys.stderr)
        sys.exit(130)
