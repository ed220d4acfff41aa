"""Keeps what is private on a machine out of what is published."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

REDACTED = "REDACTED"

# Tokens of the Hub, old and new, and whatever looks like one. Hiding a word too many is better than showing a token.
_TOKEN = re.compile(r"(?<![A-Za-z0-9])(?:hf|api_org)_[A-Za-z0-9_\-]{8,}")
_SECRET_NAME = re.compile(r"^(?:[\w-]*[_-])?(?:token|password|secret|api[_-]?key)$", re.IGNORECASE)

# An absolute path inside a longer text. A slash that follows a letter, a dot or another slash is part of a relative
# path or a URL.
_PATH = re.compile(r"(?:file://|(?<![\w/.~:])|(?<=:)(?!//))~?/(?!/)[^\s'\"`,;:|=()\[\]{}]+")
_WINDOWS_PATH = re.compile(r"(?<![A-Za-z])[A-Za-z]:\\[^\s'\"`,;|=()\[\]{}]+")


def is_secret(name: str) -> bool:
    """Whether an option or a setting of this name holds a secret.

    >>> is_secret("--hub_token"), is_secret("tokenizer")
    (True, False)
    """
    return _SECRET_NAME.match(name) is not None


def redact_tokens(text: str) -> str:
    """Removes from a text everything that looks like an access token.

    >>> redact_tokens("--hub_token hf_abcdefghijkl")
    '--hub_token REDACTED'
    """
    return _TOKEN.sub(REDACTED, text)


def redact(text: str) -> str:
    """Removes tokens from a text and reduces each absolute path in it to its last part.

    An absolute path reveals the name of a user, a machine or a customer, and does not help anybody else to repeat a
    run: where the data are on another machine is for its owner to say. The last part tells which data were used.

    >>> redact("data in /home/ann/photos/birds, see https://example.org/a/b")
    'data in birds, see https://example.org/a/b'
    """
    text = _WINDOWS_PATH.sub(lambda match: PureWindowsPath(match[0]).name or match[0][:2], text)
    text = _PATH.sub(lambda match: PurePosixPath(match[0].removeprefix("file://")).name or "/", text)
    return redact_tokens(text)


def redact_command(arguments: Sequence[str]) -> str:
    """Returns a command line as it was given, quoted for a shell, without tokens and with absolute paths reduced.

    1. A path may hold spaces: if an argument, or its part after "=", is an absolute path, it is reduced as a whole.
    2. The word after an option like `--hub_token` is hidden whatever it looks like.

    >>> redact_command(["/usr/bin/python", "recipes/ddp_mobile.py", "--dataset=/home/ann/my birds"])
    "python recipes/ddp_mobile.py '--dataset=my birds'"
    """
    words: list[str] = []
    hide_next = False
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if not equals or not re.fullmatch(r"[\w-]+", option):
            option, equals, value = "", "", argument
        value = REDACTED if hide_next or is_secret(option) else redact_whole(value)
        hide_next = not equals and argument.startswith("-") and is_secret(argument)
        words.append(option + equals + value)
    return shlex.join(words)


def redact_whole(value: str) -> str:
    """Removes tokens from a value, and reduces it to its last part if all of it, spaces too, is an absolute path."""
    path = value.removeprefix("file://")
    if path.startswith(("/", "~/")):
        return redact_tokens(PurePosixPath(path).name or path)
    if PureWindowsPath(value).is_absolute() or value.startswith("\\\\"):
        return redact_tokens(PureWindowsPath(value).name or value)
    return redact(value)


def redact_data(value: Any) -> Any:
    """Returns plain JSON without what is private: values of secret names, tokens, and the places of paths.

    >>> redact_data({"dataset": "/home/ann/birds", "more": [{"hub_token": "abc", "seed": 1}]})
    {'dataset': 'birds', 'more': [{'hub_token': 'REDACTED', 'seed': 1}]}
    """
    if isinstance(value, Mapping):
        return {name: REDACTED if is_secret(str(name)) else redact_data(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_data(inner) for inner in value]
    return redact_whole(value) if isinstance(value, str) else value
