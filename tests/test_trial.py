import json

import pytest

from searchhub.errors import InvalidInputError
from searchhub.space import Architecture
from searchhub.trial import Budget, Trial, TrialResult

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


@pytest.mark.parametrize("arguments", [{"epochs": 0}, {"max_steps": 0}])
def test_a_budget_trains(arguments):
    with pytest.raises(InvalidInputError, match="`epochs >= 1` and `max_steps >= 1`"):
        Budget(**arguments)
