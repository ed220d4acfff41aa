import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "export.py"


@pytest.mark.slow
def test_ends_with_its_result():
    """How fast it is depends on the machine; that it computes the same does not."""
    small = ["--networks=1", "--batch_size=2", "--rounds=1", "--min_run_time=0.01"]
    done = subprocess.run([sys.executable, str(SCRIPT), *small], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    name, line = done.stdout.splitlines()[-1].split(" ", 1)
    result = json.loads(line)
    assert name == "RESULT"
    assert (result["networks"], result["batch_size"], result["threads"]) == (1, 2, 1)
    assert result["ratio"] > 0
    assert result["max_abs_difference"] < 1e-4
