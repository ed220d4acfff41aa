"""Talks with the Hub, without torch: finds the token, and turns the errors of the Hub's client into words that help."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from searchhub.errors import HubError, InvalidInputError, SearchhubError
from searchhub.redact import REDACTED, redact_tokens

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
    from huggingface_hub.errors import RemoteEntryNotFoundError

    check_repo_id(repo_id)
    with hub_errors(repo_id, revision, "Then make the same call again.", token):
        try:
            return Path(hf_hub_download(repo_id, filename, revision=revision, token=token))
        except RemoteEntryNotFoundError:
            at = "" if revision is None else f" at `{revision}`"
            raise InvalidInputError(
                f"`{repo_id}`{at} must hold a {filename}, but does not. Look at what it holds, or name another."
            ) from None


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
