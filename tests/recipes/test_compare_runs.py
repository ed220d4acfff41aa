import json
import runpy

import pytest

from searchhub.errors import InvalidInputError
from searchhub.hub.contents import FACTS

from .harness import RECIPES

COMPARE = runpy.run_path(str(RECIPES / "compare_runs.py"))["main"]


def write(file, name, accuracy, seed, maximum=100.0, start=None, epochs=None, **task):
    limits = [{"cost": "macs", "max": maximum, "min": None, "equal": None}] if maximum else []
    identity = {"architecture": {"a": "x"}, "seed": seed, "inherited": start}
    identity |= {} if epochs is None else {"training": {"epochs": epochs}}
    facts = {"name": name, "identity": identity, "limits": limits, "task": task}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**facts, "costs": {"macs": 99.0}, "metrics": {"accuracy": accuracy}}))


def write_run(run, own, seed=0, searcher="DDPSearcher", maximum=100.0, original=None, **more):
    """A finished run with one network."""
    write(run / "models" / f"macs-{maximum}" / FACTS, f"macs-{maximum}", own, seed, maximum, **more)
    (run / "result.json").write_text(json.dumps({"searcher": {"searcher": searcher}}))
    if original is not None:
        (run / "original").mkdir(exist_ok=True)
        (run / "original" / "original.json").write_text(json.dumps({"metrics": {"accuracy": original}}))
    return run


@pytest.fixture
def runs(tmp_path):
    """Two seeds of DDPNAS with baselines, and one of them without pruning; all networks trained from scratch."""
    for seed, own, beside in ((0, 0.9, (0.8, 0.84)), (1, 0.8, (0.8, 0.82))):
        run = tmp_path / f"ddp{seed}"
        write(run / "models" / "macs-100" / FACTS, "macs-100", own, seed)
        for i, accuracy in enumerate(beside):
            write(run / "baselines" / f"macs-100-random{i}.json", f"macs-100-random{i}", accuracy, seed)
        write(run / "baselines" / "macs-100-uniform.json", "macs-100-uniform", 0.7, seed)
        write(run / "baselines" / "largest.json", "largest", 1.0, seed, maximum=None)
        (run / "config.yaml").write_text("searcher: {searcher: DDPSearcher}\n")
    other = tmp_path / "noprune0"
    write(other / "models" / "macs-100" / FACTS, "macs-100", 0.95, 0)
    (other / "config.yaml").write_text("searcher: {searcher: DDPSearcher, prune: false}\n")
    return [str(path) for path in sorted(tmp_path.iterdir())]


@pytest.fixture
def compared(capsys):
    """What is said of some runs, and the result."""

    def compare(*runs):
        COMPARE([str(run) for run in runs])
        said = capsys.readouterr().out
        return said, json.loads(said.splitlines()[-1].removeprefix("RESULT "))

    return compare


def test_searchers_are_paired_with_baselines_of_their_limit_and_seed(runs, compared):
    said, result = compared(*runs)
    result = result[""]["macs <= 100"]
    assert result["DDPSearcher"] == {
        "DDPSearcher without pruning": {"difference": -0.05, "standard_error": None, "seeds": 1, "share": 0.9474},
        "random": {"difference": 0.035, "standard_error": 0.045, "seeds": 2, "share": 1.0429},
        "uniform": {"difference": 0.15, "standard_error": 0.05, "seeds": 2, "share": 1.2143},
        "largest": {"difference": -0.15, "standard_error": 0.05, "seeds": 2, "share": 0.85},
    }
    assert result["DDPSearcher without pruning"]["uniform"]["difference"] == 0.25
    assert "| macs <= 100 | 0 | 0.9000 | 0.9500 | 0.8200 ± 0.0283 (n=2) | 0.7000 | 1.0000 |" in said
    assert "| DDPSearcher | random | +0.0350 | 0.0450 | 2 | 104.3% |" in said


def test_limits_of_one_seed_are_no_pairs(tmp_path, compared):
    """Two limits on one search are not twice as much evidence."""
    run = write_run(tmp_path / "a", 0.9)
    write_run(run, 0.7, maximum=50.0)
    for maximum in (100.0, 50.0):
        name = f"macs-{maximum}-random0"
        write(run / "baselines" / f"{name}.json", name, 0.6, 0, maximum)
    said, result = compared(run)
    found = {limit: of["DDPSearcher"]["random"] for limit, of in result[""].items()}
    assert {limit: (of["difference"], of["standard_error"], of["seeds"]) for limit, of in found.items()} == {
        "macs <= 50": (0.1, None, 1),
        "macs <= 100": (0.3, None, 1),
    }
    assert "\nmacs <= 50:\n" in said


def test_a_run_without_a_search_and_the_original_of_all(tmp_path, compared):
    """Nothing is frozen where nobody searches."""
    searched = write_run(tmp_path / "ddp", 0.8, original=0.9, start="a")
    write(searched / "baselines" / "macs-100-uniform.json", "macs-100-uniform", 0.6, 0, start="a")
    uniform = write_run(tmp_path / "uniform", 0.7, searcher="uniform", original=0.9, start="o")
    said, result = compared(searched, uniform)
    found = result[""]["macs <= 100"]
    assert {other: of["difference"] for other, of in found["DDPSearcher"].items()} == {
        "uniform": 0.1,
        "uniform beside DDPSearcher": 0.2,
        "original": -0.1,
    }
    assert found["uniform"]["original"]["share"] == 0.7778
    assert "| macs <= 100 | 0 | 0.8000 | 0.7000 | 0.6000 | 0.9000 |" in said


def test_networks_that_started_from_other_weights_are_not_pooled(tmp_path, compared):
    for name, own, beside in (("A", 0.9, 0.8), ("B", 0.7, 0.4)):
        run = write_run(tmp_path / name, own, searcher=name, start=f"weights of {name}")
        file = run / "baselines" / "macs-100-random0.json"
        write(file, "macs-100-random0", beside, 0, start=f"weights of {name}")
    _, result = compared(tmp_path / "A", tmp_path / "B")
    differences = {other: of["difference"] for other, of in result[""]["macs <= 100"]["A"].items()}
    assert differences == {"B": 0.2, "random beside A": 0.1, "random beside B": 0.5}
    for name, own, beside in (("A", 0.9, 0.8), ("B", 0.7, 0.4)):  # the same, from the same weights
        run = write_run(tmp_path / "alike" / name, own, searcher=name, start="o")
        write(run / "baselines" / "macs-100-random0.json", "macs-100-random0", beside, 0, start="o")
    _, result = compared(tmp_path / "alike" / "A", tmp_path / "alike" / "B")
    assert result[""]["macs <= 100"]["A"]["random"]["difference"] == 0.3


def test_networks_of_other_training_are_marked_and_never_pooled(tmp_path, compared):
    for name, own, beside, epochs in (("A", 0.9, 0.8, 30), ("B", 0.7, 0.4, 15)):
        run = write_run(tmp_path / name, own, searcher=name, epochs=epochs)
        write(run / "baselines" / "macs-100-random0.json", "macs-100-random0", beside, 0, epochs=epochs)
    runs = tmp_path / "A", tmp_path / "B"
    said, result = compared(*runs)
    found = {
        one: {other: of["difference"] for other, of in others.items()}
        for one, others in result[""]["macs <= 100"].items()
    }
    assert found == {
        "A (epochs 30)": {"random (epochs 30)": 0.1},
        "B (epochs 15)": {"random (epochs 15)": 0.3},
    }
    assert "Not compared, since trained otherwise: A (epochs 30) and B (epochs 15); A (epochs 30) and random (" in said
    assert "| 0.9000 | 0.7000 | 0.4000 | 0.8000 |" in said
    _, result = compared(*runs, "--trained_otherwise")
    assert result[""]["macs <= 100"]["A (epochs 30)"]["B (epochs 15)"]["difference"] == 0.2
    # Two trainings in one run's folder are no two runs of one training.
    more = tmp_path / "A" / "models" / "macs-100.2" / FACTS
    write(more, "macs-100.2", 0.95, 0, epochs=60)
    _, result = compared(tmp_path / "A")
    assert set(result[""]["macs <= 100"]) == {"A (epochs 30)"}


def test_a_network_that_serves_two_limits_stands_in_both_rows(tmp_path, compared):
    run = write_run(tmp_path / "a", 0.9)
    file = run / "models" / "macs-100.0" / FACTS
    more = {"also_limits": [[{"cost": "macs", "max": 200.0, "min": None, "equal": None}]]}
    file.write_text(json.dumps({**json.loads(file.read_text()), **more}))
    write(run / "baselines" / "macs-200-random0.json", "macs-200-random0", 0.6, 0, 200.0)
    said, result = compared(run)
    assert result[""]["macs <= 200"]["DDPSearcher"]["random"]["difference"] == 0.3
    assert "| macs <= 100 | 0 | 0.9000 |" in said


def test_tasks_stand_apart(tmp_path, compared):
    runs = [
        write_run(tmp_path / "a", 0.9, seed=0, original=0.8, task_name="sst2", data_dir="x"),
        write_run(tmp_path / "b", 0.5, seed=1, original=0.6, task_name="mnli", data_dir="y"),
    ]
    said, result = compared(*runs)
    assert {task: of["macs <= 100"]["DDPSearcher"]["original"]["difference"] for task, of in result.items()} == {
        "sst2": 0.1,
        "mnli": -0.1,
    }
    assert "## sst2: accuracy\n" in said
    assert "## mnli: accuracy\n" in said


def test_runs_of_one_searcher_are_told_apart_by_their_settings(tmp_path, compared):
    for name, own, more in (("mean", 0.8, {}), ("regression", 0.9, {"warmup_trials": 3})):
        run = write_run(tmp_path / name, own)
        settings = {"searcher": "DDPSearcher", "seed": own, "estimator": name, "momentum": 0.8, **more}
        (run / "result.json").write_text(json.dumps({"searcher": settings}))
        (run / "training.json").write_text(
            json.dumps({"start": "weights of a", "epochs": 1, "training": {"batch_size": 8}})
        )
    _, result = compared(tmp_path / "mean", tmp_path / "regression")
    regression, mean = "DDPSearcher (estimator regression, warmup_trials 3)", "DDPSearcher (estimator mean)"
    assert result[""]["macs <= 100"][regression][mean]["difference"] == 0.1
    (tmp_path / "regression" / "result.json").write_text((tmp_path / "mean" / "result.json").read_text())
    data = {
        "start": "weights of b",
        "epochs": 2,
        "training": {"batch_size": 9},
        "search_settings": {"training": {"x": 1}},
    }
    (tmp_path / "regression" / "training.json").write_text(json.dumps(data))
    _, result = compared(tmp_path / "mean", tmp_path / "regression")
    assert set(result[""]["macs <= 100"]) == {
        "DDPSearcher (final batch_size 8, final epochs 1, start from a)",
        "DDPSearcher (final batch_size 9, final epochs 2, search x 1, start from b)",
    }


def test_what_cannot_be_set_side_by_side(tmp_path, compared):
    one = write_run(tmp_path / "one", 0.9, task_name="sst2", max_train_samples=None, data_dir="a")
    other = write_run(tmp_path / "other", 0.9, seed=1, task_name="sst2", max_train_samples=99, data_dir="b")
    with pytest.raises(
        InvalidInputError, match=r"must have the same data .*one` and .*other` differ in `max_train_sam"
    ):
        compared(one, other)
    again = write_run(tmp_path / "again", 0.8, task_name="sst2", max_train_samples=None, data_dir="b")
    with pytest.raises(InvalidInputError, match=r"one run of a searcher, limit and seed, .*again` and `.*one`. Leave"):
        compared(one, again)


def test_the_metric_is_what_the_searches_were_scored_by(tmp_path, compared):
    run = write_run(tmp_path / "ddp", 0.9, task_name="mrpc")
    facts = run / "models" / "macs-100.0" / FACTS
    several = {**json.loads(facts.read_text()), "metrics": {"accuracy": 0.9, "combined_score": 0.8, "f1": 0.7}}
    facts.write_text(json.dumps(several))
    with pytest.raises(InvalidInputError, match=r"`--metric` must name one of \['accuracy', 'combined_score', 'f1'\]"):
        compared(run)
    (run / "config.yaml").write_text("evaluator: {task: {name: mrpc, metric: combined_score}}\n")
    said, _ = compared(run)
    assert "## mrpc: combined_score" in said
    assert "0.8000" in said
    said, _ = compared(run, "--metric", "f1")
    assert "## mrpc: f1" in said
    assert "0.7000" in said


def test_what_is_compared_must_be_there(runs, tmp_path):
    with pytest.raises(InvalidInputError, match=r"`--metric` must be one of \['accuracy'\]"):
        COMPARE([*runs, "--metric", "f1"])
    with pytest.raises(InvalidInputError, match=r"must be a run folder with its result.json or config.yaml"):
        COMPARE([str(tmp_path / "nowhere")])
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text("searcher: {searcher: DDPSearcher}\n")
    with pytest.raises(InvalidInputError, match=r"begun` \(DDPSearcher\) must hold networks that it trained"):
        COMPARE([*runs, str(tmp_path / "begun")])


def test_a_damaged_configuration_is_named(tmp_path, compared):
    run = write_run(tmp_path / "ddp", 0.9)
    (run / "config.yaml").write_text("evaluator: [unclosed\n")
    with pytest.raises(InvalidInputError, match=r"config.yaml` must be a run's configuration"):
        compared(run)
