import itertools

import numpy as np
import pytest

from searchhub.searchers.credit import mean_credit, pairs_credit, regression_credit, sample_posterior
from searchhub.space import INACTIVE, Choice, Condition, SearchSpace

SPACE = SearchSpace("s", (Choice("a", ("x", "y", "z")), Choice("b", ("u", "v"))))
ALL = np.array(list(itertools.product(range(3), range(2))), dtype=np.uint8)
EVERY = [np.ones(3, dtype=bool), np.ones(2, dtype=bool)]
DEPTH = SearchSpace("d", (Choice("depth", (1, 2)), Choice("layer", ("x", "y"), condition=Condition("depth", (2,)))))


class TestMean:
    def test_by_hand(self):
        codes = np.array([[0, 0], [1, 1], [0, 1]], dtype=np.uint8)
        a, b = mean_credit(SPACE, codes, np.array([0.9, 0.1, 0.5]))
        np.testing.assert_allclose(a, [0.7, 0.1, np.nan])
        np.testing.assert_allclose(b, [0.9, 0.3])

    def test_what_is_inactive_gets_none(self):
        codes = np.array([[0, INACTIVE], [1, 1]], dtype=np.uint8)
        depth, layer = mean_credit(DEPTH, codes, np.array([0.8, 0.4]))
        np.testing.assert_allclose(depth, [0.8, 0.4])
        np.testing.assert_allclose(layer, [np.nan, 0.4])


class TestRegression:
    def test_takes_out_what_stood_beside(self):
        # `v` is worth 0.6 more than `u`, `y` 0.1 more than `x`; but `x` stood mostly beside `v`.
        codes = np.array([[0, 1]] * 5 + [[0, 0]] + [[1, 0]] * 5 + [[1, 1]], dtype=np.uint8)
        scores = 0.1 + 0.6 * codes[:, 1] + 0.1 * codes[:, 0]
        a = mean_credit(SPACE, codes, scores)[0]
        assert a[0] > a[1]
        a = regression_credit(SPACE, codes, scores)[0]
        assert a[0] < a[1]

    def test_is_a_quantile_and_unknown_where_nothing_was_tried(self):
        a, b = regression_credit(SPACE, ALL[:4], np.array([0.1, 0.2, 0.3, 0.4]))
        assert 0 < a[0] < 0.5 < a[1] < 1
        assert 0 < b[0] < 0.5 < b[1] < 1
        assert np.isnan(a[2])


class TestPairs:
    def test_the_best_architecture_has_the_largest_utility_in_every_choice(self):
        # On the mean over its company `x` is the worst; (x, v) is the best of all.
        scores = np.array([0.0, 0.9, 0.6, 0.5, 0.5, 0.6])
        mean = mean_credit(SPACE, ALL, scores)[0]
        assert mean.argmin() == 0
        a, b = pairs_credit(SPACE, ALL, scores, EVERY)
        assert (a.argmax(), b.argmax()) == (0, 1)
        assert a.max() == b.max()
        assert all(0 < u < 1 for u in (*a, *b))

    def test_only_of_what_is_in_reach(self):
        scores = np.array([0.0, 0.9, 0.6, 0.5, 0.5, 0.6])
        a, b = pairs_credit(SPACE, ALL, scores, [np.array([False, True, True]), np.ones(2, dtype=bool)])
        assert np.isnan(a[0])
        assert a[1:].max() == max(b)
        # Without (x, v), `v` reaches no more than `u` does.
        assert b[1] < pairs_credit(SPACE, ALL, scores, EVERY)[1][1]

    def test_no_credit_without_trials_or_where_nothing_can_hold_it(self):
        codes = np.array([[0, INACTIVE], [1, 1], [1, 1]], dtype=np.uint8)
        scores = np.array([0.9, 0.2, 0.3])
        both = [np.ones(2, dtype=bool)] * 2
        depth, layer = pairs_credit(DEPTH, codes, scores, both)
        assert depth[0] > depth[1]
        np.testing.assert_array_equal(np.isnan(layer), [True, False])
        depth, layer = pairs_credit(DEPTH, codes, scores, [np.array([True, False]), both[1]])
        np.testing.assert_array_equal(np.isnan(depth), [False, True])
        assert np.isnan(layer).all()


class TestSamplePosterior:
    def test_proposes_what_is_new_and_in_reach(self):
        rng = np.random.default_rng(0)
        alive = [np.array([True, False, True]), np.ones(2, dtype=bool)]
        codes = ALL[:2]
        drawn = sample_posterior(SPACE, codes, np.array([0.9, 0.1]), alive, 2, rng)
        assert {tuple(row) for row in drawn} == {(2, 0), (2, 1)}
        # All are known: the draw's best comes again.
        drawn = sample_posterior(SPACE, ALL, np.linspace(0, 1, 6), alive, 3, rng)
        assert {tuple(row) for row in drawn} <= {(0, 0), (0, 1), (2, 0), (2, 1)}

    def test_goes_where_scores_are_high_and_little_is_known(self):
        space = SearchSpace("s", tuple(Choice(f"e{i}", tuple("abcd")) for i in range(4)))
        rng = np.random.default_rng(1)
        codes = space.sample(30, rng)
        scores = (codes == 2).mean(axis=1)
        drawn = sample_posterior(space, codes, scores, [np.ones(4, dtype=bool)] * 4, 20, rng)
        assert (drawn == 2).mean() > 0.5
        assert len({row.tobytes() for row in drawn}) == 20

    @pytest.mark.parametrize("depths", [(True, True), (True, False)])
    def test_conditional_rows_are_masked(self, depths):
        codes = np.array([[0, INACTIVE], [1, 1]], dtype=np.uint8)
        alive = [np.array(depths), np.ones(2, dtype=bool)]
        drawn = sample_posterior(DEPTH, codes, np.array([0.1, 0.9]), alive, 3, np.random.default_rng(0))
        np.testing.assert_array_equal(drawn[:, 1] == INACTIVE, drawn[:, 0] == 0)
        assert {tuple(r) for r in drawn} >= ({(1, 0)} if depths[1] else {(0, INACTIVE)})
