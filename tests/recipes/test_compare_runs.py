import importlib.util
import json

import pytest

from searchhub.errors import InvalidInputError
from searchhub.hub.trained import FACTS

from .harness import RECIPES


def script():
    spec = importlib.util.spec_from_file_location("compare_runs", RECIPES / "compare_runs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(file, name, accuracy, seed, limited=True):
    limits = [{"cost": "macs", "max": 100.0, "min": None, "equal": None}] if limited else []
    facts = {"name": name, "identity": {"architecture": {"a": "x"}, "seed": seed}, "limits": limits}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**facts, "costs": {"macs": 99.0}, "metrics": {"accuracy": accuracy}}))


@pytest.fixture
def runs(tmp_path):
    """Two seeds of DDPNAS with baselines, and one of them without pruning."""
    for seed, own, beside in ((0, 0.9, (0.8, 0.84)), (1, 0.8, (0.8, 0.82))):
        run = tmp_path / f"ddp{seed}"
        write(run / "models" / "macs-100" / FACTS, "macs-100", own, seed)
        for i, accuracy in enumerate(beside):
            write(run / "baselines" / f"macs-100-random{i}.json", f"macs-100-random{i}", accuracy, seed)
        write(run / "baselines" / "macs-100-uniform.json", "macs-100-uniform", 0.7, seed)
        write(run / "baselines" / "largest.json", "largest", 1.0, seed, limited=False)
        (run / "config.yaml").write_text("searcher: {searcher: DDPSearcher}\n")
    other = tmp_path / "noprune0"
    write(other / "models" / "macs-100" / FACTS, "macs-100", 0.95, 0)
    (other / "config.yaml").write_text("searcher: {searcher: DDPSearcher, prune: false}\n")
    return [str(path) for path in sorted(tmp_path.iterdir())]


def test_searchers_are_paired_with_baselines_of_their_limit_and_seed(runs, capsys):
    script().main(runs)
    said = capsys.readouterr().out
    result = json.loads(said.splitlines()[-1].removeprefix("RESULT "))
    assert result["DDPSearcher"] == {
        "DDPSearcher without pruning": {"difference": -0.05, "standard_error": None, "rows": 1, "share": 0.9474},
        "random": {"difference": 0.035, "standard_error": 0.045, "rows": 2, "share": 1.0429},
        "uniform": {"difference": 0.15, "standard_error": 0.05, "rows": 2, "share": 1.2143},
        "largest": {"difference": -0.15, "standard_error": 0.05, "rows": 2, "share": 0.85},
    }
    assert result["DDPSearcher without pruning"]["uniform"]["difference"] == 0.25
    assert "| macs <= 100 | 0 | 0.9000 | 0.9500 | 0.8200 ± 0.0283 (n=2) | 0.7000 | 1.0000 |" in said


def test_what_is_compared_must_be_there(runs, tmp_path):
    with pytest.raises(InvalidInputError, match=r"`--metric` must be one of \['accuracy'\]"):
        script().main([*runs, "--metric", "f1"])
    with pytest.raises(InvalidInputError, match=r"must be a run folder with its config.yaml"):
        script().main([str(tmp_path / "nowhere")])
