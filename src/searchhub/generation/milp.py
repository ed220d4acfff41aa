"""Solves limits on many costs at once by HiGHS (`scipy.optimize`); every answer is checked against them as integers.

HiGHS works with absolute tolerances of some 1e-6, and stops by default at a gap of 1e-4; 27 of 40 answers were then not
the best. So the gap is 0, and objective and rows are scaled to `SCALE`, whatever θ and costs are. An answer that passes
only by the tolerance of a row is forbidden by a cut, and the problem is solved again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from searchhub.distribution import FloatArray
from searchhub.generation.chain_problem import ChainProblem
from searchhub.generation.problem import NEVER, Problem

SCALE = 1e6
MAX_CUTS = 50
SECONDS = 60.0


@dataclass(frozen=True)
class Found:
    """What HiGHS found for a problem.

    Args:
        picks: Feasible picks. None: it has none.
        decided: Whether they are the best to within its tolerance, or there are none.
    """

    picks: list[int] | None
    decided: bool


def solve(problem: Problem | ChainProblem, *, seconds: float) -> Found:
    """Finds the best feasible picks, to within HiGHS's tolerance.

    Args:
        problem: Problem with one row or more.
        seconds: Time after which it stops and takes what there is.
    """
    deadline = time.monotonic() + seconds
    program = program_of(problem)
    constraints = [
        LinearConstraint(program.equal, program.equal_to, program.equal_to),
        LinearConstraint(program.rows, -np.inf, program.bounds),
    ]
    objective = -program.values
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
        layers = range(len(problem.codes))
        chosen = np.array([np.argmax(np.where(program.layer_of == i, outcome.x, -1.0)) for i in layers])
        picks = [int(program.pick_of[x]) for x in chosen]
        if problem.feasible(picks):
            return Found(picks, decided=outcome.status == 0)
        cut = np.zeros((1, len(objective)))
        cut[0, chosen] = 1.0
        constraints.append(LinearConstraint(cut, -np.inf, len(chosen) - 1.0))
    return Found(None, decided=False)


def lp_multipliers(problem: Problem | ChainProblem) -> FloatArray:
    """Returns the dual prices λ >= 0 [rows] of the linear relaxation; zeros if it has no solution."""
    program = program_of(problem)
    outcome = linprog(
        -program.values,
        A_ub=program.rows,
        b_ub=program.bounds,
        A_eq=program.equal,
        b_eq=program.equal_to,
        bounds=(0.0, None),
        method="highs",
    )
    if outcome.status != 0:
        return np.zeros(len(problem.bounds))
    return np.maximum(0.0, -np.asarray(outcome.ineqlin.marginals, dtype=np.float64))


@dataclass(frozen=True)
class Program:
    """max values · x, such that equal x = equal_to, rows x <= bounds, 0 <= x <= 1; in each layer one x is 1.

    Args:
        layer_of: Layer of each x.
        pick_of: Pick that each x stands for in its layer.
    """

    values: FloatArray
    equal: sparse.csr_matrix
    equal_to: FloatArray
    rows: sparse.csr_matrix
    bounds: FloatArray
    layer_of: NDArray[np.intp]
    pick_of: NDArray[np.intp]


def program_of(problem: Problem | ChainProblem) -> Program:
    """Gives each candidate an x, of which each layer takes one; along a chain, an x for two in sequence: a path."""
    if isinstance(problem, ChainProblem):
        return _paths(problem)

    candidates = problem.value_array > NEVER / 2
    layer_of, pick_of = np.nonzero(candidates)
    equal = sparse.csr_matrix((np.ones(len(layer_of)), (layer_of, np.arange(len(layer_of)))))
    return Program(
        SCALE * problem.value_array[candidates],
        equal,
        np.ones(equal.shape[0]),
        sparse.csr_matrix(SCALE * problem.cost_array[:, candidates]),
        SCALE * problem.bound_array,
        layer_of,
        pick_of,
    )


def _paths(problem: ChainProblem) -> Program:
    """Sends one unit from the start through the layers: what comes to a candidate goes on from it."""
    shapes = [values.shape for values in problem.value_arrays]
    start = np.cumsum([0, 1, *(own for _, own in shapes)])  # the number of each layer's first place; 0 is the start
    layer_of = np.repeat(np.arange(len(shapes)), [before * own for before, own in shapes])
    before_of, pick_of = (
        np.concatenate(part) for part in zip(*(np.indices(s).reshape(2, -1) for s in shapes), strict=True)
    )
    x = np.arange(len(layer_of))
    flow = sparse.csr_matrix((np.ones(len(x)), (start[layer_of] + before_of, x)), shape=(start[-1], len(x)))
    arrived = layer_of < len(shapes) - 1
    flow -= sparse.csr_matrix(
        (np.ones(int(arrived.sum())), ((start[layer_of + 1] + pick_of)[arrived], x[arrived])), shape=flow.shape
    )
    places = start[len(shapes)]  # those of the last layer need not let anything go on
    return Program(
        SCALE * np.concatenate([values.ravel() for values in problem.value_arrays]),
        flow[:places],
        np.eye(1, places)[0],
        sparse.csr_matrix(SCALE * np.concatenate([c.reshape(len(c), -1) for c in problem.cost_arrays], axis=1)),
        SCALE * problem.bound_array,
        layer_of,
        pick_of,
    )
