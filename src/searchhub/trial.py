"""The values that cross ask/tell: what to try, for how long, and how good it was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from searchhub.errors import InvalidInputError
from searchhub.space import Architecture


@dataclass(frozen=True)
class Budget:
    """How much training a trial gets.

    Args:
        epochs: Passes over the training split. 0: nothing is trained, the network is only scored (`SCORED`).
        max_steps: Upper bound on optimizer steps, at least 1; None: no bound.
        data_share: Share of the training split, in (0, 1]. Below 1 the split is a reduced one (σ of DC-NAS Eq. 2).
    """

    epochs: int = 1
    max_steps: int | None = None
    data_share: float = 1.0

    def __post_init__(self) -> None:
        if self.epochs < 0 or (self.max_steps is not None and self.max_steps < 1):
            raise InvalidInputError(f"A budget must have `epochs >= 0` and `max_steps >= 1`, but got {self}.")
        if not 0 < self.data_share <= 1:
            raise InvalidInputError(f"`data_share` of a budget must be in (0, 1], but is {self.data_share}.")

    @property
    def size(self) -> tuple[float, float]:
        """By what budgets compare: passes over the whole split, then the bound on steps."""
        return self.epochs * self.data_share, math.inf if self.max_steps is None else self.max_steps

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON for `Budget(**...)`; the share only where there is one."""
        share = {} if self.data_share == 1 else {"data_share": self.data_share}
        return {"epochs": self.epochs, "max_steps": self.max_steps, **share}


SCORED = Budget(epochs=0)
"""The budget of a trial that trains nothing: its network is scored on the shared weights as they are."""

WARMUP = -1
"""The round of trials that warm up shared weights before the search: of none."""

SCORING = -2
"""The round of trials that are scored on the final shared weights, after the search: of none."""

DIVERGED = "diverged"
"""The metric, 1, of a trial whose network diverged."""

DIVERGED_EPOCH, DIVERGED_LAYER = "diverged_epoch", "diverged_layer"
"""Its metrics that say in which epoch, from 1, and in features of which choice's layer, from 0; the loss has none."""


@dataclass(frozen=True)
class Trial:
    """One architecture to evaluate.

    Args:
        number: 0, 1, 2, … in the order in which a searcher proposes.
        architecture: What to evaluate.
        budget: How long to train it.
        round: Round of the search to which it belongs, from 0. `WARMUP` and `SCORING`: it belongs to none.
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
            "budget": self.budget.to_dict(),
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
        features: How the network learned, finite numbers [layers, epochs] (DC-NAS Eq. 7); None: not recorded.
        weights_step: Number of optimizer steps that the shared weights had taken when the score was measured. Only
            scores of equal steps are compared. None: the network had weights of its own; or each trial trains one path,
            as in DDPNAS, which compares scores whenever they were taken.
    """

    trial: Trial
    score: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    features: tuple[tuple[float, ...], ...] | None = None
    weights_step: int | None = None

    def __post_init__(self) -> None:
        for layer, row in enumerate(self.features or ()):
            for epoch, value in enumerate(row, 1):
                if not math.isfinite(value):
                    raise InvalidInputError(
                        f"Features must be finite, but trial {self.trial.number} has {value} at layer {layer}, epoch "
                        f"{epoch}. Give none for a network that diverged."
                    )
        if not math.isfinite(self.score):
            raise InvalidInputError(f"A score must be a finite number, but trial {self.trial.number} has {self.score}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; `from_dict` reads it."""
        data = {
            **self.trial.to_dict(),
            "score": self.score,
            "metrics": dict(self.metrics),
            "seconds": round(self.seconds, 4),
        }
        if self.weights_step is not None:
            data["weights_step"] = self.weights_step
        return data if self.features is None else {**data, "features": [list(row) for row in self.features]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrialResult:
        """The result that `to_dict` wrote."""
        features = data.get("features")
        return cls(
            Trial.from_dict(data),
            data["score"],
            dict(data["metrics"]),
            data["seconds"],
            None if features is None else tuple(tuple(row) for row in features),
            data.get("weights_step"),
        )


class Scored(Protocol):
    """A trial with its score: a `TrialResult`, or a line of a journal."""

    @property
    def trial(self) -> Trial: ...

    @property
    def weights_step(self) -> int | None: ...


S = TypeVar("S", bound=Scored)


def most_trained(results: Sequence[S]) -> list[S]:
    """The results whose scores can be compared with each other, of the most training: others are no match for them.

    Scores on shared weights of one moment compare with those of the same moment, so the last moment counts. Other
    scores compare where the trials had the same budget, and the largest budget counts. Where all budgets are alike, as
    in every search of one round after another, that is all of them but those that only warmed up shared weights.
    """
    searched = [result for result in results if result.trial.round != WARMUP]
    last = max((result.weights_step for result in searched if result.weights_step is not None), default=None)
    if last is not None:
        return [result for result in searched if result.weights_step == last]
    largest = max((result.trial.budget.size for result in searched), default=None)
    return [result for result in searched if result.trial.budget.size == largest]
