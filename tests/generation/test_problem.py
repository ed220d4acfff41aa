import math
from fractions import Fraction

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.generation import problem as problem_module
from searchhub.generation.limits import CostRange
from searchhub.generation.problem import UNLIMITED, Row, build, rows_of
from searchhub.space import Choice, SearchSpace


def space_of(*sizes):
    return SearchSpace("s", tuple(Choice(f"c{i}", tuple(range(n))) for i, n in enumerate(sizes)))


@pytest.mark.parametrize("seed", range(20))
def test_rows_decide_as_the_rounded_cost_does(seed):
    """Bounds a few floats around the cost of a sum that rounds."""
    rng = np.random.default_rng(seed)
    space = space_of(*[3] * 8)
    table = CostTable("c", space, float(rng.normal()), tuple(rng.lognormal(0, 3, size=3) for _ in range(8)))
    outcomes = set()
    for row in space.sample(10, rng):
        near = [table.of_row(row)]
        for _ in range(2):
            near = [math.nextafter(near[0], -math.inf), *near, math.nextafter(near[-1], math.inf)]
        for bound in near:
            for window in (
                CostRange(table, -math.inf, bound),
                CostRange(table, bound, math.inf),
                CostRange(table, bound, bound),
            ):
                holds = window.holds(table.of_row(row))
                assert all(r.holds(row) for r in rows_of(window)) == holds
                outcomes.add(holds)
    assert outcomes == {True, False}


def test_half_way_between_two_floats_rounds_to_the_even_one():
    space = space_of(1, 1)
    odd, even = 1.0 + 2.0**-52, 1.0 + 2.0**-51
    half = 2.0**-53
    row = np.zeros(2, dtype=np.uint8)
    to_even_above = CostTable("c", space, 0.0, (np.array([odd]), np.array([half])))
    assert to_even_above.of_row(row) == even
    assert not rows_of(CostRange(to_even_above, -math.inf, odd))[0].holds(row)
    to_even_below = CostTable("c", space, 0.0, (np.array([even]), np.array([half])))
    assert to_even_below.of_row(row) == even
    assert rows_of(CostRange(to_even_below, -math.inf, even))[0].holds(row)


def test_integers_are_exact_where_they_fit():
    entries = (np.array([0.5, 0.75]), np.array([3.0, 1.0, 2.25]))
    problem = build(entries, [Row(entries, UNLIMITED)], [(0, 1), (0, 1, 2)])
    assert [v.tolist() for v in problem.values] == [[0, 1], [8, 0, 5]]
    assert problem.values[0].dtype == np.int64
    assert problem.bounds == (9,)


def test_rounding_loses_nothing_feasible(monkeypatch):
    monkeypatch.setattr(problem_module, "BITS", 12)
    rng = np.random.default_rng(0)
    entries = tuple(rng.lognormal(size=4) for _ in range(6))
    table = CostTable("c", space_of(*[4] * 6), 0.3, entries)
    rounded = 0
    for row in table.space.sample(200, rng):
        window = CostRange(table, -math.inf, table.of_row(row))
        problem = build(entries, rows_of(window), [tuple(range(4))] * 6)
        assert problem.feasible([int(k) for k in row])
        exact = build(entries, rows_of(window), [tuple(range(4))] * 6, exact=True)
        assert exact.feasible([int(k) for k in row])
        rounded += problem.bounds != exact.bounds
    assert rounded > 100


def test_wide_ranges_are_exact_on_request():
    entries = (np.array([1e-300, 1e300]), np.array([1.0, 2.0]))
    problem = build(entries, [Row(entries, UNLIMITED)], [(0, 1), (0, 1)], exact=True)
    assert problem.values[0].dtype == object
    unit = problem.values[1][1]
    assert problem.values[0][1] == int(1e300) * unit - round(Fraction(1e-300) * unit)
    assert build(entries, [Row(entries, UNLIMITED)], [(0, 1), (0, 1)]).values[0].dtype == np.int64


def test_rows_that_nothing_breaks_are_left_out_but_the_first():
    entries = (np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    table = CostTable("c", space_of(2, 2), 0.0, entries)
    tight, loose = rows_of(CostRange(table, -math.inf, 5.0))[0], rows_of(CostRange(table, -math.inf, 6.0))[0]
    reach = [(0, 1), (0, 1)]
    assert len(build(entries, [loose, tight, loose], reach).bounds) == 2
    assert len(build(entries, [tight, loose, tight], reach).bounds) == 2
