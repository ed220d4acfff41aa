import errno
import json
import os

import pytest

from searchhub.errors import RunFolderError
from searchhub.files import replacing, sha256, write_json, write_text


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_text(path, "one")
    write_text(path, "θ")
    assert path.read_text(encoding="utf-8") == "θ"
    assert os.listdir(path.parent) == ["file.txt"]


def test_json_reads_back(tmp_path):
    write_json(tmp_path / "x.json", {"a": [1, 0.1, None]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, 0.1, None]}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_does_not_have_is_refused_and_the_old_file_stays(tmp_path, value):
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", [value])
    assert (tmp_path / "x.json").read_text() == "1\n"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(RunFolderError, match=r"file.txt` must be writable.*No space left.*intact"):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def write_half():
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_place_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"file/new.txt` must be writable"):
        write_text(tmp_path / "file" / "new.txt", "x")


def test_the_content_is_on_disk_before_the_name_is_taken(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1])
    write_text(tmp_path / "file.txt", "x")
    assert calls == ["fsync", "replace", "fsync"]


def test_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, example B.1.
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
