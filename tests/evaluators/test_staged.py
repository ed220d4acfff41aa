import numpy as np

from searchhub.evaluators.staged import StagedEvaluator
from searchhub.space import Choice, SearchSpace
from searchhub.testing import ChainEvaluator
from searchhub.trial import Budget, Trial

SPACE = SearchSpace("s", (Choice("a", (0, 1, 2)), Choice("b", (0, 1, 2))))
EARLY, FULL = Budget(2, data_share=0.5), Budget(9)


class Named(ChainEvaluator):
    def __init__(self, seed, environment):
        super().__init__(seed=seed)
        self.environment_given = environment

    @property
    def config(self):
        return {**super().config, "task": {"name": str(self.seed)}}

    @property
    def environment(self):
        return self.environment_given


def staged():
    return StagedEvaluator(Named(1, {"threads": 1}), Named(2, {"threads": 1, "processes": 2}), FULL)


def trials():
    rows = SPACE.sample(4, np.random.default_rng(0))
    return [Trial(i, SPACE.decode(row), (EARLY, FULL)[i % 2]) for i, row in enumerate(rows)]


def test_each_trial_goes_to_the_evaluator_of_its_budget():
    given = trials()
    early, full = ([r.score for r in ChainEvaluator(seed=seed)(given[seed - 1 :: 2])] for seed in (1, 2))
    found = list(staged()(given))
    assert [r.trial for r in found] == given
    assert [r.score for r in found] == [early[0], full[0], early[1], full[1]]


def test_both_go_on_from_where_they_were(tmp_path):
    given, whole = trials(), staged()
    list(whole(given[:2]))
    whole.save(tmp_path)
    resumed = staged()
    resumed.load(tmp_path)
    assert [r.score for r in resumed(given[2:])] == [r.score for r in whole(given[2:])]


def test_settings_of_both_count():
    one = staged()
    assert one.config["early"]["seed"] == 1
    assert one.config["full"]["seed"] == 2
    assert one.config["task"] == {"name": "2"}
    assert one.environment == {"threads": 1, "processes": 2}
