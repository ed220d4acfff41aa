"""The example of a space of one's own keeps the contracts, searches, and publishes."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import searchhub as sh
from searchhub.testing import SpaceContract
from searchhub.testing.supernet import SupernetContract
from searchhub.workflows import trainer

from .test_docs import EXAMPLE, ROOT, blocks, named_file, page_of, run

if "my_space" not in sys.modules:
    spec = importlib.util.spec_from_file_location("my_space", EXAMPLE)
    sys.modules["my_space"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["my_space"])
import my_space

OFFERED = (["mlp", "conv", "pool"], [12, 24, 48])
(SHOWN,) = [b for b in blocks(page_of("my_space"), "python") if named_file(b) == "tests/test_my_space.py"]
exec(compile(SHOWN, "my_space.md", "exec"))  # TestSpace and TestSupernet, as the page shows them


def test_the_page_names_the_contracts():
    assert issubclass(TestSpace, SpaceContract)  # noqa: F821
    assert issubclass(TestSupernet, SupernetContract)  # noqa: F821


def test_both_kinds_of_windows():
    supernet = my_space.MixerSupernet(my_space.MixerSupernetConfig(num_labels=4))
    chosen = {f"layer{i}.{kind}": c for i in range(3) for kind, c in (("mixer", "conv"), ("hidden", 12))}
    subnet = supernet.subnet(sh.Architecture(chosen))
    assert subnet.layers[1].mixer.depthwise.weight is supernet.layers[1].mixer["conv"].depthwise.weight
    assert torch.equal(subnet.layers[2].mlp.down.weight, supernet.layers[2].mlp.down.weight[:, :12])
    assert subnet.config.num_labels == 4


def test_costs_are_those_of_the_networks():
    supernet = my_space.MixerSupernet(my_space.MixerSupernetConfig(num_labels=4))
    table = sh.params_table(supernet)
    for row in supernet.search_space.sample(5, np.random.default_rng(0)):
        architecture = supernet.search_space.decode(row)
        assert table(architecture) == sum(p.numel() for p in supernet.subnet(architecture).parameters())


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder in which the example searched, on few digits."""
    folder = tmp_path_factory.mktemp("my_space")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "SCORED_BY_DEFAULT", 4)
        metrics = my_space.main(folder / "runs" / "my_space", epochs=1, max_train_samples=64, max_eval_samples=32)
    return folder, metrics


def test_it_searches_and_loads_again(searched):
    folder, metrics = searched
    assert 0 <= metrics["accuracy"] <= 1
    result = sh.SearchResult.load(folder / "runs" / "my_space")
    assert len(result.history) == 10 + 4
    model = my_space.MixerForImageClassification.from_pretrained(folder / "runs" / "my_space" / "models" / "macs-60K")
    (macs,) = {sh.macs_table(supernet_like(model))(chosen(model))}
    assert macs <= 60_000


def supernet_like(model):
    return my_space.MixerSupernet(my_space.MixerSupernetConfig(num_labels=model.config.num_labels))


def chosen(model):
    layers = enumerate(zip(model.config.mixers, model.config.hidden, strict=True))
    return {name: c for i, (m, h) in layers for name, c in ((f"layer{i}.mixer", m), (f"layer{i}.hidden", h))}


def test_its_networks_are_published_with_their_code(searched, monkeypatch):
    folder, _ = searched
    monkeypatch.chdir(folder)
    run(page_of("my_space"))
    network = folder / "runs" / "my_space" / "models" / "macs-60K"
    assert (network / "my_space.py").read_text() == EXAMPLE.read_text()
    card = (network / "README.md").read_text()
    assert "MixerForImageClassification" in card
    assert f"```bibtex\n{my_space.PAPER}\n```" in card
    script = (
        "import sys; from transformers import AutoModelForImageClassification as Auto\n"
        "print(type(Auto.from_pretrained(sys.argv[1], trust_remote_code=True)).__name__)"
    )
    environment = {"HF_MODULES_CACHE": str(folder / "modules"), "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", script, str(network)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.stdout.strip() == "MixerForImageClassification", done.stderr
    assert sh.load_trainer("runs/my_space", trust_code=True).supernet.search_space == my_space.mixer_space(3, *OFFERED)
