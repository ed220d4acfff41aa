"""Limits on many costs at once, by HiGHS (`scipy.optimize`), with every answer compared with the limits as integers.

HiGHS works with absolute tolerances of some 1e-6, and stops by default at a gap of 1e-4; 27 of 40 answers were then not
the best. So the gap is 0, and objective and rows are scaled to `SCALE`, whatever θ and costs are. What slips through
the tolerance of a row is forbidden by a cut, and solved again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from searchhub.distribution import FloatArray
from searchhub.generation.problem import NEVER, Problem

SCALE = 1e6
MAX_CUTS = 50
SECONDS = 60.0


@dataclass(frozen=True)
class Found:
    """What HiGHS made of a problem.

    Args:
        picks: Feasible ones; None where it has none.
        decided: They are the best to within its tolerance, or there are none.
    """

    picks: list[int] | None
    decided: bool


def solve(problem: Problem, *, seconds: float) -> Found:
    """The best feasible picks, to within HiGHS's tolerance.

    Args:
        problem: With one row or more.
        seconds: When to stop and take what there is.
    """
    deadline = time.monotonic() + seconds
    candidates, one_each, rows, bounds = _matrices(problem)
    constraints = [LinearConstraint(one_each, 1.0, 1.0), LinearConstraint(rows, -np.inf, bounds)]
    objective = -SCALE * problem.value_array[candidates]
    layer_of, pick_of = np.nonzero(candidates)
    for _ in range(MAX_CUTS):
        outcome = milp(
            objective,
            integrality=np.ones(len(objective)),
            bounds=Bounds(0.0, 1.0),
            constraints=constraints,
            options={"mip_rel_gap": 0.0, "time_limit": max(0.1, deadline - time.monotonic())},
        )
        if outcome.x is None:
            return Found(None, decided=outcome.status == 2)
        chosen = np.array([np.argmax(np.where(layer_of == i, outcome.x, -1.0)) for i in range(len(problem.layers))])
        picks = [int(pick_of[x]) for x in chosen]
        if problem.feasible(picks):
            return Found(picks, decided=outcome.status == 0)
        cut = np.zeros((1, len(objective)))
        cut[0, chosen] = 1.0
        constraints.append(LinearConstraint(cut, -np.inf, len(chosen) - 1.0))
    return Found(None, decided=False)


def lp_multipliers(problem: Problem) -> FloatArray:
    """The dual prices λ >= 0 [rows] of the linear relaxation; zeros where it has no solution."""
    candidates, one_each, rows, bounds = _matrices(problem)
    outcome = linprog(
        -SCALE * problem.value_array[candidates],
        A_ub=rows,
        b_ub=bounds,
        A_eq=one_each,
        b_eq=np.ones(len(problem.layers)),
        bounds=(0.0, None),
        method="highs",
    )
    if outcome.status != 0:
        return np.zeros(len(problem.bounds))
    return np.maximum(0.0, -np.asarray(outcome.ineqlin.marginals, dtype=np.float64))


def _matrices(problem: Problem) -> tuple[np.ndarray, sparse.csr_matrix, sparse.csr_matrix, FloatArray]:
    """Which candidates exist [layers, most]; one candidate a layer; scaled rows and bounds."""
    candidates = problem.value_array > NEVER / 2
    layer_of = np.nonzero(candidates)[0]
    one_each = sparse.csr_matrix((np.ones(len(layer_of)), (layer_of, np.arange(len(layer_of)))))
    rows = sparse.csr_matrix(SCALE * problem.cost_array[:, candidates])
    return candidates, one_each, rows, SCALE * problem.bound_array
