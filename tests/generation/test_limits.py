import math

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.generation import Limit
from searchhub.generation.limits import CostRange, did_you_mean, number, windows_of
from searchhub.space import Choice, SearchSpace

SPACE = SearchSpace("s", (Choice("a", (0, 1)), Choice("b", (0, 1))))
MACS = CostTable("macs", SPACE, 1.0, (np.array([1.0, 2.0]), np.array([3.0, 4.0])))


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({}, "must give `max`, `min` or `equal`"),
        ({"max": math.nan}, "`max` of the limit on `macs` must be a finite number"),
        ({"min": -math.inf}, "`min` of the limit on `macs` must be a finite number"),
        ({"max": "600M"}, "must be a finite number, but got '600M'"),
        ({"equal": True}, "must be a finite number, but got True"),
        ({"min": 2, "max": 1}, "`min <= max` must hold"),
        ({"equal": 1, "max": 2}, "`equal` must stand alone"),
    ],
)
def test_refuses_what_means_nothing(bounds, message):
    with pytest.raises(InvalidInputError, match=message):
        Limit("macs", **bounds)


def test_refuses_what_is_no_cost():
    with pytest.raises(InvalidInputError, match="must be a CostTable or the name of one"):
        Limit(600.0, max=3)


def test_bounds():
    assert (Limit(MACS, max=3).low, Limit(MACS, max=3).high) == (-math.inf, 3.0)
    assert (Limit(MACS, min=np.int64(2)).low, Limit(MACS, min=2).high) == (2.0, math.inf)
    assert (Limit(MACS, equal=np.float32(2)).low, Limit(MACS, equal=2).high) == (2.0, 2.0)


def test_reads_as_a_sentence():
    assert str(Limit("macs", max=600e6)) == "macs <= 600,000,000"
    assert str(Limit("macs", min=1.5)) == "macs >= 1.5"
    assert str(Limit("macs", equal=7)) == "macs = 7"
    assert str(Limit("macs", min=1, max=2)) == "1 <= macs <= 2"


def test_numbers_keep_every_digit():
    for x in (1234.000000000001, 812004.0, 1e22, -0.1):
        assert float(number(x).replace(",", "")) == x


def test_windows_of_one_cost_are_intersected_and_ordered_as_named():
    other = CostTable("params", SPACE, 0.0, MACS.entries)
    windows = windows_of([Limit("macs", max=9), Limit(other, max=3), Limit(MACS, min=2)], SPACE, {"macs": MACS})
    assert [(w.table.name, w.low, w.high) for w in windows] == [("macs", 2.0, 9.0), ("params", -math.inf, 3.0)]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ([Limit("mac", max=1)], r"must be one of \['macs'\], but got 'mac'"),
        ([Limit("macs", max=1), Limit("macs", min=2)], "must not contradict each other"),
        ([Limit("macs", max=1), Limit(CostTable("macs", SPACE, 2.0, MACS.entries), max=1)], "must have distinct names"),
        (["macs"], "must be of type Limit"),
    ],
)
def test_windows_refuse(limits, message):
    with pytest.raises(InvalidInputError, match=message):
        windows_of(limits, SPACE, {"macs": MACS})


def test_a_table_of_another_space_is_refused():
    wider = SearchSpace("s", (Choice("a", (0, 1)), Choice("b", (0, 2))))
    table = CostTable("macs", wider, 0.0, MACS.entries)
    with pytest.raises(InvalidInputError, match="must price the space `s`, but prices `s` with other choices"):
        windows_of([Limit(table, max=1)], SPACE)


@pytest.mark.parametrize(
    ("low", "high", "question"),
    [
        (-math.inf, 600, "Did you mean 600,000,000?"),
        (-math.inf, 0.6, "Did you mean 600,000,000?"),
        (-math.inf, 600_000, "Did you mean 600,000,000?"),
        (-math.inf, 3e11, "Did you mean 300,000,000?"),
        (200, 600, "Did you mean 200,000,000 and 600,000,000?"),
        (400, 400, "Did you mean 400,000,000?"),
        (400, math.inf, "Did you mean 400,000,000?"),
        (-math.inf, 90_000_000, ""),  # merely too small
        (-math.inf, 700, ""),  # in no unit
        (-math.inf, 0, ""),
    ],
)
def test_slips_of_units_are_noticed(low, high, question):
    assert did_you_mean(CostRange(MACS, low, high), 102e6, 606e6) == question


def test_slips_of_units_are_asked_about_in_round_numbers():
    assert did_you_mean(CostRange(MACS, -math.inf, 0.0021), 1.0, 5.0) == "Did you mean 2.1?"
