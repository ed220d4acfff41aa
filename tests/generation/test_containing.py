"""The best network that contains a smaller one, compared with all there are."""

import itertools

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.effects import PredictedQuality
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.generation import Limit
from searchhub.generation.containing import containing
from searchhub.result import SearchResult
from searchhub.space import Choice, SearchSpace
from searchhub.spaces.bert import bert_space

SPACE = bert_space(3, 8, 2, depths=[2, 3], intermediate_sizes=[8, 0, 4], num_heads=[0, 2])  # in no order of size
SIZE = CostTable("size", SPACE, 10.0, tuple(np.array(c.candidates, dtype=float) for c in SPACE.choices))
ALL = [
    SPACE.decode(np.array(row, dtype=np.uint8))
    for branch in SPACE.branches()
    for row in itertools.product(*(codes or (255,) for codes in branch.codes))
]
SMALLER = next(
    a
    for a in ALL
    if a["depth"] == 2 and a["layer2.intermediate_size"] == 4 and SIZE(a) == 16  # keeps layers 0 and 2
)
RNG = np.random.default_rng(0)
CODES = np.array([SPACE.encode(ALL[i]) for i in RNG.choice(len(ALL), 60, replace=False)])


@pytest.mark.parametrize("predicted", [True, False])
def test_nothing_that_contains_it_is_better(predicted):
    result = SearchResult(SPACE, ()).with_costs(SIZE)
    if predicted:
        scores = RNG.uniform(0.2, 0.8, len(CODES)) - 0.01 * np.array([SIZE.of_row(row) for row in CODES])
        result = SearchResult(SPACE, (), prediction=PredictedQuality.of_scores(SPACE, CODES, scores)).with_costs(SIZE)
    for most in (16, 24, 35):
        found = containing(result, SMALLER, Limit("size", max=most))
        holding = [
            a
            for a in ALL
            if SIZE(a) <= most and all(name in a and a[name] >= value for name, value in SMALLER.to_dict().items())
        ]
        value = (lambda a: result.prediction.value(SPACE.encode(a)[None])[0]) if predicted else SIZE
        assert found in holding
        assert value(found) == pytest.approx(max(map(value, holding)))


def test_the_limit_leaves_the_smaller_one_and_sizes_are_numbers():
    with pytest.raises(InfeasibleLimitError, match="what contains the smaller network"):
        containing(SearchResult(SPACE, ()).with_costs(SIZE), SMALLER, Limit("size", max=15))
    words = SearchSpace("blocks", (Choice("a", ("none", "conv")),))
    with pytest.raises(InvalidInputError, match=r"Candidates must be numbers .* offers 'none'"):
        containing(SearchResult(words, ()), words.decode(np.zeros(1, dtype=np.uint8)))
