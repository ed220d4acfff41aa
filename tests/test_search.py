import json
import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from searchhub import checkpoints
from searchhub.callbacks.base import SearchCallback
from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError, RunFolderError, RunMismatchError, SearchhubError
from searchhub.evaluators.base import Evaluator
from searchhub.journal import Journal
from searchhub.result import SearchResult
from searchhub.search import search
from searchhub.searchers.ddp import DDPSearcher
from searchhub.searchers.random import RandomSearcher
from searchhub.space import Choice, SearchSpace
from searchhub.testing import ChainEvaluator
from searchhub.trial import TrialResult

SPACE = SearchSpace("s", (Choice("a", ("x", "y", "z")), Choice("b", (1, 2, 3)), Choice("c", (0.5, 1.0))))


def ddp(**options):
    """Five trials: T = 1, 3 + 2 architectures."""
    return DDPSearcher(SPACE, **{"estimation_epochs": 1, **options})


def outcome(result):
    """All of a result but the time that it took."""
    data = result.to_dict()
    for trial in data["history"]:
        del trial["seconds"]
    return data


class Listener(SearchCallback):
    def __init__(self):
        self.events = []
        self.said = []

    def on_search_start(self, total, done, best):
        self.events.append(("start", total, done, best))

    def on_trial_start(self, trial):
        self.events.append(("trial", trial.number))

    def on_trial_end(self, result, done, total, best):
        self.events.append(("end", result.trial.number, done, total, best))

    def on_search_end(self, result):
        self.events.append(("over", len(result.history)))

    def on_message(self, text):
        self.said.append(text)


class Interrupting(ChainEvaluator):
    """Ctrl-C during a trial."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def __call__(self, trials):
        for result in super().__call__(trials):
            if result.trial.number == self.at:
                raise KeyboardInterrupt
            yield result

    @property
    def config(self):
        return {"evaluator": "ChainEvaluator", "seed": 0}


class TestInMemory:
    def test_runs_to_the_end_without_a_file(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        result = search(ddp(), ChainEvaluator())
        assert [r.trial.number for r in result.history] == [0, 1, 2, 3, 4]
        assert result.distribution.survivors == tuple((k,) for (k,) in result.distribution.survivors)
        assert not list(tmp_path.iterdir())

    def test_the_result_is_that_of_the_searcher(self):
        searcher = ddp()
        result = search(searcher, ChainEvaluator())
        assert outcome(result) == outcome(searcher.result())
        assert result.trajectory[-1] == result.distribution == searcher.distribution

    def test_a_run_folder_changes_nothing(self, tmp_path):
        assert outcome(search(ddp(), ChainEvaluator(), run_dir=tmp_path)) == outcome(search(ddp(), ChainEvaluator()))

    @pytest.mark.parametrize("given", [0, 2, 4])
    def test_an_evaluator_that_gives_another_number_of_results(self, given):
        class Wrong(ChainEvaluator):
            def __call__(self, trials):
                results = list(super().__call__(trials))
                yield from [*results, results[-1]][:given]

        with pytest.raises(InvalidInputError, match=r"one result a trial|expected trial none"):
            search(ddp(), Wrong())


class TestFolder:
    def test_a_checkpoint_leaves_the_history_to_the_journal(self, tmp_path):
        search(ddp(), ChainEvaluator(), run_dir=tmp_path)
        state = json.loads((tmp_path / "checkpoints" / "000004" / "searcher.json").read_text())
        assert "history" not in state

    def test_a_run_of_an_earlier_version_goes_on(self, tmp_path):
        """Its checkpoints hold the history and whole pending trials, its journal no budgets."""
        expected = search(ddp(), ChainEvaluator(), run_dir=tmp_path / "whole")
        old = tmp_path / "old"
        with pytest.raises(KeyboardInterrupt):
            search(ddp(), Interrupting(3), run_dir=old)
        searcher = ddp()
        lines = [json.loads(line) for line in (old / "journal.jsonl").read_text().splitlines()]
        for line in lines:
            searcher.ask()
            searcher.tell([TrialResult.from_dict(line)])
        searcher.ask()
        state = {**searcher.state_dict(), "pending": [trial.to_dict() for trial in searcher.ask()]}
        evaluator = ChainEvaluator()
        list(evaluator([result.trial for result in searcher.history]))
        (old / "journal.jsonl").unlink()
        journal = Journal(old / "journal.jsonl")
        for line in lines:
            del line["budget"]
            journal.append(line)
        for number in checkpoints.numbers(old / "checkpoints"):
            checkpoints.remove(old / "checkpoints" / f"{number:06d}")
        checkpoints.publish(old / "checkpoints", 2, state, evaluator.save, journal.end)
        with pytest.raises(KeyboardInterrupt):
            search(ddp(), Interrupting(4), run_dir=old)  # from here on checkpoints are of today
        assert outcome(search(ddp(), ChainEvaluator(), run_dir=old)) == outcome(expected)

    def test_the_journal_tells_what_happened(self, tmp_path):
        result = search(ddp(), ChainEvaluator(), run_dir=tmp_path)
        lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
        assert [line["trial"] for line in lines] == [0, 1, 2, 3, 4]
        assert [line["round"] for line in lines] == [0, 0, 0, 1, 1]
        for line, trial in zip(lines, result.history, strict=True):
            assert line["architecture"] == trial.trial.architecture.to_dict()
            assert (line["score"], line["metrics"]) == (trial.score, trial.metrics)
            assert line["budget"] == {"epochs": 1, "max_steps": None}
            assert set(line) == {"trial", "round", "architecture", "budget", "score", "metrics", "seconds", "time"}

    def test_result_json_is_the_result(self, tmp_path):
        result = search(ddp(), ChainEvaluator(), run_dir=tmp_path)
        assert SearchResult.load(tmp_path).to_dict() == result.to_dict()

    def test_a_finished_run_gives_its_result_and_the_evaluator_as_it_was(self, tmp_path):
        ran = ChainEvaluator()
        first = search(ddp(), ran, run_dir=tmp_path)

        class Refusing(ChainEvaluator):
            def __call__(self, trials):
                raise AssertionError("a finished run has no trials")

            @property
            def config(self):
                return ran.config

        loaded, listener = Refusing(), Listener()
        again = search(ddp(), loaded, run_dir=tmp_path, callbacks=[listener])
        assert again.to_dict() == first.to_dict()
        assert loaded.state == ran.state
        assert listener.events == [("start", 5, 5, first.best_trial.score), ("over", 5)]
        assert not listener.said

    def test_a_finished_run_whose_last_checkpoint_is_damaged_repeats_the_last_trial(self, tmp_path):
        ran = ChainEvaluator()
        first = search(ddp(), ran, run_dir=tmp_path)
        (tmp_path / "checkpoints" / "000004" / "chain.json").write_text("x")
        loaded, listener = ChainEvaluator(), Listener()
        again = search(ddp(), loaded, run_dir=tmp_path, callbacks=[listener])
        assert outcome(again) == outcome(first)
        assert loaded.state == ran.state
        assert "checkpoint 000004 is damaged" in listener.said[0]

    def test_costs_added_to_a_finished_result_stay(self, tmp_path):
        cost = CostTable("macs", SPACE, 1.0, (np.arange(3.0), np.arange(3.0), np.arange(2.0)))
        search(ddp(), ChainEvaluator(), run_dir=tmp_path).with_costs(cost).save(tmp_path / "result.json")
        assert search(ddp(), ChainEvaluator(), run_dir=tmp_path).costs.keys() == {"macs"}

    def test_a_used_searcher_is_refused(self, tmp_path):
        searcher = ddp()
        search(searcher, ChainEvaluator())
        with pytest.raises(InvalidInputError, match="needs a searcher without trials, but this one has 5"):
            search(searcher, ChainEvaluator(), run_dir=tmp_path)

    @pytest.mark.parametrize("metric", [float("nan"), np.float32(0.5)])
    def test_metrics_are_finite_numbers(self, tmp_path, metric):
        class Odd(ChainEvaluator):
            def __call__(self, trials):
                return (TrialResult(result.trial, 0.5, {"loss": metric}) for result in super().__call__(trials))

        with pytest.raises(InvalidInputError, match=r"finite numbers .* but trial 0 has score 0\.5 and metrics"):
            search(ddp(), Odd(), run_dir=tmp_path)

    def test_a_searcher_state_of_another_version(self, tmp_path):
        class Newer(DDPSearcher):
            def load_extra_state(self, state):
                self.trust = state["trust"]

            @property
            def config(self):
                return {**super().config, "searcher": "DDPSearcher"}

        with pytest.raises(KeyboardInterrupt):
            search(ddp(), Interrupting(at=2), run_dir=tmp_path, callbacks=[Listener()])
        with pytest.raises(RunFolderError, match=r"must hold the state of a Newer.*KeyError\('trust'\)"):
            search(Newer(SPACE, estimation_epochs=1), ChainEvaluator(), run_dir=tmp_path)


class TestMismatch:
    @pytest.fixture
    def started(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            search(
                ddp(), Interrupting(at=2), run_dir=tmp_path, callbacks=[Listener()], config={"task": {"rows": [1, 2]}}
            )
        return tmp_path

    def test_searcher(self, started):
        with pytest.raises(RunMismatchError, match=r"`searcher.momentum` was 0\.8, now 0\.7"):
            search(ddp(momentum=0.7), ChainEvaluator(), run_dir=started, config={"task": {"rows": [1, 2]}})

    def test_space(self, started):
        other = SearchSpace("s", (*SPACE.choices[:2], Choice("c", (0.5, 2.0))))
        with pytest.raises(RunMismatchError, match=r"`space\.fingerprint` was"):
            search(
                DDPSearcher(other, estimation_epochs=1),
                ChainEvaluator(),
                run_dir=started,
                config={"task": {"rows": [1, 2]}},
            )

    def test_data_and_settings_of_the_evaluator(self, started):
        with pytest.raises(RunMismatchError, match=r"`evaluator.seed` was 0, now 1"):
            search(ddp(), ChainEvaluator(seed=1), run_dir=started, config={"task": {"rows": [1, 2]}})

    def test_settings_of_the_user(self, started):
        with pytest.raises(RunMismatchError, match=r"`config.task.rows\[1\]` was 2, now 3"):
            search(ddp(), ChainEvaluator(), run_dir=started, config={"task": {"rows": [1, 3]}})
        with pytest.raises(RunMismatchError, match=r"`config.task.rows\[0\]` was 1, now not set"):
            search(ddp(), ChainEvaluator(), run_dir=started)

    def test_environment(self, started):
        class MoreProcesses(ChainEvaluator):
            @property
            def config(self):
                return ChainEvaluator().config

            @property
            def environment(self):
                return {"processes": 2}

        with pytest.raises(RunMismatchError, match=r"`environment.processes` was not set, now 2"):
            search(ddp(), MoreProcesses(), run_dir=started, config={"task": {"rows": [1, 2]}})


class TestInterrupt:
    @pytest.mark.parametrize("at", range(5))
    def test_what_is_finished_is_saved_and_it_goes_on(self, tmp_path, at):
        expected = outcome(search(ddp(), ChainEvaluator()))
        listener = Listener()
        with pytest.raises(KeyboardInterrupt):
            search(ddp(), Interrupting(at=at), run_dir=tmp_path, callbacks=[listener])
        assert listener.said == [
            f"Interrupted: {at} of 5 trials are saved in `{tmp_path}`. Run the same command again to go on."
        ]
        resumed = Listener()
        assert outcome(search(ddp(), ChainEvaluator(), run_dir=tmp_path, callbacks=[resumed])) == expected
        assert resumed.events[0][:3] == ("start", 5, at)
        assert [e[1] for e in resumed.events if e[0] == "trial"] == list(range(at, 5))

    def test_between_journal_and_checkpoint(self, tmp_path, monkeypatch):
        expected = outcome(search(ddp(), ChainEvaluator()))
        real = checkpoints.publish

        def interrupted(root, trial, *rest):
            if trial == 3:
                raise KeyboardInterrupt
            return real(root, trial, *rest)

        monkeypatch.setattr(checkpoints, "publish", interrupted)
        listener = Listener()
        with pytest.raises(KeyboardInterrupt):
            search(ddp(), ChainEvaluator(), run_dir=tmp_path, callbacks=[listener])
        assert listener.said[0].startswith("Interrupted: 3 of 5 trials are saved")
        monkeypatch.undo()
        assert outcome(search(ddp(), ChainEvaluator(), run_dir=tmp_path, callbacks=[listener])) == expected

    def test_in_memory_nothing_is_saved(self):
        listener = Listener()
        with pytest.raises(KeyboardInterrupt):
            search(ddp(), Interrupting(at=2), callbacks=[listener])
        assert listener.said == ["Interrupted: 2 of 5 trials were done; none are saved."]


class TestCallbacks:
    def test_hear_everything_in_order(self):
        listener = Listener()
        result = search(RandomSearcher(SPACE, num_trials=2), ChainEvaluator(), callbacks=[listener])
        first, second = (r.score for r in result.history)
        assert listener.events == [
            ("start", 2, 0, None),
            ("trial", 0),
            ("end", 0, 1, 2, first),
            ("trial", 1),
            ("end", 1, 2, 2, max(first, second)),
            ("over", 2),
        ]

    def test_without_any_messages_are_logged(self, tmp_path, caplog):
        with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
            search(ddp(), Interrupting(at=1), run_dir=tmp_path)
        assert "Interrupted: 1 of 5 trials are saved" in caplog.text

    def test_an_error_in_one_leaves_the_folder_free_and_the_trial_saved(self, tmp_path):
        class Broken(SearchCallback):
            def on_trial_end(self, result, done, total, best):
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            search(ddp(), ChainEvaluator(), run_dir=tmp_path, callbacks=[Broken()])
        listener = Listener()
        search(ddp(), ChainEvaluator(), run_dir=tmp_path, callbacks=[listener])
        assert listener.events[0][:3] == ("start", 5, 1)


class Ranks:
    """Processes of one search, as threads. One that waits in vain fails instead of hanging."""

    def __init__(self, number):
        self.number = number
        self.barrier = threading.Barrier(number, timeout=20)
        self.slot = None

    def run(self, function):
        """What each rank returned or raised."""
        outcomes = [None] * self.number

        def one(rank):
            try:
                outcomes[rank] = function(rank)
            except Exception as error:
                outcomes[rank] = error

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outcomes


class RankedEvaluator(ChainEvaluator):
    def __init__(self, ranks, rank):
        super().__init__()
        self.ranks, self.rank = ranks, rank
        self.loaded_from = None

    @property
    def is_main_process(self):
        return self.rank == 0

    def broadcast(self, value):
        if self.is_main_process:
            # As through a network: a copy, of plain data only.
            self.ranks.slot = json.dumps(value, allow_nan=False)
        self.ranks.barrier.wait()
        received = json.loads(self.ranks.slot)
        self.ranks.barrier.wait()
        return received

    def save(self, folder):
        assert self.is_main_process
        super().save(folder)

    def load(self, folder):
        assert isinstance(folder, Path)
        self.loaded_from = folder.name
        super().load(folder)

    @property
    def config(self):
        return {"evaluator": "ChainEvaluator", "seed": 0}


class TestProcesses:
    def test_every_rank_has_the_same_result(self, tmp_path):
        ranks = Ranks(3)
        listeners = [Listener() for _ in range(3)]
        evaluators = [RankedEvaluator(ranks, rank) for rank in range(3)]

        def one(rank):
            # Another seed on the others shows that only the main process's searcher counts.
            return search(ddp(seed=rank), evaluators[rank], run_dir=tmp_path, callbacks=[listeners[rank]])

        results = ranks.run(one)
        expected = outcome(search(ddp(), ChainEvaluator()))
        assert [outcome(result) for result in results] == [expected] * 3
        assert len({evaluator.state for evaluator in evaluators}) == 1
        assert [len(listener.events) for listener in listeners] == [12, 0, 0]

    def test_every_rank_resumes_from_the_same_checkpoint(self, tmp_path):
        expected = outcome(search(ddp(), ChainEvaluator()))
        with pytest.raises(KeyboardInterrupt):
            search(ddp(), Interrupting(at=3), run_dir=tmp_path, callbacks=[Listener()])
        ranks = Ranks(2)
        evaluators = [RankedEvaluator(ranks, rank) for rank in range(2)]
        results = ranks.run(lambda rank: search(ddp(), evaluators[rank], run_dir=tmp_path))
        assert [outcome(result) for result in results] == [expected] * 2
        assert [evaluator.loaded_from for evaluator in evaluators] == ["000002", "000002"]

    def test_an_error_of_the_searcher_reaches_every_rank(self):
        class TooHigh(RankedEvaluator):
            def __call__(self, trials):
                for result in super().__call__(trials):
                    yield TrialResult(result.trial, 1.5)

        ranks = Ranks(2)
        errors = ranks.run(lambda rank: search(ddp(), TooHigh(ranks, rank)))
        assert [type(error) for error in errors] == [InvalidInputError] * 2
        assert str(errors[0]) == str(errors[1])

    def test_an_error_of_the_folder_reaches_every_rank(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            search(ddp(), Interrupting(at=3), run_dir=tmp_path, callbacks=[Listener()], config={"a": 1})
        ranks = Ranks(2)
        errors = ranks.run(lambda rank: search(ddp(), RankedEvaluator(ranks, rank), run_dir=tmp_path))
        assert [type(error) for error in errors] == [RunMismatchError] * 2

    def test_a_strange_error_on_the_main_process_ends_the_others_too(self):
        class Broken(SearchCallback):
            def on_trial_end(self, result, done, total, best):
                raise ZeroDivisionError("by zero")

        ranks = Ranks(2)
        first, second = ranks.run(lambda rank: search(ddp(), RankedEvaluator(ranks, rank), callbacks=[Broken()]))
        assert type(first) is ZeroDivisionError
        assert type(second) is SearchhubError
        assert str(second) == "The main process stopped with ZeroDivisionError: by zero"


def test_the_default_evaluator_is_one_process_without_state(tmp_path):
    class Half(Evaluator):
        def __call__(self, trials):
            return (TrialResult(trial, 0.5) for trial in trials)

    assert len(search(ddp(), Half(), run_dir=tmp_path).history) == 5
    assert search(ddp(), Half(), run_dir=tmp_path).best_trial.trial.number == 0
