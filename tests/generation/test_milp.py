from fractions import Fraction

import numpy as np
import pytest

from searchhub.generation import knapsack, milp
from searchhub.generation.problem import Row, build, exact_sum


def problem_of(values, costs, picks, below=0):
    """Bounds at the costs of some picks, less `below`."""
    limits = [exact_sum(c, np.array(picks, dtype=np.uint8)) - below for c in costs]
    return build(
        values, [Row(c, m) for c, m in zip(costs, limits, strict=True)], [tuple(range(len(v))) for v in values]
    )


def test_differences_of_a_billionth_count():
    """At HiGHS's default gap nearly uniform θ comes out wrong."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        values = [0.25 * (1.0 + 1e-9 * rng.normal(size=4)) for _ in range(5)]
        costs = [tuple(rng.lognormal(size=4) for _ in range(5)) for _ in range(3)]
        problem = problem_of(values, costs, [2] * 5)
        best = max(problem.value(p) for p in np.ndindex(*[4] * 5) if problem.feasible(p))
        found = milp.solve(problem, seconds=20.0)
        assert found.decided
        assert problem.feasible(found.picks)
        assert problem.value(found.picks) == best


def test_highs_may_not_stop_at_a_gap(monkeypatch):
    given = []
    solver = milp.milp
    monkeypatch.setattr(milp, "milp", lambda *a, **k: given.append(k["options"]["mip_rel_gap"]) or solver(*a, **k))
    values = (np.array([0.0, 1.0]), np.array([0.0, 0.9]))
    milp.solve(problem_of(values, [values], [1, 0]), seconds=20.0)
    assert given == [0.0]


def test_larger_problems_agree_with_the_list():
    """Large enough for HiGHS to branch, and to stop early if it may."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        values = [rng.random(7) for _ in range(14)]
        costs = [tuple(v**2 + 0.1 * rng.random(7) for v in values) for _ in range(3)]
        limits = [sum(float(np.median(c)) for c in cost) for cost in costs]
        problem = build(
            values, [Row(c, Fraction(m)) for c, m in zip(costs, limits, strict=True)], [tuple(range(7))] * 14
        )
        found = milp.solve(problem, seconds=20.0)
        assert found.decided
        best = problem.value(knapsack.best(problem, start=found.picks))
        assert best - problem.value(found.picks) <= 1e-11 * best


def test_what_slips_through_the_tolerance_is_cut_off():
    """The bound is one unit of 2^50 below the best: HiGHS sees no difference."""
    costs = [(np.array([0.0, 2.0**50]), np.array([0.0, 2.0**50]))]
    values = (np.array([0.0, 1.0]), np.array([0.0, 0.9]))
    found = milp.solve(problem_of(values, costs, [1, 1], below=1), seconds=20.0)
    assert found == milp.Found([1, 0], decided=True)


def test_nothing_feasible():
    costs = [(np.array([0.0, 4.0]), np.array([0.0, 4.0])), (np.array([4.0, 0.0]), np.array([4.0, 0.0]))]
    problem = build(costs[0], [Row(c, 3) for c in costs], [(0, 1), (0, 1)])
    assert milp.solve(problem, seconds=20.0) == milp.Found(None, decided=True)


def test_gives_up_after_so_many_cuts(monkeypatch):
    monkeypatch.setattr(milp, "MAX_CUTS", 1)
    costs = [(np.array([0.0, 2.0**50]), np.array([0.0, 2.0**50]))]
    problem = problem_of((np.array([0.0, 1.0]), np.array([0.0, 0.9])), costs, [1, 1], below=1)
    assert milp.solve(problem, seconds=20.0) == milp.Found(None, decided=False)


@pytest.mark.parametrize("seed", range(3))
def test_multipliers_bound_every_feasible_value(seed):
    rng = np.random.default_rng(seed)
    values = [rng.random(4) for _ in range(5)]
    costs = [tuple(rng.random(4) for _ in range(5)) for _ in range(2)]
    problem = problem_of(values, costs, [1] * 5)
    multipliers = milp.lp_multipliers(problem)
    assert (multipliers >= 0.0).all()
    reduced = problem.value_array - np.tensordot(multipliers, problem.cost_array, axes=1)
    bound = reduced.max(axis=1).sum() + multipliers @ problem.bound_array
    layers = np.arange(5)
    best = max(problem.value_array[layers, p].sum() for p in np.ndindex(*[4] * 5) if problem.feasible(p))
    assert best <= bound + 1e-12
    assert bound <= problem.value_array.max(axis=1).sum() + 1e-12
