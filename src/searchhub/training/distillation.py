"""Lets a network learn from a teacher's outputs."""

from __future__ import annotations

from accelerate import Accelerator
from torch import nn

from searchhub.data.distilled import DISTILLATION, DistilledTask
from searchhub.data.task import Task, check_not_dense
from searchhub.training.loop import outputs


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
