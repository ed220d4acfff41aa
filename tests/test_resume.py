"""Killed at any moment and started again, a search ends with the bits of one that was never interrupted."""

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed_search.py")


def start(mode, folder, *arguments):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), mode, str(folder), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(mode, folder, *arguments):
    """What a run that is left alone says."""
    process = start(mode, folder, *arguments)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return output


def started(lines):
    """How many trials a run found done."""
    return next(int(found[1]) for line in lines if (found := re.match(r"started (\d+)", line)))


def outcome(folder):
    """All of a result but the time that it took."""
    data = json.loads((folder / "result.json").read_text())
    for trial in data["history"]:
        del trial["seconds"]
    return data


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    finish("slowly", folder)
    return outcome(folder)


@pytest.mark.parametrize("whole", [(), ("whole",)], ids=["trials", "proposals"])
def test_killed_at_every_call_that_touches_the_disk(tmp_path, whole):
    """Also after the first score of a proposal that is one piece of work, whose checkpoint comes after its last."""
    report = json.loads(finish("everywhere", tmp_path / "run", *whole).splitlines()[-1])
    assert report["wrong"] == []
    # Three trials with some twenty calls each (the pathlib of Python 3.10 hides half of them), and less where two of
    # them share a checkpoint; far fewer would mean that nothing was killed.
    assert report["killed"] > (20 if whole else 30)


def test_killed_at_random_moments(tmp_path, expected):
    folder, chance, resumed = tmp_path / "run", random.Random(0), []
    for _ in range(6):
        process = start("slowly", folder)
        try:
            resumed.append(started(iter(process.stdout.readline, "")))
            time.sleep(chance.uniform(0, 0.1))
        finally:
            process.kill()
            process.communicate()
    assert resumed == sorted(resumed)
    finish("slowly", folder)
    assert outcome(folder) == expected


def test_a_full_disk_is_said_and_what_was_saved_goes_on(tmp_path, expected):
    # journal.jsonl grows by some 250 bytes a trial, so that a middle trial meets the limit.
    folder = tmp_path / "run"
    output = finish("limited", folder, 5000)
    assert re.search(r"RunFolderError: .*must be writable with space left.*File too large.*is intact", output), output
    saved = started(finish("limited", folder, 5000).splitlines())
    assert 5 < saved < 30
    assert not (folder / "result.json").exists()
    assert f"started {saved}" in finish("slowly", folder)
    assert outcome(folder) == expected
