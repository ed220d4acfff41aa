import json
import runpy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "dc_nas.py"
TINY = ["--image_size=8", "--channels", *"444444", "--max_train_samples=100", "--max_eval_samples=50"]
SHORT = ["--etas", "2", "3", "--full_epochs=4", "--share=0.5", "--batch_size=32"]


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


@pytest.fixture
def run(ran):
    return partial(ran, "dc_nas")


@pytest.mark.slow
def test_parts_make_the_networks_of_one_run_and_go_on(run, tmp_path):
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    run("train", f"--lines={whole}", "--networks=3", *TINY, *SHORT)
    assert "1 to do" in run("train", f"--lines={parts}", "--networks=3", "--part=1/2", *TINY, *SHORT)[0]
    with parts.open("a") as file:
        file.write('{"network": 0, "torn')
    assert "1 networks are done; 2 to do" in run("train", f"--lines={parts}", "--networks=3", *TINY, *SHORT)[0]

    def networks(path):
        found = {}
        for text in path.read_text().splitlines():
            if "torn" not in text:
                line = json.loads(text)
                for training in (line["full"], *line["early"].values()):
                    del training["seconds"]
                found[line["network"]] = line
        return found

    assert networks(parts) == networks(whole)
    assert set(networks(whole)) == {0, 1, 2}
    for line in networks(whole).values():
        assert [np.shape(line["early"][eta]["features"]) for eta in ("2", "3")] == [(6, 2), (6, 3)]
        assert 0 <= line["full"]["test"] <= 1


def artificial(path, n=60):
    """Networks whose early-stopped scores rank each of two groups rightly, and the groups wrongly."""
    rng = np.random.default_rng(0)
    settings = {"share": 0.1, "full_epochs": 20, "etas": [4]}
    with path.open("w") as file:
        for i in range(n):
            slow, quality = i % 2, rng.random()
            full = {"score": 0.5 + 0.3 * slow + 0.1 * quality, "test": 0.5 + 0.3 * slow + 0.1 * quality}
            features = (np.where(slow, 0.2, 0.9) + 0.01 * rng.random((2, 4))).tolist()
            early = {"4": {"score": 0.4 - 0.2 * slow + 0.1 * quality, "features": features}}
            file.write(json.dumps({"network": i, "full": full, "early": early, "settings": settings}) + "\n")


def test_division_finds_what_early_stopping_alone_misses(run, tmp_path):
    artificial(tmp_path / "lines.jsonl")
    *_, last = run(
        "analyse", f"--lines={tmp_path / 'lines.jsonl'}", "--clusters", "1", "2", "--repeats=20", "--bootstrap=50"
    )
    name, text = last.split(" ", 1)
    assert name == "RESULT"
    result = json.loads(text)
    found = {(row["method"], row["clusters"]): row for row in result["accuracy"]}
    assert found["DC-NAS", 1]["mean"] < 62 < 85 < found["DC-NAS", 2]["mean"]
    assert found["top K", 1]["mean"] == found["DC-NAS", 1]["mean"]
    assert found["top K", 2]["mean"] < 62, "the two best early-stopped are of the group that ends below"
    assert found["DC-NAS", 2]["trainings"] == pytest.approx(30 * 4 * 0.1 / 20 + 2)
    assert found["random", 2]["trainings"] == round(30 * 4 * 0.1 / 20 + 2)
    gains = {(row["clusters"], row["against"]): row for row in result["differences"]}
    assert set(gains) == {(1, "random"), (2, "random"), (2, "top K"), (2, "K = 1")}
    for (clusters, against), row in gains.items():
        other = ("DC-NAS", 1) if against == "K = 1" else (against, clusters)
        assert row["mean"] == pytest.approx(found["DC-NAS", clusters]["mean"] - found[other]["mean"])
    (tau,) = result["tau"]
    assert tau["within"][0] == pytest.approx(1.0)
    assert tau["all"][0] < 0.2
    assert tau["difference"][1] > 0.5


def test_the_error_of_a_difference_covers_other_networks(script):
    """Over many populations the spread of the mean difference is at most the error that one of them states."""
    rng, means, errors = np.random.default_rng(0), [], []
    for _ in range(200):
        tests, others = rng.normal(0, 1, 20), rng.normal(0, 1, 20)
        draws = [rng.choice(20, 10, replace=False) for _ in range(50)]
        found = {
            (name, 5, 2): script["Found"](np.array([of[drawn].max() for drawn in draws]), 1.0)
            for name, of in (("DC-NAS", tests), ("top K", others))
        }
        (row,) = script["differences"](found, 10, 20)
        means.append(row["mean"])
        errors.append(row["standard_error"])
    assert np.std(means) < 1.1 * np.mean(errors)
    assert np.std(means) > 0.5 * np.mean(errors)


def test_tau_is_kendalls_also_with_ties_and_weights(script):
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 6, 30).astype(float), rng.random(30)
    counts = rng.multinomial(30, np.full(30, 1 / 30))
    everywhere = np.ones((30, 30), dtype=bool)
    once, resampled = script["tau"](x, y, np.stack([np.ones(30), counts]), everywhere)
    assert once == pytest.approx(kendalltau(x, y).statistic)
    assert resampled == pytest.approx(kendalltau(np.repeat(x, counts), np.repeat(y, counts)).statistic)


def test_other_settings_are_not_mixed(tmp_path, script):
    artificial(tmp_path / "lines.jsonl", 2)
    with pytest.raises(SystemExit, match="holds networks of"):
        script["read_lines"](tmp_path / "lines.jsonl", {"share": 0.2})
