import numpy as np
import pytest
import yaml

from searchhub.errors import InvalidInputError, RunFolderError, RunMismatchError
from searchhub.evaluators.kept import KeptEvaluator
from searchhub.search import search
from searchhub.searchers.random import RandomSearcher
from searchhub.space import Choice, SearchSpace
from searchhub.testing import ChainEvaluator
from searchhub.trial import Budget, Trial, TrialResult

SPACE = SearchSpace("s", tuple(Choice(f"layer{i}", (0, 0.5, "c")) for i in range(4)))


class Independent(ChainEvaluator):
    """Each result depends on its trial alone; says which it made, and may stop at one."""

    def __init__(self, seed=0, stop_at=None):
        super().__init__(seed=seed)
        self.made, self.stop_at = [], stop_at

    def __call__(self, trials):
        for trial in trials:
            if trial.number == self.stop_at:
                raise KeyboardInterrupt
            self.made.append(trial.number)
            score = float(np.random.default_rng([self.seed, trial.number]).random())
            yield TrialResult(trial, score, {"loss": score / 3}, 1.23456789, ((1.0, score),))


def trials(n=5):
    rows = SPACE.sample(n, np.random.default_rng(0))
    return [Trial(i, SPACE.decode(row), Budget(2, data_share=0.1)) for i, row in enumerate(rows)]


def kept_in(path, given, seed=0, stop_at=None, **options):
    """The results, and which were made now."""
    evaluator = Independent(seed, stop_at)
    with KeptEvaluator(evaluator, path, **options) as kept:
        return [r.to_dict() for r in kept(given)], evaluator.made


def test_a_result_is_made_once(tmp_path):
    expected = [r.to_dict() for r in Independent()(trials())]
    with pytest.raises(KeyboardInterrupt):
        kept_in(tmp_path, trials(), stop_at=2)
    assert kept_in(tmp_path, trials()) == (expected, [2, 3, 4])
    assert kept_in(tmp_path, trials()) == (expected, [])


def test_what_is_asked_for_anew_may_be_mixed_with_what_is_new(tmp_path):
    kept_in(tmp_path, trials()[1:3])
    found, made = kept_in(tmp_path, trials())
    assert [r["trial"] for r in found] == [0, 1, 2, 3, 4]
    assert made == [0, 3, 4]


@pytest.mark.parametrize("changes", [{"number": 9}, {"budget": Budget(3, data_share=0.1)}, {"round": 1}])
def test_other_trials_are_evaluated(tmp_path, changes):
    kept_in(tmp_path, trials(1))
    (one,) = trials(1)
    other = Trial(**{**{name: getattr(one, name) for name in ("number", "architecture", "budget", "round")}, **changes})
    assert kept_in(tmp_path, [other])[1] == [other.number]


def test_a_torn_line_is_dropped(tmp_path):
    expected, _ = kept_in(tmp_path, trials())
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-7])
    assert kept_in(tmp_path, trials()) == (expected, [4])


def test_a_damaged_line_is_named(tmp_path):
    kept_in(tmp_path, trials())
    journal = tmp_path / "journal.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([*lines[:2], lines[2].replace("score", "sco"), *lines[3:]]) + "\n")
    with pytest.raises(RunFolderError, match=r"Line 3 of .*Delete the line"):
        kept_in(tmp_path, trials())
    journal.write_text("\n".join([*lines[:2], *lines[3:]]) + "\n")
    assert kept_in(tmp_path, trials())[1] == [2]


def test_settings_are_those_of_the_evaluator_alone(tmp_path):
    kept_in(tmp_path, trials(1))
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["evaluator"] == Independent().config
    assert "searcher" not in config
    with pytest.raises(RunMismatchError, match=r"evaluator\.seed"):
        kept_in(tmp_path, trials(1), seed=1)


def test_one_at_a_time(tmp_path):
    with KeptEvaluator(Independent(), tmp_path), pytest.raises(RunFolderError, match="must not be in use"):
        kept_in(tmp_path, trials(1))
    kept_in(tmp_path, trials(1))


def test_results_of_another_folder_are_copied(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    expected, _ = kept_in(one, trials()[:3])
    before = (one / "journal.jsonl").read_bytes()
    found, made = kept_in(two, trials(), take_from=one)
    assert (found[:3], made) == (expected, [3, 4])
    assert (one / "journal.jsonl").read_bytes() == before
    for path in one.iterdir():
        path.unlink()
    assert kept_in(two, trials())[1] == []
    with pytest.raises(InvalidInputError, match="must hold results of an evaluator"):
        kept_in(two, trials(), take_from=one)


def test_a_folder_of_other_settings_leaves_nothing_behind(tmp_path):
    kept_in(tmp_path / "one", trials(1))
    with pytest.raises(RunMismatchError, match=r"`.*one` must go on with"):
        kept_in(tmp_path / "two", trials(1), seed=1, take_from=tmp_path / "one")
    assert not (tmp_path / "two").exists()


def test_a_searcher_that_refuses_the_last_result_does_not_lose_it(tmp_path):
    class Refusing(RandomSearcher):
        def observe(self, results):
            super().observe(results)
            if len(self.history) == self.num_trials:
                raise InvalidInputError("no")

    evaluator = Independent()
    for _ in range(2):
        with KeptEvaluator(evaluator, tmp_path / "early") as kept, pytest.raises(InvalidInputError, match="no"):
            search(Refusing(SPACE, num_trials=3), kept, run_dir=tmp_path)
    assert evaluator.made == [0, 1, 2], "also where the run's own folder has no checkpoint of the last"


def test_numbers_that_no_file_can_hold_are_named(tmp_path):
    class Lost(Independent):
        def __call__(self, trials):
            yield TrialResult(trials[0], 0.5, {"loss": float("nan")})

    with KeptEvaluator(Lost(), tmp_path) as kept, pytest.raises(InvalidInputError, match="trial 0 has"):
        list(kept(trials(1)))
