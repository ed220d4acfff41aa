"""GLUE's official metrics as an `evaluate` metric that needs no network.

It computes what `evaluate.load("glue", task_name)` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from searchhub.errors import InvalidInputError

GLUE_METRICS = {
    "cola": ("matthews_correlation",),
    "sst2": ("accuracy",),
    "mrpc": ("f1", "accuracy"),
    "stsb": ("pearson", "spearmanr"),
    "qqp": ("accuracy", "f1"),
    "mnli": ("accuracy",),
    "qnli": ("accuracy",),
    "rte": ("accuracy",),
}
"""Names of the official metrics of each task."""

REGRESSION = ("stsb",)
"""Tasks whose labels are scores, not classes."""

Vector = NDArray[Any]


def _correlation(measure: Callable[[Vector, Vector], Any], predictions: Vector, references: Vector) -> float:
    # scipy gives NaN, or refuses fewer than two examples.
    if len(predictions) < 2 or np.ptp(predictions) == 0 or np.ptp(references) == 0:
        return 0.0
    return float(np.clip(measure(predictions, references).statistic, -1.0, 1.0))


MEASURES: dict[str, Callable[[Vector, Vector], float]] = {
    "accuracy": lambda predictions, references: float(accuracy_score(references, predictions)),
    "f1": lambda predictions, references: float(f1_score(references, predictions, zero_division=0.0)),
    "matthews_correlation": lambda predictions, references: float(matthews_corrcoef(references, predictions)),
    "pearson": lambda predictions, references: _correlation(stats.pearsonr, predictions, references),
    "spearmanr": lambda predictions, references: _correlation(stats.spearmanr, predictions, references),
}
"""Of predictions and references, [n] each."""


class GlueMetric(evaluate.Metric):
    """The official metrics of one GLUE task.

    1. F1 is that of class 1.
    2. Where predictions or references are constant, or there are fewer than two, correlations have no value: they are 0
       here. F1 is 0 where nothing is, and nothing is predicted as, class 1.
    3. NaN among predictions gives NaN: a diverged network has no score.

    Args:
        task_name: A key of `GLUE_METRICS`.
        **kwargs: Further arguments of `evaluate.Metric`.

    Raises:
        InvalidInputError: There is no such task.
    """

    def __init__(self, task_name: str, **kwargs: Any) -> None:
        if task_name not in GLUE_METRICS:
            raise InvalidInputError(f"`task_name` must be one of {', '.join(GLUE_METRICS)}, but is {task_name!r}.")
        super().__init__(task_name, **{"keep_in_memory": True, **kwargs})

    def _info(self) -> evaluate.MetricInfo:
        kind = datasets.Value("float32" if self.config_name in REGRESSION else "int64")
        return evaluate.MetricInfo(
            description="GLUE's metrics, by task.",
            citation="",
            inputs_description="predictions, references: class indices; scores in STS-B",
            features=datasets.Features({"predictions": kind, "references": kind}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        pair = np.asarray(predictions), np.asarray(references)
        return {name: MEASURES[name](*pair) for name in GLUE_METRICS[self.config_name]}
