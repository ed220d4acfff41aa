import inspect
import os
import subprocess
import sys
from importlib import import_module
from importlib.machinery import BuiltinImporter
from pathlib import Path

import pytest
from transformers import BertForSequenceClassification, PreTrainedModel
from transformers.dynamic_module_utils import get_imports

from searchhub._auto_classes import families
from searchhub.costs.macs import macs_table
from searchhub.costs.params import params_table
from searchhub.hub.bare_model import save_bare_model
from searchhub.models.mobile import modeling_mobile
from searchhub.models.publishing import PublishMixin
from searchhub.models.supernet import Supernet
from searchhub.testing.supernet import SupernetContract

from ..training.tiny import tiny_supernet
from .families import FAMILIES

HERE = Path(__file__).parent
MODELINGS = {
    f.__name__.rpartition(".")[2]: import_module(f"{f.__name__}.modeling_{f.__name__.rpartition('.')[2]}")
    for f in families()
}


@pytest.mark.slow
def test_with_the_real_client_against_a_loopback_hub(tmp_path):
    command = [sys.executable, HERE / "loopback.py", HERE / "pushing_cases.py", tmp_path, "-q", "--durations=5"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTEST_"))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hf_canary" not in done.stdout + done.stderr


def test_every_family_is_tried():
    assert set(FAMILIES) == set(MODELINGS)


def base_of(modeling):
    (base,) = (
        kind
        for name, kind in vars(modeling).items()
        if name.endswith("PreTrainedModel") and kind.__module__ == modeling.__name__
    )
    return base


@pytest.mark.parametrize("family", MODELINGS)
def test_the_copies_are_equal_and_stand_where_every_class_of_a_family_finds_them(family):
    modeling, first = MODELINGS[family], modeling_mobile.SearchedMobilePreTrainedModel
    assert inspect.getsource(modeling.find_publishing) == inspect.getsource(modeling_mobile.find_publishing)
    for name in ("push_to_hub", "save_pretrained"):
        own = vars(base_of(modeling))[name]
        assert inspect.getsource(own) == inspect.getsource(vars(first)[name])
        kinds = [k for k in vars(modeling).values() if isinstance(k, type) and issubclass(k, base_of(modeling))]
        assert len(kinds) > 2
        assert all(getattr(kind, name) is own for kind in kinds)


@pytest.mark.parametrize("family", MODELINGS)
def test_modeling_files_ask_for_searchhub_only_when_they_push(family):
    assert "searchhub" not in get_imports(MODELINGS[family].__file__)


@pytest.mark.parametrize("family", MODELINGS)
def test_only_without_any_searchhub_transformers_own_push_is_used(family, monkeypatch):
    find = MODELINGS[family].find_publishing
    assert find().push_to_hub is PublishMixin.push_to_hub
    monkeypatch.setitem(sys.modules, "searchhub.models.publishing", None)  # as in an older searchhub
    with pytest.raises(ImportError, match=r"as new as this file.*searchhub\.models\.publishing.*Upgrade searchhub"):
        find()
    for name in [name for name in sys.modules if name.split(".")[0] == "searchhub"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [BuiltinImporter])  # which finds nothing that is installed
    assert find() is None


def test_a_supernet_of_any_family_pushes_by_the_mixin():
    assert issubclass(Supernet, PublishMixin)
    assert Supernet.push_to_hub is PublishMixin.push_to_hub is not PreTrainedModel.push_to_hub
    assert Supernet.save_pretrained is PublishMixin.save_pretrained


def test_the_contract_finds_a_network_that_pushes_as_transformers_does(monkeypatch):
    supernet, contract = tiny_supernet(), SupernetContract()
    monkeypatch.setattr(type(supernet), "subnet_class", BertForSequenceClassification)
    with pytest.raises(AssertionError, match=r"Let `BertForSequenceClassification` inherit .*PublishMixin"):
        contract.test_pushing_is_publishing(supernet)
    mixed = type("Mixed", (PublishMixin, BertForSequenceClassification), {})
    monkeypatch.setattr(type(supernet), "subnet_class", mixed)
    contract.test_pushing_is_publishing(supernet)


def test_sizes_on_the_card_are_those_of_the_cost_tables(tmp_path):
    supernet = tiny_supernet()
    architecture = supernet.search_space.decode([1] * len(supernet.search_space.choices))
    model = supernet.extract(architecture)
    before = model.config.to_dict()
    save_bare_model(model, tmp_path / "x", "x")
    card = (tmp_path / "x" / "README.md").read_text()
    assert f"- Parameters: {params_table(supernet)(architecture):,.0f}" in card
    assert f"- FLOPs (multiply-adds): {macs_table(supernet)(architecture):,.0f}" in card
    assert not (tmp_path / "x" / "searchhub.json").exists()
    assert {**model.config.to_dict(), "architectures": None} == {**before, "architectures": None, "dtype": "float32"}
