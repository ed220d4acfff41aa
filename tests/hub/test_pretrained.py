import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification

from searchhub.errors import InvalidInputError
from searchhub.hub.pretrained import find_folder, load_model
from searchhub.models.mobile.modeling_mobile import SearchedMobileForImageClassification

from ..training.tiny import tiny_supernet
from .test_folder import save, small_model

HERE = Path(__file__).parent
BERT = BertConfig(
    vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=3
)


def test_a_published_folder_without_running_its_code(tmp_path):
    model = small_model()
    save(tmp_path / "x", model)
    (tmp_path / "x" / "modeling_mobile.py").write_text("raise SystemExit('code of the folder was run')")
    loaded = load_model(find_folder(str(tmp_path / "x")))
    assert type(loaded) is SearchedMobileForImageClassification
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


@pytest.mark.parametrize("kind", [BertForSequenceClassification, BertForTokenClassification])
def test_the_class_that_was_saved_in_float32(tmp_path, kind):
    kind(BERT).to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = load_model(find_folder(tmp_path))
    assert type(loaded) is kind
    assert loaded.dtype == torch.float32
    assert loaded.config.num_labels == 3


def test_folders_that_hold_no_model(tmp_path):
    with pytest.raises(InvalidInputError, match=r"must be the folder of a model, but is none"):
        find_folder(tmp_path / "nothing")
    with pytest.raises(InvalidInputError, match=r'`repo_id` must be like "owner/name"'):
        find_folder("a/b/c")
    with pytest.raises(InvalidInputError, match=r"but has no config.json"):
        load_model(tmp_path)
    tiny_supernet().save_pretrained(tmp_path / "supernet")
    with pytest.raises(InvalidInputError, match=r"transformers or searchhub can load, but: .*pass the model\."):
        load_model(tmp_path / "supernet")


def test_weights_are_never_a_pickle(tmp_path):
    model = BertForSequenceClassification(BERT)
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InvalidInputError, match=r"model\.safetensors"):
        load_model(tmp_path)


def test_a_class_that_no_auto_class_knows(tmp_path):
    BertForSequenceClassification(BERT).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, "architectures": ["BertForSomethingElse"]}))
    with pytest.raises(InvalidInputError, match=r"names \['BertForSomethingElse'\]\. If it brings code"):
        load_model(tmp_path)


@pytest.mark.slow
def test_with_the_real_client_against_a_loopback_hub(tmp_path):
    command = [sys.executable, HERE / "loopback.py", HERE / "pretrained_cases.py", tmp_path, "-q"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTEST_"))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hf_canary" not in done.stdout + done.stderr
