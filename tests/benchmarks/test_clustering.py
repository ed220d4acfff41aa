import json

import pytest

SMALL = ["--samples=20000", "--layers=6", "--epochs=10", "--clusters=3"]


@pytest.fixture
def run(ran):
    def run(*arguments):
        *lines, last = ran("clustering", *SMALL, *arguments)
        name, line = last.split(" ", 1)
        assert name == "RESULT"
        return lines, json.loads(line)

    return run


def test_ends_with_its_result(run):
    _, result = run("--explicit_gib=0.01")
    assert result["same_labels"]
    assert result["same_iterations"]
    assert result["converged"]
    assert result["explicit_samples"] == 7456
    assert result["iterations"] >= 2
    assert min(result[key] for key in ("cpu_seconds", "peak_gib", "inertia", "ratio")) > 0


def test_compares_numbers_of_clusters(run):
    lines, result = run("--over_k", "1", "3")
    assert [line.split()[0] for line in lines] == ["K", "1", "3"]
    assert result["silhouette"]["1"] is None
    assert -1 <= result["silhouette"]["3"] <= 1
