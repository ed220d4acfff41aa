"""Folders of networks for segmentation, as anyone loads them."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

from searchhub.hub.bare_model import save_bare_model
from searchhub.hub.folder import save_model_folder
from searchhub.hub.pretrained import load_model
from searchhub.models.mobile import AUTO_CLASSES

from ..models.tiny_segmentation import FAMILIES, model_of
from .test_folder import save, small_model

LABELS = {0: "sky", 1: "road", 2: "car"}


def labelled_model(family, **changes):
    return model_of(family, id2label=LABELS, label2id={n: i for i, n in LABELS.items()}, **changes)


def save_segmentation(family, folder):
    model = labelled_model(family)
    processor = SegformerImageProcessorPil(size={"height": 32, "width": 48})
    save_model_folder(model, folder, card="# card", facts={"name": "x"}, processor=processor)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_holds_the_code_of_its_own_task(tmp_path, family):
    model = save_segmentation(family, tmp_path / "x")
    code = {path.name for path in (tmp_path / "x").glob("*.py")}
    assert code == {f"{kind}.py" for kind in (f"configuration_{family}", f"modeling_{family}", _module(family))}
    named = json.loads((tmp_path / "x" / "config.json").read_text())["auto_map"]
    assert set(named) == {"AutoConfig", "AutoModel", "AutoModelForSemanticSegmentation", "AutoBackbone"}
    assert named["AutoModelForSemanticSegmentation"] == f"{_module(family)}.{type(model).__name__}"
    loaded = load_model(tmp_path / "x")
    assert type(loaded) is type(model)
    assert all(torch.equal(t, loaded.state_dict()[name]) for name, t in model.state_dict().items())


def _module(family):
    return f"modeling_{family}_segmentation"


def test_a_classifiers_folder_is_what_it_was(tmp_path):
    save(tmp_path / "x", small_model())
    config = json.loads((tmp_path / "x" / "config.json").read_text())
    without = {auto: path for auto, path in AUTO_CLASSES.items() if auto != "AutoModelForSemanticSegmentation"}
    assert config["auto_map"] == without
    assert not {"output_stride", "segmentation_head"} & set(config)
    assert not (tmp_path / "x" / "modeling_mobile_segmentation.py").exists()


def test_the_card_of_a_model_alone_says_what_it_does(tmp_path):
    save_bare_model(labelled_model("mobile"), tmp_path / "x", "roads")
    card = (tmp_path / "x" / "README.md").read_text()
    assert "pipeline_tag: image-segmentation" in card
    assert "AutoModelForSemanticSegmentation" in card
    assert "3 × 32 × 48" in card


LOAD = """
import json, sys
folder, inputs, picture, searchhub_here = sys.argv[1:]
if searchhub_here == "True":
    import searchhub
    trust = {}
else:
    sys.modules["searchhub"] = None  # `import searchhub` is an ImportError from here on
    trust = {"trust_remote_code": True}
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoBackbone, AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation, pipeline

torch.set_num_threads(1)
x = load_file(inputs)["x"]
processor = AutoImageProcessor.from_pretrained(folder)
model = AutoModelForSemanticSegmentation.from_pretrained(folder, **trust).eval()
config = AutoConfig.from_pretrained(folder, **trust)
backbone = AutoBackbone.from_config(config, **trust).eval()
image = Image.open(picture)
said = pipeline("image-segmentation", model=folder, **trust)(image)
with torch.no_grad():
    print("\\n" + json.dumps({
        "classes": [type(o).__module__.split(".")[0] for o in (config, model, backbone)],
        "names": [type(o).__name__ for o in (config, model, backbone, processor)],
        "logits": model(x).logits.tolist(),
        "pixels": processor(image, return_tensors="pt")["pixel_values"].tolist(),
        "pipeline": {s["label"]: (np.asarray(s["mask"]) > 0).tolist() for s in said},
    }))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("family", "searchhub_here"), [("mobile", True), ("darts", False)])
def test_loads_in_a_fresh_process(tmp_path, family, searchhub_here):
    model = save_segmentation(family, tmp_path / "x")
    x = torch.randn(2, 3, 45, 61)
    save_file({"x": x}, tmp_path / "inputs.safetensors")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8))
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
    got = json.loads(done.stdout.splitlines()[-1])
    assert got["classes"] == ["searchhub" if searchhub_here else "transformers_modules"] * 3
    prefix = FAMILIES[family][0]
    assert got["names"] == [
        f"{prefix}Config",
        f"{prefix}ForSemanticSegmentation",
        f"{prefix}Backbone",
        "SegformerImageProcessorPil",
    ]
    processor = SegformerImageProcessorPil(size={"height": 32, "width": 48})
    with torch.no_grad():
        torch.testing.assert_close(torch.tensor(got["logits"]), model(x).logits, atol=1e-5, rtol=1e-4)
        output = model(processor(picture, return_tensors="pt")["pixel_values"])
    (classes,) = processor.post_process_semantic_segmentation(output, target_sizes=[(37, 53)])
    assert set(got["pipeline"]) == {LABELS[i] for i in classes.unique().tolist()}
    for i, label in LABELS.items():
        if label in got["pipeline"]:
            assert (torch.tensor(got["pipeline"][label]) == (classes == i)).float().mean() > 0.999, label
