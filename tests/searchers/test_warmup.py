import numpy as np
import pytest

from searchhub.errors import InvalidInputError, RunMismatchError
from searchhub.search import search
from searchhub.searchers.ddp import DDPSearcher
from searchhub.searchers.evolution import EvolutionSearcher
from searchhub.searchers.random import RandomSearcher
from searchhub.searchers.warmup import WarmupSearcher
from searchhub.space import Choice, Condition, SearchSpace
from searchhub.testing import ChainEvaluator, SearcherContract
from searchhub.trial import WARMUP, Budget, TrialResult

SPACE = SearchSpace(
    "s", (Choice("a", ("x", "y", "z")), Choice("b", (1, 2)), Choice("c", (1, 2), condition=Condition("a", ("y", "z"))))
)
BUDGET = Budget(max_steps=7)

MADE = {
    "ddp": lambda seed: DDPSearcher(SPACE, estimation_epochs=2, seed=seed, budget=BUDGET),
    "pairs": lambda seed: DDPSearcher(
        SPACE, estimation_epochs=2, estimator="pairs", prune=False, evaluations=9, seed=seed
    ),
    "random": lambda seed: RandomSearcher(SPACE, num_trials=4, seed=seed),
    "evolution": lambda seed: EvolutionSearcher(SPACE, num_trials=9, population_size=4, tournament_size=2, seed=seed),
}


@pytest.fixture(params=MADE)
def alone(request):
    return MADE[request.param]


@pytest.fixture
def make_searcher(alone):
    return lambda seed: WarmupSearcher(alone(seed), 3)


class TestContract(SearcherContract):
    def test_rounds_never_run_back(self, make_searcher):
        rounds = [result.trial.round for result in self.run(make_searcher(0)).history]
        assert rounds == sorted(rounds)
        assert rounds[:4] == [WARMUP] * 3 + [0]


def score(trial):
    return np.random.default_rng(list(SPACE.encode(trial.architecture))).random()


def run(searcher, warmup_score=1.0):
    """The best scores by far are those of warm-up: who heard of them would show it."""
    while trials := searcher.ask():
        searcher.tell([TrialResult(t, warmup_score if t.round == WARMUP else score(t)) for t in trials])
    return searcher


def test_the_searcher_hears_of_none_and_searches_as_without(alone):
    expected, warmed = run(alone(5)), run(WarmupSearcher(alone(5), 3))
    assert warmed.num_trials == expected.num_trials + 3
    searched = [r for r in warmed.history if r.trial.round != WARMUP]
    assert [r.trial.number for r in searched] == list(range(3, warmed.num_trials))
    assert [(r.trial.architecture, r.trial.round, r.trial.budget, r.score) for r in searched] == [
        (r.trial.architecture, r.trial.round, r.trial.budget, r.score) for r in expected.history
    ]
    one, other = warmed.result(), expected.result()
    assert (one.distribution, one.trajectory) == (other.distribution, other.trajectory)
    assert one.best_trial.score == other.best_trial.score < 1
    assert len(one.history) == len(other.history) + 3
    assert dict(one.searcher) == {**other.searcher, "warmup_trials": 3}


def test_paths_are_random_and_of_the_seed():
    drawn = [
        [r.trial.architecture for r in run(WarmupSearcher(MADE["random"](seed), 40)).history[:40]] for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    # All 3·2 + 2·2 = 10 architectures of the space but for bad luck of less than one in a thousand each.
    assert len(set(drawn[0])) >= 9


def test_killed_in_the_midst_it_goes_on_to_the_same_bits(alone, tmp_path):
    class Mortal(ChainEvaluator):
        def __init__(self, trials=99):
            super().__init__()
            self.left = trials

        def __call__(self, trials):
            for result in super().__call__(trials):
                if not self.left:
                    raise KeyboardInterrupt
                self.left -= 1
                yield result

    def searched(folder, evaluator, warmup_trials=3):
        return search(WarmupSearcher(alone(5), warmup_trials), evaluator, run_dir=folder)

    def plain(result):
        return [{k: v for k, v in r.to_dict().items() if k != "seconds"} for r in result.history]

    expected = searched(tmp_path / "whole", Mortal())
    for trials in (2, 3, 4):  # within the warm-up, at its end, within the search
        folder = tmp_path / str(trials)
        with pytest.raises(KeyboardInterrupt):
            searched(folder, Mortal(trials))
        with pytest.raises(RunMismatchError, match=r"`searcher\.warmup_trials` was 3, now 4"):
            searched(folder, Mortal(), warmup_trials=4)
        result = searched(folder, Mortal())
        assert plain(result) == plain(expected)
        assert result.distribution == expected.distribution


def test_none_is_no_warmup():
    with pytest.raises(InvalidInputError, match=r"`warmup_trials >= 1` must hold, but got 0"):
        WarmupSearcher(MADE["ddp"](0), 0)
