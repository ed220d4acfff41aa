"""What `--as_in_paper` makes of every recipe: its configuration as it stands when the search begins."""

import dataclasses
import runpy
from functools import partial

import pytest

from searchhub import SearchTrainer
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InvalidInputError
from searchhub.generation import generate
from searchhub.networks.choose import choose_networks
from searchhub.networks.trainer import NetworkTrainer
from searchhub.result import SearchResult
from searchhub.training.accelerator import make_accelerator
from searchhub.training.settings import TrainingSettings
from searchhub.workflows import divide_and_conquer, trainer
from searchhub.workflows.arguments import parse
from searchhub.workflows.as_in_paper import AS_IN_PAPER

from ..data.shapes import split
from ..data.tiny_text import write_glue
from ..training.tiny import TinyTask, tiny_supernet
from .bert_cases import SMALLEST as BERT
from .bert_cases import write_checkpoint
from .harness import RECIPES, words
from .test_ddp_segmentation import SIZES
from .test_ddp_segmentation import SMALLEST as SEGMENTATION

FEW = {"max_train_samples": 128, "max_eval_samples": 64}
DIVIDE = {"num_samples": 6, "num_clusters": 2, "proxy_epochs": 2, "proxy_share": 0.5, "epochs": 4}
SEARCHES = {
    "ddp_mobile": {**FEW, "stage_depths": [1, 1, 1], "kernel_sizes": [3, 5], "random_networks": 0},
    "ddp_cells_cifar10": {
        **FEW,
        "random_networks": 0,
        "num_nodes": 2,
        "operations": ["none", "skip_connect", "sep_conv_3x3"],
    },
    "ddp_bert_glue": {
        **{name: value for name, value in BERT.items() if name not in ("estimation_epochs", "scored")},
        "order": "none",
    },
}
SEARCHES["ddp_bert_glue"].pop("steps_per_trial")
SEARCHES["ddp_segmentation"] = {
    **{name: value for name, value in SEGMENTATION.items() if name not in ("estimation_epochs", "scored")},
    **SIZES,
}
SEARCHES["ddp_segmentation"].pop("steps_per_trial")
DIVISIONS = {
    "dc_channels_cifar100": {**FEW, **DIVIDE, "channels": [4, 4, 8, 8]},
    "dc_fbnet_imagenet": {
        **{**FEW, "search_classes": 5, "stage_depths": [1, 1, 1], "mixture_epochs": 2, "warmup_epochs": 1},
        **{"feature_images": 33, "num_samples": 50, "num_clusters": 2, "epochs": 1},
    },
    "dc_on_ddp": DIVIDE,
}
RECIPES_WITH_IT = [*SEARCHES, *DIVISIONS]
OTHER = {
    "searcher": "ddp-noprune",
    "paths": "fresh",
    "score": "likelihood",
    "scored": 200,
    "refine": 8,
    "judge": "parent",
    "objective": "predicted",
    "estimator": "pairs",
    "estimation_epochs": 2,
    "momentum": 0.0,
    "score_scale": 100.0,
    "theta_normalization": "sum",
    "warmup_trials": 1,
    "epochs_per_trial": 2,
    "steps_per_trial": 1,
    "min_learning_rate": 0.02,
}
"""Values that the papers do not have, the defaults of some options among them."""


class Began(Exception):
    """The search begins, with this searcher and evaluator."""


def begin(searcher, evaluator, **_):
    raise Began(searcher, evaluator)


@pytest.fixture
def started(tmp_path, monkeypatch, fresh_accelerate_state):
    """Starts a recipe as in the paper; its trainer, and the configurations of searcher and evaluator."""

    def start(recipe, settings):
        main = runpy.run_path(str(RECIPES / f"{recipe}.py"))["main"]
        made = []

        class Kept(SearchTrainer):
            def __init__(self, *given, **options):
                super().__init__(*given, **options)
                made.append(self)

        for module in (trainer, divide_and_conquer):
            monkeypatch.setattr(module, "search", begin)
        main.__globals__.update(search=begin, SearchTrainer=Kept)
        if recipe == "dc_on_ddp":
            main.__globals__["load_trainer"] = lambda *_, **__: of_search(tmp_path / "search")
        with pytest.raises(Began) as began:
            main([*words(settings), "--as_in_paper", f"--output_dir={tmp_path / 'run'}"])
        searcher, evaluator = began.value.args
        return made[0] if made else None, searcher, evaluator

    return start


def of_search(folder):
    supernet = tiny_supernet()
    result = SearchResult(supernet.search_space, (), ArchitectureDistribution.uniform(supernet.search_space))
    settings = TrainingSettings(batch_size=16)
    task = TinyTask(sizes=(64, 16, 16))
    return NetworkTrainer(supernet, result, task, settings, make_accelerator(), epochs=4, seed=0, folder=folder)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", SEARCHES)
def test_searches_are_those_of_ddpnas(started, tmp_path, recipe):
    settings = SEARCHES[recipe]
    if recipe == "ddp_bert_glue":
        write_checkpoint(tmp_path / "checkpoint")
        write_glue(tmp_path / "glue", "sst2", train=96, dev=24)
        settings = {**settings, "model_name_or_path": tmp_path / "checkpoint", "data_dir": tmp_path / "glue"}
    if recipe == "ddp_segmentation":
        split(20, names=[f"drive_{i}.png" for i in range(20)]).to_parquet(str(tmp_path / "train.parquet"))
        settings = {**settings, "dataset": tmp_path / "train.parquet"}
    made, searcher, evaluator = started(recipe, settings)
    config = searcher.config
    assert config == {
        "searcher": "DDPSearcher",
        "seed": 0,
        "budget": {"epochs": 1, "max_steps": None},
        "estimation_epochs": 3,
        "estimator": "mean",
        "momentum": 0.8,
        "prune": True,
        "evaluations": searcher.num_trials,
        "score_scale": 1.0,
        "normalization": "softmax",
    }
    assert searcher.trained_trials == searcher.num_trials
    # One path a trial, and the task's metric: what configurations leave out.
    assert not {"paths", "score"} & set(evaluator.config)
    assert not evaluator.whole_proposals
    assert evaluator.score_name == "metric"
    assert evaluator.config["training"]["min_learning_rate"] == 0.0
    assert evaluator.config["steps_per_trial"] == evaluator.task.size("train") // evaluator.settings.batch_size

    groups = recipe != "ddp_bert_glue"
    assert any(choice.groups for choice in searcher.space.choices) == groups
    assert isinstance(made.objective, partial)
    assert made.objective.func is generate
    assert made.objective.keywords == {"objective": "expectation", **({"candidates": "survivors"} if groups else {})}
    if recipe == "ddp_cells_cifar10":
        result = searcher.result().with_costs(*made.costs)
        options = {"random_networks": 0, "with_largest": False, "seed": 0}
        derived = choose_networks(result, (), find=made.objective, **options)
        assert [(n.name, n.architecture.certificate.method) for n in derived] == [("derived", "derived")]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", DIVISIONS)
def test_divisions_are_those_of_dc_nas(started, recipe):
    _, searcher, evaluator = started(recipe, DIVISIONS[recipe])
    assert "scored" not in searcher.config
    config = evaluator.config
    stages = [config] if recipe == "dc_fbnet_imagenet" else [config["early"], config["full"]]
    assert config["task"]["metric"] == "accuracy"
    for stage in stages:
        assert "score" not in stage
        assert stage["training"]["min_learning_rate"] == 0.0


@pytest.mark.parametrize("recipe", RECIPES_WITH_IT)
def test_other_values_are_refused_wherever_they_stand(recipe, tmp_path):
    """Also those that are an option's default: who gives one wants it."""
    module = runpy.run_path(str(RECIPES / f"{recipe}.py"))
    kinds = module.get("KINDS") or (module["SourceArguments"], module["DivideArguments"])
    own = {field.name for kind in kinds for field in dataclasses.fields(kind)} & set(AS_IN_PAPER)
    of_search = set(AS_IN_PAPER) - (set() if recipe == "ddp_bert_glue" else {"judge"})
    assert own == of_search if recipe in SEARCHES else own <= {"score", "min_learning_rate"}
    assert set(OTHER) == set(AS_IN_PAPER)
    for name in own:
        (tmp_path / "x.yaml").write_text(f"{name}: {OTHER[name]}\nas_in_paper: true\n")
        for argv in (
            ["--as_in_paper", f"--{name}={OTHER[name]}"],
            [f"--{name.replace('_', '-')}", str(OTHER[name]), "--as-in-paper"],
            [f"--config={tmp_path / 'x.yaml'}"],
        ):
            with pytest.raises(InvalidInputError, match=rf"`--{name}` must be .* with `--as_in_paper`, as the paper"):
                parse(kinds, argv, None)
        if AS_IN_PAPER[name] is not None:
            parse(kinds, ["--as_in_paper", f"--{name}={AS_IN_PAPER[name]}"], None)
    settings = {name: value for group in parse(kinds, ["--as_in_paper"], None) for name, value in vars(group).items()}
    assert {name: settings[name] for name in own} == {name: AS_IN_PAPER[name] for name in own}


def test_without_it_nothing_is_changed():
    kinds = runpy.run_path(str(RECIPES / "ddp_mobile.py"))["KINDS"]
    for argv in ([], ["--as_in_paper=false", "--paths=turns"]):
        settings = {name: value for group in parse(kinds, argv, None) for name, value in vars(group).items()}
        assert (settings["score"], settings["scored"], settings["objective"]) == ("likelihood", 200, None)
        assert settings["paths"] == ("turns" if argv else "fresh")
