import json
import os
from dataclasses import replace

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.effects import PredictedQuality
from searchhub.errors import InvalidInputError, RunFolderError
from searchhub.generation import Limit, generate, pareto
from searchhub.hub.search_folder import result_card
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


def test_a_file_keeps_the_prediction_to_the_bit(result, tmp_path):
    assert "prediction" not in result.to_dict()  # so that files written before, and by searches without, are alike
    predicted = replace(result, prediction=PredictedQuality.fit(SPACE, result.history))
    predicted.save(tmp_path / "result.json")
    read = SearchResult.load(tmp_path)
    assert read.prediction == predicted.prediction
    assert read.to_dict() == predicted.to_dict()
    result.save(tmp_path / "result.json")
    assert SearchResult.load(tmp_path).prediction is None


def test_what_is_maximised_by_default(result):
    prediction = PredictedQuality.fit(SPACE, result.history)
    predicted, without = replace(result, prediction=prediction), replace(result, distribution=None)
    assert [r.objective for r in (result, predicted, without)] == ["expectation", "predicted quality", "score"]
    assert f"predicted quality: from {len(result.history)} scores" in result_card(predicted)
    assert "- θ: none\n" in result_card(replace(predicted, distribution=None))
    assert "- θ: none, the best evaluated is generated\n" in result_card(without)


def test_a_result_without_theta(tmp_path):
    result = search(RandomSearcher(SPACE, num_trials=5), ChainEvaluator())
    result.save(tmp_path / "result.json")
    assert SearchResult.load(tmp_path).distribution is None


def test_the_best_trial_is_the_one_with_the_largest_score(result):
    assert result.best_trial.score == max(r.score for r in result.history)
    with pytest.raises(InvalidInputError, match="at least one trial"):
        _ = SearchResult(SPACE, ()).best_trial


def test_methods_are_the_functions_of_their_names(result):
    result = result.with_costs(MACS)
    limit = Limit("macs", max=12.15)
    assert result.generate(limit) == generate(result, limit)
    assert result.generate(limit).certificate == generate(result, limit).certificate
    survivor = result.generate(candidates="survivors")
    assert survivor == generate(result, candidates="survivors")
    front = result.pareto("macs")
    assert [(a, a.certificate) for a in front] == [(a, a.certificate) for a in pareto(result, "macs")]
    assert result.pareto(MACS, candidates="survivors") == pareto(result, MACS, candidates="survivors")


def test_a_folder_gives_the_same_result(result, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.jsonl").write_text("{}")
    for found in (result, result.with_costs(MACS)):
        found.save_pretrained(tmp_path / "run")
        assert SearchResult.from_pretrained(tmp_path / "run").to_dict() == found.to_dict()
        assert (tmp_path / "run" / "README.md").read_text() == result_card(found)
    assert sorted(os.listdir(tmp_path / "run")) == ["README.md", "journal.jsonl", "result.json"]


def test_the_card_of_a_model_is_not_replaced_by_that_of_a_result(result, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InvalidInputError, match=r"must not be the folder of a model .* has a config\.json"):
        result.save_pretrained(tmp_path)
    assert os.listdir(tmp_path) == ["config.json"]


def test_a_folder_that_cannot_be_written(result, tmp_path):
    result.save_pretrained(tmp_path)
    before = (tmp_path / "result.json").read_bytes()
    broken = replace(result, searcher={"score": float("nan")})  # JSON has none
    with pytest.raises(ValueError, match="JSON"):
        broken.save_pretrained(tmp_path)
    assert (tmp_path / "result.json").read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="must be writable"):
        result.save_pretrained(tmp_path / "file" / "result")


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
