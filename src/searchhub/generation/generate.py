"""Generates one architecture for each limit from a finished search (efficient network generation, DDPNAS Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

import numpy as np

from searchhub.costs.structure import cells_of
from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InvalidInputError
from searchhub.generation import chain, knapsack
from searchhub.generation.architecture import Certificate, GeneratedArchitecture, costs_of, decode_all, sums
from searchhub.generation.cells import front_of_cells, generate_cells, known_costs
from searchhub.generation.chain_problem import build_chain
from searchhub.generation.evaluated import best_evaluated, evaluated_front
from searchhub.generation.infeasible import Branches, cost_range, nothing_within
from searchhub.generation.limits import CostRange, Limit, table_of, unbound, windows_of
from searchhub.generation.problem import UNLIMITED, Row, build, exact_sum
from searchhub.generation.solve import Answer, UndecidedError, solve
from searchhub.result import SearchResult
from searchhub.space import INACTIVE, Codes

Candidates = Literal["all", "survivors"]

REACH = {"all": "this space", "survivors": "the survivors of this search"}
WAY_OUT = {
    "all": "add candidates to the space that reach it.",
    "survivors": 'pass `candidates="all"`, which may reach it.',
}


def generate(result: SearchResult, *limits: Limit, candidates: Candidates = "all") -> GeneratedArchitecture:
    """Returns the architecture with the largest expectation within the limits: DDPNAS Eq. 10, exactly.

        α* = argmax E[α]  s.t.  f(α) <= ν,  E[α] = mean of θ over the active choices of α (DDPNAS Eq. 9)

    One branch of the space is solved at a time (for BERT, one for each depth), and the best is taken. One limit is
    solved by list-DP, two by two-cost list-DP; more, or a list that grows too long, by HiGHS, whose answer the list-DP
    then proves if it can. Costs that are coupled along the chain of choices (`CostTable.pairs`) have lists of their
    own, for any number of limits. Sums of θ are compared to within layers · 2^-61 of their range, most often exactly;
    costs always exactly. The certificate says what was done.

    1. Without limits the answer is argmax θ.
    2. Among equal expectations the lower cost of the first limit wins, then the first branch.
    3. Costs are compared as `CostTable.of_row` returns them, correctly rounded; a limit is never exceeded.
    4. For a result without θ (random search) the answer is the evaluated architecture with the best score within the
       limits.
    5. The certificate's note says if a `max` does not bind.
    6. Cells (a space of edges, `spaces.darts`) get two inputs per node, and never `none` as one. Limits on them may
       name "non_parameter" (N of DDPNAS Table 4) and "height" (H), or those of one kind: "normal.height".
    7. DDPNAS generates from the survivors; if a space has no groups they leave nothing to choose. Pruned candidates
       keep a θ, and by default take part.

    >>> from searchhub.costs.table import CostTable
    >>> from searchhub.distribution import ArchitectureDistribution
    >>> from searchhub.space import Choice, SearchSpace
    >>> space = SearchSpace("two layers", (Choice("a", ("small", "large")), Choice("b", ("small", "large"))))
    >>> macs = CostTable("macs", space, 10.0, (np.array([1.0, 4.0]), np.array([2.0, 8.0])))
    >>> theta = (np.array([0.4, 0.6]), np.array([0.1, 0.9]))
    >>> distribution = ArchitectureDistribution(space, theta, theta, (np.ones(2, bool), np.ones(2, bool)))
    >>> architecture = generate(SearchResult(space, (), distribution), Limit(macs, max=20))
    >>> architecture
    GeneratedArchitecture({'a': 'small', 'b': 'large'})
    >>> architecture.certificate.optimal, architecture.certificate.costs
    (True, {'macs': 19.0})

    Args:
        result: A finished search.
        limits: Limits on the architecture's costs; all of them hold.
        candidates: "all", or only those that the search did not prune.

    Raises:
        InfeasibleLimitError: Nothing meets the limits; the error names the smallest value that can be met.
        InvalidInputError: A limit names an unknown cost, or `candidates="survivors"` without a θ.
    """
    cells = cells_of(result.space)
    windows = windows_of(limits, result.space, known_costs(result))
    tables = {**result.costs, **{window.table.name: window.table for window in windows}}
    distribution = _distribution(result, candidates)
    if distribution is None:
        return best_evaluated(result, windows, tables)
    branches = _branches(result, distribution, candidates)
    if cells is not None:
        reach, way_out = REACH[candidates], WAY_OUT[candidates]
        return generate_cells(distribution, windows, tables, cells, branches[0], reach=reach, way_out=way_out)
    answer = _best_answer(distribution, windows, branches)
    if answer is None:
        raise nothing_within(windows, branches, reach=REACH[candidates], way_out=WAY_OUT[candidates])
    codes = answer.row[None, :]
    costs = costs_of(tables, codes)[0]
    note = unbound(
        windows,
        costs,
        {window.table.name: cost_range(window.table, branches) for window in windows},
        unconstrained=_mean(distribution, answer.row) == _largest_mean(distribution, branches),
        reach=REACH[candidates],
    )
    certificate = Certificate(
        answer.proved,
        answer.method,
        _expectations(distribution, codes)[0],
        None,
        costs,
        f"{answer.note} {note}".strip(),
    )
    for window in windows:
        assert window.holds(certificate.costs[window.table.name]), f"`{window}` must hold for every answer"
    return GeneratedArchitecture(next(decode_all(result.space, codes)), certificate)


def pareto(result: SearchResult, cost: CostTable | str, candidates: Candidates = "all") -> list[GeneratedArchitecture]:
    """Returns the whole exact front of expectation against one cost, in increasing cost and expectation.

    For every limit ν on this cost, the last architecture with f(α) <= ν is what `generate` finds (DDPNAS Eq. 10).

    1. Architectures whose cost and expectation are equal as floats count once.
    2. For a result without θ, it is the front of score against cost of the evaluated architectures.

    Args:
        result: A finished search.
        cost: The cost table, or the name of one in the result.
        candidates: "all", or only those that the search did not prune.

    Raises:
        InvalidInputError: The cost is unknown, or the front has more than a million points.
    """
    cells = cells_of(result.space)
    table = table_of(cost, result.space, known_costs(result))
    tables = {**result.costs, table.name: table}
    distribution = _distribution(result, candidates)
    if distribution is None:
        return evaluated_front(result, table, tables)
    if cells is not None:
        return front_of_cells(distribution, table, tables, cells, _branches(result, distribution, candidates)[0])
    points: list[GeneratedArchitecture] = []
    for branch in _branches(result, distribution, candidates):
        codes = _branch_front(distribution, table, branch)
        expectations, costs = _expectations(distribution, codes), costs_of(tables, codes)
        for chosen, expectation, priced in zip(decode_all(result.space, codes), expectations, costs, strict=True):
            certificate = Certificate(True, "list-DP", expectation, None, priced)
            points.append(GeneratedArchitecture(chosen, certificate))
    points.sort(key=lambda p: (p.certificate.costs[table.name], -(p.certificate.expectation or 0.0)))
    front, highest = [], -np.inf
    for point in points:
        if point.certificate.expectation is not None and point.certificate.expectation > highest:
            front.append(point)
            highest = point.certificate.expectation
    return front


def _distribution(result: SearchResult, candidates: Candidates) -> ArchitectureDistribution | None:
    """Returns θ if there is one, after it checked what was asked of it."""
    if candidates not in ("all", "survivors"):
        raise InvalidInputError(f'`candidates` must be "all" or "survivors", but got {candidates!r}.')
    distribution = result.distribution
    if distribution is None:
        if candidates == "survivors":
            raise InvalidInputError(
                '`candidates="survivors"` must come with a θ, but this result has none. Leave it out to get the best '
                "evaluated architecture."
            )
        return None
    for choice, theta in zip(result.space.choices, distribution.theta, strict=True):
        if not np.isfinite(theta).all():
            raise InvalidInputError(f"θ must be finite, but `{choice.name}` has {theta.tolist()}.")
    return distribution


def _branches(result: SearchResult, distribution: ArchitectureDistribution, candidates: Candidates) -> Branches:
    """Returns what is in reach; a branch that needs a pruned candidate drops out."""
    everything = [branch.codes for branch in result.space.branches()]
    if candidates == "all":
        return everything
    alive = [frozenset(codes) for codes in distribution.survivors]
    cut = [
        (codes, tuple(tuple(k for k in own if k in alive[i]) for i, own in enumerate(codes))) for codes in everything
    ]
    return [kept for codes, kept in cut if all(bool(left) == bool(own) for left, own in zip(kept, codes, strict=True))]


def _best_answer(
    distribution: ArchitectureDistribution, windows: Sequence[CostRange], branches: Branches
) -> Answer | None:
    """Returns the best answer of all branches; those whose largest θ cannot reach it are left out."""
    best: Answer | None = None
    best_key: tuple[Fraction, ...] = ()
    undecided: UndecidedError | None = None
    proved = True
    bounds = [np.mean([max(distribution.theta[i][k] for k in own) for i, own in enumerate(b) if own]) for b in branches]
    for at in sorted(range(len(branches)), key=lambda i: -bounds[i]):
        if best is not None and bounds[at] < float(best_key[0]) - 1e-12 * abs(bounds[at]):
            break
        try:
            answer = solve(distribution.theta, windows, branches[at])
        except UndecidedError as error:
            undecided = error
            continue
        if answer is None:
            continue
        proved &= answer.proved
        key = (
            _mean(distribution, answer.row),
            *(-Fraction(window.table.of_row(answer.row)) for window in windows),
            Fraction(-at),
        )
        if best is None or key > best_key:
            best, best_key = answer, key
    if best is None and undecided is not None:
        raise undecided
    if best is not None and best.proved and (undecided is not None or not proved):
        return replace(best, proved=False, note="Another branch of the space was not solved to the end.")
    return best


def _mean(distribution: ArchitectureDistribution, row: Codes) -> Fraction:
    """Returns E[α] of a row of codes (DDPNAS Eq. 9), exactly."""
    return exact_sum(distribution.theta, row) / int((row != INACTIVE).sum())


def _largest_mean(distribution: ArchitectureDistribution, branches: Branches) -> Fraction:
    """Returns the largest E[α] without any limit, exactly."""
    answers = [solve(distribution.theta, (), branch) for branch in branches]
    return max(_mean(distribution, answer.row) for answer in answers if answer is not None)


def _branch_front(distribution: ArchitectureDistribution, table: CostTable, branch: Sequence[Sequence[int]]) -> Codes:
    """Returns codes [n, choices] of the front of one branch."""
    row = Row(table.entries, UNLIMITED, table.pairs)
    try:
        if table.pairs:
            chained = build_chain(distribution.theta, (), [row], branch)
            return chained.decode(chain.front(chained))
        problem = build(distribution.theta, [row], branch)
        return problem.decode(knapsack.front(problem))
    except knapsack.TooManyStatesError:
        raise InvalidInputError(
            f"The front of `{table.name}` must have at most {knapsack.MAX_STATES[1]:,} points, but has more. "
            "Ask for the limits that matter with `generate`."
        ) from None


def _expectations(distribution: ArchitectureDistribution, codes: Codes) -> list[float]:
    active = (codes != INACTIVE).sum(axis=1).tolist()
    return [total / n for total, n in zip(sums(distribution.theta, codes), active, strict=True)]
