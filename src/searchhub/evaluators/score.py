"""What a trial's score is: one number, larger is better, of what was measured on the validation split."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from searchhub.data.task import Task
from searchhub.errors import InvalidInputError

Score: TypeAlias = Callable[[Task, Mapping[str, float]], float]
"""Makes the score of a trial's metrics: those that `Task.score` returns, and `VALIDATION_LOSS`; DDPNAS wants it in
[0, 1].
"""

VALIDATION_LOSS = "validation_loss"
"""The metric that holds the mean loss on the validation split. A trial whose loss is not finite has none."""


def validation_loss(loss: float) -> dict[str, float]:
    """The metric of a loss on the validation split; a loss that is not finite cannot be written and gives none."""
    return {VALIDATION_LOSS: loss} if math.isfinite(loss) else {}


def likelihood(task: Task, metrics: Mapping[str, float]) -> float:
    """exp(−validation loss), in [0, 1]: for classes the geometric mean of p(ŷ) of DDPNAS Eq. 2 over the examples.

    It tells networks apart that are right on the same examples. Where the loss is not finite it is 0.
    """
    return math.exp(-metrics[VALIDATION_LOSS]) if VALIDATION_LOSS in metrics else 0.0


def metric(task: Task, metrics: Mapping[str, float]) -> float:
    """The task's own metric, scaled into [0, 1] where it is not (P of DDPNAS Eq. 2)."""
    return task.search_score(dict(metrics))


LIKELIHOOD, METRIC = "likelihood", "metric"

SCORES: dict[str, Score] = {LIKELIHOOD: likelihood, METRIC: metric}
"""The table of scores by name. Others add theirs here, or pass a function."""


def find_score(score: str | Score) -> tuple[str, Score]:
    """The name of a score, which settings of a run hold, and the score.

    Args:
        score: A name in `SCORES`, or a function of a module.

    Raises:
        InvalidInputError: The table has no such name, or the function is none of a module: a run could not tell
            whether it goes on with the same score.
    """
    if isinstance(score, str):
        if score not in SCORES:
            raise InvalidInputError(f"`score` must be one of {sorted(SCORES)}, or a function, but is {score!r}.")
        return score, SCORES[score]
    name = f"{getattr(score, '__module__', '?')}:{getattr(score, '__qualname__', '<object>')}"
    if "<" in name:
        raise InvalidInputError(f"`score` must be a function of a module, but is `{name}`. Define it in a module.")
    return name, score
