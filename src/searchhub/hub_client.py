"""Talks with the Hub, without torch: finds the token, and turns the errors of the Hub's client into words that help."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from searchhub.errors import HubError, InvalidInputError, SearchhubError
from searchhub.redact import REDACTED, redact_tokens

PATIENCE = 1.5
"""Seconds within which a connection to the Hub must be made."""

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}

_FILES = {
    ".csv",
    ".tsv",
    ".json",
    ".jsonl",
    ".ndjson",
    ".parquet",
    ".txt",
    ".gz",
    ".bz2",
    ".xz",
    ".zip",
    ".tar",
    ".tgz",
}

TOKENS = "https://huggingface.co/settings/tokens"


def check_repo_id(repo_id: str) -> None:
    """Refuses a repository's name that no Hub would accept.

    Raises:
        InvalidInputError: The name is not like "name" or "owner/name".
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InvalidInputError(
            f'`repo_id` must be like "owner/name", but got {repo_id!r}. {str(error).partition(":")[0]}.'
        ) from error


def why_unreached() -> OSError | None:
    """Returns why no connection to the Hub, or to the proxy before it, can be made within `PATIENCE`; None if one can.

    The calls of the Hub's client, of transformers and of datasets are repeated for 23 to 47 seconds before they say so.
    """
    from huggingface_hub import constants, is_offline_mode

    if is_offline_mode():
        return OSError("HF_HUB_OFFLINE is set.")
    hub = urlsplit(constants.ENDPOINT)
    proxies = {} if proxy_bypass(hub.hostname or "") else getproxies()
    proxy = proxies.get(hub.scheme) or proxies.get("all")
    door = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else hub
    address = door.hostname or "", door.port or _PORTS.get(door.scheme, 80)
    found: list[OSError | None] = []

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=PATIENCE).close()
            found.append(None)
        except OSError as error:
            found.append(error)

    # Looking a name up takes no time limit, so that it is waited for from outside.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(PATIENCE)
    return found[0] if found else TimeoutError(f"no connection within {PATIENCE:g} seconds")


def why_silent(repo_id: str, repo_type: Literal["model", "dataset"]) -> Exception | None:
    """Returns why the Hub says nothing of a repository; None if it answers, be it with a refusal. It is asked once."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if (unreached := why_unreached()) is not None:
        return unreached
    try:
        ask = HfApi().model_info if repo_type == "model" else HfApi().dataset_info
        ask(repo_id, expand=["sha"], timeout=10)
    except (HfHubHTTPError, HFValidationError):
        return None  # The Hub answered, or the name is wrong; whoever asks on says what.
    except Exception as error:
        return error
    return None


def is_path(name: str) -> bool:
    """Whether a name can only be a path, whether or not anything lies there: the Hub is not asked about it.

    1. A repository is "name" or "owner/name". What begins with "/", "~" or ".", holds a backslash or more slashes, or
       ends in a file's ending, is none.
    2. `data/x` is a slip if there is a folder `data` without `x` in it.

    >>> is_path("./birds"), is_path("data/2024/birds"), is_path("data/reviews.csv"), is_path("owner/birds")
    (True, True, True, False)
    """
    path = Path(name)
    shaped = name.startswith(("/", "~", ".")) or "\\" in name or name.count("/") > 1 or name.endswith("/")
    return shaped or path.suffix.lower() in _FILES or (path.parent != Path() and path.parent.is_dir())


def kept_path(name: str) -> str:
    """Returns a name for a file that is read elsewhere: a relative path to what lies here shows that it is a path.

    Otherwise `birds`, where there is no such folder any more, would be looked for on the Hub.
    """
    path = Path(name)
    return f"./{name}" if path.exists() and not path.is_absolute() and not name.startswith((".", "~")) else name


def find_token(token: str | None) -> str:
    """Returns the given token, or the one of the current login (`HF_TOKEN`, `hf auth login`).

    Raises:
        HubError: There is no token, or the text cannot be one.
    """
    from huggingface_hub import get_token

    token = get_token() if token is None else token
    if not token:
        raise HubError(
            "A token must be there to publish with, but none was found. Run `hf auth login`, set HF_TOKEN, or pass "
            f"`token`; {TOKENS} makes one with write access."
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        # An HTTP library would repeat the token in its error.
        raise HubError("A token must be one word of ASCII, but this one is not (it is not shown). Copy it again.")
    return token


def download(repo_id: str, filename: str, *, revision: str | None = None, token: str | None = None) -> Path:
    """Returns the path of a repository's file, from the Hub or from the cache.

    Raises:
        InvalidInputError: The name is not valid, or the repository has no such file.
        HubError: The repository cannot be read, or the Hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    check_repo_id(repo_id)
    with hub_errors(repo_id, revision, "Then make the same call again.", token):
        unreached = why_unreached()
        options: dict[str, Any] = {"revision": revision, "token": token, "local_files_only": unreached is not None}
        try:
            return Path(hf_hub_download(repo_id, filename, **options))
        except LocalEntryNotFoundError:
            if unreached is None:
                raise
        except RemoteEntryNotFoundError:
            at = "" if revision is None else f" at `{revision}`"
            raise InvalidInputError(
                f"`{repo_id}`{at} must hold a {filename}, but does not. Look at what it holds, or name another."
            ) from None
        raise unreached


@contextmanager
def hub_errors(repo_id: str, revision: str | None, way_out: str, token: str | None) -> Iterator[None]:
    """Turns whatever the Hub's client raises into one error that fits on one screen.

    Args:
        repo_id: Name of the repository in question.
        revision: Branch, tag or commit that was asked for.
        way_out: How to go on once the reason is gone.
        token: Token that was sent. None: that of the current login. The error repeats neither, nor what looks like one.

    Raises:
        HubError: The block raised something that is not searchhub's own.
    """
    try:
        yield
    except SearchhubError:
        raise
    except Exception as error:  # everything: transport, refusals and answers that are none
        from huggingface_hub import get_token

        sent = [known for known in (token, get_token()) if known]

        def clean(text: str) -> str:
            for known in sent:
                text = text.replace(known, REDACTED)
            return redact_tokens(text)

        reason = _reason(error, repo_id, revision, clean)
        # The error is not chained: a server or a proxy may repeat the token in its answer.
        raise HubError(f"{reason} {way_out}") from None


def _reason(error: Exception, repo_id: str, revision: str | None, clean: Callable[[str], str]) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    chain = list(_chain(error))
    answered = next((e for e in chain if isinstance(e, HfHubHTTPError)), None)
    hub = f"the Hub at {constants.ENDPOINT}"
    if answered is None:
        words = _one_line(clean(str(chain[-1]))) or _one_line(clean(str(error)))
        return (
            f"The Hub at {constants.ENDPOINT} must be reachable and answer as one, but: {type(chain[-1]).__name__}: "
            f"{words} Check the network and HF_ENDPOINT."
        )
    status = answered.response.status_code
    said = " ".join(clean(answered.server_message or "").split())[:300].rstrip(".")
    said = f"{status}: {said}" if said else str(status)
    if isinstance(answered, RevisionNotFoundError):
        return f"`revision` must be a branch, tag or commit of `{repo_id}`, but {hub} has no {revision!r} there."
    # The Hub also answers 401 to someone unknown who asks for what does not exist or is hidden.
    if status == 401 and answered.response.headers.get("X-Error-Code") != "RepoNotFound":
        return f"The token must be one that {hub} knows, but it was refused ({said}). Log in again: `hf auth login`."
    if isinstance(answered, RepositoryNotFoundError):
        return (
            f"`{repo_id}` must exist and be open to your token, but {hub} does not show it ({said}). "
            "Check its name, and `hf auth whoami`."
        )
    if status == 403:
        return (
            f"The token must be allowed to do this to `{repo_id}`, but {hub} refused ({said}). Use one with write "
            f"access to it ({TOKENS}), or a repository of your own."
        )
    if status == 404:
        return f"{constants.ENDPOINT} must be a Hub, but does not know this call ({said}). Check HF_ENDPOINT."
    return f"{hub[0].upper()}{hub[1:]} must take every file, but answered {said}."


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and what caused it, the root last."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _one_line(text: str) -> str:
    text = " ".join(text.split())[:300]
    return text if not text or text.endswith(".") else f"{text}."
