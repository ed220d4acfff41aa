import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.generation import Limit
from searchhub.networks.network import Network
from searchhub.networks.saved_trainer import save_trainer
from searchhub.result import SearchResult
from searchhub.space import Architecture, Choice, Condition, SearchSpace
from searchhub.trial import Trial, TrialResult

from ..networks.tiny_run import tiny_trainer

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "shared_weights.py"


def script():
    spec = importlib.util.spec_from_file_location("shared_weights", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_agreement_is_of_orders_with_an_interval_around_it():
    agreement = script().agreement
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    assert agreement(x, np.exp(x), draws=50)["tau"] == 1.0
    assert agreement(x, -x, draws=50) == {"tau": -1.0, "low": -1.0, "high": -1.0}
    assert agreement(x, np.ones(40))["tau"] is None
    noisy = agreement(x, x + rng.normal(size=40), draws=500)
    assert 0 < noisy["low"] < noisy["tau"] < noisy["high"] < 1


def test_means_of_a_branch_are_of_its_networks_alone():
    condition = Condition("depth", (2,))
    space = SearchSpace("toy", (Choice("depth", (1, 2)), Choice("a", (0, 1), condition=condition)))
    chosen = [{"depth": 1}, {"depth": 2, "a": 0}, {"depth": 2, "a": 1}]
    networks = [Network(str(i), Architecture(c), (), published=False) for i, c in enumerate(chosen)]
    found = script().within_branches(space, networks, {"shared": np.array([0.1, 0.2, 0.4])})
    assert found == {
        "depth=1": {"networks": 1, "shared": 0.1, "shared_sd": None},
        "depth=2": {"networks": 2, "shared": 0.3, "shared_sd": 0.1414},
    }
    flat = SearchSpace("flat", (Choice("depth", (1, 2)),))
    assert script().within_branches(flat, networks[:1], {"shared": np.ones(1)}) == {}


def test_shares_of_branches_count_architectures_within_the_limit():
    condition = Condition("depth", (2,))
    space = SearchSpace("toy", (Choice("depth", (1, 2)), Choice("a", (0, 1, 2, 3), condition=condition)))
    # One architecture of depth 1 and three of depth 2 cost 96 to 100.
    cost = CostTable("macs", space, 0.0, (np.array([96.0, 96.0]), np.array([1.0, 2.0, 3.0, 9.0])))
    result = SearchResult(space, ()).with_costs(cost)
    found = script().evenly(result, Limit("macs", max=100), seed=0)
    assert set(found) == {"depth=1", "depth=2"}
    assert found["depth=1"] == pytest.approx(0.25, abs=0.06)
    assert found["depth=2"] == pytest.approx(0.75, abs=0.06)


def test_estimators_find_the_order_that_the_trials_show():
    space = SearchSpace("toy", (Choice("a", (0, 1, 2)), Choice("b", (0, 1, 2))))
    codes = np.array([(i, k) for i in range(3) for k in range(3)], dtype=np.uint8)
    scores = 0.5 + 0.1 * codes[:, 0] + 0.02 * codes[:, 1]
    history = tuple(
        TrialResult(Trial(i, space.decode(row)), float(score), {}, 0.0)
        for i, (row, score) in enumerate(zip(codes, scores, strict=True))
    )
    found = script().credited(SearchResult(space, history), codes)
    assert set(found) == {"mean", "regression", "pairs"}
    np.testing.assert_allclose(found["mean"], (scores + scores.mean()) / 2)
    for values in found.values():
        assert np.array_equal(np.argsort(values, kind="stable"), np.arange(9))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared_weights") / "run"
    trainer = tiny_trainer(folder)
    save_trainer(trainer)
    return trainer


def call(run, out, *options):
    # 121,248 and 125,472 are the multiply-adds within 5 % of this limit.
    script().main(
        [str(run.folder), "--max", "macs=125472", "--networks", "2", "--retrain=1", f"--output_dir={out}", *options]
    )


def test_networks_are_scored_on_shared_weights_and_trained_apart(run, tmp_path, capsys):
    out = tmp_path / "ranks"
    call(run, out)
    last = capsys.readouterr().out.splitlines()[-1]
    result = json.loads(last.removeprefix("RESULT "))
    assert result["retrained_sd"] >= 0
    assert set(result["with_test"]) == {"shared", *result["with_shared"]}
    assert json.loads((out / "seed1" / "baselines" / "macs-125.472K-even0.json").read_text())["identity"]["seed"] == 4
    files = sorted((out / "baselines").glob("*.json"))
    facts = [json.loads(file.read_text()) for file in files]
    assert result["networks"] == len(facts) == 2
    assert {f["costs"]["macs"] for f in facts} == {121248, 125472}
    assert result["test_mean"] == pytest.approx(np.mean([f["metrics"]["accuracy"] for f in facts]), abs=1e-4)
    assert not (run.folder / "baselines").exists()
    times = [file.stat().st_mtime_ns for file in files]
    call(run, out)
    assert capsys.readouterr().out.splitlines()[-1] == last
    assert [file.stat().st_mtime_ns for file in files] == times, "a second call trains nothing"


def test_without_training_only_shared_weights_are_looked_at(run, tmp_path, capsys):
    call(run, tmp_path / "ranks", "--epochs=0")
    result = json.loads(capsys.readouterr().out.splitlines()[-1].removeprefix("RESULT "))
    assert 0 <= result["generated"] <= 1
    assert result["shared_sd"] >= 0
    assert set(result["with_shared"]) == {"expectation", "mean", "regression", "pairs", "cost"}
    assert not {"with_test", "test_sd"} & set(result)
    assert not (tmp_path / "ranks").exists()


def test_the_runs_own_baselines_are_not_replaced(run):
    with pytest.raises(InvalidInputError, match="must not be the run's own folder"):
        call(run, run.folder)
