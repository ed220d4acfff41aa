import json

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.result import SearchResult
from searchhub.search import search
from searchhub.searchers.ddp import DDPSearcher
from searchhub.searchers.random import RandomSearcher
from searchhub.space import Choice, Condition, SearchSpace
from searchhub.testing import ChainEvaluator

SPACE = SearchSpace("s", (Choice("a", ("x", "y", "z")), Choice("b", (0.5, 1.0), condition=Condition("a", ("x", "y")))))
MACS = CostTable("macs", SPACE, 10.0, (np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2])), "multiply-adds")


@pytest.fixture
def result():
    return search(DDPSearcher(SPACE, estimation_epochs=1), ChainEvaluator())


def test_a_file_gives_the_same_result(result, tmp_path):
    result.with_costs(MACS).save(tmp_path / "result.json")
    read = SearchResult.load(tmp_path)
    assert read.to_dict() == result.with_costs(MACS).to_dict()
    assert read.space == SPACE
    assert read.distribution == result.distribution
    assert read.trajectory == result.trajectory
    assert read.history == result.history
    assert read.costs["macs"]({"a": "y", "b": 1.0}) == 12.2
    assert SearchResult.load(tmp_path / "result.json").to_dict() == read.to_dict()


def test_a_result_without_theta(tmp_path):
    result = search(RandomSearcher(SPACE, num_trials=5), ChainEvaluator())
    result.save(tmp_path / "result.json")
    assert SearchResult.load(tmp_path).distribution is None


def test_the_best_trial_is_the_one_with_the_largest_score(result):
    assert result.best_trial.score == max(r.score for r in result.history)
    with pytest.raises(InvalidInputError, match="at least one trial"):
        _ = SearchResult(SPACE, ()).best_trial


class TestUnreadable:
    def test_no_file(self, tmp_path):
        with pytest.raises(InvalidInputError, match=r"must hold a result.json. Finish the search first"):
            SearchResult.load(tmp_path)

    @pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"format_version": 1}', '"\\ud800"'])
    def test_no_result(self, tmp_path, text):
        (tmp_path / "result.json").write_text(text)
        with pytest.raises(InvalidInputError, match=r"is not a search result of searchhub|format version"):
            SearchResult.load(tmp_path)

    def test_no_text(self, tmp_path):
        (tmp_path / "result.json").write_bytes(b'{"format_version": 1, "space": "\xff"}')
        with pytest.raises(InvalidInputError, match="is not a search result of searchhub"):
            SearchResult.load(tmp_path)

    def test_every_flipped_key_is_noticed(self, tmp_path, result):
        # Whatever structure is broken, the error is ours and names the file.
        whole = result.to_dict()
        for key in whole:
            broken = {**whole, key: 7}
            (tmp_path / "result.json").write_text(json.dumps(broken))
            if key == "searcher":  # Settings are anybody's.
                continue
            with pytest.raises(InvalidInputError, match=r"result\.json|format version"):
                SearchResult.load(tmp_path)

    def test_another_format(self, tmp_path, result):
        (tmp_path / "result.json").write_text(json.dumps({**result.to_dict(), "format_version": 2}))
        with pytest.raises(InvalidInputError, match=r"format version 1, but has 2. Read it with the searchhub"):
            SearchResult.load(tmp_path)
