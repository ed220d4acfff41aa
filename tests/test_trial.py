import json

import pytest

from searchhub.errors import InvalidInputError
from searchhub.space import Architecture
from searchhub.trial import SCORED, SCORING, WARMUP, Budget, Trial, TrialResult, most_trained

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


def test_scores_on_shared_weights_compare_where_these_had_taken_as_many_steps():
    def result(number, step, budget=Budget(), round=0):
        return TrialResult(Trial(number, TRIAL.architecture, budget, round), 0.5, weights_step=step)

    # However large its budget, a trial of earlier weights is no match; what only warmed them up is none either.
    results = [result(0, 10, Budget(9)), result(1, 20), result(2, 20), result(3, 90, round=WARMUP)]
    assert [r.trial.number for r in most_trained(results)] == [1, 2]
    scored = [result(4, 20, SCORED, SCORING), result(5, None, Budget(9))]
    assert [r.trial.number for r in most_trained(results + scored)] == [1, 2, 4]
    # Where each trial trains its own path, what is scored afterwards compares with itself alone.
    assert [r.trial.number for r in most_trained([result(0, None), result(1, 8, SCORED, SCORING)])] == [1]


def test_the_step_of_the_weights_is_written_where_there_is_one():
    without, known = (TrialResult(TRIAL, 0.5, weights_step=step) for step in (None, 0))
    assert "weights_step" not in without.to_dict()
    assert known.to_dict()["weights_step"] == 0
    for result in (without, known):
        assert TrialResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_a_budget_may_be_none_at_all():
    assert Budget(**json.loads(json.dumps(SCORED.to_dict()))) == SCORED
    assert SCORED.size < Budget(1, max_steps=1).size


@pytest.mark.parametrize("share", [0.0, 1.1, -1.0, float("nan")])
def test_a_share_of_data_is_one(share):
    with pytest.raises(InvalidInputError, match="`data_share` of a budget must be in"):
        Budget(data_share=share)


@pytest.mark.parametrize("arguments", [{"epochs": -1}, {"max_steps": 0}])
def test_a_budget_has_no_negative_length(arguments):
    with pytest.raises(InvalidInputError, match="`epochs >= 0` and `max_steps >= 1`"):
        Budget(**arguments)
