import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.effects import PredictedQuality
from searchhub.generation import Limit, generate
from searchhub.networks.network import Network
from searchhub.result import SearchResult
from searchhub.space import Choice, SearchSpace
from searchhub.trial import SCORED, SCORING, TrialResult
from searchhub.workflows.rescoring import load_evaluator, score_again

SPACE = SearchSpace("s", tuple(Choice(f"c{i}", (0, 1, 2)) for i in range(3)))
MACS = CostTable("macs", SPACE, 0.0, tuple(np.arange(3.0) for _ in SPACE.choices))


def networks():
    """Of largest predicted quality under two limits, of largest expectation, and a random one."""
    codes = SPACE.sample(27, np.random.default_rng(0))
    prediction = PredictedQuality.of_scores(SPACE, codes, 0.1 + 0.1 * codes.sum(axis=1))
    result = SearchResult(SPACE, (), ArchitectureDistribution.uniform(SPACE), prediction=prediction)
    found = {f"macs-{most}": generate(result, Limit(MACS, max=most)) for most in (2.0, 4.0)}
    found["expected"] = generate(result, objective="expectation")
    found["random"] = SPACE.decode(codes[0])
    return [Network(name, architecture) for name, architecture in found.items()]


@pytest.mark.parametrize(
    ("scores", "measured"),
    [((0.5, 0.25), (math.log(2), math.log(4))), pytest.param((0.0, 1.5), (None, None), id="no likelihoods")],
)
def test_what_was_predicted_is_scored_again(scores, measured):
    asked = []

    def evaluator(trials):
        asked.extend(trials)
        return iter([TrialResult(trial, score) for trial, score in zip(trials, scores, strict=True)])

    before = networks()
    after = score_again(before, evaluator, first=7)
    assert [(t.number, t.budget, t.round) for t in asked] == [(7, SCORED, SCORING), (8, SCORED, SCORING)]
    assert [t.architecture for t in asked] == [n.architecture for n in before[:2]]
    assert after == before  # architectures equal whatever is known of them
    assert tuple(n.architecture.certificate.measured for n in after[:2]) == measured
    for old, new in zip(before[:2], after[:2], strict=True):
        assert new.architecture.certificate.to_dict() == {
            **old.architecture.certificate.to_dict(),
            "measured": new.architecture.certificate.measured,
        }
    # Others are as they were.
    assert all(new is old for old, new in zip(before[2:], after[2:], strict=True))
    assert after[2].architecture.certificate.measured is None


def test_without_an_evaluator_or_a_prediction_nothing_is_scored():
    found = networks()
    assert score_again(found, None) == found
    assert score_again(found[2:], lambda trials: pytest.fail("asked")) == found[2:]


@pytest.mark.parametrize("saved", [None, {}, {"scoring": None}, {"scoring": {"score": "package.module:mine"}}])
def test_runs_that_do_not_say_how_they_scored_have_no_evaluator(tmp_path, saved):
    if saved is not None:
        (tmp_path / "training.json").write_text(json.dumps(saved))
    assert load_evaluator(SimpleNamespace(folder=tmp_path)) is None
