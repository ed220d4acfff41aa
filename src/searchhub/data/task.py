"""A task: the splits, the labels, the metric, and how a batch is made."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import torch

Split: TypeAlias = Literal["train", "validation", "test", "full"]
""" "full" is train, then validation, for the final training."""

Batch: TypeAlias = dict[str, torch.Tensor]


class SavesItself(Protocol):
    """An image processor or a tokenizer."""

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> Any: ...


@dataclass(frozen=True)
class Published:
    """What others know a task's data as: what a model's card calls them.

    Args:
        dataset_name: What people call it.
        dataset_id: On the Hub; None: local data.
        dataset_config: Which of that data set's configurations; None: it has but one.
        num_classes: How many classes there are; None: it is no classification.
        splits: By split of the task, the data set's own name of it where that is another.
        parts: By metric of the test split, where that is of a part of it: the metric's own name, the data set's name
            of the part, and how many examples it holds.
    """

    dataset_name: str
    dataset_id: str | None = None
    dataset_config: str | None = None
    num_classes: int | None = None
    splits: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, tuple[str, str, int]] = field(default_factory=dict)


class Task(ABC):
    """What a network is trained for. Searches look at train and validation, final figures at test.

    Args:
        name: For files and cards.
        label_names: Class names, in the order of their indices.
        metric_name: Primary metric, larger is better.
        source: From which `searchhub.load_task` loads the same task again: plain JSON, with "kind" and the arguments
            of that kind's loader. It fills the source of a task of one's own. Empty: the task was put together by
            hand.
        own_splits: By split, the data set's own name of it where that is another, for cards.
    """

    pipeline_tag: str
    """The Hub's name of the kind of task, e.g. "image-classification"."""

    auto_class: str
    """The Auto class that loads a network for it."""

    processor_class: str
    """The Auto class that loads what `processor` gives."""

    augmented: bool = False
    """Whether training batches hold examples otherwise than they are."""

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
        """What a card calls the data. Names of local data are the last part of a path."""
        hub_id = self.name if "/" in self.name else None
        return Published(self.name, hub_id, num_classes=self.num_labels, splits=self.own_splits)

    @abstractmethod
    def size(self, split: Split) -> int:
        """Number of examples of a split."""

    @abstractmethod
    def batch(self, split: Split, indices: torch.Tensor, *, device: torch.device, seed: int | None = None) -> Batch:
        """Model inputs with "labels" for some examples.

        Args:
            split: Where from.
            indices: int64 [n].
            device: Where to.
            seed: Augment, each example by this seed and its index alone; None: as they are.
        """

    def labels(self, split: Split) -> torch.Tensor:
        """All labels [size] of a split. A task that has them at hand gives those; else every example is read."""
        parts = torch.arange(self.size(split)).split(256)
        return torch.cat([self.batch(split, part, device=torch.device("cpu"))["labels"] for part in parts])

    @abstractmethod
    def score(self, predictions: torch.Tensor, references: torch.Tensor) -> dict[str, float]:
        """Metrics of predictions [n] against labels [n] of a split, the primary metric among them."""

    def predictions(self, logits: torch.Tensor) -> torch.Tensor:
        """What a network predicts, [n], of its outputs [n, labels]: the likeliest class, unless it is no class."""
        return logits.argmax(-1)

    def search_score(self, metrics: Mapping[str, float]) -> float:
        """What a search maximises, in [0, 1]: the primary metric, unless that has another range."""
        return metrics[self.metric_name]

    @abstractmethod
    def processor(self) -> SavesItself:
        """What makes a network's inputs, to publish beside it."""

    def processed_by(self, folder: Path) -> Task:
        """The same task with inputs that the processor in a published model's folder makes, as its users make them.

        It is the task itself where batches need no processor, or where its loader takes the folder's tokenizer (as
        `tokenizer`) and has made them with that.
        """
        return self

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of one input, for cards; None: it varies."""
        return None

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash that changes whenever an example or a label does."""

    def order(self, split: Split, *, batch_size: int, seed: int) -> torch.Tensor:
        """The order, int64 [size], in which one epoch goes through a split."""
        return torch.randperm(self.size(split), generator=torch.Generator().manual_seed(seed))
