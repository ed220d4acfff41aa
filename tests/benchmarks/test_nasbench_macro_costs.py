import importlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from searchhub import (
    NasBenchMacroSupernetConfig,
    NasBenchMacroSupernetForImageClassification,
    macs_table,
    params_table,
)
from searchhub.evaluators.tabular import NASBENCH_MACRO_FILE

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "nasbench_macro_costs.py"
ALL = 3**8


@pytest.fixture
def table(tmp_path):
    """In the form of NAS-Bench-Macro's; its largest block in the last layer has one parameter more than here."""
    supernet = NasBenchMacroSupernetForImageClassification(NasBenchMacroSupernetConfig(num_labels=10))
    keys = ["".join(digits) for digits in itertools.product("012", repeat=8)]
    codes = np.array([[int(digit) for digit in key] for key in keys], dtype=np.uint8)
    macs, params = macs_table(supernet).of_codes(codes), params_table(supernet).of_codes(codes)
    off = params + (codes[:, 7] == 2)
    rows = {
        key: {"mean_acc": 50.0, "params": int(p), "flops": int(m)} for key, p, m in zip(keys, off, macs, strict=True)
    }
    path = tmp_path / NASBENCH_MACRO_FILE
    path.write_text(json.dumps(rows))
    return path


def test_counts_how_many_costs_are_as_published(table, monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    script = importlib.import_module("nasbench_macro_costs")
    monkeypatch.setattr("sys.argv", [str(SCRIPT), "--table", str(table)])
    script.main()
    *said, last = capsys.readouterr().out.splitlines()
    assert json.loads(last.removeprefix("RESULT ")) == {"macs": ALL, "params": ALL * 2 // 3, "networks": ALL}
    assert said[-1].endswith("4,374 of 6,561 as published")
