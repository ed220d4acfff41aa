"""A search in a process of its own, for test_resume.py to kill.

python killed_search.py slowly FOLDER            30 trials of some milliseconds each
python killed_search.py limited FOLDER BYTES     the same, with no file larger than BYTES
python killed_search.py everywhere FOLDER        killed at every call that touches the disk; prints what came of it
python killed_search.py everywhere FOLDER whole  the same, where a proposal's trials are one piece of work
"""

import io
import itertools
import json
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

from searchhub.callbacks.base import SearchCallback
from searchhub.errors import RunFolderError
from searchhub.search import search
from searchhub.searchers.ddp import DDPSearcher
from searchhub.space import Choice, SearchSpace
from searchhub.testing import ChainEvaluator

SPACE = SearchSpace("s", (Choice("a", ("x", "y", "z")), Choice("b", (1, 2, 3)), Choice("c", (0.5, 1.0))))
TWO = SearchSpace("two", (Choice("a", ("x", "y")), Choice("b", (1, 2))))


class SlowEvaluator(ChainEvaluator):
    def __call__(self, trials):
        for result in super().__call__(trials):
            time.sleep(0.005)
            yield result


class Saying(SearchCallback):
    def on_search_start(self, total, done, best):
        print(f"started {done}", flush=True)

    def on_message(self, text):
        print(text, flush=True)


def slowly(folder):
    search(DDPSearcher(SPACE, estimation_epochs=6), SlowEvaluator(), run_dir=folder, callbacks=[Saying()])


def limited(folder, size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
    try:
        slowly(folder)
    except RunFolderError as error:
        print(f"RunFolderError: {error}")


# -- everywhere -------------------------------------------------------------------------------------------------------


def arm(deadly):
    """Die before the given one of the calls that touch the disk."""
    calls = itertools.count(1)

    def wrapped(real, counts=lambda *_: True):
        def call(*arguments, **options):
            if counts(*arguments) and next(calls) == deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    # A killed process loses nothing that it gave to the system; really syncing would only take long.
    os.fsync = wrapped(lambda handle: None)
    for name in ("replace", "rename", "truncate", "mkdir", "unlink", "rmdir"):
        setattr(os, name, wrapped(getattr(os, name)))
    io.open = wrapped(io.open, lambda file, mode="r", *_: mode[0] in "wa")


def in_child(function, *arguments):
    """Whether a forked process came to the end of a function, or was killed."""
    child = os.fork()
    if not child:
        function(*arguments)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status) or os.WTERMSIG(status) == signal.SIGKILL, status
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFEXITED(status)


def run(folder, whole, deadly=0):
    arm(deadly)
    evaluator = ChainEvaluator(whole=whole)
    # Three trials, the fewest with which an old checkpoint is removed: a round of two, and one cut short.
    searcher = DDPSearcher(TWO, estimation_epochs=1, prune=False, evaluations=3)
    search(searcher, evaluator, run_dir=folder, callbacks=[SearchCallback()])
    (folder.parent / "state").write_text(evaluator.state)


def outcome(folder):
    """All that a run leaves, but for the time that it took."""
    data = {
        "result": json.loads((folder / "result.json").read_text()),
        "searcher": json.loads((folder / "checkpoints" / "000002" / "searcher.json").read_text()),
        "journal": [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()],
        "config": (folder / "config.yaml").read_text(),
        "evaluator": (folder.parent / "state").read_text(),
        "files": sorted(str(p.relative_to(folder)) for p in folder.rglob("*")),
    }
    for line in [*data["result"]["history"], *data["journal"]]:
        line.pop("seconds")
        line.pop("time", None)
    return data


def everywhere(folder, whole=False):
    whole = bool(whole)
    assert in_child(run, folder, whole)
    expected = outcome(folder)
    wrong = []
    for deadly in itertools.count(1):
        shutil.rmtree(folder)
        if in_child(run, folder, whole, deadly):
            break
        if deadly % 3 == 0:
            # Killed once more while it goes on, early: there the journal is cut and leftovers are removed.
            in_child(run, folder, whole, 1 + deadly // 3 % 16)
        assert in_child(run, folder, whole)
        if outcome(folder) != expected:
            wrong.append(deadly)
    print(json.dumps({"killed": deadly - 1, "wrong": wrong}))


if __name__ == "__main__":
    {"slowly": slowly, "limited": limited, "everywhere": everywhere}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
