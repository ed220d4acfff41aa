"""A task seen through another: what does not differ comes from the task itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import torch

from searchhub.data.task import Batch, Measured, Published, SavesItself, Split, Tally, Task


class TaskView(Task):
    """Another task, of which a subclass changes sizes, batches or order.

    Args:
        task: The task to view.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task.name, task.label_names, task.metric_name, task.source)
        self.task = task
        self.pipeline_tag = task.pipeline_tag
        self.auto_class = task.auto_class
        self.processor_class = task.processor_class
        self.augmented = task.augmented
        self.dense = task.dense

    @property
    def published(self) -> Published:
        return self.task.published

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        return self.task.input_shape

    def size(self, split: Split) -> int:
        return self.task.size(split)

    def batch(self, split: Split, indices: torch.Tensor, *, device: torch.device, seed: int | None = None) -> Batch:
        return self.task.batch(split, indices, device=device, seed=seed)

    def labels(self, split: Split) -> torch.Tensor:
        return self.task.labels(split)

    def score(self, predictions: torch.Tensor, references: torch.Tensor) -> dict[str, float]:
        return self.task.score(predictions, references)

    def predictions(self, logits: torch.Tensor) -> torch.Tensor:
        return self.task.predictions(logits)

    def loss(self, logits: torch.Tensor, references: torch.Tensor) -> float:
        return self.task.loss(logits, references)

    def tally(self, logits: torch.Tensor, labels: torch.Tensor) -> Tally:
        return self.task.tally(logits, labels)

    def join(self, tallies: Iterable[Tally]) -> Tally:
        return self.task.join(tallies)

    def total(self, tally: Tally) -> Measured:
        return self.task.total(tally)

    def search_score(self, metrics: Mapping[str, float]) -> float:
        return self.task.search_score(metrics)

    def processor(self) -> SavesItself:
        return self.task.processor()

    def fingerprint_with(self, changed: torch.Tensor) -> str:
        """Returns a fingerprint of the task together with what is changed."""
        digest = hashlib.sha256(changed.numpy().tobytes()).hexdigest()
        return hashlib.sha256(f"{self.task.fingerprint()} {digest}".encode()).hexdigest()[:16]
