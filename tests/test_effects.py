import itertools
import json

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from searchhub.effects import BRANCH_GRID, NOISE_GRID, EffectsModel, PredictedQuality, normal_scores
from searchhub.errors import InvalidInputError
from searchhub.space import INACTIVE, Choice, Condition, SearchSpace
from searchhub.trial import WARMUP, Budget, Trial, TrialResult

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


# -- predicted quality -------------------------------------------------------------------------------------------------

EVERY_DEPTH = np.array(SHALLOW + DEEP, dtype=np.uint8)


def scored_depths(seed=1, n=40, own=0.0):
    """Codes of both depths, and scores in (0, 1); `own` is by how much layer 1 matters the other way when deep."""
    rng = np.random.default_rng(seed)
    codes = EVERY_DEPTH[rng.integers(len(EVERY_DEPTH), size=n)]
    deep = codes[:, 0] == 1
    loss = 1.0 - 0.3 * deep - 0.2 * codes[:, 1] + 2 * own * (deep & (codes[:, 1] == 1)) - 0.1 * (codes[:, 2] == 1)
    return codes, np.exp(-loss - 0.05 * rng.normal(size=n))


def depth_features(codes, ratio):
    """Spelled out, with the prior's variance: shared effects, a branch's own effects, a branch's intercept."""
    hot = np.concatenate([np.eye(2, 2)[np.minimum(c, 1)] * (c != INACTIVE)[:, None] for c in codes.T], axis=1)
    branch = np.eye(2)[codes[:, 0]]
    own = (branch[:, :, None] * hot[:, None, :]).reshape(len(codes), -1)
    return np.concatenate([hot / np.sqrt(3), own * np.sqrt(ratio / 3), branch], axis=1)


def posterior(codes, scores, prediction):
    """Mean [6] and covariance [6, 6] of f at every architecture, by the textbook's formulas."""
    x, at = (depth_features(rows, prediction.branch_variance) for rows in (codes, EVERY_DEPTH))
    inverse = np.linalg.inv(x @ x.T + prediction.noise * np.eye(len(x)))
    covariance = prediction.variance * (at @ at.T - at @ x.T @ inverse @ x @ at.T)
    return at @ x.T @ inverse @ normal_scores(scores), covariance


@pytest.fixture(scope="module", params=[0.0, 0.2])
def depths(request):
    codes, scores = scored_depths(own=request.param)
    return codes, scores, PredictedQuality.of_scores(DEPTH, codes, scores)


class TestPredictedQuality:
    def test_the_mean_is_that_of_ridge_regression(self, depths):
        np.testing.assert_allclose(depths[2].value(EVERY_DEPTH), posterior(*depths)[0], rtol=0, atol=1e-9)

    def test_values_are_sums_of_entries(self, depths):
        prediction = depths[2]
        branches = list(DEPTH.branches())
        for row, value in zip(EVERY_DEPTH, prediction.value(EVERY_DEPTH), strict=True):
            at = int(row[0])
            assert branches[at].codes[0] == (at,)
            entries = prediction.entries(at)
            total = sum(float(e[k]) for e, k in zip(entries, row, strict=True) if k != INACTIVE)
            assert value == pytest.approx(float(prediction.intercepts[at]) + total, abs=1e-14)

    def test_noise_variance_and_ratio_are_the_likeliest_of_the_grid(self, depths):
        codes, scores, prediction = depths
        target = normal_scores(scores)

        def likelihood(ratio, noise):
            x = depth_features(codes, ratio)
            kernel = x @ x.T + noise * np.eye(len(x))
            variance = target @ np.linalg.solve(kernel, target) / len(x)
            return multivariate_normal(cov=variance * kernel).logpdf(target)

        best = max(itertools.product(BRANCH_GRID, NOISE_GRID), key=lambda pair: likelihood(*pair))
        assert (prediction.branch_variance, prediction.noise) == best

    def test_branches_deviate_where_they_do(self):
        alike, apart = (PredictedQuality.of_scores(DEPTH, *scored_depths(own=own)) for own in (0.0, 0.2))
        assert alike.branch_variance == 0.0
        assert len(alike.deviations) == 0
        assert apart.branch_variance > 0.0
        shallow, deep = (np.diff(apart.entries(branch)[1])[0] for branch in (0, 1))
        assert shallow > 0.5
        assert deep < -0.5

    def test_differences_have_the_posteriors_deviation(self, depths):
        mean, covariance = posterior(*depths)
        for a, b in itertools.combinations(range(6), 2):
            difference, deviation = depths[2].difference(EVERY_DEPTH[a], EVERY_DEPTH[b])
            assert difference == pytest.approx(mean[a] - mean[b], abs=1e-9)
            expected = covariance[a, a] + covariance[b, b] - 2 * covariance[a, b]
            assert deviation == pytest.approx(np.sqrt(expected), rel=1e-6)
        assert depths[2].difference(EVERY_DEPTH[0], EVERY_DEPTH[0])[1] == pytest.approx(0.0, abs=1e-6)

    def test_draws_have_the_mean_and_the_covariance_of_the_posterior(self, depths):
        rng = np.random.default_rng(0)
        drawn = np.array([depths[2].draw(rng).value(EVERY_DEPTH) for _ in range(3000)])
        mean, covariance = posterior(*depths)
        deviation = np.sqrt(np.diag(covariance))
        assert (np.abs(drawn.mean(axis=0) - mean) < 5 * deviation / np.sqrt(3000)).all()
        np.testing.assert_allclose(np.cov(drawn.T), covariance, rtol=0, atol=0.15 * covariance.max())

    def test_the_loss_is_a_line_over_the_value(self, depths):
        codes, scores, prediction = depths
        loss, _ = prediction.loss(codes)
        slope, offset = np.polyfit(prediction.value(codes), -np.log(scores), 1)
        assert prediction.quantity == "loss"
        assert slope < 0.0
        np.testing.assert_allclose(loss, offset + slope * prediction.value(codes), rtol=1e-9)
        expected = np.abs(slope) * np.sqrt(np.diag(posterior(*depths)[1]))
        np.testing.assert_allclose(prediction.loss(EVERY_DEPTH)[1], expected, rtol=1e-6)

    def test_unscored_branches_are_as_uncertain_as_the_prior(self):
        codes, scores = scored_depths()
        deep = codes[:, 0] == 1
        prediction = PredictedQuality.of_scores(DEPTH, codes[deep], scores[deep])
        assert prediction.intercepts[0] == 0.0
        shallow, scored = (prediction.loss(np.array(rows, dtype=np.uint8))[1].max() for rows in (SHALLOW, DEEP))
        assert shallow > 3 * scored

    def test_files_keep_every_bit(self, depths):
        prediction = depths[2]
        read = PredictedQuality.from_dict(DEPTH, json.loads(json.dumps(prediction.to_dict())))
        assert read == prediction
        assert read != PredictedQuality.of_scores(DEPTH, *scored_depths(seed=2))
        np.testing.assert_array_equal(read.value(EVERY_DEPTH), prediction.value(EVERY_DEPTH))
        np.testing.assert_array_equal(read.loss(EVERY_DEPTH), prediction.loss(EVERY_DEPTH))
        np.testing.assert_array_equal(
            read.draw(np.random.default_rng(3)).value(EVERY_DEPTH),
            prediction.draw(np.random.default_rng(3)).value(EVERY_DEPTH),
        )

    def test_a_space_of_one_branch(self):
        rng = np.random.default_rng(2)
        codes = SPACE.sample(200, rng)
        loss = 2.0 - 0.3 * codes[:, 0] - 0.1 * (codes[:, 2] == 1) + 0.02 * rng.normal(size=200)
        prediction = PredictedQuality.of_scores(SPACE, codes, np.exp(-loss))
        assert prediction.branch_variance == 0.0
        assert prediction.intercepts.shape == (1,)
        assert tuple(ALL[prediction.value(ALL).argmax()])[::2] == (2, 1)
        found, deviation = prediction.loss(ALL)
        expected = 2.0 - 0.3 * ALL[:, 0] - 0.1 * (ALL[:, 2] == 1)
        # Ranks are no straight line of the loss, so the ends of the scale are somewhat off.
        assert np.abs(found - expected).max() < 0.15
        assert deviation.max() < 0.1

    def test_a_line_never_runs_the_wrong_way(self):
        # The third candidate ranks best, but one outlier decides the least-squares line of −log(score) over the values.
        codes = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]] * 5, dtype=np.uint8)
        scores = np.array([0.5, 0.6, 0.7] * 4 + [0.5, 0.6, 1e-300])
        prediction = PredictedQuality.of_scores(SPACE, codes, scores)
        assert prediction.slope == 0.0
        assert prediction.offset == pytest.approx(-np.log(scores).mean())

    def test_scores_that_are_no_likelihoods_are_named(self):
        scores = 100 * scored_depths()[1]
        prediction = PredictedQuality.of_scores(DEPTH, scored_depths()[0], scores)
        assert prediction.quantity == "score"
        assert prediction.slope > 0.0
        assert prediction.loss(scored_depths()[0])[0].mean() == pytest.approx(scores.mean())

    def test_networks_that_diverged_take_no_part_in_the_line(self):
        codes, scores = scored_depths()
        scores[0] = 0.0
        prediction = PredictedQuality.of_scores(DEPTH, codes, scores)
        assert prediction.quantity == "loss"
        slope, offset = np.polyfit(prediction.value(codes[1:]), -np.log(scores[1:]), 1)
        assert (prediction.slope, prediction.offset) == pytest.approx((slope, offset))

    def test_equal_scores_are_no_error(self):
        prediction = PredictedQuality.of_scores(SPACE, ALL, np.full(len(ALL), 0.5))
        assert np.abs(prediction.value(ALL)).max() == 0.0
        assert prediction.loss(ALL[:1])[0] == pytest.approx(np.log(2))

    def test_only_scores_of_equal_training_are_fitted(self):
        def result(number, row, score, epochs, round=0):
            return TrialResult(Trial(number, DEPTH.decode(row), Budget(epochs=epochs), round), score)

        codes, scores = scored_depths()
        compared = [result(i, row, score, 2) for i, (row, score) in enumerate(zip(codes, scores.tolist(), strict=True))]
        others = [result(97, codes[0], 0.9, 1), result(98, codes[0], 0.9, 2, WARMUP)]
        fitted = PredictedQuality.fit(DEPTH, [others[0], *compared, others[1]])
        assert fitted == PredictedQuality.of_scores(DEPTH, codes, scores)
        with pytest.raises(InvalidInputError, match="at least one trial"):
            PredictedQuality.fit(DEPTH, others[1:])
