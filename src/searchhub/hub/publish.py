"""Publishes a folder, a model, a search result or a supernet as a revision on the Hub, with one call."""

from __future__ import annotations

import mmap
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import RevisionNotFoundError

from searchhub._version import __version__
from searchhub.errors import InvalidInputError
from searchhub.files import cannot_write, read_json_object
from searchhub.hub.contents import EVAL_RESULTS, FACTS, MODEL_CONFIG, Contents, contents_of, difference
from searchhub.hub.search_folder import save_result_folder, write_supernet_folder
from searchhub.hub_client import check_repo_id, find_token, hub_errors
from searchhub.result import SearchResult
from searchhub.run_folder import RESULT

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo
    from huggingface_hub.hf_api import ModelInfo
    from transformers import PreTrainedModel

    from searchhub.models.supernet import Supernet

# Files that searchhub writes. Those that a new version lacks are deleted from a repository, or they would be loaded.
_OURS = (
    MODEL_CONFIG,
    RESULT,
    FACTS,
    "*.safetensors",
    "*.safetensors.index.json",
    "modeling_*.py",
    "configuration_*.py",
)
# Files that a repository may hold before anything is published in it.
_NEUTRAL = re.compile(r"\.git.*|README\.md|LICEN[CS]E.*")
_PLACE = re.compile(r'from_pretrained\("path/to/[^"]*"')
_TOKEN = re.compile(rb"hf_[A-Za-z0-9]{30,}")


@dataclass(frozen=True)
class PublishedRevision:
    """The place where something was published.

    Args:
        repo_id: Id of the repository, with its owner.
        revision: The commit, which those who load it can pin.
        url: Address of that commit.
        changed: Whether a commit was made. False: the Hub had the same files already.
        pull_request: Address of the pull request. None: there is none.
    """

    repo_id: str
    revision: str
    url: str
    changed: bool
    pull_request: str | None = None

    def __str__(self) -> str:
        if not self.changed:
            return f"No change: {self.repo_id} holds this already, at {self.revision}"
        return f"Published {self.pull_request or self.url}"


def publish(
    what: str | os.PathLike[str] | SearchResult | PreTrainedModel | Supernet,
    repo_id: str,
    *,
    token: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    create_pr: bool = False,
    overwrite: bool = False,
) -> PublishedRevision:
    """Pushes a network, a search result or a supernet to the Hub, in one commit.

    1. The repository is created if it does not exist. Pushing the same files again makes no commit.
    2. A repository that holds another architecture, another search, or something that is not searchhub's is left as it
       is, unless `overwrite=True`.
    3. If a push fails, the repository stays at its revision. The next push does not send again what had arrived.
    4. A file that holds an access token is not sent, and neither are hidden files. No error repeats the token.
    5. Files that searchhub wrote there and that this version lacks are deleted; others stay.
    6. A model in memory is pushed with its code and a card of what the model itself says: class, blocks and sizes.
       Only the folder that a run wrote knows what was measured. If the model was loaded from such a folder (it holds a
       searchhub.json) and its weights are unchanged, publish the folder to keep the measured numbers.

    Args:
        what: A model's folder that `save_model_folder` wrote; a model of a searchhub family; a run folder, for its
            search result; a search result; or a supernet. They load with the Auto classes,
            `SearchResult.from_pretrained` and the supernet's `from_pretrained`.
        repo_id: "owner/name". Without an owner, the token's user is the owner.
        token: Access token with write access. None: the token of the login (`HF_TOKEN`, `hf auth login`).
        private: Whether a new repository is private. None: the owner's default. It must agree with a repository that
            exists.
        revision: Branch to push to; a missing one is made from the main branch. None: the main branch.
        commit_message: Message of the commit. None: it says what is pushed and which searchhub wrote it.
        create_pr: Whether to open a pull request instead of pushing to the main branch.
        overwrite: Whether to push over something else.

    Raises:
        InvalidInputError: There is nothing to publish in `what`, or the repository holds something else.
        HubError: The Hub refused or could not be reached. The message names the call that goes on.
    """
    check_repo_id(repo_id)
    if create_pr and revision is not None:
        raise InvalidInputError(
            f"`create_pr` must be False where `revision` is given, but came with {revision!r}: pull requests go to the "
            "main branch. Drop one."
        )
    options = {"private": private, "revision": revision, "commit_message": commit_message}
    flags = {"create_pr": create_pr, "overwrite": overwrite}
    call = _call(what, repo_id, {**options, **{k: v or None for k, v in flags.items()}})
    with _folder_of(what, repo_id.rpartition("/")[2]) as folder:
        mine = _contents(folder)
        token = find_token(token)
        files = _files(folder, token)
        push = _Push(HfApi(token=token, library_name="searchhub"), repo_id, revision, mine, files)
        way_out = f"Nothing is lost, here or there; to go on: `{call}`."
        with hub_errors(repo_id, revision, way_out, token):
            push.prepare(private=private, overwrite=overwrite)
            return push.commit(commit_message, create_pr=create_pr)


class _Push:
    """One push: it looks at what the repository holds, then pushes everything in one commit."""

    def __init__(
        self,
        api: HfApi,
        repo_id: str,
        revision: str | None,
        mine: Contents,
        files: Mapping[str, Path],
    ) -> None:
        self._api, self._repo_id, self._revision, self._mine, self._files = api, repo_id, revision, mine, files
        self._before: ModelInfo

    def prepare(self, *, private: bool | None, overwrite: bool) -> None:
        """Makes the repository and the branch, and refuses a repository that holds something else."""
        self._repo_id = self._api.create_repo(self._repo_id, private=private, exist_ok=True).repo_id
        new_branch = False
        try:
            self._before = self._api.model_info(self._repo_id, revision=self._revision)
        except RevisionNotFoundError:
            new_branch = True
            self._before = self._api.model_info(self._repo_id)
        if private is not None and self._before.private is not None and self._before.private != private:
            state = "private" if self._before.private else "public"
            raise InvalidInputError(
                f"`private={private}` must agree with `{self._repo_id}`, but that is {state} already. Change it on its "
                "page, or choose another name."
            )
        if not overwrite:
            self._refuse_other()
        if new_branch and self._revision is not None:
            self._api.create_branch(self._repo_id, branch=self._revision, exist_ok=True)

    def commit(self, message: str | None, *, create_pr: bool) -> PublishedRevision:
        """Pushes the files."""
        # Not `upload_folder`: since huggingface_hub 2.4 it may make several commits, and stop between them.
        operations = [CommitOperationAdd(name, self._content(name, path)) for name, path in self._files.items()]
        stale = [CommitOperationDelete(name) for name in self._names() if name not in self._files and _is_ours(name)]
        info: CommitInfo = self._api.create_commit(
            self._repo_id,
            [*operations, *stale],
            commit_message=message or f"Publish a {self._mine.kind} with searchhub {__version__}",
            revision=self._revision,
            create_pr=create_pr,
        )
        changed = info.oid != self._before.sha
        return PublishedRevision(self._repo_id, info.oid, info.commit_url, changed, info.pr_url if changed else None)

    def _names(self) -> list[str]:
        return [sibling.rfilename for sibling in self._before.siblings or ()]

    def _content(self, name: str, path: Path) -> Path | bytes:
        """Returns the content of a file; the card gets the name under which the model can be loaded from now on."""
        if name != "README.md":
            return path
        place = f'from_pretrained("{self._repo_id}"'
        return _PLACE.sub(lambda match: place, path.read_text(encoding="utf-8")).encode()

    def _refuse_other(self) -> None:
        names = [name for name in self._names() if not _NEUTRAL.fullmatch(name)]
        if not names:
            return
        with tempfile.TemporaryDirectory() as folder:
            theirs = contents_of(lambda name: self._read(name, folder) if name in names else None)
        if theirs is None:
            words = f"it holds {', '.join(names[:5])}, and neither a model nor a search result"
        else:
            words = difference(self._mine, theirs) or ""
        if words:
            raise InvalidInputError(
                f"`{self._repo_id}` must be new or hold the same {self._mine.kind}, but: {words}. Choose another name, "
                "or pass `overwrite=True`; its history keeps what it holds now."
            )

    def _read(self, name: str, folder: str) -> dict[str, Any] | None:
        return read_json_object(
            Path(self._api.hf_hub_download(self._repo_id, name, revision=self._before.sha, local_dir=folder))
        )


# -- what is pushed ---------------------------------------------------------------------------------------------------


@contextmanager
def _folder_of(what: str | os.PathLike[str] | SearchResult | PreTrainedModel | Supernet, name: str) -> Iterator[Path]:
    """Returns a Hub-ready folder; what is not in one yet is written to a temporary folder of that name."""
    if isinstance(what, str | os.PathLike):
        folder = Path(what)
        if not folder.is_dir():
            raise InvalidInputError(f"`{folder}` must be a folder to be published, but is none. Check its path.")
        if (folder / MODEL_CONFIG).exists() or not (folder / RESULT).exists():
            yield folder
            return
        what = SearchResult.load(folder)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / name
        try:
            if isinstance(what, SearchResult):
                save_result_folder(what, folder)
            else:
                _write_model(what, folder)
        except OSError as error:
            raise cannot_write(folder, error) from error
        yield folder


def _write_model(what: Any, folder: Path) -> None:
    from transformers import PreTrainedModel

    from searchhub.hub.bare_model import save_bare_model
    from searchhub.models.supernet import Supernet

    if isinstance(what, Supernet):
        write_supernet_folder(what, folder)
    elif isinstance(what, PreTrainedModel):
        save_bare_model(what, folder, folder.name)
    else:
        raise InvalidInputError(
            "A folder, a model, a SearchResult or a supernet must be given to be published, but got a "
            f"{type(what).__name__}."
        )


def _contents(folder: Path) -> Contents:
    contents = contents_of(lambda name: read_json_object(folder / name))
    missing = [] if contents else [MODEL_CONFIG]
    if (contents is None or contents.kind == "model") and not any(folder.glob("*.safetensors")):
        missing.append("model.safetensors")
    if not (folder / "README.md").is_file():
        missing.append("README.md")
    if contents is None or missing:
        inside = sorted(path.name for path in folder.glob("models/*") if (path / MODEL_CONFIG).exists())
        hint = f"The networks of this run are in its `models`: {', '.join(inside[:5])}." if inside else ""
        raise InvalidInputError(
            f"`{folder}` must be a folder that `save_model_folder` wrote, or a finished run, but has no "
            f"{' and no '.join(missing)}. {hint or 'Check its path.'}"
        )
    return contents


def _files(folder: Path, token: str) -> dict[str, Path]:
    """Returns the files to push, by name in the repository: all but hidden files, caches, and what must stay private.

    Raises:
        InvalidInputError: A file holds an access token.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.split("/"))
        if path.is_file() and (not hidden or name == EVAL_RESULTS):
            if _holds_token(path, token.encode()):
                raise InvalidInputError(
                    f"No file may hold an access token to be published, but `{path}` does. Remove it there, and make "
                    "that token invalid if others may have seen it."
                )
            files[name] = path
    return files


def _holds_token(path: Path, token: bytes) -> bool:
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(token) >= 0 or _TOKEN.search(content) is not None


def _is_ours(name: str) -> bool:
    return name == EVAL_RESULTS or ("/" not in name and any(fnmatchcase(name, pattern) for pattern in _OURS))


def _call(what: object, repo_id: str, options: Mapping[str, object]) -> str:
    """Returns the call that was made as text, without the token."""
    given = [f"{name}={value!r}" for name, value in options.items() if value is not None]
    return f"searchhub.publish({', '.join([_word(what), repr(repo_id), *given])})"


def _word(what: object) -> str:
    if isinstance(what, str | os.PathLike):
        return repr(os.fspath(what))
    if isinstance(what, SearchResult):
        return "result"
    from searchhub.models.supernet import Supernet

    return "supernet" if isinstance(what, Supernet) else "model"
