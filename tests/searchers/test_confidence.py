import math

import numpy as np
import pytest
from scipy.stats import norm

from searchhub.evaluators.tabular import TabularEvaluator
from searchhub.result import SearchResult
from searchhub.search import search
from searchhub.searchers.confidence import pruning_confidence, round_confidence
from searchhub.searchers.ddp import DDPSearcher
from searchhub.searchers.random import RandomSearcher
from searchhub.space import Choice, SearchSpace


def space_of(sizes):
    return SearchSpace("s", tuple(Choice(f"c{i}", tuple(range(n))) for i, n in enumerate(sizes)))


def test_one_choice_by_hand():
    """Two draws of three candidates; deviations left after draw and candidate: ±0.01."""
    codes = np.array([[0], [1], [2], [2], [0], [1]], dtype=np.uint8)
    effects = np.array([0.5, 0.6, 0.8])
    noise = np.array([0.01, -0.01, 0.0, 0.0, -0.01, 0.01])
    level = np.array([0.0, 0.0, 0.0, 0.1, 0.1, 0.1])
    alive = (np.ones(3, dtype=bool),)
    found = round_confidence(codes, effects[codes[:, 0]] + noise + level, alive, [True], 3, 7)
    # Four squares of 0.01, of (3 - 1) (2 - 1) degrees of freedom; a mean of two trials.
    sigma = math.sqrt(4e-4 / 2) / math.sqrt(2)
    assert (found.round, found.pruned, found.candidates, found.trials) == (7, 1, 3, 2)
    assert found.sigma == pytest.approx(sigma)
    assert found.zeta == pytest.approx(0.3)
    assert found.error == pytest.approx(norm.cdf(-0.1 / (math.sqrt(2) * sigma)))
    assert found.bound == pytest.approx(2 * (3 * sigma / 0.3) ** 2)
    assert found.best_lost == pytest.approx(norm.cdf(-0.3 / sigma))


def test_what_happens_to_a_whole_draw_cancels():
    rng = np.random.default_rng(0)
    codes = np.concatenate([rng.permuted(np.arange(4)[:, None].repeat(3, 1), axis=0) for _ in range(6)]).astype(
        np.uint8
    )
    scores = rng.normal(size=24)
    alive = tuple(np.ones(4, dtype=bool) for _ in range(3))
    one = round_confidence(codes, scores, alive, [True] * 3, 4)
    other = round_confidence(codes, scores + np.arange(6).repeat(4), alive, [True] * 3, 4)
    assert (one.sigma, one.zeta) == (pytest.approx(other.sigma), pytest.approx(other.zeta))


def test_deviation_is_recovered():
    """σ of one trial, from rounds of pure noise: 10 draws, so that a mean has σ/√10."""
    rng = np.random.default_rng(1)
    alive = tuple(np.ones(5, dtype=bool) for _ in range(6))
    sigmas = []
    for _ in range(100):
        codes = np.concatenate([rng.permuted(np.arange(5)[:, None].repeat(6, 1), axis=0) for _ in range(10)])
        found = round_confidence(codes.astype(np.uint8), rng.normal(0.5, 0.1, size=50), alive, [True] * 6, 5)
        sigmas.append(found.sigma)
    assert np.sqrt(np.mean(np.square(sigmas))) == pytest.approx(0.1 / math.sqrt(10), rel=0.03)


def test_candidates_that_are_all_alike_and_without_noise():
    codes = np.array([[0], [1], [1], [0]], dtype=np.uint8)
    found = round_confidence(codes, np.full(4, 0.5), (np.ones(2, dtype=bool),), [True], 2)
    assert (found.sigma, found.zeta, found.error, found.bound) == (0.0, 0.0, 0.5, 1.0)
    found = round_confidence(codes, np.array([0.2, 0.4, 0.4, 0.2]), (np.ones(2, dtype=bool),), [True], 2)
    assert (found.error, found.bound, found.best_lost) == (0.0, 0.0, 0.0)


def test_one_trial_each_tells_nothing():
    codes = np.array([[0], [1]], dtype=np.uint8)
    assert round_confidence(codes, np.array([0.1, 0.2]), (np.ones(2, dtype=bool),), [True], 2) is None


def searched(estimation_epochs=4, **options):
    space = space_of((4, 4, 3))
    table = np.random.default_rng(3).uniform(0.2, 0.8, size=space.size)
    return search(DDPSearcher(space, estimation_epochs=estimation_epochs, **options), TabularEvaluator(space, table))


def test_every_round_of_a_search():
    result = searched()
    rounds = pruning_confidence(SearchResult.from_dict(result.to_dict()))
    assert [found.round for found in rounds] == [0, 1, 2]
    # The third choice waits until the others have as few candidates.
    assert [found.pruned for found in rounds] == [2, 3, 3]
    assert [found.candidates for found in rounds] == [4, 3, 2]
    assert [found.trials for found in rounds] == [4, 4, 4]
    assert all(0 < found.best_lost <= found.error <= 0.5 and 0 <= found.bound <= 1 for found in rounds)


def test_searches_that_tell_nothing_have_none():
    assert pruning_confidence(searched(estimation_epochs=1)) == []
    space = space_of((2, 2))
    evaluator = TabularEvaluator(space, np.linspace(0, 1, 4))
    assert pruning_confidence(search(RandomSearcher(space, num_trials=4), evaluator)) == []


def test_a_search_that_prunes_nothing_is_told_for_all_choices():
    rounds = pruning_confidence(searched(prune=False, evaluations=32))
    assert [found.pruned for found in rounds] == [0, 0]
    assert rounds[0].candidates == pytest.approx(11 / 3)
