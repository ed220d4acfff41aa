import subprocess
import sys
from pathlib import Path

import pytest

from searchhub.cli import source
from searchhub.cli.source import load_result, locate
from searchhub.errors import HubError, InvalidInputError


@pytest.fixture
def hub(monkeypatch):
    """What is asked of the Hub; nothing is there unless a test puts it."""
    asked = []

    def download(name, file, *, revision=None):
        asked.append((name, file, revision))
        if name == "org/away":
            raise HubError("The Hub must be reachable, but is not.")
        raise InvalidInputError(f"no {file}")

    monkeypatch.setattr(source, "download", download)
    return asked


def test_what_is_here_is_meant(tmp_path, hub):
    file = tmp_path / "result.json"
    file.write_text("{}")
    assert locate(str(tmp_path), "result.json") == tmp_path
    assert locate(str(file), "result.json") == tmp_path
    assert hub == []


def test_a_revision_means_the_hub(tmp_path, hub, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "x").mkdir(parents=True)
    assert locate("org/x", "a") == Path("org/x")
    with pytest.raises(InvalidInputError, match=r"`org/x` must hold a or b, but as a repository on the Hub holds none"):
        locate("org/x", "a", "b", revision="v1")
    assert hub == [("org/x", "a", "v1"), ("org/x", "b", "v1")]


def test_a_slip_in_a_path_is_not_asked_of_the_hub(tmp_path, hub, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    with pytest.raises(InvalidInputError, match=r"`runs/mime` must be a folder, but is none: `runs` holds mine\."):
        locate("runs/mime", "result.json")
    for name in ("a/b/c", "no such thing", "runs/../x/y", "-x/y"):
        with pytest.raises(InvalidInputError, match="must be a folder"):
            locate(name, "result.json")
    assert hub == []


def test_a_hub_that_is_away_says_so(tmp_path, hub, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HubError, match=r"There is no folder `org/away` here\. The Hub must be reachable, but is not\."):
        locate("org/away", "result.json")


def test_a_folder_that_holds_no_result(tmp_path):
    with pytest.raises(InvalidInputError, match=r"must hold a result\.json"):
        load_result(str(tmp_path))


@pytest.mark.slow
def test_published_things_against_a_loopback_hub(tmp_path):
    """Every case of hub_cases.py passes with the real client."""
    here = Path(__file__).parent
    command = [sys.executable, here.parent / "hub" / "loopback.py", here / "hub_cases.py", tmp_path, "-q"]
    done = subprocess.run(command, capture_output=True, timeout=300)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    assert "hf_canary" not in said
