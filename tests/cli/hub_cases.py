"""The command line with the real client. Run by test_source.py against a loopback Hub."""

import json
from pathlib import Path

from searchhub.result import SearchResult


def test_a_result_is_published_and_generated_from_by_its_hub_id(hub, cli, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    published = json.loads(cli("publish", run, "org/search", "--what", "result", "--json").stdout)
    assert published["repo_id"] == "org/search"
    assert published["changed"] is True
    assert set(hub.files("org/search")) >= {"result.json", "README.md"}

    there = cli("generate", "org/search", "--max", "macs=100K", "--json")
    here = cli("generate", run, "--max", "macs=100K", "--json")
    assert there.stdout == here.stdout
    pinned = cli("generate", "org/search", "--max", "macs=100K", "--json", "--revision", published["revision"])
    assert pinned.stdout == here.stdout
    assert len(json.loads(cli("pareto", "org/search", "--cost", "macs", "--json").stdout)["front"]) > 1
    said = json.loads(cli("info", "org/search", "--json").stdout)
    assert said["trials"] == len(SearchResult.load(run).history)
    assert "Written: report.html" in cli("report", "org/search").stdout
    assert Path("report.html").stat().st_size > 10_000

    again = cli("publish", run, "org/search")
    assert again.stdout.startswith("No change: org/search holds this already")


def test_a_model_and_a_supernet_are_published_and_read(hub, cli, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = cli("publish", run, "org/model", "--what", "model", "--private", "--message", "The first")
    assert done.stdout.startswith("Published http")
    assert json.loads(cli("info", "org/model", "--json").stdout)["name"] == "macs-100K"
    [row] = json.loads(cli("evaluate", "org/model", "--json").stdout)["networks"]
    assert row["metrics"] == row["recorded"]

    assert cli("publish", run, "org/supernet", "--what", "supernet").exit_code == 0
    assert "config.json" in hub.files("org/supernet")
    done = cli("profile", "org/supernet", "--rounds", "1", "--output", "table.json")
    assert json.loads(Path("table.json").read_text())["space"] == "mobile", done.stderr


def test_what_is_not_there(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = cli("generate", "org/nothing", "--max", "macs=100K")
    assert done.exit_code == 1
    assert "There is no folder `org/nothing` here." in done.stderr
    assert "must exist and be open to your token" in done.stderr
