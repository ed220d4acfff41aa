"""The values that cross ask/tell: what to try, for how long, and how good it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from searchhub.errors import InvalidInputError
from searchhub.space import Architecture


@dataclass(frozen=True)
class Budget:
    """How much training a trial gets.

    Args:
        epochs: Passes over the training split, at least 1.
        max_steps: Upper bound on optimizer steps; None: no bound.
    """

    epochs: int = 1
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or (self.max_steps is not None and self.max_steps < 1):
            raise InvalidInputError(f"A budget must have `epochs >= 1` and `max_steps >= 1`, but got {self}.")


@dataclass(frozen=True)
class Trial:
    """One architecture to evaluate.

    Args:
        number: 0, 1, 2, … in the order in which a searcher proposes.
        architecture: What to evaluate.
        budget: For how long to train it.
        round: Which round of the search it belongs to, from 0.
    """

    number: int
    architecture: Architecture
    budget: Budget = Budget()
    round: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; `from_dict` reads it."""
        return {
            "trial": self.number,
            "round": self.round,
            "architecture": self.architecture.to_dict(),
            "budget": {"epochs": self.budget.epochs, "max_steps": self.budget.max_steps},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Trial:
        """The trial that `to_dict` wrote."""
        return cls(data["trial"], Architecture(data["architecture"]), Budget(**data["budget"]), data["round"])


@dataclass(frozen=True)
class TrialResult:
    """What came of a trial.

    Args:
        trial: What was tried.
        score: Validation performance, larger is better; DDPNAS wants it in [0, 1]. Finite.
        metrics: Further numbers for the journal, e.g. the training loss.
        seconds: Wall time of the trial.
    """

    trial: Trial
    score: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise InvalidInputError(f"A score must be a finite number, but trial {self.trial.number} has {self.score}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; `from_dict` reads it."""
        return {
            **self.trial.to_dict(),
            "score": self.score,
            "metrics": dict(self.metrics),
            "seconds": round(self.seconds, 4),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrialResult:
        """The result that `to_dict` wrote."""
        return cls(Trial.from_dict(data), data["score"], dict(data["metrics"]), data["seconds"])
