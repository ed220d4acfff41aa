import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from searchhub.costs.latency_table import LatencyTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.effects import PredictedQuality
from searchhub.generation import Limit, generate, pareto
from searchhub.result import SearchResult
from searchhub.search import search
from searchhub.searchers.random import RandomSearcher
from searchhub.space import Choice, SearchSpace
from searchhub.spaces.darts import darts_space
from searchhub.testing import ChainEvaluator


@pytest.fixture(scope="module")
def result(trained):
    return SearchResult.load(trained)


@pytest.fixture
def phone(result, tmp_path):
    """A latency table of a device that is not here."""
    entries = tuple(np.arange(1.0, len(c.candidates) + 1) for c in result.space.choices)
    table = LatencyTable("latency_ms", result.space, 2.0, entries, device="Pixel 1", threads=None)
    table.save(tmp_path / "pixel.json")
    return tmp_path / "pixel.json"


# -- generate ---------------------------------------------------------------------------------------------------------


def test_generate_gives_what_the_library_gives(cli, trained, result, tmp_path):
    expected = generate(result, Limit("macs", max=150_000), Limit("params", min=2_500))
    words = ("generate", trained, "--max", "macs=150K", "--min", "params=2.5K")
    data = json.loads(cli(*words, "--json").stdout)
    assert data["architecture"] == expected.to_dict()
    assert data["certificate"] == expected.certificate.to_dict()
    assert data["limits"] == ["macs <= 150,000", "params >= 2,500"]
    assert data["space"] == {"name": result.space.name, "fingerprint": result.space.fingerprint()}

    done = cli(*words, "--output", tmp_path / "architecture.json")
    assert json.loads((tmp_path / "architecture.json").read_text()) == data
    for shown in (*expected.values(), f"{expected.certificate.costs['macs']:,.0f}", "macs <= 150,000", "multiply-adds"):
        assert str(shown) in done.stdout
    assert f"chosen as         exact optimum ({expected.certificate.method})" in done.stdout


@pytest.fixture
def predicting(run, result):
    """The run's folder with predicted quality, and its result."""
    predicted = replace(result, prediction=PredictedQuality.fit(result.space, result.history))
    predicted.save(run / "result.json")
    return run, predicted


def test_the_objective_can_be_chosen(cli, predicting):
    run, result = predicting
    limit = Limit("macs", max=150_000)
    for words, objective in (((), None), (("--objective", "expectation"), "expectation")):
        expected = generate(result, limit, objective=objective).certificate
        done = cli("generate", run, "--max", "macs=150K", *words)
        assert re.search(rf"^objective +{expected.objective}$", done.stdout, re.MULTILINE)
        loss = re.search(r"^predicted loss +(.*)$", done.stdout, re.MULTILINE)
        if objective is None:
            assert loss[1] == f"{expected.loss:.4f} ± {expected.deviation:.4f}"
        assert (loss is None) == (objective is not None)
        data = json.loads(cli("generate", run, "--max", "macs=150K", *words, "--json").stdout)
        assert data["certificate"] == expected.to_dict()
    assert f"{generate(result, limit).certificate.expectation:.4g}" in cli("generate", run, "--max", "macs=150K").stdout
    refused = cli("generate", run, "--objective", "accuracy")
    assert refused.exit_code == 2


def test_a_front_of_predicted_quality(cli, predicting, tmp_path):
    run, result = predicting
    front = pareto(result, "macs")
    rows = list(csv.DictReader(io.StringIO(cli("pareto", run, "--csv").stdout)))
    found = [(float(row["predicted"]), float(row["loss"]), float(row["deviation"])) for row in rows]
    certificates = [point.certificate for point in front]
    assert found == [(c.predicted, c.loss, c.deviation) for c in certificates]
    assert f"{certificates[-1].loss:.4f} ± {certificates[-1].deviation:.4f}" in cli("pareto", run).stdout
    by_theta = cli("pareto", run, "--objective", "expectation", "--csv", "--output", tmp_path / "theta.svg").stdout
    assert by_theta == cli("pareto", run, "--objective", "expectation", "--csv").stdout
    assert [float(row["expectation"]) for row in csv.DictReader(io.StringIO(by_theta))] == [
        point.certificate.expectation for point in pareto(result, "macs", objective="expectation")
    ]
    cli("pareto", run, "--output", tmp_path / "predicted.svg")
    for name, label in (("theta", "mean θ of an architecture"), ("predicted", "predicted loss: −log")):
        assert label in (tmp_path / f"{name}.svg").read_text()


def test_equal_and_survivors(cli, trained, result):
    costs = pareto(result, "macs")[1].certificate.costs
    done = cli("generate", trained, "--equal", f"macs={costs['macs']:,.0f}", "--json")
    assert json.loads(done.stdout)["certificate"]["costs"]["macs"] == costs["macs"]
    survivor = json.loads(cli("generate", trained, "--candidates", "survivors", "--json").stdout)["architecture"]
    assert survivor == generate(result, candidates="survivors").to_dict()


def test_limits_on_the_structure_of_cells(cli, tmp_path):
    space = darts_space(num_nodes=2)
    theta = tuple(np.random.default_rng(0).dirichlet(np.ones(8)) for _ in space.choices)
    alive = tuple(np.ones(8, dtype=bool) for _ in space.choices)
    result = SearchResult(space, (), ArchitectureDistribution(space, theta, theta, alive))
    result.save(tmp_path / "result.json")
    done = cli("generate", tmp_path, "--equal", "non_parameter=2", "--max", "height=1", "--json")
    expected = generate(result, Limit("height", max=1), Limit("non_parameter", equal=2))
    assert json.loads(done.stdout)["architecture"] == expected.to_dict()
    assert "nodes" in cli("generate", tmp_path, "--max", "height=1").stdout
    picture = tmp_path / "front.png"
    front = json.loads(cli("pareto", tmp_path, "--cost", "height", "--json", "--output", picture).stdout)["front"]
    assert len(front) == len(pareto(result, "height"))
    assert picture.stat().st_size > 1000


def test_limits_that_do_not_fit(cli, trained, result):
    smallest = result.costs["macs"].bounds()[0]
    done = cli("generate", trained, "--max", "macs=40K")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert f"`max macs >= {smallest:,.0f}` must hold for this space, but got 40,000" in done.stderr
    assert "Did you mean 100,000?" in cli("generate", trained, "--max", "macs=100").stderr
    assert "does not bind" in cli("generate", trained, "--max", "macs=1G").stdout
    assert "must be one of ['macs', 'params'], but got 'flops'" in cli("generate", trained, "--max", "flops=1M").stderr
    assert "`--max` must be a cost and a number" in cli("generate", trained, "--max", "macs").stderr


def test_a_result_without_theta(cli, tmp_path):
    space = SearchSpace("s", (Choice("a", ("x", "y")), Choice("b", (1, 2, 3))))
    search(RandomSearcher(space, num_trials=4), ChainEvaluator()).save(tmp_path / "result.json")
    done = cli("generate", tmp_path / "result.json")
    assert "This search has no θ" in done.stdout
    assert "score" in done.stdout


# -- latency of other devices -----------------------------------------------------------------------------------------


def test_a_table_of_another_device_is_refused_unless_it_is_meant(cli, trained, phone):
    words = ("generate", trained, "--latency", phone, "--max", "latency_ms=5", "--json")
    done = cli(*words)
    assert done.exit_code == 1
    assert "was on Pixel 1" in done.stderr
    assert "allow_other_device" in done.stderr
    certificate = json.loads(cli(*words, "--allow-other-device").stdout)["certificate"]
    assert certificate["costs"]["latency_ms"] <= 5
    done = cli("pareto", trained, "--latency", phone, "--allow-other-device", "--cost", "latency_ms")
    assert done.stdout.startswith("Best of mobile by latency_ms")


def test_two_tables_of_one_name(cli, trained, phone):
    done = cli("generate", trained, "--latency", phone, "--latency", phone, "--allow-other-device")
    assert "must have distinct names, but two are called `latency_ms`" in done.stderr


def test_a_phone_table_that_others_published(cli, trained, tmp_path):
    """Keys spell shapes; what is missing is named, or taken for a number."""
    table = tmp_path / "phone.yaml"
    table.write_text("Logits-input:4x4x16-output:10: {mean: 0.25}\n")
    words = ("generate", trained, "--latency", table, "--max", "latency_ms=100")
    done = cli(*words)
    assert done.exit_code == 1
    assert "must hold every block of `mobile`, but lacks `expanded_conv-input:" in done.stderr
    done = cli(*words, "--missing", "1.5", "--json")
    # Stem, first block, two layers and last convolution at 1.5 ms, the classifier at 0.25.
    assert json.loads(done.stdout)["certificate"]["costs"]["latency_ms"] in (7.75, 6.25)


def test_a_phone_table_needs_the_sizes_of_the_supernet(cli, trained, tmp_path):
    table = tmp_path / "phone.yaml"
    table.write_text("Logits-input:4x4x16-output:10: {mean: 0.25}\n")
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "result.json").write_bytes((trained / "result.json").read_bytes())
    done = cli("generate", tmp_path / "published", "--latency", table)
    assert "must hold a supernet, but has no config.json" in done.stderr


# -- pareto -----------------------------------------------------------------------------------------------------------


def test_pareto_gives_the_whole_front(cli, trained, result, tmp_path):
    front = pareto(result, "macs")
    data = json.loads(cli("pareto", trained, "--cost", "macs", "--json").stdout)
    assert [point["certificate"]["costs"] for point in data["front"]] == [p.certificate.costs for p in front]
    assert [point["architecture"] for point in data["front"]] == [p.to_dict() for p in front]

    rows = list(csv.DictReader(io.StringIO(cli("pareto", trained, "--cost", "macs", "--csv").stdout)))
    assert [float(row["macs"]) for row in rows] == [p.certificate.costs["macs"] for p in front]
    assert [row["stage1.layer1"] for row in rows] == [p["stage1.layer1"] for p in front]

    done = cli("pareto", trained, "--cost", "macs", "--output", tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    for point in front:
        assert f"{point.certificate.costs['macs']:,.0f}" in done.stdout


def test_a_long_front_is_cut_for_a_person(cli, trained, result, monkeypatch):
    monkeypatch.setattr("searchhub.cli.generation.MOST_POINTS", 2)
    front = pareto(result, "macs")
    done = cli("pareto", trained, "--cost", "macs")
    assert f"2 of {len(front)} points are shown" in done.stdout
    for end in (front[0], front[-1]):
        assert f"{end.certificate.costs['macs']:,.0f}" in done.stdout


def test_json_and_csv_exclude_each_other(cli, trained):
    done = cli("pareto", trained, "--cost", "macs", "--json", "--csv")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "Only one of `--json` and `--csv`" in done.stderr
    assert "but got 'nothing'" in cli("pareto", trained, "--cost", "nothing").stderr
