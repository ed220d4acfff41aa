"""Looks scores up: somebody trained every architecture of a small space once, and a table holds the results."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchhub.costs.table import CostTable
from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.evaluators.base import Evaluator
from searchhub.space import Codes, SearchSpace
from searchhub.spaces.nasbench201 import nasbench201_space
from searchhub.spaces.nasbench_macro import nasbench_macro_space
from searchhub.trial import Trial, TrialResult


class TabularEvaluator(Evaluator):
    """Looks up the score of each trial; searches of hundreds of trials take milliseconds.

    Args:
        space: Space of the table. No choice of it may be conditional.
        scores: One score in [0, 1] per architecture, float [Π candidates], in row-major order of the codes: the last
            choice varies fastest.

    Raises:
        InvalidInputError: The table does not belong to this space, or holds something else than numbers in [0, 1].
    """

    def __init__(self, space: SearchSpace, scores: FloatArray) -> None:
        self.space = space
        self.scores = np.array(scores, dtype=np.float64)
        _require_unconditional(space)
        if self.scores.shape != (space.size,):
            raise InvalidInputError(
                f"A table of `{space.name}` must hold {space.size} scores, but has shape {self.scores.shape}."
            )
        # This is written so that NaN fails too.
        if not bool(np.all((self.scores >= 0.0) & (self.scores <= 1.0))):
            raise InvalidInputError(
                f"Scores of a table must be in [0, 1], but reach from {self.scores.min()} to {self.scores.max()}. "
                "Divide an accuracy in percent by 100."
            )
        self.scores.setflags(write=False)

    def __call__(self, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        start = time.perf_counter()
        if not trials:
            return
        scores = self.of_codes(np.stack([self.space.encode(trial.architecture) for trial in trials])).tolist()
        each = (time.perf_counter() - start) / len(trials)
        for trial, score in zip(trials, scores, strict=True):
            yield TrialResult(trial, score, seconds=each)

    def of_codes(self, codes: Codes) -> FloatArray:
        """Returns the scores, float64 [n], of codes [n, choices]."""
        return np.asarray(self.scores[table_index(self.space, codes)])

    @property
    def config(self) -> dict[str, Any]:
        """The settings, with the table's content: a changed table makes another search."""
        return {**super().config, "scores_sha256": hashlib.sha256(self.scores.tobytes()).hexdigest()[:16]}


def table_index(space: SearchSpace, codes: Codes) -> NDArray[np.intp]:
    """Returns where architectures stand in a table of their space, int [n], for codes [n, choices]."""
    sizes = tuple(len(choice.candidates) for choice in space.choices)
    return np.asarray(np.ravel_multi_index(tuple(codes.T), sizes), dtype=np.intp)


def _require_unconditional(space: SearchSpace) -> None:
    conditional = [choice.name for choice in space.choices if choice.condition is not None]
    if conditional:
        raise InvalidInputError(
            f"A table needs a space without conditional choices, but `{space.name}` has {conditional}."
        )


# -- published tables -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class BenchmarkTable:
    """A published table: what was searched, how good each architecture is, and what it costs.

    Args:
        name: Name of the table, for reports.
        space: The space that it covers.
        scores: Scores that a search sees, float64 [space.size] in [0, 1], in the order of `TabularEvaluator`.
        costs: Cost tables by name, for costs that add up.
        accuracies: How good each architecture is after full training, likewise. None: its score.
    """

    name: str
    space: SearchSpace
    scores: FloatArray
    costs: Mapping[str, CostTable] = field(default_factory=dict)
    accuracies: FloatArray | None = None

    @property
    def final(self) -> FloatArray:
        """Accuracies after full training, float64 [space.size]."""
        return self.scores if self.accuracies is None else self.accuracies


NASBENCH_MACRO_FILE = "nas-bench-macro_cifar10.json"


def read_nasbench_macro(path: str | Path) -> BenchmarkTable:
    """Reads the CIFAR-10 table: test accuracy (mean of three trainings), parameters and MACs, which add up exactly.

    Args:
        path: Path of `nas-bench-macro_cifar10.json`, or the folder that holds it.

    Raises:
        InvalidInputError: The file is another one.
    """
    path = Path(path)
    file = path / NASBENCH_MACRO_FILE if path.is_dir() else path
    space = nasbench_macro_space()
    # The file's keys, e.g. "22212220", in the order of the table: digits are codes, the last layer varies fastest.
    keys = ["".join(digits) for digits in itertools.product("012", repeat=len(space.choices))]
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        rows = [data[key] for key in keys]
        scores = np.array([row["mean_acc"] for row in rows], dtype=np.float64) / 100.0
        values = {
            name: np.array([row[column] for row in rows], dtype=np.float64)
            for name, column in (("params", "params"), ("macs", "flops"))
        }
    except OSError as error:
        raise InvalidInputError(
            f"`{file}` must be the NAS-Bench-Macro table, but cannot be read: {error.strerror}. It is in the "
            "repository xiusu/NAS-Bench-Macro."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"`{file}` must be the NAS-Bench-Macro table, but is not: {error!r}.") from error
    units = {"params": "parameters", "macs": "multiply-adds"}
    costs = {name: additive_cost(name, space, values[name], units[name]) for name in values}
    return BenchmarkTable("NAS-Bench-Macro, CIFAR-10", space, scores, costs)


NASBENCH201_FILE = "nasbench201.parquet"
NASBENCH201_DATASETS = ("cifar10", "cifar100", "ImageNet16-120")


def read_nasbench201(path: str | Path, dataset: str = "cifar10", *, groups: bool = False) -> BenchmarkTable:
    """Reads NAS-Bench-201 on one data set. Scores are validation accuracies after 12 epochs, as a search sees them.

    The final accuracy of an architecture (`final`) is the mean test accuracy after 200 epochs. Parameters and MACs add
    up exactly.

    Args:
        path: Path of `nasbench201.parquet`, or the folder that holds it. The file has one row per architecture, with
            the columns `key` (the operations of the edges as digits, in the order of `nasbench201_space`) and, for each
            data set, `<dataset>/val_acc_12ep` and `<dataset>/test_acc_200ep_mean` in percent, `<dataset>/params_M` and
            `<dataset>/flops_M` (multiply-adds) in millions.
        dataset: "cifar10", "cifar100" or "ImageNet16-120".
        groups: Whether the space has the groups of `nasbench201_space`.

    Raises:
        InvalidInputError: The file is no such table, or the data set is another.
    """
    import pyarrow.parquet as parquet  # type: ignore[import-untyped]  # late: it takes a moment

    if dataset not in NASBENCH201_DATASETS:
        raise InvalidInputError(f"`dataset` must be one of {list(NASBENCH201_DATASETS)}, but got {dataset!r}.")
    path = Path(path)
    file = path / NASBENCH201_FILE if path.is_dir() else path
    space = nasbench201_space(groups=groups)
    columns = ("val_acc_12ep", "test_acc_200ep_mean", "params_M", "flops_M")
    try:
        rows = parquet.read_table(file, columns=["key", *(f"{dataset}/{column}" for column in columns)])
        codes = np.array([[int(digit) for digit in key] for key in rows["key"].to_pylist()], dtype=np.uint8)
        index = table_index(space, codes)
        order = np.argsort(index)
        if not np.array_equal(index[order], np.arange(space.size)):
            raise ValueError(f"`key` must name each of {space.size:,} architectures once")
        scores, final, params, macs = (rows[f"{dataset}/{c}"].to_numpy().astype(np.float64)[order] for c in columns)
        for column, own in (("val_acc_12ep", scores), ("test_acc_200ep_mean", final)):
            # This is written so that NaN fails too.
            if not bool(np.all((own >= 0.0) & (own <= 100.0))):
                raise ValueError(f"`{dataset}/{column}` must hold a number from 0 to 100 in every row")
    except OSError as error:
        raise InvalidInputError(
            f"`{file}` must be the table of NAS-Bench-201, but cannot be read: {error.strerror or error}."
        ) from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InvalidInputError(f"`{file}` must be the table of NAS-Bench-201, but is not: {error!r}.") from error
    costs = {
        "params": additive_cost("params", space, np.rint(params * 1e6), "parameters"),
        "macs": additive_cost("macs", space, np.rint(macs * 1e6), "multiply-adds"),
    }
    return BenchmarkTable(f"NAS-Bench-201, {dataset}", space, scores / 100.0, costs, final / 100.0)


def additive_cost(name: str, space: SearchSpace, values: FloatArray, unit: str = "") -> CostTable:
    """Returns the cost table behind the costs of all architectures, if they add up.

    Args:
        name: Name of the cost.
        space: A space without conditional choices.
        values: One whole number per architecture, float64 [space.size], in the order of `TabularEvaluator`.
        unit: Unit of the cost.

    Raises:
        InvalidInputError: They do not add up exactly.
    """
    _require_unconditional(space)
    grid = values.reshape([len(choice.candidates) for choice in space.choices])
    fixed = float(grid[(0,) * grid.ndim])
    entries = []
    for i in range(grid.ndim):
        along = [0] * grid.ndim
        entries.append(np.array([grid[(*along[:i], k, *along[i + 1 :])] - fixed for k in range(grid.shape[i])]))
    total = np.full(grid.shape, fixed)
    for i, entry in enumerate(entries):
        total = total + entry.reshape([-1 if j == i else 1 for j in range(grid.ndim)])
    if not np.array_equal(total, grid):
        worst = math.inf if not np.isfinite(grid).all() else float(np.abs(total - grid).max())
        raise InvalidInputError(f"`{name}` must be a sum over the choices of `{space.name}`, but is up to {worst} off.")
    return CostTable(name, space, fixed, tuple(entries), unit)
