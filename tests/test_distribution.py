import json

import numpy as np
import pytest

from searchhub.distribution import ArchitectureDistribution, softmax
from searchhub.errors import InvalidInputError
from searchhub.space import INACTIVE, Choice, Condition, SearchSpace

ONE = SearchSpace("one", (Choice("edge", ("a", "b", "c")),))
NAN = float("nan")


def with_theta(space: SearchSpace, *theta: list[float]) -> ArchitectureDistribution:
    start = ArchitectureDistribution.uniform(space)
    return ArchitectureDistribution(space, tuple(np.array(t) for t in theta), start.velocity, start.alive)


def credited(*flags: list[int]) -> list[np.ndarray]:
    return [np.array(f, dtype=bool) for f in flags]


class TestUpdateByHand:
    """DDPNAS Eqs. 4 and 5 on one choice of three candidates with P̄ = (0.7, 0.5, 0.2), γ = 0.8, from V_0 = 0."""

    # e^0.7 = 2.013752707, e^0.5 = 1.648721271, e^0.2 = 1.221402758; their sum is 4.883876736.
    # softmax(P̄) = (0.412326685580, 0.337584537799, 0.250088776622)
    # V_1 = 0.8 · 0 + 0.2 · softmax(P̄):
    V1 = (0.082465337116, 0.067516907560, 0.050017755324)
    # θ_0 + V_1 = (0.415798670449, 0.400850240893, 0.383351088658), and softmax of that:
    THETA1 = (0.338611618381, 0.333587550970, 0.327800830649)

    def first(self, **options) -> ArchitectureDistribution:
        start = ArchitectureDistribution.uniform(ONE)
        return start.updated([np.array([0.7, 0.5, 0.2])], momentum=0.8, **options)

    def test_first_update(self):
        after = self.first()
        np.testing.assert_allclose(after.velocity[0], self.V1, rtol=0, atol=1e-11)
        np.testing.assert_allclose(after.theta[0], self.THETA1, rtol=0, atol=1e-11)

    def test_second_update_with_a_pruned_candidate(self):
        # c is pruned. P̄ = (0.8, 0.4): softmax over the alive (0.598687660112, 0.401312339888).
        # V_2 = 0.8 · V_1 + 0.2 · that = (0.185709801715, 0.134275994025); c: 0.8 · 0.050017755324 = 0.040014204259.
        # θ_1 + V_2 = (0.524321420096, 0.467863544995, 0.367815034908); softmax over all three, the pruned one too:
        after = self.first().pruned(credited([1, 1, 1])).updated([np.array([0.8, 0.4, NAN])], momentum=0.8)
        np.testing.assert_allclose(
            after.velocity[0], [0.185709801715, 0.134275994025, 0.040014204259], rtol=0, atol=1e-11
        )
        np.testing.assert_allclose(after.theta[0], [0.357113222649, 0.337509955169, 0.305376822181], rtol=0, atol=1e-11)

    def test_a_score_of_a_pruned_candidate_would_change_nothing(self):
        before = self.first().pruned(credited([1, 1, 1]))
        assert before.updated([np.array([0.8, 0.4, 0.9])], momentum=0.8) == before.updated(
            [np.array([0.8, 0.4, NAN])], momentum=0.8
        )

    def test_normalisation_by_the_sum(self):
        # (0.415798670449, 0.400850240893, 0.383351088658) / 1.2, since θ_0 sums to 1 and V_1 to 0.2.
        after = self.first(normalization="sum")
        np.testing.assert_allclose(after.theta[0], [0.346498892041, 0.334041867411, 0.319459240548], rtol=0, atol=1e-11)

    def test_percent_scale(self):
        # softmax(70, 50, 20) = (1 − 2.06e-9, 2.06e-9, 1.9e-22): V_1 is all but 0.2 for the first.
        after = self.first(score_scale=100.0)
        np.testing.assert_allclose(after.velocity[0][:2], [0.2 * (1 - 2.061e-9), 0.2 * 2.06115361819e-9], rtol=1e-9)

    def test_without_momentum_the_past_is_forgotten(self):
        once = self.first()
        twice = once.updated([np.array([0.7, 0.5, 0.2])], momentum=0.0)
        np.testing.assert_allclose(twice.velocity[0], np.array(self.V1) / 0.2, rtol=0, atol=1e-10)

    def test_the_original_is_untouched(self):
        start = ArchitectureDistribution.uniform(ONE)
        start.updated([np.array([0.7, 0.5, 0.2])], momentum=0.8)
        assert start == ArchitectureDistribution.uniform(ONE)
        with pytest.raises(ValueError, match="read-only"):
            start.theta[0][0] = 1.0


class TestCredit:
    def test_a_candidate_without_credit_counts_as_the_mean_of_its_choice(self):
        # (0.6 + 0.2) / 2 = 0.4; softmax(0.6, 0.4, 0.2) = (0.401759578533, 0.328932922289, 0.269307499178).
        after = ArchitectureDistribution.uniform(ONE).updated([np.array([0.6, NAN, 0.2])], momentum=0.8)
        expected = 0.2 * np.array([0.401759578533, 0.328932922289, 0.269307499178])
        np.testing.assert_allclose(after.velocity[0], expected, rtol=0, atol=1e-11)

    def test_a_choice_without_any_credit_keeps_everything(self):
        before = TestUpdateByHand().first()
        after = before.updated([np.full(3, NAN)], momentum=0.8)
        assert after == before

    def test_only_the_alive_count_for_the_mean(self):
        before = TestUpdateByHand().first().pruned(credited([1, 1, 1]))
        after = before.updated([np.array([0.9, NAN, 0.1])], momentum=0.8)
        # The only credit among the alive is 0.9, so both count alike: softmax gives each 1/2.
        np.testing.assert_allclose(after.velocity[0][:2] - 0.8 * before.velocity[0][:2], [0.1, 0.1], atol=1e-15)


class TestExpectation:
    def test_is_the_mean_of_theta_over_the_choices(self):
        # Eq. 9: (0.5 + 0.9) / 2 = 0.7 and (0.2 + 0.1) / 2 = 0.15.
        space = SearchSpace("two", (Choice("a", ("x", "y", "z")), Choice("b", ("u", "v"))))
        theta = with_theta(space, [0.5, 0.3, 0.2], [0.1, 0.9])
        np.testing.assert_allclose(theta.expectation(np.array([[0, 1], [2, 0]], dtype=np.uint8)), [0.7, 0.15])

    def test_is_over_the_active_choices_only(self):
        # Depth 1: (0.4 + 0.5) / 2 = 0.45. Depth 2: (0.6 + 0.5 + 0.7) / 3 = 0.6.
        space = SearchSpace(
            "depth",
            (Choice("depth", (1, 2)), Choice("a", (1, 2)), Choice("b", (1, 2), condition=Condition("depth", (2,)))),
        )
        theta = with_theta(space, [0.4, 0.6], [0.5, 0.5], [0.7, 0.3])
        codes = np.array([[0, 0, INACTIVE], [1, 0, 0]], dtype=np.uint8)
        np.testing.assert_allclose(theta.expectation(codes), [0.45, 0.6])


class TestPruning:
    def test_drops_the_smallest_theta_of_every_choice(self):
        space = SearchSpace("two", (Choice("a", ("x", "y", "z")), Choice("b", ("u", "v", "w"))))
        after = with_theta(space, [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]).pruned(credited([1, 1, 1], [1, 1, 1]))
        # In b two are equal: the first goes.
        assert after.survivors == ((0, 1), (1, 2))

    def test_theta_of_the_pruned_is_kept(self):
        before = with_theta(ONE, [0.5, 0.3, 0.2])
        assert before.pruned(credited([1, 1, 1])).theta is before.theta

    def test_the_last_of_a_group_stays(self):
        space = SearchSpace("g", (Choice("edge", ("conv3", "conv5", "skip"), ("param", "param", "none")),))
        after = with_theta(space, [0.5, 0.4, 0.1]).pruned(credited([1, 1, 1]))
        # skip has the smallest θ, but is the last without parameters.
        assert after.survivors == ((0, 2),)
        assert after.pruned(credited([1, 0, 1])).survivors == ((0, 2),)
        assert not after.prunable(0).any()

    def test_a_choice_with_fewer_candidates_waits(self):
        space = SearchSpace("uneven", (Choice("a", ("x", "y", "z")), Choice("b", ("u", "v"))))
        once = with_theta(space, [0.5, 0.3, 0.2], [0.6, 0.4]).pruned(credited([1, 1, 1], [1, 1]))
        assert once.survivors == ((0, 1), (0, 1))
        assert once.pruned(credited([1, 1, 0], [1, 1])).survivors == ((0,), (0,))

    def test_a_fuller_choice_that_cannot_be_pruned_holds_up_nobody(self):
        groups = ("one", "two", "three")
        space = SearchSpace("g", (Choice("a", ("x", "y", "z"), groups), Choice("b", ("u", "v"))))
        after = with_theta(space, [0.5, 0.3, 0.2], [0.6, 0.4]).pruned(credited([1, 1, 1], [1, 1]))
        assert after.survivors == ((0, 1, 2), (0,))

    def test_a_candidate_without_credit_goes_last(self):
        before = with_theta(ONE, [0.5, 0.3, 0.2])
        once = before.pruned(credited([1, 1, 0]))
        assert once.survivors == ((0, 2),)
        # b has no credit either, but is gone already; of a and c only a has.
        assert once.pruned(credited([1, 0, 0])).survivors == ((2,),)
        # Where none has credit, θ decides.
        assert before.pruned(credited([0, 0, 0])).survivors == ((0, 1),)

    def test_a_single_survivor_stays(self):
        one = with_theta(ONE, [0.5, 0.3, 0.2]).pruned(credited([1, 1, 1])).pruned(credited([1, 1, 1]))
        assert one.survivors == ((0,),)
        assert one.pruned(credited([1, 1, 1])) == one


class TestValue:
    def test_json_gives_the_same_bits(self):
        before = TestUpdateByHand().first().pruned(credited([1, 1, 1]))
        read = ArchitectureDistribution.from_dict(ONE, json.loads(json.dumps(before.to_dict())))
        assert read == before

    def test_equality_is_of_every_number(self):
        start = ArchitectureDistribution.uniform(ONE)
        assert start == ArchitectureDistribution.uniform(ONE)
        assert start != TestUpdateByHand().first()
        assert start != start.pruned(credited([1, 1, 1]))
        assert start != ArchitectureDistribution.uniform(SearchSpace("other", ONE.choices))
        assert start != "θ"

    def test_a_theta_of_another_space_is_refused(self):
        other = ArchitectureDistribution.uniform(SearchSpace("other", (Choice("edge", ("a", "b")),)))
        with pytest.raises(InvalidInputError, match=r"`edge` must have 3 numbers, but got shape \(2,\)"):
            ArchitectureDistribution(ONE, other.theta, other.velocity, other.alive)


def test_softmax_of_large_numbers_does_not_overflow():
    np.testing.assert_allclose(softmax(np.array([1000.0, 1000.0])), [0.5, 0.5])
    np.testing.assert_allclose(softmax(np.array([0.0, -1e6])), [1.0, 0.0])
