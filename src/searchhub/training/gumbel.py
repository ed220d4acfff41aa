"""The Gumbel-softmax and a loss that includes the cost; they train the logits of a mixture (FBNet, DC-NAS)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.training.settings import TrainingSettings


@dataclass(frozen=True)
class MixtureSettings:
    """Settings for training the logits. Defaults are those of DC-NAS (Sec. 4.2), and FBNet's where it is silent.

    Args:
        epochs: Number of epochs of the whole training.
        warmup_epochs: Number of first epochs in which logits stay 0, so that all candidates are equally probable; fewer
            than `epochs`.
        learning_rate: Learning rate of Adam on the logits, constant, greater than 0.
        weight_decay: Weight decay of Adam on the logits, at least 0.
        temperature: τ of the Gumbel-softmax in the first epoch, greater than 0 (FBNet: 5).
        temperature_decay: τ is multiplied by it after each epoch, in (0, 1] (FBNet: exp(-0.045), about 0.956).
        cost_factor: α of the loss CE · α log(cost)^β (FBNet Eq. 2: 0.2).
        cost_exponent: β of that loss, at least 0 (FBNet: 0.6). 0: the cost plays no part.
    """

    epochs: int = 90
    warmup_epochs: int = 10
    learning_rate: float = 0.01
    weight_decay: float = 5e-4
    temperature: float = 5.0
    temperature_decay: float = 0.956
    cost_factor: float = 0.2
    cost_exponent: float = 0.6

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_epochs < self.epochs:
            raise InvalidInputError(
                f"`0 <= warmup_epochs < epochs` must hold, or the logits are never trained, but got "
                f"{self.warmup_epochs} and {self.epochs}."
            )
        if not (self.learning_rate > 0 and self.weight_decay >= 0):
            raise InvalidInputError(
                "`learning_rate > 0` and `weight_decay >= 0` must hold for the logits, but got "
                f"{self.learning_rate} and {self.weight_decay}."
            )
        if not (self.temperature > 0 and 0 < self.temperature_decay <= 1):
            raise InvalidInputError(
                "`temperature > 0` and `temperature_decay` in (0, 1] must hold, but got "
                f"{self.temperature} and {self.temperature_decay}."
            )
        if not (self.cost_factor > 0 and self.cost_exponent >= 0):
            raise InvalidInputError(
                "`cost_factor > 0` and `cost_exponent >= 0` must hold, but got "
                f"{self.cost_factor} and {self.cost_exponent}."
            )

    def temperature_at(self, epoch: int) -> float:
        """Returns τ in epoch 0, 1, …"""
        return self.temperature * self.temperature_decay**epoch

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON."""
        return dataclasses.asdict(self)

    def of_logits(self, weights: TrainingSettings) -> TrainingSettings:
        """Returns settings of Adam on the logits, with the same batches as those of the weights."""
        return TrainingSettings(
            optimizer="adam",
            learning_rate=self.learning_rate,
            min_learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            batch_size=weights.batch_size,
            gradient_accumulation_steps=weights.gradient_accumulation_steps,
        )


def gumbel_softmax(logits: torch.Tensor, noise: torch.Tensor, temperature: float) -> torch.Tensor:
    """Computes M = softmax((a + g) / τ), with one row per layer (FBNet Sec. 3.3).

    Args:
        logits: The logits a, [layers, candidates].
        noise: The noise g, drawn from Gumbel(0, 1), of the same shape.
        temperature: The temperature τ > 0; near 0 one candidate takes all the weight.
    """
    return ((logits + noise) / temperature).softmax(-1)


def gumbel_noise(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Draws from Gumbel(0, 1), float32, the same on every device."""
    drawn = torch.empty(shape).exponential_(generator=torch.Generator().manual_seed(seed))
    return -drawn.clamp_min(torch.finfo(torch.float32).tiny).log()


class CostTerm:
    """The factor α log(cost(m))^β, where cost(m) = fixed + Σ_l Σ_k m_lk cost_lk is the mixture's cost (FBNet Eq. 2).

    Args:
        table: An additive cost whose smallest value is above 1 in its unit, so that the logarithm is positive.
        settings: Settings that hold α and β.

    Raises:
        InvalidInputError: The cost can be 1 or less.
    """

    def __init__(self, table: CostTable, settings: MixtureSettings) -> None:
        low, _ = table.bounds()
        if low <= 1:
            raise InvalidInputError(
                f"The cost in the loss must be above 1 for every architecture, as its logarithm is taken, but `"
                f"{table.name}` ({table.unit}) falls to {low:.6g}. Give it in a smaller unit."
            )
        self._fixed = table.fixed
        self._entries = torch.tensor(np.stack(table.entries), dtype=torch.float32)
        self._settings = settings

    def cost(self, weights: torch.Tensor) -> torch.Tensor:
        """Returns the cost of a mixture, a scalar."""
        return self._fixed + (weights * self._entries.to(weights.device)).sum()

    def __call__(self, weights: torch.Tensor) -> torch.Tensor:
        return self._settings.cost_factor * self.cost(weights).log() ** self._settings.cost_exponent
