"""DC-NAS on networks trained apart, from end to end: of a space, and of what a DDPNAS search samples."""

import json
import re
import runpy
import signal

import pytest
import yaml

from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InvalidInputError
from searchhub.generation import generate
from searchhub.models.nasbench201.supernet_nasbench201 import (
    NasBench201SupernetConfig,
    NasBench201SupernetForImageClassification,
)
from searchhub.networks.saved_trainer import load_trainer
from searchhub.networks.trainer import NetworkTrainer
from searchhub.result import SearchResult
from searchhub.searchers.division import winners_in_order
from searchhub.training.accelerator import make_accelerator
from searchhub.training.settings import TrainingSettings
from searchhub.workflows.arguments import parse

from ..models.tiny_bert import tiny_bert_supernet
from ..tiny import tiny_task
from ..training.tiny import TinyTask, tiny_supernet
from .harness import RECIPES, Run, made_once, outcome, started_by_a_user, trials_done, two_processes, words

RECIPE, ON_DDP = RECIPES / "dc_channels_cifar100.py", RECIPES / "dc_on_ddp.py"
SAMPLES, CLUSTERS = 6, 2
DIVIDE = {"num_samples": SAMPLES, "num_clusters": CLUSTERS, "proxy_epochs": 2, "proxy_share": 0.5}
SMALLEST = {**DIVIDE, "max_train_samples": 128, "max_eval_samples": 64, "channels": [4, 4, 8, 8], "epochs": 2}
WORDS = words(SMALLEST)


def tiny_cells():
    sizes = {"num_labels": 4, "image_size": 8, "width": 4, "num_stages": 1, "cells_per_stage": 1}
    return NasBench201SupernetForImageClassification(NasBench201SupernetConfig(**sizes))


def run(context, folder, *argv, **options):
    return Run(context, RECIPE, folder, *WORDS, *argv, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, and what it said."""
    root, said = made_once(
        tmp_path_factory, "dc_channels", lambda root: started_by_a_user([RECIPE, *WORDS, "--output_dir=run"], root)
    )
    return root / "run", said


@pytest.mark.slow
def test_sampled_networks_become_winners(finished):
    folder, said = finished
    assert "6 networks of 2 epochs on 50 % of the training data, as much as 3 full trainings; then 2 winners" in said
    assert f"{SAMPLES + CLUSTERS}/{SAMPLES + CLUSTERS} done" in said
    result = SearchResult.load(folder)
    winners = winners_in_order(result)
    assert [r.trial.budget.data_share for r in result.history] == [0.5] * SAMPLES + [1] * CLUSTERS
    assert all(len(row) == 2 for r in result.history[:SAMPLES] for row in r.features)
    assert sum(winner.size for winner in winners) == SAMPLES
    assert result.best_trial.trial.architecture == generate(result) == winners[0].architecture
    rows = (folder / "report" / "networks.md").read_text().splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == [f"cluster-{winner.cluster}" for winner in winners]
    chosen = folder / "models" / f"cluster-{winners[0].cluster}"
    assert f"Chosen: run/models/{chosen.name}" in said
    assert "| K |" in (folder / "report" / "clusters.md").read_text()
    for name in ("clusters.png", "winners.png"):
        assert (folder / "report" / name).stat().st_size > 1000


@pytest.mark.slow
def test_every_winner_is_published_and_its_card_tells_of_all(finished):
    folder, said = finished
    winners = winners_in_order(SearchResult.load(folder))
    measured = [json.loads(line) for line in re.findall(r"^\{.*\}$", said, re.MULTILINE)]
    assert {m["model"] for m in measured} == {f"cluster-{k}" for k in range(CLUSTERS)}
    for rank, winner in enumerate(winners, 1):
        card = (folder / "models" / f"cluster-{winner.cluster}" / "README.md").read_text()
        assert f"winner of cluster {winner.cluster} of 2, which holds {winner.size} architectures" in card
        assert f"no. {rank} of 2 winners on the validation split" in card
        assert all(f"| cluster-{other.cluster} |" in card for other in winners)
        assert f"trials run: {SAMPLES}" in card
        assert "DC-NAS" in card


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(context, finished, tmp_path):
    folder = tmp_path / "killed"
    for enough in (2, SAMPLES + 1):
        started = run(context, folder)
        started.wait_for(lambda n=enough: trials_done(folder) >= n)
        code, _ = started.end(signal.SIGKILL)
        assert code == -signal.SIGKILL
    code, said = run(context, folder).end()
    assert code == 0, said
    assert outcome(folder) == outcome(finished[0])


@pytest.mark.slow
def test_two_processes_early_stop_the_same(context, finished, tmp_path):
    both = [run(context, tmp_path / "run", env=env) for env in two_processes()]
    for one in both:
        code, said = one.end()
        assert code == 0, said
    assert "Processes: 2 on cpu" in both[0].said + both[1].said
    expected, found = (outcome(folder) for folder in (finished[0], tmp_path / "run"))
    assert found["history"][:SAMPLES] == expected["history"][:SAMPLES]
    assert found["division"] == expected["division"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_clusters": 7}, "`1 <= num_clusters <= samples <= size of the space` must hold, but got 7, 6 and 256"),
        ({"proxy_epochs": 1}, "`proxy_epochs >= 2` must hold"),
        ({"proxy_share": 0.001}, "must leave every class"),
        ({"proxy_epochs": 4}, "The full training must be more"),
        ({"max_train_samples": 48}, "must hold at least one batch of 32, but holds"),
        ({"final_batch_size": 200}, "The split `train` of `digits` must hold at least one batch of 200"),
        ({"early_from": "nowhere"}, "`nowhere/early` must hold"),
    ],
)
@pytest.mark.slow
def test_what_cannot_work_is_said_before_anything_is_trained(context, tmp_path, settings, message):
    code, said = run(context, tmp_path / "run", *words(settings)).end()
    assert code == 1
    assert re.search(rf"error: .*{re.escape(message)}", said), said
    assert trials_done(tmp_path / "run") == 0


@pytest.mark.parametrize("settings", [{"max_train_samples": 48}, {"final_batch_size": 200}, {"proxy_share": 0.001}])
@pytest.mark.slow
def test_a_dry_run_refuses_what_the_run_refuses(context, tmp_path, settings):
    code, said = run(context, tmp_path / "run", *words(settings), "--dry_run=True").end()
    assert code == 1
    assert "error: " in said


@pytest.mark.slow
def test_a_dry_run_says_how_much_it_is(context, tmp_path):
    code, said = run(context, tmp_path / "run", "--dry_run=True").end()
    assert code == 0
    assert "Early-stopped: 6 networks, 2 epochs of about 2 steps of 32" in said
    assert "Winners: 2 networks, 2 epochs of about 4 steps of 32" in said
    assert re.search(r"macs: [\d,]+ to [\d,]+", said)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_another_division_takes_over_what_was_early_stopped(context, finished, tmp_path):
    wanted = words({"num_clusters": 3, "early_from": finished[0]})
    code, said = run(context, tmp_path / "run", *wanted).end()
    assert code == 0, said
    expected, found = (outcome(folder) for folder in (finished[0], tmp_path / "run"))
    assert found["history"][:SAMPLES] == expected["history"][:SAMPLES]
    assert len(found["history"]) == SAMPLES + 3
    seconds = [[json.loads(line)["seconds"] for line in journal(folder)] for folder in (finished[0], tmp_path / "run")]
    assert seconds[0][:SAMPLES] == seconds[1][:SAMPLES], "read, not trained"


def journal(folder):
    return (folder / "journal.jsonl").read_text().splitlines()


@pytest.mark.parametrize("name", ["dc_channels_cifar100", "dc_channels_cifar10"])
def test_configurations_are_of_this_recipe(name):
    recipe = runpy.run_path(str(RECIPE))
    _, sizes, dividing, training, _ = parse(recipe["KINDS"], [f"--config={RECIPES / name}.yaml"], None)
    supernet = sizes.supernet(10, 16, 0)
    assert supernet.search_space.size == 15_625
    assert dividing.searcher(supernet.search_space, training.epochs, 0).num_samples == dividing.num_samples


@pytest.fixture(scope="module")
def searched(context, tmp_path_factory):
    """A finished search by DDPNAS."""
    small = {
        "max_train_samples": 128,
        "max_eval_samples": 64,
        "stage_depths": [1, 1, 1],
        "kernel_sizes": [3, 5],
        "epochs": 1,
        "steps_per_trial": 1,
        "estimation_epochs": 1,
        "scored": 4,
        "random_networks": 0,
        "train_largest": False,
        "max": ["macs=300K"],
    }
    folder = tmp_path_factory.mktemp("ddp") / "searched"
    code, said = Run(context, RECIPES / "ddp_mobile.py", folder, *words(small)).end()
    assert code == 0, said
    return folder


@pytest.mark.slow
def test_what_a_ddpnas_search_samples_is_divided(context, searched, tmp_path):
    divided = tmp_path / "divided"
    proxy = {"proxy_batch_size": 16, "proxy_learning_rate": 0.02, "mixed_precision": "bf16"}
    options = words({**DIVIDE, "epochs": 2, "search": searched, **proxy})
    code, said = Run(context, ON_DDP, divided, *options).end()
    assert code == 0, said
    result, of_search = SearchResult.load(divided), SearchResult.load(searched)
    assert result.space == of_search.space
    assert len({r.trial.architecture for r in result.history[:SAMPLES]}) == SAMPLES
    assert len(list((divided / "models").iterdir())) == CLUSTERS
    assert load_trainer(divided, make_accelerator()).train_on == "train"
    config = yaml.safe_load((divided / "config.yaml").read_text())
    theta = [[float(p) for p in row] for row in of_search.distribution.theta]
    assert config["searcher"]["probabilities"] == theta
    early, full = config["evaluator"]["early"], config["evaluator"]["full"]
    assert early["inherited"] is not None
    assert (early["training"]["batch_size"], full["training"]["batch_size"]) == (16, 32)
    assert (early["training"]["learning_rate"], early["mixed_precision"]) == (0.02, "bf16")
    assert full["mixed_precision"] == "bf16"
    code, said = Run(context, ON_DDP, tmp_path / "none", *words({**DIVIDE, "epochs": 2, "search": divided})).end()
    assert code == 1
    assert "must be a run with a θ" in said


@pytest.mark.parametrize(
    ("supernet", "settings", "message"),
    [
        (tiny_supernet, {"batch_size": 80}, "must hold at least one batch of 80, but holds 64"),
        (tiny_cells, {}, r"those of .* have other sizes, and are derived"),
        (tiny_bert_supernet, {}, "choices of .* depend on others: .* or take `num_clusters=1`"),
    ],
)
def test_searches_that_cannot_be_divided_are_refused(tmp_path, supernet, settings, message):
    supernet = supernet()
    space, text = supernet.search_space, supernet.config.num_labels == 2
    task = tiny_task() if text else TinyTask(sizes=(64, 16, 16))
    of_search = NetworkTrainer(
        supernet,
        SearchResult(space, (), ArchitectureDistribution.uniform(space)),
        task,
        TrainingSettings(**{"batch_size": 16, **settings}),
        make_accelerator(),
        epochs=4,
        seed=0,
        folder=tmp_path / "search",
    )
    main = runpy.run_path(str(ON_DDP))["main"]
    main.__globals__["load_trainer"] = lambda *arguments, **options: of_search
    proxy = {"proxy_batch_size": 16} if settings else {}
    with pytest.raises(InvalidInputError, match=message):
        main(words({**DIVIDE, **proxy, "output_dir": tmp_path / "run"}))
    assert not (tmp_path / "run").exists()
