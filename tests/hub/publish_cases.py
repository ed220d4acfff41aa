"""Publishing and loading with the real client. Run by test_publish.py, each case against the same loopback Hub."""

import json
import traceback
from functools import cache

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from transformers import AutoImageProcessor, AutoModelForImageClassification, ViTImageProcessorPil

import searchhub
from searchhub import (
    Limit,
    MobileSupernetForImageClassification,
    SearchResult,
    generate,
    macs_table,
    publish,
    save_model_folder,
)
from searchhub.errors import HubError, InvalidInputError
from searchhub.hub.card import CardFacts, Evaluation, eval_results_yaml, model_card
from searchhub.search import search
from searchhub.searchers.ddp import DDPSearcher
from searchhub.searchers.random import RandomSearcher
from searchhub.testing import ChainEvaluator

from ..training.tiny import tiny_supernet
from .loopback import READER, WRITER

FILES = {
    ".eval_results/searchhub.yaml",
    ".gitattributes",
    "README.md",
    "architecture.png",
    "config.json",
    "configuration_mobile.py",
    "model.safetensors",
    "modeling_mobile.py",
    "preprocessor_config.json",
    "searchhub.json",
}
MEASURED = Evaluation(metric="accuracy", value=0.5, split="test")
PICTURES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@cache
def network(seed=0, architecture=0):
    supernet = tiny_supernet(seed)
    space = supernet.search_space
    return supernet.extract(space.decode([architecture] * len(space.choices))).eval()


@pytest.fixture
def save(tmp_path):
    """Writes a model's folder."""

    def save(model=None, name="small", evaluations=(MEASURED,)):
        model = model or network()
        facts = CardFacts(
            model_name=name,
            model_class=type(model).__name__,
            architecture={"stage1.layer1": "zero"},
            processor_class="AutoImageProcessor",
            remote_code=True,
            dataset_id="someone/pictures",
            evaluations=evaluations,
        )
        save_model_folder(
            model,
            tmp_path / name,
            card=model_card(facts),
            facts={"name": name},
            processor=ViTImageProcessorPil(size={"height": 8, "width": 8}),
            pictures={"architecture.png": b"\x89PNG"},
            eval_results=eval_results_yaml(facts),
        )
        return tmp_path / name

    return save


@pytest.fixture(scope="module")
def result():
    space = tiny_supernet().search_space
    found = search(DDPSearcher(space, estimation_epochs=1), ChainEvaluator())
    return found.with_costs(macs_table(tiny_supernet()))


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(kind, *arguments, **options):
    with pytest.raises(kind) as caught:
        publish(*arguments, **options)
    text = str(caught.value)
    assert len(text) < 1000
    assert "hf_canary" not in "".join(traceback.format_exception(caught.value))  # with what it came from
    return text


# -- networks ---------------------------------------------------------------------------------------------------------


def test_create_push_pull(hub, save):
    model, folder = network(), save()
    before = content(folder)
    published = publish(folder, "org/pulled", private=True)
    assert published.changed
    assert str(published) == f"Published {hub.url}/org/pulled/commit/{published.revision}"
    assert set(hub.files("org/pulled")) == FILES
    assert hub.repositories["org/pulled"].private
    (title,) = hub.titles("org/pulled")
    assert title.startswith("Publish a model with searchhub ")
    loaded = AutoModelForImageClassification.from_pretrained("org/pulled").eval()
    assert type(loaded) is type(model)
    with torch.no_grad():
        assert torch.equal(loaded(PICTURES).logits, model(PICTURES).logits)
    assert AutoImageProcessor.from_pretrained("org/pulled").size["height"] == 8
    assert content(folder) == before


def test_the_card_names_the_repository(hub, save):
    folder = save()
    publish(folder, "org/card")
    text = hub.files("org/card")["README.md"].decode()
    assert text.count('from_pretrained("org/card"') == 4
    assert "path/to" not in text
    assert 'from_pretrained("path/to/small"' in (folder / "README.md").read_text()
    (measured,) = ModelCard(text).data.eval_results
    (entry,) = parse_eval_result_entries(yaml.safe_load(hub.files("org/card")[".eval_results/searchhub.yaml"]))
    assert (measured.metric_value, entry.value) == (0.5, 0.5)


def test_no_owner_is_the_owner_of_the_token(hub, save):
    published = publish(save(), "mine")
    assert published.repo_id == "someone/mine"
    assert 'from_pretrained("someone/mine"' in hub.files("someone/mine")["README.md"].decode()


def test_the_same_again_makes_no_commit(hub, save):
    first = publish(save(), "org/again")
    again = publish(save(), "org/again")
    assert not again.changed
    assert again.revision == first.revision
    assert str(again) == f"No change: org/again holds this already, at {first.revision}"
    assert len(hub.titles("org/again")) == 1


def test_new_weights_are_a_new_revision_and_the_old_one_stays(save):
    first = publish(save(network(seed=0)), "org/revisions")
    second = publish(save(network(seed=1)), "org/revisions", commit_message="Trained longer")
    assert second.revision != first.revision
    for seed, revision in ((0, first.revision), (1, second.revision), (1, None)):
        loaded = AutoModelForImageClassification.from_pretrained("org/revisions", revision=revision or "main").eval()
        with torch.no_grad():
            assert torch.equal(loaded(PICTURES).logits, network(seed)(PICTURES).logits)


def test_a_branch_is_made(hub, save):
    publish(save(network(seed=0)), "org/branches")
    published = publish(save(network(seed=1)), "org/branches", revision="longer")
    assert hub.repositories["org/branches"].branches["longer"] == published.revision
    assert hub.files("org/branches")["model.safetensors"] != hub.files("org/branches", "longer")["model.safetensors"]


def test_a_pull_request(hub, save):
    publish(save(network(seed=0)), "org/pr")
    published = publish(save(network(seed=1)), "org/pr", create_pr=True)
    assert published.pull_request == f"{hub.url}/org/pr/discussions/1"
    assert hub.files("org/pr")["model.safetensors"] != hub.files("org/pr", "refs/pr/1")["model.safetensors"]
    assert "`create_pr` must be False" in refusal(InvalidInputError, save(), "org/pr", create_pr=True, revision="x")


# -- another one in its place -----------------------------------------------------------------------------------------


def test_another_architecture_is_refused_and_then_pushed(hub, save):
    publish(save(network(architecture=0)), "org/taken")
    other = save(network(architecture=1))
    text = refusal(InvalidInputError, other, "org/taken")
    assert "`org/taken` must be new or hold the same model, but: `blocks` is ['mbconv_e3_k3'," in text
    assert "pass `overwrite=True`" in text
    assert "org/taken` must be new" in refusal(InvalidInputError, other, "org/taken", revision="side")
    assert list(hub.repositories["org/taken"].branches) == ["main"]
    assert len(hub.titles("org/taken")) == 1
    assert publish(other, "org/taken", overwrite=True).changed
    loaded = AutoModelForImageClassification.from_pretrained("org/taken")
    assert loaded.config.blocks == network(architecture=1).config.blocks


def test_weights_of_an_earlier_form_do_not_stay(hub, save):
    publish(save(), "org/shards")
    repository = hub.repositories["org/shards"]
    old = {"model-00001-of-00002.safetensors": b"x", "model.safetensors.index.json": b"{}", "LICENSE": b"mine"}
    repository.commit("main", {**repository.files("main"), **old}, "shards")
    publish(save(evaluations=()), "org/shards")
    assert set(hub.files("org/shards")) == FILES - {".eval_results/searchhub.yaml"} | {"LICENSE"}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.json": b'{"model_type": "bert", "hidden_size": 8}'}, "`model_type` is 'bert' there"),
        ({"config.json": b"not JSON", "x.gguf": b""}, "it holds config.json, x.gguf, and neither a model nor"),
        ({"result.json": b'{"space": {"name": "s", "choices": []}}'}, "a search result there, a model here"),
    ],
)
def test_something_else_is_refused(hub, save, files, words):
    publish(save(), "org/other", overwrite=True)
    hub.repositories["org/other"].commit("main", files, "other")
    assert words in refusal(InvalidInputError, save(), "org/other")
    assert hub.files("org/other") == files


def test_a_private_network_does_not_go_to_a_public_place(hub, save):
    publish(save(), "org/public")
    text = refusal(InvalidInputError, save(network(seed=1)), "org/public", private=True)
    assert "`private=True` must agree with `org/public`, but that is public already" in text
    assert len(hub.titles("org/public")) == 1


# -- searches and supernets -------------------------------------------------------------------------------------------


def test_a_result_generates_anywhere(hub, result, tmp_path):
    published = publish(result, "org/search")
    limit = Limit("macs", max=sum(result.costs["macs"].bounds()) / 2)
    for revision in (None, published.revision):
        loaded = SearchResult.from_pretrained("org/search", revision=revision)
        assert loaded.to_dict() == result.to_dict()
        assert generate(loaded, limit) == generate(result, limit)
    assert set(hub.files("org/search")) == {".gitattributes", "README.md", "result.json"}
    text = hub.files("org/search")["README.md"].decode()
    assert 'result = SearchResult.from_pretrained("org/search")' in text
    result.save(tmp_path / "run" / "result.json")
    (tmp_path / "run" / "journal.jsonl").write_text("{}\n")
    assert not publish(tmp_path / "run", "org/search").changed


def test_a_result_of_another_space_is_refused(result, save):
    publish(result, "org/space")
    other = tiny_supernet().config
    other.expansions = [3]
    found = search(RandomSearcher(other.space(), num_trials=2), ChainEvaluator())
    assert "must be new or hold the same search result, but: `choices`" in refusal(
        InvalidInputError, found, "org/space"
    )
    assert "a search result there, a model here" in refusal(InvalidInputError, save(), "org/space")


def test_a_supernet(hub):
    supernet = tiny_supernet(seed=3).to(memory_format=torch.channels_last)
    publish(supernet, "org/supernet")
    assert set(hub.files("org/supernet")) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    loaded = MobileSupernetForImageClassification.from_pretrained("org/supernet")
    assert loaded.search_space == supernet.search_space
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    text = hub.files("org/supernet")["README.md"].decode()
    assert 'MobileSupernetForImageClassification.from_pretrained("org/supernet")' in text
    assert not publish(supernet, "org/supernet").changed


def test_what_is_not_there():
    with pytest.raises(HubError, match="`org/nothing` must exist and be open to your token"):
        SearchResult.from_pretrained("org/nothing")
    with pytest.raises(HubError, match="`revision` must be a branch, tag or commit of `org/search`"):
        SearchResult.from_pretrained("org/search", revision="nothing")
    with pytest.raises(InvalidInputError, match=r"`org/supernet` must hold a result.json, but does not"):
        SearchResult.from_pretrained("org/supernet")


# -- refusals and failures --------------------------------------------------------------------------------------------


def test_a_token_that_is_unknown(hub, save):
    token = "hf_canary" + "U" * 28
    text = refusal(HubError, save(), "org/refused", token=token)
    assert "The token must be one that the Hub at http://127.0.0.1" in text
    assert "(401: Invalid credentials in Authorization header" in text
    assert ": REDACTED)" in text
    assert "to go on: `searchhub.publish('" in text
    assert token not in text
    assert "org/refused" not in hub.repositories


def test_a_token_that_may_not_write(hub, save):
    publish(save(), "org/readable")
    for repo_id in ("org/readable", "org/unwritten"):
        text = refusal(HubError, save(network(seed=1)), repo_id, token=READER)
        assert f"The token must be allowed to do this to `{repo_id}`" in text
        assert "403: You don't have the rights" in text
    assert "org/unwritten" not in hub.repositories


def test_no_token(save, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert "A token must be there to publish with, but none was found." in refusal(HubError, save(), "org/x")
    for token in ("hf_canary two", "hf_canary\n", "hf_canaryé"):
        assert "it is not shown" in refusal(HubError, save(), "org/x", token=token)


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("http://127.0.0.1:9", r"must be reachable and answer as one, but: Connection.* refused. Check the network"),
        ("{hub}/elsewhere", r"elsewhere must be a Hub, but does not know this call \(404: no such page\)"),
        ("nonsense", "must be reachable and answer as one, but: UnsupportedProtocol"),
    ],
)
def test_wrong_endpoint(hub, save, monkeypatch, endpoint, words):
    endpoint = endpoint.format(hub=hub.url)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    with pytest.raises(HubError, match=words):
        publish(save(), "org/endpoint")


@pytest.mark.parametrize(
    ("way", "status"), [("PUT /large/", 400), ("POST /api/models/org/ways/commit/", 500), ("/ways/preupload/", 400)]
)
def test_a_push_that_fails_on_the_way(hub, save, way, status):
    name = "org/ways"
    hub.repositories.pop(name, None)
    hub.large.clear()
    publish(save(network(seed=0)), name)
    folder = save(network(seed=7))
    before, there = content(folder), hub.files(name)
    hub.fail_once(way, status)
    text = refusal(HubError, folder, name, private=False, commit_message="Longer")
    assert f"must take every file, but answered {status}: made to fail." in text
    call = f"searchhub.publish({str(folder)!r}, '{name}', private=False, commit_message='Longer')"
    assert f"Nothing is lost, here or there; to go on: `{call}`." in text
    assert content(folder) == before
    assert hub.files(name) == there
    hub.requests.clear()
    assert eval(call, {"searchhub": searchhub}).changed
    assert hub.titles(name)[1:] == ["Longer"]
    # What had arrived before the commit failed is not sent again.
    assert any(r.startswith("PUT ") for r in hub.requests) == (status == 400)


def test_a_file_that_holds_a_token_is_not_sent(hub, save):
    folder = save()
    for secret in (WRITER, "hf_" + "x" * 34):
        (folder / "notes.txt").write_text(f"log in with {secret}\n")
        text = refusal(InvalidInputError, folder, "org/secret")
        assert f"No file may hold an access token to be published, but `{folder / 'notes.txt'}` does" in text
        assert secret not in text
    (folder / "notes.txt").unlink()
    (folder / ".env").write_text("x=1")
    publish(folder, "org/secret")
    assert ".env" not in hub.files("org/secret")


def test_facts_are_pushed_as_they_are(hub, save):
    publish(save(), "org/facts")
    assert json.loads(hub.files("org/facts")["searchhub.json"]) == {"name": "small"}
