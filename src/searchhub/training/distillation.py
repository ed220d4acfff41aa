"""A teacher's outputs, to learn from."""

from __future__ import annotations

from accelerate import Accelerator
from torch import nn

from searchhub.data.distilled import DistilledTask
from searchhub.data.task import Task
from searchhub.training.loop import outputs


def distilled(task: Task, teacher: nn.Module, accelerator: Accelerator, *, batch_size: int = 256) -> DistilledTask:
    """The task with a teacher's logits in its training batches, for `TrainingSettings.distillation_weight`.

    Args:
        task: Not augmented.
        teacher: A network for the same task; it is put in evaluation mode.
        accelerator: Of this process.
        batch_size: Examples of one forward pass, per process.

    Raises:
        InvalidInputError: The task is augmented, or the teacher has other labels.
    """
    teacher.to(accelerator.device)
    logits, _ = outputs(teacher, task, "full", batch_size, accelerator)
    return DistilledTask(task, logits)
