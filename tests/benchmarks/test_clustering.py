import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "clustering.py"


SMALL = ["--samples=20000", "--layers=6", "--epochs=10", "--clusters=3"]


def run(*arguments):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *SMALL, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    name, line = lines[-1].split(" ", 1)
    assert name == "RESULT"
    return lines[:-1], json.loads(line)


def test_ends_with_its_result():
    _, result = run("--explicit_gib=0.01")
    assert result["same_labels"]
    assert result["same_iterations"]
    assert result["converged"]
    assert result["explicit_samples"] == 7456
    assert result["iterations"] >= 2
    assert min(result[key] for key in ("cpu_seconds", "peak_gib", "inertia", "ratio")) > 0


def test_compares_numbers_of_clusters():
    lines, result = run("--over_k", "1", "3")
    assert [line.split()[0] for line in lines] == ["K", "1", "3"]
    assert result["silhouette"]["1"] is None
    assert -1 <= result["silhouette"]["3"] <= 1
