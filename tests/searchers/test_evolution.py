import numpy as np
import pytest

from searchhub.errors import InvalidInputError
from searchhub.searchers.evolution import EvolutionSearcher, mutated
from searchhub.space import INACTIVE, Choice, Condition, SearchSpace
from searchhub.testing import SearcherContract
from searchhub.trial import TrialResult

FLAT = SearchSpace("flat", (Choice("a", ("x", "y", "z")), Choice("b", (1, 2)), Choice("c", ("only",))))
CONDITIONAL = SearchSpace(
    "conditional",
    (Choice("a", (1, 2)), Choice("b", (1, 2, 3), condition=Condition("a", (2,))), Choice("c", (1, 2))),
)
WIDE = SearchSpace("wide", tuple(Choice(f"e{i}", tuple(range(9))) for i in range(5)))

SEARCHERS = {
    "flat": lambda seed: EvolutionSearcher(FLAT, num_trials=23, population_size=4, tournament_size=2, seed=seed),
    "conditional": lambda seed: EvolutionSearcher(CONDITIONAL, num_trials=17, population_size=3, seed=seed),
    "population of all": lambda seed: EvolutionSearcher(FLAT, num_trials=6, seed=seed),
    "population of one": lambda seed: EvolutionSearcher(FLAT, num_trials=6, population_size=1, seed=seed),
}


class TestContract(SearcherContract):
    @pytest.fixture(params=SEARCHERS.values(), ids=SEARCHERS.keys())
    def make_searcher(self, request):
        return request.param


def run(searcher, score):
    while trials := searcher.ask():
        searcher.tell([TrialResult(trial, score(trial)) for trial in trials])
    return searcher.history


def test_children_are_of_the_best_of_the_youngest():
    # A tournament of 200 draws holds all 4 of the population. Later trials score less, so that the best ever is soon
    # too old: the parent must be the oldest of the last four.
    searcher = EvolutionSearcher(WIDE, num_trials=40, population_size=4, tournament_size=200, seed=3)
    history = run(searcher, lambda trial: -float(trial.number))
    codes = np.array([WIDE.encode(result.trial.architecture) for result in history])
    for child in range(4, 40):
        assert (codes[child] != codes[child - 4]).sum() == 1


def test_a_tournament_of_one_draws_parents_evenly():
    searcher = EvolutionSearcher(WIDE, num_trials=2000, population_size=3, tournament_size=1, seed=0)
    history = run(searcher, lambda trial: float(trial.number))
    codes = np.array([WIDE.encode(result.trial.architecture) for result in history])
    # Alike in all choices but one; a child of one of the others rarely is.
    near = [sum((codes[i] != codes[i - back]).sum() == 1 for i in range(3, 2000)) for back in (1, 2, 3)]
    assert min(near) > 500


def test_the_first_population_is_one_proposal():
    searcher = EvolutionSearcher(WIDE, num_trials=30, population_size=7)
    first = searcher.ask()
    assert len(first) == 7
    searcher.tell([TrialResult(trial, 0.5) for trial in first])
    assert len(searcher.ask()) == 1


def test_climbs():
    searcher = EvolutionSearcher(WIDE, num_trials=300, seed=1)
    history = run(searcher, lambda trial: sum(trial.architecture.values()) / 40)
    assert max(result.score for result in history) >= 0.9
    assert searcher.result().distribution is None


class TestMutated:
    def test_one_choice_gets_another_candidate(self):
        rng, row = np.random.default_rng(0), np.array([1, 0, 0], dtype=np.uint8)
        seen = {tuple(int(c) for c in mutated(FLAT, row, rng)) for _ in range(200)}
        # `c` has a single candidate.
        assert seen == {(0, 0, 0), (2, 0, 0), (1, 1, 0)}

    def test_choices_that_come_into_being_get_a_candidate(self):
        rng, row = np.random.default_rng(0), np.array([0, INACTIVE, 1], dtype=np.uint8)
        seen = {tuple(int(c) for c in mutated(CONDITIONAL, row, rng)) for _ in range(200)}
        assert seen == {(0, INACTIVE, 0), (1, 0, 1), (1, 1, 1), (1, 2, 1)}

    def test_nothing_to_change(self):
        space = SearchSpace("s", (Choice("a", ("only",)),))
        row = np.zeros(1, dtype=np.uint8)
        np.testing.assert_array_equal(mutated(space, row, np.random.default_rng(0)), row)


@pytest.mark.parametrize("name", ["num_trials", "population_size", "tournament_size"])
def test_settings_are_checked(name):
    with pytest.raises(InvalidInputError, match=f"`{name} >= 1` must hold, but got 0"):
        EvolutionSearcher(FLAT, **{"num_trials": 5, name: 0})
