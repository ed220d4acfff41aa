"""A task: the splits, the labels, the metric, and how a batch is made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch

Split: TypeAlias = Literal["train", "validation", "test", "full"]
""" "full" is train and validation together, for the final training."""

Batch: TypeAlias = dict[str, torch.Tensor]


class Task(ABC):
    """What a network is trained for. Searches look at train and validation, final figures at test.

    Args:
        name: For files and cards.
        label_names: Class names, in the order of their indices.
        metric_name: Primary metric, larger is better.
    """

    def __init__(self, name: str, label_names: Sequence[str], metric_name: str) -> None:
        self.name = name
        self.label_names = tuple(label_names)
        self.metric_name = metric_name

    @property
    def num_labels(self) -> int:
        """Number of classes."""
        return len(self.label_names)

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

    @abstractmethod
    def score(self, predictions: torch.Tensor, references: torch.Tensor) -> dict[str, float]:
        """Metrics of predicted against true labels, int64 [n] each, the primary metric among them."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash that changes whenever an example or a label does."""

    def order(self, split: Split, *, batch_size: int, seed: int) -> torch.Tensor:
        """The order, int64 [size], in which one epoch goes through a split."""
        return torch.randperm(self.size(split), generator=torch.Generator().manual_seed(seed))
