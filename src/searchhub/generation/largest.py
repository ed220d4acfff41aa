"""Finds the network that uses most of a limit: the simplest rule to compare a search with, which knows only size."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.generation.infeasible import Branches, nothing_within
from searchhub.generation.limits import CostRange, Limit, windows_of
from searchhub.generation.solve import solve
from searchhub.result import SearchResult
from searchhub.space import Architecture, Codes

GRAIN = 1 / 2000
"""The share of the limit to which the cost of a candidate is rounded; exact sums have too many values for a list."""


def largest_within(result: SearchResult, *limits: Limit) -> Architecture:
    """Returns an architecture that uses as much as it can of the first limit that has an upper end; all limits hold.

    Costs of candidates are rounded to 1/2000 of the limit first, so that with n choices there may be one that uses
    n / 2000 more of it. The search's scores take no part.

    Args:
        result: A search with cost tables, finished or not.
        limits: Limits on the architecture's costs.

    Raises:
        InfeasibleLimitError: Nothing meets the limits.
        InvalidInputError: No limit has an upper end, or one names an unknown cost.
    """
    windows = windows_of(limits, result.space, result.costs)
    bounded = [window for window in windows if np.isfinite(window.high)]
    if not bounded:
        raise InvalidInputError(
            "A limit must have an upper end for a network to use most of it, but got "
            f"{' and '.join(f'`{window}`' for window in windows) or 'none'}. Give a `max`."
        )
    first = bounded[0]
    branches = [branch.codes for branch in result.space.branches()]
    row = largest_row(first, windows, branches)
    if row is None:
        raise nothing_within(
            windows, branches, reach="this space", way_out="add candidates to the space that reach it."
        )
    return result.space.decode(row)


def largest_row(first: CostRange, windows: Sequence[CostRange], branches: Branches) -> Codes | None:
    """Returns the row of codes within the windows that uses most of the first; None if nothing is within them."""
    answers = [
        solve(_rounded(first, first.table.entries), windows, b, _rounded(first, first.table.pairs)) for b in branches
    ]
    found = [answer.row for answer in answers if answer is not None]
    return max(found, key=lambda row: Fraction(first.table.of_row(row)), default=None)


def _rounded(window: CostRange, entries: tuple[FloatArray, ...]) -> list[FloatArray]:
    return [np.rint(entry / (GRAIN * (abs(window.high) or 1.0))) for entry in entries]
