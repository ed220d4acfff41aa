"""Trains one network for a fixed number of epochs. Networks that are compared all go through this function."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from searchhub.data.task import Split, Task
from searchhub.errors import InvalidInputError
from searchhub.training.batch_norm import check_batch_norm
from searchhub.training.batches import check_batch_size, derive_seed, steps_per_epoch, training_batches
from searchhub.training.loop import StepCallback, evaluate, release_model, share_buffers, train_pass
from searchhub.training.settings import TrainingSettings


@dataclass(frozen=True)
class TrainOutput:
    """The outcome of a training.

    Args:
        metrics: Metrics on the evaluated split, the task's primary metric among them.
        split: Name of the evaluated split.
        examples: Number of examples in that split.
        loss: Mean training loss of the last epoch.
        epochs: Number of epochs trained.
        steps: Number of optimizer steps taken.
        seconds: Wall time in seconds.
        evaluation_loss: Mean loss on the evaluated split. It is NaN or infinite if outputs are.
        by_class: Metrics of single classes, see `searchhub.data.task.Measured`.
    """

    metrics: dict[str, float]
    split: Split
    examples: int
    loss: float
    epochs: int
    steps: int
    seconds: float
    evaluation_loss: float
    by_class: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON, without metrics of classes where there are none; a loss that is not finite is None."""
        fields, loss = dict(vars(self)), self.evaluation_loss
        if not self.by_class:
            del fields["by_class"]
        return {**fields, "evaluation_loss": loss if math.isfinite(loss) else None}


def fit(
    model: PreTrainedModel,
    task: Task,
    settings: TrainingSettings,
    accelerator: Accelerator,
    *,
    epochs: int,
    seed: int,
    train_on: Split = "full",
    evaluate_on: Split = "test",
    on_step: StepCallback | None = None,
    on_epoch: Callable[[PreTrainedModel], None] | None = None,
) -> TrainOutput:
    """Trains a model for some epochs and evaluates it once, at the end.

    Nothing is chosen by looking at `evaluate_on`: there is no early stopping and no best epoch.

    Args:
        model: A model with its own weights, which is trained in place.
        task: The task, with its data and metric.
        settings: Optimizer, schedule and batch size.
        accelerator: Accelerator of this process.
        epochs: Passes over `train_on`, at least 1.
        seed: Seed of order, augmentation and dropout.
        train_on: Split to train on.
        evaluate_on: Split whose metrics are reported.
        on_step: Called after each optimizer step with (steps done, steps of the training).
        on_epoch: Called after each epoch with the model, which it must leave as it is.

    Raises:
        DivergedError: The loss is no longer finite.
        InvalidInputError: The settings ask for an auxiliary head or drop-path, but the model has none.
    """
    check_batch_size(task, train_on, settings, accelerator)
    check_batch_norm(lambda: type(model)(model.config), task, settings, accelerator)
    started = time.perf_counter()
    per_epoch = steps_per_epoch(task, train_on, settings)
    steps = epochs * per_epoch
    if settings.auxiliary_weight:
        torch.manual_seed(derive_seed(seed, "auxiliary head"))
        _method(model, "attach_auxiliary_head", "auxiliary_weight")()
    if settings.drop_path:
        _method(model, "set_drop_path", "drop_path")
    torch.manual_seed(derive_seed(seed, "dropout", accelerator.process_index))
    model.to(device=accelerator.device, memory_format=settings.memory_format)
    wrapped, optimizer = accelerator.prepare(model, settings.build_optimizer(model.parameters()))
    loss = float("nan")
    for epoch in range(epochs):
        if settings.drop_path:
            model.set_drop_path(settings.drop_path * epoch / epochs)
        loss = train_pass(
            wrapped,
            optimizer,
            training_batches(task, train_on, settings, accelerator, derive_seed(seed, "epoch", epoch)),
            settings,
            accelerator,
            first_step=epoch * per_epoch,
            total_steps=steps,
            what=f"epoch {epoch} of {type(model).__name__}",
            on_step=None if on_step is None else lambda done, e=epoch: on_step(e * per_epoch + done, steps),
        )
        if on_epoch is not None:
            on_epoch(model)
    del wrapped, optimizer
    release_model(model, accelerator)
    if settings.auxiliary_weight:
        model.detach_auxiliary_head()
    if settings.drop_path:
        model.set_drop_path(0.0)
    share_buffers(model, accelerator)
    measured = evaluate(model, task, evaluate_on, settings.eval_batch_size, accelerator)
    return TrainOutput(
        metrics=measured.metrics,
        split=evaluate_on,
        examples=task.size(evaluate_on),
        loss=loss,
        epochs=epochs,
        steps=steps,
        seconds=time.perf_counter() - started,
        evaluation_loss=measured.loss,
        by_class=measured.by_class,
    )


def _method(model: PreTrainedModel, name: str, setting: str) -> Callable[..., None]:
    method = getattr(model, name, None)
    if method is None:
        raise InvalidInputError(
            f"`{setting}` must be 0 for a {type(model).__name__}, which has no such thing. Networks of DARTS cells do."
        )
    found: Callable[..., None] = method
    return found
