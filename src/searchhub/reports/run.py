"""Reads what a run's folder holds, finished or not, to report on it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from searchhub.errors import InvalidInputError
from searchhub.networks.network import TrainedNetwork, read_reports
from searchhub.result import SearchResult
from searchhub.run_folder import JOURNAL, RESULT, RUN_CONFIG
from searchhub.space import Architecture, Candidate
from searchhub.trial import Budget, Trial, most_trained


@dataclass(frozen=True)
class JournalTrial:
    """One line of the journal."""

    number: int
    round: int
    architecture: Mapping[str, Candidate]
    score: float
    metrics: Mapping[str, float]
    seconds: float
    time: datetime | None
    budget: Budget = Budget()
    weights_step: int | None = None

    @property
    def trial(self) -> Trial:
        """What was tried."""
        return Trial(self.number, Architecture(self.architecture), self.budget, self.round)


@dataclass(frozen=True)
class Run:
    """A run, as its folder describes it.

    Args:
        path: Folder of the run.
        config: Content of config.yaml; empty if there is none.
        trials: Trials done so far, in order.
        unreadable: How many lines of the journal cannot be read, e.g. one that is being written.
        result: Result of the search. None: the search is not finished.
        reports: Networks trained so far.
    """

    path: Path
    config: Mapping[str, Any]
    trials: tuple[JournalTrial, ...]
    unreadable: int
    result: SearchResult | None
    reports: tuple[TrainedNetwork, ...]

    @property
    def best(self) -> JournalTrial | None:
        """The trial with the best score among those that compare (`most_trained`); among equals the first."""
        return max(most_trained(self.trials), key=lambda t: t.score, default=None)

    @property
    def planned(self) -> int | None:
        """How many trials the search has. None: its settings do not say."""
        searcher = self.part("searcher")
        found = searcher.get("evaluations", searcher.get("num_trials"))
        return found + searcher.get("warmup_trials", 0) + searcher.get("scored", 0) if isinstance(found, int) else None

    @property
    def metric(self) -> str | None:
        """The metric by which networks are compared. None: nothing names one."""
        named = _mapping(self.part("evaluator").get("task")).get("metric")
        if named is not None:
            return str(named)
        return next((name for report in self.reports for name in report.metrics), None)

    def part(self, name: str) -> Mapping[str, Any]:
        """Returns a part of the settings; empty if none has that name."""
        found = _mapping(self.config.get(name))
        return self.result.searcher if name == "searcher" and not found and self.result is not None else found


def read_run(run_dir: str | Path) -> Run:
    """Reads a run's folder without locking it: the search may go on meanwhile.

    Raises:
        InvalidInputError: It is not the folder of a run, or its config.yaml or result.json cannot be read.
    """
    path = Path(run_dir)
    if not any((path / name).is_file() for name in (RUN_CONFIG, JOURNAL, RESULT)):
        raise InvalidInputError(
            f"`{path}` must be the folder of a run, with {RUN_CONFIG}, {JOURNAL} or {RESULT} in it, but holds none of "
            "them. Give the `run_dir` of `search()`; of a recipe, its `--output_dir`."
        )
    result = SearchResult.load(path) if (path / RESULT).exists() else None
    trials, unreadable = _trials(path / JOURNAL)
    if result is not None and not trials:
        trials = {r.trial.number: _trial({**r.to_dict(), "time": None}) for r in result.history}
    ordered = tuple(trials[number] for number in sorted(trials))
    reports = read_reports(path)
    if result is not None:
        reports = [_with_latency(report, result) for report in reports]
    return Run(path, _config(path / RUN_CONFIG), ordered, unreadable, result, tuple(reports))


def _with_latency(report: TrainedNetwork, result: SearchResult) -> TrainedNetwork:
    """Returns a network with its latency by the tables of the result, also if these came after it was trained."""
    try:
        row = result.space.encode(report.network.architecture)
    except InvalidInputError:
        return report
    tables = {name: table for name, table in result.costs.items() if table.unit.startswith("ms, ")}
    units = {**(report.facts.get("units") or {}), **{name: table.unit for name, table in tables.items()}}
    costs = {**report.costs, **{name: table.of_row(row) for name, table in tables.items()}}
    return replace(report, costs=costs, facts={**report.facts, "units": units} if tables else report.facts)


def _config(file: Path) -> Mapping[str, Any]:
    try:
        return _mapping(yaml.safe_load(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidInputError(f"`{file}` must be readable YAML, but: {error}") from error


def _trials(file: Path) -> tuple[dict[int, JournalTrial], int]:
    if not file.is_file():
        return {}, 0
    trials, unreadable = {}, 0
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        trial = _parsed(line)
        if trial is None:
            unreadable += 1
        else:
            trials[trial.number] = trial
    return trials, unreadable


def _parsed(line: str) -> JournalTrial | None:
    try:
        return _trial(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _trial(line: Mapping[str, Any]) -> JournalTrial:
    time = line.get("time")
    numbers = {"score": line["score"], "seconds": line["seconds"], **line["metrics"]}
    if not all(math.isfinite(number) for number in numbers.values()):
        raise ValueError(f"Every number of a trial must be finite, but got {numbers}.")
    return JournalTrial(
        number=int(line["trial"]),
        round=int(line["round"]),
        architecture=dict(line["architecture"]),
        score=float(line["score"]),
        metrics={name: float(value) for name, value in line["metrics"].items()},
        seconds=float(line["seconds"]),
        time=None if time is None else datetime.fromisoformat(time),
        budget=Budget(**line.get("budget", {})),  # journals of earlier versions do not record it: all trials were alike
        weights_step=line.get("weights_step"),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
