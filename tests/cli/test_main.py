import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from searchhub.cli import information
from searchhub.cli.main import app, main

ROOT = Path(__file__).parents[2]
COMMANDS = ["info", "generate", "pareto", "train", "evaluate", "rank", "profile", "publish", "export", "report"]
HEAVY = ("torch", "transformers", "datasets", "accelerate", "evaluate", "pandas")


def python(*words, **options):
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, **options)


def heavy_after(*words):
    """Which heavy packages a command imported, and what it printed before."""
    script = (
        "import sys\nfrom searchhub.cli.main import app\n"
        "try: app(sys.argv[1:])\nexcept SystemExit as stop: code = stop.code\n"
        f"print('LOADED', code, [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = python("-c", script, *words)
    return done.stderr.strip().splitlines()[-1], done.stdout


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_every_command_has_help_with_an_example(cli, command):
    done = cli("--help") if command is None else cli(command, "--help")
    assert done.exit_code == 0
    shown = " ".join(done.stdout.split())
    if command is None:
        assert [shown.index(f"│ {name} ") for name in COMMANDS] == sorted(
            shown.index(f"│ {name} ") for name in COMMANDS
        )
    else:
        assert f"Example: searchhub {command} runs/" in shown


def test_help_needs_nothing_heavy_and_comes_at_once():
    assert heavy_after("--help")[0] == "LOADED 0 []"
    assert heavy_after("train", "--help")[0] == "LOADED 0 []"
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        assert python("-m", "searchhub", "--help").returncode == 0
        seconds.append(time.perf_counter() - started)
    # Under one second on a machine that does nothing else; tests run beside others.
    assert min(seconds) < 3


def test_what_decides_needs_nothing_heavy(trained, tmp_path):
    for words in (
        ("generate", trained, "--max", "macs=100K"),
        ("pareto", trained, "--cost", "macs"),
        ("info", trained),
        ("report", trained, "--output", tmp_path / "report.html"),
    ):
        last, printed = heavy_after(*map(str, words))
        assert last == "LOADED 0 []", words
        assert printed


def test_json_can_be_piped(trained):
    done = python("-m", "searchhub", "generate", trained, "--max", "macs=100K", "--json")
    assert json.loads(done.stdout)["limits"] == ["macs <= 100,000"]
    assert done.stderr == ""
    closed = f"{sys.executable} -m searchhub pareto {trained} --cost macs --csv | head -n 1"
    done = subprocess.run(closed, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("macs,params,expectation,score,")
    assert "Traceback" not in done.stderr


def test_version(cli):
    import searchhub

    assert cli("--version").stdout == f"{searchhub.__version__}\n"


def test_errors_take_one_screen_and_no_traceback(tmp_path):
    done = python("-m", "searchhub", "info", tmp_path / "nothing")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: `{tmp_path / 'nothing'}` must be a folder, but is none")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 3


@pytest.mark.parametrize("words", [["unknown"], ["info", "--unknown"], ["generate"], ["profile", "x", "--rounds", "0"]])
def test_words_that_are_none_are_refused(cli, words):
    done = cli(*words)
    assert done.exit_code == 2
    assert "Usage: searchhub" in done.stderr


def test_interrupted(cli, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    (tmp_path / "result.json").write_text("{}")
    monkeypatch.setattr("searchhub.reports.run.read_run", interrupted)
    done = cli("info", tmp_path)
    assert done.exit_code == 130
    assert done.stderr.startswith("Interrupted.")


TOKEN = "hf_" + "canary" * 6


def test_no_token_is_printed(cli, tmp_path, monkeypatch):
    done = cli("info", tmp_path / TOKEN)
    assert "must be a folder" in done.stderr
    assert TOKEN not in done.stderr
    monkeypatch.setattr(information, "_run", lambda run: {"searcher": {"note": TOKEN}})
    (tmp_path / "result.json").write_text("{}")
    monkeypatch.setattr("searchhub.reports.run.read_run", lambda folder: None)
    done = cli("info", tmp_path, "--json")
    assert json.loads(done.stdout) == {"searcher": {"note": "REDACTED"}}


def test_every_command_is_documented_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"searchhub (\w+) ", readme))
    assert shown >= set(COMMANDS)
    assert {command.callback.__name__ for command in app.registered_commands} == set(COMMANDS)


def test_the_script_is_installed():
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.scripts]\nsearchhub = "searchhub.cli.main:main"\n' in settings
    assert callable(main)
