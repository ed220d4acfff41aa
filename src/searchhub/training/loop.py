"""The one training loop: a pass of optimizer steps, and predictions, on any number of processes."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object
from torch import nn
from torch.optim.swa_utils import update_bn

from searchhub.data.distilled import OF_TEACHER, TEACHER_HIDDEN, TEACHER_LOGITS
from searchhub.data.task import Batch, Measured, Split, Tally, Task
from searchhub.errors import DivergedError, InvalidInputError
from searchhub.metrics.segmentation import VOID
from searchhub.training.batches import evaluation_batches
from searchhub.training.settings import TrainingSettings

StepCallback = Callable[[int, int], None]
"""Function that is called after each optimizer step with how many are done and how many there are."""

CHECK_EVERY = 25
"""Number of optimizer steps between checks of the loss; each check waits for the device."""


def train_pass(
    model: nn.Module,
    optimizer: Any,
    batches: Iterable[list[Batch]],
    settings: TrainingSettings,
    accelerator: Accelerator,
    *,
    first_step: int,
    total_steps: int,
    what: str,
    max_steps: int | None = None,
    on_step: Callable[[int], None] | None = None,
) -> float:
    """Takes optimizer steps and returns the mean loss over them and over processes.

    Args:
        model: The model, prepared by the accelerator.
        optimizer: The optimizer, prepared by the accelerator.
        batches: The parts that this process takes, for each step; their gradients are averaged.
        settings: Learning rate, label smoothing and clipping.
        accelerator: Accelerator of this process.
        first_step: Position in the schedule at which the pass starts.
        total_steps: Length of the schedule.
        what: What is trained; the error for a diverging loss names it.
        max_steps: Largest number of steps. None: no bound.
        on_step: Function that is called after each step with the number of steps done in this pass.

    Raises:
        DivergedError: A loss was NaN or infinite on some process; the error is raised on all.
    """
    model.train()
    parameters = list(model.parameters())

    def step(parts: list[Batch], learning_rate: float) -> torch.Tensor:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        loss = backward(model, parts, settings, accelerator)
        if settings.max_grad_norm is not None:
            accelerator.clip_grad_norm_(parameters, settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    bounded = batches if max_steps is None else itertools.islice(batches, max_steps)
    rates = (settings.learning_rate_at(done, total_steps) for done in itertools.count(first_step))
    return take_steps(step, zip(bounded, rates, strict=False), accelerator, first_step, what, on_step)


def take_steps(
    step: Callable[..., torch.Tensor],
    arguments: Iterable[tuple[Any, ...]],
    accelerator: Accelerator,
    first_step: int,
    what: str,
    on_step: Callable[[int], None] | None = None,
) -> float:
    """Takes optimizer steps, looks at their losses now and then, and returns the mean loss over them and processes.

    Args:
        step: Function that takes a step and returns its loss.
        arguments: The arguments of that function, for each step.
        accelerator: Accelerator of this process.
        first_step: Number of the first step, for the error.
        what: What is trained; the error for a diverging loss names it.
        on_step: Function that is called after each step with the number of steps done.

    Raises:
        DivergedError: A loss was NaN or infinite on some process; the error is raised on all.
    """
    losses: list[torch.Tensor] = []
    seen: list[float] = []
    for done, given in enumerate(arguments, 1):
        losses.append(step(*given))
        if len(losses) == CHECK_EVERY:
            seen += _check(losses, first_step + len(seen), what, accelerator)
            losses = []
        if on_step is not None:
            on_step(done)
    if losses:
        seen += _check(losses, first_step + len(seen), what, accelerator)
    return sum(seen) / max(1, len(seen))


def backward(
    model: nn.Module, parts: list[Batch], settings: TrainingSettings, accelerator: Accelerator
) -> torch.Tensor:
    """Adds the gradients of the mean loss over a step's parts, and returns that loss."""
    total: torch.Tensor | float = 0.0
    for i, part in enumerate(parts):
        last = i + 1 == len(parts)
        with contextlib.nullcontext() if last else accelerator.no_sync(model), accelerator.autocast():
            loss = _loss(model, part, settings) / len(parts)
            accelerator.backward(loss)
        total = total + loss.detach().float()
    assert isinstance(total, torch.Tensor)
    return total


def _loss(model: nn.Module, part: Batch, settings: TrainingSettings) -> torch.Tensor:
    """Returns the loss on the labels, mixed with the distance to a teacher's outputs, plus that of an auxiliary head.

    A part without labels has the teacher's outputs alone.
    """
    inputs: dict[str, Any] = {name: tensor for name, tensor in part.items() if name not in OF_TEACHER}
    if settings.hidden_weight:
        inputs["output_hidden_states"] = True
    output = model(**inputs)
    if settings.label_smoothing and output.logits.shape[1:] == (1,):
        raise InvalidInputError("`label_smoothing` must be 0 where a network has one output, which is no class.")
    if "labels" not in part:
        loss = output.logits.new_zeros((), dtype=torch.float32)
        if settings.distillation_weight != 1:
            raise InvalidInputError(
                "`distillation_weight` must be 1 where examples have no labels, but is "
                f"{settings.distillation_weight:g}. Raise it, or give labels."
            )
    elif settings.label_smoothing:
        loss = cross_entropy(output.logits, part["labels"], settings.label_smoothing)
    else:
        loss = output.loss
    if settings.distillation_weight:
        distance = distillation_loss(
            output.logits, _of_teacher(part, TEACHER_LOGITS, "distillation_weight"), settings.distillation_temperature
        )
        loss = torch.lerp(loss.float(), distance, settings.distillation_weight)
    if settings.hidden_weight:
        teacher = _of_teacher(part, TEACHER_HIDDEN, "hidden_weight")
        distance = hidden_distance(output.hidden_states[-1], teacher, part["attention_mask"])
        loss = loss + settings.hidden_weight * distance
    if settings.auxiliary_weight:
        auxiliary = cross_entropy(output.auxiliary_logits, part["labels"], settings.label_smoothing)
        loss = loss + settings.auxiliary_weight * auxiliary
    return loss


def _of_teacher(part: Batch, name: str, setting: str) -> torch.Tensor:
    if name not in part:
        what = name.removeprefix("teacher_").replace("hidden", "hidden states")
        raise InvalidInputError(f"A `{setting}` needs a teacher's {what} in the batches: `distilled`.")
    return part[name]


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Returns the mean cross-entropy, of examples or, where logits are maps, of all pixels that are not void.

    Maps of another size than the labels are resized to it first. Without a pixel of a class the loss is 0.

    Args:
        logits: Outputs [n, classes] or [n, classes, height, width].
        labels: Classes, int64 [n] or [n, height, width], with `VOID` for pixels of no class.
        smoothing: Label smoothing in [0, 1).
    """
    logits = logits.float()
    if logits.dim() < 4:
        return nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    if logits.shape[-2:] != labels.shape[-2:]:
        logits = nn.functional.interpolate(logits, labels.shape[-2:], mode="bilinear", align_corners=False)
    total = nn.functional.cross_entropy(logits, labels, ignore_index=VOID, reduction="sum", label_smoothing=smoothing)
    return total / (labels != VOID).sum().clamp(min=1)


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Measures how far a network's outputs [n, labels] are from its teacher's.

    It is T² times the Kullback-Leibler divergence of softmax(logits / T) from the teacher's (Hinton et al. 2015). For
    networks with one output (regression) it is the mean squared difference.
    """
    logits, teacher = logits.float(), teacher.float()
    if logits.shape[-1] == 1:
        return nn.functional.mse_loss(logits, teacher)
    student = nn.functional.log_softmax(logits / temperature, -1)
    target = nn.functional.log_softmax(teacher / temperature, -1)
    return temperature**2 * nn.functional.kl_div(student, target, log_target=True, reduction="batchmean")


def hidden_distance(hidden: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Returns the squared distance of hidden states to a teacher's, as a share of the teacher's squares.

    Args:
        hidden: Hidden states [n, tokens, size].
        teacher: The teacher's, of the same shape.
        mask: 1 for each token, 0 for padding, which does not count: [n, tokens].
    """
    real = mask.bool()
    mine, theirs = hidden.float()[real], teacher.float()[real]
    return (mine - theirs).square().sum() / theirs.square().sum().clamp(min=1e-12)


def _check(losses: list[torch.Tensor], first_step: int, what: str, accelerator: Accelerator) -> list[float]:
    mean = accelerator.reduce(torch.stack(losses), reduction="mean")
    values: list[float] = mean.tolist()
    for i, value in enumerate(values):
        if value != value or abs(value) == float("inf"):
            raise DivergedError(
                f"The loss must stay finite, but is {value} at step {first_step + i} of {what}. Lower the learning "
                "rate, clip gradients (`max_grad_norm`), or warm up (`warmup_steps`)."
            )
    return values


def evaluate(model: nn.Module, task: Task, split: Split, batch_size: int, accelerator: Accelerator) -> Measured:
    """Returns what a model reaches on a whole split, the same on every process.

    What is kept of each batch is what the task tallies, so memory need not grow with the number of examples.
    """
    return evaluate_on(model, task, evaluation_batches(task, split, batch_size, accelerator), accelerator)


def evaluate_on(model: nn.Module, task: Task, batches: Iterable[Batch], accelerator: Accelerator) -> Measured:
    """Returns what a model reaches on this process's batches and those of all others, taken in order."""
    return task.total(_tallied(model, batches, accelerator, task.tally, task.join))


def outputs(
    model: nn.Module, task: Task, split: Split, batch_size: int, accelerator: Accelerator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns logits, float32 [n, labels], and labels [n] of a whole split, in order, the same on every process."""
    batches = evaluation_batches(task, split, batch_size, accelerator)
    logits, labels = _tallied(model, batches, accelerator, partial(Task.tally, task), partial(Task.join, task))
    return logits, labels


@torch.no_grad()
def _tallied(
    model: nn.Module,
    batches: Iterable[Batch],
    accelerator: Accelerator,
    tally: Callable[[torch.Tensor, torch.Tensor], Tally],
    join: Callable[[Iterable[Tally]], Tally],
) -> Tally:
    model.eval()

    def tallies() -> Iterator[Tally]:
        for batch in batches:
            inputs = {name: tensor for name, tensor in batch.items() if name not in ("labels", *OF_TEACHER)}
            with accelerator.autocast():
                logits = model(**inputs).logits.float()
            yield tally(logits, batch["labels"])

    if accelerator.num_processes == 1:
        return join(tallies())
    own = tallies()
    mine = [join(itertools.chain([first], own)) for first in itertools.islice(own, 1)]
    return join(gather_object(mine))  # in the order of the processes; one may have none


def reestimate_batch_norm(
    model: nn.Module, task: Task, split: Split, settings: TrainingSettings, accelerator: Accelerator, *, batches: int
) -> None:
    """Measures BatchNorm statistics anew: plain averages over batches of a split, see `calibration_inputs`.

    Every process takes the same batches, so that all arrive at the same statistics.
    """
    if has_batch_norm(model):
        inputs = calibration_inputs(model.main_input_name, task, split, settings, accelerator, batches=batches)
        measure_batch_norm(model, inputs, accelerator)


def has_batch_norm(model: nn.Module) -> bool:
    """Whether a model has BatchNorm statistics."""
    return any(isinstance(m, nn.modules.batchnorm._NormBase) for m in model.modules())


def calibration_inputs(
    name: str, task: Task, split: Split, settings: TrainingSettings, accelerator: Accelerator, *, batches: int
) -> Iterator[torch.Tensor]:
    """Yields the inputs of that name in at most `batches` batches of a split.

    They are the first ones, not augmented. If pixels have labels, they are batches as training sees them, always the
    same: whole pictures would have other statistics, and take more memory. Their examples then lie evenly over the
    split, since the frames of a drive follow each other.
    """
    size, limit = settings.batch_size, min(task.size(split), batches * settings.batch_size)
    taken = torch.arange(limit)
    if task.dense:
        taken = taken * task.size(split) // limit
    for i in range(0, limit - limit % size or limit, size):
        yield calibration_batch(task, split, taken[i : i + size], accelerator.device)[name]


def calibration_batch(task: Task, split: Split, indices: torch.Tensor, device: torch.device) -> Batch:
    """Returns a batch of examples as BatchNorm statistics are measured with it, always the same."""
    return task.batch(split, indices, device=device, seed=0 if task.dense else None)


def measure_batch_norm(model: nn.Module, inputs: Iterable[torch.Tensor], accelerator: Accelerator) -> None:
    """Measures BatchNorm statistics anew: plain averages over batches of inputs."""
    with accelerator.autocast():
        update_bn(inputs, model)


def release_model(model: nn.Module, accelerator: Accelerator) -> None:
    """Makes the accelerator forget what it prepared, and leaves the model as it was before.

    The accelerator keeps every model, so that memory would grow with the number of trials; mixed precision leaves a
    wrapped `forward` on the model itself.
    """
    accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    vars(model).pop("forward", None)
    accelerator.free_memory()


def share_buffers(model: nn.Module, accelerator: Accelerator) -> None:
    """Gives every process the main process's buffers: training leaves each its own BatchNorm statistics."""
    if accelerator.num_processes > 1:
        for buffer in model.buffers():
            buffer.copy_(broadcast(buffer.data.clone()))
