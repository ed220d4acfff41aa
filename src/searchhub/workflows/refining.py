"""Scores architectures near the optimum of some limits, before the network of these limits is generated."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from searchhub.distributed import OnMain
from searchhub.effects import PredictedQuality
from searchhub.evaluators.base import Evaluator
from searchhub.files import read_json_object, write_json
from searchhub.generation import Limit
from searchhub.networks.network import TRAINING, limits_as_json
from searchhub.result import SearchResult
from searchhub.scoring import refine
from searchhub.trial import TrialResult

REFINED = "refined.json"
"""The file of a run's folder that keeps these scores."""


def refined(
    result: SearchResult, limits: Sequence[Limit], evaluator: Evaluator, n: int, folder: Path, *, seed: int
) -> SearchResult:
    """Returns a result with architectures near the optimum of some limits scored, too (`searchhub.scoring.refine`).

    What was scored is kept in the run's folder, so that the same limits give the same network again, whatever other
    limits there are. Every process makes this call.

    Args:
        result: A search with predicted quality.
        limits: The limits of one network.
        evaluator: The evaluator with the search's final weights.
        n: How many architectures to propose.
        folder: The run's folder.
        seed: Seed of the proposals.
    """
    file, key = folder / REFINED, _key(limits, n)
    kept = OnMain(evaluator)(lambda: read_json_object(file) or {})
    if key not in kept:
        before = len(result.history)
        found = refine(result, limits, evaluator, n, first=before, seed=seed).history[before:]
        kept[key] = [trial.to_dict() for trial in found]
        OnMain(evaluator)(lambda: write_json(file, kept))
    return _with(result, kept[key])


def as_refined(result: SearchResult, limits: Sequence[Limit], folder: Path) -> tuple[SearchResult, bool]:
    """Returns a finished run's result with what is kept of some limits, and whether something is missing.

    Nothing is scored: missing is what a run that refines has not scored yet for these limits.
    """
    n = refine_of(folder)
    if not n or not limits or result.prediction is None:
        return result, False
    kept = (read_json_object(folder / REFINED) or {}).get(_key(limits, n))
    return (result, True) if kept is None else (_with(result, kept), False)


def _key(limits: Sequence[Limit], n: int) -> str:
    return json.dumps([limits_as_json(limits), n])


def _with(result: SearchResult, kept: Sequence[Mapping[str, Any]]) -> SearchResult:
    history = (*result.history, *map(TrialResult.from_dict, kept))
    return replace(result, history=history, prediction=PredictedQuality.fit(result.space, history))


def refine_of(folder: Path) -> int:
    """Returns how many architectures a finished run scores near the optimum of each limit."""
    scoring = (read_json_object(folder / TRAINING) or {}).get("scoring") or {}
    return int(scoring.get("refine", 0))
