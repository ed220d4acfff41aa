import numpy as np
import pytest

from searchhub.data.stretches import hold_out, in_order
from searchhub.errors import InvalidInputError


def test_frames_are_ordered_by_the_numbers_in_their_names():
    names = ["b_10.png", "a_9.png", "b_9.png", "a_010.png", "a_1.png"]
    assert [names[i] for i in in_order(names)] == ["a_1.png", "a_9.png", "a_010.png", "b_9.png", "b_10.png"]
    assert in_order(["b", None, "a"]).tolist() == [0, 1, 2]
    assert in_order(["b", "b", "a"]).tolist() == [0, 1, 2], "names that are not of frames say nothing"


@pytest.mark.parametrize("seed", range(5))
def test_stretches_are_whole_and_nothing_beside_them_is_left(seed):
    stretches, left = hold_out(100, 21, 4, 3, seed, "validation")
    assert sum(end - first for first, end in stretches) == 21
    assert all(25 * i <= first < end <= 25 * (i + 1) for i, (first, end) in enumerate(stretches))
    held = np.concatenate([np.arange(first, end) for first, end in stretches])
    assert np.abs(held[:, None] - left).min() == 4, "three frames lie between"
    assert len(left) >= 100 - 21 - 4 * 6
    assert stretches == hold_out(100, 21, 4, 3, seed, "validation")[0]


def test_without_a_gap_nothing_is_lost():
    stretches, left = hold_out(10, 2, 1, 0, 1, "test")
    ((first, end),) = stretches
    assert sorted([*left, *range(first, end)]) == list(range(10))


@pytest.mark.parametrize(("wanted", "blocks", "gap"), [(3, 4, 0), (10, 1, 0), (8, 1, 2), (0, 1, 0)])
def test_a_part_that_would_be_empty_is_refused(wanted, blocks, gap):
    with pytest.raises(InvalidInputError, match="`--validation_size` must leave frames for training and for each of"):
        hold_out(10, wanted, blocks, gap, 1, "validation")
    with pytest.raises(InvalidInputError, match="`--validation_blocks` must be at least 1"):
        hold_out(10, 2, 0, 0, 1, "validation")
