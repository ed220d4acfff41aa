import itertools

import numpy as np
import pytest

from searchhub.generation import knapsack
from searchhub.generation.problem import UNLIMITED, Row, build, exact_sum


def random_problem(seed, rows, layers=6, most=5, integer=False):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, most + 1, size=layers)

    def draw():
        return tuple(rng.integers(0, 9, size=n) * 1.0 if integer else rng.lognormal(size=n) for n in sizes)

    values, costs = draw(), [draw() for _ in range(rows)]
    middle = [int(n // 2) for n in sizes]
    limits = [exact_sum(c, np.array(middle, dtype=np.uint8)) for c in costs]
    return build(values, [Row(c, m) for c, m in zip(costs, limits, strict=True)], [tuple(range(n)) for n in sizes])


def brute_force(problem):
    """The best feasible picks by value, then by cost of the first row, of the second, …."""
    best = None
    for picks in itertools.product(*(range(len(v)) for v in problem.values)):
        if problem.feasible(picks):
            costs = [
                sum(int(c[r, k]) for c, k in zip(problem.costs, picks, strict=True)) for r in range(len(problem.bounds))
            ]
            key = (problem.value(picks), *(-c for c in costs))
            best = key if best is None else max(best, key)
    return best


def key_of(problem, picks):
    costs = [sum(int(c[r, k]) for c, k in zip(problem.costs, picks, strict=True)) for r in range(len(problem.bounds))]
    return (problem.value(picks), *(-c for c in costs))


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("integer", [False, True])
def test_best_is_the_best(rows, integer):
    infeasible = 0
    for seed in range(25):
        problem = random_problem(seed, rows, integer=integer)
        expected, picks = brute_force(problem), knapsack.best(problem)
        if expected is None:
            assert picks is None
            infeasible += 1
        elif rows <= 2:
            assert key_of(problem, picks) == expected
        else:
            assert (problem.value(picks), problem.feasible(picks)) == (expected[0], True)
    assert infeasible < 25


def test_any_feasible_start_leads_to_the_best():
    for seed in range(10):
        problem = random_problem(seed, 2)
        every = [p for p in itertools.product(*(range(len(v)) for v in problem.values)) if problem.feasible(p)]
        worst = min(every, key=problem.value)
        assert key_of(problem, knapsack.best(problem, start=worst)) == brute_force(problem)


def test_front_is_the_front():
    for seed in range(20):
        problem = random_problem(seed, 1, integer=seed % 2 == 0)
        points = set()
        for picks in itertools.product(*(range(len(v)) for v in problem.values)):
            value, minus = key_of(problem, picks)
            points.add((-minus, -value))
        front = []
        for cost, value in sorted(points):
            if not front or -value > front[-1][1]:
                front.append((cost, -value))
        found = [key_of(problem, picks) for picks in knapsack.front(problem).tolist()]
        assert [(-minus, value) for value, minus in found] == front


def test_exact_integers_give_the_same_answers():
    rng = np.random.default_rng(0)
    for _ in range(5):
        values, cost, other = (tuple(rng.lognormal(size=4) for _ in range(5)) for _ in range(3))
        middle = np.full(5, 2, dtype=np.uint8)
        rows = [Row(cost, exact_sum(cost, middle)), Row(other, exact_sum(other, middle))]
        reach = [tuple(range(4))] * 5
        for kept in (rows[:1], rows):
            exact = build([10.0**40 * v for v in values], kept, reach, exact=True)
            assert exact.values[0].dtype == object
            assert key_of(exact, knapsack.best(exact)) == brute_force(exact)
        unlimited = [Row(cost, UNLIMITED)]
        assert (
            knapsack.front(build(values, unlimited, reach, exact=True)).tolist()
            == knapsack.front(build(values, unlimited, reach)).tolist()
        )


def test_bounds_prune_but_never_the_best(monkeypatch):
    """With the margin gone and the budget doubled the answer is the same: it does not hang on either."""
    problem = random_problem(3, 1, layers=12)
    picks = knapsack.best(problem)
    lengths = []
    run = knapsack._run

    def counted(*arguments):
        states, trail = run(*arguments)
        lengths.append(max(len(parents) for _, parents, _ in trail))
        return states, trail

    monkeypatch.setattr(knapsack, "_run", counted)
    assert knapsack.best(problem) == picks
    front = knapsack.front(problem)
    value = max(problem.value(p) for p in front.tolist() if problem.feasible(p))
    assert problem.value(picks) == value
    assert max(lengths[:-1]) * 5 < lengths[-1]


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("high", [4, 30, 10**9])
def test_exactly_what_is_dominated_goes(rows, high):
    """Few different numbers: equal costs, equal values and equal states."""
    rng = np.random.default_rng(high)
    for n in (1, 2, 50):
        for dtype in (np.int64, object):
            values = rng.integers(high, size=n).astype(dtype)
            costs = rng.integers(high, size=(rows, n)).astype(dtype)
            points = {(int(v), *(-int(c) for c in own)) for v, own in zip(values, costs.T, strict=True)}
            front = {p for p in points if not any(q != p and all(map(int.__ge__, q, p)) for q in points)}
            kept = knapsack.list_dominance(knapsack.States(values, costs, np.zeros(n)))
            assert len(kept) == len(front)
            assert {(int(values[i]), *(-int(c) for c in costs[:, i])) for i in kept} == front


def test_of_equal_value_the_lower_first_cost():
    """Neither dominates the other; the second is cheaper in the second row only."""
    values = (np.array([1.0, 1.0, 2.0]),)
    first, second = (np.array([1.0, 2.0, 9.0]),), (np.array([2.0, 1.0, 9.0]),)
    reach = [(0, 1, 2)]
    assert knapsack.best(build(values, [Row(first, 3), Row(second, 3)], reach)) == [0]
    assert knapsack.best(build(values, [Row(second, 3), Row(first, 3)], reach)) == [1]


def test_gives_up_past_its_cap(monkeypatch):
    monkeypatch.setitem(knapsack.MAX_STATES, 1, 3)
    with pytest.raises(knapsack.TooManyStatesError):
        knapsack.front(random_problem(0, 1))


def test_multiplier_of_one_row_is_that_of_the_linear_program():
    for seed in range(20):
        problem = random_problem(seed, 1)
        if problem.bounds[0] < 0:
            continue

        def bound(multiplier, problem=problem):
            reduced = problem.value_array - multiplier * problem.cost_array[0]
            return reduced.max(axis=1).sum() + multiplier * problem.bound_array[0]

        own = knapsack.lagrange_multipliers(problem)[0]
        other = knapsack.lp_multipliers(problem)[0]
        assert bound(own) == pytest.approx(bound(other), abs=1e-9)
