"""DC-NAS on FBNet's supernet from end to end at its smallest, and that the settings for ImageNet are the paper's."""

import json
import re
import runpy
import shutil
import signal

import pytest
import torch

from searchhub.costs.latency import measure_latency
from searchhub.costs.macs import macs_table
from searchhub.networks.network import read_facts
from searchhub.networks.saved_trainer import load_trainer
from searchhub.result import SearchResult
from searchhub.searchers.division import winners_in_order
from searchhub.workflows.arguments import parse

from .harness import (
    RECIPES,
    Run,
    content,
    made_once,
    outcome,
    started_by_a_user,
    trials_done,
    two_processes,
    words,
)
from .in_child import steady

RECIPE = RECIPES / "dc_fbnet_imagenet.py"
SMALLEST = {
    "max_train_samples": 128,
    "max_eval_samples": 64,
    "search_classes": 5,
    "stage_depths": [1, 1, 1],
    "mixture_epochs": 3,
    "warmup_epochs": 1,
    "feature_images": 33,
    "num_samples": 500,
    "num_clusters": 2,
    "epochs": 1,
}
WORDS = words(SMALLEST)
EPOCHS, WINNERS = 3, 2
WEIGHTS = [f"models/cluster-{i}/model.safetensors" for i in range(WINNERS)]


def run(context, folder, *argv, **options):
    return Run(context, RECIPE, folder, *WORDS, *argv, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, and what it said."""
    root, said = made_once(
        tmp_path_factory, "dc_fbnet", lambda root: started_by_a_user([RECIPE, *WORDS, "--output_dir=run"], root)
    )
    return root / "run", said


# -- from end to end --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_supernet_becomes_networks(finished):
    folder, said = finished
    assert "Data: digits: 128 train, 64 validation, 64 test pictures of 8 x 8, 10 classes" in said
    assert "The supernet's: digits: 128 train, 64 validation, 64 test pictures of 8 x 8, 5 classes" in said
    assert "Space: 3 layers, 729 architectures" in said
    assert f"train the supernet: {EPOCHS}/{EPOCHS} done" in said
    assert f"train the winners: {WINNERS}/{WINNERS} done" in said

    result = SearchResult.load(folder)
    winners = winners_in_order(result)
    assert [w.score for w in winners] == sorted((r.score for r in result.history), reverse=True)
    assert sum(w.size for w in winners) == 500
    assert result.best_trial.trial.architecture == winners[0].architecture
    assert f"Chosen, the best on validation: run/models/cluster-{winners[0].cluster};" in said
    assert (folder / "report" / "report.html").exists()
    assert "| cluster-0 " not in said, "a table for a terminal"
    assert re.search(r"│ cluster-0 +│ +\d+ +│ -\d", said)
    report = (folder / "report" / "report.html").read_text()
    assert "principal component 1 of the features" in report
    rows = (folder / "report" / "clusters.md").read_text().splitlines()[4:]
    assert [row.split("|")[1].strip() for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[1].split("|")[2]) == pytest.approx(result.division["summary"]["inertia"], rel=1e-3)
    assert "K = 2 was taken" in report
    for name in ("winners.png", "clusters.png"):
        assert (folder / "report" / name).read_bytes().startswith(b"\x89PNG")
    assert not list(folder.rglob("*.pt")) + list(folder.rglob("*.bin")) + list(folder.rglob("*.pkl"))


@pytest.mark.slow
def test_cards_tell_sizes_winners_and_order(finished):
    folder, _ = finished
    winners = winners_in_order(SearchResult.load(folder))
    for rank, winner in enumerate(winners, 1):
        model = folder / "models" / f"cluster-{winner.cluster}"
        card, facts = (model / "README.md").read_text(), read_facts(model)
        assert f"winner of cluster {winner.cluster} of 2, which holds {winner.size:,} architectures; no. {rank}" in card
        table = [line for line in card.splitlines() if line.startswith("| cluster-")]
        assert [line.split("|")[1].strip() for line in table] == [f"cluster-{w.cluster}" for w in winners]
        assert facts["validation"]["metrics"]["accuracy"] == winner.score
        assert f"| {winner.won_by:.4f} |" in card
        assert f"| {winner.score:.4f} | {facts['metrics']['accuracy']:.4f} |" in table[rank - 1]
        assert re.search(r"`division.sizes`: \d+, \d+", card)
        assert "- `mixture.classes`: 5" in card
        assert "wang2020dcnas" in card
        assert "wu2019fbnet" in card
        config = json.loads((model / "config.json").read_text())
        assert config["blocks"] == list(winner.architecture.values())
        assert (facts["identity"]["train_on"], facts["split"]) == ("train", "test")


@pytest.mark.slow
def test_a_finished_run_trains_more_networks_alike(finished):
    trainer = load_trainer(finished[0])
    assert (trainer.train_on, trainer.task.num_labels, trainer.supernet.config.num_labels) == ("train", 10, 10)
    # The shared weights are those of the training, but for a classifier of other classes.
    mixture = load_trainer(finished[0]).supernet.state_dict()
    from safetensors.torch import load_file

    newest = sorted((finished[0] / "mixture" / "checkpoints").iterdir())[-1]
    trained = load_file(newest / "supernet.safetensors")
    assert (
        mixture["layers.0.k3_e6.depthwise.convolution.weight"] == trained["layers.0.k3_e6.depthwise.convolution.weight"]
    ).all()
    assert trained["classifier.weight"].shape == (5, 64)


@pytest.mark.slow
def test_again_nothing_is_done_again(finished, context, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    kept = [tmp_path / "run" / name for name in ("mixture/checkpoints", "checkpoints")]
    weights = [tmp_path / "run" / name for name in WEIGHTS]
    before = content(*kept), [(p.read_bytes(), p.stat().st_mtime_ns) for p in weights]
    card = (tmp_path / "run" / "models" / "cluster-0" / "README.md").read_text()
    code, said = run(context, tmp_path / "run").end()
    assert code == 0, said
    assert "train the winners: 2 to do, 2 of them done before" in said
    assert (content(*kept), [(p.read_bytes(), p.stat().st_mtime_ns) for p in weights]) == before
    again = (tmp_path / "run" / "models" / "cluster-0" / "README.md").read_text()
    assert [line for line in again.splitlines() if ".py" not in line] == [
        line for line in card.splitlines() if ".py" not in line
    ]


@pytest.mark.slow
def test_killed_and_interrupted_it_goes_on_to_the_same_bits(finished, context, tmp_path):
    folder = tmp_path / "run"
    going = run(context, folder).wait_for(lambda: trials_done(folder / "mixture") >= 2)
    assert going.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert not (folder / "result.json").exists()
    going = run(context, folder).wait_for(lambda: (folder / "models" / "cluster-0" / "searchhub.json").exists())
    code, said = going.end(signal.SIGINT)
    assert code == 130, said
    assert "Traceback" not in said
    code, said = run(context, folder).end()
    assert code == 0, said
    assert outcome(folder) == outcome(finished[0])
    for name in WEIGHTS:
        assert (folder / name).read_bytes() == (finished[0] / name).read_bytes()


@pytest.mark.slow
def test_two_processes_find_the_same(context, tmp_path):
    folder = tmp_path / "run"
    runs = [run(context, folder, env=env, tell=tmp_path / f"{r}.json") for r, env in enumerate(two_processes())]
    ends = [each.end() for each in runs]
    assert [code for code, _ in ends] == [0, 0], ends
    assert "Processes: 2 on cpu" in ends[0][1]
    assert "Chosen, the best on validation" in ends[0][1]
    assert ends[1][1] == ""
    one, other = (json.loads((tmp_path / f"{r}.json").read_text()) for r in range(2))
    assert one == other
    assert len(one["history"]) == WINNERS


@pytest.mark.slow
def test_what_does_not_fit_is_said_before_any_work(context, tmp_path):
    (tmp_path / "classes").write_text("3\nthree\n")
    for argv, message in [
        (["--search_classes=11"], "`classes` must be 2 to 10 distinct ones of `digits`"),
        ([f"--search_class_file={tmp_path / 'classes'}"], "are both given. Drop one"),
        (["--feature_images=129"], "`num_images` must be from 1"),
        (["--warmup_epochs=3"], "`0 <= warmup_epochs < epochs` must hold"),
        (["--mixture_epochs=1", "--warmup_epochs=0"], "at least 2 epochs, but got 1"),
        (["--logits_learning_rate=-1"], "`learning_rate > 0`"),
        (["--final_batch_size=129"], "must hold at least one batch of 129"),
        (["--cost=nowhere.json"], "nowhere.json"),
        (["--num_clusters=501"], "num_clusters"),
    ]:
        code, said = run(context, tmp_path / "run", *argv).end()
        assert code == 1, said
        assert "error: " in said
        assert message in said
        assert "Traceback" not in said
        assert not (tmp_path / "run").exists()
    code, said = run(context, tmp_path / "run", "--dry_run").end()
    assert code == 0, said
    assert "Supernet: 3 epochs of 4 steps on weights and, but for the first 1, 2 on logits" in said
    assert not (tmp_path / "run").exists()


def test_a_latency_table_that_was_measured_before_the_search_is_a_cost(tmp_path):
    """As recipes/dc_fbnet_imagenet.yaml tells to make one."""
    recipe = runpy.run_path(str(RECIPE))
    _, sizes, mixing, *_ = parse(
        recipe["KINDS"], [f"--cost={tmp_path / 'latency.json'}", "--stage_depths", *"111"], None
    )
    supernet = sizes.supernet(10, 8, 0)
    measured = measure_latency(supernet, time=steady, held_out_networks=0)
    measured.save(tmp_path / "latency.json")
    table = mixing.cost_table({"macs": macs_table(supernet)})
    assert table.space == supernet.search_space
    assert table.bounds() == measured.bounds()


def pixels(task, *splits):
    """A picture a row."""
    batches = [task.batch(split, torch.arange(task.size(split)), device=torch.device("cpu")) for split in splits]
    return {tuple(row) for batch in batches for row in batch["pixel_values"].flatten(1).tolist()}


def test_what_compares_winners_trains_neither_weights_nor_logits():
    recipe = runpy.run_path(str(RECIPE))
    data, _, mixing, *_ = parse(recipe["KINDS"], ["--search_classes=5", "--logits_size=0.1"], None)
    task, search = recipe["tasks"](data, mixing, 0)
    assert search.num_labels == 5
    assert not pixels(search, "train", "validation") & pixels(task, "validation", "test")
    assert search.size("validation") == pytest.approx(0.1 * search.size("full"), abs=1)


# -- ImageNet ---------------------------------------------------------------------------------------------------------


def test_the_settings_for_imagenet_are_the_papers():
    settings = RECIPE.with_suffix(".yaml")
    data, sizes, mixing, dividing, training, _ = parse(
        runpy.run_path(str(RECIPE))["KINDS"], [f"--config={settings}"], None
    )
    assert (data.dataset, data.image_size, data.validation_size) == ("ILSVRC/imagenet-1k", 224, 50_000)
    assert (mixing.classes(), mixing.logits_size, mixing.feature_images) == (100, 0.2, 10_000)
    mixture = mixing.settings()
    assert (mixture.epochs, mixture.warmup_epochs) == (90, 10)
    assert (mixture.learning_rate, mixture.weight_decay) == (0.01, 5e-4)
    assert (dividing.num_samples, dividing.num_clusters) == (10**7, 5)
    weights = training.search_settings()
    assert (weights.optimizer, weights.learning_rate, weights.min_learning_rate) == ("sgd", 0.1, 0.0)
    from searchhub.models.fbnet.supernet_fbnet import FBNetSupernetConfig

    fields = vars(sizes)
    defaults = FBNetSupernetConfig()
    assert {name: getattr(defaults, name) for name in fields} == fields
