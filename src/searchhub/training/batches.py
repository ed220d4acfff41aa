"""Decides which examples make a step, on which process, in which part, from seeds alone, so that resuming is exact."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator

import torch
from accelerate import Accelerator

from searchhub.data.distilled import DISTILLATION
from searchhub.data.task import Batch, Split, Task, check_not_dense
from searchhub.errors import InvalidInputError
from searchhub.training.settings import TrainingSettings


def derive_seed(seed: int, *parts: int | str) -> int:
    """Derives a 63-bit seed that depends on all arguments and on nothing else."""
    text = "/".join(str(p) for p in (seed, *parts)).encode()
    return (zlib.crc32(text) << 31) ^ zlib.adler32(text[::-1])


def check_batch_size(task: Task, split: Split, settings: TrainingSettings, accelerator: Accelerator) -> None:
    """Checks before work starts that batches can be made.

    Raises:
        InvalidInputError: The split holds no whole batch, a batch cannot be divided evenly among processes and parts,
            or it cannot hold the teacher's outputs that the settings ask for.
    """
    if settings.distillation_weight:
        check_not_dense(task, DISTILLATION)
    parts = accelerator.num_processes * settings.gradient_accumulation_steps
    if settings.batch_size % parts:
        raise InvalidInputError(
            f"`batch_size` must divide by processes x gradient_accumulation_steps ({accelerator.num_processes} x "
            f"{settings.gradient_accumulation_steps}), but is {settings.batch_size}."
        )
    if task.size(split) < settings.batch_size:
        raise InvalidInputError(
            f"The split `{split}` of `{task.name}` must hold at least one batch of {settings.batch_size}, but holds "
            f"{task.size(split)} examples. Lower the batch size."
        )


def steps_per_epoch(task: Task, split: Split, settings: TrainingSettings) -> int:
    """Returns the optimizer steps of one pass; a ragged last batch is dropped."""
    return task.size(split) // settings.batch_size


def training_batches(
    task: Task, split: Split, settings: TrainingSettings, accelerator: Accelerator, seed: int
) -> Iterator[list[Batch]]:
    """Goes once through a split; yields, for each optimizer step, the parts that this process takes.

    A batch is the same whatever the number of processes: process r takes the r-th share of it. Augmentation depends on
    the seed and the example alone.
    """
    order = task.order(split, batch_size=settings.batch_size, seed=seed)
    share = settings.batch_size // accelerator.num_processes
    part = share // settings.gradient_accumulation_steps
    steps = []
    for step in range(steps_per_epoch(task, split, settings)):
        start = step * settings.batch_size + accelerator.process_index * share
        steps.append([order[i : i + part] for i in range(start, start + share, part)])
    yield from _batches(task, split, steps, accelerator.device, seed)


def evaluation_batches(task: Task, split: Split, batch_size: int, accelerator: Accelerator) -> Iterator[Batch]:
    """Yields this process's contiguous share of a split, in order, not augmented."""
    size, processes = task.size(split), accelerator.num_processes
    start = size * accelerator.process_index // processes
    end = size * (accelerator.process_index + 1) // processes
    steps = [[torch.arange(i, min(i + batch_size, end))] for i in range(start, end, batch_size)]
    for (batch,) in _batches(task, split, steps, accelerator.device):
        yield batch


def _batches(
    task: Task, split: Split, steps: list[list[torch.Tensor]], device: torch.device, seed: int | None = None
) -> Iterator[list[Batch]]:
    """Yields the batches of each step's indices. A task with `prefetch` hears of a step while the last is used."""
    prefetch = getattr(task, "prefetch", None)
    for now, after in itertools.zip_longest(steps, steps[1:], fillvalue=[]):
        if prefetch is not None:
            prefetch(split, [*now, *after], seed=seed)
        yield [task.batch(split, indices, device=device, seed=seed) for indices in now]
