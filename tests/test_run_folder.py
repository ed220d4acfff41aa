import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from searchhub.errors import InvalidInputError, RunFolderError, RunMismatchError
from searchhub.result import SearchResult
from searchhub.run_folder import RunFolder, plain
from searchhub.space import Architecture, Choice, SearchSpace
from searchhub.trial import Trial, TrialResult

SETTINGS = {"space": {"name": "s"}, "searcher": {"seed": 0, "momentum": 0.8}, "environment": {"threads": 1}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def said():
    return []


@pytest.fixture
def reopen(path, said):
    """Opens the folder, closing the one before, as a new process would."""
    held = []

    def open_it(settings=SETTINGS):
        while held:
            held.pop().close()
        folder = RunFolder(path, settings, said.append)
        held.append(folder)
        return folder

    yield open_it
    for folder in held:
        folder.close()


def record(folder, trial):
    def save(target):
        (target / "weights.bin").write_bytes(f"weights after trial {trial}".encode())

    folder.record({"trial": trial, "score": trial / 10}, {"after": trial}, save)


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def journal(path):
    return [json.loads(line)["trial"] for line in (path / "journal.jsonl").read_text().splitlines()]


class TestNew:
    def test_config_can_be_read_by_a_person(self, path, reopen):
        assert reopen().restore() is None
        read = yaml.safe_load((path / "config.yaml").read_text())
        assert read.pop("versions")["numpy"]
        assert read == {"format_version": 1, **SETTINGS}

    def test_an_empty_folder_will_do(self, path, reopen):
        path.mkdir()
        assert reopen().restore() is None

    def test_a_folder_of_something_else_is_refused_and_left_alone(self, path, reopen):
        path.mkdir()
        (path / "thesis.tex").write_text("x")
        with pytest.raises(RunFolderError, match=r"must be a run folder, new or empty.*thesis.tex"):
            reopen()
        assert os.listdir(path) == ["thesis.tex"]

    def test_a_file_is_refused(self, path, reopen):
        path.write_text("x")
        with pytest.raises(RunFolderError, match="must be a folder, but is a file"):
            reopen()

    def test_a_place_that_cannot_be_written_to(self, reopen, monkeypatch):
        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("pathlib.Path.mkdir", refuse)
        with pytest.raises(RunFolderError, match=r"must be writable.*Permission denied"):
            reopen()

    def test_settings_that_are_not_json_are_refused(self, path, reopen):
        with pytest.raises(InvalidInputError, match=r"must be JSON .*PosixPath"):
            reopen({"config": {"path": path}})
        with pytest.raises(InvalidInputError, match=r"must be JSON .*Out of range"):
            reopen({"config": {"lr": float("nan")}})
        assert not path.exists()

    def test_what_a_process_killed_at_the_start_left_is_no_hindrance(self, path, reopen):
        path.mkdir()
        (path / ".lock").touch()
        (path / ".config.yaml.4711.tmp").write_text("format_ver")
        assert reopen().restore() is None
        assert not list(path.glob(".*.tmp"))


class TestMismatch:
    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"searcher": {"seed": 1, "momentum": 0.8}}, "`searcher.seed` was 0, now 1"),
            ({"searcher": {"seed": 0, "momentum": 0.8, "T": 3}}, "`searcher.T` was not set, now 3"),
            ({"searcher": {"seed": 0}}, "`searcher.momentum` was 0.8, now not set"),
            ({"environment": {"threads": 2}}, "`environment.threads` was 1, now 2"),
            ({"space": {"name": "t"}}, '`space.name` was "s", now "t"'),
            ({"space": {"name": ["s", "t"]}}, r'`space.name` was "s", now not set; `space.name\[0\]` was not set'),
            # Equal to Python, but not the same setting.
            ({"environment": {"threads": True}}, "`environment.threads` was 1, now true"),
            ({"environment": {"threads": 1.0}}, "`environment.threads` was 1, now 1.0"),
        ],
    )
    def test_names_the_key_both_values_and_the_way_out(self, reopen, changed, message):
        reopen().restore()
        with pytest.raises(RunMismatchError, match=message + ".*Use the old values, or another folder"):
            reopen({**SETTINGS, **changed})

    def test_the_folder_is_free_afterwards_and_unchanged(self, path, reopen):
        record(reopen(), 0)
        before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
        with pytest.raises(RunMismatchError):
            reopen({"other": 1})
        assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before
        assert reopen().restore().trial == 0

    def test_a_finished_search_names_the_command_for_another_limit(self, path, reopen):
        other = {**SETTINGS, "environment": {"threads": 2}}
        reopen().restore()
        with pytest.raises(RunMismatchError) as caught:
            reopen(other)
        assert "searchhub train" not in str(caught.value)
        (path / "result.json").write_text("{}")
        with pytest.raises(RunMismatchError, match=r"is finished, so `searchhub train \S+ --max COST=VALUE` trains"):
            reopen(other)

    def test_many_changes_are_cut_short(self, reopen):
        reopen({"a": list(range(20))}).restore()
        with pytest.raises(RunMismatchError, match=r"\(and 12 more\)"):
            reopen({"a": [-1] * 20})

    def test_no_difference_is_invented(self, reopen):
        settings = {
            "numbers": (1e-5, 1e22, 0.1 + 0.2, -0.0, 10**30, 3e8),
            "words": ["no", "1", "1.0", "null", "2024-01-01", "é\u2028\x85", "", " a: b #c", "0o7", "1_000", "~"],
            "keys": {1: "a", "on": None, "a.b": True},
            "empty": [{}, []],
        }
        reopen(settings).restore()
        reopen(settings).restore()

    def test_versions_are_not_compared(self, path, reopen):
        reopen().restore()
        config = path / "config.yaml"
        config.write_text(config.read_text().replace("python: ", "python: 2.7 or "))
        reopen().restore()

    @pytest.mark.parametrize("text", ["", "[", "- 1", "a: !!python/object/apply:os.getcwd []"])
    def test_a_damaged_config(self, path, reopen, text):
        reopen().restore()
        (path / "config.yaml").write_text(text)
        with pytest.raises(RunFolderError, match=r"config.yaml` must be as the run wrote it"):
            reopen()


class TestInUse:
    def test_by_this_process(self, path, reopen):
        reopen()
        with pytest.raises(RunFolderError, match="must not be in use, but another search holds it"):
            RunFolder(path, SETTINGS, print)

    def test_by_another_process_until_it_is_killed(self, path, reopen):
        holder = (
            "import sys, time; from pathlib import Path; from searchhub.run_folder import RunFolder\n"
            f"folder = RunFolder(Path({str(path)!r}), {SETTINGS!r}, print); print('held', flush=True); time.sleep(60)"
        )
        process = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout.readline() == "held\n"
            with pytest.raises(RunFolderError, match="must not be in use"):
                reopen()
        finally:
            process.kill()
            process.communicate()
        assert reopen().restore() is None


class TestRestore:
    def test_goes_back_to_the_last_checkpoint(self, reopen, said):
        folder = reopen()
        for trial in range(3):
            record(folder, trial)
        found = reopen().restore()
        assert (found.trial, found.searcher_state()) == (2, {"after": 2})
        assert (found.path / "weights.bin").read_text() == "weights after trial 2"
        assert not said

    def test_a_torn_line_is_dropped_and_said(self, path, reopen, said):
        record(reopen(), 0)
        with (path / "journal.jsonl").open("ab") as file:
            file.write(b'{"trial": 1, "sco')
        assert reopen().restore().trial == 0
        assert journal(path) == [0]
        assert len(said) == 1
        assert "was torn and is dropped. Going on after trial 0." in said[0]

    def test_a_line_without_checkpoint_is_dropped_and_said(self, path, reopen, said):
        record(reopen(), 0)
        with (path / "journal.jsonl").open("ab") as file:
            file.write(b'{"trial": 1}\n')
        assert reopen().restore().trial == 0
        assert journal(path) == [0]
        assert "1 trial(s) in " in said[0]

    def test_lines_without_any_checkpoint(self, path, reopen, said):
        reopen().restore()
        (path / "journal.jsonl").write_text('{"trial": 0}\n{"tri')
        folder = reopen()
        assert folder.restore() is None
        assert journal(path) == []
        assert all("Starting from the beginning." in text for text in said)
        assert len(said) == 2
        record(folder, 0)
        assert reopen().restore().trial == 0

    @pytest.mark.parametrize("name", ["weights.bin", "searcher.json", "manifest.json"])
    @pytest.mark.parametrize("damage", [flip, lambda f: f.write_bytes(f.read_bytes()[:-2]), lambda f: f.unlink()])
    def test_a_damaged_checkpoint_is_passed_over_and_said(self, path, reopen, said, name, damage):
        folder = reopen()
        for trial in range(3):
            record(folder, trial)
        damage(path / "checkpoints" / "000002" / name)
        folder = reopen()
        assert folder.restore().trial == 1
        assert "checkpoint 000002" in said[0]
        assert "Going on after trial 1." in said[0]
        assert journal(path) == [0, 1]
        # And it goes on: the place of the damaged one is free.
        record(folder, 2)
        said.clear()
        assert reopen().restore().trial == 2
        assert not said

    def test_when_all_are_damaged_it_says_what_to_do(self, path, reopen):
        folder = reopen()
        for trial in range(3):
            record(folder, trial)
        for trial in (1, 2):
            flip(path / "checkpoints" / f"{trial:06d}" / "weights.bin")
        with pytest.raises(RunFolderError, match=r"000002 is damaged.*000001 is damaged.*To start over, delete"):
            reopen().restore()
        # Nothing was touched meanwhile.
        assert journal(path) == [0, 1, 2]
        for trial in (1, 2):
            flip(path / "checkpoints" / f"{trial:06d}" / "weights.bin")
        assert reopen().restore().trial == 2

    def test_a_journal_that_lost_its_last_line_costs_one_trial(self, path, reopen, said):
        folder = reopen()
        for trial in range(3):
            record(folder, trial)
        file = path / "journal.jsonl"
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))
        assert reopen().restore().trial == 1
        assert "checkpoint 000002 does not fit: `journal.jsonl` is shorter" in said[0]

    def test_a_journal_that_was_changed_or_lost(self, path, reopen):
        folder = reopen()
        for trial in range(3):
            record(folder, trial)
        file = path / "journal.jsonl"
        whole = file.read_text()
        file.write_text(whole.replace("0.0", "0.9"))
        with pytest.raises(RunFolderError, match=r"`journal.jsonl` was changed since it was made.*or choose another"):
            reopen().restore()
        file.unlink()
        with pytest.raises(RunFolderError, match=r"`journal.jsonl` is shorter than when it was made \(0 < "):
            reopen().restore()
        file.write_text(whole)
        assert reopen().restore().trial == 2

    def test_a_finished_run_without_checkpoints(self, path, reopen, finished):
        folder = reopen()
        record(folder, 0)
        folder.finish(finished)
        shutil.rmtree(path / "checkpoints")
        with pytest.raises(RunFolderError, match=r"must hold the checkpoint.*`SearchResult.load`"):
            reopen().restore()


@pytest.fixture
def finished():
    return SearchResult(
        SearchSpace("s", (Choice("a", ("x",)),)), (TrialResult(Trial(0, Architecture({"a": "x"})), 0.5),)
    )


class TestResult:
    def test_is_written_once(self, path, reopen, finished):
        folder = reopen()
        assert folder.result() is None
        assert folder.finish(finished) is finished
        before = (path / "result.json").stat().st_mtime_ns
        assert reopen().finish(finished).to_dict() == finished.to_dict()
        assert (path / "result.json").stat().st_mtime_ns == before

    def test_a_damaged_one_is_made_again_and_said(self, path, reopen, finished, said):
        reopen().finish(finished)
        (path / "result.json").write_text("{")
        reopen().finish(finished)
        assert json.loads((path / "result.json").read_text()) == finished.to_dict()
        assert "cannot be read and is made again" in said[0]


def test_plain_is_what_is_read_back():
    assert plain({"a": (1, 2), 3: None}) == {"a": [1, 2], "3": None}
