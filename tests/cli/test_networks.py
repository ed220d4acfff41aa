import json
import shutil

import pytest
from accelerate import Accelerator
from scipy.stats import kendalltau
from transformers import AutoModelForImageClassification

from searchhub.cli.networks import read_settings
from searchhub.errors import InvalidInputError
from searchhub.networks.network import read_reports
from searchhub.networks.saved_trainer import load_trainer
from searchhub.result import SearchResult
from searchhub.trial import SCORED, Trial
from searchhub.trial import SCORING as SCORING_ROUND
from searchhub.workflows.rescoring import load_evaluator


def test_train_makes_a_network_like_those_of_the_run(cli, run):
    words = ("train", run, "--max", "params=4K", "--min", "macs=60K", "--json")
    done = cli(*words)
    report = json.loads(done.stdout)
    folder = run / "models" / "params-4K-macs-min-60K"
    assert report["folder"] == str(folder)
    assert report["costs"]["params"] <= 4_000
    assert report["costs"]["macs"] >= 60_000
    facts = json.loads((folder / "searchhub.json").read_text())
    trained_then = json.loads((run / "models" / "macs-100K" / "searchhub.json").read_text())
    for same in ("training", "task", "seed", "mixed_precision", "processes"):
        assert facts["identity"][same] == trained_then["identity"][same], same
    assert AutoModelForImageClassification.from_pretrained(folder).num_parameters() == report["costs"]["params"]
    assert "train 1 networks: 1/1 done" in done.stderr
    # The same command finds it, and trains nothing.
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert json.loads(cli(*words).stdout) == report
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_train_finds_what_the_run_trained(cli, run):
    before = (run / "models" / "macs-100K" / "searchhub.json").read_text()
    done = cli("train", run, "--max", "macs=100K")
    assert "accuracy (test, 40 examples)" in done.stdout
    assert "macs <= 100,000" in done.stdout
    assert [p.name for p in (run / "models").iterdir()] == ["macs-100K"]
    assert (run / "models" / "macs-100K" / "searchhub.json").read_text() == before


def test_a_network_of_other_training_stands_beside_and_is_marked(cli, run):
    """Tables and the report are those of all networks; the one that was finished stays."""
    before = (run / "models" / "macs-100K" / "searchhub.json").read_bytes()
    done = cli("train", run, "--max", "macs=100K", "--epochs", "2")
    assert "`macs-100K` is finished and stays; this one is `macs-100K.2`, for they differ: epochs 1 and" in done.stderr
    assert (run / "models" / "macs-100K" / "searchhub.json").read_bytes() == before
    assert json.loads((run / "models" / "macs-100K.2" / "searchhub.json").read_text())["epochs"] == 2
    table = (run / "report" / "networks.md").read_text()
    assert table.count("| macs <= 100,000 |") == 2
    assert "## Trained with epochs 1\n\nDo not compare across tables." in table
    assert (run / "report" / "pareto_macs.png").is_file()
    assert "Trained with epochs 2" in (run / "report" / "report.html").read_text()
    shown = cli("info", run).stdout
    assert "Networks trained with epochs 2: not to be compared with the others" in shown
    assert [n["training"]["epochs"] for n in json.loads(cli("info", run, "--json").stdout)["networks"]] == [1, 2]
    # A wide limit has the same best network as none: it is trained once.
    for limit in ("macs=9M", "macs=8M"):
        done = cli("train", run, "--max", limit, "--optimum")
    assert "`macs-8M` is the same network as `macs-9M`, which is trained already." in done.stderr
    assert f"{run / 'models' / 'macs-9M'}" in done.stdout.replace("\n", "")
    assert "macs <= 8,000,000 (macs-9M)" in (run / "report" / "networks.md").read_text()
    assert "- macs-9M: `macs <= 9,000,000` does not bind" in (run / "report" / "networks.md").read_text()
    cli("train", run, "--max", "macs=100K", "--epochs", "3", "--replace")
    assert json.loads((run / "models" / "macs-100K" / "searchhub.json").read_text())["epochs"] == 3


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_train_refuses_a_name_that_is_no_folders(cli, run, name):
    assert "`--name` must be" in cli("train", run, "--max", "macs=100K", "--name", name).stderr
    assert [p.name for p in (run / "models").iterdir()] == ["macs-100K"]


def test_train_replaces_no_network_of_another_architecture(cli, run):
    before = (run / "models" / "macs-100K" / "searchhub.json").read_text()
    assert "another `--name`" in cli("train", run, "--max", "params=4K", "--name", "macs-100K").stderr
    assert (run / "models" / "macs-100K" / "searchhub.json").read_text() == before


def test_train_says_before_it_loads_anything_what_does_not_fit(cli, run):
    (run / "training.json").unlink()
    assert "`max macs >= " in cli("train", run, "--max", "macs=1K").stderr
    assert "must hold a training.json" in cli("train", run, "--max", "macs=100K").stderr


def test_train_takes_no_run_of_the_hub(cli, tmp_path):
    """What is published must not say what is imported on this machine."""
    assert "must be a run's folder on this machine" in cli("train", "org/search", "--max", "macs=100K").stderr


SCORING = {"score": "metric", "seed": 0, "batch_norm_batches": 2, "batch_size": 32, "eval_batch_size": 256}


def scored(run, **baselines):
    """A run that says how it scored, with baselines of other architectures: the code of all layers, and accuracy."""
    saved = json.loads((run / "training.json").read_text())
    (run / "training.json").write_text(json.dumps({**saved, "scoring": SCORING}))
    facts = json.loads((run / "models" / "macs-100K" / "searchhub.json").read_text())
    space = SearchResult.load(run).space
    (run / "baselines").mkdir()
    for name, (code, changes) in baselines.items():
        identity = {**facts["identity"], "architecture": space.decode([code] * len(space.choices)).to_dict()}
        own = {**facts, "name": name, "identity": identity, **changes}
        (run / "baselines" / f"{name}.json").write_text(json.dumps(own))
    return facts


def test_rank_scores_all_that_was_trained_on_the_shared_weights(cli, run):
    worse, better = ({"metrics": {"accuracy": x}, "by_class": {"iou": {"a": 0.0, "b": x}}} for x in (0.0, 1.0))
    facts = scored(run, first=(0, worse), second=(3, better))
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    [ranking] = json.loads(cli("rank", run, "--json").stdout)["rankings"]
    assert [n["name"] for n in ranking["networks"]] == ["second", "macs-100K", "first"]
    trainer = load_trainer(run)
    evaluator = load_evaluator(trainer)
    for network in ranking["networks"]:
        architecture = next(r for r in read_reports(run) if r.network.name == network["name"]).network.architecture
        [again] = evaluator([Trial(7, architecture, SCORED, SCORING_ROUND)])
        assert network["score"] == again.score
    scores, reached = zip(*((n["score"], n["accuracy"]) for n in ranking["networks"]), strict=True)
    assert ranking["tau"] == (None if len(set(scores)) == 1 else pytest.approx(kendalltau(scores, reached).statistic))
    assert ranking["classes_at_zero"] == {"iou": {"a": 2, "b": 1}}
    shown = cli("rank", run).stdout
    assert "Kendall's tau of 3 networks" in shown
    assert "a (2 of 3), b (1 of 3)" in shown
    assert f"{facts['metrics']['accuracy']:.4f}" in shown
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_rank_sets_only_what_was_trained_alike_in_one_order(cli, run):
    identity = json.loads((run / "models" / "macs-100K" / "searchhub.json").read_text())["identity"]
    longer = {**identity["training"], "epochs": 9}
    scored(run, longer=(0, {}))
    file = run / "baselines" / "longer.json"
    facts = json.loads(file.read_text())
    file.write_text(json.dumps({**facts, "identity": {**facts["identity"], "training": longer}}))
    rankings = json.loads(cli("rank", run, "--json").stdout)["rankings"]
    assert sorted((r["training"], r["tau"]) for r in rankings) == [("epochs 1", None), ("epochs 9", None)]


def test_rank_needs_to_know_how_the_search_scored(cli, run):
    assert "must say how its search scored" in cli("rank", run).stderr


def test_evaluate_reaches_what_the_card_says(cli, run, tmp_path):
    data = json.loads(cli("evaluate", run, "--json", "--output", tmp_path / "rows.json").stdout)
    assert json.loads((tmp_path / "rows.json").read_text()) == data
    [row] = data["networks"]
    facts = json.loads((run / "models" / "macs-100K" / "searchhub.json").read_text())
    assert row["metrics"] == row["recorded"] == facts["metrics"]
    assert (row["split"], row["examples"], row["costs"]) == ("test", 40, facts["costs"])
    shown = cli("evaluate", run / "models" / "macs-100K").stdout
    assert f"{facts['metrics']['accuracy']:.4f}" in shown
    assert "digits, test, 40" in shown


def test_evaluate_checks_what_the_card_says(cli, run):
    model = run / "models" / "macs-100K"
    facts = json.loads((model / "searchhub.json").read_text())
    done = cli("evaluate", run, "--check", "--lines")
    assert done.exit_code == 0
    line = {"model": model.name, "path": str(model), "task": "digits", "split": "test", "examples": 40}
    assert json.loads(done.stdout) == {**line, "accuracy": round(facts["metrics"]["accuracy"], 4)}
    facts["metrics"]["accuracy"] += 2 / 40
    (model / "searchhub.json").write_text(json.dumps(facts))
    assert cli("evaluate", run).exit_code == 0
    done = cli("evaluate", run, "--check")
    assert (done.exit_code, "on its card, but reached" in done.stderr) == (1, True)
    assert "digits, test, 40" in done.stdout
    done = cli("evaluate", run, "--check", "--data", "max_eval_samples=30")
    assert "must speak of digits, test, 30 examples" in done.stderr
    assert "Drop one." in cli("evaluate", run, "--json", "--lines").stderr


def test_evaluate_with_another_seed(cli, trained):
    [row] = json.loads(cli("evaluate", trained, "--json", "--seed", "5").stdout)["networks"]
    [same] = json.loads(cli("evaluate", trained, "--json", "--data", "seed=5").stdout)["networks"]
    assert row == same
    assert row["metrics"]
    assert row["recorded"] is None  # the card speaks of another split
    done = cli("evaluate", trained, "--check", "--seed", "5")
    assert "must speak of digits, test, 40 examples" in done.stderr


def test_evaluate_computes_as_the_network_was_measured(cli, run, monkeypatch):
    model = run / "models" / "macs-100K"
    facts = json.loads((model / "searchhub.json").read_text())
    asked = []

    def make_accelerator(mixed_precision):
        asked.append(mixed_precision)
        if mixed_precision == "fp16":
            raise ValueError("fp16 mixed precision requires a GPU")
        return Accelerator(cpu=True)

    monkeypatch.setattr("searchhub.training.accelerator.make_accelerator", make_accelerator)
    for precision in ("bf16", "fp16"):
        facts["identity"]["mixed_precision"] = precision
        (model / "searchhub.json").write_text(json.dumps(facts))
        done = cli("evaluate", run)
    assert "must compute in `fp16`, but: fp16 mixed precision requires a GPU. Give another" in done.stderr
    cli("evaluate", run, "--mixed-precision", "no")
    assert asked == ["bf16", "fp16", "no"]
    other = shutil.copytree(model, run / "models" / "other")
    facts["identity"]["mixed_precision"] = "no"
    (other / "searchhub.json").write_text(json.dumps(facts))
    assert "must have been measured in one precision" in cli("evaluate", run).stderr


def test_data_that_lie_elsewhere_now(cli, run):
    file = run / "training.json"
    saved = json.loads(file.read_text())
    file.write_text(json.dumps({**saved, "task": {**saved["task"], "dataset": "old/place/birds"}}))
    for words in (("train", run, "--max", "macs=100K"), ("evaluate", run)):
        assert "say where: `--data dataset=path/to/it`" in " ".join(cli(*words).stderr.split())
        assert "macs" in cli(*words, "--data", "dataset=digits").stdout


def test_train_names_the_loader_and_consents_to_code(cli, run):
    file = run / "training.json"
    saved = json.loads(file.read_text())
    file.write_text(json.dumps({**saved, "task": {**saved["task"], "kind": "nowhere:load"}}))
    words = ("train", run, "--max", "macs=100K")
    assert "`--task nowhere:load`" in cli(*words).stderr
    for consent in (["--task", "nowhere:load"], ["--trust-code"]):
        assert "No module named 'nowhere'" in cli(*words, *consent).stderr
    assert "macs <= 100,000" in cli(*words, "--task", "image").stdout
    file.write_text(json.dumps({**saved, "supernet": "nowhere.Supernet"}))
    assert "needs `nowhere.Supernet`" in cli(*words).stderr
    assert "must be of a class that can be imported" in cli(*words, "--trust-code").stderr


def test_evaluate_on_other_data(cli, trained):
    words = ("evaluate", trained, "--json", "--split", "validation", "--data", "max_eval_samples=30")
    [row] = json.loads(cli(*words).stdout)["networks"]
    assert (row["split"], row["examples"], row["recorded"]) == ("validation", 30, None)


def test_evaluate_says_what_it_cannot_do(cli, run, tmp_path):
    assert "must be arguments of the loader of `image`" in cli("evaluate", run, "--data", "colour=red").stderr
    assert "`--data` must be like" in cli("evaluate", run, "--data", "colour").stderr
    assert "must be the folder of a model, or of a run that trained some" in cli("evaluate", tmp_path).stderr
    file = run / "models" / "macs-100K" / "searchhub.json"
    file.unlink()
    (run / "training.json").unlink()
    assert "must be known, but its searchhub.json does not say them" in cli("evaluate", run).stderr
    config = file.with_name("config.json")
    config.write_text(config.read_text().replace('"0": "0"', '"0": "zero"'))
    done = cli("evaluate", run, "--data", "kind=image", "--data", "max_eval_samples=30")
    assert "The labels of `digits` must be those that" in done.stderr


def test_settings_are_read_as_yaml_reads_them():
    assert read_settings(None) == {}
    assert read_settings(["a=1", "b=x=y", "c=[1, 2]", "d=", "e=true"]) == {
        "a": 1,
        "b": "x=y",
        "c": [1, 2],
        "d": None,
        "e": True,
    }
    texts = ["dataset=2024_06_01", "label_column=no", "text_column=", "data_dir=a[1", "seed=3"]
    assert read_settings(texts, "text") == {
        "kind": "text",
        "dataset": "2024_06_01",
        "label_column": "no",
        "text_column": None,
        "data_dir": "a[1",
        "seed": 3,
    }
    for word in ("a", "=1", "a b=1", "a=["):
        with pytest.raises(InvalidInputError, match="must be like"):
            read_settings([word])
