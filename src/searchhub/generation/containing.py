"""Finds the best network that contains a smaller one: each of its choices is at least as large."""

from __future__ import annotations

from searchhub.errors import InvalidInputError
from searchhub.generation.cells import known_costs
from searchhub.generation.generate import best_answer
from searchhub.generation.infeasible import Branches, nothing_within
from searchhub.generation.largest import largest_row
from searchhub.generation.limits import Limit, windows_of
from searchhub.generation.objective import objective_of
from searchhub.result import SearchResult
from searchhub.space import Architecture, SearchSpace


def containing(result: SearchResult, smaller: Architecture, *limits: Limit) -> Architecture:
    """Returns the best architecture within the limits that contains a smaller one choice by choice.

    It has every choice that the smaller one has, at a candidate that is as large or larger. Of BERT it keeps the same
    layers or more, each as wide or wider. The best is the one of the highest predicted quality; if the result has no
    prediction, the one that uses most of the first limit, as in `largest_within`.

    Args:
        result: A search with cost tables.
        smaller: An architecture of the space.
        limits: Limits on the costs. The first has an upper end.

    Raises:
        InfeasibleLimitError: No such architecture meets the limits.
        InvalidInputError: Candidates are not numbers, or a limit names an unknown cost.
    """
    check_numbers(result.space)
    windows = windows_of(limits, result.space, known_costs(result))
    branches = _branches(result.space, smaller)
    if result.prediction is None:
        row = largest_row(windows[0], windows, branches)
    else:
        predicted = objective_of(result, "predicted")
        assert predicted is not None, "the result has a prediction"
        answer = best_answer(predicted, windows, branches)
        row = None if answer is None else answer.row
    if row is None:
        reach = "what contains the smaller network"
        raise nothing_within(windows, branches, reach=reach, way_out="raise the limit to what the smaller one takes.")
    return result.space.decode(row)


def check_numbers(space: SearchSpace) -> None:
    """Checks that candidates of all choices have a size, so that one network can contain another.

    Raises:
        InvalidInputError: A candidate is not a number.
    """
    for choice in space.choices:
        for candidate in choice.candidates:
            if isinstance(candidate, bool) or not isinstance(candidate, int | float):
                raise InvalidInputError(
                    "Candidates must be numbers for one network to contain another, as `stages` ask for, but "
                    f"`{choice.name}` of the space `{space.name}` offers {candidate!r}. Train without stages."
                )


def _branches(space: SearchSpace, smaller: Architecture) -> Branches:
    chosen = smaller.to_dict()
    cut = [
        tuple(
            tuple(
                k
                for k in codes
                if choice.name not in chosen or float(choice.candidates[k]) >= float(chosen[choice.name])
            )
            for choice, codes in zip(space.choices, branch.codes, strict=True)
        )
        for branch in space.branches()
    ]
    return [codes for codes in cut if all(codes[space.index(name)] for name in chosen)]
