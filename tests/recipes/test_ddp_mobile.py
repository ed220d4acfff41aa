"""The recipe from end to end at its smallest. One run is started as a user does; the others are forked from a process
that has imported torch and transformers, which takes longer than they do."""

import json
import os
import re
import shutil
import signal
import time

import pytest
import yaml

from searchhub.generation import Limit
from searchhub.networks.network import read_facts
from searchhub.result import SearchResult

from .harness import (
    RECIPES,
    Run,
    content,
    made_once,
    outcome,
    run_said,
    started_by_a_user,
    trials_done,
    two_processes,
    words,
)

RECIPE = RECIPES / "ddp_mobile.py"
SMALLEST = {
    "max_train_samples": 128,
    "max_eval_samples": 64,
    "stage_depths": [1, 1, 1],
    "kernel_sizes": [3, 5],
    "epochs": 1,
    "steps_per_trial": 1,
    "estimation_epochs": 1,
    "scored": 4,
    "random_networks": 1,
    "max": ["macs=300K"],
}
WORDS = words(SMALLEST)
SCORED = SMALLEST["scored"]
TRIALS = 4 + 3 + 2  # a trial a candidate and round
MODEL_FILES = {
    "README.md",
    "architecture.png",
    "config.json",
    "configuration_mobile.py",
    "model.safetensors",
    "modeling_mobile.py",
    "preprocessor_config.json",
    "searchhub.json",
}


# -- running it -------------------------------------------------------------------------------------------------------


def run(context, folder, *argv, **options):
    return Run(context, RECIPE, folder, *WORDS, *argv, **options)


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory):
    """A finished run, and what it said."""

    def start(root):
        (root / "settings.yaml").write_text(yaml.safe_dump({**SMALLEST, "epochs": 5, "output_dir": "elsewhere"}))
        argv = [f"--config={root / 'settings.yaml'}", f"--output_dir={root / 'run'}", "--epochs", "1"]
        return started_by_a_user([RECIPE, *argv], root)

    root, said = made_once(tmp_path_factory, "ddp_mobile", start)
    assert not (root / "elsewhere").exists()
    return root / "run", said


@pytest.fixture
def finished(finished_once, tmp_path):
    """A copy of the finished run, to go on with."""
    shutil.copytree(finished_once[0], tmp_path / "run")
    return tmp_path / "run"


# -- from end to end --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_search_becomes_networks(finished_once):
    folder, said = finished_once
    assert "Processes: 1 on cpu, 1 threads each" in said
    assert "Data: digits: 128 train, 64 validation, 64 test pictures of 8 x 8, 10 classes" in said
    assert "Space: 3 layers, 64 architectures" in said
    assert f"search: {TRIALS}/{TRIALS} done" in said
    assert f"score architectures: {SCORED}/{SCORED} done" in said
    assert "train 4 networks: 4/4 done" in said

    names = {"macs-300K"}
    assert {path.name for path in (folder / "models").iterdir()} == names
    assert {path.name for path in (folder / "baselines").iterdir()} == {
        "macs-300K-random0.json",
        "macs-300K-random_at_cost0.json",
        "largest.json",
    }
    model = folder / "models" / "macs-300K"
    assert {path.name for path in model.iterdir()} == MODEL_FILES
    facts = read_facts(model)
    assert facts["costs"]["macs"] <= 300_000
    assert (facts["epochs"], facts["examples"], facts["split"]) == (1, 64, "test")

    # Reloaded and measured in a fresh process, and found as good as on its card.
    measured = json.loads(re.search(r"^\{.*\}$", said, re.MULTILINE)[0])
    assert measured["model"] == "macs-300K"
    assert measured["accuracy"] == pytest.approx(facts["metrics"]["accuracy"], abs=1.5 / 64)

    table = (folder / "report" / "networks.md").read_text()
    baseline, at_cost = (
        json.loads((folder / "baselines" / f"macs-300K-{name}.json").read_text())
        for name in ("random0", "random_at_cost0")
    )
    row = f"| macs <= 300,000 | {facts['costs']['macs']:,.0f} | {facts['costs']['params']:,.0f} "
    row += "".join(
        f"| {of['metrics']['accuracy']:.4f}{n} " for of, n in ((facts, ""), (baseline, " (n=1)"), (at_cost, " (n=1)"))
    )
    assert f"{row}|" in table
    assert 0.95 * facts["costs"]["macs"] < at_cost["costs"]["macs"] <= facts["costs"]["macs"]
    assert 0.95 * 300_000 < baseline["costs"]["macs"] <= 300_000
    assert "none: the largest" in table
    for line in table.splitlines()[2:]:
        assert not line.startswith("|") or line.split("|")[1].strip() in said
    assert (folder / "report" / "theta.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "report" / "pareto_macs.png").read_bytes().startswith(b"\x89PNG")

    result = SearchResult.load(folder)
    assert len(result.history) == TRIALS + SCORED == trials_done(folder)
    assert set(result.costs) == {"macs", "params"}
    assert not list(folder.rglob("*.pt")) + list(folder.rglob("*.bin")) + list(folder.rglob("*.pkl"))


@pytest.mark.slow
def test_again_nothing_is_done_again(finished, context):
    before = content(finished / "models", finished / "baselines", finished / "checkpoints")
    result = (finished / "result.json").read_bytes()
    code, said = run(context, finished).end()
    assert code == 0, said
    assert f"search: {TRIALS} to do, {TRIALS} of them done before" in said
    assert content(finished / "models", finished / "baselines", finished / "checkpoints") == before
    assert (finished / "result.json").read_bytes() == result
    assert "macs <= 300,000" in said


@pytest.mark.slow
def test_another_limit_trains_only_what_is_new(finished, context):
    before = content(finished / "models", finished / "baselines")
    result = (finished / "result.json").read_bytes()
    code, said = run(context, finished, "--max", "macs=240K", "macs=300K", "params=16K").end()
    assert code == 0, said
    after = content(finished / "models", finished / "baselines")
    assert before.items() <= after.items()
    new = {path.relative_to(finished).parts[:2] for path in set(after) - set(before)}
    assert new == {
        ("models", "macs-240K"),
        ("baselines", "macs-240K-random0.json"),
        ("baselines", "params-16K-random0.json"),  # whose network is that of 240K
        ("baselines", "params-16K-random_at_cost0.json"),
    }
    assert (finished / "result.json").read_bytes() == result
    table = (finished / "report" / "networks.md").read_text()
    assert [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:] if line[:1] == "|"] == [
        "macs <= 240,000 (macs-240K)",
        "params <= 16,000 (macs-240K)",
        "macs <= 300,000",
        "none: the largest",
    ]


@pytest.mark.slow
def test_what_does_not_fit_is_said_before_any_work(finished, context, tmp_path):
    before = content(finished)
    code, said = run(context, finished, "--learning_rate=0.2").end()
    assert code == 1
    assert "error: " in said
    assert "`evaluator.training.learning_rate` was 0.1, now 0.2" in said
    assert "Traceback" not in said

    code, said = run(context, tmp_path / "new", "--max", "macs=1K").end()
    assert code == 1
    assert re.search(r"error: `max macs >= [\d,]+` must hold for this space, but got 1,000\.", said)
    code, said = run(context, tmp_path / "new", "--random_networks=50").end()
    assert code == 1
    assert "error: `--random_networks` must be at most the number of architectures in" in said
    assert not (tmp_path / "new").exists()
    assert {k: v for k, v in content(finished).items() if k.name != ".lock"} == {
        k: v for k, v in before.items() if k.name != ".lock"
    }


@pytest.mark.slow
def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(context, tmp_path):
    started = time.perf_counter()
    dry = run(context, tmp_path / "run", "--dry_run", "--max", "macs=300K", "macs=1K", "--epochs=7")
    code, said = dry.end()
    assert time.perf_counter() - started < 20  # about 1.5, when nothing else runs
    assert code == 0, said
    assert f"Search: {TRIALS} trials of 1 steps of 32" in said
    assert re.search(r"multiply-adds: about [\d.]+M \(forward and backward", said)
    assert re.search(r"memory: [\d.]+KB weights, [\d.]+KB optimizer state, at most [\d.]+MB activations", said)
    assert re.search(r"time: about \d+:\d\d in one process", said)
    assert "One final network: 7 epochs" in said
    assert "macs <= 300,000: feasible (" in said
    assert "macs <= 1,000: NOT feasible (" in said
    assert os.listdir(tmp_path) == [dry.log.name]


@pytest.mark.slow
def test_random_search_generates_the_best_that_it_tried(context, tmp_path):
    words = [
        "--searcher=random",
        "--evaluations=3",
        "--scored=0",
        "--paths=trial",
        "--max",
        "macs=500K",
        "--random_networks=0",
    ]
    code, said = run(context, tmp_path / "run", *words).end()
    assert code == 0, said
    result = SearchResult.load(tmp_path / "run")
    assert result.distribution is None
    assert len(result.history) == 3
    config = json.loads((tmp_path / "run" / "models" / "macs-500K" / "config.json").read_text())
    macs = result.costs["macs"]
    within = [r for r in result.history if macs(r.trial.architecture) <= 500_000]
    best = max(within, key=lambda r: r.score).trial.architecture
    assert config["blocks"] == list(best.values())
    card = (tmp_path / "run" / "models" / "macs-500K" / "README.md").read_text()
    assert "not an optimum of the score (best evaluated)" in card
    assert not (tmp_path / "run" / "report" / "theta.png").exists()


@pytest.mark.slow
def test_without_pruning_and_with_a_tracker(context, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ["--searcher=ddp-noprune", "--evaluations=5", "--scored=0", "--report_to=tensorboard", "--no_train_largest"]
    code, said = run(context, tmp_path / "run", *words).end()
    assert code == 0, said
    result = SearchResult.load(tmp_path / "run")
    assert [len(codes) for codes in result.distribution.survivors] == [4, 4, 4]
    (folder,) = {path.parent for path in (tmp_path / "run" / "trackers").glob("*/events.out.tfevents.*")}
    events = EventAccumulator(str(folder))
    events.Reload()
    scores = [event.value for event in events.Scalars("search/score")]
    assert scores == pytest.approx([r.score for r in result.history])
    assert [event.step for event in events.Scalars("search/score")] == list(range(5))

    code, said = run(context, tmp_path / "other", "--report_to=nothing").end()
    assert code == 1
    assert "error: `report_to` must name a tracker that Accelerate knows and that is installed" in said


# -- stopped and started ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_and_interrupted_it_goes_on_to_the_same_bits(finished_once, context, tmp_path):
    folder = tmp_path / "run"
    going = run(context, folder).wait_for(lambda: trials_done(folder) > 4)  # the first proposal is saved
    code, _ = going.end(signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (folder / "result.json").exists()
    killed_at = trials_done(folder)

    going = run(context, folder).wait_for(lambda: trials_done(folder) > max(killed_at, 4 + 3))
    code, said = going.end(signal.SIGINT)
    assert code == 130, said
    found = re.search(
        rf"Interrupted: (\d+) of {TRIALS + SCORED} trials are saved in `(.+)`\. Run the same command again", said
    )
    assert 4 <= int(found[1]) < TRIALS + SCORED
    assert found[2] == str(folder)
    assert "Traceback" not in said
    assert not (folder / "result.json").exists()

    # Interrupted once more, while networks are trained.
    going = run(context, folder).wait_for(lambda: "train 4 networks" in run_said(folder))
    code, said = going.end(signal.SIGINT)
    # A proposal more than was said, where the interrupt came just after a checkpoint had appeared.
    before = re.search(rf"search: {TRIALS} to do, (\d+) of them done before", said)
    assert 0 <= int(before[1]) - min(int(found[1]), TRIALS) <= 3
    assert code == 130, said
    assert said.rstrip().endswith("Interrupted. Run the same command again to go on.")
    assert outcome(folder) == outcome(finished_once[0])

    code, said = run(context, folder).end()
    assert code == 0, said
    for name in ("models/macs-300K/searchhub.json", "baselines/largest.json"):
        one, other = (json.loads((f / name).read_text()) for f in (folder, finished_once[0]))
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    weights = "models/macs-300K/model.safetensors"
    assert (folder / weights).read_bytes() == (finished_once[0] / weights).read_bytes()


# -- several processes ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_find_the_same(context, tmp_path):
    folder = tmp_path / "run"
    runs = [run(context, folder, env=env, tell=tmp_path / f"{r}.json") for r, env in enumerate(two_processes())]
    ends = [each.end() for each in runs]
    assert [code for code, _ in ends] == [0, 0], ends
    main, other = (said for _, said in ends)
    assert "Processes: 2 on cpu, 1 threads each" in main
    assert "macs <= 300,000" in main
    assert other == ""
    assert "Warning" not in main
    results = [json.loads((tmp_path / f"{r}.json").read_text()) for r in range(2)]
    assert results[0] == results[1]
    assert len(results[0]["history"]) == TRIALS + SCORED
    found = SearchResult.from_dict(results[1])
    assert found.distribution == SearchResult.load(folder).distribution
    assert "processes: 2" in (folder / "config.yaml").read_text()
    assert str(Limit("macs", max=300_000)) in (folder / "report" / "networks.md").read_text()


@pytest.mark.slow
def test_started_by_accelerate_launch(tmp_path):
    """Where there is no GPU, `--multi_gpu` must not start two runs that each believe to be alone."""
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    done = started_by_a_user([*launch, RECIPE, *WORDS, "--dry_run"], tmp_path, ACCELERATE_USE_CPU="true")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Processes: 2 on cpu") == 1
    assert "Processes: 1" not in done.stdout
