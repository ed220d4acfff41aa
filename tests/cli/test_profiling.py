import importlib.util
import json
import re
from functools import partial

import pytest
import torch

from searchhub.costs import latency
from searchhub.costs.latency_table import LatencyTable
from searchhub.result import SearchResult

from ..costs.test_latency import Machine


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Time that no other process can spoil: a block takes as long as it has weights."""
    made = Machine()
    monkeypatch.setattr(latency, "measure_latency", partial(latency.measure_latency, time=made))
    return made


def test_profile_writes_a_table_that_generate_takes(cli, trained, tmp_path):
    table, threads = tmp_path / "here.json", torch.get_num_threads()
    done = cli("profile", trained, "--rounds", "1", "--threads", threads, "--output", table)
    assert done.exit_code == 0, done.output
    loaded = LatencyTable.load(table, SearchResult.load(trained).space)
    assert (loaded.batch_size, loaded.threads) == (1, threads)
    assert loaded.accuracy.mape < 1
    assert f"{loaded.accuracy.macs_mape:.4g}" in done.stdout
    assert f"searchhub generate {trained} --latency {table}" in done.stdout
    for what in ("blocks", "networks"):
        assert re.search(rf"measure {what}: (\d+)/\1 done", done.stderr)

    low, high = loaded.bounds()
    limit = round((low + high) / 2, 3)
    done = cli("generate", trained, "--latency", table, "--max", f"latency_ms={limit}", "--json")
    assert low <= json.loads(done.stdout)["certificate"]["costs"]["latency_ms"] <= limit


def test_a_network_is_trained_within_a_latency(cli, run, tmp_path):
    table = tmp_path / "here.json"
    cli("profile", run, "--rounds", "1", "--threads", torch.get_num_threads(), "--output", table)
    limit = round(LatencyTable.load(table, SearchResult.load(run).space).bounds()[1], 3)
    done = cli("train", run, "--latency", table, "--max", f"latency_ms={limit}", "--name", "fast", "--json")
    assert json.loads(done.stdout)["costs"]["latency_ms"] <= limit
    assert "latency_ms" in SearchResult.load(run).costs  # the run's report knows every network's from now on
    table.write_text(table.read_text().replace('"torch"', '"onnxruntime"', 1))
    done = cli("train", run, "--latency", table, "--max", f"latency_ms={limit}", "--name", "faster")
    assert "`latency_ms` must be measured alike for all networks" in done.stderr
    assert "latency_ms" in (run / "models" / "fast" / "README.md").read_text()
    done = cli("train", run, "--name", "../fast")
    assert "`--name` must be the name of a folder" in done.stderr


def test_profile_takes_a_supernet_and_a_batch_size(cli, trained, tmp_path, machine):
    table = tmp_path / "table.yaml"
    options = ["--rounds", "1", "--batch-size", "4", "--name", "ms_of_4", "--output", table]
    done = cli("profile", trained / "supernet", *options)
    assert f"--latency {table} --max ms_of_4=" in done.stdout
    assert "batch 4" in done.stdout
    assert machine.batches == {4}
    assert LatencyTable.load(table, SearchResult.load(trained).space, allow_other_device=True).batch_size == 4


def test_profiling_in_onnxruntime_needs_its_packages(cli, trained, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    there = lambda name, *rest: None if name == "onnxruntime" else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", there)
    done = cli("profile", trained, "--runtime", "onnxruntime", "--output", tmp_path / "table.json")
    assert 'but onnxruntime cannot be found. Run `pip install "searchhub[onnx]"`' in done.stderr


def test_what_cannot_be_profiled(cli, trained, tmp_path):
    assert "must hold a supernet, but has no config.json" in cli("profile", tmp_path).stderr
    model = trained / "models" / "macs-100K"
    assert "must be of a class that searchhub has" in cli("profile", model).stderr
    assert 'must be measured on "cpu" or "cuda"' in cli("profile", trained, "--device", "meta").stderr
