"""Networks are measured as anyone would load them, and compared with what their cards say."""

import dataclasses
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

import searchhub
from searchhub.data.sources import load_task
from searchhub.errors import InvalidInputError, SearchhubError
from searchhub.generation import Limit, generate
from searchhub.networks import trainer as networks
from searchhub.networks.network import Network
from searchhub.networks.saved_trainer import save_trainer
from searchhub.training.loop import evaluate
from searchhub.workflows import evaluation, reloading
from searchhub.workflows.evaluation import EvaluatedNetwork, evaluate_network, evaluate_networks, networks_in
from searchhub.workflows.reloading import reload_networks

from ..networks.tiny_run import DIGITS, tiny_trainer
from ..recipes.harness import RECIPES

SOURCES = str(Path(searchhub.__file__).parents[1])

FACTS = {"split": "test", "examples": 1000, "metrics": {"accuracy": 0.5}}
NETWORK = EvaluatedNetwork(
    name="small",
    path="runs/x/models/small",
    facts=FACTS,
    task="digits",
    same_data=True,
    split="test",
    examples=1000,
    metrics={"accuracy": 0.5},
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with one network; not to be changed."""
    patch = pytest.MonkeyPatch()
    patch.setattr(networks, "_picture", lambda *_: b"")
    trainer = tiny_trainer(tmp_path_factory.mktemp("runs") / "tiny")
    save_trainer(trainer)
    limit = Limit("macs", max=100_000)
    trainer.train(Network("small", generate(trainer.result, limit), (limit,)))
    patch.undo()
    return trainer.folder


@pytest.fixture
def model(trained, tmp_path):
    """The folder of its network, to be changed, in a run of the same name."""
    return shutil.copytree(trained, tmp_path / "run") / "models" / "small"


def change(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def measured(model, **options):
    [found] = evaluate_networks([model], Accelerator(cpu=True), **options)
    return found


def test_a_network_reaches_what_its_card_says(model):
    found = measured(model)
    assert found.metrics == found.recorded == json.loads((model / "searchhub.json").read_text())["metrics"]
    found.check()
    line = {"model": "small", "path": str(model), "task": "digits", "accuracy": round(found.metrics["accuracy"], 4)}
    assert found.line() == {**line, "split": "test", "examples": 40}


def test_inputs_are_made_by_the_processor_in_the_folder(model, monkeypatch):
    task, first, seen = load_task(DIGITS), torch.tensor([0]), []

    def inputs(task):
        return task.batch("test", first, device=torch.device("cpu"))["pixel_values"]

    def evaluating(model, task, *others):
        seen.append(inputs(task))
        return evaluate(model, task, *others)

    monkeypatch.setattr(evaluation, "evaluate", evaluating)
    measured(model)
    change(model / "preprocessor_config.json", image_mean=[0.0] * 3, image_std=[1.0] * 3)
    measured(model)
    right, wrong = seen
    torch.testing.assert_close(right, inputs(task))
    torch.testing.assert_close(wrong, (inputs(task) + 1) / 2)
    (model / "preprocessor_config.json").unlink()
    with pytest.raises(InvalidInputError, match="must hold an image processor, with which its users make inputs"):
        measured(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"metrics": {"accuracy": 0.5015}}, None),
        ({"metrics": {"accuracy": 0.503}}, r"must reach the accuracy 0\.5000 on its card, but reached 0\.5030"),
        ({"metrics": {"accuracy": float("nan")}}, "but reached nan"),
        ({"metrics": {"accuracy": 0.503}, "mixed_precision": "bf16"}, None),
        ({"metrics": {"accuracy": 0.506}, "mixed_precision": "bf16"}, r"reached 0\.5060"),
        ({"metrics": {"accuracy": 0.503}, "facts": {**FACTS, "identity": {"mixed_precision": "bf16"}}}, None),
        ({"metrics": {"accuracy": 0.5, "f1": 0.4}}, r"must reach the f1 missing on its card"),
        ({"metrics": {}}, r"must reach the accuracy 0\.5000 on its card, but reached missing"),
        ({"metrics": {"accuracy": 0.5001}, "examples": 50_000, "facts": {**FACTS, "examples": 50_000}}, "0.5001"),
        ({"examples": 999}, "must speak of digits, test, 999 examples"),
        ({"same_data": False}, "Give the data of its training, with the same arguments, or leave out the check"),
        ({"facts": {}}, "says nothing"),
    ],
)
def test_what_passes_the_check(changes, message):
    network = dataclasses.replace(NETWORK, **changes)
    if message is None:
        network.check()
    else:
        with pytest.raises(InvalidInputError, match=message):
            network.check()


def test_a_card_speaks_of_data_by_their_name_or_by_their_content(model):
    assert not measured(model, split="validation").same_data
    source = json.loads((model / "searchhub.json").read_text())["task"]
    change(model / "searchhub.json", task={**source, "dataset": "elsewhere"})  # as where data were moved
    assert measured(model).same_data
    found = measured(model, data={"seed": 9})
    assert (found.same_data, found.recorded) == (False, None)


@pytest.mark.parametrize("same", [{"image_mean": [0.5] * 3}, {"seed": 0}, {"validation_size": 0.2}])
def test_arguments_that_choose_the_same_examples(model, same):
    assert measured(model, data=same).same_data


@pytest.mark.parametrize("other", [{"seed": 9}, {"test_size": 0.3}, {"max_train_samples": 70}])
def test_arguments_that_choose_other_examples(model, other):
    found = measured(model, data=other)
    assert (found.same_data, found.recorded) == (False, None)


def test_a_head_that_the_folder_does_not_hold_is_not_measured(model):
    weights = load_file(model / "model.safetensors")
    head = [name for name in weights if "classifier" in name]
    assert head
    save_file({n: t for n, t in weights.items() if n not in head}, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidInputError, match=f"must hold all weights of its .*{sorted(head)[0]}"):
        measured(model)
    cut = {n: t[:1].clone() if n in head else t for n, t in weights.items()}
    save_file(cut, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidInputError, match="must hold"):
        measured(model)


@pytest.mark.parametrize("text", ["{", "[]", '{"metrics": {"accuracy": "x"}}', '{"task": [1]}', '{"identity": 3}'])
def test_facts_that_are_none(model, text):
    (model / "searchhub.json").write_text(text)
    with pytest.raises(InvalidInputError, match=r"searchhub\.json` must hold what searchhub wrote"):
        measured(model)


def test_labels_of_other_names(model):
    config = model / "config.json"
    config.write_text(config.read_text().replace('"0": "0"', '"0": "zero"'))
    task = load_task(DIGITS)
    with pytest.raises(InvalidInputError, match="The labels of `digits` must be those that"):
        evaluate_network(model, task, Accelerator(cpu=True))
    assert evaluate_network(model, task, Accelerator(cpu=True), same_names=False).examples == 40


def test_only_a_user_names_code(model, tmp_path, monkeypatch):
    """What a folder says is not imported, be it a model's or a run's."""
    (tmp_path / "own_digits.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('imported').touch()\n"
        "from searchhub.data.sources import load_task\n\n"
        f"def load(examples):\n    return load_task({{**{DIGITS}, 'max_eval_samples': examples}})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    source = {"kind": "own_digits:load", "examples": 40}
    alone = shutil.copytree(model, tmp_path / "alone")
    change(alone / "searchhub.json", task=source)
    change(model / "searchhub.json", task=source)
    in_run = shutil.copytree(model.parents[1], tmp_path / "in_run") / "models" / "small"
    change(in_run.parents[1] / "training.json", task={**source, "examples": 30})
    (model.parents[1] / "training.json").unlink()
    for folder in (alone, model, in_run):
        with pytest.raises(InvalidInputError, match="name it yourself: `--task own_digits:load`"):
            measured(folder)
    assert not (tmp_path / "imported").exists()
    found = measured(alone, data={"kind": "own_digits:load"})
    assert (found.examples, found.recorded) == (40, found.metrics)
    assert measured(in_run, data={"kind": "own_digits:load"}).examples == 30


def test_a_run_runs_no_command(model, tmp_path):
    task = {"kind": "os:system", "command": f"touch {tmp_path / 'ran'}"}
    change(model.parents[1] / "training.json", task=task)
    with pytest.raises(InvalidInputError, match="name it yourself: `--task os:system`"):
        measured(model)
    assert not (tmp_path / "ran").exists()


def test_folders_that_hold_no_network(tmp_path, trained):
    assert networks_in(trained) == networks_in(trained / "models" / "small") == [trained / "models" / "small"]
    with pytest.raises(InvalidInputError, match="must be the folder of a model, or of a run that trained some"):
        networks_in(tmp_path)


def test_a_fresh_process_imports_nothing_from_where_it_is_started(tmp_path, monkeypatch):
    (tmp_path / "searchhub.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    started = []

    def run(command, env):
        started.append((command, env))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(reloading.subprocess, "run", run)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", SOURCES)
    reload_networks(["x"], kind="image")
    reload_networks(["x"], kind="own_digits:load")
    (command, plain), (own_command, own) = started
    assert plain["PYTHONPATH"] == SOURCES
    assert own["PYTHONPATH"] == os.pathsep.join([str(tmp_path), SOURCES])
    assert "--task=own_digits:load" in own_command
    monkeypatch.undo()
    done = subprocess.run([*command[:3], "--version"], cwd=tmp_path, env=plain, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, searchhub.__version__)


@pytest.mark.slow
def test_a_fresh_process_measures_every_network_again(model, monkeypatch, capfd):
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "1")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")  # a launcher's, of which the other process would be waited for
    reload_networks([])
    facts = json.loads((model / "searchhub.json").read_text())
    worse = shutil.copytree(model, model.with_name("worse"))
    change(worse / "searchhub.json", metrics={"accuracy": facts["metrics"]["accuracy"] + 2 / 40})
    with pytest.raises(SearchhubError, match="Every network must load in a fresh process and reach its score"):
        reload_networks([model, worse])
    printed = capfd.readouterr()
    said, other = map(json.loads, printed.out.splitlines())
    assert (said["model"], said["accuracy"]) == ("small", pytest.approx(facts["metrics"]["accuracy"], abs=1e-4))
    assert (other["model"], other["accuracy"]) == ("worse", said["accuracy"])
    assert f"`{worse}` must reach the accuracy" in printed.err
    assert f"`{model}` must reach" not in printed.err


@pytest.mark.slow
def test_a_fresh_process_imports_the_loader_that_this_one_used(model, tmp_path, monkeypatch, capfd):
    (tmp_path / "own_digits.py").write_text(
        f"from searchhub import load_task\n\ndef load():\n    return load_task({DIGITS})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)  # as the folder of a script is
    for file in (model / "searchhub.json", model.parents[1] / "training.json"):
        change(file, task={"kind": "own_digits:load"})
    reload_networks([model], kind="own_digits:load")
    assert json.loads(capfd.readouterr().out)["examples"] == 40
    with pytest.raises(SearchhubError):
        reload_networks([model])
    assert "name it yourself: `--task own_digits:load`" in capfd.readouterr().err


def test_the_recipe_for_pictures_checks_the_card_where_it_takes_the_same_examples(model, capsys):
    evaluate = runpy.run_path(str(RECIPES / "eval_images.py"))["main"]
    words = ["--models", str(model), "--max_train_samples=96", "--max_eval_samples=40", "--check"]
    evaluate(words)
    assert json.loads(capsys.readouterr().out)["examples"] == 40
    with pytest.raises(InvalidInputError, match="must speak of digits, test, 40 examples"):
        evaluate([*words, "--seed=1"])
