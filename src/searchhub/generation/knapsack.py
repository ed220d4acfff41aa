"""Solves DDPNAS Eq. 10 exactly for additive costs, by dynamic programming over lists of undominated states.

States are partial architectures, layer by layer, in numpy arrays: the integer value so far, the integer cost so far of
each row, and the way back. A state goes when another has at least its value at no more cost of any row; with one row
what is left after the last layer is the whole Pareto front. For one answer (`best`) a state also goes when it cannot
keep to a bound, or cannot reach the value to beat, by Lagrange's bound: with multipliers λ >= 0,

    Σ v <= λ·b + Σ_i max_k (v_ik − λ·c_ik) − Σ_i loss_i,    loss_i = max_k (v_ik − λ·c_ik) − (v_i − λ·c_i) >= 0,

so that a state whose losses add up to more than U − (value to beat) is of no use; U is the bound without the losses.
Losses are floats, and their rounding is covered by a margin; values, costs and bounds are compared as integers.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searchhub.distribution import FloatArray
from searchhub.generation.milp import lp_multipliers
from searchhub.generation.problem import NEVER, IntArray, Problem

MAX_STATES = {1: 1_000_000, 2: 20_000, 3: 200_000}
"""Largest length of a list by number of rows (3 for more); longer lists are given up. Two rows need a Python loop."""
MARGIN = 1e-11
"""Margin for the rounding of losses, relative to the terms of Lagrange's bound; the rounding is some 1e-15."""

Index = NDArray[np.intp]


class TooManyStatesError(Exception):
    """Raised when the list grows past its cap. It never reaches users."""


@dataclass
class _Layer:
    position: int
    picks: NDArray[np.intp]
    values: IntArray
    costs: IntArray
    losses: FloatArray


@dataclass
class States:
    """Values [n], costs [rows, n] and losses [n] of partial architectures."""

    values: IntArray
    costs: IntArray
    losses: FloatArray

    def take(self, index: Index) -> States:
        return States(self.values[index], self.costs[:, index], self.losses[index])


def front(problem: Problem) -> NDArray[np.intp]:
    """Returns all Pareto-optimal picks [n, layers] of value against the cost, both strictly rising; bounds are ignored.

    Raises:
        TooManyStatesError: The front is longer than the cap.
    """
    losses = np.zeros_like(problem.value_array)
    states, trail = _run(problem, _layers(problem, losses, np.inf), None, np.inf)
    return _way_back(problem, trail, np.arange(len(states.values)))


def best(problem: Problem, start: Sequence[int] | None = None) -> list[int] | None:
    """Returns the picks of largest value that keep to the bounds; None if none do.

    Among equal values it takes the lower cost of the first row, then of the second, and so on.

    Only states within a budget of losses are kept. The budget starts from a guess, or from what `start` needs, and
    grows until the picks found prove that nothing better was left out: picks of value v have losses of at most U − v.

    Args:
        problem: Problem with one row or more.
        start: Feasible picks whose value must at least be reached.

    Raises:
        TooManyStatesError: The number of states exceeds the cap for their number of rows.
    """
    if any(bound < 0 for bound in problem.bounds):
        return None
    multipliers = lagrange_multipliers(problem)
    reduced = problem.value_array - np.tensordot(multipliers, problem.cost_array, axes=1)
    top = reduced.max(axis=1)
    losses = top[:, None] - reduced
    upper = float(top.sum() + multipliers @ problem.bound_array)
    margin = MARGIN * (1.0 + float(np.abs(top).sum() + multipliers @ problem.bound_array))
    everything = float(np.where(reduced > NEVER / 2, losses, 0.0).max(axis=1).sum())
    if start is None:
        start = _greedy(problem, reduced.argmax(axis=1))
    return proven(
        lambda budget: _within(problem, losses, budget + margin),
        lambda picks: upper - _float_value(problem, picks),
        start,
        everything=everything,
        margin=margin,
    )


def proven(
    within: Callable[[float], list[int] | None],
    losses_of: Callable[[Sequence[int]], float],
    start: Sequence[int] | None,
    *,
    everything: float,
    margin: float,
) -> list[int] | None:
    """Finds the best feasible picks, by a budget of losses that grows until it proves them; None if there are none.

    Args:
        within: Function that returns the best feasible picks within a budget of losses; None if there are none.
        losses_of: Function that returns how many losses picks of the same value may have.
        start: Feasible picks. None: none are known.
        everything: A budget that no picks exceed.
        margin: A number larger than the rounding of losses.
    """
    budget = max(1e-4 if start is None else losses_of(start), margin)
    while True:
        found = within(budget)
        needed = everything if found is None else losses_of(found)
        if needed <= budget or budget >= everything:
            return found
        budget = min(8.0 * budget, everything) if found is None else needed


def _within(problem: Problem, losses: FloatArray, budget: float) -> list[int] | None:
    """Returns the best feasible picks among those whose losses are within the budget."""
    bounds = np.array(problem.bounds, dtype=problem.values[0].dtype)
    states, trail = _run(problem, _layers(problem, losses, budget), bounds, budget)
    if not len(states.values):
        return None
    first_best = np.array([int(states.values.argmax())])
    return [int(k) for k in _way_back(problem, trail, first_best)[0]]


def _float_value(problem: Problem, picks: Sequence[int]) -> float:
    return float(problem.value_array[np.arange(len(picks)), picks].sum())


# -- the list ----------------------------------------------------------------------------------------------------------


def _layers(problem: Problem, losses: FloatArray, budget: float) -> list[_Layer]:
    """Returns the layers, stripped of candidates that cannot be in an answer.

    Layers with nothing left to choose come first, then those with most candidates: the last work on the longest lists.
    """
    layers = []
    for i, (values, costs) in enumerate(zip(problem.values, problem.costs, strict=True)):
        useful = np.flatnonzero(_undominated(values, costs) & (losses[i, : len(values)] <= budget))
        layers.append(_Layer(i, useful, values[useful], costs[:, useful], losses[i, useful]))
    return sorted(layers, key=lambda layer: -len(layer.picks) if len(layer.picks) > 1 else -np.inf)


def _undominated(values: IntArray, costs: IntArray) -> NDArray[np.bool_]:
    """Tells which states no other matches in value at no more cost of any row; among equals the first stays. O(n²)."""
    as_good = values[:, None] >= values[None, :]
    for cost in costs:
        as_good &= cost[:, None] <= cost[None, :]
    n = len(values)
    dominates = as_good & ~(as_good.T & (np.arange(n)[:, None] >= np.arange(n)[None, :]))
    return np.asarray(~dominates.any(axis=0))


def _run(
    problem: Problem, layers: list[_Layer], bounds: IntArray | None, budget: float
) -> tuple[States, list[tuple[_Layer, Index, Index]]]:
    """Returns the states after the last layer, and a trail that holds each state's parent and pick for each layer."""
    rows = len(problem.bounds)
    dtype = problem.values[0].dtype
    states = States(np.zeros(1, dtype), np.zeros((rows, 1), dtype), np.zeros(1))
    trail = []
    cap = MAX_STATES[min(rows, 3)]
    for layer in layers:
        n = len(states.values)
        if n * len(layer.picks) > 10 * cap + 1000:
            raise TooManyStatesError
        states, kept = _extend(states, layer, bounds, budget)
        useful = list_dominance(states)
        states, kept = states.take(useful), kept[useful]
        if len(kept) > cap:
            raise TooManyStatesError
        trail.append((layer, kept % max(n, 1), kept // max(n, 1)))
    return states, trail


def _extend(states: States, layer: _Layer, bounds: IntArray | None, budget: float) -> tuple[States, Index]:
    """Extends every state by every candidate, less what breaks a bound or the budget; with places [candidates, n]."""
    costs = (states.costs[:, None, :] + layer.costs[:, :, None]).reshape(len(layer.costs), -1)
    values = (states.values[None, :] + layer.values[:, None]).ravel()
    if bounds is None:
        return States(values, costs, values), np.arange(len(values))  # of losses only the length is used then
    losses = (states.losses[None, :] + layer.losses[:, None]).ravel()
    keep = losses <= budget
    for cost, bound in zip(costs, bounds, strict=True):
        keep &= cost <= bound
    kept = np.flatnonzero(keep)
    return States(values[kept], costs[:, kept], losses[kept]), kept


def list_dominance(states: States) -> Index:
    """Returns indices of the states that no other dominates, in order of the first cost, then of the second, and so on.

    With more than two rows, only states with exactly equal costs are compared.
    """
    values, costs = states.values, states.costs
    if len(values) <= 1:
        return np.arange(len(values))
    if len(costs) == 1:
        return _rising(values, costs[0])
    order = np.lexsort((-values, *costs[::-1])) if values.dtype != object else _object_order(values, costs)
    first = np.ones(len(order), dtype=bool)
    first[1:] = (costs[:, order[1:]] != costs[:, order[:-1]]).any(axis=0)
    order = order[first]
    return order[_staircase(values[order], costs[1, order])] if len(costs) == 2 else order


def _rising(values: IntArray, cost: IntArray) -> Index:
    """Handles one row: in order of cost, keeps states whose value exceeds all before; of equal cost the last."""
    order = np.argsort(cost, kind="stable")
    sorted_values = values[order]
    rising = np.ones(len(order), dtype=bool)
    rising[1:] = sorted_values[1:] > np.maximum.accumulate(sorted_values)[:-1]
    order = order[rising]
    sorted_cost = cost[order]
    last = np.ones(len(order), dtype=bool)
    last[:-1] = sorted_cost[1:] != sorted_cost[:-1]
    return np.asarray(order[last])


def _object_order(values: IntArray, costs: IntArray) -> Index:
    keys = list(zip(*(cost.tolist() for cost in costs), (-values).tolist(), strict=True))
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.intp)


def _staircase(values: IntArray, second: IntArray) -> Index:
    """Handles two rows: of states in order of the first cost, keeps those unbeaten in second cost and value so far.

    The staircase holds the states so far that matter: both second costs and values rise.
    """
    stairs: list[int] = []
    heights: list[int] = []
    kept = []
    for i, (cost, value) in enumerate(zip(second.tolist(), values.tolist(), strict=True)):
        at = bisect.bisect_right(stairs, cost)
        if at and heights[at - 1] >= value:
            continue
        kept.append(i)
        end = bisect.bisect_right(heights, value, lo=at)
        stairs[at:end] = [cost]
        heights[at:end] = [value]
    return np.array(kept, dtype=np.intp)


def _way_back(problem: Problem, trail: list[tuple[_Layer, Index, Index]], index: Index) -> NDArray[np.intp]:
    """Returns picks [n, layers] of final states."""
    picks = np.zeros((len(index), len(problem.layers)), dtype=np.intp)
    for layer, parents, chosen in reversed(trail):
        picks[:, layer.position] = layer.picks[chosen[index]]
        index = parents[index]
    return picks


# -- multipliers and a first answer ------------------------------------------------------------------------------------


def lagrange_multipliers(problem: Problem) -> FloatArray:
    """Returns λ >= 0 [rows] that make Lagrange's bound small. Any λ is valid; a smaller bound leaves fewer states."""
    if len(problem.bounds) == 1:
        return np.array([_one_multiplier(problem.value_array, problem.cost_array[0], float(problem.bound_array[0]))])
    return lp_multipliers(problem)


def _one_multiplier(values: FloatArray, costs: FloatArray, bound: float) -> float:
    """Returns the minimum over λ of λ·b + Σ max (v − λ·c), where lines of a too dear and an affordable choice cross."""
    rows = np.arange(len(values))

    def at(multiplier: float) -> tuple[float, float]:
        picks = (values - multiplier * costs).argmax(axis=1)
        return float(values[rows, picks].sum()), float(costs[rows, picks].sum())

    low_value, low_cost = at(0.0)
    if low_cost <= bound:
        return 0.0
    cheapest = np.where(values > NEVER / 2, costs, np.inf)
    picks = np.lexsort((-values, cheapest), axis=1)[:, 0]
    high_value, high_cost = float(values[rows, picks].sum()), float(costs[rows, picks].sum())
    multiplier = 0.0
    for _ in range(100):
        if low_cost <= high_cost:
            break
        multiplier = max(0.0, (low_value - high_value) / (low_cost - high_cost))
        value, cost = at(multiplier)
        gained = (value - multiplier * cost) - (high_value - multiplier * high_cost)
        if gained <= 1e-15 * (1.0 + abs(value)):
            break
        if cost > bound:
            low_value, low_cost = value, cost
        else:
            high_value, high_cost = value, cost
    return multiplier


def _greedy(problem: Problem, picks: NDArray[np.intp]) -> list[int] | None:
    """Finds feasible picks near the best: drops to what fits, then takes the largest gain that fits until none does.

    It returns None if it finds no start. The answer does not depend on the start, only the time does.
    """
    values, costs, bounds = problem.value_array, problem.cost_array, problem.bound_array
    layers = np.arange(len(values))
    candidates = values > NEVER / 2
    picks = picks.copy()
    for _ in range(2 * len(values)):
        used = costs[:, layers, picks].sum(axis=1)
        over = used - bounds
        if (over <= 0.0).all():
            break
        saved = (costs[:, layers, picks][:, :, None] - costs)[over > 0.0].sum(axis=0)
        lost = values[layers, picks][:, None] - values
        rate = np.where(candidates & (saved > 0.0), saved / np.maximum(lost, 1e-12), -1.0)
        layer, pick = np.unravel_index(int(rate.argmax()), rate.shape)
        if rate[layer, pick] <= 0.0:
            return None
        picks[layer] = pick
    else:
        return None
    for _ in range(2 * len(values)):
        slack = bounds - costs[:, layers, picks].sum(axis=1)
        more = costs - costs[:, layers, picks][:, :, None]
        gain = values - values[layers, picks][:, None]
        gain = np.where((more <= slack[:, None, None]).all(axis=0), gain, -1.0)
        layer, pick = np.unravel_index(int(gain.argmax()), gain.shape)
        if gain[layer, pick] <= 0.0:
            break
        picks[layer] = pick
    return [int(k) for k in picks]
