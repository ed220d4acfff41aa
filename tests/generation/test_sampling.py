from collections import Counter

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.generation import Limit, sample_within, sampling
from searchhub.generation.counted import count_within
from searchhub.generation.limits import windows_of
from searchhub.space import Choice, Condition, SearchSpace


@pytest.fixture(params=["laid out", "drawn"])
def way(request, monkeypatch):
    """Small spaces are laid out whole; with fewer tails they are drawn as large ones are."""
    if request.param == "drawn":
        monkeypatch.setattr(sampling, "TAILS", 4)
        monkeypatch.setattr(sampling, "BATCH", 64)
    return request.param


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("limits", [0, 1, 2])
def test_every_architecture_within_is_as_likely(make_search, way, conditional, limits):
    search = make_search(12, costs=("real", "integer"), conditional=conditional, layers=4)
    limits = [
        Limit(t, min=float(np.quantile(costs, 0.2)), max=float(np.quantile(costs, 0.9)))
        for t in search.tables[:limits]
        for costs in [[t.of_row(row) for row in search.rows]]
    ]
    members = {search.space.decode(row) for row in search.within(limits)}
    assert len(members) > 10
    rng = np.random.default_rng(0)
    counts = Counter(a for _ in range(400) for a in sample_within(search.space, limits, 5, rng))
    assert set(counts) <= members
    expected = 2000 / len(members)
    chi_square = sum((counts[m] - expected) ** 2 / expected for m in members)
    # Of a chi-square variable, five standard deviations above its mean.
    assert chi_square < len(members) + 5.0 * np.sqrt(2.0 * len(members))


def test_branches_count_by_their_size(way):
    """3 architectures of depth 1 with 3 tails a head, 10 of depth 2 with 2 tails a head."""
    one, two = Condition("depth", (1,)), Condition("depth", (2,))
    choices = (
        Choice("depth", (1, 2)),
        Choice("a", (0, 1, 2), condition=one),
        Choice("b", (0, 1), condition=two),
        Choice("c", (0, 1, 2, 3, 4), condition=two),
    )
    space = SearchSpace("s", choices)
    rng = np.random.default_rng(0)
    counts = Counter(a for _ in range(400) for a in sample_within(space, [], 5, rng))
    assert len(counts) == space.size == 13
    assert sum((n - 2000 / 13) ** 2 / (2000 / 13) for n in counts.values()) < 13 + 5.0 * np.sqrt(26.0)


def test_as_many_of_each_branch_on_request(way):
    """2 of depth 1, 9 of depth 2, 27 of depth 3; what depth 1 does not hold comes from the others."""
    deep = tuple(Condition("depth", depths) for depths in ((1,), (2, 3), (2, 3), (3,)))
    sizes = (2, 3, 3, 3)
    choices = [Choice(f"c{i}", tuple(range(n)), condition=c) for i, (n, c) in enumerate(zip(sizes, deep, strict=True))]
    space = SearchSpace("s", (Choice("depth", (1, 2, 3)), *choices))
    for n, expected in ((6, {1: 2, 2: 2, 3: 2}), (11, {1: 2, 2: 5, 3: 4}), (20, {1: 2, 2: 9, 3: 9})):
        drawn = sample_within(space, [], n, np.random.default_rng(0), max_draws=5_000, by_branch=True)
        assert len(set(drawn)) == n
        assert Counter(a["depth"] for a in drawn) == expected
    table = CostTable("size", space, 0.0, (np.array([0.0, 10.0, 20.0]), *(np.arange(float(n)) for n in sizes)))
    limit = Limit(table, min=10, max=30)
    drawn = sample_within(space, [limit], 8, np.random.default_rng(0), max_draws=5_000, by_branch=True)
    assert Counter(a["depth"] for a in drawn) == {2: 4, 3: 4}, "depth 1 costs less than 10"


def test_all_there_are_and_distinct(make_search, way):
    search = make_search(12, costs=("integer",), layers=4)
    limit = Limit(search.tables[0], max=search.tables[0].of_row(search.rows[-1]))
    within = {search.space.decode(row) for row in search.within([limit])}
    drawn = sample_within(search.space, [limit], len(within), np.random.default_rng(0), max_draws=100_000)
    assert len(drawn) == len(within)
    assert set(drawn) == within


def test_bounds_are_inclusive_and_exact(make_search, way):
    """A window of one float, at the cost of an architecture."""
    search = make_search(3, costs=("real",), layers=5)
    (table,) = search.tables
    row = search.rows[len(search.rows) // 2]
    drawn = sample_within(search.space, [Limit(table, equal=table.of_row(row))], 1, np.random.default_rng(0))
    assert table(drawn[0]) == table.of_row(row)


def test_a_cost_that_is_off_by_one_float_is_outside(way):
    space = SearchSpace("s", tuple(Choice(f"c{i}", (0, 1)) for i in range(5)))
    entries = (np.array([0.1, np.nextafter(0.1, 1.0)]), *[np.zeros(2)] * 4)
    table = CostTable("f", space, 0.2, entries)
    limit = Limit(table, equal=table.of_row(np.zeros(5, dtype=np.uint8)))
    assert len(search := sample_within(space, [limit], 16, np.random.default_rng(0))) == 16
    assert all(limit.low == table(a) for a in search)


def test_the_seed_decides(make_search, way):
    search = make_search(12, costs=("real",), layers=5)
    draw = [sample_within(search.space, [], 5, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert draw[0] == draw[1] != draw[2]


def large():
    space = SearchSpace("large", tuple(Choice(f"c{i}", tuple(range(7))) for i in range(21)))
    rng = np.random.default_rng(0)
    return CostTable("macs", space, 1e7, tuple(1e7 * rng.lognormal(size=7) for _ in range(21)))


def test_narrow_windows_of_large_spaces():
    table = large()
    middle = table.fixed + sum(float(np.median(entry)) for entry in table.entries)
    rng = np.random.default_rng(0)
    for width in (0.05, 1e-4, 1e-7):
        drawn = sample_within(table.space, [Limit(table, min=(1.0 - width) * middle, max=middle)], 3, rng)
        assert len(set(drawn)) == 3
        assert all((1.0 - width) * middle <= table(a) <= middle for a in drawn)


def test_never_endless():
    table = large()
    middle = table.fixed + sum(float(np.median(entry)) for entry in table.entries)
    with pytest.raises(InvalidInputError, match=r"At least 3 .* but 10,000 draws found 0\. Ask for fewer"):
        sample_within(table.space, [Limit(table, equal=middle)], 3, np.random.default_rng(0), max_draws=10_000)
    smallest = table.fixed + sum(float(entry.min()) for entry in table.entries)
    with pytest.raises(InfeasibleLimitError, match=r"`max macs >= ") as caught:
        sample_within(table.space, [Limit(table, max=0.9 * smallest)], 3, np.random.default_rng(0))
    assert caught.value.smallest["macs"] == pytest.approx(smallest)


def test_fewer_than_asked_is_known_for_certain_in_small_spaces(make_search):
    search = make_search(3, costs=("real",), layers=4)
    (table,) = search.tables
    limit = Limit(table, equal=table.of_row(search.rows[0]))
    with pytest.raises(InvalidInputError, match=r"At least 2 distinct architectures must keep to .* the space holds 1"):
        sample_within(search.space, [limit], 2, np.random.default_rng(0))


def test_refuses(make_search):
    search = make_search(3, costs=("real",))
    with pytest.raises(InvalidInputError, match=r"`n >= 0` and `max_draws >= 1` must hold"):
        sample_within(search.space, [], -1, np.random.default_rng(0))
    with pytest.raises(InvalidInputError, match=r"must be one of \[\], but got 'macs'"):
        sample_within(search.space, [Limit("macs", max=1)], 1, np.random.default_rng(0))
    assert sample_within(search.space, [], 0, np.random.default_rng(0)) == []


# -- counted ----------------------------------------------------------------------------------------------------------


def test_counts_are_exact_and_draws_even():
    space = SearchSpace("small", tuple(Choice(f"c{i}", (0, 1, 2)) for i in range(4)))
    table = CostTable("size", space, 1.0, tuple(np.array([0.0, 2.0, 3.0 + i]) for i in range(4)))
    (window,) = windows_of([Limit(table, min=6, max=9)], space)
    (branch,) = space.branches()
    counted = count_within(branch, [window])
    rows = [row for row in space.sample(3000, np.random.default_rng(0)) if 6 <= table.of_row(row) <= 9]
    there = {row.tobytes() for row in rows}
    assert counted.size == len(there)
    rng = np.random.default_rng(1)
    drawn = Counter(counted.draw(rng).tobytes() for _ in range(60 * len(there)))
    assert set(drawn) == there
    assert min(drawn.values()) > 25
    assert max(drawn.values()) < 110


def test_windows_that_no_draw_would_hit():
    """Of some 10^13 architectures those of a few parameters: rejection finds none, counting does."""
    space = SearchSpace("large", tuple(Choice(f"c{i}", tuple(range(12))) for i in range(14)))
    table = CostTable("size", space, 0.0, tuple(np.array([1.0, *range(100, 1200, 100)]) for _ in range(14)))
    limit = Limit(table, min=100, max=120)
    drawn = sample_within(space, [limit], 6, np.random.default_rng(0), max_draws=4096)
    assert len(set(drawn)) == 6
    assert all(100 <= table(architecture) <= 120 for architecture in drawn)
    with pytest.raises(InvalidInputError, match="At least 15 distinct architectures must keep to"):
        sample_within(space, [limit], 15, np.random.default_rng(0), max_draws=4096)  # there are 14
    half = CostTable("ms", space, 0.0, tuple(entry / 7.0 for entry in table.entries))
    with pytest.raises(InvalidInputError, match="4,096 draws found 0"):
        sample_within(space, [Limit(half, min=14.3, max=17.0)], 2, np.random.default_rng(0), max_draws=4096)
