"""Lets a network learn from a teacher's outputs, which are computed once and may be kept in a folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn

from searchhub.data.distilled import DISTILLATION, TEACHER_LOGITS, DistilledTask, HiddenStates, JudgedTask
from searchhub.data.task import Task, check_not_dense
from searchhub.data.text import TextTask, longest_first
from searchhub.data.unlabelled import teachable
from searchhub.distributed import OnMain
from searchhub.errors import InvalidInputError, RunMismatchError
from searchhub.files import read_json_object, replacing, write_json
from searchhub.training.accelerator import Processes
from searchhub.training.loop import StepCallback, outputs

LOGITS, HIDDEN, FACTS = "outputs.safetensors", "hidden_states.npy", "outputs.json"
"""Files of a folder of kept outputs. The facts are written last: they say that the others are whole."""


def distilled(task: Task, teacher: nn.Module, accelerator: Accelerator, *, batch_size: int = 256) -> DistilledTask:
    """Returns the task with a teacher's logits in its training batches, for `TrainingSettings.distillation_weight`.

    Args:
        task: A task without augmentation.
        teacher: A network for the same task. It is put in evaluation mode.
        accelerator: Accelerator of this process.
        batch_size: Number of examples of one forward pass, per process.

    Raises:
        InvalidInputError: The task is augmented or has a label for each pixel, or the teacher has other labels.
    """
    check_not_dense(task, DISTILLATION)
    teacher.to(accelerator.device)
    logits, _ = outputs(teacher, task, "full", batch_size, accelerator)
    return DistilledTask(task, logits)


def kept_outputs(
    task: Task,
    teacher: nn.Module,
    accelerator: Accelerator,
    folder: Path,
    identity: Mapping[str, Any],
    *,
    hidden: bool = False,
    batch_size: int = 64,
    on_step: StepCallback | None = None,
    say: Callable[[str], None] | None = None,
) -> tuple[torch.Tensor, HiddenStates | None]:
    """Returns a teacher's outputs on the split "full" of texts, and keeps them in a folder, from which they are read.

    The main process computes them and writes the files, each atomically; others read them. Hidden states are kept in
    half precision and stay on the disk: they take 2 bytes · tokens · hidden size, which is said first.

    Args:
        task: The texts.
        teacher: A network for the same task. It is put in evaluation mode.
        accelerator: Accelerator of this process.
        folder: The folder, on a disk that all processes share.
        identity: What tells this teacher from others, as plain JSON.
        hidden: Whether the last hidden states of all tokens are kept, too.
        batch_size: Number of texts of one forward pass.
        on_step: Called after each forward pass with (passes done, passes).
        say: Function that tells a person what the disk will hold. None: nobody is told.

    Returns:
        Logits, float32 [n, labels]; and hidden states, or None.

    Raises:
        RunMismatchError: The folder holds outputs of another teacher, or on other data.
        InvalidInputError: Hidden states are asked for, but the task is none of texts.
        RunFolderError: The disk is full.
    """
    wanted = {**identity, "task": task.fingerprint(), "texts": task.size("full")}

    def make() -> None:
        kept = read_json_object(folder / FACTS)
        if kept is not None:
            changed = [name for name, value in wanted.items() if kept.get(name) != value]
            if changed:
                raise RunMismatchError(
                    f"`{folder}` must hold outputs of this teacher on these data, but they differ in "
                    f"{', '.join(f'`{name}`' for name in changed)}. Delete `{folder / FACTS}`, or choose another "
                    "folder."
                )
            if (folder / LOGITS).exists() and (not hidden or (kept["hidden"] and (folder / HIDDEN).exists())):
                return
        lengths = _lengths(task) if hidden else None
        if lengths is not None and say is not None:
            size = int(lengths.sum()) * teacher.config.hidden_size * 2
            say(f"Hidden states of {int(lengths.sum()):,} tokens take {size / 1e6:,.0f} MB in `{folder}`.")
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as files:
            hidden_file = files.enter_context(replacing(folder / HIDDEN)) if hidden else None
            logits_file = files.enter_context(replacing(folder / LOGITS))
            _compute(task, teacher, accelerator, logits_file, hidden_file, batch_size, on_step)
        write_json(folder / FACTS, {**wanted, "hidden": hidden})

    OnMain(Processes(accelerator))(make)
    return read_outputs(task, folder, hidden=hidden)


def read_outputs(task: Task, folder: Path, *, hidden: bool = False) -> tuple[torch.Tensor, HiddenStates | None]:
    """Reads what `kept_outputs` keeps in a folder.

    Raises:
        InvalidInputError: The folder holds no such outputs, or outputs of other texts.
    """
    kept = read_json_object(folder / FACTS)
    there = (folder / LOGITS).exists() and (not hidden or (folder / HIDDEN).exists())
    if kept is None or not there or kept.get("task") != task.fingerprint() or (hidden and not kept["hidden"]):
        raise InvalidInputError(
            f"`{folder}` must hold a teacher's outputs on `{task.name}`, but holds none of these texts. Copy the "
            "whole run, or search again."
        )
    logits = load_file(folder / LOGITS)[TEACHER_LOGITS]
    if not hidden:
        return logits, None
    lengths = _lengths(task)
    return logits, HiddenStates(np.load(folder / HIDDEN, mmap_mode="r"), lengths.cumsum(0) - lengths, lengths)


def with_outputs(task: Task, logits: torch.Tensor, hidden: HiddenStates | None, *, labels: bool) -> DistilledTask:
    """Returns the task of a final training that also learns from a teacher's outputs on `teachable(task)`.

    Args:
        task: The task.
        logits: The teacher's logits.
        hidden: The teacher's hidden states. None: there are none.
        labels: Whether labels are learnt from, too. Without them unlabelled texts take part.
    """
    view = teachable(task)
    if view is task or not labels:
        return DistilledTask(view, logits, hidden)
    train, validation = task.size("train"), task.size("validation")
    rows = torch.cat([torch.arange(train), torch.arange(len(logits) - validation, len(logits))])
    return DistilledTask(task, logits[rows], None if hidden is None else hidden.select(rows))


def judged_again(task: Task, folder: Path, judged: int | None) -> JudgedTask:
    """Returns the task by which a teacher judged networks, from the outputs that a folder keeps.

    Args:
        task: The task.
        folder: The folder that `kept_outputs` wrote.
        judged: Largest number of validation examples that judge. None: all.

    Raises:
        InvalidInputError: The folder does not hold a teacher's outputs on these texts.
    """
    view = teachable(task)
    logits, _ = read_outputs(view, folder)
    return JudgedTask(view, logits, judged=judged)


def _lengths(task: Task) -> torch.Tensor:
    """Returns the number of tokens of each text of the split "full"."""
    if not isinstance(task, TextTask) and not hasattr(task, "lengths"):
        raise InvalidInputError(f"Hidden states are kept for tokens of texts, but `{task.name}` has none.")
    found: torch.Tensor = task.lengths("full")
    return found


def _take_space(file: Path) -> None:
    """Takes the disk's space for a file now: a full disk is an error here, and no signal in the midst of writing."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)


@torch.no_grad()
def _compute(
    task: Task,
    teacher: nn.Module,
    accelerator: Accelerator,
    logits_file: Path,
    hidden_file: Path | None,
    batch_size: int,
    on_step: StepCallback | None,
) -> None:
    """Writes a teacher's outputs, of the longest texts first, so that batches pad little."""
    size = task.size("full")
    lengths = task.lengths("full") if hasattr(task, "lengths") else torch.ones(size)
    order = longest_first(lengths)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.long().cumsum(0)])
    values = None
    if hidden_file is not None:
        shape = (int(starts[-1]), teacher.config.hidden_size)
        values = np.lib.format.open_memmap(hidden_file, mode="w+", dtype=np.float16, shape=shape)
        _take_space(hidden_file)
    teacher.to(accelerator.device).eval()
    parts = order.split(batch_size)
    logits: torch.Tensor | None = None
    for done, rows in enumerate(parts, 1):
        batch = task.batch("full", rows, device=accelerator.device)
        batch.pop("labels", None)
        with accelerator.autocast():
            output = teacher(**batch, **({} if values is None else {"output_hidden_states": True}))
        found = output.logits.float().cpu()
        logits = torch.empty(size, found.shape[1]) if logits is None else logits
        logits[rows] = found
        if values is not None:
            states = output.hidden_states[-1].float().cpu().numpy().astype(np.float16)
            for row, own in zip(rows.tolist(), states, strict=True):
                values[starts[row] : starts[row + 1]] = own[: int(lengths[row])]
        if on_step is not None:
            on_step(done, len(parts))
    if values is not None:
        values.flush()
    assert logits is not None
    save_file({TEACHER_LOGITS: logits.contiguous()}, logits_file)
