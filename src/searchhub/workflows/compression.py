"""Compresses a checkpoint: makes a supernet of it, and prepares the whole checkpoint before the search."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from accelerate import Accelerator

from searchhub.callbacks.progress import ProgressDisplay
from searchhub.data.splits import HELD_OUT
from searchhub.data.task import Task
from searchhub.data.text import TextTask
from searchhub.distributed import OnMain
from searchhub.errors import InvalidInputError
from searchhub.models.bert.checkpoint_bert import load_for_task
from searchhub.models.bert.importance_bert import order_by_importance
from searchhub.models.bert.reconstruction_bert import BertReconstruction, gather_reconstruction
from searchhub.models.bert.supernet_bert import BertSupernetForSequenceClassification
from searchhub.models.identity import name_labels
from searchhub.models.shells import Reconstruction
from searchhub.models.supernet import Supernet
from searchhub.networks.original import AfterTraining, OriginalTrainer, importance_batches
from searchhub.redact import redact_whole
from searchhub.run_folder import RECONSTRUCTION
from searchhub.training.accelerator import Processes
from searchhub.training.settings import TrainingSettings
from searchhub.workflows.teaching import taught

if TYPE_CHECKING:
    from searchhub.workflows.trainer import SearchTrainer

ORDERS, STARTS = ("first_order", "fisher", "magnitude", "none"), ("original", "supernet")
JUDGES = ("labels", "parent")

FINE_TUNING = TrainingSettings(
    optimizer="adamw", learning_rate=5e-5, weight_decay=0.01, max_grad_norm=1.0, warmup_steps=20
)
"""Default settings for fine-tuning a checkpoint and the networks that come out of it."""

FINE_TUNING_EPOCHS = 3
"""Epochs of fine-tuning a checkpoint whose classifier does not have the task's labels yet."""

SEARCH_FINE_TUNING = replace(FINE_TUNING, min_learning_rate=2e-5)
"""Default settings for trials of the search. The learning rate ends above 0, so that late rounds still learn."""


@dataclass(frozen=True, kw_only=True)
class CompressionArguments:
    """How a whole checkpoint is prepared before its parts are searched.

    Args:
        base_model: The checkpoint's name, for cards.
        epochs: Epochs of fine-tuning on the train split. 0: the checkpoint is fine-tuned already. None: 0 if its
            classifier has the task's labels by name, else 3.
        labels: Names of the labels of the checkpoint's classifier, in its order. None: those of its configuration.
        training: Settings of the fine-tuning.
        order: Measure that orders heads and neurons, the most important first: "first_order", "fisher", "magnitude", or
            "none".
        order_examples: Number of training examples on which importance is measured, and activations where
            `reconstruct` asks for them.
        start: Weights that networks start from in the end: those of the fine-tuned checkpoint, "original", or those
            after the search, "supernet". docs/results/bert.md compares them. Without a search they are the same.
        reconstruct: Whether networks start with output matrices of attention and feed-forward parts that least squares
            fit to the fine-tuned checkpoint's activations on these examples, in place of its own that are only cut
            (`BertReconstruction`). A search that trains nothing scores networks with them, too.
        distil_search: Whether trials of the search learn from the fine-tuned checkpoint, too.
        judge: What trains and scores the search: the "labels", or the outputs of the fine-tuned checkpoint, its
            "parent". Then no label is read, unlabelled texts of the task are learnt from, too, and the score is
            exp(-divergence from the parent) on validation texts (`searchhub.data.distilled.JudgedTask`).
        judged: Largest number of validation texts on which the parent judges. None: all.
        library: Number of validation texts on which the parent judges each single change of itself, before the search;
            the report shows it. It decides nothing. 0: none.
        note: What readers of the checkpoint's figures should know. It changes nothing else.
    """

    base_model: str | None = None
    epochs: int | None = None
    labels: Sequence[str] | None = None
    training: TrainingSettings = field(default_factory=lambda: FINE_TUNING)
    order: Literal["first_order", "fisher", "magnitude", "none"] = "first_order"
    order_examples: int = 512
    start: Literal["original", "supernet"] = "original"
    reconstruct: bool = False
    distil_search: bool = False
    judge: Literal["labels", "parent"] = "labels"
    judged: int | None = 512
    library: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        for name, offered in (("order", ORDERS), ("start", STARTS), ("judge", JUDGES)):
            if getattr(self, name) not in offered:
                raise InvalidInputError(f"`{name}` must be one of {list(offered)}, but is {getattr(self, name)!r}.")
        if (self.judged is not None and self.judged < 1) or self.library < 0:
            raise InvalidInputError(
                f"`judged >= 1` and `library >= 0` must hold, but they are {self.judged} and {self.library}."
            )
        if self.reconstruct and self.start != "original":
            raise InvalidInputError(
                "`reconstruct` must be False where networks start from the weights after the search, because output "
                'matrices are solved for those of the fine-tuned checkpoint. Start from these: `start` "original".'
            )
        if (self.epochs or 0) < 0 or self.order_examples < 1:
            raise InvalidInputError(
                f"`epochs >= 0` and `order_examples >= 1` must hold, but they are {self.epochs} and "
                f"{self.order_examples}."
            )


@dataclass(frozen=True)
class Prepared:
    """The supernet and the tasks of a search and of the training after it.

    Args:
        supernet: The supernet whose weights networks may inherit: the search's own, or a copy from before it.
        final_task: The task of the final training. None: the one that the trainer was given.
        search_task: The task of the search's trials. None: the trainer's task.
        start: Name of the inherited weights, for cards.
        reconstruction: Weights that networks start from in place of some inherited ones.
    """

    supernet: Supernet
    final_task: Task | None = None
    search_task: Task | None = None
    start: str = "weights of the supernet"
    reconstruction: Reconstruction | None = None


@dataclass(frozen=True)
class Original:
    """A checkpoint that was loaded for a task.

    Args:
        supernet: The supernet of the checkpoint.
        epochs: Epochs of fine-tuning that are to come. 0: it is fine-tuned already.
        note: What readers of its figures should know; "" for nothing.
    """

    supernet: BertSupernetForSequenceClassification
    epochs: int
    note: str = ""


def load_checkpoint(
    name: str, task: Task, accelerator: Accelerator, *, fine_tuned: bool = False, **options: Any
) -> BertSupernetForSequenceClassification:
    """Loads a BERT checkpoint as a supernet on the accelerator's device. A missing classifier is drawn.

    New weights are drawn from torch's global random numbers, so seed them.

    Args:
        name: A Hub id or a folder.
        task: The texts to classify.
        accelerator: The accelerator of this process. It prints which weights are new.
        fine_tuned: Whether the checkpoint must be fine-tuned for the task already, so that no weights may be new.
        **options: `labels`, `ignore_mismatched_sizes` and fields of `BertSupernetConfig`, see `load_original`.

    Raises:
        InvalidInputError: The checkpoint is no BERT encoder, does not fit the task, or must be fine-tuned and is not.
    """
    return load_original(name, task, accelerator, epochs=0 if fine_tuned else FINE_TUNING_EPOCHS, **options).supernet


def load_original(
    name: str,
    task: Task,
    accelerator: Accelerator,
    *,
    epochs: int | None = None,
    labels: Sequence[str] | None = None,
    ignore_mismatched_sizes: bool = False,
    **fields: Any,
) -> Original:
    """Loads a BERT checkpoint as a supernet on the accelerator's device. A missing classifier is drawn.

    New weights are drawn from torch's global random numbers, so seed them.

    Args:
        name: A Hub id or a folder.
        task: The texts to classify.
        accelerator: The accelerator of this process. It prints which weights are new, and what is taken as it is.
        epochs: Epochs of fine-tuning that are to come. None: 0 if its classifier has the task's labels by name, 3 if
            it has no classifier; else an error.
        labels: Names of the labels of its classifier, in its order. None: those of its configuration.
        ignore_mismatched_sizes: Whether to draw a new classifier if the checkpoint's has another number of labels.
        **fields: Fields of `BertSupernetConfig`: `depths`, `intermediate_sizes`, `num_heads`, `sizes`,
            `sequence_length`.

    Raises:
        InvalidInputError: The checkpoint is no BERT encoder, does not fit the task, or must be fine-tuned and is not.
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
        fine_tune=None if epochs is None else epochs > 0,
        names=labels,
        ignore_mismatched_sizes=ignore_mismatched_sizes,
        dtype=torch.float32,  # whichever precision the checkpoint was saved in
        **fields,
    )
    if new and epochs == 0:
        raise InvalidInputError(
            f"`--original_epochs 0` is for a checkpoint that is fine-tuned for the task, but of "
            f"`{name}` the {' and '.join(new)} would be newly drawn. Raise it."
        )
    if new:
        accelerator.print(f"Newly drawn, to be fine-tuned before the search: {' and '.join(new)}")
    if note:
        accelerator.print(note)
    if epochs is None and not new:
        accelerator.print(
            f"The classifier of `{name}` has the task's labels: it is taken as it is, fine-tuned already. "
            "`--original_epochs 3` fine-tunes it further."
        )
    seen = "" if "classifier" in new or task.own_splits.get("test") != HELD_OUT else _may_have_seen(name, task)
    if seen:
        accelerator.print(seen)
    config = supernet.config
    if task.max_length > config.max_position_embeddings or len(task.tokenizer) > config.vocab_size:
        raise InvalidInputError(
            f"`--max_length` must be at most the checkpoint's {config.max_position_embeddings} positions, and its "
            f"tokenizer have at most its {config.vocab_size:,} tokens, but they are {task.max_length} and "
            f"{len(task.tokenizer):,}."
        )
    name_labels(supernet, task)
    # Settings of a run are compared when it goes on: the content of a checkpoint counts, not its path, and saving it
    # notes its class.
    config._name_or_path, config.architectures = "", [type(supernet).__name__]
    # Latency and the time of a step are measured on the device that trains.
    supernet = supernet.to(accelerator.device)
    return Original(supernet, (FINE_TUNING_EPOCHS if new else 0) if epochs is None else epochs, seen)


def _may_have_seen(name: str, task: Task) -> str:
    return (
        f"The test examples were drawn from {task.name}. If the checkpoint `{redact_whole(name)}`, which came with a "
        "classifier, was fine-tuned on some of them before, its test figures are too good, and so are those of "
        "networks made from it. Give examples that it has not seen: `--test_file`."
    )


def prepare(trainer: SearchTrainer, progress: ProgressDisplay) -> Prepared:
    """Fine-tunes the whole checkpoint, orders its parts by importance, and makes a teacher of it if one is wanted.

    Args:
        trainer: The trainer whose supernet is trained in place.
        progress: The display that shows the fine-tuning as a stage.

    Raises:
        InvalidInputError: The supernet does not come from a checkpoint.
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
        epochs=FINE_TUNING_EPOCHS if args.epochs is None else args.epochs,
        seed=trainer.args.seed,
        folder=trainer.folder,
        note=args.note,
        then=_ordering(args, task, trainer.args.seed),
    )
    with progress.stage("measure the original" if args.epochs == 0 else "fine-tune the original", 1) as stage:
        stage.begin(args.base_model or "the checkpoint")
        facts = original.train(stage.step)
        stage.advance(best=facts["metrics"][task.metric_name])
    final_task, search_task = taught(trainer, supernet, full, progress)
    if args.start == "original" or not trainer.searcher.num_trials:
        start, solved = "weights of the fine-tuned checkpoint", None
        if args.reconstruct:
            start, solved = f"{start}, output matrices solved anew", _reconstruction(trainer, args)
        return Prepared(copy.deepcopy(supernet), final_task, search_task, start, solved)
    return Prepared(supernet, final_task, search_task)


def _reconstruction(trainer: SearchTrainer, args: CompressionArguments) -> BertReconstruction:
    """Returns what output matrices are solved from: gathered on this process's share of examples, or read."""
    accelerator, task, seed = trainer.accelerator, trainer.task, trainer.args.seed
    path = trainer.folder / RECONSTRUCTION
    data = f"{args.order_examples} examples of {task.fingerprint()}, seed {seed}"
    if OnMain(Processes(accelerator))(path.exists):
        return BertReconstruction.load(path, trainer.supernet, data=data)
    batches = importance_batches(task, args.order_examples, args.training.batch_size, trainer.supernet.device, seed)
    own = batches[accelerator.process_index :: accelerator.num_processes]
    found = gather_reconstruction(trainer.supernet, own, data=data)
    OnMain(Processes(accelerator))(lambda: found.save(path))
    return found


def _ordering(args: CompressionArguments, task: Task, seed: int) -> AfterTraining | None:
    """Returns the change to the supernet that orders heads and neurons by importance."""
    if args.order == "none":
        return None

    def order(supernet: Supernet) -> None:
        batches = importance_batches(task, args.order_examples, args.training.batch_size, supernet.device, seed)
        if args.judge == "parent":
            batches = [_as_the_parent_says(supernet, batch) for batch in batches]
        order_by_importance(supernet, batches, args.order)

    own = {"order_labels": "parent"} if args.judge == "parent" else {}
    settings = {"order": args.order, "order_examples": args.order_examples, "order_seed": seed, **own}
    return AfterTraining(order, settings)


@torch.no_grad()
def _as_the_parent_says(supernet: Supernet, batch: dict[str, Any]) -> dict[str, Any]:
    """Returns a batch whose labels are what the whole checkpoint says, so that no label is read."""
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    logits = supernet.subnet_of_any_size(supernet.full_architecture).eval()(**inputs).logits
    return {**inputs, "labels": logits.squeeze(-1) if logits.shape[-1] == 1 else logits.argmax(-1)}
