"""Looks at one change at a time: what each candidate costs in quality, alone, and the sum of it as a prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from searchhub.effects import PredictedQuality
from searchhub.errors import InvalidInputError
from searchhub.space import Architecture, SearchSpace


def single_changes(space: SearchSpace, whole: Architecture) -> list[Architecture]:
    """Returns the architectures that differ from a whole one in one choice, and the whole one first.

    Where a choice changes on which others depend (a depth), those that remain stay as they are.

    Args:
        space: The space.
        whole: The architecture to change, in which every choice is active.

    Raises:
        InvalidInputError: A choice is not active in it.
    """
    row = space.encode(whole)
    if not space.active(row[None, :]).all():
        raise InvalidInputError("`whole` must have every choice of the space, but some depend on what it has not.")
    found = [whole]
    for i, choice in enumerate(space.choices):
        for code in range(len(choice.candidates)):
            if code != row[i]:
                changed = row.copy()
                changed[i] = code
                found.append(space.decode(space.mask_inactive(changed[None, :])[0]))
    return found


def sum_of_changes(space: SearchSpace, whole: Architecture, scores: Mapping[Architecture, float]) -> PredictedQuality:
    """Returns the prediction that changes add up: −log(score) of each alone, relative to the whole architecture.

        loss(α) = loss(whole) + Σ over the choices of α of (loss of this change alone − loss(whole))

    Nothing is fitted: it has no posterior, and tells any two architectures apart.

    Args:
        space: The space.
        whole: The architecture that was changed.
        scores: Scores exp(−loss), in (0, 1], of all `single_changes`.

    Raises:
        InvalidInputError: A score is missing, or is not positive.
    """
    changes = single_changes(space, whole)
    missing = next((change for change in changes if not scores.get(change, 0.0) > 0.0), None)
    if missing is not None:
        raise InvalidInputError(f"Every single change must have a positive score, but {missing} has none.")
    losses = {change: -math.log(scores[change]) for change in changes}
    row, base = space.encode(whole), losses[whole]
    parents = {space.index(c.condition.choice) for c in space.choices if c.condition is not None}
    effects = [np.zeros(len(choice.candidates)) for choice in space.choices]
    for change in changes[1:]:
        codes = space.encode(change)
        at = next(i for i in (*parents, *range(len(row))) if codes[i] != row[i])
        effects[at][codes[at]] = base - losses[change]
    return PredictedQuality(
        space,
        np.array([space.encode(change) for change in changes]),
        np.full(sum(1 for _ in space.branches()), -base),
        tuple(effects),
        np.zeros((0, sum(len(choice.candidates) for choice in space.choices))),
        variance=0.0,
        noise=1.0,
        branch_variance=0.0,
        quantity="loss",
        offset=0.0,
        slope=-1.0,
    )
