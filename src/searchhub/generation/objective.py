"""Defines what generation maximises: E[α] of DDPNAS Eq. 9, or the quality that scores predict.

Either is a sum over the active choices within a branch of the space, which is what the exact solvers take. What sets
branches apart, a division by the number of choices or an intercept, comes in when their answers are compared: exactly,
as fractions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from searchhub.costs.structure import Cells, cells_of
from searchhub.distribution import ArchitectureDistribution, FloatArray
from searchhub.effects import PredictedQuality
from searchhub.errors import InvalidInputError
from searchhub.generation.architecture import sums
from searchhub.generation.problem import exact_sum
from searchhub.generation.solve import solve
from searchhub.result import SearchResult
from searchhub.space import INACTIVE, Codes

ObjectiveName = Literal["expectation", "predicted"]

BranchCodes = Sequence[Sequence[int]]
"""Codes in reach, for each choice of one branch; none if the choice is inactive."""


class Objective(ABC):
    """What is maximised, as the solvers need it."""

    @abstractmethod
    def entries(self, branch: BranchCodes) -> Sequence[FloatArray]:
        """Returns, for each choice, one number a candidate; in a branch their sum orders as the objective does."""

    @abstractmethod
    def exact(self, row: Codes) -> Fraction:
        """Returns the objective of a row [choices] of codes, exactly."""

    @abstractmethod
    def values(self, codes: Codes) -> list[float]:
        """Returns the objective of codes [n, choices] of one branch, from correctly rounded sums."""

    @abstractmethod
    def told(self, codes: Codes) -> list[dict[str, Any]]:
        """Returns what certificates say of codes [n, choices] of one branch, by the names of their fields."""

    def note(self, row: Codes) -> str:
        """Returns a sentence on what a certificate has no field for; mostly ""."""
        return ""

    def largest(self, branch: BranchCodes) -> Fraction:
        """Returns the largest value in a branch without any limit, exactly."""
        answer = solve(self.entries(branch), (), branch)
        assert answer is not None, "without limits there is always an answer"
        return self.exact(answer.row)


class Expectation(Objective):
    """E[α] of DDPNAS Eq. 9: the mean of θ over the active choices; in cells, over the edges that are kept.

    Raises:
        InvalidInputError: A θ is not finite.
    """

    def __init__(self, distribution: ArchitectureDistribution, cells: Cells | None = None) -> None:
        for choice, theta in zip(distribution.space.choices, distribution.theta, strict=True):
            if not np.isfinite(theta).all():
                raise InvalidInputError(f"θ must be finite, but `{choice.name}` has {theta.tolist()}.")
        self._theta, self._cells = distribution.theta, cells

    def entries(self, branch: BranchCodes) -> Sequence[FloatArray]:
        if self._cells is None:
            return self._theta
        # Every answer keeps as many edges as the next one, so that 0 on the others leaves the order as it is.
        left_out = zip(self._theta, self._cells.none, strict=True)
        return [np.where(np.arange(len(theta)) == none, 0.0, theta) for theta, none in left_out]

    def exact(self, row: Codes) -> Fraction:
        kept = self._kept(row[None, :])[0]
        return exact_sum(self._theta, kept) / int((kept != INACTIVE).sum())

    def values(self, codes: Codes) -> list[float]:
        kept = self._kept(codes)
        active = (kept != INACTIVE).sum(axis=1).tolist()
        return [total / n for total, n in zip(sums(self._theta, kept), active, strict=True)]

    def told(self, codes: Codes) -> list[dict[str, Any]]:
        return [{"expectation": value} for value in self.values(codes)]

    def _kept(self, codes: Codes) -> Codes:
        return codes if self._cells is None else self._cells.left_out(codes)


class Predicted(Objective):
    """Predicted quality (`searchhub.effects`): the intercept of the branch, and the sum of its effects.

    In cells an edge that is left out has the effect of its `none`.

    Args:
        prediction: The prediction of the search.
        expectation: E[α], which certificates tell beside it. None: there is no θ.
    """

    def __init__(self, prediction: PredictedQuality, expectation: Expectation | None) -> None:
        self.prediction, self._expectation = prediction, expectation

    def entries(self, branch: BranchCodes) -> Sequence[FloatArray]:
        first = np.array([own[0] if own else INACTIVE for own in branch], dtype=np.uint8)
        return self.prediction.entries(self._branch_of(first))

    def exact(self, row: Codes) -> Fraction:
        branch = self._branch_of(row)
        return Fraction(self.prediction.intercepts[branch]) + exact_sum(self.prediction.entries(branch), row)

    def values(self, codes: Codes) -> list[float]:
        if not len(codes):
            return []
        branch = self._branch_of(codes[0])
        return sums(self.prediction.entries(branch), codes, float(self.prediction.intercepts[branch]))

    def told(self, codes: Codes) -> list[dict[str, Any]]:
        """Tells the calibrated loss too, if scores allow one (`PredictedQuality.quantity`)."""
        values, n = self.values(codes), len(codes)
        expectations = [None] * n if self._expectation is None else self._expectation.values(codes)
        if self.prediction.quantity == "loss":
            losses, deviations = (numbers.tolist() for numbers in self.prediction.loss(codes))
        else:
            losses = deviations = [None] * n
        names = ("expectation", "predicted", "loss", "deviation")
        return [
            {"objective": "predicted quality", **dict(zip(names, told, strict=True))}
            for told in zip(expectations, values, losses, deviations, strict=True)
        ]

    def note(self, row: Codes) -> str:
        if self.prediction.quantity == "loss":
            return ""
        score, deviation = (float(number[0]) for number in self.prediction.loss(row[None, :]))
        return f"Its predicted score is {score:.4g} ± {deviation:.1g}."

    def _branch_of(self, row: Codes) -> int:
        return int(self.prediction.branch_of(row[None, :])[0])


def objective_of(result: SearchResult, name: ObjectiveName | None) -> Objective | None:
    """Returns the objective of this name; None: predicted quality if the result has one, else E[α] if there is a θ.

    Raises:
        InvalidInputError: The result lacks what the objective takes, or there is no such objective.
    """
    if name not in ("expectation", "predicted", None):
        raise InvalidInputError(f'`objective` must be "expectation", "predicted" or None, but got {name!r}.')
    if name == "predicted" and result.prediction is None:
        raise InvalidInputError(
            '`objective="predicted"` must come with predicted quality, but this result has none. Add it with '
            "`dataclasses.replace(result, prediction=PredictedQuality.fit(result.space, result.history))`, or leave "
            "the objective out."
        )
    if name == "expectation" and result.distribution is None:
        raise InvalidInputError(
            '`objective="expectation"` must come with a θ, but this result has none. Leave the objective out.'
        )
    distribution = result.distribution
    expectation = None if distribution is None else Expectation(distribution, cells_of(result.space))
    if name == "expectation" or result.prediction is None:
        return expectation
    return Predicted(result.prediction, expectation)
