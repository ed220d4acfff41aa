import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.generation import Limit, generate
from searchhub.hub.contents import Contents, contents_of, difference
from searchhub.hub.publish import publish
from searchhub.hub.search_folder import result_card
from searchhub.result import SearchResult
from searchhub.search import search
from searchhub.searchers.division import Division
from searchhub.searchers.random import RandomSearcher
from searchhub.space import Choice, SearchSpace
from searchhub.testing import ChainEvaluator
from searchhub.trial import Budget, Trial, TrialResult

HERE = Path(__file__).parent
SPACE = SearchSpace("s", (Choice("a", ("x", "y")), Choice("b", (1, 2, 3))))


@pytest.mark.slow
def test_with_the_real_client_against_a_loopback_hub(tmp_path):
    """Every case of publish_cases.py passes, and no token is left in anything that they wrote or said."""
    command = [sys.executable, HERE / "loopback.py", HERE / "publish_cases.py", tmp_path, "-q", "--durations=5"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTEST_"))}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=300)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert (tmp_path / "log.txt").stat().st_size > 1000
    assert any(path.name == "model.safetensors" for path in files)
    allowed = {path for path in files if path.name == "notes.txt"}  # written by the case that is refused for it
    assert [path for path in files if path not in allowed and b"hf_canary" in path.read_bytes()] == []
    assert "hf_canary" not in said


# -- no Hub is asked --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repo_id", ["a/b/c", "", "a b", "-a/b", "org/x.git", "path/../x"])
def test_names_that_no_repository_can_have(tmp_path, repo_id):
    with pytest.raises(InvalidInputError, match='`repo_id` must be like "owner/name", but got'):
        publish(tmp_path, repo_id)


def test_folders_that_hold_nothing_to_publish(tmp_path):
    with pytest.raises(InvalidInputError, match="must be a folder to be published, but is none"):
        publish(tmp_path / "nothing", "org/x")
    with pytest.raises(InvalidInputError, match=r"has no config.json and no model.safetensors and no README.md. Check"):
        publish(tmp_path, "org/x")
    (tmp_path / "models" / "macs-1M").mkdir(parents=True)
    (tmp_path / "models" / "macs-1M" / "config.json").write_text("{}")
    with pytest.raises(InvalidInputError, match=r"The networks of this run are in its `models`: macs-1M\."):
        publish(tmp_path, "org/x")
    (tmp_path / "config.json").write_text('{"model_type": "searched_mobile"}')
    with pytest.raises(InvalidInputError, match=r"has no model.safetensors and no README.md"):
        publish(tmp_path, "org/x")
    with pytest.raises(InvalidInputError, match="must be given to be published, but got a int"):
        publish(3, "org/x")


def test_a_result_in_a_folder(tmp_path):
    result = search(RandomSearcher(SPACE, num_trials=3), ChainEvaluator())
    result.save(tmp_path / "result.json")
    assert SearchResult.from_pretrained(tmp_path).to_dict() == result.to_dict()
    with pytest.raises(InvalidInputError, match='`repo_id` must be like "owner/name"'):
        SearchResult.from_pretrained(tmp_path / "nothing")


def test_whole_card_of_a_result():
    result = search(RandomSearcher(SPACE, num_trials=3), ChainEvaluator())
    assert result_card(result) == (
        "---\nlibrary_name: searchhub\ntags:\n- searchhub\n- neural-architecture-search\n---\n\n"
        "# Result of a search\n\n"
        "What one neural architecture search with searchhub left. A network for every limit is generated from it, "
        "without searching again.\n\n## How to use\n\n```python\nfrom searchhub import SearchResult, generate\n\n"
        'result = SearchResult.from_pretrained("path/to/search")\narchitecture = generate(result)\n```\n\n'
        "## What is in it\n\n- space: `s`, 2 choices, 6 architectures\n- trials: 3\n"
        "- θ: none, the best evaluated is generated\n"
        + "".join(f"- `{name}`: {value}\n" for name, value in result.searcher.items())
    )


def test_a_card_of_dc_nas_tells_of_its_clusters_and_takes_a_limit_that_can_be_met():
    """Only winners can be generated; half way between the bounds there may be none."""
    entries = (np.array([0.0, 1_000_000.0]), np.array([2_345.6, 0.0, 1.0]))
    winners = (SPACE.decode([1, 2]), SPACE.decode([1, 0]))
    history = tuple(TrialResult(Trial(i, a, Budget(2)), 0.25 * (i + 1)) for i, a in enumerate(winners))
    division = Division((700, 300), winners, (-1.5, -2.5)).to_dict()
    result = SearchResult(SPACE, history, costs={"macs": CostTable("macs", SPACE, 0.0, entries)}, division=division)
    card = result_card(result)
    assert "- clusters: 700, 300 architectures\n- no. 1, of cluster 1: 0.5000 fully trained, log-prob" in card
    assert "log-probability -2.5000: `y · 1`" in card
    assert "- no. 2, of cluster 0: 0.2500 fully trained, log-probability -1.5000: `y · 3`" in card
    (most,) = re.findall(r'Limit\("macs", max=(.*)\)\)', card)
    assert generate(result, Limit("macs", max=float(most))) == winners[1]
    one = result_card(SearchResult(SPACE, history[:1], costs=result.costs))
    (most,) = re.findall(r'Limit\("macs", max=(.*)\)\)', one)
    assert generate(SearchResult(SPACE, history[:1], costs=result.costs), Limit("macs", max=float(most))) == winners[0]


def model(**config):
    return contents_of({"config.json": {"model_type": "m", **config}}.get)


def test_versions_of_the_same():
    here = model(blocks=["a"], transformers_version="5.1", classifier_dropout=0.1, id2label={"0": "a", "1": "b"})
    there = model(blocks=["a"], transformers_version="5.0", classifier_dropout=0.0, new_setting=1)
    assert difference(here, there) is None


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        ({"width": 8}, {"width": 16}, "`width` is 16 there, 8 here"),
        ({"blocks": list("abcde")}, {"blocks": list("abXde")}, "`blocks` is 'X' at 2 there, 'c' at 2 here"),
        ({"id2label": {"0": "a"}}, {}, "`num_labels` is 2 there, 1 here"),
        ({"model_type": "n", "a": 1}, {"a": 2}, "`model_type` is 'm' there, 'n' here; `a` is 2 there, 1 here"),
        (dict.fromkeys("abcde", 1), dict.fromkeys("abcde", 2), "`c` is 2 there, 1 here (and 2 more)"),
    ],
)
def test_differences_in_words(here, there, words):
    assert difference(model(**here), model(**there)).endswith(words)


def test_kinds_differ():
    assert difference(Contents("model", {}), Contents("search result", {})) == "a search result there, a model here"
    assert contents_of({"config.json": {}, "result.json": {"space": 3}}.get) is None
