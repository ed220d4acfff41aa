"""A task whose training batches also hold the outputs of a teacher for each example."""

from __future__ import annotations

import torch

from searchhub.data.task import Batch, Split, Task, check_not_dense
from searchhub.data.view import TaskView
from searchhub.errors import InvalidInputError

TEACHER_LOGITS = "teacher_logits"
"""Name of the teacher's logits in a batch."""

DISTILLATION = "Learning from a teacher's outputs"
"""Words for errors about tasks of which a teacher's logits are too many to be kept."""


class DistilledTask(TaskView):
    """Another task whose batches also hold the logits of a teacher, which are computed once.

    `searchhub.training.distillation.distilled` makes it.

    Args:
        task: The task to view.
        logits: The teacher's logits, float [n, labels], for the split "full".

    Raises:
        InvalidInputError: The logits have another shape; or training batches are augmented, so that a teacher would
            have to see each batch.
    """

    def __init__(self, task: Task, logits: torch.Tensor) -> None:
        check_not_dense(task, DISTILLATION)
        super().__init__(task)
        if task.augmented:
            raise InvalidInputError(
                f"Batches of a distilled task must not be augmented, but those of `{task.name}` are."
            )
        if logits.shape != (task.size("full"), task.num_labels):
            raise InvalidInputError(
                f"`logits` must be [{task.size('full')}, {task.num_labels}], but are {list(logits.shape)}."
            )
        self.logits = logits
        train = task.size("train")
        self._logits: dict[str, torch.Tensor] = {"full": logits, "train": logits[:train], "validation": logits[train:]}

    def batch(self, split: Split, indices: torch.Tensor, *, device: torch.device, seed: int | None = None) -> Batch:
        batch = self.task.batch(split, indices, device=device, seed=seed)
        if seed is not None and split in self._logits:
            batch[TEACHER_LOGITS] = self._logits[split][indices].to(device)
        return batch

    def order(self, split: Split, *, batch_size: int, seed: int) -> torch.Tensor:
        return self.task.order(split, batch_size=batch_size, seed=seed)

    def fingerprint(self) -> str:
        return self.fingerprint_with(self.logits)
