import math

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InvalidInputError
from searchhub.generation import Limit, generate
from searchhub.library import single_changes, sum_of_changes
from searchhub.result import SearchResult
from searchhub.spaces.bert import bert_space, full_width

SPACE = bert_space(3, 8, 2, depths=[2, 3], intermediate_sizes=[2, 4, 8], num_heads=[1, 2])
WHOLE = full_width(SPACE)[0]


def loss_of(architecture):
    """Losses that add up: what each change from the whole costs, alone."""
    total = 0.1 + (0.5 if architecture["depth"] == 2 else 0.0)
    for name, value in architecture.items():
        if name.endswith("intermediate_size"):
            total += {2: 0.3, 4: 0.1, 8: 0.0}[value] * (1 + int(name[5]))
        elif name.endswith("heads"):
            total += 0.2 * (2 - value)
    return total


def quality():
    return sum_of_changes(SPACE, WHOLE, {a: math.exp(-loss_of(a)) for a in single_changes(SPACE, WHOLE)})


def test_each_candidate_is_changed_alone():
    changes = single_changes(SPACE, WHOLE)
    assert changes[0] == WHOLE
    assert len(changes) == len(set(changes)) == 1 + 1 + 3 * (2 + 1)
    at_full_depth = [a for a in changes[1:] if a["depth"] == 3]
    assert all(sum(a[name] != WHOLE[name] for name in a) == 1 for a in at_full_depth)
    with pytest.raises(InvalidInputError, match="`whole` must have every choice"):
        single_changes(SPACE, full_width(SPACE)[1])


def test_losses_that_add_up_are_predicted_exactly():
    codes = SPACE.sample(50, np.random.default_rng(0))
    predicted, deviation = quality().loss(codes)
    expected = [loss_of(SPACE.decode(row)) for row in codes]
    np.testing.assert_allclose(predicted, expected, atol=1e-9)
    assert not deviation.any()


def test_the_solver_takes_it():
    size = CostTable(
        "size",
        SPACE,
        0.0,
        tuple(
            np.zeros(len(c.candidates)) if c.name == "depth" else np.array(c.candidates, dtype=float)
            for c in SPACE.choices
        ),
    )
    result = SearchResult(SPACE, (), ArchitectureDistribution.uniform(SPACE), prediction=quality()).with_costs(size)
    found = generate(result, Limit("size", max=20))
    rows = [SPACE.decode(row) for row in np.unique(SPACE.sample(4000, np.random.default_rng(1)), axis=0)]
    best = min(loss_of(a) for a in rows if size(a) <= 20)
    assert loss_of(found) == pytest.approx(best)
    assert found.certificate.loss == pytest.approx(best)


def test_a_missing_score_is_named():
    changes = single_changes(SPACE, WHOLE)
    with pytest.raises(InvalidInputError, match="Every single change must have a positive score"):
        sum_of_changes(SPACE, WHOLE, dict.fromkeys(changes[:-1], 0.5))
