"""The settings for ImageNet: that they are the paper's, and that they run on a folder laid out as ImageNet is."""

import json
import runpy
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

import searchhub
from searchhub.networks.choose import check_limits
from searchhub.workflows.arguments import parse

from .harness import Run

RECIPE = Path(__file__).parents[2] / "recipes" / "ddp_mobile.py"
SETTINGS = RECIPE.with_name("ddp_mobile_imagenet.yaml")


@pytest.fixture(scope="module")
def settings():
    """Data, space, search, training, networks, run."""
    return parse(runpy.run_path(str(RECIPE))["KINDS"], [f"--config={SETTINGS}"], None)


@pytest.fixture
def imagenet(tmp_path):
    """Four classes of pictures of different sizes and shapes, some gray and some CMYK, as JPEG."""
    rng = np.random.default_rng(0)
    sizes = [(50, 37), (37, 50), (120, 90), (12, 9), (20, 80)]
    for split, n in {"train": 12, "val": 6}.items():
        for c in range(4):
            folder = tmp_path / "imagenet" / split / f"n0{c}440764"
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 120, (*sizes[i % 5][::-1], 3), dtype=np.uint8)
                pixels[..., c % 3] += 40 * c
                mode = {1: "L", 2: "CMYK"}.get(i, "RGB")
                Image.fromarray(pixels).convert(mode).save(folder / f"{folder.name}_{i}.JPEG")
    return str(tmp_path / "imagenet")


def test_the_space_and_its_limits(settings):
    """ProxylessNAS: 21 layers, 6^6 7^15 architectures, 102.5M to 606.6M multiply-adds for 1,000 classes."""
    data, sizes, searching, _, wanted, run = settings
    supernet = sizes.supernet(1000, data.image_size, run.seed)
    space = supernet.search_space
    assert (len(space.choices), space.size) == (21, 6**6 * 7**15)
    costs = (searchhub.macs_table(supernet), searchhub.params_table(supernet))
    assert [round(bound / 1e6, 1) for bound in costs[0].bounds()] == [102.5, 606.6]
    limits = wanted.limits()
    assert [limit.max for limit in limits] == [600e6, 400e6, 200e6]
    check_limits(costs, limits, random_networks=wanted.random_networks)
    searcher = searching.build(space, run.seed)
    # Seven rounds of candidates less the last, three times each, in the layers that offer all seven.
    assert searcher.num_trials == 3 * (7 + 6 + 5 + 4 + 3 + 2)


def test_training_as_the_paper_says(settings):
    _, _, _, training, _, _ = settings
    search, final = training.search_settings(), training.final_settings()
    assert (search.batch_size, search.learning_rate, search.min_learning_rate) == (512, 0.025, 0.0)
    assert (search.momentum, search.weight_decay) == (0.9, 3e-4)
    assert (training.epochs, final.label_smoothing, final.min_learning_rate) == (120, 0.1, 0.0)
    assert (final.batch_size, final.learning_rate, final.weight_decay) == (1024, 0.4, 4e-5)


def test_pictures_of_a_folder_in_the_layout_of_imagenet(settings, imagenet, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    data = settings[0]
    assert (data.dataset, data.validation_size) == ("ILSVRC/imagenet-1k", 50_000)
    data = type(data)(**{**vars(data), "dataset": imagenet, "validation_size": 8.0, "decode_workers": 2})
    task = data.task(seed=0)
    assert [task.size(s) for s in ("train", "validation", "test", "full")] == [40, 8, 24, 48]
    assert task.decode == "on_the_fly"
    assert np.bincount(task._labels["validation"]).tolist() == [2, 2, 2, 2]
    # The validation pictures of ImageNet are the test, and the published preprocessor sees them as the task does.
    task.processor().save_pretrained(tmp_path / "processor")
    processor = AutoImageProcessor.from_pretrained(tmp_path / "processor")
    assert (processor.size["shortest_edge"], processor.crop_size["height"]) == (256, 224)
    files = sorted(Path(imagenet).glob("val/*/*.JPEG"))
    batch = task.batch("test", torch.arange(24), device=torch.device("cpu"))
    for path, pixels, label in zip(files, batch["pixel_values"], batch["labels"], strict=True):
        assert task.label_names[label] == path.parent.name
        seen = processor(Image.open(path), return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close(pixels, seen, atol=1e-6, rtol=0)
    # Training: parts, at the same place whenever asked.
    parts = task.batch("train", torch.arange(40), device=torch.device("cpu"), seed=1)["pixel_values"]
    assert parts.shape == (40, 3, 224, 224)
    assert torch.equal(
        task.batch("train", torch.tensor([7]), device=torch.device("cpu"), seed=1)["pixel_values"][0], parts[7]
    )


@pytest.mark.slow
def test_from_end_to_end(context, imagenet, tmp_path):
    """Search, network, reload in a fresh process."""
    words = "--validation_size 8 --image_size 32 --stem_width 8 --first_width 8 --stage_widths 8 16 --stage_depths 1 1"
    words += (
        " --stage_strides 2 2 --head_width 32 --kernel_sizes 3 --estimation_epochs 1 --steps_per_trial 2 --epochs 1"
    )
    words += " --batch_size 8 --final_batch_size 8 --max macs=300K --batch_norm_batches 1 --scored 2"
    argv = [f"--config={SETTINGS}", f"--dataset={imagenet}", *words.split()]
    code, said = Run(context, RECIPE, tmp_path / "run", *argv, reload=True).end()
    assert code == 0, said
    assert "Data: imagenet: 40 train, 8 validation, 24 test pictures of 32 x 32, 4 classes" in said
    model = tmp_path / "run" / "models" / "macs-300K"
    measured = json.loads(next(line for line in said.splitlines() if line.startswith('{"model"')))
    facts = json.loads((model / "searchhub.json").read_text())
    assert measured["accuracy"] == pytest.approx(facts["metrics"]["accuracy"], abs=1.5 / 24)
    assert (facts["examples"], facts["split"]) == (24, "test")
    processor = json.loads((model / "preprocessor_config.json").read_text())
    assert (processor["size"], processor["image_mean"][0]) == ({"shortest_edge": 37}, 0.485)
    assert (tmp_path / "run" / "report" / "report.html").exists()
