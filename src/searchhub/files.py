"""Writing files so that a reader, or a killed process, never meets half of one: temp, fsync, rename."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from searchhub.errors import RunFolderError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what was written there replaces `path` in one step when the block ends.

    Raises:
        RunFolderError: The disk is full or the place cannot be written to; whatever stood at `path` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> RunFolderError:
    """The error of a write that failed, with the way out."""
    return RunFolderError(
        f"`{path}` must be writable with space left on its disk, but the system said: {error.strerror or error}. "
        "What was saved before is intact; make room or choose another folder, and run the same command again."
    )


def system_error(error: BaseException) -> OSError | None:
    """The system's error behind an exception; safetensors reports it as text, "… (os error 28)"."""
    if isinstance(error, OSError):
        return error
    found = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else None


def sync(path: Path) -> None:
    """Make the system write a file or a folder's entries to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file atomically; NaN and infinity, which JSON does not have, are an error."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """The hex digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_json_object(file: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no such file, or it holds something else."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
