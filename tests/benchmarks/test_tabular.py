import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "tabular.py"
SEARCHERS = {"random", "evolution", "ddp", "noprune", "regression", "pairs", "ours"}


def run(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=60)


def test_ends_with_its_result(tmp_path):
    picture = tmp_path / "regret.svg"
    done = run("--evaluations", "14", "--seeds", "3", "--curves", str(picture))
    assert done.returncode == 0, done.stderr
    name, line = done.stdout.splitlines()[-1].split(" ", 1)
    result = json.loads(line)
    assert name == "RESULT"
    # T · (3 + 2) within 14.
    assert (result["evaluations"], result["estimation_epochs"], result["seeds"]) == (10, 2, 3)
    assert result["best"] == {"artificial": 90.0}
    assert set(result["stderr"]) == SEARCHERS
    for searcher in SEARCHERS:
        # The artificial table reaches from 80 % to 90 %.
        assert 80 <= result[searcher]["artificial"] <= 90
    assert picture.read_text().lstrip().startswith("<?xml")


def test_says_what_it_needs():
    assert "--evaluations must be at least 5" in run("--evaluations", "4").stderr
    assert "--table must be one of" in run("--table", "/nonexistent").stderr
