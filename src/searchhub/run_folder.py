"""A run is a folder that a person can read, and from which a killed search goes on.

    config.yaml     everything that decides the outcome, frozen when the run starts; compared when it goes on
    journal.jsonl   one line a trial: the source of every picture
    checkpoints/    the newest two states (`searchhub.checkpoints`)
    result.json     θ, survivors, history, once all trials are done

A trial is a deterministic function of the state before it. So a search that goes back to the last good checkpoint, cuts
the journal to where it ended then, and runs on gives the same bits as a run that was never interrupted.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from searchhub import checkpoints
from searchhub.checkpoints import Checkpoint, DamagedError
from searchhub.errors import InvalidInputError, RunFolderError, RunMismatchError
from searchhub.files import cannot_write, write_text
from searchhub.journal import START, Journal
from searchhub.result import SearchResult

FORMAT_VERSION = 1
RUN_CONFIG, JOURNAL, CHECKPOINTS, RESULT, LOCK = "config.yaml", "journal.jsonl", "checkpoints", "result.json", ".lock"
ORIGINAL, TEACHER, LATENCY, MIXTURE, EARLY = "original", "teacher", "latency.json", "mixture", "early"
LIBRARY = "library.json"
RECONSTRUCTION = "reconstruction.safetensors"
BEFORE = (ORIGINAL, TEACHER, LATENCY, MIXTURE, EARLY, RECONSTRUCTION, LIBRARY)
"""What may be there before the search: the fine-tuned checkpoint that it makes smaller, what that says of all texts,
measured latency, the training of a supernet's mixture, early-stopped networks, and what matrices are solved from.
"""

INFORMATION = "versions"
"""The part of config.yaml that is recorded but not compared."""


class RunFolder:
    """A run folder that this process has locked, until `close` or its death.

    Args:
        path: Path of the folder; it is made if there is none.
        settings: Plain JSON that decides the outcome; each leaf is compared with what the run was started with.
        say: Function that receives messages for a person to read.
        earlier: What settings were that are left out of `settings` at that value, by dotted name, for the error.

    Raises:
        RunFolderError: The folder is in use, damaged, not a run folder, or cannot be written to.
        RunMismatchError: The run was started with other settings.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        say: Callable[[str], None],
        earlier: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.saved = 0
        self._say = say
        settings = plain({"format_version": FORMAT_VERSION, **settings})
        _refuse_foreign_folder(path)
        self._lock = _lock(path)
        try:
            self._clean()
            if (path / RUN_CONFIG).exists():
                _compare(path, settings, earlier or {})
            else:
                _refuse_foreign_folder(path)
                write_text(path / RUN_CONFIG, yaml.safe_dump({**settings, INFORMATION: _versions()}, sort_keys=False))
            self._journal = Journal(path / JOURNAL)
        except OSError as error:
            self.close()
            raise cannot_write(path, error) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unlocks the folder for others."""
        self._lock.release()

    def restore(self) -> Checkpoint | None:
        """Goes back to the last good checkpoint. Returns None if the run starts at the beginning.

        Raises:
            RunFolderError: There are checkpoints but none is good, or a finished run has none.
        """
        good, damage = self._last_good()
        if good is None and damage:
            raise RunFolderError(
                f"At least one checkpoint of `{self.path}` must be intact, but "
                + "; ".join(damage)
                + f". To start over, delete `{self.path / CHECKPOINTS}` and `{self.path / RESULT}`; "
                "or choose another folder."
            )
        if good is None and (result := self.result()) is not None and result.history:
            raise RunFolderError(
                f"`{self.path}` must hold the checkpoint that its {RESULT} was made from, but holds none. Read the "
                f"result with `SearchResult.load`; to search again, delete `{self.path / RESULT}`."
            )
        lines, torn = self._journal.cut(good.journal if good else START)
        self.saved = good.trial + 1 if good else 0
        onward = f"Going on after trial {good.trial}." if good else "Starting from the beginning."
        for text in damage:
            self._say(f"In `{self.path}` {text}. {onward}")
        if torn:
            self._say(f"The last line of `{self.path / JOURNAL}` was torn and is dropped. {onward}")
        if lines:
            self._say(f"{lines} trial(s) in `{self.path / JOURNAL}` have no good checkpoint and are repeated. {onward}")
        # What comes after the restored state is useless, and stands where the next checkpoint goes.
        for trial in checkpoints.numbers(self.path / CHECKPOINTS):
            if trial >= self.saved:
                checkpoints.remove(self.path / CHECKPOINTS / f"{trial:06d}")
        checkpoints.forget_old(self.path / CHECKPOINTS)
        return good

    def _last_good(self) -> tuple[Checkpoint | None, list[str]]:
        damage = []
        for trial in reversed(checkpoints.numbers(self.path / CHECKPOINTS)):
            try:
                found = checkpoints.inspect(self.path / CHECKPOINTS, trial)
            except DamagedError as error:
                damage.append(f"checkpoint {trial:06d} is damaged: {error}")
                continue
            objection = self._journal.objection(found.journal)
            if objection is None:
                return found, damage
            damage.append(f"checkpoint {trial:06d} does not fit: {objection}")
        return None, damage

    def record(self, line: Mapping[str, Any], searcher_state: Mapping[str, Any], save: Callable[[Path], None]) -> None:
        """Saves a finished trial: its journal line, then the checkpoint after it.

        Args:
            line: Plain JSON with the key "trial".
            searcher_state: State of the searcher as plain JSON.
            save: Function that saves the evaluator's state.
        """
        trial = int(line["trial"])
        self._journal.append(line)
        checkpoints.publish(self.path / CHECKPOINTS, trial, searcher_state, save, self._journal.end)
        self.saved = trial + 1

    def note(self, line: Mapping[str, Any]) -> None:
        """Writes the journal line of a trial after which there is no checkpoint. A killed run repeats the trial."""
        self._journal.append(line)

    def lines(self) -> list[dict[str, Any]]:
        """Returns the lines of the journal, which after `restore` ends where the checkpoint was made."""
        return [json.loads(line) for line in (self.path / JOURNAL).read_text(encoding="utf-8").splitlines()]

    def result(self) -> SearchResult | None:
        """Returns the result that `finish` wrote; None if there is none that can be read."""
        if not (self.path / RESULT).exists():
            return None
        try:
            return SearchResult.load(self.path)
        except (InvalidInputError, OSError, ValueError) as error:
            self._say(f"`{self.path / RESULT}` cannot be read and is made again: {error}")
            return None

    def finish(self, result: SearchResult) -> SearchResult:
        """Writes the result of a run whose trials are all done, once. A run that was found finished keeps its own."""
        kept = self.result()
        if kept is not None and len(kept.history) == len(result.history):
            return kept
        result.save(self.path / RESULT)
        return result

    def _clean(self) -> None:
        """Removes what a killed process left. The lock is held, so nobody is writing."""
        for path in self.path.glob(".*.tmp"):
            path.unlink(missing_ok=True)
        checkpoints.clean(self.path / CHECKPOINTS)


def plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the same data as plain JSON (tuples become lists), so that what is compared is what was written.

    Raises:
        InvalidInputError: Something in the data is not JSON.
    """
    try:
        copy: dict[str, Any] = json.loads(json.dumps(data, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"Settings of a run must be JSON (numbers, strings, lists, mappings), but: {error}. Convert it first."
        ) from error
    return copy


def _lock(path: Path) -> FileLock:
    try:
        path.mkdir(parents=True, exist_ok=True)
        # The system releases the lock when the process dies, however it dies.
        lock = FileLock(path / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise RunFolderError(
            f"`{path}` must not be in use, but another search holds it. Wait for it to end, or choose another folder."
        ) from None
    except OSError as error:
        raise cannot_write(path, error) from error
    return lock


def _refuse_foreign_folder(path: Path) -> None:
    """Refuses a folder that holds something else, so that a run is not mixed into it."""
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"`{path}` must be a folder, but is a file. Choose another folder.")
    if not path.is_dir() or (path / RUN_CONFIG).exists():
        return
    try:
        others = sorted(p.name for p in path.iterdir() if p.name not in (LOCK, *BEFORE) and not _is_temporary(p))
    except OSError as error:
        raise RunFolderError(f"`{path}` must be readable, but the system said: {error}.") from error
    if others:
        raise RunFolderError(
            f"`{path}` must be a run folder, new or empty, but it has no {RUN_CONFIG} and holds {others[:5]}. "
            "Choose another folder."
        )


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".tmp")


# -- settings ----------------------------------------------------------------------------------------------------------


def _compare(path: Path, settings: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
    try:
        started = yaml.safe_load((path / RUN_CONFIG).read_text(encoding="utf-8"))
        if not isinstance(started, dict):
            raise ValueError("it is not a mapping")
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise RunFolderError(
            f"`{path / RUN_CONFIG}` must be as the run wrote it, but cannot be read: {error}. Choose another folder."
        ) from error
    started.pop(INFORMATION, None)
    old, new = dict(_leaves(started)), dict(_leaves(settings))
    changed = [key for key in {**old, **new} if _shown(old, key) != _shown(new, key)]
    if changed:
        for leaves in (old, new):
            leaves |= {key: value for key, value in earlier.items() if key in changed and key not in leaves}
        listed = "; ".join(f"`{key}` was {_shown(old, key)}, now {_shown(new, key)}" for key in changed[:8])
        more = f" (and {len(changed) - 8} more)" if len(changed) > 8 else ""
        finished = (
            f" Its search is finished, so `searchhub train {path} --max COST=VALUE` trains a network for another limit "
            "with any of these."
        )
        raise RunMismatchError(
            f"`{path}` must go on with the settings it was started with, but {listed}{more}. Use the old values, or "
            f"another folder (`run_dir`; `--output_dir` of a recipe).{finished if (path / RESULT).exists() else ''}"
        )


def _leaves(data: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every scalar (and every empty mapping) with its dotted name."""
    if isinstance(data, dict) and data:
        for name, value in data.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(data, list) and data:
        for i, value in enumerate(data):
            yield from _leaves(value, f"{key}[{i}]")
    else:
        yield key, data


def _shown(leaves: Mapping[str, Any], key: str) -> str:
    """Returns a leaf as JSON: 1, 1.0, true and "1" are different settings, which `==` would not tell."""
    return json.dumps(leaves[key]) if key in leaves else "not set"


def _versions() -> dict[str, str]:
    """Returns the versions of the packages that are loaded, as information for a reader of the folder."""
    found = {"python": platform.python_version()}
    for name in ("searchhub", "numpy", "torch", "transformers", "accelerate", "datasets"):
        if name in sys.modules:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                found[name] = "unknown"
    return found
