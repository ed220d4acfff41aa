"""Prints the output of commands: tables for a person, pure JSON for a program, never a token."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.text import Text

from searchhub.formatting import ABSENT, cell, rich_table
from searchhub.redact import redact_tokens

PIPED_WIDTH = 200
"""Number of columns if no terminal tells it: nothing is cut that a program may look for."""


def print_json(data: Mapping[str, object]) -> None:
    """Prints JSON on standard output, all at once."""
    sys.stdout.write(redact_tokens(json.dumps(data, indent=1, allow_nan=False)) + "\n")


def print_table(rows: Sequence[Mapping[str, object]], *, title: str | None = None) -> None:
    """Prints rows as a table; without rows it prints nothing."""
    if rows:
        _console().print(rich_table([{k: _safe(v) for k, v in row.items()} for row in rows], title=title))


def print_facts(rows: Iterable[tuple[str, object]]) -> None:
    """Prints names with their values, without names that have none."""
    shown = [(name, text) for name, value in rows if (text := redact_tokens(cell(value))) not in ("", ABSENT)]
    width = max((len(name) for name, _ in shown), default=0)
    for name, text in shown:
        _console().print(Text.assemble((f"{name:{width}}", "bold"), "  ", text), soft_wrap=True)


def print_line(text: str) -> None:
    """Prints a line on standard output, as it is."""
    _console().print(Text(redact_tokens(text)), soft_wrap=True)


def print_note(text: str) -> None:
    """Prints a remark on standard error, beside what is asked for."""
    sys.stderr.write(f"{redact_tokens(text)}\n")


def print_error(text: str) -> None:
    """Prints what went wrong on standard error."""
    sys.stderr.write(f"error: {redact_tokens(text)}\n")


def hide_loading() -> None:
    """Keeps transformers from showing how it reads each file of weights."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)


def _safe(value: object) -> object:
    return redact_tokens(value) if isinstance(value, str) else value
