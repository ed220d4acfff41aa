"""Limits as words of a command line: `--max macs=300M --min params=2M`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from searchhub.errors import InvalidInputError
from searchhub.generation.limits import Limit

_AMOUNT = re.compile(r"([-+]?)((?:\d{1,3}(?:,\d{3})+|\d[\d_]*)?(?:\.\d+)?(?:e[-+]?\d+)?)([kmgbt]?)", re.IGNORECASE)
_FACTORS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}


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


def read_amount(text: str) -> float | None:
    """A number with a magnitude; None where it is none. Exact: 0.3M is 300,000.

    >>> read_amount("300M"), read_amount("1.5g"), read_amount("812,004"), read_amount("30"), read_amount("30ms")
    (300000000, 1500000000, 812004, 30, None)
    """
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or not any(c.isdigit() for c in found[2].partition("e")[0]):
        return None
    value = Decimal(found[1] + found[2].replace(",", "").replace("_", "")) * _FACTORS[found[3].upper()]
    return int(value) if value == value.to_integral_value() else float(value)


def _split(kind: str, word: str) -> tuple[str, float]:
    name, equals, text = word.partition("=")
    value = read_amount(text)
    if not name.strip() or not equals or value is None:
        raise InvalidInputError(
            f"`--{kind}` must be a cost and a number, like `--{kind} macs=300M`, but got `{word}`. Magnitudes are K, "
            "M, G (or B) and T; units are not written."
        )
    return name.strip(), value
