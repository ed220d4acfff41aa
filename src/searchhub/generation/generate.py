"""Generates one architecture for each limit from a finished search (efficient network generation, DDPNAS Sec. 3.3)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

from searchhub.costs.structure import cells_of
from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.generation import chain, knapsack
from searchhub.generation.architecture import Certificate, GeneratedArchitecture, costs_of, decode_all
from searchhub.generation.cells import front_of_cells, generate_cells, known_costs
from searchhub.generation.chain_problem import build_chain
from searchhub.generation.evaluated import best_evaluated, evaluated_front
from searchhub.generation.infeasible import Branches, cost_range, never_cut, nothing_within
from searchhub.generation.limits import CostRange, Limit, table_of, unbound, windows_of, within
from searchhub.generation.objective import Objective, ObjectiveName, Predicted, objective_of
from searchhub.generation.problem import UNLIMITED, Row, build
from searchhub.generation.solve import LIST_DP, Answer, UndecidedError, solve
from searchhub.result import SearchResult
from searchhub.space import Codes

Candidates = Literal["all", "survivors"]

REACH = {"all": "this space", "survivors": "the survivors of this search"}
WAY_OUT = {
    "all": "add candidates to the space that reach it.",
    "survivors": 'pass `candidates="all"`, which may reach it.',
}

SURE = 2.0
"""How many posterior deviations the predicted difference of two networks must have for them to be told apart."""
CHEAPER = 0.02
"""How much cheaper, as a share, a network must be to be worth naming beside one from which it cannot be told apart."""
MOST_SOLVES = 8
"""Number of limits that are tried to find it."""
LOOK_SECONDS = 10.0
"""Seconds after which no further limit is tried."""
FAST = ("argmax", *LIST_DP.values())
"""Methods that are quick enough to look for another network than the optimum."""
LEFT = 0.05
"""Share of the budget that an answer may leave without another being looked for: that of random networks beside it."""
NEAR = 0.5
"""How many posterior deviations of their difference a network that uses more of the budget may be predicted below the
optimum to take its place: the odds that it is the better one are then at least 3 to 7."""


def generate(
    result: SearchResult,
    *limits: Limit,
    candidates: Candidates = "all",
    objective: ObjectiveName | None = None,
    use_budget: bool = True,
) -> GeneratedArchitecture:
    """Returns the best architecture within the limits: DDPNAS Eq. 10, exactly.

        α* = argmax F(α)  s.t.  f(α) <= ν

    F is one of two objectives, and both are sums within a branch of the space:

    - "expectation": E[α], the mean of θ over the active choices of α (DDPNAS Eq. 9);
    - "predicted": the quality that is predicted from scores, effects that add up over the active choices
      (`searchhub.effects.PredictedQuality`, a Bayesian ridge regression).

    One branch of the space is solved at a time (for BERT, one for each depth), and the best is taken. One limit is
    solved by list-DP, two by two-cost list-DP; more, or a list that grows too long, by HiGHS, whose answer the list-DP
    then proves if it can. Costs that are coupled along the chain of choices (`CostTable.pairs`) have lists of their
    own, for any number of limits. Sums are compared to within layers · 2^-61 of their range, most often exactly;
    costs always exactly. The certificate says what was done.

    1. Without limits the answer is the best candidate of each choice, for E[α] argmax θ.
    2. Among equal values the lower cost of the first limit wins, then the first branch.
    3. Costs are compared as `CostTable.of_row` returns them, correctly rounded; a limit is never exceeded.
    4. For a result without θ and prediction (random search) the answer is the evaluated architecture with the best
       score within the limits.
    5. The certificate's note says if a `max` does not bind. Where quality is predicted, it names a cheaper network that
       the prediction cannot tell from the answer (see `SURE`), unless costs are coupled or HiGHS would be needed.
    6. Cells (a space of edges, `spaces.darts`) get two inputs per node, and never `none` as one. Limits on them may
       name "non_parameter" (N of DDPNAS Table 4) and "height" (H), or those of one kind: "normal.height".
    7. DDPNAS generates from the survivors; if a space has no groups they leave nothing to choose. Pruned candidates
       keep a θ, and by default take part.
    8. Where quality is predicted and the optimum leaves more than `LEFT` of the budget, near-ties go towards the budget
       (`use_budget`): the answer is then a more expensive network, the best under a lower limit on the same cost, that
       the prediction sees less than `NEAR` posterior deviations of their difference below the optimum. The
       certificate's `optimum` is what the optimum is predicted to reach, and its note says what was given up. This
       takes limits on one additive cost, and no cells; otherwise the answer is the optimum.

    >>> import numpy as np
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
        objective: "expectation" or "predicted". None: predicted quality if the result has a prediction, else E[α].
        use_budget: Whether near-ties of predicted quality go towards the budget. False: the answer is the optimum.

    Raises:
        InfeasibleLimitError: Nothing meets the limits; the error names the smallest value that can be met.
        InvalidInputError: A limit names an unknown cost; or what the objective or `candidates="survivors"` takes is not
            in the result.
    """
    cells = cells_of(result.space)
    windows = windows_of(limits, result.space, known_costs(result))
    tables = {**result.costs, **{window.table.name: window.table for window in windows}}
    maximised = _objective(result, candidates, objective)
    if maximised is None:
        return best_evaluated(result, windows, tables)
    branches = _branches(result, candidates)
    if cells is not None:
        reach, way_out = REACH[candidates], WAY_OUT[candidates]
        return generate_cells(maximised, windows, tables, cells, branches[0], reach=reach, way_out=way_out)
    answer = best_answer(maximised, windows, branches)
    if answer is None:
        embeddings = never_cut({window.table.name: window.high for window in windows}, tables)
        way_out = f"{WAY_OUT[candidates]} {embeddings}".rstrip()
        raise nothing_within(windows, branches, reach=REACH[candidates], way_out=way_out)
    free = unbound(
        windows,
        costs_of(tables, answer.row[None, :])[0],
        {window.table.name: cost_range(window.table, branches) for window in windows},
        unconstrained=maximised.exact(answer.row) == max(map(maximised.largest, branches)),
        reach=REACH[candidates],
    )
    apart = _not_told_apart(maximised, answer, windows, branches)
    optimum, given_up = None, ""
    if use_budget and isinstance(maximised, Predicted):
        taken, given_up = _towards_budget(maximised, answer, windows, branches)
        if taken is not answer:
            optimum, answer = maximised.values(answer.row[None, :])[0], taken
            apart = apart.replace("from it", "from the optimum")
    codes = answer.row[None, :]
    costs = costs_of(tables, codes)[0]
    notes = (answer.note, free, given_up, apart, maximised.note(answer.row))
    certificate = Certificate(
        answer.proved,
        answer.method,
        score=None,
        costs=costs,
        note=" ".join(note for note in notes if note),
        optimum=optimum,
        **maximised.told(codes)[0],
    )
    for window in windows:
        assert window.holds(certificate.costs[window.table.name]), f"`{window}` must hold for every answer"
    return GeneratedArchitecture(next(decode_all(result.space, codes)), certificate)


def pareto(
    result: SearchResult,
    cost: CostTable | str,
    candidates: Candidates = "all",
    objective: ObjectiveName | None = None,
) -> list[GeneratedArchitecture]:
    """Returns the whole exact front of the objective against one cost, in increasing cost and objective.

    For every limit ν on this cost, the last architecture with f(α) <= ν is what `generate` finds with
    `use_budget=False` (DDPNAS Eq. 10): a front shows what is predicted, near-ties and all.

    1. Architectures whose cost and objective are equal as floats count once.
    2. For a result without θ and prediction, it is the front of score against cost of the evaluated architectures.

    Args:
        result: A finished search.
        cost: The cost table, or the name of one in the result.
        candidates: "all", or only those that the search did not prune.
        objective: "expectation" or "predicted". None: predicted quality if the result has a prediction, else E[α].

    Raises:
        InvalidInputError: The cost is unknown, the front has more than a million points, or the result lacks what the
            objective takes.
    """
    cells = cells_of(result.space)
    table = table_of(cost, result.space, known_costs(result))
    tables = {**result.costs, table.name: table}
    maximised = _objective(result, candidates, objective)
    if maximised is None:
        return evaluated_front(result, table, tables)
    if cells is not None:
        return front_of_cells(maximised, table, tables, cells, _branches(result, candidates)[0])
    points: list[tuple[float, float, GeneratedArchitecture]] = []
    for branch in _branches(result, candidates):
        codes = _branch_front(maximised, table, branch)
        rows = zip(
            maximised.values(codes),
            decode_all(result.space, codes),
            maximised.told(codes),
            costs_of(tables, codes),
            strict=True,
        )
        for value, chosen, told, priced in rows:
            certificate = Certificate(True, "list-DP", score=None, costs=priced, **told)
            points.append((priced[table.name], value, GeneratedArchitecture(chosen, certificate)))
    points.sort(key=lambda point: (point[0], -point[1]))
    front, highest = [], -math.inf
    for _, value, point in points:
        if value > highest:
            front.append(point)
            highest = value
    return front


def _objective(result: SearchResult, candidates: Candidates, name: ObjectiveName | None) -> Objective | None:
    """Returns what is maximised, if it is not the score of what was evaluated, after it checked what was asked."""
    if candidates not in ("all", "survivors"):
        raise InvalidInputError(f'`candidates` must be "all" or "survivors", but got {candidates!r}.')
    if candidates == "survivors" and result.distribution is None:
        raise InvalidInputError(
            '`candidates="survivors"` must come with a θ, but this result has none. Leave it out to get the best '
            f"{'evaluated' if result.prediction is None else 'predicted'} architecture."
        )
    return objective_of(result, name)


def _branches(result: SearchResult, candidates: Candidates) -> Branches:
    """Returns what is in reach; a branch that needs a pruned candidate drops out."""
    everything = [branch.codes for branch in result.space.branches()]
    if candidates == "all" or result.distribution is None:
        return everything
    alive = [frozenset(codes) for codes in result.distribution.survivors]
    cut = [
        (codes, tuple(tuple(k for k in own if k in alive[i]) for i, own in enumerate(codes))) for codes in everything
    ]
    return [kept for codes, kept in cut if all(bool(left) == bool(own) for left, own in zip(kept, codes, strict=True))]


def best_answer(objective: Objective, windows: Sequence[CostRange], branches: Branches) -> Answer | None:
    """Returns the best answer of all branches; those that cannot reach it even without limits are left out."""
    best: Answer | None = None
    best_key: tuple[Fraction, ...] = ()
    undecided: UndecidedError | None = None
    proved = True
    bounds = [objective.largest(branch) for branch in branches]
    for at in sorted(range(len(branches)), key=lambda i: -bounds[i]):
        if best is not None and bounds[at] < best_key[0]:
            break
        try:
            answer = solve(objective.entries(branches[at]), windows, branches[at])
        except UndecidedError as error:
            undecided = error
            continue
        if answer is None:
            continue
        proved &= answer.proved
        key = (
            objective.exact(answer.row),
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


def _towards_budget(
    objective: Predicted, answer: Answer, windows: Sequence[CostRange], branches: Branches
) -> tuple[Answer, str]:
    """Returns a near-tie that uses more of the budget than the optimum, and a sentence on it; the optimum if none does.

    Networks are best ones under growing lower limits on the cost: first what uses all but `LEFT` of the budget, then,
    by bisection, the most expensive that is found. With one window that takes list-DP; where it does not, the optimum
    stays.
    """
    window = windows[0] if len(windows) == 1 else None
    if window is None or window.table.pairs or math.isinf(window.high) or window.low == window.high:
        return answer, ""
    table, reached, taken, told = window.table, window.table.of_row(answer.row), answer, ""
    budget = min(window.high, cost_range(table, branches)[1])
    limit = above = budget - LEFT * abs(budget)
    below = reached
    for _ in range(MOST_SOLVES):
        if limit <= reached or above - below < CHEAPER * abs(budget):
            break
        try:
            other = best_answer(objective, [CostRange(table, limit, window.high)], branches)
        except UndecidedError:
            break
        if other is not None and other.method not in FAST:
            break
        difference, deviation = (1.0, 0.0) if other is None else objective.prediction.difference(answer.row, other.row)
        if other is not None and difference < NEAR * deviation:
            taken = replace(other, proved=answer.proved and other.proved, note=answer.note)
            below = table.of_row(other.row)
            told = (
                f"The optimum costs {within(reached, up=True)} {table.name}. This uses more of the limit, and is "
                f"predicted only {difference / deviation:.1g} deviations of their difference below it."
            )
        else:
            above = limit
        limit = (below + above) / 2.0
    return taken, told


def _not_told_apart(objective: Objective, answer: Answer, windows: Sequence[CostRange], branches: Branches) -> str:
    """Returns a sentence on the cheapest network found that the prediction cannot tell from the answer; "" for none.

    Networks are best ones under lower limits on the first cost, found by bisection. The cheaper they are, the surer the
    prediction mostly is, but not always: what is named is true, and something cheaper may exist.
    """
    if not isinstance(objective, Predicted) or not windows or any(window.table.pairs for window in windows):
        return ""
    first = windows[0]
    table, least, reached = first.table, first.low, first.table.of_row(answer.row)
    if math.isinf(first.high) or least == first.high or reached <= 0.0 or answer.method not in FAST:
        return ""
    below, above = max(least, cost_range(table, branches)[0]), (1.0 - CHEAPER) * reached
    limit, sentence, deadline = above, "", time.monotonic() + LOOK_SECONDS
    for _ in range(MOST_SOLVES):
        if limit < below or time.monotonic() > deadline:
            break
        other = best_answer(objective, [CostRange(table, least, limit), *windows[1:]], branches)
        if other is not None and other.method not in FAST:
            break
        difference, deviation = (0.0, 0.0) if other is None else objective.prediction.difference(answer.row, other.row)
        if other is not None and difference < SURE * deviation:
            above = table.of_row(other.row)
            sentence = (
                f"A network of {within(above, up=True)} {table.name} cannot be told apart from it (difference "
                f"{difference / deviation:.1f} of its deviation)."
            )
        elif not sentence:
            break
        else:
            below = limit
        limit = (below + above) / 2.0
    return sentence


def _branch_front(objective: Objective, table: CostTable, branch: Sequence[Sequence[int]]) -> Codes:
    """Returns codes [n, choices] of the front of one branch."""
    row = Row(table.entries, UNLIMITED, table.pairs)
    try:
        if table.pairs:
            chained = build_chain(objective.entries(branch), (), [row], branch)
            return chained.decode(chain.front(chained))
        problem = build(objective.entries(branch), [row], branch)
        return problem.decode(knapsack.front(problem))
    except knapsack.TooManyStatesError:
        raise InvalidInputError(
            f"The front of `{table.name}` must have at most {knapsack.MAX_STATES[1]:,} points, but has more. "
            "Ask for the limits that matter with `generate`."
        ) from None
