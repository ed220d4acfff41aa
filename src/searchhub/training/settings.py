"""Defines how a network is trained: one set of settings for search trials and for final training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from searchhub.errors import InvalidInputError

OptimizerName = Literal["sgd", "adam", "adamw"]
Schedule = Literal["cosine", "poly"]

POWER = 0.9
"""Power of the schedule "poly", as DeepLab and nearly all of segmentation take it."""


@dataclass(frozen=True)
class TrainingSettings:
    """Optimizer, schedule and batch size.

    Args:
        optimizer: "sgd" (with momentum), "adam" or "adamw".
        learning_rate: Peak learning rate. It falls to `min_learning_rate` along the schedule.
        min_learning_rate: Learning rate at the end of the schedule; 0 in the papers.
        momentum: Momentum of SGD, in [0, 1).
        weight_decay: Weight decay of all parameters, at least 0.
        batch_size: Number of examples of one optimizer step, over all processes and accumulated parts.
        gradient_accumulation_steps: Number of parts in which each process takes its share of a batch.
        warmup_steps: Number of optimizer steps of linear warm-up.
        label_smoothing: Label smoothing in [0, 1).
        max_grad_norm: Norm to which gradients are clipped. None: they are not clipped.
        eval_batch_size: Number of examples of one forward pass in validation, per process.
        distillation_weight: Weight of a teacher's outputs in the loss, in [0, 1]; the labels have the rest. It needs a
            `DistilledTask`.
        distillation_temperature: Number by which both logits are divided before the softmax; greater than 0.
        hidden_weight: Weight of the distance to a teacher's last hidden states, token by token, which is added to the
            loss; at least 0. It needs a `DistilledTask` that holds them.
        auxiliary_weight: Weight of the loss of an auxiliary head that a network has in training only, at least 0. 0:
            there is none.
        drop_path: Probability, in [0, 1), with which a network of cells drops an operation's output at the end of its
            training. It rises from 0 epoch by epoch.
        channels_last: Whether convolution weights are kept in channels-last memory, as batches of pictures are.
        schedule: Way in which the learning rate falls: "cosine", or "poly", (1 - progress)^0.9, as segmentation takes
            it.
    """

    optimizer: OptimizerName = "sgd"
    learning_rate: float = 0.05
    min_learning_rate: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 3e-4
    batch_size: int = 64
    gradient_accumulation_steps: int = 1
    warmup_steps: int = 0
    label_smoothing: float = 0.0
    max_grad_norm: float | None = None
    eval_batch_size: int = 256
    distillation_weight: float = 0.0
    distillation_temperature: float = 2.0
    hidden_weight: float = 0.0
    auxiliary_weight: float = 0.0
    drop_path: float = 0.0
    channels_last: bool = True
    schedule: Schedule = "cosine"

    def __post_init__(self) -> None:
        if self.optimizer not in ("sgd", "adam", "adamw"):
            raise InvalidInputError(f'`optimizer` must be "sgd", "adam" or "adamw", but is {self.optimizer!r}.')
        if self.schedule not in ("cosine", "poly"):
            raise InvalidInputError(f'`schedule` must be "cosine" or "poly", but is {self.schedule!r}.')
        for name in ("batch_size", "gradient_accumulation_steps", "eval_batch_size"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"`{name} >= 1` must hold, but got {getattr(self, name)}.")
        if not (self.learning_rate > 0 and 0 <= self.min_learning_rate <= self.learning_rate):
            raise InvalidInputError(
                "`learning_rate > 0` and `0 <= min_learning_rate <= learning_rate` must hold, but got "
                f"{self.learning_rate} and {self.min_learning_rate}."
            )
        if not (self.weight_decay >= 0 and self.warmup_steps >= 0):
            raise InvalidInputError(
                "`weight_decay >= 0` and `warmup_steps >= 0` must hold, but got "
                f"{self.weight_decay} and {self.warmup_steps}."
            )
        if not (0 <= self.momentum < 1 and 0 <= self.label_smoothing < 1):
            raise InvalidInputError(
                "`momentum` and `label_smoothing` must be in [0, 1), but are "
                f"{self.momentum} and {self.label_smoothing}."
            )
        if not (0 <= self.distillation_weight <= 1 and self.distillation_temperature > 0):
            raise InvalidInputError(
                "`distillation_weight` must be in [0, 1] and `distillation_temperature > 0`, but are "
                f"{self.distillation_weight} and {self.distillation_temperature}."
            )
        if not self.hidden_weight >= 0:
            raise InvalidInputError(f"`hidden_weight >= 0` must hold, but got {self.hidden_weight}.")
        if not (self.auxiliary_weight >= 0 and 0 <= self.drop_path < 1):
            raise InvalidInputError(
                "`auxiliary_weight >= 0` must hold and `drop_path` be in [0, 1), but they are "
                f"{self.auxiliary_weight} and {self.drop_path}."
            )
        if self.max_grad_norm is not None and self.max_grad_norm <= 0:
            raise InvalidInputError(f"`max_grad_norm > 0` must hold, but got {self.max_grad_norm}.")

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON. Settings that earlier versions did not know are left out unless they are used."""
        fields = dataclasses.asdict(self)
        unused = {"hidden_weight": 0.0, "auxiliary_weight": 0.0, "drop_path": 0.0, "schedule": "cosine"}
        return {name: v for name, v in fields.items() if name not in unused or v != unused[name]}

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of a model in training."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def build_optimizer(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Makes a fresh optimizer. It is never fused: fused updates silently write outside column windows."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                parameters, lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay, fused=False
            )
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, lr=self.learning_rate, weight_decay=self.weight_decay, fused=False)

    def learning_rate_at(self, step: int, total: int) -> float:
        """Returns the learning rate of step 0 … total - 1: linear warm-up, then the schedule."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, total - self.warmup_steps)
        if self.schedule == "poly":
            height = (1.0 - min(1.0, progress)) ** POWER
        else:
            height = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
        return self.min_learning_rate + (self.learning_rate - self.min_learning_rate) * height
