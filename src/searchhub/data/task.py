"""Defines a task: the splits, the labels, the metric, and how a batch is made."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import torch

from searchhub.errors import InvalidInputError

Split: TypeAlias = Literal["train", "validation", "test", "full"]
"""Names of the splits. "full" is train, then validation, for the final training."""

Batch: TypeAlias = dict[str, torch.Tensor]

Tally: TypeAlias = tuple[torch.Tensor, ...]
"""What evaluation keeps of some examples, on the CPU; see `Task.tally`."""


class SavesItself(Protocol):
    """An image processor or a tokenizer, which can save itself."""

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> Any: ...


@dataclass(frozen=True)
class Published:
    """How a model's card names the data of a task.

    Args:
        dataset_name: The name by which people know the data set.
        dataset_id: Id of the data set on the Hub. None: the data are local.
        dataset_config: Configuration of that data set. None: it has only one.
        num_classes: Number of classes. None: the task is not a classification.
        splits: The data set's own name of each of our splits, where it differs.
        parts: Metrics that cover only part of the test split (MNLI matched / mismatched): maps our metric name to (Hub
            metric name, split name, number of examples).
    """

    dataset_name: str
    dataset_id: str | None = None
    dataset_config: str | None = None
    num_classes: int | None = None
    splits: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, tuple[str, str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """What a network reaches on a split.

    Args:
        metrics: The task's metrics, the primary one among them.
        loss: Mean loss. It is NaN or infinite if outputs are.
        by_class: Metrics of single classes: maps a metric's name to (class name, value). Classes without a value are
            left out. Empty: the task has no such metrics.
    """

    metrics: dict[str, float]
    loss: float
    by_class: dict[str, dict[str, float]] = field(default_factory=dict)


class Task(ABC):
    """What a network is trained for. A search uses train and validation; final figures come from test.

    Args:
        name: Name of the task for files and cards.
        label_names: Class names, in the order of their indices.
        metric_name: Primary metric, larger is better.
        source: What `searchhub.load_task` loads the same task from again: plain JSON, with "kind" and the arguments
            of that kind's loader. It fills the source of a task of one's own. Empty: the task was put together by
            hand.
        own_splits: The data set's own names of splits, where these are others, for cards.
    """

    pipeline_tag: str
    """The Hub's name for the kind of task, e.g. "image-classification"."""

    auto_class: str
    """Name of the Auto class that loads a network for the task."""

    processor_class: str
    """Name of the Auto class that loads what `processor` returns."""

    augmented: bool = False
    """Whether training batches change examples at random."""

    dense: bool = False
    """Whether each pixel of an example has a label, instead of the example as a whole."""

    notes: tuple[str, ...] = ()
    """What was decided about the data when they were loaded, for people: what was left out, and why."""

    def __init__(
        self,
        name: str,
        label_names: Sequence[str],
        metric_name: str,
        source: Mapping[str, Any] | None = None,
        own_splits: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.label_names = tuple(label_names)
        self.metric_name = metric_name
        self.source: dict[str, Any] = dict(source or {})
        self.own_splits: dict[str, str] = dict(own_splits or {})

    @property
    def num_labels(self) -> int:
        """Number of classes."""
        return len(self.label_names)

    @property
    def published(self) -> Published:
        """How a card names the data. Local data are named by the last part of their path."""
        hub_id = self.name if "/" in self.name else None
        return Published(self.name, hub_id, num_classes=self.num_labels, splits=self.own_splits)

    @abstractmethod
    def size(self, split: Split) -> int:
        """Returns the number of examples of a split."""

    @abstractmethod
    def batch(self, split: Split, indices: torch.Tensor, *, device: torch.device, seed: int | None = None) -> Batch:
        """Returns model inputs, with "labels", for some examples.

        Args:
            split: Name of the split.
            indices: Positions of the examples, int64 [n].
            device: Device of the batch.
            seed: Seed of the augmentation, which depends on this seed and the example's index alone. None: examples are
                not augmented.
        """

    def labels(self, split: Split) -> torch.Tensor:
        """Returns all labels [size] of a split. This reads every example; tasks with labels at hand override it."""
        parts = torch.arange(self.size(split)).split(256)
        return torch.cat([self.batch(split, part, device=torch.device("cpu"))["labels"] for part in parts])

    def repeated(self, split: Split, others: Sequence[Split]) -> int | None:
        """Counts the examples of a split that other splits hold, too. None: the task does not count them."""
        return None

    @abstractmethod
    def score(self, predictions: torch.Tensor, references: torch.Tensor) -> dict[str, float]:
        """Returns metrics of predictions [n] against labels [n] of a split, the primary metric among them."""

    def predictions(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns predictions [n] from outputs [n, labels]: the most likely class, unless the task has no classes."""
        return logits.argmax(-1)

    def loss(self, logits: torch.Tensor, references: torch.Tensor) -> float:
        """Returns the mean loss of outputs [n, labels] against labels [n] of a split.

        It is the cross-entropy, or the mean squared error where networks have one output, as in training.
        """
        if logits.shape[-1] == 1:
            return float(torch.nn.functional.mse_loss(logits.squeeze(-1).double(), references.double()))
        return float(torch.nn.functional.cross_entropy(logits.double(), references))

    def tally(self, logits: torch.Tensor, labels: torch.Tensor) -> Tally:
        """Returns what evaluation keeps of a batch: outputs and labels, unless a task needs less of them.

        Args:
            logits: Outputs, float32 [n, labels, …].
            labels: Labels [n, …], on the same device.
        """
        return logits.cpu(), labels.cpu()

    def join(self, tallies: Iterable[Tally]) -> Tally:
        """Returns the tally of all examples from those of parts, in order, at least one. This one puts parts in a row.

        A task that counts adds its parts up as they come, so that memory does not grow with the number of examples.
        """
        return tuple(torch.cat(parts) for parts in zip(*tallies, strict=True))

    def total(self, tally: Tally) -> Measured:
        """Returns what was reached on the examples of a tally, those of a whole split."""
        logits, labels = tally
        return Measured(self.score(self.predictions(logits), labels), self.loss(logits, labels))

    def search_score(self, metrics: Mapping[str, float]) -> float:
        """Returns what a search by `score="metric"` maximises, in [0, 1]: the metric, unless that has another range."""
        return metrics[self.metric_name]

    @abstractmethod
    def processor(self) -> SavesItself:
        """Returns what makes a network's inputs, to publish beside it."""

    def processed_by(self, folder: Path) -> Task:
        """The same task with inputs that the processor in a published model's folder makes, as its users make them.

        It is the task itself where batches need no processor, or where its loader takes the folder's tokenizer (as
        `tokenizer`) and has made them with that.
        """
        return self

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of one input, for cards. None: it varies."""
        return None

    @abstractmethod
    def fingerprint(self) -> str:
        """Returns a hash that changes whenever an example or a label does."""

    def order(self, split: Split, *, batch_size: int, seed: int) -> torch.Tensor:
        """Returns the order, int64 [size], in which one epoch goes through a split."""
        return torch.randperm(self.size(split), generator=torch.Generator().manual_seed(seed))


def check_not_dense(task: Task, what: str) -> None:
    """Checks that each example has one label, where something needs that.

    Args:
        task: The task.
        what: What needs it, in words that begin a sentence.

    Raises:
        InvalidInputError: Each pixel has a label.
    """
    if task.dense:
        raise InvalidInputError(
            f"{what} needs one label for each example, but `{task.name}` has one for each pixel. Search such a task on "
            "shared weights, and train on its labels alone."
        )
