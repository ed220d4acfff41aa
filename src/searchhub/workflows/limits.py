"""Reads limits from words of a command line or a YAML file, like `--max macs=300M` or `--max encoder_params=50%`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.formatting import read_amount
from searchhub.generation.cells import reachable_range
from searchhub.generation.limits import Limit

# A comma between the digits of 812,004 joins nothing.
_JOINED = re.compile(r",(?=\s*[A-Za-z_])")

NO_LIMIT = "-"
"""The word of a network that an option does not limit, where it limits others."""

Largest: TypeAlias = Callable[[str], float]
"""Function of a cost's name that returns the largest network's cost, of which `50%` is a half."""


def largest_of(costs: Iterable[CostTable]) -> Largest:
    """Returns the function that says what shares are of: of the largest cost that each table's networks can have."""
    tables = {cost.name: cost for cost in costs}

    def largest(name: str) -> float:
        if name not in tables:
            raise InvalidInputError(
                f"A share, like `50%`, must be of one of the costs {sorted(tables)}, but got `{name}`. Give a number."
            )
        return reachable_range(tables[name])[1]

    return largest


def read_limits(
    maximum: Sequence[str] | None,
    minimum: Sequence[str] | None,
    equal: Sequence[str] | None,
    largest: Largest | None = None,
) -> list[Limit]:
    """Returns the limits of `--max`, `--min` and `--equal`, in this order; all of them hold for one network.

    >>> [str(limit) for limit in read_limits(["macs=300M"], ["params=2M"], None)]
    ['macs <= 300,000,000', 'params >= 2,000,000']
    >>> str(read_limits(["macs=50%"], None, None, lambda name: 3_000_001)[0])
    'macs <= 1,500,000'

    Args:
        maximum: Words of `--max`.
        minimum: Words of `--min`.
        equal: Words of `--equal`.
        largest: What shares are of, see `largest_of`. None: no cost is known, so that a share is an error.

    Raises:
        InvalidInputError: A word is not `name=value`, or several of these joined by commas.
    """
    largest = largest or largest_of(())
    limits = []
    for kind, words in (("max", maximum), ("min", minimum), ("equal", equal)):
        for word in words or ():
            for part in _JOINED.split(word):
                name, value = _split(kind, part, largest)
                limits.append(Limit(name, **{kind: value}))
    return limits


def check_words(maximum: Sequence[str] | None, minimum: Sequence[str] | None, equal: Sequence[str] | None) -> set[str]:
    """Returns the names of the costs that limits name, before it is known what networks cost.

    Raises:
        InvalidInputError: See `read_limit_sets`.
    """
    sets = read_limit_sets(maximum, minimum, equal, lambda name: 1.0)
    return {limit.name for limits in sets for limit in limits}


def read_limit_sets(
    maximum: Sequence[str] | None,
    minimum: Sequence[str] | None,
    equal: Sequence[str] | None,
    largest: Largest | None = None,
) -> list[tuple[Limit, ...]]:
    """Returns the limits of several networks, one network for each word of an option.

    The first words of all options hold together for the first network, the second ones for the second, and so on; an
    option with a single word holds for every network. Limits that commas join within a word hold together. The word `-`
    is no limit: `--max params=3M - --equal - height=2` asks for two networks.

    >>> [" and ".join(map(str, s)) for s in read_limit_sets(["macs=3M", "macs=4M"], ["params=15K"], None)]
    ['macs <= 3,000,000 and params >= 15,000', 'macs <= 4,000,000 and params >= 15,000']

    Args:
        maximum: Words of `--max`.
        minimum: Words of `--min`.
        equal: Words of `--equal`.
        largest: What shares are of, see `read_limits`.

    Raises:
        InvalidInputError: A word is no limit, or two options have several words each, but not equally many.
    """
    options = {"max": maximum or [], "min": minimum or [], "equal": equal or []}
    counts = {len(words) for words in options.values() if len(words) > 1}
    if len(counts) > 1:
        listed = ", ".join(f"{len(words)} of `--{kind}`" for kind, words in options.items() if words)
        raise InvalidInputError(
            "There must be one word of each option for all networks, or one for each network, but there are "
            f"{listed}. Give as many words of each, or join limits by a comma."
        )
    n = max(counts, default=max(map(len, options.values())))
    rows = [[words[i if len(words) > 1 else 0 :][:1] for words in options.values()] for i in range(n)]
    kept = [[[word for word in words if word != NO_LIMIT] for words in row] for row in rows]
    sets = [tuple(read_limits(upper, lower, exact, largest)) for upper, lower, exact in kept]
    if () in sets:
        raise InvalidInputError(
            f"Every network must have a limit, but network {sets.index(()) + 1} has none. Drop `-`."
        )
    return sets


def _split(kind: str, word: str, largest: Largest) -> tuple[str, float]:
    name, equals, text = word.partition("=")
    share = text.rstrip().endswith("%")
    value = read_amount(text.rstrip().removesuffix("%"))
    if re.fullmatch(r"[A-Za-z_][\w.]*", name.strip()) is None or not equals or value is None:
        raise InvalidInputError(
            f"`--{kind}` must be a cost and a number, like `--{kind} macs=300M`, but got `{word}`. Magnitudes are K, "
            f"M, G (or B) and T; units are not written. `--{kind} macs=50%` is half of the largest network's."
        )
    return name.strip(), _part(value, largest(name.strip())) if share else value


def _part(percent: float, whole: float) -> float:
    """Returns a share of a cost: a whole number below it of what is counted, four digits of a small measured one."""
    part = whole * percent / 100
    return math.floor(part) if part >= 1000 or whole == int(whole) else float(f"{part:.4g}")
