import json
import shutil

import pytest

from searchhub.hub.publish import PublishedRevision
from searchhub.result import SearchResult


@pytest.fixture
def pushed(monkeypatch):
    """What `searchhub.publish` is called with; hub_cases.py calls the real one."""
    calls = []

    def push(what, repo_id, **options):
        calls.append((what, repo_id, {k: v for k, v in options.items() if v}))
        return PublishedRevision(repo_id, "abc", "https://hub/abc", changed=True)

    monkeypatch.setattr("searchhub.hub.publish.publish", push)
    return calls


def test_what_of_a_run_is_published(cli, trained, pushed):
    model = trained / "models" / "macs-100K"
    assert cli("publish", trained, "me/x").stdout == "Published https://hub/abc\n"
    cli("publish", trained, "me/x", "--what", "model")
    cli("publish", model, "me/x", "--what", "model")
    cli("publish", trained, "me/x", "--what", "supernet")
    assert [what for what, _, _ in pushed] == [trained, model, model, trained / "supernet"]
    cli("publish", trained, "me/x", "--what", "result")
    assert pushed[-1][0].to_dict() == SearchResult.load(trained).to_dict()


def test_options_are_passed_on(cli, trained, pushed):
    words = ("--private", "--revision", "v1", "--message", "Hello", "--overwrite", "--json")
    done = cli("publish", trained, "me/x", *words)
    assert pushed[0][2] == {"private": True, "revision": "v1", "commit_message": "Hello", "overwrite": True}
    assert json.loads(done.stdout)["revision"] == "abc"


def test_which_network_must_be_clear(cli, run, pushed):
    shutil.copytree(run / "models" / "macs-100K", run / "models" / "other")
    done = cli("publish", run, "me/x", "--what", "model")
    assert "but holds macs-100K, other. Name its folder" in done.stderr
    shutil.rmtree(run / "models")
    assert "but holds none" in cli("publish", run, "me/x", "--what", "model").stderr
    assert pushed == []


def test_names_that_no_repository_can_have(cli, trained):
    assert '`repo_id` must be like "owner/name"' in cli("publish", trained, "a/b/c").stderr


def test_export_writes_a_network_that_computes_the_same(cli, trained, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    output = tmp_path / "model.onnx"
    done = cli("export", trained / "models" / "macs-100K", "--output", output, "--json")
    report = json.loads(done.stdout)
    assert output.stat().st_size == report["bytes"]
    assert report["max_abs_difference"] < 1e-4
    shown = cli("export", trained / "models" / "macs-100K", "--output", output).stdout
    assert "onnxruntime" in shown
    assert "largest difference" in shown


def test_export_of_nothing(cli, tmp_path):
    pytest.importorskip("onnxscript")
    done = cli("export", tmp_path / "nothing")
    assert "must be a folder, but is none" in done.stderr
    done = cli("export", tmp_path)
    assert "must hold a model, but has no config.json" in done.stderr
