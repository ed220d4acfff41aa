import numpy as np
import pytest

from searchhub.metrics.classification import Accuracy


def test_accuracy():
    assert Accuracy().compute(predictions=[0, 1, 2, 2], references=[0, 1, 1, 2]) == {"accuracy": 0.75}


def test_in_batches_as_at_once():
    rng = np.random.default_rng(0)
    predictions, references = rng.integers(0, 3, (2, 50))
    metric = Accuracy()
    for i in range(0, 50, 16):
        metric.add_batch(predictions=predictions[i : i + 16], references=references[i : i + 16])
    assert metric.compute()["accuracy"] == pytest.approx((predictions == references).mean())


def test_a_script_of_that_name_in_the_working_directory_is_not_run(tmp_path, monkeypatch):
    """`evaluate.load("accuracy")` would execute it."""
    (tmp_path / "accuracy").mkdir()
    (tmp_path / "accuracy" / "accuracy.py").write_text("raise SystemExit('executed')")
    monkeypatch.chdir(tmp_path)
    assert Accuracy().compute(predictions=[1], references=[1]) == {"accuracy": 1.0}
