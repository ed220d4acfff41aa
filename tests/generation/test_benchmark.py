import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "generation.py"


def test_ends_with_its_result():
    arguments = ["--seeds", "1", "--layers", "6", "--survivor-layers", "12"]
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    name, line = done.stdout.splitlines()[-1].split(" ", 1)
    assert name == "RESULT"
    result = json.loads(line)
    assert result["front_points"] >= 1
    assert all(result[key] > 0 for key in ("front_ms", "limit_ms", "traversal_ms", "ratio", "cells_ms"))
