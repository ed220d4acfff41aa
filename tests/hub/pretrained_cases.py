"""Loading from the Hub with the real client. Run by test_pretrained.py against a loopback Hub."""

import pytest
import torch

from searchhub import publish
from searchhub.errors import HubError
from searchhub.hub.pretrained import find_folder, load_model

from .test_folder import save, small_model


def test_what_was_published_is_loaded_and_no_code_with_it(hub, tmp_path):
    model = small_model()
    save(tmp_path / "x", model)
    publish(tmp_path / "x", "org/x")
    folder = find_folder("org/x")
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "searchhub.json",
    }
    for name, tensor in model.state_dict().items():
        assert torch.equal(load_model(folder).state_dict()[name], tensor), name


def test_what_is_not_there(hub):
    with pytest.raises(HubError, match="`org/nothing` must exist and be open to your token"):
        find_folder("org/nothing")
