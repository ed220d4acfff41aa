"""The recipe for segmentation from end to end at its smallest, on pictures of shapes."""

import json

import pytest
import torch
from PIL import Image
from transformers import AutoModelForSemanticSegmentation, pipeline

from searchhub import SearchedMobileConfig, SearchedMobileForImageClassification
from searchhub.files import read_json_object
from searchhub.networks.network import read_facts
from searchhub.result import SearchResult

from ..data.shapes import NAMES, pair, split
from .harness import RECIPES, Run, content, words

RECIPE = RECIPES / "ddp_segmentation.py"
SIZES = {
    "stem_width": 8,
    "stem_stride": 2,
    "first_width": 8,
    "stage_widths": [8, 16],
    "stage_depths": [1, 2],
    "stage_strides": [2, 2],
}
SMALLEST = {
    "label_names": NAMES,
    "crop_size": [16, 24],
    "validation_gap": 0,
    "aspp_width": 8,
    "output_stride": 4,
    "kernel_sizes": [3, 5],
    "batch_size": 4,
    "epochs": 1,
    "steps_per_trial": 1,
    "estimation_epochs": 1,
    "scored": 4,
    "random_networks": 0,
    "train_largest": "false",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of parquet: frames of one drive to train on, and others to test on."""
    root = tmp_path_factory.mktemp("shapes")
    split(20, names=[f"drive_{i}.png" for i in range(20)]).to_parquet(str(root / "train.parquet"))
    split(4, 50).to_parquet(str(root / "test.parquet"))
    return root


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """The folder of a network that was found for classification."""
    folder = tmp_path_factory.mktemp("classifier")
    config = SearchedMobileConfig(**SIZES, head_width=16, num_labels=10, image_size=8, blocks=BLOCKS)
    SearchedMobileForImageClassification(config).save_pretrained(folder)
    return folder


BLOCKS = ["mbconv_e6_k5", "mbconv_e3_k3", "zero"]


def finish(context, data, folder, *argv, settings=SMALLEST, **options):
    code, said = Run(context, RECIPE, folder, f"--dataset={data}", *words(settings), *argv, **options).end()
    assert code == 0, said
    return said


BESIDE = ["--by_size", "--uniform", "--auxiliary_weight=0.4"]


@pytest.mark.slow
def test_it_searches_on_segmentation_itself(context, data, tmp_path):
    folder = tmp_path / "run"
    wanted = ["--max=macs=2M", "--cost_size", "48", "64", *BESIDE]
    said = finish(context, data, folder, *words(SIZES), *wanted, pictures=True)
    assert "validation is 4 stretches of train" in said.lower(), said
    result = SearchResult.load(folder / "result.json")
    assert all(0.0 < trial.score < 1.0 and "mean_iou" in trial.metrics for trial in result.history)
    published = folder / "models" / "macs-2M"
    model = AutoModelForSemanticSegmentation.from_pretrained(published)
    assert (model.config.id2label, model.config.output_stride) == (dict(enumerate(NAMES)), 4)
    facts = read_facts(published)
    assert 0.0 <= facts["metrics"]["mean_iou"] <= 1.0
    assert facts["costs"]["macs"] <= 2_000_000
    assert facts["identity"]["training"]["auxiliary_weight"] == 0.4
    assert not [name for name, _ in model.named_parameters() if "auxiliary" in name]
    uniform = read_json_object(folder / "baselines" / "macs-2M-uniform.json")["identity"]["architecture"]
    assert len({block for block in uniform.values() if block != "zero"}) == 1
    picture, _ = pair(70)
    masks = pipeline("image-segmentation", model=str(published))(picture)
    assert {mask["label"] for mask in masks} <= set(NAMES)
    assert {mask["mask"].size for mask in masks} == {picture.size}
    for name in ("theta", "pareto_macs"):
        assert Image.open(folder / "report" / f"{name}.png").width > 100
    assert 'role="img"' in (folder / "report" / "report.html").read_text()


@pytest.mark.slow
def test_a_classifier_goes_under_the_head_without_a_search(context, data, classifier, tmp_path):
    folder = tmp_path / "run"
    argv = [f"--transfer={classifier}", "--stem_width=16", "--width_multiplier=0.5", "--final_learning_rate=1e-6"]
    said = finish(context, data, folder, *argv)
    assert "in its own sizes with its trained weights" in said
    model = AutoModelForSemanticSegmentation.from_pretrained(folder / "models" / "transferred")
    assert (model.config.blocks, model.config.stage_widths) == (BLOCKS, SIZES["stage_widths"])
    trained = SearchedMobileForImageClassification.from_pretrained(classifier)
    for name, weights in trained.mobile.features.named_parameters():
        torch.testing.assert_close(model.mobile.features.get_parameter(name), weights, rtol=0, atol=1e-3)
    card = (folder / "models" / "transferred" / "README.md").read_text()
    assert f"`start`: weights of {classifier.name}, under a new head" in card
    finished = content(folder / "models")
    finish(context, data, folder, *argv)
    assert content(folder / "models") == finished, "the same command again keeps the network"
    assert not (folder / "result.json").exists() or not SearchResult.load(folder / "result.json").history
    assert json.loads((folder / "models" / "transferred" / "searchhub.json").read_text())["metrics"]["pixel_accuracy"]


CELLS = {"family": "darts", "stem": "imagenet", "width": 8, "num_cells": 3, "num_nodes": 2}
FINAL = {"final_width": 8, "final_num_cells": 3, "output_stride": 16}
OPERATIONS = ["none", "skip_connect", "sep_conv_3x3"]


@pytest.mark.slow
def test_cells_are_searched_on_segmentation_too(context, data, tmp_path):
    folder = tmp_path / "run"
    cells = {**SMALLEST, **CELLS, **FINAL, "operations": OPERATIONS}
    finish(context, data, folder, settings=cells, pictures=True)
    model = AutoModelForSemanticSegmentation.from_pretrained(folder / "models" / "derived")
    with torch.no_grad():
        logits = model.eval()(pixel_values=torch.zeros(1, 3, 33, 47)).logits
    assert logits.shape[:2] == (1, len(NAMES))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--dataset="], "`--dataset` must name pictures and masks"),
        (["--transfer={classifier}", "--kernel_sizes=3"], "mbconv_e6_k5"),
        (["--transfer={classifier}", "--inherit_weights"], "`--inherit_weights` is of a search's weights"),
        (["--output_stride=3", *words(SIZES)], "`output_stride` must be among"),
        (["--crop_size", "1", "2", "3"], "`--crop_size` must be a height and a width"),
    ],
)
def test_what_does_not_fit_is_said_before_any_work(context, data, classifier, tmp_path, argv, message):
    said = [word.format(classifier=classifier) for word in argv]
    code, log = Run(context, RECIPE, tmp_path / "run", f"--dataset={data}", *words(SMALLEST), *said).end()
    assert code == 1
    assert message in log, log
    assert not (tmp_path / "run").exists()
