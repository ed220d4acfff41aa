import itertools

import numpy as np
import pytest

from searchhub.searchers.effects import EffectsModel, normal_scores
from searchhub.space import INACTIVE, Choice, Condition, SearchSpace

SPACE = SearchSpace("s", (Choice("a", (0, 1, 2)), Choice("b", (0, 1)), Choice("c", (0, 1, 2))))
ALL = np.array(list(itertools.product(range(3), range(2), range(3))), dtype=np.uint8)
ALIVE = [np.ones(3, dtype=bool), np.ones(2, dtype=bool), np.ones(3, dtype=bool)]
DEPTH = SearchSpace(
    "depth",
    (
        Choice("depth", (1, 2)),
        Choice("layer.1", ("x", "y")),
        Choice("layer.2", ("x", "y"), condition=Condition("depth", (2,))),
    ),
)
SHALLOW = [[0, 0, INACTIVE], [0, 1, INACTIVE]]
DEEP = [[1, 0, 0], [1, 0, 1], [1, 1, 0], [1, 1, 1]]


def trials(seed=0, n=14):
    """Codes and scores with an effect of `a` and one of a pair (b, c)."""
    rng = np.random.default_rng(seed)
    codes = SPACE.sample(n, rng)
    both = (codes[:, 1] == 1) & (codes[:, 2] == 2)
    return codes, 0.5 + 0.1 * codes[:, 0] + 0.2 * both + 0.01 * rng.normal(size=n)


def one_hot(codes):
    """[n, 8]"""
    return np.concatenate([np.eye(size)[codes[:, i]] for i, size in enumerate((3, 2, 3))], axis=1)


def features(codes, *, pairs):
    """Spelled out, with the prior's variance: main effects alone, or all products of two columns."""
    rows = one_hot(codes)
    return (rows[:, :, None] * rows[:, None, :]).reshape(len(codes), -1) / 3 if pairs else rows / np.sqrt(3)


def test_normal_scores():
    # Ranks 3, 1.5, 1.5, 4 of 4: quantiles 0.625, 0.25, 0.25, 0.875.
    np.testing.assert_allclose(
        normal_scores(np.array([0.5, 0.1, 0.1, 0.9])), [0.318639364, -0.674489750, -0.674489750, 1.150349380], atol=1e-8
    )


@pytest.mark.parametrize("pairs", [False, True])
def test_the_mean_is_that_of_ridge_regression(pairs):
    codes, scores = trials()
    model = EffectsModel(SPACE, codes, scores, pairs=pairs)
    assert model.drift == 0.0
    x, y = features(codes, pairs=pairs), normal_scores(scores)
    coefficients = np.linalg.solve(x.T @ x + model.noise * np.eye(x.shape[1]), x.T @ y)
    np.testing.assert_allclose(
        model.value(model.mean(), ALL), features(ALL, pairs=pairs) @ coefficients, rtol=0, atol=1e-9
    )


def test_draws_have_the_mean_and_the_covariance_of_the_posterior():
    codes, scores = trials()
    model = EffectsModel(SPACE, codes, scores, pairs=True)
    rng = np.random.default_rng(0)
    drawn = np.array([model.value(model.draw(rng), ALL) for _ in range(4000)])
    x, at = features(codes, pairs=True), features(ALL, pairs=True)
    # The variance in closed form: yᵀ (K + noise)⁻¹ y / n.
    y, kernel = normal_scores(scores), x @ x.T + model.noise * np.eye(len(codes))
    variance = y @ np.linalg.solve(kernel, y) / len(y)
    covariance = variance * (at @ at.T - at @ x.T @ np.linalg.solve(kernel, x @ at.T))
    deviation = np.sqrt(np.diag(covariance))
    assert np.abs(drawn.mean(axis=0) - model.value(model.mean(), ALL)).max() < 5 * deviation.max() / np.sqrt(4000)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, rtol=0, atol=0.12 * variance)


def test_main_effects_by_choice():
    codes, scores = trials(n=60)
    model = EffectsModel(SPACE, codes, scores, pairs=False)
    effects = model.effects(model.mean())
    assert [len(e) for e in effects] == [3, 2, 3]
    assert (np.diff(effects[0]) > 0.2).all()


def test_pairs_see_what_main_effects_cannot():
    # Exclusive or: neither b nor c alone matters.
    scores = np.where((ALL[:, 1] == 1) == (ALL[:, 2] == 2), 0.9, 0.1)
    model = EffectsModel(SPACE, ALL, scores, pairs=True)
    assert model.value(model.mean(), ALL)[scores == 0.9].min() > model.value(model.mean(), ALL)[scores == 0.1].max()


def test_drift_is_noticed_where_there_is_some():
    rng = np.random.default_rng(1)
    codes = SPACE.sample(80, rng)
    effect = 0.1 * codes[:, 0]
    assert EffectsModel(SPACE, codes, effect + 0.01 * np.arange(80), pairs=True).drift == 1.0
    assert EffectsModel(SPACE, codes, effect + 0.02 * rng.normal(size=80), pairs=True).drift == 0.0


def test_equal_scores_are_no_error():
    model = EffectsModel(SPACE, ALL, np.full(len(ALL), 0.5), pairs=True)
    assert np.abs(model.mean()).max() == 0.0
    assert np.isfinite(model.draw(np.random.default_rng(0))).all()


class TestAscend:
    def test_reaches_the_best_from_somewhere(self):
        model = EffectsModel(SPACE, *trials(), pairs=True)
        weights = model.draw(np.random.default_rng(4))
        ends, values = model.ascend(weights, ALL, ALIVE)
        everywhere = model.value(weights, ALL)
        assert values.max() == pytest.approx(everywhere.max(), rel=1e-12)
        np.testing.assert_allclose(model.value(weights, ends), values, rtol=1e-12)
        # Each end is at least as good as its start and as all its neighbours.
        assert (values >= everywhere - 1e-12).all()
        for end, value in zip(ends, values, strict=True):
            near = everywhere[(end != ALL).sum(axis=1) == 1]
            assert near.max() <= value + 1e-12

    def test_stays_in_reach_and_holds(self):
        model = EffectsModel(SPACE, *trials(), pairs=True)
        weights = model.draw(np.random.default_rng(4))
        alive = [np.array([True, False, True]), np.array([True, True]), np.array([False, True, True])]
        in_reach = np.isin(ALL[:, 0], (0, 2)) & np.isin(ALL[:, 2], (1, 2))
        assert {tuple(end) for end in model.ascend(weights, ALL, alive)[0]} <= {tuple(row) for row in ALL[in_reach]}
        held = np.full(len(ALL), 1)
        ends, values = model.ascend(weights, ALL, alive, held)
        np.testing.assert_array_equal(ends[:, 1], ALL[:, 1])
        for b in (0, 1):
            within = in_reach & (ALL[:, 1] == b)
            assert values[ALL[:, 1] == b].max() == pytest.approx(model.value(weights, ALL[within]).max(), rel=1e-12)

    def test_what_is_held_stays_active(self):
        # Depth 1 is far better, but has no layer 2.
        codes = np.array(SHALLOW + DEEP, dtype=np.uint8)
        model = EffectsModel(DEPTH, codes, np.array([0.9, 0.8, 0.1, 0.2, 0.1, 0.2]), pairs=True)
        alive = [np.ones(2, dtype=bool)] * 3
        ends, _ = model.ascend(model.mean(), codes, alive)
        assert {tuple(end) for end in ends} == {tuple(SHALLOW[0])}
        held = np.full(4, 2)
        ends, values = model.ascend(model.mean(), np.array(DEEP, dtype=np.uint8), alive, held)
        np.testing.assert_array_equal(ends[:, 0], 1)
        np.testing.assert_array_equal(ends[:, 2], [0, 1, 0, 1])
        assert np.isfinite(values).all()
        shallow_only = [np.array([True, False]), *alive[1:]]
        assert (model.ascend(model.mean(), np.array(DEEP, dtype=np.uint8), shallow_only, held)[1] == -np.inf).all()
