r"""Make a BERT checkpoint smaller with one search, for every limit at once.

    accelerate launch recipes/ddp_bert_glue.py --model_name_or_path google-bert/bert-base-uncased --task_name sst2 \
        --max_params 67e6 --output_dir runs/sst2

Fine-tunes the checkpoint, orders its heads and neurons by importance, searches, and fine-tunes a network for each
limit. Run the same command again to go on after an interruption; add limits to get more networks from the same search.
"""

from __future__ import annotations

import copy
import dataclasses
import gc
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from transformers.utils import logging as transformers_logging

import searchhub
from searchhub import BertSupernetForSequenceClassification, LatencyTable, SearchResult
from searchhub.callbacks.progress import ProgressDisplay
from searchhub.costs.table import CostTable
from searchhub.data.text import TextTask
from searchhub.data.text_loading import load_tokenizer
from searchhub.errors import InvalidInputError, SearchhubError
from searchhub.generation import generate
from searchhub.models.bert.checkpoint_bert import load_for_task
from searchhub.models.bert.importance_bert import order_by_importance
from searchhub.models.bert.plain_bert import plain_where_possible
from searchhub.models.identity import name_labels
from searchhub.networks.choose import (
    Find,
    Wanted,
    between,
    check_limits,
    choose_networks,
    first_within,
    limits_together,
)
from searchhub.networks.original import OriginalTrainer, importance_batches
from searchhub.networks.saved_trainer import save_trainer
from searchhub.networks.trainer import NetworkTrainer
from searchhub.run_folder import LATENCY, RUN_CONFIG
from searchhub.training.batches import check_batch_size
from searchhub.training.distillation import distilled
from searchhub.training.settings import TrainingSettings
from searchhub.workflows.arguments import RunArguments, parse
from searchhub.workflows.dry_run import estimate
from searchhub.workflows.stages import begin, search_shared, spent, summarize_networks
from searchhub.workflows.text_arguments import (
    UNIFORM,
    BertArguments,
    BertNetworkArguments,
    BertSearchArguments,
    BertTrainingArguments,
    TextDataArguments,
)

LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
"""Variables by which a launcher says that there are several processes."""

KINDS = (
    TextDataArguments,
    BertArguments,
    BertSearchArguments,
    BertTrainingArguments,
    BertNetworkArguments,
    RunArguments,
)


def load_supernet(
    sizes: BertArguments, task: TextTask, seed: int, accelerator: Accelerator
) -> BertSupernetForSequenceClassification:
    """The checkpoint as a supernet, with a new classifier where it has none, where it will be trained."""
    torch.manual_seed(seed)
    supernet, new, note = load_for_task(
        sizes.model_name_or_path,
        task.label_names,
        regression=task.regression,
        ignore_mismatched_sizes=sizes.ignore_mismatched_sizes,
        depths=sizes.depths,
        intermediate_sizes=sizes.intermediate_sizes,
        num_heads=sizes.num_heads,
        sequence_length=sizes.sequence_length,
        dtype=torch.float32,  # whatever the checkpoint was saved in
    )
    if new and not sizes.original_epochs:
        raise InvalidInputError(
            f"`--original_epochs 0` is for a checkpoint that is fine-tuned for the task, but of "
            f"`{sizes.model_name_or_path}` the {' and '.join(new)} would be newly drawn. Raise it."
        )
    if new:
        accelerator.print(f"Newly drawn, to be fine-tuned before the search: {' and '.join(new)}")
    if note:
        accelerator.print(note)
    config = supernet.config
    if task.max_length > config.max_position_embeddings or len(task.tokenizer) > config.vocab_size:
        raise InvalidInputError(
            f"`--max_length` must be at most the checkpoint's {config.max_position_embeddings} positions, and its "
            f"tokenizer have at most its {config.vocab_size:,} tokens, but they are {task.max_length} and "
            f"{len(task.tokenizer):,}."
        )
    name_labels(supernet, task)
    # Settings of a run are compared when it goes on: what a checkpoint holds counts, not where it lies, and saving it
    # notes its class.
    config._name_or_path, config.architectures = "", [type(supernet).__name__]
    # Latency and the time of a step are those of the device that trains.
    return supernet.to(accelerator.device)


def check_training(task: TextTask, search: TrainingSettings, final: TrainingSettings, accelerator: Accelerator) -> None:
    """Check before work starts what would stop the search, or the training after it."""
    check_batch_size(task, "train", search, accelerator)
    check_batch_size(task, "full", final, accelerator)
    if task.regression and final.label_smoothing:
        raise InvalidInputError(
            f"`--final_label_smoothing` must be 0 for `{task.name}`, whose label is a number and no class. Drop it."
        )


def cost_tables(
    supernet: BertSupernetForSequenceClassification,
    wanted: BertNetworkArguments,
    file: Path | None,
    accelerator: Accelerator,
) -> list[CostTable]:
    """Multiply-adds, parameters with and without embeddings, and latency where it is limited."""
    tables = [
        searchhub.macs_table(supernet),
        searchhub.params_table(supernet),
        searchhub.params_table(supernet, embeddings=False),
    ]
    if wanted.max_latency_ms:
        tables.append(latency_table(supernet, wanted.latency_batch_size, file, accelerator))
        accelerator.print(f"Latency: {tables[-1].unit}")
    return tables


def latency_table(
    supernet: BertSupernetForSequenceClassification, batch_size: int, file: Path | None, accelerator: Accelerator
) -> LatencyTable:
    """Latency, measured once a run, by one process while the others wait; without a file it is not kept."""
    if file is None:
        return searchhub.measure_latency(supernet, batch_size=batch_size)
    if accelerator.is_main_process and not file.exists():
        table = searchhub.measure_latency(supernet, batch_size=batch_size)
        file.parent.mkdir(parents=True, exist_ok=True)
        table.save(file)
    accelerator.wait_for_everyone()
    table = LatencyTable.load(file, supernet.search_space)
    if table.batch_size != batch_size:
        raise InvalidInputError(
            f"`--latency_batch_size` must be the {table.batch_size} that `{file}` was measured with, but is "
            f"{batch_size}. Give that, or another `--output_dir`."
        )
    return table


def limits_of(wanted: BertNetworkArguments, costs: Sequence[CostTable]) -> list[Wanted]:
    """The limits asked for; where none are, one at 60 % of the way through the encoder's parameters."""
    encoder = next(cost for cost in costs if cost.name == "encoder_params")
    return limits_together(wanted.limits(), together=wanted.together) or limits_together(
        {encoder.name: [between(encoder, 0.6)]}
    )


def uniform_layers(supernet: BertSupernetForSequenceClassification, *, needed: bool) -> Find | None:
    """Finds evenly spread whole layers within limits; None: the sizes on offer leave no layer whole.

    Raises:
        InvalidInputError: There are none, but they are `needed`.
    """
    if supernet.whole_layers:
        return first_within(supernet.whole_layers)
    if needed:
        raise InvalidInputError(
            "`--searcher uniform` keeps whole layers, so `--intermediate_sizes` and `--num_heads` must offer the "
            f"checkpoint's {supernet.config.intermediate_size} and {supernet.config.num_attention_heads}, but do not. "
            "Add them."
        )
    return None


def reload_texts(folders: list[Path], data: TextDataArguments, seed: int, mixed_precision: str) -> None:
    """Load every folder in a fresh process, as anyone would, and measure it again there, in the run's precision."""
    script = Path(__file__).with_name("eval_glue.py")
    given = {name: value for name, value in dataclasses.asdict(data).items() if value is not None}
    options = [f"--{name}={value}" for name, value in given.items()]
    command = [sys.executable, str(script), "--models", *map(str, folders), f"--seed={seed}", "--check", *options]
    # One process, whatever launched this one.
    alone = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    alone["ACCELERATE_MIXED_PRECISION"] = mixed_precision
    if folders and subprocess.run(command, env=alone).returncode:
        raise SearchhubError("Every network must load in a fresh process and reach its score there; see above.")


def main(argv: list[str]) -> None:
    """Fine-tune, order, search, generate, fine-tune again, compare, reload."""
    data, sizes, searching, training, wanted, run = arguments = parse(KINDS, argv, __doc__)
    folder, seed = Path(run.output_dir), run.seed
    if searching.search_distillation and not training.distillation_weight:
        raise InvalidInputError(
            "`--search_distillation` needs a teacher's part in the loss, but `--distillation_weight` is 0. Raise it."
        )
    transformers_logging.set_verbosity_error()
    accelerator = begin(training, run)
    say = accelerator.print
    with accelerator.main_process_first():
        task = data.task(load_tokenizer(sizes.model_name_or_path), seed)
    say(f"Data: {task.name}: " + ", ".join(f"{task.size(s):,} {s}" for s in ("train", "validation", "test")))
    supernet = load_supernet(sizes, task, seed, accelerator)
    space = supernet.search_space
    settings, final_settings = training.search_settings(), training.distilling(training.final_settings())
    if searching.search_distillation:
        settings = training.distilling(settings)
    check_training(task, settings, final_settings, accelerator)
    searcher = searching.build(space, seed)
    say(f"Space: {space.size:,} architectures of {sizes.model_name_or_path}")
    costs = cost_tables(supernet, wanted, None if run.dry_run else folder / LATENCY, accelerator)
    limits = limits_of(wanted, costs)
    if searcher is None and (folder / RUN_CONFIG).exists():
        raise InvalidInputError(f"`{folder}` must not hold a search where nobody searches. Choose another folder.")
    uniform = uniform_layers(supernet, needed=searcher is None)
    beside = {UNIFORM: uniform} if wanted.uniform_network and searcher is not None and uniform is not None else None
    if run.dry_run:
        say(estimate(supernet, task, settings, searcher, costs, limits, training.epochs, final_settings))
        each = 1 + wanted.random_networks + (beside is not None)
        say(
            f"Before the search: the original, {sizes.original_epochs} epochs. After it: at most "
            f"{len(limits) * each + wanted.train_largest} networks."
        )
        return
    find = generate if searcher is not None else uniform
    check_limits(costs, limits, random_networks=wanted.random_networks, seed=seed, find=find)

    with ProgressDisplay(2 if searcher is None else 3, enabled=accelerator.is_main_process) as progress:
        original = OriginalTrainer(
            supernet,
            supernet.full_architecture,
            task,
            training.original_settings(sizes.original_learning_rate),
            accelerator,
            epochs=sizes.original_epochs,
            seed=seed,
            folder=folder,
            then=ordering(sizes, task, training.batch_size, seed),
        )
        with progress.stage("fine-tune the original", 1) as stage:
            stage.begin(sizes.model_name_or_path)
            started = original.train(stage.step)
            stage.advance(best=started["metrics"][task.metric_name])
        gc.freeze()  # each trial collects garbage; what is here now need not be looked at again
        with_teacher = task
        if training.distillation_weight:
            with_teacher = distilled(
                task, supernet.extract(supernet.subnet_of_any_size(supernet.full_architecture)), accelerator
            )
        from_original = training.start == "original" or searcher is None
        start = copy.deepcopy(supernet) if from_original else supernet
        if searcher is None:
            result = SearchResult(space, (), searcher={"searcher": UNIFORM}).with_costs(*costs)
        else:
            result = search_shared(
                searcher,
                supernet,
                with_teacher if searching.search_distillation else task,
                settings,
                accelerator,
                costs,
                progress,
                run,
                arguments,
                epochs_per_trial=searching.epochs_per_trial,
                max_steps_per_trial=searching.steps_per_trial,
            )
        trainer = NetworkTrainer(
            start,
            result,
            with_teacher,
            final_settings,
            accelerator,
            epochs=training.epochs,
            seed=seed,
            folder=folder,
            inherit_weights=training.inherit_weights,
            start="weights of the fine-tuned checkpoint" if from_original else "weights of the supernet",
            base_model=sizes.model_name_or_path,
            search_settings={"searcher": dict(result.searcher), "training": settings.to_dict()},
            search_cost=spent(result, accelerator),
            command=["python", *sys.argv],
            publish_as=plain_where_possible if wanted.plain_bert else None,
        )
        save_trainer(trainer, searched=supernet if from_original else None)
        if wanted.uniform_network and uniform is None:
            progress.message("No uniform networks: the sizes on offer leave no layer whole.")
        networks = choose_networks(
            result,
            limits,
            random_networks=wanted.random_networks,
            with_largest=wanted.train_largest,
            seed=seed,
            on_unmet=progress.message,
            find=find,
            beside=beside,
        )
        reports = trainer.train_all(networks, progress)
    accelerator.end_training()
    if accelerator.is_main_process:
        reload = partial(reload_texts, data=data, seed=seed, mixed_precision=training.mixed_precision)
        also = [f"The original, fine-tuned before the search: {started['metrics']}"]
        summarize_networks(result, networks, reports, task, folder, reload, also=also)


def ordering(sizes: BertArguments, task: TextTask, batch_size: int, seed: int) -> tuple | None:
    """What orders heads and neurons by importance, and the words for it."""
    if sizes.order == "none":
        return None

    def order(supernet: BertSupernetForSequenceClassification) -> None:
        batches = importance_batches(task, sizes.order_examples, batch_size, supernet.device, seed)
        order_by_importance(supernet, batches, sizes.order)

    return order, {"order": sizes.order, "order_examples": sizes.order_examples, "order_seed": seed}


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to go on.", file=sys.stderr)
        sys.exit(130)
