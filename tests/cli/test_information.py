import json
import re

import numpy as np

from searchhub.cli.information import theta_by_entropy
from searchhub.distribution import ArchitectureDistribution
from searchhub.result import SearchResult
from searchhub.searchers.division import Division
from searchhub.space import Choice, SearchSpace
from searchhub.trial import Budget, Trial, TrialResult


def test_info_of_a_run(cli, trained):
    result = SearchResult.load(trained)
    data = json.loads(cli("info", trained, "--json").stdout)
    assert data["finished"] is True
    assert data["trials"] == data["planned_trials"] == len(result.history)
    assert data["best"]["score"] == result.best_trial.score
    assert data["architectures"] == result.space.size
    assert data["objective"] == "expectation"
    bounds = {row["name"]: (row["smallest"], row["largest"]) for row in data["costs"]}
    assert bounds == {name: table.bounds() for name, table in result.costs.items()}
    [network] = data["networks"]
    assert network["name"] == "macs-100K"
    assert network["limits"] == ["macs <= 100,000"]

    shown = cli("info", trained).stdout
    for words in (
        "DDPSearcher",
        "estimation_epochs=1",
        f"score {result.best_trial.score:.4f}",
        "208,800",
        "macs <= 100,000",
    ):
        assert words in shown, words


def test_info_of_a_search_that_goes_on(cli, run):
    (run / "result.json").unlink()
    lines = (run / "journal.jsonl").read_text().splitlines(keepends=True)
    (run / "journal.jsonl").write_text("".join(lines[:3]))
    data = json.loads(cli("info", run, "--json").stdout)
    assert (data["finished"], data["trials"], data["planned_trials"]) == (False, 3, len(lines))
    assert f"3 of {len(lines)}" in cli("info", run).stdout


def test_sharpest_choice_first():
    space = SearchSpace("s", (Choice("flat", (1, 2)), Choice("one", ("x",)), Choice("sharp", ("a", "b", "c"))))
    theta = (np.array([0.5, 0.5]), np.array([1.0]), np.array([0.0, 0.0, 1.0]))
    alive = tuple(np.ones(len(t), bool) for t in theta)
    rows = theta_by_entropy(SearchResult(space, (), ArchitectureDistribution(space, theta, theta, alive)))
    assert [(row["choice"], row["likeliest"], row["entropy"]) for row in rows] == [
        ("sharp", "c", 0.0),
        ("flat", 1, 1.0),
    ]
    assert theta_by_entropy(SearchResult(space, ())) is None


def test_info_tells_clusters_and_winners_in_their_order(cli, tmp_path):
    space = SearchSpace("s", (Choice("a", ("x", "y")), Choice("b", ("skip", "k3"))))
    one, other = (space.decode(row) for row in ([0, 0], [1, 1]))
    history = tuple(
        TrialResult(Trial(i, a, Budget(3)), score) for i, (a, score) in enumerate([(one, 0.5), (other, 0.75)])
    )
    division = Division((700, 300), (one, other), (-1.5, -2.5)).to_dict()
    SearchResult(space, history, division=division).save(tmp_path / "result.json")
    rows = json.loads(cli("info", tmp_path, "--json").stdout)["clusters"]
    assert rows[0] == {
        "order": 1,
        "cluster": 1,
        "architectures": 300,
        "won_by": -2.5,
        "score": 0.75,
        "architecture": {"a": "y", "b": "k3"},
    }
    assert [row["cluster"] for row in rows] == [1, 0]
    shown = cli("info", tmp_path).stdout
    assert "Winners of the clusters" in shown
    assert re.search(r"1 │ +1 │ +300 │ +-2.5 │ +0.75 │ y · k3", shown), shown


def test_info_of_a_model(cli, trained):
    folder = trained / "models" / "macs-100K"
    facts = json.loads((folder / "searchhub.json").read_text())
    data = json.loads(cli("info", folder, "--json").stdout)
    assert data["kind"] == "model"
    assert data["architecture"] == facts["identity"]["architecture"]
    assert data["metrics"] == facts["metrics"]
    assert data["model_class"] == "SearchedMobileForImageClassification"
    assert data["num_labels"] == 10
    shown = cli("info", folder).stdout
    for words in ("searched_mobile", f"{facts['costs']['macs']:,.0f}", "accuracy (test, 40 examples)", "batch_size=32"):
        assert words in shown, words


def test_info_of_a_supernet_and_of_nothing(cli, trained, tmp_path):
    data = json.loads(cli("info", trained / "supernet", "--json").stdout)
    assert data["model_class"] == "MobileSupernetForImageClassification"
    assert "must be the folder of a run" in cli("info", tmp_path).stderr


def test_report(cli, run, tmp_path):
    done = cli("report", run)
    assert done.stdout == f"Written: {run / 'report' / 'report.html'}\n"
    assert (run / "report" / "report.html").read_text().startswith("<!DOCTYPE html>")
    cli("report", run, "--output", tmp_path / "x.html")
    assert (tmp_path / "x.html").read_text() == (run / "report" / "report.html").read_text()
    assert "must be the folder of a run" in cli("report", tmp_path).stderr
