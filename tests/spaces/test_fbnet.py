import pytest

from searchhub.errors import InvalidInputError
from searchhub.spaces.fbnet import FBNET_CANDIDATES, fbnet_space
from searchhub.testing.space import SpaceContract


class TestFBNetSpace(SpaceContract):
    @pytest.fixture
    def space(self):
        return fbnet_space(stage_widths=[16, 24], stage_depths=[1, 2], stage_strides=[1, 2])


def test_full_size_space():
    space = fbnet_space()
    assert len(space.choices) == 22
    assert space.size == 9**22
    assert all(choice.candidates == FBNET_CANDIDATES for choice in space.choices)
    assert [space.choices[i].name for i in (0, 1, 21)] == ["stage1.layer1", "stage2.layer1", "stage7.layer1"]


def test_a_skip_that_is_a_convolution_is_in_one_group_with_the_blocks():
    last = [choice.groups[-1] for choice in fbnet_space().choices]
    # Stages 2 to 7 begin with a layer of another width; stage 1 keeps the stem's.
    changing = [1, 5, 9, 13, 17, 21]
    assert [i for i, group in enumerate(last) if group == "parameter"] == changing
    assert all(set(choice.groups[:-1]) == {"parameter"} for choice in fbnet_space().choices)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage_widths": [8]}, "same length"),
        ({"stage_strides": [1] * 6 + [3]}, "strides 1 or 2"),
        ({"candidates": []}, "none"),
        ({"candidates": ["k4_e1"]}, "odd kernel"),
        ({"candidates": ["k3_e0"]}, "k3_e0"),
        ({"candidates": ["k3_e1", "k3_e1"]}, "distinct"),
    ],
)
def test_impossible_spaces_are_refused(changes, message):
    with pytest.raises(InvalidInputError, match=message):
        fbnet_space(**changes)
