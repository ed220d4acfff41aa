import itertools

import numpy as np
import pytest

from searchhub.errors import InvalidInputError
from searchhub.spaces.nasbench_macro import canonical_codes, nasbench_macro_space
from searchhub.testing.space import SpaceContract

ALL = np.array(list(itertools.product(range(3), repeat=8)), dtype=np.uint8)


class TestNasBenchMacroSpace(SpaceContract):
    @pytest.fixture(params=[True, False], ids=["groups", "no groups"])
    def space(self, request):
        return nasbench_macro_space(groups=request.param)


def test_codes_are_the_digits_of_the_tables_keys():
    space = nasbench_macro_space()
    assert space.size == 6561
    assert [choice.name for choice in space.choices] == [f"layer.{i}" for i in range(8)]
    assert all(choice.candidates == ("identity", "mb3_k3", "mb6_k5") for choice in space.choices)
    assert all(choice.groups == () for choice in space.choices)


def test_identities_are_a_group_where_they_leave_a_layer_out():
    choices = nasbench_macro_space(groups=True).choices
    assert [i for i in range(8) if len(set(choices[i].groups)) == 1] == [0, 2, 5]
    assert [label == "parameter" for label in choices[1].groups] == [False, True, True]


@pytest.mark.parametrize("stage_depths", [[], [2, 0]])
def test_stages_have_layers(stage_depths):
    with pytest.raises(InvalidInputError, match="Each of `stage_depths` must be at least 1"):
        nasbench_macro_space(stage_depths=stage_depths)


def key(codes):
    return "".join(map(str, codes))


def test_3969_networks_are_distinct():
    canonical = canonical_codes(ALL)
    assert canonical.dtype == np.uint8
    assert len(np.unique(canonical, axis=0)) == 3969
    # Canonical codes are an architecture of the same meaning: they are their own.
    np.testing.assert_array_equal(canonical_codes(canonical), canonical)


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("02012100", "02012100"),  # the first layers of stages, 0, 2 and 5, never move
        ("00000000", "00000000"),
        ("01001001", "01010010"),
        ("20102202", "20120220"),
        ("11012012", "11012012"),
        ("22220221", "22220221"),  # blocks keep their order
        ("22202221", "22220221"),
    ],
)
def test_identities_go_to_the_end_of_their_stage(given, canonical):
    codes = np.array([int(digit) for digit in given], dtype=np.uint8)
    before = codes.copy()
    assert key(canonical_codes(codes)) == canonical
    np.testing.assert_array_equal(codes, before)


def test_two_keys_are_one_network_only_where_their_stages_hold_the_same_blocks():
    """The rule, written in another way: first layers, and the blocks that follow them in each stage."""
    meanings = [(c[0], c[1], c[2], *(c[3:5][c[3:5] > 0]), "|", c[5], *(c[6:][c[6:] > 0])) for c in ALL]
    pairs = set(zip(meanings, map(key, canonical_codes(ALL)), strict=True))
    assert len(pairs) == len(set(meanings)) == 3969


def test_codes_of_other_stages():
    assert key(canonical_codes(np.array([0, 0, 1, 2], dtype=np.uint8), [3, 1])) == "0102"
    with pytest.raises(InvalidInputError, match=r"one entry for each of 8 layers, but have shape \(4,\)"):
        canonical_codes(np.zeros(4, dtype=np.uint8))
