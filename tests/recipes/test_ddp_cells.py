"""The recipes for cells: searched on digits, derived, trained, and transferred to other data."""

import json
import re
import runpy
import sys

import pytest

from searchhub.errors import InvalidInputError
from searchhub.networks.network import read_facts
from searchhub.result import SearchResult
from searchhub.spaces.genotype import Genotype
from searchhub.workflows import arguments
from searchhub.workflows.arguments import parse
from searchhub.workflows.cell_arguments import read_cells
from searchhub.workflows.limits import read_limit_sets

from .harness import RECIPES, Run, content, made_once, started_by_a_user, trials_done, two_processes, words

RECIPE, TRANSFER = RECIPES / "ddp_cells_cifar10.py", RECIPES / "ddp_cells_imagenet.py"
SMALLEST = {
    "max_train_samples": 128,
    "max_eval_samples": 64,
    "num_nodes": 2,
    "operations": ["none", "skip_connect", "max_pool_3x3", "sep_conv_3x3"],
    "steps_per_trial": 1,
    "estimation_epochs": 1,
    "scored": 4,
    "epochs": 1,
    "drop_path": 0.1,
    "cutout": 2,
    "random_networks": 1,
    "equal": ["non_parameter=2,height=2"],
}
WORDS = words(SMALLEST)
SCORED = SMALLEST["scored"]
TRIALS = 4 + 3  # a trial a candidate and round, until each edge has one of each group
LIMITED = "non_parameter-equal-2-height-equal-2"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, and what it said."""

    def start(root):
        return started_by_a_user([RECIPE, *WORDS, f"--output_dir={root / 'run'}"], root)

    root, said = made_once(tmp_path_factory, "ddp_cells", start)
    return root / "run", said


@pytest.mark.slow
def test_a_search_of_cells_becomes_networks(finished):
    folder, said = finished
    assert "Space: 10 edges of two kinds of cell, 1,048,576 architectures" in said
    assert f"search: {TRIALS}/{TRIALS} done" in said
    assert f"score architectures: {SCORED}/{SCORED} done" in said
    assert "train 4 networks: 4/4 done" in said
    assert {path.name for path in (folder / "models").iterdir()} == {"derived", LIMITED}
    assert {path.name for path in (folder / "baselines").iterdir()} == {
        "derived-random0.json",
        f"{LIMITED}-random0.json",
    }
    facts = read_facts(folder / "models" / LIMITED)
    assert (facts["costs"]["non_parameter"], facts["costs"]["height"]) == (2, 2)
    derived = read_facts(folder / "models" / "derived")
    assert derived["identity"]["training"]["drop_path"] == 0.1
    # Trained in its final size, with BatchNorm that scales, and published without an auxiliary head.
    config = json.loads((folder / "models" / "derived" / "config.json").read_text())
    assert (config["width"], config["num_cells"], config["search_network"]) == (8, 4, False)
    # As many as a network of the published configuration has.
    baseline = json.loads((folder / "baselines" / "derived-random0.json").read_text())
    assert 0.95 * derived["costs"]["params"] < baseline["costs"]["params"] <= derived["costs"]["params"]

    lines = dict(line.split(" = ", 1) for line in (folder / "report" / "genotypes.txt").read_text().splitlines())
    genotype = Genotype.parse(lines["derived"])
    assert genotype.architecture().to_dict() == derived["identity"]["architecture"]
    assert [*config["normal"], *config["reduction"]] == list(genotype.architecture().values())
    # The transfer recipe reads each of them by the name of its folder.
    limited = read_cells(f"{folder / 'report' / 'genotypes.txt'}:{LIMITED}")
    assert limited.architecture().to_dict() == facts["identity"]["architecture"]
    # Reloaded and measured in a fresh process.
    measured = [json.loads(line) for line in re.findall(r"^\{.*\}$", said, re.MULTILINE)]
    assert {row["model"] for row in measured} == {"derived", LIMITED}
    assert len(SearchResult.load(folder).history) == TRIALS + SCORED == trials_done(folder)
    assert not list(folder.rglob("*.pt")) + list(folder.rglob("*.bin")) + list(folder.rglob("*.pkl"))
    card = (folder / "models" / "derived" / "README.md").read_text()
    assert "DARTS" in card
    assert "from scratch" in card


@pytest.mark.slow
def test_again_nothing_is_done_again(finished, context):
    folder, _ = finished
    before = content(folder / "models", folder / "baselines", folder / "checkpoints")
    code, said = Run(context, RECIPE, folder, *WORDS).end()
    assert code == 0, said
    assert content(folder / "models", folder / "baselines", folder / "checkpoints") == before


@pytest.mark.slow
def test_two_processes_train_together(tmp_path, context):
    """Paths in which edges lead nowhere too: each process waits for the gradients of all weights."""
    ranks = [Run(context, RECIPE, tmp_path / "run", *WORDS, env=env) for env in two_processes()]
    for code, said in [rank.end() for rank in ranks]:
        assert code == 0, said
    assert "Processes: 2 on cpu" in ranks[0].said
    assert (tmp_path / "run" / "models" / "derived" / "model.safetensors").exists()


@pytest.mark.slow
def test_cells_are_transferred(finished, tmp_path, context):
    folder, _ = finished
    sizes = {"max_train_samples": 128, "max_eval_samples": 64, "epochs": 1, "final_width": 4, "final_num_cells": 3}
    argv = [*words(sizes), f"--cells={folder / 'models' / 'derived'}", "--name=transferred"]
    code, said = Run(context, TRANSFER, tmp_path / "run", *argv).end()
    assert code == 0, said
    facts = read_facts(tmp_path / "run" / "models" / "transferred")
    assert facts["identity"]["architecture"] == read_facts(folder / "models" / "derived")["identity"]["architecture"]
    config = json.loads((tmp_path / "run" / "models" / "transferred" / "config.json").read_text())
    assert (config["width"], config["num_cells"]) == (4, 3)
    # A search's folder is left alone.
    code, said = Run(context, TRANSFER, folder, *argv).end()
    assert code == 1
    assert "must not hold a search" in said


CELLS = (
    "Genotype(normal=[('skip_connect', 0), ('sep_conv_3x3', 1)], normal_concat=range(2, 3), "
    "reduce=[('max_pool_3x3', 0), ('sep_conv_3x3', 1)], reduce_concat=range(2, 3))"
)


@pytest.mark.parametrize("name", ["", ".", "..", "../../cells", "a/b", ".hidden", "x" * 300])
def test_a_name_that_leads_elsewhere_replaces_no_folder(tmp_path, name):
    (tmp_path / "cells" / "models" / "other").mkdir(parents=True)
    transfer = runpy.run_path(str(TRANSFER))["main"]
    with pytest.raises(InvalidInputError, match="--name"):
        transfer([f"--cells={CELLS}", f"--name={name}", f"--output_dir={tmp_path / 'cells'}"])
    assert (tmp_path / "cells" / "models" / "other").is_dir()


def test_a_finished_network_of_other_cells_is_not_replaced(tmp_path):
    architecture = Genotype.parse(CELLS.replace("skip_connect", "avg_pool_3x3")).architecture().to_dict()
    facts = {"name": "transferred", "limits": [], "identity": {"architecture": architecture}, "costs": {}}
    folder = tmp_path / "models" / "transferred"
    folder.mkdir(parents=True)
    (folder / "searchhub.json").write_text(json.dumps({**facts, "metrics": {}}))
    with pytest.raises(InvalidInputError, match="Choose another `--name`"):
        runpy.run_path(str(TRANSFER))["main"]([f"--cells={CELLS}", f"--output_dir={tmp_path}"])


@pytest.mark.parametrize("recipe", [RECIPE, TRANSFER])
def test_whoever_interrupts_hears_what_is_kept(monkeypatch, capsys, recipe):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(arguments, "parse", interrupted)
    monkeypatch.setattr(sys, "argv", [str(recipe)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(recipe), run_name="__main__")
    assert ended.value.code == 130
    assert "finished networks are kept, the one in training starts anew" in capsys.readouterr().err


def recipe_settings(recipe, name):
    """All groups of settings of a recipe, from a file beside it."""
    return parse(runpy.run_path(str(recipe))["KINDS"], [f"--config={RECIPES / name}"], None)


def test_settings_for_cifar_are_the_papers():
    data, sizes, searching, training, wanted, _ = recipe_settings(RECIPE, "ddp_cells_cifar10.yaml")
    supernet_config = sizes.supernet(10, 32, 0).config
    assert (supernet_config.width, supernet_config.num_cells, supernet_config.reduction_layers) == (16, 6, [1, 2])
    assert searching.build(supernet_config.space(), 0).num_trials == 99
    final = supernet_config.final_config()
    assert (final.width, final.num_cells, final.reduction_layers) == (36, 20, [6, 13])
    settings, search = training.final_settings(), training.search_settings()
    assert (search.batch_size, search.learning_rate, search.min_learning_rate) == (512, 0.025, 0)
    assert (settings.batch_size, settings.auxiliary_weight, settings.drop_path, training.cutout) == (96, 0.4, 0.2, 16)
    assert [len(limits) for limits in read_limit_sets(None, None, wanted.equal)] == [1, 1, 1, 2, 2, 2]
    assert data.validation_size == 25_000


def test_settings_for_imagenet_are_the_papers():
    _, sizes, training, _, _ = recipe_settings(TRANSFER, "ddp_cells_imagenet.yaml")
    assert sizes.final_sizes() == {"width": 48, "num_cells": 14, "reduction_layers": [5, 9], "stem": "imagenet"}
    settings = training.final_settings()
    assert (training.epochs, settings.batch_size, settings.learning_rate) == (250, 512, 0.1)
    assert (settings.weight_decay, settings.auxiliary_weight, settings.label_smoothing) == (3e-5, 0.4, 0.1)


def test_settings_of_small_runs_are_read():
    _, sizes, searching, training, wanted, _ = recipe_settings(RECIPE, "ddp_cells_cifar10_small.yaml")
    assert searching.build(sizes.supernet(10, 16, 0).search_space, 0).num_trials == 99
    assert [len(limits) for limits in read_limit_sets(None, None, wanted.equal)] == [1, 1, 1, 2, 2, 2]
    assert training.final_settings().drop_path == 0.1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--searcher=random"], "--searcher"),
        (["--inherit_weights=true"], "--inherit_weights"),
        (["--max", "params"], "--max"),
        (["--equal", "non_parameter=99"], "non_parameter"),
        (["--auxiliary_weight=0.4"], "8 x 8"),
        (["--final_width=0"], "width"),
    ],
)
@pytest.mark.slow
def test_wrong_input_is_refused_before_the_search(tmp_path, context, argv, message):
    code, said = Run(context, RECIPE, tmp_path / "run", *WORDS, *argv).end()
    assert code == 1, said
    assert message in said
    assert "search:" not in said


@pytest.mark.slow
def test_a_dry_run_says_which_limits_are_feasible(tmp_path, context):
    together = r"params <= 1 and non_parameter = 2 and height = 2: NOT feasible \(the space spans [\d,]+ to [\d,]+\)"
    for argv, words_ in (([], "non_parameter = 2 and height = 2: feasible"), (["--max", "params=1"], together)):
        code, said = Run(context, RECIPE, tmp_path / "run", *WORDS, "--dry_run=true", *argv).end()
        assert code == 0, said
        assert re.search(words_, said)
    assert not (tmp_path / "run").exists()
