"""Solves one branch under limits: chooses the solver, and says what its answer is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from searchhub.costs.table import extreme_codes
from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.generation import chain, knapsack, milp
from searchhub.generation.chain_problem import ChainProblem, build_chain
from searchhub.generation.limits import CostRange
from searchhub.generation.problem import Problem, Row, build, exact_sum, negated, rows_of
from searchhub.space import INACTIVE, Codes

TIE_SECONDS = 5.0
"""Seconds to look for a cheaper answer that is as good, if that takes a search of its own."""

LIST_DP = {1: "list-DP", 2: "two-cost list-DP"}
"""Names of the methods by number of rows; with more rows it is MILP."""

CHAIN_LIST_DP = "list-DP along the chain"
"""Name of the method for coupled costs, with any number of rows as long as the lists stay short."""


class UndecidedError(InvalidInputError):
    """Raised when HiGHS found nothing in its time, and did not prove that there is nothing."""


@dataclass(frozen=True)
class Answer:
    """The best row of codes of a branch, how it was found, and whether it is proved to be the best."""

    row: Codes
    method: str
    proved: bool
    note: str = ""


def solve(
    objective: Sequence[FloatArray],
    windows: Sequence[CostRange],
    branch: Sequence[Sequence[int]],
    pairs: Sequence[FloatArray] = (),
) -> Answer | None:
    """Returns the largest Σ objective over a branch's active choices within the ranges; None if nothing is within them.

    Among equal objectives the answer has the lower cost of the first range.

    Args:
        objective: One finite number per candidate, for each choice.
        windows: Ranges of cost, at most one per cost.
        branch: Codes in reach, for each choice; none if it is inactive.
        pairs: Pairs of the objective, like those of a `CostTable`.

    Raises:
        UndecidedError: HiGHS found nothing in its time, nor proved that there is nothing.
    """
    rows = [row for window in windows for row in rows_of(window)]
    best = extreme_codes(objective, pairs, branch, 1) if pairs else _argmax(objective, windows, branch)
    if all(row.holds(best) for row in rows):
        return Answer(best, "argmax", proved=True)
    answer = _solve_rows(objective, pairs, rows, branch, windows)
    if answer is None or rows[0].entries is windows[0].table.entries:
        return answer
    return _cheapest_equal(answer, objective, pairs, rows, branch, windows)


def _argmax(objective: Sequence[FloatArray], windows: Sequence[CostRange], branch: Sequence[Sequence[int]]) -> Codes:
    """Decides each choice on its own; among equal candidates it takes the lower costs, then the first."""
    if windows and windows[0].table.pairs:
        best = [
            [k for k in own if entry[k] == max(entry[j] for j in own)]
            for entry, own in zip(objective, branch, strict=True)
        ]
        return extreme_codes(windows[0].table.entries, windows[0].table.pairs, best, -1)
    row = np.full(len(branch), INACTIVE, dtype=np.uint8)
    for i, codes in enumerate(branch):
        if codes:
            row[i] = min(codes, key=lambda k: (-objective[i][k], *(w.table.entries[i][k] for w in windows), k))
    return row


def _cheapest_equal(
    answer: Answer,
    objective: Sequence[FloatArray],
    pairs: Sequence[FloatArray],
    rows: list[Row],
    branch: Sequence[Sequence[int]],
    windows: Sequence[CostRange],
) -> Answer:
    """Returns the cheapest architecture that is as good as the answer.

    If the first limit is a `min`, the solvers' dominance prefers the dearer of equal ones.
    """
    as_good = Row(negated(objective), -exact_sum(objective, answer.row, pairs), negated(pairs))
    saving = negated(windows[0].table.entries), negated(windows[0].table.pairs)
    try:
        cheapest = _solve_rows(*saving, [as_good, *rows], branch, windows, seconds=TIE_SECONDS)
    except UndecidedError:
        cheapest = None
    if cheapest is None or not cheapest.proved:
        note = "There may be a cheaper architecture that is as good."
        row = answer.row if cheapest is None else cheapest.row
        return Answer(row, answer.method, answer.proved, f"{answer.note} {note}".strip())
    return Answer(cheapest.row, answer.method, answer.proved, answer.note)


def _solve_rows(
    objective: Sequence[FloatArray],
    pairs: Sequence[FloatArray],
    rows: Sequence[Row],
    branch: Sequence[Sequence[int]],
    windows: Sequence[CostRange],
    *,
    seconds: float = milp.SECONDS,
) -> Answer | None:
    """Solves in 62 bits. If that lets through what a limit forbids, it solves again in as many bits as it takes."""
    chained = bool(pairs) or any(row.pairs for row in rows)
    problem: Problem | ChainProblem
    for exact in (False, True):
        if chained:
            problem = build_chain(objective, pairs, rows, branch, exact=exact)
        else:
            problem = build(objective, rows, branch, exact=exact)
        outcome = optimise(problem, windows, seconds)
        if outcome is None:
            return None
        picks, method, proved, note = outcome
        row = problem.decode(np.array([picks]))[0]
        if all(r.holds(row) for r in rows):
            return Answer(row, method, proved, note)
    raise AssertionError("an exact problem gave an answer outside its limits")


def optimise(
    problem: Problem | ChainProblem, windows: Sequence[CostRange], seconds: float
) -> tuple[list[int], str, bool, str] | None:
    """Returns picks, the method, whether they are proved the best, and a note."""
    rows = len(problem.bounds)
    if any(bound < 0 for bound in problem.bounds):
        return None
    method = CHAIN_LIST_DP if isinstance(problem, ChainProblem) else LIST_DP.get(rows)
    if method is not None:
        try:
            picks = _list_dp(problem)
            return None if picks is None else (picks, method, True, "")
        except knapsack.TooManyStatesError:
            pass
    found = milp.solve(problem, seconds=seconds)
    if found.picks is None:
        if found.decided:
            return None
        limits = ", ".join(f"`{window}`" for window in windows)
        raise UndecidedError(
            f"Limits must leave something that can be found in {seconds:.0f} s, but {limits} did not, and may not "
            "leave anything. Widen them; for `equal`, give `min` and `max` instead."
        )
    try:
        picks = _list_dp(problem, found.picks)
    except knapsack.TooManyStatesError:
        if found.decided:
            note = f"Optimal to within HiGHS's tolerance, {1e-6 / milp.SCALE:.0e} of the range of the objective."
        else:
            note = f"HiGHS was stopped after {seconds:.0f} s; there may be a better one."
        return found.picks, "MILP (HiGHS)", found.decided, note
    assert picks is not None, "HiGHS's picks are feasible"
    return picks, "MILP (HiGHS)", True, "Proved by the list-DP, which started from HiGHS's answer."


def _list_dp(problem: Problem | ChainProblem, start: Sequence[int] | None = None) -> list[int] | None:
    if isinstance(problem, ChainProblem):
        return chain.best(problem, start)
    return knapsack.best(problem, start)
