import errno
import json
import os
import resource
import stat
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    ViTImageProcessorPil,
)

from searchhub.errors import InvalidInputError, RunFolderError
from searchhub.hub import folder as folder_module
from searchhub.hub.folder import save_model_folder
from searchhub.models.mobile.configuration_mobile import SearchedMobileConfig
from searchhub.models.mobile.modeling_mobile import SearchedMobileForImageClassification
from searchhub.networks.network import read_facts

FILES = {
    "README.md",
    "architecture.png",
    "config.json",
    "configuration_mobile.py",
    "model.safetensors",
    "modeling_mobile.py",
    "preprocessor_config.json",
    "searchhub.json",
}


def small_model(seed=0):
    """A network whose every weight and statistic is a random number, in the memory format of training."""
    torch.manual_seed(seed)
    config = SearchedMobileConfig(
        image_size=8,
        stem_width=8,
        stem_stride=1,
        first_width=8,
        stage_widths=[8, 16],
        stage_depths=[2, 2],
        stage_strides=[1, 2],
        head_width=16,
        blocks=["mbconv_e3_k3", "zero", "mbconv_e6_k5", "mbconv_e3_k7"],
        id2label={0: "cat", 1: "dog", 2: "owl"},
        label2id={"cat": 0, "dog": 1, "owl": 2},
    )
    model = SearchedMobileForImageClassification(config).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.to(memory_format=torch.channels_last)


def save(folder, model=None, **changes):
    processor = ViTImageProcessorPil(size={"height": 8, "width": 8}, do_convert_rgb=True)
    options = {"card": "# card", "facts": {"name": "x"}, "processor": processor, "pictures": {"architecture.png": b"p"}}
    save_model_folder(model or small_model(), folder, **{**options, **changes})


def content(folder):
    """Every file below a folder, hidden ones too, with what it holds."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# -- what is in it ----------------------------------------------------------------------------------------------------


def test_a_complete_folder_that_others_may_read(tmp_path):
    save(tmp_path / "models" / "x")
    assert set(content(tmp_path)) == {f"models/x/{name}" for name in FILES}  # and no pickle
    for file in (tmp_path / "models" / "x").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o644, file
    assert (tmp_path / "models" / "x" / "README.md").read_text() == "# card"
    assert read_facts(tmp_path / "models" / "x") == {"name": "x"}


def test_a_stock_model_needs_no_code(tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = BertForSequenceClassification(BertConfig(vocab_size=20, **sizes))
    save(tmp_path / "x", model, processor=None, pictures=None)
    assert set(content(tmp_path / "x")) == {"README.md", "config.json", "model.safetensors", "searchhub.json"}
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "x")
    assert type(loaded) is BertForSequenceClassification
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))


def test_weights_are_stored_as_they_are(tmp_path):
    """In training they lie in channels-last memory; a file that was written as if they did not would be scrambled."""
    model = small_model()
    save(tmp_path / "x", model)
    stored = load_file(tmp_path / "x" / "model.safetensors")
    assert set(stored) == set(model.state_dict())
    assert any(not t.is_contiguous() for t in model.state_dict().values())
    for name, tensor in model.state_dict().items():
        assert torch.equal(stored[name], tensor), name
        assert stored[name].is_contiguous(), name


def test_saving_leaves_the_model_as_it_was(tmp_path):
    model = small_model()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    config = model.config.to_dict()
    save(tmp_path / "x", model)
    config["architectures"] = [type(model).__name__]  # noted by `save_pretrained`
    assert model.config.to_dict() == {**config, "dtype": model.config.to_dict()["dtype"]}
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_a_model_of_another_family(tmp_path):
    for model in (nn.Linear(2, 2), type("Mine", (nn.Module,), {"__module__": "__main__"})()):
        with pytest.raises(InvalidInputError, match="of transformers itself, must be given, but got a"):
            save(tmp_path / "x", model)
    assert content(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"name": "x"'])
def test_facts_that_cannot_be_read_are_none(tmp_path, text):
    (tmp_path / "searchhub.json").write_text(text)
    assert read_facts(tmp_path) is None
    assert read_facts(tmp_path / "nowhere") is None


# -- whole or not at all ----------------------------------------------------------------------------------------------


def nth_call_fails(monkeypatch, owner, name, n, error):
    real, calls = getattr(owner, name), []

    def call(*arguments, **options):
        calls.append(1)
        if len(calls) == n:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, call)


FAULTS = {
    "weights": (SearchedMobileForImageClassification, "save_pretrained", 1),
    "code": (folder_module.shutil, "copyfile", 2),
    "processor": (ViTImageProcessorPil, "save_pretrained", 1),
    "sync of a file": (folder_module, "sync", 3),
    "sync of the folder": (folder_module, "sync", len(FILES) + 1),
    "the old moved away": (folder_module.os, "replace", 1),
    "the new moved in": (folder_module.os, "replace", 2),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_a_fault_leaves_the_old_folder_and_nothing_else(tmp_path, monkeypatch, fault, kind):
    save(tmp_path / "models" / "x", card="# old")
    before = content(tmp_path)
    owner, name, n = FAULTS[fault]
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if kind is OSError else KeyboardInterrupt()
    nth_call_fails(monkeypatch, owner, name, n, error)
    with pytest.raises(RunFolderError if kind is OSError else KeyboardInterrupt):
        save(tmp_path / "models" / "x", small_model(1), card="# new")
    monkeypatch.undo()
    assert content(tmp_path) == before
    assert os.listdir(tmp_path / "models") == ["x"]
    save(tmp_path / "models" / "x", small_model(1), card="# new")
    assert (tmp_path / "models" / "x" / "README.md").read_text() == "# new"
    assert os.listdir(tmp_path / "models") == ["x"]


def test_a_fault_in_a_new_folder_leaves_none(tmp_path, monkeypatch):
    nth_call_fails(monkeypatch, folder_module.os, "replace", 1, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(RunFolderError, match=r"x` must be writable with space left.*No space left.*run the same"):
        save(tmp_path / "x")
    assert os.listdir(tmp_path) == []


def test_a_disk_that_is_full_while_weights_are_written(tmp_path):
    """safetensors reports it in an exception of its own."""
    save(tmp_path / "x", card="# old")
    before = content(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(RunFolderError, match=r"must be writable with space left.*File too large"):
            save(tmp_path / "x", small_model(1), card="# new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content(tmp_path) == before


@pytest.mark.parametrize("ending", ["tmp", "old"])
def test_what_a_killed_process_left_is_removed(tmp_path, ending):
    """Also of the same process number, which containers hand out again."""
    for number in (os.getpid(), 1):
        leftover = tmp_path / f".x.{number}.{ending}"
        leftover.mkdir()
        (leftover / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".x.y").mkdir()  # of someone else
    (tmp_path / ".y.1.tmp").mkdir()
    save(tmp_path / "x")
    assert sorted(os.listdir(tmp_path)) == [".x.y", ".y.1.tmp", "x"]
    assert set(os.listdir(tmp_path / "x")) == FILES


# -- loaded elsewhere -------------------------------------------------------------------------------------------------

LOAD = """
import json, sys
folder, inputs, picture, searchhub_here = sys.argv[1:]
if searchhub_here == "True":
    import searchhub
    trust = {}
else:
    sys.modules["searchhub"] = None  # `import searchhub` is an ImportError from here on
    trust = {"trust_remote_code": True}
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import (
    AutoBackbone, AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification, pipeline
)

torch.set_num_threads(1)
x = load_file(inputs)["x"]
config = AutoConfig.from_pretrained(folder, **trust)
processor = AutoImageProcessor.from_pretrained(folder)
model = AutoModelForImageClassification.from_pretrained(folder, **trust).eval()
body = AutoModel.from_pretrained(folder, **trust).eval()
backbone = AutoBackbone.from_config(config, **trust).eval()
image = Image.open(picture)
said = pipeline("image-classification", model=folder, **trust)(image)
refused = None
if trust:
    try:
        AutoModelForImageClassification.from_pretrained(folder)
    except Exception as error:
        refused = str(error)
with torch.no_grad():
    print("\\n" + json.dumps({
        "classes": [type(o).__module__.split(".")[0] for o in (config, model, body, backbone)],
        "names": [type(o).__name__ for o in (config, model, body, backbone, processor)],
        "logits": model(x).logits.tolist(),
        "features": body(x).pooler_output.tolist(),
        "maps": [list(m.shape) for m in backbone(x).feature_maps],
        "pixels": processor(image, return_tensors="pt")["pixel_values"].tolist(),
        "pipeline": [said[0]["label"], said[0]["score"], len(said)],
        "refused": refused,
    }))
"""


@pytest.mark.slow
@pytest.mark.parametrize("searchhub_here", [True, False], ids=["import searchhub", "trust_remote_code"])
def test_loads_in_a_fresh_process(tmp_path, searchhub_here):
    model = small_model()
    save(tmp_path / "x", model)
    x = torch.randn(4, 3, 8, 8)
    save_file({"x": x}, tmp_path / "inputs.safetensors")
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (11, 9, 3), dtype=np.uint8))
    picture.save(tmp_path / "picture.png")
    given = [str(tmp_path / name) for name in ("x", "inputs.safetensors", "picture.png")]
    places = {name: str(tmp_path / name) for name in ("HF_HOME", "HF_MODULES_CACHE")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *given, str(searchhub_here)],
        env={**os.environ, **places, "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,  # a question whether to trust the code would be an error
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout.splitlines()[-1])  # before it, the question whether to trust

    assert got["classes"] == ["searchhub" if searchhub_here else "transformers_modules"] * 4
    assert got["names"] == [
        "SearchedMobileConfig",
        "SearchedMobileForImageClassification",
        "SearchedMobileModel",
        "SearchedMobileBackbone",
        "ViTImageProcessorPil",
    ]
    if searchhub_here:
        assert "trust_remote_code" not in done.stdout + done.stderr
        assert not (tmp_path / "HF_MODULES_CACHE").exists()
    else:
        assert "trust_remote_code=True" in got["refused"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            # To the bit, in the memory format in which they are stored.
            model.to(memory_format=torch.contiguous_format)
            assert torch.equal(torch.tensor(got["logits"]), model(x).logits)
            assert torch.equal(torch.tensor(got["features"]), model.mobile(x).pooler_output)
            pixels = torch.tensor(got["pixels"])
            probabilities = model(pixels).logits.softmax(-1)[0]
    finally:
        torch.set_num_threads(threads)
    assert got["maps"] == [[4, 16, 4, 4]]
    resized = np.asarray(picture.resize((8, 8), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    torch.testing.assert_close(pixels[0], torch.from_numpy(resized / 127.5 - 1).float(), atol=1e-6, rtol=0)
    label, score, classes = got["pipeline"]
    assert label == ["cat", "dog", "owl"][int(probabilities.argmax())]
    assert score == pytest.approx(probabilities.max().item(), abs=1e-6)
    assert classes == 3
