"""Limits as words of a command line: `--max macs=300M --min params=2M`."""

from __future__ import annotations

from collections.abc import Sequence

from searchhub.errors import InvalidInputError
from searchhub.formatting import read_amount
from searchhub.generation.limits import Limit


def read_limits(
    maximum: Sequence[str] | None, minimum: Sequence[str] | None, equal: Sequence[str] | None
) -> list[Limit]:
    """The limits of `--max`, `--min` and `--equal`, in this order; all of them hold.

    Raises:
        InvalidInputError: One is not `name=value`.
    """
    limits = []
    for kind, words in (("max", maximum), ("min", minimum), ("equal", equal)):
        for word in words or ():
            name, value = _split(kind, word)
            limits.append(Limit(name, **{kind: value}))
    return limits


def _split(kind: str, word: str) -> tuple[str, float]:
    name, equals, text = word.partition("=")
    value = read_amount(text)
    if not name.strip() or not equals or value is None:
        raise InvalidInputError(
            f"`--{kind}` must be a cost and a number, like `--{kind} macs=300M`, but got `{word}`. Magnitudes are K, "
            "M, G (or B) and T; units are not written."
        )
    return name.strip(), value
