import errno
import json
import os

import pytest

from searchhub import checkpoints
from searchhub.checkpoints import DamagedError
from searchhub.errors import InvalidInputError, RunFolderError
from searchhub.journal import Mark

MARK = Mark(123, "ab" * 32)
STATE = {"rng": 2**70, "theta": [0.1]}


def save(folder):
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "more.json").write_text("{}")


def publish(root, trial, save=save):
    return checkpoints.publish(root, trial, STATE, save, MARK)


def test_what_is_published_is_found_intact(tmp_path):
    publish(tmp_path, 11)
    found = checkpoints.inspect(tmp_path, 11)
    assert (found.path, found.trial, found.journal) == (tmp_path / "000011", 11, MARK)
    assert found.searcher_state() == STATE
    assert (found.path / "weights.bin").read_bytes() == bytes(range(256))
    assert checkpoints.numbers(tmp_path) == [11]


def test_the_newest_two_are_kept(tmp_path):
    for trial in range(5):
        publish(tmp_path, trial)
    assert sorted(os.listdir(tmp_path)) == ["000003", "000004"]


def test_numbers_beyond_the_padding_are_in_order(tmp_path):
    for trial in (999_999, 1_000_000):
        publish(tmp_path, trial)
    assert checkpoints.numbers(tmp_path) == [999_999, 1_000_000]


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_the_manifest_is_written_last_and_names_every_file(tmp_path):
    path = publish(tmp_path, 0).path
    manifest = json.loads((path / "manifest.json").read_text())
    assert sorted([*manifest["files"], "manifest.json"]) == files(path)
    times = {name: (path / name).stat().st_mtime_ns for name in files(path)}
    assert times["manifest.json"] == max(times.values())


class TestDamage:
    def test_every_flipped_bit_of_every_file_is_noticed(self, tmp_path):
        path = publish(tmp_path, 3).path
        for name in files(path):
            whole = (path / name).read_bytes()
            for i in range(0, len(whole), 7):
                flipped = bytearray(whole)
                flipped[i] ^= 1 << (i % 8)
                (path / name).write_bytes(flipped)
                try:
                    found = checkpoints.inspect(tmp_path, 3)
                except DamagedError:
                    continue
                # Only the place in the journal is checked elsewhere, against the journal; and white space is nothing.
                assert name == "manifest.json"
                assert found.journal != MARK or bytes(flipped).split() == whole.split()
            (path / name).write_bytes(whole)
        checkpoints.inspect(tmp_path, 3)

    def test_every_truncated_file_is_noticed(self, tmp_path):
        path = publish(tmp_path, 3).path
        for name in files(path):
            whole = (path / name).read_bytes()
            for length in {0, len(whole) // 2, len(whole) - 2}:
                (path / name).write_bytes(whole[: max(0, length)])
                with pytest.raises(DamagedError):
                    checkpoints.inspect(tmp_path, 3)
            (path / name).write_bytes(whole)

    def test_a_missing_file_and_a_strange_one_are_noticed(self, tmp_path):
        path = publish(tmp_path, 3).path
        (path / "strange").write_text("")
        with pytest.raises(DamagedError, match="strange"):
            checkpoints.inspect(tmp_path, 3)
        (path / "strange").unlink()
        (path / "deep" / "er" / "more.json").unlink()
        with pytest.raises(DamagedError, match=r"more\.json"):
            checkpoints.inspect(tmp_path, 3)

    def test_a_checkpoint_under_another_number_is_noticed(self, tmp_path):
        publish(tmp_path, 3).path.rename(tmp_path / "000004")
        with pytest.raises(DamagedError, match="of another checkpoint"):
            checkpoints.inspect(tmp_path, 4)


class TestFailure:
    # Of the eight calls the last syncs the name of the finished checkpoint; the seven before it write its content.
    @pytest.mark.parametrize("after", range(7))
    def test_a_full_disk_leaves_the_earlier_ones(self, tmp_path, monkeypatch, after):
        publish(tmp_path, 0)
        real, calls = os.fsync, []

        def full(handle):
            calls.append(handle)
            if len(calls) > after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(handle)

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(RunFolderError, match="No space left on device"):
            publish(tmp_path, 1)
        monkeypatch.undo()
        assert os.listdir(tmp_path) == ["000000"]
        checkpoints.inspect(tmp_path, 0)
        publish(tmp_path, 1)

    def test_an_error_of_safetensors_is_understood(self, tmp_path):
        # What safetensors 0.8 raises on a full disk: no OSError, only the text.
        def full(folder):
            raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

        with pytest.raises(RunFolderError, match=r"000000` must be writable.*No space left on device"):
            publish(tmp_path, 0, full)

    def test_other_errors_of_an_evaluator_pass_through(self, tmp_path):
        def broken(folder):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            publish(tmp_path, 0, broken)
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("name", ["manifest.json", "searcher.json"])
    def test_names_of_the_run_are_taken(self, tmp_path, name):
        with pytest.raises(InvalidInputError, match=f"must not write `{name}`"):
            publish(tmp_path, 0, lambda folder: (folder / name).write_text("{}"))

    def test_leftovers_are_cleaned_and_checkpoints_are_not(self, tmp_path):
        publish(tmp_path, 0)
        (tmp_path / ".000001.tmp").mkdir()
        (tmp_path / ".000001.tmp" / "half").write_text("x")
        (tmp_path / ".000000.old").mkdir()
        checkpoints.clean(tmp_path)
        assert os.listdir(tmp_path) == ["000000"]
