import importlib
import json
import re
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "supernet_step.py"


@pytest.mark.parametrize("space", ["nasbench201", "darts"])
def test_a_step_and_a_trial_are_timed_on_both_sides(space, monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    script = importlib.import_module("supernet_step")
    task = script.noise_task
    monkeypatch.setattr(script, "noise_task", lambda train, validation, size: task(train, 16, size))
    monkeypatch.setattr(script.gc, "freeze", lambda: None)
    trained = []
    train_pass = script.train_pass

    def counted(*arguments, **options):
        trained.append(options["what"])
        return train_pass(*arguments, **options)

    monkeypatch.setattr(script, "train_pass", counted)
    words = f"--space {space} --paths trial --architectures 1 --steps 1 --steps_per_epoch 1 --batch_size 8"
    monkeypatch.setattr("sys.argv", [str(SCRIPT), *words.split()])
    script.main()
    *said, last = capsys.readouterr().out.splitlines()
    result = json.loads(last.removeprefix("RESULT "))
    assert (result["space"], result["architectures"], result["steps_per_epoch"]) == (space, 1, 1)
    # One architecture: its ratios are the figures, and its seconds give one of them.
    shown = [float(number) for number in re.findall(r"\d+\.\d+", said[0])]
    assert [result["ratio"], result["trial_ratio"]] == pytest.approx(shown[:2], abs=0.001)
    assert shown[1] == pytest.approx(shown[2] / shown[3], rel=0.5)
    # Two steps to warm up and one that is timed, of each side; and the standalone side's trial.
    assert len(trained) == 2 * 3 + 1


@pytest.mark.parametrize("space", ["nasbench201", "segmentation"])
def test_paths_that_change_every_step_and_scores_are_timed(space, monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    script = importlib.import_module("supernet_step")
    task, pairs = script.noise_task, script.noise_pairs
    monkeypatch.setattr(script, "noise_task", lambda train, validation, size: task(train, 16, size))
    monkeypatch.setattr(script, "noise_pairs", lambda train, validation: pairs(train, 4))
    monkeypatch.setattr(script.gc, "freeze", lambda: None)
    words = f"--space {space} --architectures 2 --steps 1 --steps_per_epoch 1 --batch_size 8"
    monkeypatch.setattr("sys.argv", [str(SCRIPT), *words.split()])
    script.main()
    *said, last = capsys.readouterr().out.splitlines()
    result = json.loads(last.removeprefix("RESULT "))
    assert (result["paths"], result["architectures"]) == ("fresh", 2)
    shown = [float(number) for number in re.findall(r"\d+\.\d+", said[0])]
    assert [result[name] for name in ("ratio", "trial_ratio", "score_ratio")] == pytest.approx(shown[1:4], abs=0.001)
    assert result["architectures_per_second"] > 0
