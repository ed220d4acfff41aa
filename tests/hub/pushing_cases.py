"""Models, supernets and results that push themselves. Run by test_pushing.py against a loopback Hub."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch
from transformers import AutoModel, AutoModelForImageClassification, BertForSequenceClassification

import searchhub
from searchhub import Limit, PublishedRevision, SearchResult, macs_table, publish
from searchhub.errors import HubError, InvalidInputError
from searchhub.search import search
from searchhub.searchers.ddp import DDPSearcher
from searchhub.testing import ChainEvaluator

from ..docs.test_docs import EXAMPLE
from ..models.tiny_bert import stock_config, tiny_bert_supernet
from ..training.tiny import tiny_supernet
from .families import FAMILIES, model_of
from .loopback import READER
from .test_folder import small_model


def refusal(call, *arguments, **options):
    with pytest.raises(InvalidInputError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def in_a_process(script, *arguments, **environment):
    """Runs a script as someone would who has this Hub; what it prints last is JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,  # a question whether to trust the code would be an error
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# -- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_pushes_code_and_card_and_keeps_its_place(hub, family):
    model, other = model_of(family), model_of(family, other=True)
    name, kind = f"org/{family}", type(model).__name__
    published = model.push_to_hub(name, commit_message="From memory")
    assert isinstance(published, PublishedRevision)
    files = hub.files(name)
    assert set(files) == {
        ".gitattributes",
        "README.md",
        "config.json",
        f"configuration_{family}.py",
        "model.safetensors",
        f"modeling_{family}.py",
    }
    assert hub.titles(name) == ["From memory"]
    config = json.loads(files["config.json"])
    assert f"modeling_{family}.{kind}" in config["auto_map"].values()
    assert "auto_map" not in model.config.to_dict()
    card = files["README.md"].decode()
    (auto_class,) = {a for a, path in config["auto_map"].items() if path.endswith(f".{kind}")}
    assert f'{auto_class}.from_pretrained("{name}", trust_remote_code=True)' in card
    assert f"- Parameters: {model.num_parameters():,}" in card
    assert "It does not know how the model was found" in card
    loaded = type(model).from_pretrained(name)
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key
    assert not model.push_to_hub(name).changed
    assert f"`{name}` must be new or hold the same model, but: `" in refusal(other.push_to_hub, name)
    assert hub.files(name) == files
    assert other.push_to_hub(name, overwrite=True).changed


def test_the_card_says_what_the_model_says_and_no_more(hub):
    small_model().push_to_hub("org/whole-card")
    assert hub.files("org/whole-card")["README.md"].decode() == CARD


CARD = """---
library_name: transformers
pipeline_tag: image-classification
tags:
- searchhub
- neural-architecture-search
---

# whole-card

`SearchedMobileForImageClassification`, a network of a search space, pushed with searchhub (3 classes).

This card was written from the model alone. It does not know how the model was found and trained, nor what it reaches.

## How to use

```python
import searchhub  # makes the model known to transformers
from transformers import AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained("org/whole-card")
```

Without searchhub, from the modeling files beside the weights. `trust_remote_code=True` runs those files: read them \
first, and pin a `revision`.

```python
from transformers import AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained("org/whole-card", trust_remote_code=True)
```

## Architecture

- `num_channels`: 3
- `image_size`: 8
- `stem_width`: 8
- `stem_stride`: 1
- `first_width`: 8
- `stage_widths`: 8, 16
- `stage_depths`: 2, 2
- `stage_strides`: 1, 2
- `head_width`: 16
- `blocks`: mbconv_e3_k3, zero, mbconv_e6_k5, mbconv_e3_k7
- `batch_norm_eps`: 0.001
- `stage_names`: stem, stage1, stage2
- `out_features`: stage2
- `out_indices`: 2

## Limits and sizes

- Parameters: 8,139
- FLOPs (multiply-adds): 183,344 (183.3K)
- Input: 3 × 8 × 8
"""


def test_it_is_what_publish_does_with_a_model(hub):
    model = model_of("mobile")
    model.push_to_hub("org/one-method", private=True)
    assert hub.repositories["org/one-method"].private
    assert not publish(model, "org/one-method").changed
    published = model_of("mobile", seed=1).push_to_hub("org/one-method", revision="longer", token=True)
    assert hub.repositories["org/one-method"].branches["longer"] == published.revision
    assert model_of("mobile", seed=1).push_to_hub("org/one-method", create_pr=True).pull_request


def test_a_class_that_came_from_an_auto_class(hub):
    model_of("mobile").push_to_hub("org/auto")
    loaded = AutoModelForImageClassification.from_pretrained("org/auto")
    loaded.push_to_hub("org/auto-again")
    assert hub.files("org/auto-again")["config.json"] == hub.files("org/auto")["config.json"]
    assert hub.files("org/auto-again")["model.safetensors"] == hub.files("org/auto")["model.safetensors"]
    assert loaded.config.auto_map  # as it was loaded
    body = AutoModel.from_pretrained("org/auto")
    body.push_to_hub("org/body")
    card = hub.files("org/body")["README.md"].decode()
    assert "`SearchedMobileModel`, a network of a search space" in card
    assert "classes)" not in card
    assert "pipeline_tag" not in card


def test_measured_numbers_of_other_weights_do_not_stay(hub):
    model_of("mobile").push_to_hub("org/measured")
    repository = hub.repositories["org/measured"]
    measured = {"searchhub.json": b"{}", ".eval_results/searchhub.yaml": b"[]", "preprocessor_config.json": b"{}"}
    repository.commit("main", {**repository.files("main"), **measured}, "measured")
    model_of("mobile", seed=1).push_to_hub("org/measured")
    assert set(hub.files("org/measured")) & set(measured) == {"preprocessor_config.json"}


def test_a_failed_push_names_the_call_that_goes_on(hub):
    with pytest.raises(HubError, match=r"to go on: `searchhub.publish\(model, 'org/refused', private=True\)`"):
        model_of("mobile").push_to_hub("org/refused", private=True, token=READER)
    assert "org/refused" not in hub.repositories


@pytest.mark.parametrize("make", [model_of, tiny_supernet, tiny_bert_supernet])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_shard_size": "1GB"}, "but got `max_shard_size`. Leave that out"),
        ({"tags": ["x"], "commit_description": "y", "create_pr": True}, "but got `commit_description`, `tags`."),
        ({"privat": True}, "but got `privat`."),
        ({"token": False}, "A token must be there to push with, but got `token=False`"),
    ],
)
def test_what_publish_does_not_take_is_refused(hub, make, options, words):
    model = make("mobile") if make is model_of else make()
    assert words in refusal(model.push_to_hub, "org/options", **options)
    assert "org/options" not in hub.repositories


@pytest.mark.parametrize("make", [*FAMILIES, tiny_supernet, tiny_bert_supernet])
def test_saving_does_not_push(hub, tmp_path, make):
    model = make() if callable(make) else model_of(make)
    hub.requests.clear()
    folder = tmp_path / "saved"
    assert "Leave it out, and call `push_to_hub(repo_id)`" in refusal(model.save_pretrained, folder, push_to_hub=True)
    assert "must only save" in refusal(model.save_pretrained, folder, True, None, True)  # as transformers orders them
    assert not folder.exists()
    assert hub.requests == []
    model.save_pretrained(folder, push_to_hub=False)
    assert (folder / "model.safetensors").exists()


def test_what_is_no_searched_model(hub):
    bert = BertForSequenceClassification(stock_config())
    assert "of a searchhub family must be given to be published, but got a BertForSeq" in refusal(
        publish, bert, "org/x"
    )
    text = refusal(publish, type("Other", (type(model_of("mobile")),), {})(model_of("mobile").config), "org/x")
    assert "of a searchhub family, or of transformers itself, must be given, but got a Other" in text
    assert "org/x" not in hub.repositories


# -- code from the Hub ------------------------------------------------------------------------------------------------

LOAD = """
import json, sys
searchhub_here, folder = sys.argv[1] == "True", sys.argv[2]
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name == "searchhub":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
if not searchhub_here:
    sys.meta_path.insert(0, NotInstalled())  # as Python says it where there is no searchhub
import torch
from transformers import AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained("org/remote", trust_remote_code=True).eval()
with torch.no_grad():
    logits = model(torch.ones(1, 3, 8, 8)).logits
def push(call, *arguments, **options):
    try:
        return type(call(*arguments, **options)).__name__
    except ValueError as error:
        return str(error)
name = f"org/remote-{searchhub_here}"
print("\\n" + json.dumps({
    "module": type(model).__module__.split(".")[0],
    "logits": logits.tolist(),
    "pushed": push(model.push_to_hub, name),
    "saved": push(model.save_pretrained, folder, push_to_hub=True, repo_id=name + "-saved"),
    "over": push(model.push_to_hub, "org/occupied"),
}))
"""


@pytest.mark.parametrize("searchhub_here", [True, False])
def test_code_from_the_hub_pushes_too(hub, tmp_path, searchhub_here):
    """With searchhub it is what `publish` does; without it the files still work, and do what transformers does."""
    model = model_of("mobile")
    model.push_to_hub("org/remote")
    model_of("mobile", other=True).push_to_hub("org/occupied", overwrite=True)
    before = hub.files("org/occupied")
    got = in_a_process(LOAD, searchhub_here, tmp_path / "saved", HF_MODULES_CACHE=str(tmp_path / "modules"))
    assert got["module"] == "transformers_modules"
    with torch.no_grad():
        assert torch.allclose(torch.tensor(got["logits"]), model(torch.ones(1, 3, 8, 8)).logits, atol=1e-6)
    pushed = hub.files(f"org/remote-{searchhub_here}")
    assert pushed["model.safetensors"] == hub.files("org/remote")["model.safetensors"]
    if searchhub_here:
        assert pushed["config.json"] == hub.files("org/remote")["config.json"]
        assert pushed["modeling_mobile.py"] == hub.files("org/remote")["modeling_mobile.py"]
        assert got["pushed"] == "PublishedRevision"
        assert "must only save, but got `push_to_hub=True`" in got["saved"]
        assert "`org/occupied` must be new or hold the same model" in got["over"]
        assert hub.files("org/occupied") == before
    else:
        assert got["pushed"] == got["over"] == "CommitInfo"
        assert "model.safetensors" in hub.files("org/remote-False-saved")


def test_a_family_of_ones_own(hub):
    spec = importlib.util.spec_from_file_location("my_space", EXAMPLE)
    my_space = sys.modules["my_space"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(my_space)
    supernet = my_space.MixerSupernet(my_space.MixerSupernetConfig(num_labels=4))
    space = supernet.search_space
    models = [supernet.extract(space.decode([code] * len(space.choices))) for code in (0, 1)]
    models[0].push_to_hub("org/mixer")
    files = hub.files("org/mixer")
    assert files["my_space.py"] == EXAMPLE.read_bytes()
    assert json.loads(files["config.json"])["auto_map"] == my_space.AUTO_CLASSES
    assert "- `mixers`: mlp, mlp, mlp" in files["README.md"].decode()
    assert "must be new or hold the same model, but: `hidden` is" in refusal(models[1].push_to_hub, "org/mixer")
    assert "must only save" in refusal(models[0].save_pretrained, "nowhere", push_to_hub=True)
    supernet.push_to_hub("org/mixer-supernet")
    assert my_space.MixerSupernet.from_pretrained("org/mixer-supernet").search_space == space


# -- supernets and results --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [tiny_supernet, tiny_bert_supernet])
def test_a_supernet_pushes_itself(hub, make):
    supernet = make()
    kind = type(supernet)
    name = f"org/{kind.__name__}"
    assert supernet.push_to_hub(name).changed
    assert set(hub.files(name)) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    assert f'{kind.__name__}.from_pretrained("{name}")' in hub.files(name)["README.md"].decode()
    assert kind.from_pretrained(name).search_space == supernet.search_space
    text = refusal(model_of("mobile").push_to_hub, name)
    assert f"`{name}` must be new or hold the same model, but: `model_type` is" in text


def test_a_result_pushes_itself(hub, tmp_path):
    found = search(DDPSearcher(tiny_supernet().search_space, estimation_epochs=1), ChainEvaluator())
    result = found.with_costs(macs_table(tiny_supernet()))
    published = result.push_to_hub("org/result", private=True, commit_message="A search")
    assert hub.repositories["org/result"].private
    assert hub.titles("org/result") == ["A search"]
    loaded = SearchResult.from_pretrained("org/result", revision=published.revision)
    limit = Limit("macs", max=sum(result.costs["macs"].bounds()) / 2)
    assert loaded.generate(limit) == searchhub.generate(result, limit)
    result.save_pretrained(tmp_path / "result")
    pushed = hub.files("org/result")
    assert (tmp_path / "result" / "result.json").read_bytes() == pushed["result.json"]
    card = (tmp_path / "result" / "README.md").read_text()
    assert card.replace('"path/to/search"', '"org/result"') == pushed["README.md"].decode()
    assert not publish(tmp_path / "result", "org/result").changed
    assert "a model here" in refusal(model_of("mobile").push_to_hub, "org/result")
