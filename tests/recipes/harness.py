"""Recipes from end to end. What a user starts takes longer to import torch and transformers than to run at its
smallest, so most runs are forked from a process that has imported them."""

import json
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import time
from pathlib import Path

from filelock import FileLock

RECIPES = Path(__file__).parents[2] / "recipes"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "COLUMNS": "160", "HF_HUB_OFFLINE": "1"}
TIMEOUT = 120
PRELOAD = (
    "transformers",
    "evaluate",
    "searchhub.workflows.arguments",
    "searchhub.evaluators.supernet",
    "searchhub.networks.choose",
    "searchhub.networks.original",
    "searchhub.networks.trainer",
    "searchhub.workflows.dry_run",
    "searchhub.workflows.divide_and_conquer",
    "searchhub.workflows.text_arguments",
    "searchhub.metrics.classification",
    "searchhub.metrics.glue",
    "searchhub.reports.html",
    "searchhub.models.bert.importance_bert",
    *(f"searchhub.models.{family}.supernet_{family}" for family in ("channel_cnn", "darts", "fbnet", "mobile")),
    "sklearn.cluster",
    "sklearn.datasets",
    "sklearn.metrics",
)


def words(settings):
    """Settings as they are written on the command line."""
    return [
        word
        for name, value in settings.items()
        for word in ([f"--{name}", *map(str, value)] if isinstance(value, list) else [f"--{name}={value}"])
    ]


def last_of_each(argv):
    """The words of a command line, of an option that comes twice the last: tests add to what they share."""
    options = []
    for word in map(str, argv):
        if word.startswith("--"):
            options.append([word])
        elif options:
            options[-1].append(word)
    names = [option[0].partition("=")[0] for option in options]
    return [word for i, option in enumerate(options) if names[i] not in names[i + 1 :] for word in option]


def forkserver(home):
    """A context whose processes are forked from one that has imported what recipes need: there is one a process.

    `home` is where they keep what they download and prepare.
    """
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(list(PRELOAD))
    environment = {**ENVIRONMENT, "HF_HOME": str(home)}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)  # much of it is read once, when a library is imported
    made.Process(target=int).start()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    return made


class Forked:
    """A script in a forked process, and the log of all that it says."""

    def __init__(self, context, script, argv, log, env=None, tell=None, reload=False, pictures=False):
        self.log = log
        request = {
            "script": str(script),
            "argv": list(map(str, argv)),
            "log": str(log),
            "env": {**ENVIRONMENT, **(env or {})},
            "outcome": tell and str(tell),
            # What a fresh process makes of the folders, and what the pictures show, is seen once, in the run that is
            # started as a user does.
            "reload": reload,
            "pictures": pictures,
        }
        child = str(Path(__file__).with_name("in_child.py"))
        self.process = context.Process(target=runpy.run_path, args=(child, {"request": request}, "__main__"))
        self.process.start()

    @property
    def said(self):
        return self.log.read_text() if self.log.exists() else ""

    def wait_for(self, condition):
        """Until something holds, while the recipe runs."""
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            assert self.process.is_alive(), f"ended too early:\n{self.said}"
            assert time.monotonic() < deadline, self.said
            time.sleep(0.005)
        return self

    def end(self, signal_number=None):
        """How it ended, after a signal or by itself: the exit code, and all that it said."""
        if signal_number is not None:
            os.kill(self.process.pid, signal_number)
        self.process.join(TIMEOUT)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
        assert code is not None, f"does not end:\n{self.said}"
        return code, self.said


class Run(Forked):
    """A recipe in a forked process, whose log stands beside the run's folder."""

    def __init__(self, context, recipe, folder, *argv, **options):
        log = folder.with_name(f"{folder.name}.{os.urandom(4).hex()}.log")
        super().__init__(context, recipe, [*last_of_each(argv), f"--output_dir={folder}"], log, **options)


def run_said(folder):
    """What the latest run of a folder said."""
    logs = sorted(folder.parent.glob(f"{folder.name}.*.log"), key=lambda path: path.stat().st_mtime_ns)
    return logs[-1].read_text() if logs else ""


def two_processes():
    """What a launcher tells each of two processes."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{**common, "RANK": str(r), "LOCAL_RANK": str(r)} for r in range(2)]


def finish_scripts(context, folder, script, *argv, envs):
    """Run a script in as many processes at once as there are environments, all to their end."""
    runs = [Forked(context, script, argv, folder / f"{i}.log", env=env) for i, env in enumerate(envs)]
    ends = [run.end() for run in runs]
    assert [code for code, _ in ends] == [0] * len(envs), ends


def started_by_a_user(command, folder, **env):
    """Run a command in a folder, to its end, with a home of its own."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, **ENVIRONMENT, "HF_HOME": str(folder / "hf"), **env},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def made_once(tmp_path_factory, name, start):
    """A folder in which `start(folder)` has run a command to its end, and what it said; once for all test workers."""
    root = tmp_path_factory.getbasetemp()
    root = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / name
    root.mkdir(exist_ok=True)
    with FileLock(root / "lock"):
        if not (root / "said").exists():
            done = start(root)
            (root / "said").write_text(f"{done.returncode}\n{done.stdout}\n-- stderr\n{done.stderr}")
    code, _, said = (root / "said").read_text().partition("\n")
    assert code == "0", said
    return root, said


def content(*folders):
    """Every file with what it holds and when it was written."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def outcome(folder):
    """All of a result but the time that it took."""
    data = json.loads((folder / "result.json").read_text())
    for trial in data["history"]:
        del trial["seconds"]
    return data


def trials_done(folder):
    journal = folder / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0
