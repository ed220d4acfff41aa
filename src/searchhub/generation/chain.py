"""Solves DDPNAS Eq. 10 exactly for limits on costs that are coupled along the chain of choices (channel ratios).

An architecture is a path: a candidate in each layer, and numbers on each step from one layer's candidate to the next
one's. So the lists of `knapsack` are kept apart by the last candidate, and a state goes when another *of the same last
candidate* has at least its value at no more cost of any row. What lies ahead of a candidate is known exactly for one
number at a time: the least cost of each row, and, with Lagrange's multipliers λ, the largest Σ v − λ·c. The first says
which states cannot keep to a bound, the second their losses (see `knapsack`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchhub.distribution import FloatArray
from searchhub.generation.chain_problem import ChainProblem
from searchhub.generation.knapsack import (
    MARGIN,
    MAX_STATES,
    Index,
    States,
    TooManyStatesError,
    list_dominance,
    proven,
)
from searchhub.generation.milp import lp_multipliers
from searchhub.generation.problem import IntArray


@dataclass
class _Ahead:
    """What the steps after each candidate bring, for each layer.

    Args:
        costs: The least cost of each row, integers [rows, candidates].
        losses: Shortfall of each step from the best path, [candidates before, candidates] for each layer.
    """

    costs: tuple[IntArray, ...]
    losses: tuple[FloatArray, ...]


def front(problem: ChainProblem) -> NDArray[np.intp]:
    """Returns all Pareto-optimal picks [n, layers] of value against the cost, both strictly rising; bounds are ignored.

    Raises:
        TooManyStatesError: A list is longer than the cap.
    """
    states, trail = _run(problem, None, None, np.inf)
    return _way_back(trail, list_dominance(states))


def best(problem: ChainProblem, start: Sequence[int] | None = None) -> list[int] | None:
    """Returns the picks of largest value that keep to the bounds; None if none do.

    Among equal values it takes the lower cost of the first row, then of the second, and so on.

    Args:
        problem: Problem with one row or more.
        start: Feasible picks whose value must at least be reached.

    Raises:
        TooManyStatesError: The number of states exceeds the cap for their number of rows.
    """
    bounds = np.array(problem.bounds, dtype=problem.values[0].dtype)
    multipliers = lp_multipliers(problem)
    steps = zip(problem.value_arrays, problem.cost_arrays, strict=True)
    reduced = [values - np.tensordot(multipliers, costs, axes=1) for values, costs in steps]
    top, losses = _losses(reduced)
    ahead = _Ahead(_least_costs(problem), losses)
    relief = float(multipliers @ problem.bound_array)
    upper = top + relief
    margin = MARGIN * (1.0 + sum(float(np.abs(step).max()) for step in reduced) + relief)

    def within(budget: float) -> list[int] | None:
        states, trail = _run(problem, ahead, bounds, budget + margin)
        if not len(states.values):
            return None
        order = list_dominance(states)
        return [int(k) for k in _way_back(trail, order[[states.values[order].argmax()]])[0]]

    return proven(
        within,
        lambda picks: upper - problem.float_value(picks),
        start,
        everything=sum(float(step.max()) for step in losses),
        margin=margin,
    )


def _losses(reduced: Sequence[FloatArray]) -> tuple[float, tuple[FloatArray, ...]]:
    """Returns the largest sum along a path, and by how much each step falls short of the best way on from its start."""
    losses: list[FloatArray] = []
    ahead = np.zeros(reduced[-1].shape[1])
    for step in reversed(reduced):
        through = step + ahead[None, :]
        ahead = through.max(axis=1)
        losses.append(ahead[:, None] - through)
    return float(ahead[0]), tuple(reversed(losses))


def _least_costs(problem: ChainProblem) -> tuple[IntArray, ...]:
    """Returns, for each layer, integers [rows, candidates]: the least cost of each row after each candidate."""
    ahead = np.zeros_like(problem.costs[-1][:, 0, :])
    least = [ahead]
    for step in reversed(problem.costs[1:]):
        ahead = (step + ahead[:, None, :]).min(axis=2)
        least.append(ahead)
    return tuple(reversed(least))


def _run(
    problem: ChainProblem, ahead: _Ahead | None, bounds: IntArray | None, budget: float
) -> tuple[States, list[tuple[Index, Index]]]:
    """Returns the states after the last layer, and a trail that holds each state's parent and pick for each layer."""
    rows = len(problem.bounds)
    dtype = problem.values[0].dtype
    cap = MAX_STATES[min(rows, 3)]
    states = States(np.zeros(1, dtype), np.zeros((rows, 1), dtype), np.zeros(1))
    last: Index = np.zeros(1, dtype=np.intp)
    trail: list[tuple[Index, Index]] = []
    for i, (values, costs) in enumerate(zip(problem.values, problem.costs, strict=True)):
        candidates = values.shape[1]
        if len(last) * candidates > 10 * cap + 1000:
            raise TooManyStatesError
        lists: list[tuple[States, Index]] = []
        for k in range(candidates):
            extended = States(states.values + values[last, k], states.costs + costs[:, last, k], states.losses)
            parents = np.arange(len(last))
            if ahead is not None and bounds is not None:
                extended.losses = states.losses + ahead.losses[i][last, k]
                keep = extended.losses <= budget
                for cost, least, bound in zip(extended.costs, ahead.costs[i][:, k], bounds, strict=True):
                    keep &= (cost <= bound - least).astype(bool)
                parents = np.flatnonzero(keep)
                extended = extended.take(parents)
            useful = list_dominance(extended)
            lists.append((extended.take(useful), parents[useful]))
        states = _joined([own for own, _ in lists])
        last = np.repeat(np.arange(candidates), [len(parents) for _, parents in lists])
        trail.append((np.concatenate([parents for _, parents in lists]), last))
        if len(last) > cap:
            raise TooManyStatesError
    return states, trail


def _joined(lists: Sequence[States]) -> States:
    return States(
        np.concatenate([own.values for own in lists]),
        np.concatenate([own.costs for own in lists], axis=1),
        np.concatenate([own.losses for own in lists]),
    )


def _way_back(trail: Sequence[tuple[Index, Index]], index: Index) -> NDArray[Any]:
    """Returns picks [n, layers] of final states."""
    picks = np.zeros((len(index), len(trail)), dtype=np.intp)
    for i in reversed(range(len(trail))):
        parents, chosen = trail[i]
        picks[:, i] = chosen[index]
        index = parents[index]
    return picks
