"""A checkpoint that is compressed: how it becomes a supernet, and what is done with all of it before the search."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from accelerate import Accelerator

from searchhub.callbacks.progress import ProgressDisplay
from searchhub.data.task import Task
from searchhub.data.text import TextTask
from searchhub.errors import InvalidInputError
from searchhub.models.bert.checkpoint_bert import load_for_task
from searchhub.models.bert.importance_bert import order_by_importance
from searchhub.models.bert.supernet_bert import BertSupernetForSequenceClassification
from searchhub.models.identity import name_labels
from searchhub.models.supernet import Supernet
from searchhub.networks.original import AfterTraining, OriginalTrainer, importance_batches
from searchhub.training.distillation import distilled
from searchhub.training.settings import TrainingSettings

if TYPE_CHECKING:
    from searchhub.workflows.trainer import SearchTrainer

FINE_TUNING = TrainingSettings(
    optimizer="adamw", learning_rate=5e-5, weight_decay=0.01, max_grad_norm=1.0, warmup_steps=20
)
"""How a checkpoint, and what comes out of it, is fine-tuned unless somebody says otherwise."""

SEARCH_FINE_TUNING = replace(FINE_TUNING, min_learning_rate=2e-5)
"""The same for trials of a search, whose late rounds are not to stand still."""


@dataclass(frozen=True, kw_only=True)
class CompressionArguments:
    """What is done with a whole checkpoint before its parts are searched.

    Args:
        base_model: The checkpoint's name, for cards.
        epochs: Passes of fine-tuning it on the train split; 0: it is fine-tuned already.
        training: How it is fine-tuned.
        order: By what heads and neurons are ordered, so that the first are the most important: "first_order",
            "magnitude", or "none".
        order_examples: How many training examples importance is measured on.
        start: Whose weights networks start from in the end: "original", the fine-tuned checkpoint's; or "supernet",
            those after the search. docs/results/bert.md compares them. Where nobody searches they are the same.
        distil_search: Whether trials of the search learn from the fine-tuned checkpoint, too.
    """

    base_model: str | None = None
    epochs: int = 3
    training: TrainingSettings = field(default_factory=lambda: FINE_TUNING)
    order: Literal["first_order", "magnitude", "none"] = "first_order"
    order_examples: int = 512
    start: Literal["original", "supernet"] = "original"
    distil_search: bool = False


@dataclass(frozen=True)
class Prepared:
    """What a search and the training after it work on.

    Args:
        supernet: The supernet whose weights networks may inherit; the search's own, or a copy from before it.
        final_task: What networks are trained on in the end; None: what the trainer was given.
        search_task: What trials are trained on; None: the task.
        start: What the inherited weights are, for cards.
    """

    supernet: Supernet
    final_task: Task | None = None
    search_task: Task | None = None
    start: str = "weights of the supernet"


def load_checkpoint(
    name: str,
    task: Task,
    accelerator: Accelerator,
    *,
    fine_tuned: bool = False,
    ignore_mismatched_sizes: bool = False,
    **fields: Any,
) -> BertSupernetForSequenceClassification:
    """A BERT checkpoint as a supernet, where it will be trained, with a new classifier where it has none.

    What is new is drawn from torch's global random numbers: seed them.

    Args:
        name: A Hub id or a folder.
        task: The texts that it is to classify.
        accelerator: The accelerator of this process; it prints what is new.
        fine_tuned: Whether the checkpoint must be fine-tuned for the task already, so that nothing may be new.
        ignore_mismatched_sizes: Whether to draw a new classifier where the checkpoint's is of another number of labels.
        **fields: Fields of `BertSupernetConfig`: `depths`, `intermediate_sizes`, `num_heads`, `sequence_length`.

    Raises:
        InvalidInputError: The checkpoint is no BERT encoder, does not fit the task, or should be fine-tuned and is not.
    """
    if not isinstance(task, TextTask):
        raise InvalidInputError(
            f"A BERT checkpoint must be compressed on a task of texts, but `{task.name}` is a {type(task).__name__}. "
            "Load one with `load_glue_task` or `load_text_task`."
        )
    supernet, new, note = load_for_task(
        name,
        task.label_names,
        regression=task.regression,
        ignore_mismatched_sizes=ignore_mismatched_sizes,
        dtype=torch.float32,  # whatever the checkpoint was saved in
        **fields,
    )
    if new and fine_tuned:
        raise InvalidInputError(
            f"`--original_epochs 0` is for a checkpoint that is fine-tuned for the task, but of "
            f"`{name}` the {' and '.join(new)} would be newly drawn. Raise it."
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


def prepare(trainer: SearchTrainer, progress: ProgressDisplay) -> Prepared:
    """Fine-tune the whole checkpoint, order its parts by importance, and make a teacher of it where one is wanted.

    Args:
        trainer: Its supernet is trained in place.
        progress: Shows the fine-tuning as a stage.

    Raises:
        InvalidInputError: The supernet is of no checkpoint.
        RunMismatchError: The run's folder holds a checkpoint that was fine-tuned otherwise.
    """
    args, supernet, task = trainer.compression, trainer.supernet, trainer.task
    assert args is not None
    full = getattr(supernet, "full_architecture", None)
    if full is None:
        raise InvalidInputError(
            f"`compression` is for the supernet of a checkpoint, but a {type(supernet).__name__} is none. Leave it out."
        )
    original = OriginalTrainer(
        supernet,
        full,
        task,
        args.training,
        trainer.accelerator,
        epochs=args.epochs,
        seed=trainer.args.seed,
        folder=trainer.folder,
        then=_ordering(args, task, trainer.args.seed),
    )
    with progress.stage("fine-tune the original", 1) as stage:
        stage.begin(args.base_model or "the checkpoint")
        facts = original.train(stage.step)
        stage.advance(best=facts["metrics"][task.metric_name])
    final_task = trainer.final_task
    if trainer.final_training.distillation_weight:
        final_task = distilled(final_task, supernet.extract(supernet.subnet_of_any_size(full)), trainer.accelerator)
    search_task = final_task if args.distil_search else task
    if args.start == "original" or not trainer.searcher.num_trials:
        return Prepared(copy.deepcopy(supernet), final_task, search_task, "weights of the fine-tuned checkpoint")
    return Prepared(supernet, final_task, search_task)


def _ordering(args: CompressionArguments, task: Task, seed: int) -> AfterTraining | None:
    """What orders heads and neurons by importance."""
    if args.order == "none":
        return None

    def order(supernet: Supernet) -> None:
        batches = importance_batches(task, args.order_examples, args.training.batch_size, supernet.device, seed)
        order_by_importance(supernet, batches, args.order)

    return AfterTraining(order, {"order": args.order, "order_examples": args.order_examples, "order_seed": seed})
