"""Finds what the first word of a command names: a run's folder, a folder of what was published, or a Hub id."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from searchhub.errors import HubError, InvalidInputError
from searchhub.hub_client import check_repo_id, download
from searchhub.result import SearchResult
from searchhub.run_folder import RESULT


def locate(name: str, *files: str, revision: str | None = None) -> Path:
    """Returns the folder that a name stands for.

    1. A path that exists here is meant, unless a revision is given: only the Hub has revisions. A file stands for its
       folder.
    2. `runs/x` is a slip if there is a folder `runs` without `x` in it, and the Hub is not asked.

    Args:
        name: A path, or "owner/name" on the Hub.
        files: Names of the files to fetch from a repository, which must have at least one of them.
        revision: Branch, tag or commit of the repository.

    Raises:
        InvalidInputError: Nothing of that name exists here, and it cannot be a repository or holds none of the files.
        HubError: The repository cannot be read, or the Hub cannot be reached.
    """
    path = Path(name)
    if revision is None and path.exists():
        return path if path.is_dir() else path.parent
    _refuse_slip(path, name, revision)
    found = []
    try:
        for file in files:
            with suppress(InvalidInputError):  # the repository has no such file
                found.append(download(name, file, revision=revision).parent)
    except HubError as error:
        raise HubError(f"There is no folder `{name}` here. {error}") from None
    if not found:
        raise InvalidInputError(
            f"`{name}` must hold {' or '.join(files)}, but as a repository on the Hub holds none. Look at what it "
            "holds, or name another."
        )
    return found[0]


def load_result(name: str, revision: str | None = None) -> tuple[SearchResult, Path]:
    """Returns a finished search and the folder that holds it.

    Raises:
        InvalidInputError: There is no finished search.
        HubError: The repository cannot be read, or the Hub cannot be reached.
    """
    path = Path(name)
    if revision is None and path.is_file():
        return SearchResult.load(path), path.parent
    folder = locate(name, RESULT, revision=revision)
    return SearchResult.load(folder), folder


def _refuse_slip(path: Path, name: str, revision: str | None) -> None:
    among = path.parent
    if revision is None and among != Path() and among.is_dir():
        others = sorted(p.name for p in among.iterdir() if p.is_dir() and not p.name.startswith("."))
        held = f"`{among}` holds {', '.join(others[:8])}" if others else f"`{among}` holds no folder"
        raise InvalidInputError(
            f"`{name}` must be a folder, but is none: {held}. Mend the path; for a repository of that name on the Hub, "
            "add `--revision main`."
        )
    try:
        check_repo_id(name)
    except InvalidInputError:
        raise InvalidInputError(
            f'`{name}` must be a folder here, or "owner/name" on the Hub, but is neither. Mend the path.'
        ) from None
