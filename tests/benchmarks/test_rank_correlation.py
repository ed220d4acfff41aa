import importlib
import itertools
import json
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

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


def test_scores_on_shared_weights_are_compared_with_the_table(table, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    script = importlib.import_module("rank_correlation")
    monkeypatch.setattr(script, "agreement", partial(script.agreement, draws=10))
    command = ["--dataset=digits", f"--table={table}", f"--output_dir={tmp_path / 'out'}", "--every=5", *SIZES]
    script.main(command)
    last = capsys.readouterr().out.splitlines()[-1]
    result = json.loads(last.removeprefix("RESULT "))
    assert result["trials"] == 5 + 4 + 3 + 2
    assert result["size"] == {"image_size": 8, "width": 4, "cells_per_stage": 1, "train_samples": 120}
    kept = json.loads((tmp_path / "out" / "seed0" / "probe6.json").read_text())
    assert list(kept) == ["0", "5", "10", "14"]
    assert all(len(scores) == 6 and 0 <= min(scores) <= max(scores) <= 1 for scores in kept.values())
    assert {probe["trials"] for probe in result["tau"]} <= {0, 5, 10, 14}
    assert result["tau_of_12_epochs"]["tau"] == 1.0
    assert [row["trials"] for row in result["tau_in_rounds"][0]] == [5, 4, 3, 2]
    assert 80 <= result["answer"][0] <= result["table_best"] == 86
    # The same command finds everything done: nothing is trained or validated, and the figures are the same.
    script.main(command)
    again = capsys.readouterr().out.splitlines()
    assert [line for line in again if line.startswith(("trial ", "6 architectures"))] == []
    assert again[-1] == last
