import numpy as np
import pytest

from searchhub.errors import InvalidInputError
from searchhub.searchers.random import RandomSearcher
from searchhub.space import Choice, Condition, SearchSpace
from searchhub.testing import SearcherContract
from searchhub.trial import TrialResult

FLAT = SearchSpace("flat", (Choice("a", ("x", "y")), Choice("b", (1, 2, 3))))
CONDITIONAL = SearchSpace("conditional", (Choice("a", (1, 2)), Choice("b", (1, 2), condition=Condition("a", (2,)))))


@pytest.fixture(params=[FLAT, CONDITIONAL], ids=lambda space: space.name)
def make_searcher(request):
    return lambda seed: RandomSearcher(request.param, num_trials=11, seed=seed)


class TestContract(SearcherContract):
    pass


def test_draws_uniformly():
    searcher = RandomSearcher(FLAT, num_trials=3000, seed=0)
    while trials := searcher.ask():
        searcher.tell([TrialResult(trial, 0.0) for trial in trials])
    codes = np.array([FLAT.encode(result.trial.architecture) for result in searcher.history])
    counts = np.bincount(codes[:, 0] * 3 + codes[:, 1], minlength=6)
    # 500 each; chi-squared with 5 degrees of freedom stays below 20.5 in 999 of 1000 cases.
    assert ((counts - 500) ** 2 / 500).sum() < 20.5


def test_the_result_has_no_theta_and_knows_its_best():
    searcher = RandomSearcher(FLAT, num_trials=4)
    for score in (0.2, 7.0, 7.0, -3.0):
        searcher.tell([TrialResult(searcher.ask()[0], score)])
    result = searcher.result()
    assert result.distribution is None
    assert result.best_trial.trial.number == 1


def test_at_least_one_trial():
    with pytest.raises(InvalidInputError, match="`num_trials >= 1` must hold, but got 0"):
        RandomSearcher(FLAT, num_trials=0)
