import json
import pickle

import numpy as np
import pytest

from searchhub.errors import InvalidInputError
from searchhub.space import INACTIVE, Architecture, Choice, Condition, SearchSpace
from searchhub.spaces.mobile import mobile_space
from searchhub.testing import SpaceContract


def depth_space() -> SearchSpace:
    """Two layers, of which depth keeps one or both, as in BERT: 1 · 3 + 1 · 3 · 2 = 9 architectures."""
    return SearchSpace(
        "depth",
        (
            Choice("depth", (1, 2)),
            Choice("layer.0.width", (0.25, 0.5, 1.0)),
            Choice("layer.1.width", (4, 8), condition=Condition("depth", (2,))),
        ),
    )


def nested_space() -> SearchSpace:
    """b exists under a = y, c under b = q: x · d, y · p · d and y · q · {1, 2, 3} · d: 2 + 2 + 6 = 10 architectures."""
    return SearchSpace(
        "nested",
        (
            Choice("a", ("x", "y")),
            Choice("b", ("p", "q"), condition=Condition("a", ("y",))),
            Choice("c", (1, 2, 3), condition=Condition("b", ("q",))),
            Choice("d", ("u", "v"), groups=("one", "other")),
        ),
    )


SPACES = {
    "flat": SearchSpace("flat", (Choice("a", ("x", "y")), Choice("b", (1, 2, 3)))),
    "single": SearchSpace("single", (Choice("only", ("one",)),)),
    "depth": depth_space(),
    "nested": nested_space(),
    "mobile": mobile_space(),
    "mobile-small": mobile_space(stage_widths=(8, 16), stage_depths=(2, 1), stage_strides=(1, 2), kernel_sizes=(3,)),
}


class TestContract(SpaceContract):
    @pytest.fixture(params=SPACES.values(), ids=SPACES.keys())
    def space(self, request):
        return request.param


class TestSizes:
    @pytest.mark.parametrize(("name", "size"), [("flat", 6), ("single", 1), ("depth", 9), ("nested", 10)])
    def test_counted_by_hand(self, name, size):
        assert SPACES[name].size == size

    def test_every_architecture_is_drawn_and_no_other(self):
        space = nested_space()
        seen = {space.decode(row) for row in space.sample(2000, np.random.default_rng(0))}
        assert len(seen) == space.size

    def test_branches_of_a_conditional_space(self):
        # a = x: b and c are gone, whatever they would have been; that is one branch, not one per value of b.
        assert [branch.codes for branch in nested_space().branches()] == [
            ((0,), (), (), (0, 1)),
            ((1,), (0,), (), (0, 1)),
            ((1,), (1,), (0, 1, 2), (0, 1)),
        ]
        assert [branch.active for branch in nested_space().branches()] == [(0, 3), (0, 1, 3), (0, 1, 2, 3)]


class TestCodes:
    def test_an_inactive_choice_has_no_code_and_no_candidate(self):
        space = depth_space()
        shallow = {"depth": 1, "layer.0.width": 0.5}
        np.testing.assert_array_equal(space.encode(shallow), [0, 1, INACTIVE])
        assert space.decode([0, 1, INACTIVE]) == Architecture(shallow)
        # What stands in an inactive column does not matter.
        assert space.decode([0, 1, 1]) == Architecture(shallow)

    def test_what_is_below_an_inactive_choice_is_inactive(self):
        codes = np.array([[0, 1, 2, 0], [1, 1, 2, 0], [1, 0, 2, 0]], dtype=np.uint8)
        expected = [[0, INACTIVE, INACTIVE, 0], [1, 1, 2, 0], [1, 0, INACTIVE, 0]]
        np.testing.assert_array_equal(nested_space().mask_inactive(codes), expected)

    def test_sampling_follows_the_probabilities(self):
        space = SPACES["flat"]
        codes = space.sample(20_000, np.random.default_rng(0), [np.array([0.9, 0.1]), np.array([0.2, 0.0, 0.8])])
        # 4 standard deviations of a frequency over 20,000 draws: 4 · sqrt(0.2 · 0.8 / 20000) = 0.0113.
        assert np.mean(codes[:, 0] == 0) == pytest.approx(0.9, abs=0.0113)
        assert np.mean(codes[:, 1] == 0) == pytest.approx(0.2, abs=0.0113)
        assert not (codes[:, 1] == 1).any()

    @pytest.mark.parametrize(
        ("architecture", "message"),
        [
            ({"depth": 2, "layer.0.width": 0.5}, "`layer.1.width` is active and must be given"),
            (
                {"depth": 1, "layer.0.width": 0.5, "layer.1.width": 4},
                "`layer.1.width` is inactive and must be left out",
            ),
            ({"depth": 1, "layer.0.width": 0.75}, r"`layer.0.width` must be one of \[0.25, 0.5, 1.0\], but got 0.75"),
            ({"depth": 1, "layer.0.width": 0.5, "heads": 3}, r"has no choices \['heads'\]"),
        ],
    )
    def test_an_architecture_of_another_space_is_refused(self, architecture, message):
        with pytest.raises(InvalidInputError, match=message):
            depth_space().encode(architecture)

    def test_codes_out_of_range_are_refused(self):
        with pytest.raises(InvalidInputError, match="must be below 2, but is 2"):
            SPACES["flat"].decode([2, 0])
        with pytest.raises(InvalidInputError, match="must have 2 codes, but has 3"):
            SPACES["flat"].decode([0, 0, 0])


class TestArchitecture:
    def test_is_a_value(self):
        one, same = Architecture({"a": "x", "b": 1}), Architecture({"b": 1, "a": "x"})
        assert one == same
        assert hash(one) == hash(same)
        assert one != Architecture({"a": "x", "b": 2})
        assert one != {"a": "x", "b": 1}
        assert len({one, same}) == 1

    def test_cannot_be_changed(self):
        architecture = Architecture(chosen := {"a": "x"})
        chosen["a"] = "y"
        architecture.to_dict()["a"] = "z"
        assert architecture["a"] == "x"
        with pytest.raises(TypeError):
            architecture["a"] = "y"  # type: ignore[index]


class TestRefusals:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Choice("a", ()), "1 to 254 candidates, but `a` has 0"),
            (lambda: Choice("a", tuple(range(255))), "but `a` has 255"),
            (lambda: Choice("a", ("x", "x")), "must be distinct"),
            (lambda: Choice("a", ("x", "y"), ("only",)), "2 candidates and 1 labels"),
            (lambda: SearchSpace("s", ()), "at least one choice"),
            (lambda: SearchSpace("s", (Choice("a", ("x",)), Choice("a", ("y",)))), "must be distinct"),
            (
                lambda: SearchSpace("s", (Choice("a", (1,), condition=Condition("b", (1,))), Choice("b", (1,)))),
                "must name an earlier choice, but names `b`",
            ),
            (
                lambda: SearchSpace("s", (Choice("a", (1,), condition=Condition("a", (1,))),)),
                "must name an earlier choice, but names `a`",
            ),
            (
                lambda: SearchSpace("s", (Choice("a", (1,)), Choice("b", (1,), condition=Condition("a", (2,))))),
                r"must name candidates of `a` \(\[1\]\), but names \[2\]",
            ),
            (lambda: SPACES["flat"].index("c"), r"`c` must be a choice of `flat`: \['a', 'b'\]"),
        ],
    )
    def test_names_what_is_wrong(self, make, message):
        with pytest.raises(InvalidInputError, match=message):
            make()


def test_254_candidates_are_possible_and_do_not_meet_the_code_of_inactive():
    space = SearchSpace("wide", (Choice("a", tuple(range(254))),))
    row = space.encode({"a": 253})
    assert row[0] == 253 != INACTIVE
    assert space.decode(row)["a"] == 253


def test_a_space_is_written_as_a_person_would():
    assert json.loads(json.dumps(depth_space().to_dict())) == {
        "name": "depth",
        "choices": [
            {"name": "depth", "candidates": [1, 2]},
            {"name": "layer.0.width", "candidates": [0.25, 0.5, 1.0]},
            {
                "name": "layer.1.width",
                "candidates": [4, 8],
                "condition": {"choice": "depth", "candidates": [2]},
            },
        ],
    }


def test_an_architecture_that_travels_between_processes_stays_equal():
    """Each process hashes strings its own way, so a hash must be made anew on arrival."""
    import os
    import subprocess
    import sys

    code = (
        "import pickle, sys; from searchhub import Architecture; "
        "sys.stdout.buffer.write(pickle.dumps(Architecture({'a': 'x', 'b': 'y'})))"
    )
    sent = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        sent.append(pickle.loads(done.stdout))
    assert {*sent, Architecture({"a": "x", "b": "y"})} == {Architecture({"b": "y", "a": "x"})}
