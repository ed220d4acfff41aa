import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def ran(monkeypatch, capsys):
    """Runs a benchmark to its end, as `python benchmarks/name.py …` would, and returns the lines that it printed.

    It runs in this process, for a fresh one takes longer to import torch than most benchmarks take at their smallest.
    """

    def run(name, *arguments):
        script = str(BENCHMARKS / f"{name}.py")
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [script, *map(str, arguments)])
            patch.syspath_prepend(BENCHMARKS)
            runpy.run_path(script, run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run
