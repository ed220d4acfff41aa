import importlib
import json
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_ends_with_its_result(monkeypatch, capsys):
    """How good the figures are depends on the machine; that they are there does not."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    script = importlib.import_module("latency")
    monkeypatch.setattr(script, "SMALL", {**script.SMALL, "stage_depths": [1, 1, 1]})  # fewer blocks to be timed
    words = "--rounds=2 --check_rounds=2 --calibration=8 --held_out=3 --limits=2"
    monkeypatch.setattr("sys.argv", ["latency.py", *words.split()])
    script.main()
    name, line = capsys.readouterr().out.splitlines()[-1].split(" ", 1)
    result = json.loads(line)
    assert name == "RESULT"
    assert result["limits"] == 2
    assert 0 <= result["promised"]["met"] <= 2
    assert 0 <= result["verified"]["met"] <= result["verified"]["found"] <= 2
    assert result["mape"] > 0
    assert result["macs_mape"] > 0
