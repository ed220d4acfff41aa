import dataclasses
import io
import json

import datasets
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from searchhub.callbacks.progress import ProgressDisplay
from searchhub.costs.macs import macs_table
from searchhub.costs.params import params_table
from searchhub.data.images import Augmentation, ImageTask
from searchhub.distribution import ArchitectureDistribution
from searchhub.effects import PredictedQuality
from searchhub.errors import DivergedError, InvalidInputError
from searchhub.generation import Limit, generate
from searchhub.models.mobile.supernet_mobile import MobileSupernetConfig, MobileSupernetForImageClassification
from searchhub.models.nasbench201.supernet_nasbench201 import (
    NasBench201SupernetConfig,
    NasBench201SupernetForImageClassification,
)
from searchhub.networks import trainer as networks_module
from searchhub.networks.card_facts import Provenance
from searchhub.networks.network import comparison, read_facts, read_reports
from searchhub.networks.trainer import Network, NetworkTrainer
from searchhub.result import SearchResult
from searchhub.training.settings import TrainingSettings

CLASSES = ["dark", "bright"]


def small_task(n=24, **changes):
    """Is the upper half bright?"""
    rng = np.random.default_rng(0)
    labels = [i % 2 for i in range(n)]
    values = [rng.integers(0, 120, (8, 8, 3)) + np.where(np.arange(8) < 4, 130 * y, 0)[:, None, None] for y in labels]
    split = datasets.Dataset.from_dict(
        {"image": [Image.fromarray(v.astype(np.uint8)) for v in values], "label": labels},
        features=datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)}),
    )
    splits = dict.fromkeys(("train", "validation", "test"), split)
    options = {"image_column": "image", "label_column": "label", "label_names": CLASSES, "image_size": 8, **changes}
    return ImageTask("halves", splits, **options)


def small_supernet(seed=0):
    torch.manual_seed(seed)
    config = MobileSupernetConfig(
        num_labels=2,
        image_size=8,
        stem_width=8,
        stem_stride=1,
        first_width=8,
        stage_widths=[8, 16],
        stage_depths=[1, 1],
        stage_strides=[1, 2],
        head_width=16,
        kernel_sizes=[3, 5],
    )
    return MobileSupernetForImageClassification(config)


@pytest.fixture(scope="module")
def result():
    supernet = small_supernet()
    uniform = ArchitectureDistribution.uniform(supernet.search_space)
    costs = (macs_table(supernet), params_table(supernet))
    return SearchResult(supernet.search_space, (), uniform).with_costs(*costs)


DRAW = networks_module._picture


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """They take longer than the training; one test makes them."""
    monkeypatch.setattr(networks_module, "_picture", lambda *_: b"")


@pytest.fixture
def trainer(result, tmp_path):
    return NetworkTrainer(
        small_supernet(),
        result,
        small_task(),
        TrainingSettings(batch_size=8, learning_rate=0.02),
        Accelerator(cpu=True),
        epochs=2,
        seed=3,
        folder=tmp_path / "run",
        provenance=Provenance(command=["python", "x.py"]),
    )


@pytest.fixture
def network(result):
    limit = Limit("macs", max=sum(result.costs["macs"].bounds()) / 2)
    return Network("macs-half", generate(result, limit), (limit,))


@pytest.fixture
def fits(monkeypatch):
    """Counts how many networks were trained."""
    calls = []
    real = networks_module.fit
    monkeypatch.setattr(networks_module, "fit", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    return calls


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_facts_tell_no_secret_and_no_place(trainer, network):
    token = "hf_" + "c" * 20
    trainer.task.source = {"files": ["/home/ann/birds"], "more": {"api_key": "abc", "note": f"with {token}"}}
    facts = trainer.train(dataclasses.replace(network, published=False)).facts
    assert facts["task"] == {"files": ["birds"], "more": {"api_key": "REDACTED", "note": "with REDACTED"}}


# -- one network ------------------------------------------------------------------------------------------------------


def test_a_network_becomes_a_folder_that_does_what_its_card_says(trainer, network, result, monkeypatch):
    monkeypatch.setattr(networks_module, "_picture", DRAW)
    report = trainer.train(network)
    folder = trainer.folder / "models" / "macs-half"
    costs = {name: table(network.architecture) for name, table in result.costs.items()}
    assert report.costs == costs
    facts = read_facts(folder)
    assert facts["costs"] == costs
    assert facts["metrics"] == report.metrics
    assert facts["limits"] == [{"cost": "macs", "max": network.limits[0].max, "min": None, "equal": None}]
    assert facts["certificate"]["optimal"] is True
    assert (facts["split"], facts["examples"], facts["epochs"], facts["steps"]) == ("test", 24, 2, 12)

    card = (folder / "README.md").read_text()
    for words in (
        f"| accuracy | {report.metrics['accuracy']:.4g} | test | 24 |",
        f"Parameters: {costs['params']:,.0f}",
        f"FLOPs (multiply-adds): {costs['macs']:,.0f}",
        f"Chosen by: exact optimum of E[α] ({network.architecture.certificate.method})",
        "python x.py",
        "`start`: from scratch",
        "- Seed: 3",
    ):
        assert words in card, words
    Image.open(io.BytesIO((folder / "architecture.png").read_bytes())).verify()

    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    assert model.num_parameters() == costs["params"]
    assert model.config.id2label == {0: "dark", 1: "bright"}
    assert [model.config.blocks[i] for i in range(2)] == list(network.architecture.values())
    processor = AutoImageProcessor.from_pretrained(folder)
    batch = trainer.task.batch("test", torch.arange(24), device=torch.device("cpu"))
    pixels = trainer.task._pictures.read("test", torch.arange(24))
    pictures = [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in pixels]
    with torch.no_grad():
        said = model(**processor(pictures, return_tensors="pt")).logits.argmax(-1)
    assert (said == batch["labels"]).double().mean().item() == report.metrics["accuracy"]


def test_the_card_names_the_objective_and_what_it_predicts(trainer, result, monkeypatch):
    monkeypatch.setattr(networks_module, "_picture", DRAW)
    codes = result.space.sample(20, np.random.default_rng(0))
    prediction = PredictedQuality.of_scores(result.space, codes, np.linspace(0.2, 0.8, 20))
    predicting = dataclasses.replace(result, prediction=prediction)
    limit = Limit("macs", max=sum(result.costs["macs"].bounds()) / 2)
    architecture = generate(predicting, limit)
    trainer.train(Network("macs-half", architecture, (limit,)))
    folder, certificate = trainer.folder / "models" / "macs-half", architecture.certificate
    card = (folder / "README.md").read_text()
    assert f"Chosen by: exact optimum of predicted quality ({certificate.method})" in card
    assert f"Predicted loss: {certificate.loss:.4f} ± {certificate.deviation:.4f} (−log of the score)" in card
    assert read_facts(folder)["certificate"] == certificate.to_dict()


def test_a_baseline_is_only_measured(trainer, network):
    report = trainer.train(dataclasses.replace(network, name="macs-half-random0", published=False))
    assert list(content(trainer.folder)) == ["baselines/macs-half-random0.json"]
    facts = json.loads((trainer.folder / "baselines" / "macs-half-random0.json").read_text())
    assert facts["metrics"] == report.metrics
    # Trained like the published one: same weights, order and steps.
    assert trainer.train(network).metrics == report.metrics


def test_all_in_turn_with_progress(trainer, network):
    other = dataclasses.replace(network, name="other", published=False)
    out = io.StringIO()
    with ProgressDisplay(file=out) as progress:
        reports = trainer.train_all([network, other], progress)
    assert [r.network.name for r in reports] == ["macs-half", "other"]
    assert "train 2 networks: 2/2 done" in out.getvalue()
    assert f"best {reports[0].metrics['accuracy']:.4f}" in out.getvalue()


def test_steps_are_told(trainer, network):
    seen = []
    trainer.train(network, lambda done, total: seen.append((done, total)))
    assert seen == [(i, 12) for i in range(1, 13)]


def test_a_training_that_fails_publishes_nothing(trainer, network):
    wild = dataclasses.replace(trainer, settings=TrainingSettings(batch_size=8, learning_rate=1e30))
    with pytest.raises(DivergedError):
        wild.train(network)
    assert content(trainer.folder) == {}


# -- finished ones are kept -------------------------------------------------------------------------------------------


def test_a_finished_network_is_kept(trainer, network, fits):
    first = trainer.train(network)
    baseline = dataclasses.replace(network, name="b", published=False)
    second = trainer.train(baseline)
    before = content(trainer.folder)
    # A new process has other objects, and may say other things in the command; what decides is the same.
    told = Provenance(command=["python", "y.py"])
    again = dataclasses.replace(trainer, supernet=small_supernet(1), task=small_task(), provenance=told)
    assert again.train(network).metrics == first.metrics
    assert again.train(baseline).metrics == second.metrics
    assert again.train(network).costs == first.costs
    assert len(fits) == 2
    assert content(trainer.folder) == before


CHANGES = {
    "epochs": {"epochs": 1},
    "seed": {"seed": 4},
    "settings": {"settings": TrainingSettings(batch_size=8, learning_rate=0.03)},
    "data": {"task": small_task(n=16)},
    "augmentation": {"task": small_task(augmentation=Augmentation(flip=True))},
    "start": {"inherit_weights": True},
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_decides_a_training_trains_anew_in_a_folder_of_its_own(trainer, network, fits, what):
    first = trainer.train(network)
    before = content(first.folder)
    changed = dataclasses.replace(trainer, **CHANGES[what])
    other = changed.train(network)
    assert len(fits) == 2
    assert other.network.name == other.folder.name == read_facts(other.folder)["name"] == "macs-half.2"
    assert other.facts["identity"] != first.facts["identity"]
    assert content(first.folder) == before, "a finished network is never overwritten"
    assert changed.train(network).folder == other.folder
    assert trainer.train(network).folder == first.folder
    assert len(fits) == 2


def test_only_who_asks_for_it_replaces_a_finished_network(trainer, network, fits, result):
    baseline = dataclasses.replace(network, name="b", published=False)
    trainer.train(network)
    trainer.train(baseline)
    longer = dataclasses.replace(trainer, epochs=1)
    longer.train(baseline)
    assert sorted(p.name for p in (trainer.folder / "baselines").iterdir()) == ["b.2.json", "b.json"]
    assert {r.network.name for r in read_reports(trainer.folder)} == {"macs-half", "b"}
    third = dataclasses.replace(longer, seed=9).train(network)
    assert third.folder.name == "macs-half.2"
    replaced = dataclasses.replace(longer, replace=True).train(network)
    assert replaced.folder.name == "macs-half"
    assert read_facts(replaced.folder)["epochs"] == 1
    assert len(fits) == 5


def test_another_architecture_under_the_same_name_gets_a_folder_of_its_own(trainer, network, fits, result):
    trainer.train(network)
    other = result.space.decode([3, 3])
    assert other != network.architecture
    trained = trainer.train(dataclasses.replace(network, architecture=other))
    assert len(fits) == 2
    config = json.loads((trainer.folder / "models" / "macs-half.2" / "config.json").read_text())
    assert config["blocks"] == list(other.values())
    assert trained.folder.name == "macs-half.2"


def test_one_architecture_is_trained_once_and_named_for_all_its_limits(trainer, network, fits):
    """Limits of one call, and one that comes later; baselines of the same architecture share the numbers."""
    said = io.StringIO()
    wide, wider = (Limit("macs", max=factor * network.limits[0].max) for factor in (1.5, 2))
    others = [dataclasses.replace(network, name=f"macs-{i}", limits=(x,)) for i, x in enumerate((wide, wider))]
    with ProgressDisplay(1, file=said) as progress:
        [report] = trainer.train_all([network, others[0]], progress)
    assert report.network.limit_sets == (network.limits, (wide,))
    assert "is the same network as `macs-half`: trained once." in said.getvalue()
    assert str(int(wide.max)) in (report.folder / "README.md").read_text().replace(",", "")
    with ProgressDisplay(1, file=said) as progress:
        [again] = trainer.train_all([others[1]], progress)
    assert "`macs-1` is the same network as `macs-half`, which is trained already." in said.getvalue()
    assert (again.network.name, again.folder) == ("macs-half", report.folder)
    random = [dataclasses.replace(network, name=f"macs-half-random{i}", published=False) for i in range(2)]
    first, second = [trainer.train(n) for n in random]
    assert first.metrics == second.metrics
    assert len(fits) == 2
    [published, *_] = read_reports(trainer.folder)
    assert published.network.limit_sets == (network.limits, (wide,), (wider,))
    rows = comparison(read_reports(trainer.folder), "accuracy")
    assert [row["limit"] for row in rows] == [f"{x} (macs-half)" for x in (*network.limits, wide, wider)]
    assert [row["random within 5 %"] != "" for row in rows] == [True, False, False]
    assert sorted(p.name for p in (trainer.folder / "models").iterdir()) == ["macs-half"]


def test_inherited_weights_that_changed_train_anew(trainer, network, fits):
    inheriting = dataclasses.replace(trainer, inherit_weights=True)
    inheriting.train(network)
    inheriting.train(network)
    assert len(fits) == 1
    other = dataclasses.replace(inheriting, supernet=small_supernet(5)).train(network)
    assert len(fits) == 2
    assert other.folder.name == "macs-half.2"
    assert "`start`: weights of the supernet" in (trainer.folder / "models" / network.name / "README.md").read_text()


@pytest.mark.parametrize("text", ['{"identity": {', "{}"])
def test_facts_that_are_torn_train_anew(trainer, network, fits, text):
    baseline = dataclasses.replace(network, name="b", published=False)
    reports = [trainer.train(network), trainer.train(baseline)]
    for path in ("models/macs-half/searchhub.json", "baselines/b.json"):
        (trainer.folder / path).write_text(text)
    assert [trainer.train(network).metrics, trainer.train(baseline).metrics] == [r.metrics for r in reports]
    assert len(fits) == 4
    assert read_facts(trainer.folder / "models" / "macs-half")["metrics"] == reports[0].metrics


# -- where it starts --------------------------------------------------------------------------------------------------


def test_from_scratch_every_network_starts_from_the_seed_alone(trainer, network):
    torch.manual_seed(99)
    one = trainer.model(network.architecture).state_dict()
    two = dataclasses.replace(trainer, supernet=small_supernet(7)).model(network.architecture).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = dataclasses.replace(trainer, seed=4).model(network.architecture).state_dict()
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])
    assert not torch.equal(one["classifier.weight"], trainer.supernet.classifier.weight)


def test_inherited_weights_are_a_copy(trainer, network):
    inheriting = dataclasses.replace(trainer, inherit_weights=True)
    model = inheriting.model(network.architecture)
    assert torch.equal(model.classifier.weight, trainer.supernet.classifier.weight)
    before = {name: p.clone() for name, p in trainer.supernet.named_parameters()}
    inheriting.train(network)
    assert all(torch.equal(p, before[name]) for name, p in trainer.supernet.named_parameters())


def test_networks_of_other_sizes_inherit_no_weights(tmp_path):
    supernet = NasBench201SupernetForImageClassification(
        NasBench201SupernetConfig(num_labels=4, image_size=8, width=4, num_stages=1, cells_per_stage=1)
    )
    with pytest.raises(InvalidInputError, match="`inherit_weights` must be False"):
        NetworkTrainer(
            supernet,
            SearchResult(supernet.search_space, ()),
            small_task(),
            TrainingSettings(),
            Accelerator(),
            epochs=1,
            seed=0,
            folder=tmp_path,
            inherit_weights=True,
        )
