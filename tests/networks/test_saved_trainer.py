import copy
import dataclasses
import json
import os

import pytest
import torch

from searchhub.data.distilled import DistilledTask
from searchhub.data.images import Augmentation, ImageTask
from searchhub.data.sources import load_task
from searchhub.errors import InvalidInputError, RunFolderError
from searchhub.generation import Limit, generate
from searchhub.hub.folder import save_supernet
from searchhub.models.mobile.supernet_mobile import MobileSupernetForImageClassification
from searchhub.networks import trainer as networks
from searchhub.networks.network import Network
from searchhub.networks.saved_trainer import load_trainer, save_trainer, supernet_class, supernet_config
from searchhub.result import SearchResult

from .tiny_run import DIGITS, tiny_trainer


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    trainer = tiny_trainer(tmp_path_factory.mktemp("runs") / "tiny", inherit_weights=True)
    save_trainer(trainer)
    return trainer


@pytest.fixture
def trainer(searched, tmp_path):
    """With a folder of its own."""
    return dataclasses.replace(searched, folder=tmp_path / "run")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(networks, "_picture", lambda *_: b"")


def network_of(result):
    limit = Limit("macs", max=sum(result.costs["macs"].bounds()) / 2)
    return Network("half", generate(result, limit), (limit,))


def test_a_trainer_comes_back_as_it_was(searched):
    loaded = load_trainer(searched.folder)
    for field in dataclasses.fields(searched):
        if field.name not in ("supernet", "task", "accelerator", "result", "command"):
            assert getattr(loaded, field.name) == getattr(searched, field.name), field.name
    assert loaded.result.to_dict() == searched.result.to_dict()
    assert loaded.task.source == searched.task.source
    assert loaded.task.fingerprint() == searched.task.fingerprint()
    weights, before = loaded.supernet.state_dict(), searched.supernet.state_dict()
    assert weights.keys() == before.keys()
    assert all(torch.equal(weights[name], before[name]) for name in before)
    # Whatever decides a training is among its identity: the weights that it starts from, too.
    network = network_of(loaded.result)
    assert loaded._identity(network) == searched._identity(network)


def test_a_network_trained_later_is_the_one_trained_then(searched, trainer):
    network = network_of(trainer.result)
    report = trainer.train(network)
    later = dataclasses.replace(load_trainer(searched.folder), folder=trainer.folder / "later")
    again = later.train(network)
    assert again.metrics == report.metrics
    assert again.facts["loss"] == report.facts["loss"]


def published(model):
    """Stands for what makes a stock model of one."""
    return model


def test_what_makes_the_published_model_is_kept(trainer):
    save_trainer(dataclasses.replace(trainer, publish_as=published))
    with pytest.raises(
        InvalidInputError, match=r"needs `.*\.published`.* consent to it: `searchhub train --trust-code`"
    ):
        load_trainer(trainer.folder)
    assert load_trainer(trainer.folder, trust_code=True).publish_as is published
    saved = json.loads((trainer.folder / "training.json").read_text())
    (trainer.folder / "training.json").write_text(
        json.dumps({**saved, "publish_as": "searchhub.networks.saved_trainer.gone"})
    )
    with pytest.raises(InvalidInputError, match=r"must hold what `save_trainer` wrote, but: AttributeError"):
        load_trainer(trainer.folder)
    change(trainer.folder / "training.json", publish_as="searchhub.networks.saved_trainer.read_json_object")
    with pytest.raises(InvalidInputError, match=r"must be a function that `searchhub.networks.saved_trainer` itself"):
        load_trainer(trainer.folder)
    with pytest.raises(InvalidInputError, match=r"`publish_as` must be a function of a module"):
        save_trainer(dataclasses.replace(trainer, publish_as=lambda model: model))


def test_where_networks_start_from_the_original_the_searched_weights_are_kept_too(trainer, searched):
    original = copy.deepcopy(searched.supernet)
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.mul_(2)
    save_supernet(original, trainer.folder / "original")
    save_trainer(dataclasses.replace(trainer, supernet=original), searched=searched.supernet)
    kept = MobileSupernetForImageClassification.from_pretrained(trainer.folder / "supernet")
    loaded = load_trainer(trainer.folder).supernet
    for name, parameter in searched.supernet.named_parameters():
        assert torch.equal(kept.get_parameter(name), parameter), name
        assert torch.equal(loaded.get_parameter(name), 2 * parameter), name


def test_what_is_written_is_hub_ready_and_readable(searched):
    folder = searched.folder
    assert {"README.md", "config.json", "model.safetensors"} <= {p.name for p in (folder / "supernet").iterdir()}
    assert (folder / "supernet" / "model.safetensors").stat().st_mode & 0o777 == 0o644
    saved = json.loads((folder / "training.json").read_text())
    assert saved["epochs"] == 1
    assert saved["training"]["batch_size"] == 32
    # The result carries its costs from now on: limits can name them.
    assert set(SearchResult.load(folder).costs) == {"macs", "params"}
    assert not [p for p in folder.iterdir() if p.name.endswith((".tmp", ".old"))]


def test_saving_twice_replaces_the_first(trainer):
    save_trainer(trainer)
    stray = trainer.folder / "supernet" / "stray"
    stray.touch()
    save_trainer(dataclasses.replace(trainer, epochs=7))
    assert not stray.exists()
    assert load_trainer(trainer.folder).epochs == 7


def test_a_save_that_fails_leaves_the_supernet_that_was_there(trainer, monkeypatch):
    save_trainer(trainer)

    def full(supernet, folder):
        (folder / "half").touch()
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("searchhub.hub.folder.write_supernet_folder", full)
    with pytest.raises(RunFolderError, match="No space left on device"):
        save_trainer(trainer)
    assert sorted(p.name for p in trainer.folder.iterdir()) == ["result.json", "supernet", "training.json"]
    load_trainer(trainer.folder)


def test_a_distilled_task_keeps_what_its_teacher_said(trainer, monkeypatch):
    monkeypatch.setattr(ImageTask, "augmented", False)  # with the augmentation below it is not
    task = load_task(DIGITS, augmentation=vars(Augmentation()))
    logits = torch.randn(task.size("full"), task.num_labels, generator=torch.Generator().manual_seed(0))
    distilled = dataclasses.replace(trainer, task=DistilledTask(task, logits))
    save_trainer(distilled)
    loaded = load_trainer(trainer.folder).task
    assert isinstance(loaded, DistilledTask)
    assert loaded.fingerprint() == distilled.task.fingerprint()


# -- code that a run names --------------------------------------------------------------------------------------------


def change(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


class OwnSupernet(MobileSupernetForImageClassification):
    """Stands for a supernet outside of searchhub."""


def test_a_loader_is_imported_only_with_consent(trainer, tmp_path, monkeypatch):
    (tmp_path / "own_data.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('imported').touch()\n"
        f"from searchhub import load_task\n\ndef load():\n    return load_task({DIGITS})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    save_trainer(trainer)
    change(trainer.folder / "training.json", task={"kind": "own_data:load"})
    with pytest.raises(
        InvalidInputError, match=r'`--task own_data:load`; in Python `data=\{"kind": "own_data:load"\}`'
    ):
        load_trainer(trainer.folder)
    assert not (tmp_path / "imported").exists()
    for consent in ({"data": {"kind": "own_data:load"}}, {"trust_code": True}):
        assert load_trainer(trainer.folder, **consent).task.source == {"kind": "own_data:load"}


def test_the_class_of_a_supernet_is_imported_only_with_consent(trainer):
    save_trainer(trainer)
    change(trainer.folder / "training.json", supernet=f"{__name__}.OwnSupernet")
    for load in (load_trainer, lambda folder: supernet_config(folder / "supernet")):
        with pytest.raises(InvalidInputError, match=r"needs `.*\.OwnSupernet`.* `load_trainer\(…, trust_code=True\)`"):
            load(trainer.folder)
    assert type(load_trainer(trainer.folder, trust_code=True).supernet) is OwnSupernet


# -- what cannot be gone on from --------------------------------------------------------------------------------------


def test_a_task_put_together_by_hand_is_refused(trainer):
    trainer.task.source, source = {}, trainer.task.source
    try:
        with pytest.raises(InvalidInputError, match="must have a `source`"):
            save_trainer(trainer)
    finally:
        trainer.task.source = source
    assert not trainer.folder.exists()


def test_other_data_are_refused(searched):
    with pytest.raises(InvalidInputError, match="must be trained on the data that it searched with"):
        load_trainer(searched.folder, data={"max_train_samples": 64})


def test_folders_without_a_trainer(tmp_path, trainer):
    with pytest.raises(InvalidInputError, match=r"must hold a training\.json"):
        load_trainer(tmp_path)
    save_trainer(trainer)
    (trainer.folder / "training.json").write_text('{"format_version": 9}')
    with pytest.raises(InvalidInputError, match=r"must have format version 1, but has 9"):
        load_trainer(trainer.folder)
    (trainer.folder / "training.json").write_text('{"format_version": 1}')
    with pytest.raises(InvalidInputError, match=r"must hold what `save_trainer` wrote, but: KeyError"):
        load_trainer(trainer.folder)


def test_a_supernet_by_itself(searched, tmp_path, monkeypatch):
    published = tmp_path / "supernet"
    searched.supernet.save_pretrained(published)
    assert supernet_class(published) is MobileSupernetForImageClassification
    assert supernet_config(published).to_dict() == supernet_config(searched.folder / "supernet").to_dict()
    config = json.loads((published / "config.json").read_text())
    (tmp_path / "evil.py").write_text("from pathlib import Path\nPath(__file__).with_name('imported').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    for names in (["SearchSpace"], ["os.system"], ["evil.Supernet"], ["nothing"], [""], [], "x", 7):
        (published / "config.json").write_text(json.dumps({**config, "architectures": names}))
        with pytest.raises(InvalidInputError, match="must be of a class that searchhub has"):
            supernet_class(published)
    assert not (tmp_path / "imported").exists()
    with pytest.raises(InvalidInputError, match=r"must hold a supernet, but has no config\.json"):
        supernet_class(tmp_path)
