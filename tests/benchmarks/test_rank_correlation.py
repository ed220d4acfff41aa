import importlib
import itertools
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

import searchhub
from searchhub.evaluators.tabular import BenchmarkTable
from searchhub.result import SearchResult
from searchhub.space import Choice, SearchSpace

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "rank_correlation.py"
SIZES = [
    "--image_size=8",
    "--width=4",
    "--cells_per_stage=1",
    "--train_samples=120",
    "--eval_samples=40",
    "--architectures=6",
    "--estimation_epochs=1",
]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table in the form of NAS-Bench-201's, in which an architecture is the better the more convolutions it has."""
    path = tmp_path_factory.mktemp("table") / "nasbench201.parquet"
    keys = ["".join(digits) for digits in itertools.product("01234", repeat=6)]
    convolutions = np.array([sum(digit in "23" for digit in key) for key in keys], dtype=float)
    columns = {"val_acc_12ep": 50 + convolutions, "test_acc_200ep_mean": 80 + convolutions}
    columns |= {"params_M": np.ones(len(keys)), "flops_M": np.ones(len(keys))}
    pyarrow.parquet.write_table(
        pyarrow.table({"key": keys, **{f"cifar10/{name}": values for name, values in columns.items()}}), path
    )
    return path


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return importlib.import_module("rank_correlation")


def test_scores_on_shared_weights_are_compared_with_the_table(table, script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "agreement", partial(script.agreement, draws=10))
    pairs = []

    class Checked(script.Probe):
        def on_trial_end(self, result, done, total, best):
            pairs.append((result.score, script.shared_score(self.evaluator, result.trial.architecture)))
            super().on_trial_end(result, done, total, best)

    monkeypatch.setattr(script, "Probe", Checked)
    command = ["--dataset=digits", f"--table={table}", f"--output_dir={tmp_path / 'out'}", "--every=5", *SIZES]
    script.main(command)
    *said, last = capsys.readouterr().out.splitlines()
    result = json.loads(last.removeprefix("RESULT "))
    assert result["trials"] == 5 + 4 + 3 + 2
    sizes = {"image_size": 8, "width": 4, "cells_per_stage": 1, "train_samples": 120, "epochs_per_trial": 1}
    assert result["size"] == sizes
    kept = json.loads((tmp_path / "out" / "seed0" / "probe6.json").read_text())
    assert list(kept) == ["0", "5", "10", "14"]
    assert all(len(scores) == 6 and 0 <= min(scores) <= max(scores) <= 1 for scores in kept.values())
    assert [probe["trials"] for probe in result["tau"]] == [0, 5, 10, 14]
    # What is probed right after a trial is what the search saw, to the bit; and the scores are not all the same.
    assert len(pairs) == 14
    assert all(score == probed for score, probed in pairs)
    assert len({score for score, _ in pairs}) > 1
    # In the end one candidate an edge is left.
    final = SearchResult.load(tmp_path / "out" / "seed0" / "run")
    answer = searchhub.generate(final, candidates="survivors")
    assert result["tau"][0]["n_alive"] == 6
    codes = np.stack([final.space.encode(answer), final.space.encode(final.history[0].trial.architecture)])
    assert script.all_alive(final, codes, 14).tolist() == [True, final.history[0].trial.architecture == answer]
    assert script.all_alive(final, codes, 4).tolist() == [True, True]
    assert any(line.startswith("Scores of the trials") for line in said)
    assert result["tau_of_trials"][0].keys() == {"tau", "low", "high"}
    # The table counts convolutions; those that lead nowhere too.
    assert result["tau_of_properties"]["table"]["live_convolutions"] > 0
    assert result["tau_of_12_epochs"]["tau"] == 1.0
    assert [row["trials"] for row in result["tau_in_rounds"][0]] == [5, 4, 3, 2]
    assert 80 <= result["answer"][0] <= result["table_best"] == 86
    # The same command finds everything done: nothing is trained or validated, and the figures are the same.
    script.main(command)
    again = capsys.readouterr().out.splitlines()
    assert [line for line in again if line.startswith(("trial ", "6 architectures"))] == []
    assert again[-1] == last


def test_plain_properties_of_a_cell(script):
    # Edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3; none, skip, two convolutions, pooling.
    cells = {
        (3, 3, 3, 3, 3, 3): (6, 0),
        (0, 0, 0, 0, 0, 0): (0, 0),
        (3, 0, 0, 1, 0, 0): (0, 1),  # a convolution that leads nowhere
        (0, 0, 2, 0, 0, 2): (0, 0),  # two that nothing reaches
        (3, 0, 0, 0, 2, 0): (2, 0),
        (1, 0, 4, 0, 0, 2): (1, 0),
        (1, 3, 4, 0, 0, 4): (1, 1),
    }
    found = script.properties(np.array(list(cells), dtype=np.uint8))
    assert list(zip(found["live_convolutions"], found["free_path"], strict=True)) == list(cells.values())


def test_pairs_are_of_the_same_draw(script):
    """Weights that get better from draw to draw make no pair concordant."""
    space = SearchSpace("two", (Choice("a", ("x", "y")),))
    table = BenchmarkTable("two", space, np.array([0.5, 0.6]))
    scores = [(0.1, "y"), (0.2, "x"), (0.8, "y"), (0.9, "x"), (0.9, "x"), (0.9, "y")]
    history = [SimpleNamespace(score=s, trial=SimpleNamespace(round=0, architecture={"a": c})) for s, c in scores]
    state = SimpleNamespace(alive=[np.array([True, True])])
    result = SimpleNamespace(history=history, trajectory=[state, state])
    assert script.within_draws(result, table) == {"concordant": 0, "discordant": 2, "tau": -1.0}
