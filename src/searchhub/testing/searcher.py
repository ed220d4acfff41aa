"""What every searcher must keep to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from searchhub.errors import InvalidInputError
from searchhub.result import SearchResult
from searchhub.searchers.base import Searcher
from searchhub.trial import Trial, TrialResult

MakeSearcher = Callable[[int], Searcher]


class SearcherContract:
    """Tests of a searcher; a subclass has the fixture `make_searcher`, a function from a seed to a new searcher.

    The searches should be short: a hundred trials or fewer.
    """

    def score(self, trial: Trial) -> float:
        """A score in [0, 1] that depends on the architecture; override where the searcher wants another scale."""
        text = json.dumps(trial.architecture.to_dict())
        return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8

    def outcome(self, trial: Trial) -> TrialResult:
        """What comes of a trial; override where the searcher wants more than a score."""
        return TrialResult(trial, self.score(trial))

    def run(self, searcher: Searcher) -> Searcher:
        """Tell the searcher everything that it asks for."""
        while trials := searcher.ask():
            searcher.tell([self.outcome(trial) for trial in trials])
        return searcher

    def test_trials_are_numbered_in_order_and_as_many_as_announced(self, make_searcher: MakeSearcher) -> None:
        searcher = make_searcher(0)
        announced = searcher.num_trials
        self.run(searcher)
        assert [result.trial.number for result in searcher.history] == list(range(announced))
        assert searcher.num_trials == announced
        assert not searcher.ask()

    def test_rounds_never_run_back(self, make_searcher: MakeSearcher) -> None:
        rounds = [result.trial.round for result in self.run(make_searcher(0)).history]
        assert rounds == sorted(rounds)
        assert rounds[0] == 0

    def test_every_trial_is_of_the_space_and_of_the_budget(self, make_searcher: MakeSearcher) -> None:
        searcher = self.run(make_searcher(1))
        for result in searcher.history:
            row = searcher.space.encode(result.trial.architecture)
            assert searcher.space.decode(row) == result.trial.architecture
            assert result.trial.budget == searcher.budget_in(result.trial.round)

    def test_asking_again_asks_the_same(self, make_searcher: MakeSearcher) -> None:
        searcher = make_searcher(0)
        asked = searcher.ask()
        assert searcher.ask() == asked
        if len(asked) > 1:
            searcher.tell([self.outcome(asked[0])])
            assert searcher.ask() == asked[1:]

    def test_a_result_of_another_trial_is_refused(self, make_searcher: MakeSearcher) -> None:
        searcher = make_searcher(0)
        trial = searcher.ask()[0]
        stranger = Trial(trial.number + 1, trial.architecture, trial.budget, trial.round)
        with pytest.raises(InvalidInputError, match="in the order asked"):
            searcher.tell([self.outcome(stranger)])

    def test_the_same_seed_gives_the_same_result(self, make_searcher: MakeSearcher) -> None:
        first, second = (_json(self.run(make_searcher(5)).result().to_dict()) for _ in range(2))
        assert first == second

    def test_settings_and_result_are_plain_json(self, make_searcher: MakeSearcher) -> None:
        searcher = make_searcher(0)
        config = _json(searcher.config)
        self.run(searcher)
        assert _json(searcher.config) == config
        result = searcher.result().to_dict()
        assert SearchResult.from_dict(json.loads(_json(result))).to_dict() == json.loads(_json(result))

    def test_a_saved_state_goes_on_to_the_same_bits_from_every_trial(self, make_searcher: MakeSearcher) -> None:
        expected = self.run(make_searcher(7))
        searcher = make_searcher(7)
        # A relay: after every trial, and after every question, a new searcher takes over from plain JSON.
        while searcher.ask():
            searcher = self._handed_over(searcher, make_searcher)
            trial = searcher.ask()[0]
            searcher.tell([self.outcome(trial)])
            searcher = self._handed_over(searcher, make_searcher)
        assert _json(searcher.state_dict()) == _json(expected.state_dict())
        assert _json(searcher.result().to_dict()) == _json(expected.result().to_dict())

    @staticmethod
    def _handed_over(searcher: Searcher, make_searcher: MakeSearcher) -> Searcher:
        # Of the same seed, as in a resumed search, but its randomness used up differently.
        successor = make_searcher(searcher.seed)
        successor.rng.random(13)
        successor.load_state_dict(json.loads(_json(searcher.state_dict())))
        return successor


def _json(data: Any) -> str:
    return json.dumps(data, allow_nan=False, sort_keys=True)
