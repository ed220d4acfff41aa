"""Networks of one run have their latency from one way of measuring."""

import json

import numpy as np
import pytest

from searchhub.costs.latency_table import LatencyTable
from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.space import Choice, SearchSpace
from searchhub.workflows.arguments import LimitArguments
from searchhub.workflows.latency import read_tables, refuse_mixed

SPACE = SearchSpace("s", (Choice("layer", ("conv", "skip")),))


def table(runtime, **more):
    entries = (np.array([2.0, 1.0]),)
    return LatencyTable("latency_ms", SPACE, 0.5, entries, device="a board", runtime=runtime, **more)


@pytest.fixture
def run(tmp_path):
    """A run with one network, whose latency was measured in torch before tables named their runtime."""
    facts = {
        "name": "fast",
        "identity": {"architecture": {"layer": "skip"}},
        "limits": [{"cost": "latency_ms", "max": 2.0, "min": None, "equal": None}],
        "costs": {"macs": 1.0, "latency_ms": 1.5},
        "units": {"macs": "multiply-adds", "latency_ms": "ms, a board, batch 1"},
        "metrics": {"accuracy": 0.5},
    }
    (tmp_path / "models" / "fast").mkdir(parents=True)
    (tmp_path / "models" / "fast" / "searchhub.json").write_text(json.dumps(facts))
    return tmp_path


def test_networks_of_another_runtime_or_batch_do_not_join_a_run(run):
    macs = CostTable("macs", SPACE, 0.0, (np.zeros(2),), "another count")
    refuse_mixed(run, [macs, table("torch"), table(None)])
    for other in (table("onnxruntime"), table("torch", batch_size=8), table("torch", threads=2)):
        with pytest.raises(InvalidInputError, match=r"`fast` has it in ms, a board, batch 1, and .* another `name`"):
            refuse_mixed(run, [macs, other])


def test_tables_of_one_name_are_refused(tmp_path):
    for name in ("a.yaml", "b.json"):
        table("torch").save(tmp_path / name)
    files = [tmp_path / "a.yaml", tmp_path / "b.json"]
    with pytest.raises(InvalidInputError, match=r"two are called `latency_ms`. Change the `name` in `.*b.json`"):
        read_tables(SPACE, files, sizes=dict, allow_other_device=True)
    with pytest.raises(InvalidInputError, match=r"but `.*a.yaml` was on a board"):
        read_tables(SPACE, files[:1], sizes=dict)


def test_a_recipe_reads_the_tables_that_it_is_given(tmp_path):
    class Supernet:
        search_space, config = SPACE, None

    table("onnxruntime").save(tmp_path / "here.json")
    given = LimitArguments(max=["latency_ms=2"], latency=[str(tmp_path / "here.json")], allow_other_device=True)
    [found] = given.latency_tables(Supernet())
    assert (found, found.runtime) == (table("onnxruntime"), "onnxruntime")
    assert LimitArguments().latency_tables(Supernet()) == []
