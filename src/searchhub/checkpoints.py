"""Checkpoints of a run: folders that appear whole or not at all, and that show by themselves whether they are intact.

`checkpoints/000011/` is the state after trial 11. It is written in a hidden folder beside, its manifest last, and
renamed into place; the manifest holds size and SHA-256 of every file, and of the journal as it was then.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchhub.errors import InvalidInputError
from searchhub.files import cannot_write, sha256, sync, system_error
from searchhub.journal import Mark

FORMAT_VERSION = 1
KEEP = 2
MANIFEST, SEARCHER = "manifest.json", "searcher.json"


@dataclass(frozen=True)
class Checkpoint:
    """An intact checkpoint.

    Args:
        path: Its folder.
        trial: The number of the last trial that is in it.
        journal: Place at which the journal ended then.
    """

    path: Path
    trial: int
    journal: Mark

    def searcher_state(self) -> dict[str, Any]:
        """What the searcher's `state_dict` gave."""
        state: dict[str, Any] = json.loads((self.path / SEARCHER).read_text(encoding="utf-8"))
        return state


class DamagedError(Exception):
    """Why a checkpoint cannot be used. Never leaves this package: a run falls back to an earlier one."""


def publish(
    root: Path, trial: int, searcher_state: Mapping[str, Any], save: Callable[[Path], None], journal: Mark
) -> Checkpoint:
    """Write the checkpoint after a trial, and let go of all but the newest two.

    Args:
        root: The folder of checkpoints.
        trial: Number of the last trial.
        searcher_state: Plain JSON.
        save: Writes the evaluator's state into the empty folder that it is given.
        journal: Place at which the journal ends now.

    Raises:
        RunFolderError: The disk is full or cannot be written to; earlier checkpoints are intact.
        InvalidInputError: The evaluator wrote a file under a name that is taken.
    """
    final, hidden = root / f"{trial:06d}", root / f".{trial:06d}.tmp"
    try:
        hidden.mkdir(parents=True)
        save(hidden)
        _refuse_taken_names(hidden)
        _write(hidden / SEARCHER, searcher_state)
        _write(hidden / MANIFEST, _manifest(hidden, trial, journal))
        sync(hidden / MANIFEST)
        sync(hidden)
        os.rename(hidden, final)
        sync(root)
    except Exception as error:
        remove(hidden)
        system = system_error(error)
        if system is None:
            raise
        raise cannot_write(final, system) from error
    except BaseException:
        remove(hidden)
        raise
    forget_old(root)
    return Checkpoint(final, trial, journal)


def _refuse_taken_names(folder: Path) -> None:
    for name in (MANIFEST, SEARCHER):
        if (folder / name).exists():
            raise InvalidInputError(f"An evaluator's `save` must not write `{name}`, which the run writes. Rename it.")


def _write(path: Path, data: Mapping[str, Any]) -> None:
    # In place, unlike elsewhere: it is the hidden folder that appears in one step.
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _manifest(folder: Path, trial: int, journal: Mark) -> dict[str, Any]:
    """What the folder holds; all of it is on disk afterwards."""
    files = {}
    for path in sorted(folder.rglob("*")):
        sync(path)
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    return {
        "format_version": FORMAT_VERSION,
        "trial": trial,
        "journal": {"bytes": journal.length, "sha256": journal.digest},
        "files": files,
    }


def inspect(root: Path, trial: int) -> Checkpoint:
    """Check a checkpoint against its manifest.

    Raises:
        DamagedError: A file is missing, added, cut short or changed.
    """
    path = root / f"{trial:06d}"
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        listed = {str(name): (int(f["bytes"]), str(f["sha256"])) for name, f in manifest["files"].items()}
        journal = Mark(int(manifest["journal"]["bytes"]), str(manifest["journal"]["sha256"]))
        if manifest["format_version"] != FORMAT_VERSION or manifest["trial"] != trial:
            raise DamagedError("its manifest is of another checkpoint or format")
        found = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()} - {MANIFEST}
        if found != set(listed):
            raise DamagedError(f"its files differ from its manifest in {sorted(found ^ set(listed))}")
        for name, (size, digest) in listed.items():
            if (path / name).stat().st_size != size:
                raise DamagedError(f"`{name}` has {(path / name).stat().st_size} bytes instead of {size}")
            if sha256(path / name) != digest:
                raise DamagedError(f"the content of `{name}` has changed")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"its manifest cannot be read ({error})") from error
    return Checkpoint(path, trial, journal)


def numbers(root: Path) -> list[int]:
    """The trials that have a checkpoint, in order."""
    if not root.is_dir():
        return []
    return sorted(int(p.name) for p in root.iterdir() if p.is_dir() and re.fullmatch(r"\d{6,}", p.name))


def forget_old(root: Path) -> None:
    """Remove all but the newest two."""
    for old in numbers(root)[:-KEEP]:
        remove(root / f"{old:06d}")


def remove(folder: Path) -> None:
    """Remove a folder, hidden first: one that is half gone must not look like a damaged checkpoint."""
    if not folder.exists():
        return
    if not folder.name.startswith("."):
        hidden = folder.with_name(f".{folder.name}.old")
        os.rename(folder, hidden)
        folder = hidden
    shutil.rmtree(folder, ignore_errors=True)


def clean(root: Path) -> None:
    """Remove what a killed process left half written or half removed. Only under the lock of the run."""
    if root.is_dir():
        for path in root.iterdir():
            if path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)
