import json

import pytest

from searchhub.errors import InvalidInputError
from searchhub.space import Architecture
from searchhub.trial import Budget, Trial, TrialResult, most_trained

TRIAL = Trial(7, Architecture({"layer.0": "conv3", "layer.1": 0.25, "layer.2": 3}), Budget(2, max_steps=40), round=1)


def test_json_gives_the_same_trial():
    assert Trial.from_dict(json.loads(json.dumps(TRIAL.to_dict()))) == TRIAL


def test_json_gives_the_same_result_to_the_bit():
    result = TrialResult(TRIAL, 0.1 + 0.2, {"loss": 1 / 3}, seconds=1.5)
    read = TrialResult.from_dict(json.loads(json.dumps(result.to_dict())))
    assert read == result
    assert read.score.hex() == (0.1 + 0.2).hex()


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_a_score_is_finite(score):
    with pytest.raises(InvalidInputError, match="must be a finite number, but trial 7 has"):
        TrialResult(TRIAL, score)


def test_json_gives_features_and_shares_of_data():
    trial = Trial(0, TRIAL.architecture, Budget(3, data_share=0.1))
    result = TrialResult(trial, 0.5, features=((1.0, 1 / 3), (1.0, -0.25)))
    assert TrialResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_what_was_written_before_there_were_features_and_shares_is_read():
    data = TrialResult(TRIAL, 0.5).to_dict()
    assert "features" not in data
    assert data["budget"] == {"epochs": 2, "max_steps": 40}
    read = TrialResult.from_dict(data)
    assert read.features is None
    assert read.trial.budget.data_share == 1


def test_features_are_finite():
    with pytest.raises(InvalidInputError, match="trial 7 has inf at layer 1, epoch 2"):
        TrialResult(TRIAL, 0.5, features=((1.0, 0.5), (1.0, float("inf"))))


def test_only_results_of_the_largest_budget_compare():
    budgets = [Budget(20, data_share=0.1), Budget(3), Budget(3), Budget(1), Budget(3, max_steps=5)]
    results = [TrialResult(Trial(i, TRIAL.architecture, budget), 0.5) for i, budget in enumerate(budgets)]
    assert [r.trial.number for r in most_trained(results)] == [1, 2]
    assert most_trained(results[3:4]) == results[3:4]
    assert most_trained([]) == []


@pytest.mark.parametrize("share", [0.0, 1.1, -1.0, float("nan")])
def test_a_share_of_data_is_one(share):
    with pytest.raises(InvalidInputError, match="`data_share` of a budget must be in"):
        Budget(data_share=share)


@pytest.mark.parametrize("arguments", [{"epochs": -1}, {"max_steps": 0}])
def test_a_budget_has_no_negative_length(arguments):
    with pytest.raises(InvalidInputError, match="`epochs >= 0` and `max_steps >= 1`"):
        Budget(**arguments)
