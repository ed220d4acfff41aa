"""A task whose training batches also tell what a teacher said of each example."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch

from searchhub.data.task import Batch, SavesItself, Split, Task
from searchhub.errors import InvalidInputError

TEACHER_LOGITS = "teacher_logits"
"""What batches call them."""


class DistilledTask(Task):
    """Another task, with the logits of a teacher in its batches, computed once.

    `searchhub.training.distillation.distilled` makes one.

    Args:
        task: The task.
        logits: Of the teacher, float [n, labels] for the split "full".

    Raises:
        InvalidInputError: The logits are of another shape, or training batches are augmented, so that a teacher would
            have to see each batch.
    """

    def __init__(self, task: Task, logits: torch.Tensor) -> None:
        super().__init__(task.name, task.label_names, task.metric_name, task.source)
        if task.augmented:
            raise InvalidInputError(
                f"Batches of a distilled task must not be augmented, but those of `{task.name}` are."
            )
        if logits.shape != (task.size("full"), task.num_labels):
            raise InvalidInputError(
                f"`logits` must be [{task.size('full')}, {task.num_labels}], but are {list(logits.shape)}."
            )
        self.task = task
        self.logits = logits
        train = task.size("train")
        self._logits: dict[str, torch.Tensor] = {"full": logits, "train": logits[:train], "validation": logits[train:]}

    @property
    def pipeline_tag(self) -> str:  # type: ignore[override]
        return self.task.pipeline_tag

    @property
    def auto_class(self) -> str:  # type: ignore[override]
        return self.task.auto_class

    @property
    def processor_class(self) -> str:  # type: ignore[override]
        return self.task.processor_class

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        return self.task.input_shape

    def size(self, split: Split) -> int:
        return self.task.size(split)

    def batch(self, split: Split, indices: torch.Tensor, *, device: torch.device, seed: int | None = None) -> Batch:
        batch = self.task.batch(split, indices, device=device, seed=seed)
        if seed is not None and split in self._logits:
            batch[TEACHER_LOGITS] = self._logits[split][indices].to(device)
        return batch

    def score(self, predictions: torch.Tensor, references: torch.Tensor) -> dict[str, float]:
        return self.task.score(predictions, references)

    def predictions(self, logits: torch.Tensor) -> torch.Tensor:
        return self.task.predictions(logits)

    def search_score(self, metrics: Mapping[str, float]) -> float:
        return self.task.search_score(metrics)

    def order(self, split: Split, *, batch_size: int, seed: int) -> torch.Tensor:
        return self.task.order(split, batch_size=batch_size, seed=seed)

    def processor(self) -> SavesItself:
        return self.task.processor()

    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.logits.numpy().tobytes()).hexdigest()
        return hashlib.sha256(f"{self.task.fingerprint()} {digest}".encode()).hexdigest()[:16]
