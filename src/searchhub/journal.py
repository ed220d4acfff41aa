"""The journal of a run: one JSON line a trial, only ever appended to, each on disk before the search goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchhub.errors import RunFolderError
from searchhub.files import cannot_write, sync


@dataclass(frozen=True)
class Mark:
    """A place in a journal.

    Args:
        length: How many bytes lie before it.
        digest: Their SHA-256 in hex.
    """

    length: int
    digest: str


START = Mark(0, hashlib.sha256().hexdigest())
"""The beginning of every journal."""


class Journal:
    """`journal.jsonl` of a run that this process holds.

    Args:
        path: The file; it may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content = path.read_bytes() if path.exists() else b""
        self._digest = hashlib.sha256(self._content)
        self._length = len(self._content)

    @property
    def end(self) -> Mark:
        """Where it ends now."""
        return Mark(self._length, self._digest.hexdigest())

    def objection(self, mark: Mark) -> str | None:
        """Why the journal does not reach a mark as it was made; None: it does."""
        if len(self._content) < mark.length:
            return f"`{self.path.name}` is shorter than when it was made ({len(self._content)} < {mark.length} bytes)"
        if hashlib.sha256(self._content[: mark.length]).hexdigest() != mark.digest:
            return f"`{self.path.name}` was changed since it was made"
        return None

    def cut(self, mark: Mark) -> tuple[int, bool]:
        """Drop what lies beyond a mark. A process killed meanwhile leaves the old file or the new one.

        Returns:
            How many whole lines were dropped, and whether the last one was torn.
        """
        beyond = self._content[mark.length :]
        if beyond:
            try:
                os.truncate(self.path, mark.length)
                sync(self.path)
            except OSError as error:
                raise cannot_write(self.path, error) from error
        # From here on only appended to: what was read is not needed again.
        self._digest = hashlib.sha256(self._content[: mark.length])
        self._length = mark.length
        self._content = b""
        return beyond.count(b"\n"), bool(beyond) and not beyond.endswith(b"\n")

    def append(self, line: Mapping[str, Any]) -> None:
        """Add one line and see it to disk.

        Raises:
            RunFolderError: The disk is full or cannot be written to; or the file is not as long as this process left
                it, because someone else wrote to it.
        """
        data = (json.dumps(line, allow_nan=False) + "\n").encode()
        try:
            with self.path.open("ab") as file:
                if file.tell() != self._length:
                    raise RunFolderError(
                        f"`{self.path}` must be {self._length} bytes long, as this search left it, but is "
                        f"{file.tell()}: something else writes to it. Run the same command again without that."
                    )
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if not self._length:
                sync(self.path.parent)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._digest.update(data)
        self._length += len(data)
