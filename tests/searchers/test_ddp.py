from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from searchhub.distribution import ArchitectureDistribution, softmax
from searchhub.errors import InvalidInputError
from searchhub.searchers.credit import mean_credit, regression_credit
from searchhub.searchers.ddp import DDPSearcher, pruned_search_trials
from searchhub.space import INACTIVE, Choice, Condition, SearchSpace
from searchhub.spaces.mobile import mobile_space
from searchhub.testing import SearcherContract
from searchhub.trial import Budget, TrialResult

PARAMETER, OTHER = ("parameter",) * 4, ("non-parameter",) * 4


def cells(*, groups: bool) -> SearchSpace:
    """The DARTS cells by numbers: 2 × 14 edges with 8 operations, four with and four without parameters."""
    labels = PARAMETER + OTHER if groups else ()
    return SearchSpace("cells", tuple(Choice(f"edge.{i}", tuple("abcdefgh"), labels) for i in range(28)))


UNEVEN = SearchSpace("uneven", (Choice("a", ("p", "q", "r", "s")), Choice("b", ("x", "y")), Choice("c", ("only",))))
DEPTH = SearchSpace(
    "depth",
    (
        Choice("depth", (1, 2, 3)),
        Choice("layer.1", ("x", "y", "z"), condition=Condition("depth", (2, 3))),
        Choice("layer.2", ("x", "y", "z"), condition=Condition("depth", (3,))),
    ),
)
SMALL_MOBILE = mobile_space(stage_widths=(8, 16), stage_depths=(2, 2), stage_strides=(1, 2), kernel_sizes=(3, 5))

SEARCHERS = {
    "plain": lambda seed: DDPSearcher(SearchSpace("s", (Choice("a", (1, 2, 3)), Choice("b", (1, 2, 3)))), seed=seed),
    "uneven": lambda seed: DDPSearcher(UNEVEN, estimation_epochs=2, seed=seed),
    "conditional": lambda seed: DDPSearcher(DEPTH, estimation_epochs=2, seed=seed, budget=Budget(2, max_steps=5)),
    "groups": lambda seed: DDPSearcher(SMALL_MOBILE, estimation_epochs=1, seed=seed),
    "code": lambda seed: DDPSearcher(UNEVEN, seed=seed, score_scale=100.0, normalization="sum"),
    "noprune": lambda seed: DDPSearcher(UNEVEN, prune=False, evaluations=29, seed=seed),
    "regression": lambda seed: DDPSearcher(UNEVEN, estimator="regression", seed=seed),
    "pairs": lambda seed: DDPSearcher(UNEVEN, estimator="pairs", seed=seed),
    "pairs conditional": lambda seed: DDPSearcher(DEPTH, estimator="pairs", seed=seed),
    "pairs noprune": lambda seed: DDPSearcher(UNEVEN, estimator="pairs", prune=False, evaluations=19, seed=seed),
}


class TestContract(SearcherContract):
    @pytest.fixture(params=SEARCHERS.values(), ids=SEARCHERS.keys())
    def make_searcher(self, request):
        return request.param


def run(searcher, score=lambda architecture: 0.5):
    while trials := searcher.ask():
        searcher.tell([TrialResult(trial, score(trial.architecture)) for trial in trials])
    return searcher


@pytest.fixture
def scripted(monkeypatch):
    """Prescribes the architectures that are drawn, as rows of codes."""

    def prescribe(*draws):
        queue = iter(np.array(draw, dtype=np.uint8) for draw in draws)
        monkeypatch.setattr(ArchitectureDistribution, "sample_disjoint", lambda self, rng: next(queue))

    return prescribe


def tell(searcher, *scores):
    """The scores of one draw."""
    searcher.tell([TrialResult(trial, score) for trial, score in zip(searcher.ask(), scores, strict=True)])


class TestAlgorithmByHand:
    """Algorithm 1 from beginning to end: one choice (a, b, c), T = 2, γ = 0.8. Eqs. 4 and 5: test_distribution.py."""

    def test_two_rounds(self, scripted):
        scripted([[0], [1], [2]], [[2], [0], [1]], [[0], [1]], [[1], [0]])
        searcher = DDPSearcher(SearchSpace("one", (Choice("edge", ("a", "b", "c")),)), estimation_epochs=2)
        assert searcher.num_trials == 2 * (3 + 2)
        # Round 1. Eq. 2: P[a] = (0.6, 0.8), P[b] = (0.5, 0.5), P[c] = (0.1, 0.3). Eq. 3: P̄ = (0.7, 0.5, 0.2).
        tell(searcher, 0.6, 0.5, 0.1)
        assert searcher.round == 0
        assert searcher.distribution == ArchitectureDistribution.uniform(searcher.space)
        tell(searcher, 0.3, 0.8, 0.5)
        np.testing.assert_allclose(
            searcher.distribution.theta[0], [0.338611618381, 0.333587550970, 0.327800830649], rtol=0, atol=1e-11
        )
        # argmin θ is c.
        assert searcher.distribution.survivors == ((0, 1),)
        assert searcher.round == 1
        # Round 2. P̄ = ((0.9 + 0.7) / 2, (0.3 + 0.5) / 2) = (0.8, 0.4).
        tell(searcher, 0.9, 0.3)
        tell(searcher, 0.5, 0.7)
        np.testing.assert_allclose(
            searcher.distribution.theta[0], [0.357113222649, 0.337509955169, 0.305376822181], rtol=0, atol=1e-11
        )
        assert searcher.distribution.survivors == ((0,),)
        assert not searcher.ask()
        assert [d.survivors for d in searcher.result().trajectory] == [((0, 1, 2),), ((0, 1),), ((0,),)]

    def test_credit_goes_to_every_candidate_of_an_architecture(self, scripted):
        # (x, u) scores 0.9, (y, v) scores 0.1, then (x, v) 0.6 and (y, u) 0.2:
        # P̄ of x = 0.75, y = 0.15, u = (0.9 + 0.2) / 2 = 0.55, v = (0.1 + 0.6) / 2 = 0.35.
        scripted([[0, 0], [1, 1]], [[0, 1], [1, 0]])
        space = SearchSpace("two", (Choice("a", ("x", "y")), Choice("b", ("u", "v"))))
        searcher = DDPSearcher(space, estimation_epochs=2, momentum=0.0)
        tell(searcher, 0.9, 0.1)
        tell(searcher, 0.6, 0.2)
        # γ = 0, so V = softmax(P̄): of two, the first gets 1 / (1 + e^-(difference)).
        np.testing.assert_allclose(searcher.distribution.velocity[0][0], 1 / (1 + np.exp(-0.60)), rtol=1e-12)
        np.testing.assert_allclose(searcher.distribution.velocity[1][0], 1 / (1 + np.exp(-0.20)), rtol=1e-12)

    def test_repeats_are_averaged(self, scripted):
        # b has two candidates for three architectures: x twice (0.9, 0.3: mean 0.6), y once (0.4). Summed instead of
        # averaged, x would have 1.2, and the difference would be 0.8 instead of 0.2.
        scripted([[0, 0], [1, 1], [2, 0]])
        space = SearchSpace("two", (Choice("a", (1, 2, 3)), Choice("b", ("x", "y"))))
        searcher = DDPSearcher(space, estimation_epochs=1, momentum=0.0)
        tell(searcher, 0.9, 0.4, 0.3)
        np.testing.assert_allclose(searcher.distribution.velocity[1][0], 1 / (1 + np.exp(-0.2)), rtol=1e-12)

    def test_an_inactive_choice_gets_no_credit(self, scripted):
        # Depths 1, 2, 3. layer.1 holds x at depth 2 (0.5), y at depth 3 (0.3); layer.2 holds z at depth 3 (0.3).
        no = INACTIVE
        scripted([[0, no, no], [1, 0, no], [2, 1, 2]])
        searcher = DDPSearcher(DEPTH, estimation_epochs=1, momentum=0.0)
        tell(searcher, 0.9, 0.5, 0.3)
        v = searcher.distribution.velocity
        depth = np.exp([0.9, 0.5, 0.3])
        np.testing.assert_allclose(v[0], depth / depth.sum(), rtol=1e-12)
        # z of layer.1 has no credit and counts as the mean (0.5 + 0.3) / 2 = 0.4; 0.9 of depth 1 counts nowhere.
        layer = np.exp([0.5, 0.3, 0.4])
        np.testing.assert_allclose(v[1], layer / layer.sum(), rtol=1e-12)
        # layer.2: all count as 0.3.
        np.testing.assert_allclose(v[2], np.full(3, 1 / 3), rtol=1e-12)
        # Pruned are: depth 3; y of layer.1 (z is smaller than x but has no credit); z of layer.2, the only credited.
        assert searcher.distribution.survivors == ((0, 1), (0, 2), (0, 1))


class TestNumberOfTrials:
    def test_cells_with_groups_take_less_than_100_epochs(self):
        # 3 · (8 + 7 + 6 + 5 + 4 + 3) = 99: at two alive, one of each group is left.
        assert pruned_search_trials(cells(groups=True), 3) == 99
        searcher = run(DDPSearcher(cells(groups=True)))
        assert len(searcher.history) == searcher.num_trials == 99
        for alive in searcher.distribution.survivors:
            assert len(alive) == 2
            assert alive[0] < 4 <= alive[1]

    def test_without_groups_it_is_the_sum_of_eq_19(self):
        # 3 · (8 + 7 + … + 2) = 105.
        searcher = run(DDPSearcher(cells(groups=False)))
        assert len(searcher.history) == searcher.num_trials == 105
        assert all(len(alive) == 1 for alive in searcher.distribution.survivors)

    def test_uneven_choices(self):
        # Alive (4, 2, 1), (3, 2, 1), (2, 2, 1), then a and b go together: 2 · (4 + 3 + 2) = 18.
        searcher = run(DDPSearcher(UNEVEN, estimation_epochs=2))
        assert len(searcher.history) == searcher.num_trials == 18
        sizes = [[len(alive) for alive in d.survivors] for d in searcher.trajectory]
        assert sizes == [[4, 2, 1], [3, 2, 1], [2, 2, 1], [1, 1, 1]]

    def test_full_mobile_space(self):
        # Layers with zero hold 7, the others 6. 7 → 6, then all go together to 2 and 1:
        # 7 + 6 + 5 + 4 + 3 + 2 = 27 a draw; the last round, at (2, 2), prunes only layers without zero.
        searcher = run(DDPSearcher(mobile_space(), estimation_epochs=1))
        assert len(searcher.history) == searcher.num_trials == 27
        for choice, alive in zip(searcher.space.choices, searcher.distribution.survivors, strict=True):
            assert len(alive) == (2 if "zero" in choice.candidates else 1)

    @pytest.mark.parametrize("space", [UNEVEN, DEPTH, SMALL_MOBILE, cells(groups=True)], ids=lambda s: s.name)
    def test_each_round_prunes_at_most_one_candidate_of_a_choice(self, space):
        rng = np.random.default_rng(0)
        trajectory = run(DDPSearcher(space, estimation_epochs=1), lambda _: float(rng.random())).trajectory
        for before, after in pairwise(trajectory):
            gone = [len(b) - len(a) for b, a in zip(before.survivors, after.survivors, strict=True)]
            assert set(gone) <= {0, 1}
            assert sum(gone) > 0

    def test_a_space_without_a_choice_to_make_needs_no_trial(self):
        searcher = DDPSearcher(SearchSpace("s", (Choice("a", ("x",)), Choice("b", ("u", "v"), ("one", "two")))))
        assert searcher.num_trials == 0
        assert not searcher.ask()


class TestSampling:
    def test_architectures_of_a_draw_are_disjoint(self):
        space = cells(groups=True)
        for seed in range(20):
            codes = ArchitectureDistribution.uniform(space).sample_disjoint(np.random.default_rng(seed))
            # Every column is a permutation of the alive candidates.
            assert (np.sort(codes, axis=0) == np.arange(8)[:, None]).all()

    def test_only_the_alive_are_drawn(self):
        searcher = run(DDPSearcher(cells(groups=True), estimation_epochs=1))
        codes = searcher.distribution.sample_disjoint(np.random.default_rng(0))
        for column, alive in zip(codes.T, searcher.distribution.survivors, strict=True):
            assert tuple(sorted(column)) == alive

    def test_fewer_candidates_are_repeated_evenly(self):
        rng = np.random.default_rng(0)
        extra = Counter()
        for _ in range(200):
            space = SearchSpace("s", (Choice("a", tuple(range(5))), Choice("b", ("x", "y"))))
            codes = ArchitectureDistribution.uniform(space).sample_disjoint(rng)
            times = Counter(codes[:, 1].tolist())
            assert sorted(times.values()) == [2, 3]
            extra[max(times, key=times.__getitem__)] += 1
        # Who is drawn three times is chance: 100 ± 4 · sqrt(200 / 4) = 28.
        assert abs(extra[0] - 100) < 28

    def test_the_first_of_a_draw_follows_theta(self):
        space = SearchSpace("s", (Choice("a", ("x", "y", "z")),))
        start = ArchitectureDistribution.uniform(space)
        peaked = ArchitectureDistribution(space, (np.array([0.7, 0.2, 0.1]),), start.velocity, start.alive)
        rng = np.random.default_rng(0)
        draws = np.array([peaked.sample_disjoint(rng)[:, 0] for _ in range(4000)])
        # 4 standard deviations: 4 · sqrt(0.7 · 0.3 / 4000) = 0.029.
        assert np.mean(draws[:, 0] == 0) == pytest.approx(0.7, abs=0.029)
        # Without replacement: after x, y comes with 0.2 / (0.2 + 0.1).
        after_x = draws[draws[:, 0] == 0]
        assert np.mean(after_x[:, 1] == 1) == pytest.approx(2 / 3, abs=4 * np.sqrt(2 / 9 / len(after_x)))

    def test_inactive_choices_are_masked(self):
        codes = ArchitectureDistribution.uniform(DEPTH).sample_disjoint(np.random.default_rng(0))
        by_depth = codes[np.argsort(codes[:, 0])]
        assert (by_depth == INACTIVE).tolist() == [[False, True, True], [False, False, True], [False, False, False]]


class TestWithoutPruning:
    def test_takes_as_many_trials_as_the_pruned_search_by_default(self):
        searcher = run(DDPSearcher(UNEVEN, estimation_epochs=2, prune=False))
        assert len(searcher.history) == 18
        assert searcher.distribution.survivors == ((0, 1, 2, 3), (0, 1), (0,))

    def test_a_number_between_two_draws_is_kept(self):
        # Draws of 4: 4 + 4 (round), 4 + 1 (round, cut short).
        searcher = run(DDPSearcher(UNEVEN, estimation_epochs=2, prune=False, evaluations=13))
        assert len(searcher.history) == 13
        assert len(searcher.trajectory) == 3

    def test_finds_the_best_candidate(self):
        space = SearchSpace("s", tuple(Choice(f"e{i}", tuple("abc")) for i in range(3)))
        searcher = DDPSearcher(space, estimation_epochs=20, prune=False, evaluations=300)
        run(searcher, lambda a: sum(operation == "b" for operation in a.values()) / 3)
        assert [int(np.argmax(theta)) for theta in searcher.distribution.theta] == [1, 1, 1]


class TestSearch:
    def test_survivors_are_the_best_where_scores_are_additive(self):
        # On each of 6 edges "a" is best, then "b", …: each adds (4 − code) / 4 / 6.
        space = SearchSpace("s", tuple(Choice(f"e{i}", tuple("abcde")) for i in range(6)))
        searcher = run(
            DDPSearcher(space, estimation_epochs=40, seed=1),
            lambda a: sum(4 - "abcde".index(o) for o in a.values()) / 24,
        )
        assert searcher.distribution.survivors == ((0,),) * 6

    @pytest.mark.parametrize("score", [-0.01, 1.01, 71.5])
    def test_a_score_outside_0_to_1_is_refused(self, score):
        searcher = DDPSearcher(UNEVEN)
        with pytest.raises(InvalidInputError, match=r"scores in \[0, 1\].*divide by 100"):
            tell(searcher, 0.5, 0.5, 0.5, score)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"estimation_epochs": 0}, "`estimation_epochs >= 1` must hold, but got 0"),
            (
                {"estimator": "median"},
                r"one of \['mean', 'regression', 'pairs'\], but got 'median'",
            ),
            ({"momentum": 1.0}, "`0 <= momentum < 1` must hold, but got 1.0"),
            ({"momentum": -0.1}, "`0 <= momentum < 1` must hold"),
            ({"normalization": "l2"}, '"softmax" or "sum", but got \'l2\''),
            ({"evaluations": 5}, "`evaluations` is for `prune=False`"),
            ({"prune": False, "evaluations": 0}, "`evaluations >= 1` must hold, but got 0"),
        ],
    )
    def test_settings_are_checked(self, options, message):
        with pytest.raises(InvalidInputError, match=message):
            DDPSearcher(UNEVEN, **options)


class TestEstimators:
    def test_the_papers_is_the_default(self):
        assert DDPSearcher(UNEVEN).config["estimator"] == "mean"
        assert DDPSearcher(UNEVEN).config["momentum"] == 0.8

    @pytest.mark.parametrize("estimator", ["regression", "pairs"])
    def test_those_over_all_trials_have_no_momentum(self, estimator):
        assert DDPSearcher(UNEVEN, estimator=estimator).config["momentum"] == 0.0
        assert DDPSearcher(UNEVEN, estimator=estimator, momentum=0.5).config["momentum"] == 0.5

    def test_pairs_find_what_the_mean_cannot(self):
        # Edges count only together: "a" and "a" is best, but "a" beside anything else is worst.
        space = SearchSpace("s", tuple(Choice(f"e{i}", tuple("abcd")) for i in range(2)))

        def score(architecture):
            first, second = architecture.values()
            if first == second == "a":
                return 1.0
            return 0.1 if "a" in (first, second) else 0.5

        found = {
            estimator: sum(
                run(
                    DDPSearcher(space, estimation_epochs=8, estimator=estimator, seed=seed), score
                ).distribution.survivors
                == ((0,), (0,))
                for seed in range(10)
            )
            for estimator in ("mean", "pairs")
        }
        assert found["pairs"] == 10
        assert found["mean"] <= 2

    def test_pairs_start_with_disjoint_draws(self):
        searcher = DDPSearcher(UNEVEN, estimation_epochs=3, estimator="pairs")
        for _ in range(2):
            drawn = np.array([UNEVEN.encode(trial.architecture) for trial in searcher.ask()])
            assert sorted(drawn[:, 0]) == [0, 1, 2, 3]
            searcher.tell([TrialResult(trial, 0.5) for trial in searcher.ask()])

    @pytest.mark.parametrize("estimator", ["mean", "regression"])
    def test_which_trials_count(self, estimator):
        searcher = DDPSearcher(cells(groups=True), estimation_epochs=2, estimator=estimator, momentum=0.0)
        rng = np.random.default_rng(0)
        while searcher.round < 3:
            tell(searcher, *rng.random(8 - searcher.round))
        counted = searcher.history if estimator == "regression" else searcher.history[-2 * 6 :]
        codes = np.array([searcher.space.encode(result.trial.architecture) for result in counted])
        credit = {"mean": mean_credit, "regression": regression_credit}[estimator](
            searcher.space, codes, np.array([result.score for result in counted])
        )
        # γ = 0, so that V is the softmax over those that were alive in the round.
        for velocity, alive, utility in zip(
            searcher.distribution.velocity, searcher.trajectory[-2].alive, credit, strict=True
        ):
            np.testing.assert_array_equal(velocity[alive], softmax(utility[alive]))


@pytest.mark.parametrize("estimator", ["regression", "pairs"])
def test_scores_of_other_moments_of_shared_weights_are_not_compared(estimator):
    """Weights that get better with each draw lift all scores of a draw: that credits nobody."""

    def searched(drift):
        searcher = DDPSearcher(DEPTH, estimation_epochs=2, estimator=estimator, seed=3)
        draw = 0
        while trials := searcher.ask():
            draw += 1
            scores = [(0.1 + (hash_of(trial.architecture) % 7) / 20) + drift * draw for trial in trials]
            searcher.tell([TrialResult(t, s, weights_step=draw) for t, s in zip(trials, scores, strict=True)])
        return searcher.distribution

    assert searched(0.0) == searched(1 / 64)


def hash_of(architecture):
    return sum(map(ord, str(sorted(architecture.to_dict().items()))))
