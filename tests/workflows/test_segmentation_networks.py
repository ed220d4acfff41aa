"""A trained segmentation network on its card, in the report, measured again, and in the table of Table 6."""

import base64
import io
import json
import runpy
import shutil

import numpy as np
import pytest
import torch
import yaml
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file, save_file

from searchhub.costs.macs import macs_table
from searchhub.costs.params import params_table
from searchhub.data.segmentation_loading import load_segmentation_task
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InvalidInputError
from searchhub.generation import Limit, generate
from searchhub.metrics.segmentation import VOID
from searchhub.networks import trainer as networks
from searchhub.networks.network import EXAMPLES, Network, read_facts
from searchhub.networks.saved_trainer import save_trainer
from searchhub.networks.trainer import NetworkTrainer
from searchhub.reports.html import write_report
from searchhub.result import SearchResult
from searchhub.training.settings import TrainingSettings
from searchhub.workflows.evaluation import evaluate_networks

from ..data.shapes import NAMES, pair, split
from ..models.tiny_segmentation import supernet_of
from ..recipes.harness import RECIPES
from ..reports.test_html import Page

DRIVES = ["street_0.png", "street_1.png", "street_2.png", "field_0.png"]
COLOURS = [[10, 200, 10], [200, 10, 10], [10, 10, 200]]
SCRIPT = runpy.run_path(str(RECIPES / "eval_segmentation.py"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with one network; not to be changed."""
    root = tmp_path_factory.mktemp("shapes")
    for name, rows in {"train": split(8), "validation": split(2, 20), "test": split(4, 30, DRIVES)}.items():
        rows.to_parquet(str(root / f"{name}.parquet"))
    augmentation = {"crop_size": [32, 48], "scale": [0.8, 1.2], "flip": True}
    task = load_segmentation_task(str(root), label_names=NAMES, palette=COLOURS, augmentation=augmentation, workers=1)
    supernet = supernet_of("mobile")
    space = supernet.search_space
    costs = (macs_table(supernet), params_table(supernet))
    result = SearchResult(space, (), ArchitectureDistribution.uniform(space)).with_costs(*costs)
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    trainer = NetworkTrainer(
        supernet,
        result,
        task,
        TrainingSettings(batch_size=4, learning_rate=0.05),
        Accelerator(cpu=True),
        epochs=1,
        seed=3,
        folder=folder,
    )
    folder.mkdir()
    result.save(folder / "result.json")
    save_trainer(trainer)
    limit = Limit("macs", max=costs[0].bounds()[1] / 2)
    patch = pytest.MonkeyPatch()
    patch.setattr(networks, "_picture", lambda *_: b"")
    trainer.train(Network("small", generate(result, limit), (limit,)))
    patch.undo()
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """The run, to be changed."""
    return shutil.copytree(trained, tmp_path / "run")


def facts_of(run):
    return read_facts(run / "models" / "small")


def change(run, **changes):
    (run / "models" / "small" / "searchhub.json").write_text(json.dumps({**facts_of(run), **changes}))


def measured(run, **options):
    [found] = evaluate_networks([run / "models" / "small"], Accelerator(cpu=True), **options)
    return found


# -- the card ---------------------------------------------------------------------------------------------------------


def test_the_card_has_a_table_of_classes_and_two_rows_of_metadata(trained):
    card = (trained / "models" / "small" / "README.md").read_text()
    _, head, body = card.split("---\n", 2)
    facts, metadata = facts_of(trained), yaml.safe_load(head)
    results = metadata["model-index"][0]["results"]
    assert [m["type"] for r in results for m in r["metrics"]] == ["mean_iou", "pixel_accuracy"]
    assert metadata["pipeline_tag"] == "image-segmentation"
    assert "By class on test:\n\n| class | iou |" in body
    for name, value in facts["by_class"]["iou"].items():
        assert f"| {name} | {value:.4g} |" in body
    assert "- `augmentation.crop_size`: 32, 48" in body
    assert "Input: 3 × 32 × 48" in body


def test_what_the_card_says_to_do_gives_the_class_of_each_pixel(trained, tmp_path, monkeypatch):
    folder = trained / "models" / "small"
    blocks = (folder / "README.md").read_text().split("```python\n")[1:]
    load, _, use = (block.split("\n```")[0] for block in blocks[:3])
    pair(40, size=(31, 45))[0].save(tmp_path / "picture.jpg")
    monkeypatch.chdir(tmp_path)
    done = {}
    exec(load.replace("path/to/small", str(folder)) + "\n" + use, done)
    assert done["classes"].shape == (31, 45)
    assert set(done["names"]) <= set(NAMES)


def test_nothing_of_the_data_is_in_the_folder_that_is_published(trained):
    pictures = {path.name for path in (trained / "models" / "small").rglob("*") if path.suffix in (".png", ".jpg")}
    assert pictures == {"architecture.png"}
    assert not any("Image" in line for line in (trained / "models" / "small" / "searchhub.json").read_text().split())


# -- measured again ---------------------------------------------------------------------------------------------------


def test_it_reaches_what_its_card_says(trained):
    found = measured(trained)
    assert found.metrics == pytest.approx(found.recorded, abs=1e-6)
    assert set(found.recorded) == {"mean_iou", "pixel_accuracy"}
    assert found.by_class["iou"] == pytest.approx(facts_of(trained)["by_class"]["iou"], abs=1e-6)
    found.check()


def test_a_mean_iou_that_is_not_reached_fails_however_few_the_pictures(run):
    facts = facts_of(run)
    change(run, metrics={**facts["metrics"], "mean_iou": facts["metrics"]["mean_iou"] + 0.006})
    with pytest.raises(InvalidInputError, match="must reach the mean_iou"):
        measured(run).check()


# -- the report -------------------------------------------------------------------------------------------------------


def test_the_report_shows_classes_and_strips(trained, tmp_path):
    page = Page(write_report(trained, tmp_path / "report.html").read_text())
    assert "Classes" in page.text_of("h2")
    assert f"{facts_of(trained)['by_class']['iou']['box']:.4f}" in page.visible
    assert ("span", "style", "background:#0ac80a") in page.attributes
    captions = page.text_of("figcaption")
    assert captions[:3] == ["picture", "truth", "small"]
    assert len(captions) == 9
    sources = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    shown = Image.open(io.BytesIO(base64.b64decode(sources[1].partition("base64,")[2]))).convert("RGB")
    truth = np.asarray(pair(30)[1])
    expected = np.zeros((*truth.shape, 3), dtype=np.uint8)
    for label, colour in enumerate(COLOURS):
        expected[truth == label] = colour
    assert (truth == VOID).any()
    assert np.array_equal(np.asarray(shown), expected)


def test_a_report_without_pictures_has_the_classes(run, tmp_path):
    shutil.rmtree(run / EXAMPLES)
    page = Page(write_report(run, tmp_path / "report.html").read_text())
    assert "iou of each class on the test split" in page.text_of("h3")
    assert "img" not in page.elements
    facts = facts_of(run)
    del facts["by_class"]  # as networks of other tasks
    (run / "models" / "small" / "searchhub.json").write_text(json.dumps(facts))
    page = Page(write_report(run, tmp_path / "report.html").read_text())
    assert "Classes" not in page.text_of("h2")


# -- the table --------------------------------------------------------------------------------------------------------


def said(capsys, *argv):
    SCRIPT["main"](list(map(str, argv)))
    line, text = capsys.readouterr().out.split("\n", 1)
    return json.loads(line), text


def test_the_table_has_the_form_of_table_6(trained, tmp_path, capsys):
    files = [tmp_path / "table6.md", tmp_path / "table6.json"]
    row, text = said(capsys, "--models", trained, "--check", "--output", *files)
    facts = facts_of(trained)
    assert row["metrics"] == pytest.approx(facts["metrics"], abs=1e-6)
    assert row["params"] == facts["costs"]["params"]
    small, large = row["macs"].values()
    assert list(row["macs"]) == ["512x1024", "1024x2048"]
    # Convolutions grow with the area, pooled branches do not; 32x48 is what the costs of the run refer to.
    assert facts["costs"]["macs"] * 512 * 1024 / (32 * 48) == pytest.approx(small, rel=0.02)
    assert large == pytest.approx(4 * small, rel=0.001)
    assert json.loads(files[1].read_text()) == {"networks": [row]}
    assert text.strip() == files[0].read_text().strip()
    head, _, line = text.strip().splitlines()[:3]
    assert head.startswith("| Models | Backbone | mIoU(%) | pixel accuracy(%) | Parameters(M) | FLOPs(B) at 512x1024 |")
    assert line.startswith(
        f"| small | searched_mobile, aspp, output stride 8 | {100 * row['metrics']['mean_iou']:.2f} |"
    )
    for name, value in row["by_class"]["iou"].items():
        assert f"| {name} | {value:.4f} |" in text


def test_windows_see_parts_of_pictures(run, capsys):
    model = run / "models" / "small"
    weights = load_file(model / "model.safetensors")
    torch.manual_seed(0)
    weights["segmentation_head.classifier.weight"].normal_()  # so short a training takes all for the ground
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    whole, _ = said(capsys, "--models", model)
    same, _ = said(capsys, "--models", model, "--window", 32, 48)
    assert same["metrics"] == whole["metrics"]
    parts, text = said(capsys, "--models", model, "--window", 16, 24, "--overlap=0.5")
    assert parts["metrics"] != whole["metrics"]
    assert (parts["window"], parts["overlap"]) == ([16, 24], 0.5)
    assert "windows of 16x24" in text


def test_one_drive_of_the_test_is_measured_alone(trained, capsys):
    row, text = said(capsys, "--models", trained, "--only", "street")
    assert (row["examples"], row["only"], row["recorded"]) == (3, "street", None)
    assert "test, 3 pictures with `street` in their names, whole" in text
    whole, _ = said(capsys, "--models", trained)
    rest, _ = said(capsys, "--models", trained, "--only", "field")
    assert (whole["examples"], rest["examples"]) == (4, 1)
    assert whole["recorded"] is not None


def test_other_data_are_named(trained, tmp_path, capsys):
    split(3, 90).to_parquet(str(tmp_path / "test.parquet"))
    split(3, 80).to_parquet(str(tmp_path / "train.parquet"))
    row, _ = said(
        capsys, "--models", trained, f"--dataset={tmp_path}", "--data", "validation_size=1", "validation_gap=0"
    )
    assert (row["examples"], row["recorded"]) == (3, None)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--check", "--window", "16", "24"], "`--check` needs whole pictures"),
        (["--check", "--only", "street"], "`--only` is a part of the test split"),
        (["--only", "street", "--split", "train"], "`--only` is a part of the test split"),
        (["--window", "16"], "`--window` must be a height and a width"),
        (["--output", "table.csv"], "`--output` must name files"),
    ],
)
def test_settings_that_do_not_fit(trained, argv, message):
    with pytest.raises(InvalidInputError, match=message):
        SCRIPT["main"](["--models", str(trained), *argv])
