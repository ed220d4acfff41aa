"""Generates from results without a θ (random search, DC-NAS on networks trained apart): the best evaluated one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.generation.architecture import Certificate, GeneratedArchitecture
from searchhub.generation.infeasible import infeasible_error
from searchhub.generation.limits import CostRange, unbound
from searchhub.result import SearchResult
from searchhub.space import Architecture
from searchhub.trial import WARMUP, most_trained

METHOD = "best evaluated"
REACH = "the architectures that were evaluated"


def best_evaluated(
    result: SearchResult, windows: Sequence[CostRange], tables: Mapping[str, CostTable]
) -> GeneratedArchitecture:
    """Returns the evaluated architecture with the best score within the windows.

    Among equal scores it takes the lower cost of the first window, then the earlier trial.

    Raises:
        InfeasibleLimitError: No evaluated architecture is within; the error names the smallest cost that was evaluated.
        InvalidInputError: No architecture was evaluated.
    """
    points = _points(result, tables)
    within = [p for p in points if _holds(p, windows)]
    if within:
        best = min(within, key=lambda p: (-_score(p), *(p.certificate.costs[w.table.name] for w in windows)))
        ranges = {w.table.name: _range(points, w) for w in windows}
        unconstrained = _score(best) == max(map(_score, points))
        note = unbound(windows, best.certificate.costs, ranges, unconstrained=unconstrained, reach=REACH)
        return GeneratedArchitecture(best, replace(best.certificate, note=f"{best.certificate.note} {note}".rstrip()))

    def nearest(window: CostRange, kept: Sequence[CostRange]) -> tuple[float | None, float | None] | None:
        costs = [p.certificate.costs[window.table.name] for p in points if _holds(p, kept)]
        below = max((c for c in costs if c <= window.high), default=None)
        above = min((c for c in costs if c >= window.low), default=None)
        return (below, above) if costs else None

    raise infeasible_error(
        windows,
        nearest,
        {w.table.name: _range(points, w) for w in windows},
        reach=REACH,
        way_out="evaluate more of them: a search without θ can only return what it tried.",
    )


def evaluated_front(
    result: SearchResult, table: CostTable, tables: Mapping[str, CostTable]
) -> list[GeneratedArchitecture]:
    """Returns the front of score against one cost, in increasing cost and score."""
    front: list[GeneratedArchitecture] = []
    for point in sorted(_points(result, tables), key=lambda p: (p.certificate.costs[table.name], -_score(p))):
        if not front or _score(point) > _score(front[-1]):
            front.append(point)
    return front


def _points(result: SearchResult, tables: Mapping[str, CostTable]) -> list[GeneratedArchitecture]:
    """Returns every architecture that was evaluated on the largest budget, with its best score, in the order tried."""
    if not result.history:
        raise InvalidInputError(
            "A search result must hold a θ or at least one trial to generate from, but holds neither. "
            "Finish the search."
        )
    scores: dict[Architecture, float] = {}
    compared = most_trained(result.history)
    for trial in compared:
        architecture = trial.trial.architecture
        scores[architecture] = max(trial.score, scores.get(architecture, trial.score))
    note = f"This search has no θ; the best of {len(scores)} evaluated architectures, not of the whole space."
    left_out = sum(trial.trial.round != WARMUP for trial in result.history) - len(compared)
    if left_out:
        note += f" Scores of {left_out:,} trials with less training are not compared with theirs."
    return [
        GeneratedArchitecture(
            architecture,
            Certificate(
                False, METHOD, None, score, {name: t(architecture) for name, t in tables.items()}, note, "score"
            ),
        )
        for architecture, score in scores.items()
    ]


def _score(point: GeneratedArchitecture) -> float:
    assert point.certificate.score is not None
    return point.certificate.score


def _range(points: Sequence[GeneratedArchitecture], window: CostRange) -> tuple[float, float]:
    """Returns the smallest and the largest cost of what was evaluated."""
    costs = [point.certificate.costs[window.table.name] for point in points]
    return min(costs), max(costs)


def _holds(point: GeneratedArchitecture, windows: Sequence[CostRange]) -> bool:
    return all(window.holds(point.certificate.costs[window.table.name]) for window in windows)
