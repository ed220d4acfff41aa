import math

import numpy as np
import pytest

from searchhub.errors import InvalidInputError
from searchhub.space import SearchSpace
from searchhub.spaces.bert import bert_space, heads_choice, intermediate_choice, kept_layers
from searchhub.testing.space import SpaceContract


class TestBertSpace(SpaceContract):
    @pytest.fixture
    def space(self):
        return bert_space()


class TestSmallBertSpace(SpaceContract):
    @pytest.fixture
    def space(self):
        return bert_space(6, 1536, 12, sizes="small")


def candidates(space, name):
    return space.choices[space.index(name)].candidates


def test_bert_base_is_the_papers_space():
    space = bert_space()
    assert len(space.choices) == 1 + 2 * 12
    assert candidates(space, "depth") == (6, 8, 10, 12)
    for layer in range(12):
        assert candidates(space, intermediate_choice(layer)) == (512, 768, 1024, 3072)
        assert candidates(space, heads_choice(layer)) == (4, 8, 12)
    sizes = [branch.size for branch in space.branches()]
    assert sizes == [12**6, 12**8, 12**10, 12**12]
    assert sizes[-1] == 8_916_100_448_256
    assert space.size == sum(sizes)


def test_a_layer_exists_at_the_depths_that_keep_it():
    space = bert_space()
    for branch in space.branches():
        (code,) = branch.codes[0]
        depth = space.choices[0].candidates[code]
        active = {space.choices[i].name for i in branch.active} - {"depth"}
        kept = kept_layers(depth, 12)
        assert active == {name(i) for i in kept for name in (intermediate_choice, heads_choice)}
        assert len(kept) == depth


def test_six_of_twelve_layers_are_those_that_distilbert_starts_from():
    assert kept_layers(6, 12) == (0, 2, 4, 7, 9, 11)


@pytest.mark.parametrize("layers", [1, 2, 3, 6, 12, 24, 36, 37])
def test_kept_layers_are_evenly_spread(layers):
    for depth in range(1, layers + 1):
        kept = kept_layers(depth, layers)
        assert len(set(kept)) == depth
        assert list(kept) == sorted(kept)
        assert kept == tuple(np.linspace(0, layers - 1, depth).round().astype(int))
        if depth > 1:
            assert (kept[0], kept[-1]) == (0, layers - 1)
            spacing = (layers - 1) / (depth - 1)
            assert set(np.diff(kept)) <= {math.floor(spacing), math.ceil(spacing)}
    assert kept_layers(layers, layers) == tuple(range(layers))


def test_halves_are_rounded_to_even():
    assert kept_layers(3, 6) == (0, 2, 5)
    assert kept_layers(3, 8) == (0, 4, 7)


def test_another_checkpoint_gets_the_same_proportions():
    space = bert_space(6, 1536, 12)
    assert candidates(space, "depth") == (3, 4, 5, 6)
    assert candidates(space, intermediate_choice(5)) == (256, 384, 512, 1536)
    assert candidates(space, heads_choice(0)) == (4, 8, 12)
    large = bert_space(24, 4096, 16)
    assert candidates(large, "depth") == (12, 16, 20, 24)
    assert candidates(large, intermediate_choice(0)) == (683, 1024, 1365, 4096)
    assert candidates(large, heads_choice(0)) == (5, 11, 16)


def test_proportions_of_a_small_checkpoint_are_distinct_and_at_least_one():
    space = bert_space(2, 2, 1)
    assert candidates(space, "depth") == (1, 2)
    assert candidates(space, intermediate_choice(0)) == (1, 2)
    assert candidates(space, heads_choice(0)) == (1,)


def test_small_sizes_are_dense_where_little_is_kept():
    space = bert_space(6, 1536, 12, sizes="small")
    assert candidates(space, "depth") == (2, 3, 4, 5, 6)
    assert candidates(space, intermediate_choice(0)) == (0, 64, 128, 192, 256, 384, 512, 768, 1536)
    assert candidates(space, heads_choice(0)) == (0, 1, 2, 3, 4, 6, 12)
    base = bert_space(sizes="small")
    assert candidates(base, "depth") == (4, 5, 6, 7, 8, 9, 10, 11, 12)
    assert candidates(base, intermediate_choice(11)) == (0, 128, 256, 384, 512, 768, 1024, 1536, 3072)
    own = bert_space(6, 1536, 12, num_heads=[0, 12], sizes="small")
    assert candidates(own, heads_choice(0)) == (0, 12)
    assert candidates(own, intermediate_choice(0)) == candidates(space, intermediate_choice(0))
    tiny = bert_space(2, 2, 1, sizes="small")
    assert [choice.candidates for choice in tiny.choices[:3]] == [(1, 2), (0, 1, 2), (0, 1)]


def test_own_lists_keep_their_order():
    space = bert_space(6, 64, 4, depths=[4, 2], intermediate_sizes=[64, 16], num_heads=[3])
    assert candidates(space, "depth") == (4, 2)
    assert candidates(space, intermediate_choice(0)) == (64, 16)
    assert candidates(space, heads_choice(0)) == (3,)


def test_layers_that_no_depth_keeps_have_no_choices():
    space = bert_space(6, 64, 4, depths=[3])
    assert [choice.name for choice in space.choices] == [
        "depth",
        *(name(i) for i in (0, 2, 5) for name in (intermediate_choice, heads_choice)),
    ]
    assert len(list(space.branches())) == 1


def test_files_keep_conditions():
    space = bert_space(6, 1536, 12)
    again = SearchSpace.from_dict(space.to_dict())
    assert again == space
    assert again.fingerprint() == space.fingerprint()


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"depths": [6, 13]}, r"`depths` must be distinct whole numbers from 1 to 12.*\[6, 13\]"),
        ({"depths": [0, 6]}, "`depths`"),
        ({"depths": []}, "`depths`"),
        ({"depths": [6, 6]}, "`depths` must be distinct"),
        ({"depths": [6.0]}, "`depths` must be distinct whole"),
        ({"intermediate_sizes": [512, 4096]}, r"from 0 to 3072, the width of the checkpoint, but got \[512, 4096\]"),
        ({"num_heads": [4, 16]}, r"from 0 to 12, the heads of the checkpoint, but got \[4, 16\]"),
        ({"num_heads": [-1]}, "`num_heads`"),
        ({"sizes": "tiny"}, r"`sizes` must be one of \['paper', 'small'\], but is 'tiny'"),
    ],
)
def test_impossible_lists_are_refused(lists, message):
    with pytest.raises(InvalidInputError, match=message):
        bert_space(**lists)


@pytest.mark.parametrize("depth", [0, 13])
def test_depths_beyond_the_checkpoint_keep_nothing(depth):
    with pytest.raises(InvalidInputError, match="`depth` must be from 1 to 12"):
        kept_layers(depth, 12)
