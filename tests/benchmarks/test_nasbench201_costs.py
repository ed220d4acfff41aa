import importlib
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from searchhub import NasBench201SupernetConfig, NasBench201SupernetForImageClassification, macs_table, params_table

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "nasbench201_costs.py"
ALL = 5**6


@pytest.fixture
def table(tmp_path):
    """In the form of NAS-Bench-201's, of pictures of 8 x 8; the published FLOPs count the classifier's bias too."""
    supernet = NasBench201SupernetForImageClassification(NasBench201SupernetConfig(num_labels=10, image_size=8)).final
    keys = ["".join(digits) for digits in itertools.product("01234", repeat=6)]
    codes = np.array([[int(digit) for digit in key] for key in keys], dtype=np.uint8)
    macs, params = macs_table(supernet).of_codes(codes) + 10, params_table(supernet).of_codes(codes)
    # Of the second data set one operation on one edge costs one more than it does.
    off = params + (codes[:, 5] == 3)
    columns = {"key": keys}
    for dataset, counted in (("cifar10", params), ("cifar100", off)):
        columns |= {f"{dataset}/params_M": counted / 1e6, f"{dataset}/flops_M": macs / 1e6}
        columns |= dict.fromkeys((f"{dataset}/val_acc_12ep", f"{dataset}/test_acc_200ep_mean"), np.full(ALL, 50.0))
    path = tmp_path / "nasbench201.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_counts_how_many_costs_are_as_published(table, monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    script = importlib.import_module("nasbench201_costs")
    monkeypatch.setattr(script, "SIZES", {"cifar10": (10, 8), "cifar100": (10, 8)})
    monkeypatch.setattr("sys.argv", [str(SCRIPT), "--table", str(table)])
    script.main()
    *said, last = capsys.readouterr().out.splitlines()
    assert json.loads(last.removeprefix("RESULT ")) == {
        "cifar10/macs": ALL,
        "cifar10/params": ALL,
        "cifar100/macs": ALL,
        "cifar100/params": ALL * 4 // 5,
    }
    assert said[-1].endswith("12,500 of 15,625 as published")
