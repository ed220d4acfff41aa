import itertools
import json
import math

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.space import INACTIVE, Architecture, Choice, Condition, SearchSpace

SPACE = SearchSpace("two", (Choice("a", ("x", "y", "z")), Choice("b", (1, 2))))
DEEP = SearchSpace(
    "deep",
    (
        Choice("depth", (1, 2)),
        Choice("layer.1", ("small", "large")),
        Choice("layer.2", ("small", "large"), condition=Condition("depth", (2,))),
    ),
)


def table(**changes):
    fields = {"name": "macs", "space": SPACE, "fixed": 10.0, "entries": ([1, 2, 3], [0.5, 8]), "unit": "multiply-adds"}
    return CostTable(**{**fields, **changes})


def deep(entries=((0.0, 0.0), (1.0, 2.0), (4.0, 8.0))):
    return CostTable("macs", DEEP, 100.0, tuple(np.array(e) for e in entries))


def test_cost_of_an_architecture():
    assert table()(Architecture({"a": "z", "b": 1})) == 13.5
    assert table().of_row(np.array([1, 1])) == 20.0
    np.testing.assert_array_equal(table().of_codes(np.array([[2, 0], [1, 1]], dtype=np.uint8)), [13.5, 20.0])


def test_inactive_choices_cost_nothing():
    shallow = Architecture({"depth": 1, "layer.1": "large"})
    row = DEEP.encode(shallow)
    assert row[2] == INACTIVE
    assert deep()(shallow) == deep().of_row(row) == deep().of_codes(row[None])[0] == 102.0
    assert deep()(Architecture({"depth": 2, "layer.1": "small", "layer.2": "large"})) == 109.0


def test_sums_are_correctly_rounded():
    """In the order of the choices, floats would give 0.6000000000000001."""
    space = SearchSpace("three", tuple(Choice(n, (1,)) for n in "abc"))
    cost = CostTable("ms", space, 0.0, tuple(np.array([x]) for x in (0.1, 0.2, 0.3)))
    assert 0.1 + 0.2 + 0.3 != 0.6
    assert cost.of_row(np.zeros(3, dtype=np.uint8)) == 0.6 == math.fsum([0.1, 0.2, 0.3])


def test_bounds():
    assert table().bounds() == (11.5, 21.0)
    # The cheapest is shallow, the dearest deep; with a negative cost of layer 2 it is the other way round.
    assert deep().bounds() == (101.0, 110.0)
    assert deep(((0.0, 0.0), (1.0, 2.0), (-4.0, -8.0))).bounds() == (93.0, 102.0)


def test_bounds_hold_for_every_architecture():
    rng = np.random.default_rng(0)
    cost = deep([rng.normal(size=2) for _ in range(3)])
    costs = [cost.of_row(row) for row in DEEP.sample(200, rng)]
    assert cost.bounds() == (min(costs), max(costs))


def test_reads_back_from_json():
    again = CostTable.from_dict(SPACE, json.loads(json.dumps(table().to_dict())))
    assert again == table()
    assert again.to_dict() == table().to_dict()


def test_equal_are_tables_of_the_same_numbers():
    assert table() == table()
    for change in (
        {"name": "params"},
        {"unit": ""},
        {"fixed": 11.0},
        {"entries": ([1, 2, 3.5], [0.5, 8])},
        {"space": SearchSpace("other", SPACE.choices)},
    ):
        assert table() != table(**change), change
    assert table() != "macs"
    assert table() in [deep(), table()]


def test_numbers_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        table().entries[0][0] = 5


def test_entries_that_do_not_fit():
    with pytest.raises(InvalidInputError, match=r"`macs` must hold 3 finite numbers for `a`, but holds \[1\.0, 2\.0\]"):
        table(entries=([1, 2], [1, 2]))
    for bad in (math.nan, math.inf):
        with pytest.raises(InvalidInputError, match="`macs` must hold 2 finite numbers for `b`"):
            table(entries=([1, 2, 3], [1, bad]))
    with pytest.raises(ValueError, match="shorter"):
        table(entries=([1, 2, 3],))


# -- coupled along the chain of choices -------------------------------------------------------------------------------

PAIRS = (np.array([[0.25, 4.0], [0.0, -7.0], [16.0, 32.0]]),)


def test_pairs_are_of_candidates_that_follow_each_other():
    cost = table(pairs=PAIRS)
    assert cost(Architecture({"a": "z", "b": 1})) == 13.5 + 16.0
    codes = np.array([[a, b] for a in range(3) for b in range(2)], dtype=np.uint8)
    assert cost.of_codes(codes).tolist() == [cost.of_row(row) for row in codes] == [11.75, 23.0, 12.5, 13.0, 29.5, 53.0]
    assert cost.bounds() == (11.75, 53.0)
    assert cost.extreme_row(1).tolist() == [2, 1]
    assert cost.mean() == cost.of_codes(codes).mean()


def test_bounds_of_a_chain_are_exact():
    rng = np.random.default_rng(0)
    for sizes in ((3, 1, 4, 2), (2, 2, 2, 2, 2), (4,)):
        space = SearchSpace("chain", tuple(Choice(f"c{i}", tuple(range(n))) for i, n in enumerate(sizes)))
        pairs = tuple(rng.normal(size=shape) for shape in itertools.pairwise(sizes))
        cost = CostTable("c", space, 0.5, tuple(rng.normal(size=n) for n in sizes), pairs=pairs)
        rows = [np.array(row, dtype=np.uint8) for row in itertools.product(*map(range, sizes))]
        costs = [cost.of_row(row) for row in rows]
        assert cost.bounds() == (min(costs), max(costs))
        assert cost.of_row(cost.extreme_row(-1)) == min(costs)


def test_pairs_read_back_and_count_in_equality():
    cost = table(pairs=PAIRS)
    assert CostTable.from_dict(SPACE, json.loads(json.dumps(cost.to_dict()))) == cost
    assert "pairs" not in table().to_dict()
    assert cost != table()
    assert cost != table(pairs=(PAIRS[0] + 1.0,))
    with pytest.raises(ValueError, match="read-only"):
        cost.pairs[0][0, 0] = 5


def test_pairs_that_do_not_fit():
    with pytest.raises(InvalidInputError, match=r"must hold finite numbers \[3, 2\] for `a` and `b`"):
        table(pairs=(np.zeros((2, 3)),))
    with pytest.raises(InvalidInputError, match="finite numbers"):
        table(pairs=(np.full((3, 2), np.nan),))
    with pytest.raises(ValueError, match="longer"):
        table(pairs=PAIRS * 2)
    with pytest.raises(InvalidInputError, match=r"must add up where choices are conditional.*layer\.2"):
        CostTable("macs", DEEP, 0.0, ([0, 0], [0, 0], [0, 0]), pairs=(np.zeros((2, 2)),) * 2)
