"""Estimates what each candidate is worth from the trials so far (DDPNAS Eqs. 2 and 3, and others).

Each estimator returns, for each choice, one number in [0, 1] per candidate: the utility P̄ that Eq. 4 takes. It is NaN
if no trial gave credit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from searchhub.distribution import FloatArray
from searchhub.effects import EffectsModel
from searchhub.space import INACTIVE, Codes, SearchSpace

Estimator = Literal["mean", "regression", "pairs"]

NUM_STARTS = 16
"""Number of random architectures from which the search for the best under a posterior draw starts."""


def mean_credit(space: SearchSpace, codes: Codes, scores: FloatArray) -> list[FloatArray]:
    """Computes the paper's P̄ (Eqs. 2 and 3): the mean score of the architectures that hold a candidate.

    A candidate is credited with everything that stood beside it; this averages out only over many trials.

    Args:
        space: Space of the trials.
        codes: Codes of one round's trials, uint8 [n, choices]; inactive choices get no credit.
        scores: Scores of these trials, float64 [n] in [0, 1].
    """
    credit = []
    for choice, column in zip(space.choices, codes.T, strict=True):
        active, size = column != INACTIVE, len(choice.candidates)
        count = np.bincount(column[active], minlength=size)
        total = np.bincount(column[active], scores[active], minlength=size)
        credit.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return credit


def regression_credit(space: SearchSpace, codes: Codes, scores: FloatArray) -> list[FloatArray]:
    """Estimates main effects by Bayesian ridge regression on the ranks of all trials so far (see `EffectsModel`).

    The effect of what stood beside a candidate is removed, and earlier rounds count. The utility is the quantile that
    the candidate gives an otherwise average architecture: ½ means no effect.

    Args:
        space: Space of the trials.
        codes: Codes of all trials, uint8 [n, choices].
        scores: Scores of these trials, float64 [n].
    """
    model = EffectsModel(space, codes, scores, pairs=False)
    effects = model.effects(model.mean())
    return [np.where(seen, ndtr(e), np.nan) for seen, e in zip(_seen(space, codes), effects, strict=True)]


def pairs_credit(
    space: SearchSpace, codes: Codes, scores: FloatArray, alive: Sequence[NDArray[np.bool_]]
) -> list[FloatArray]:
    """Estimates what a candidate reaches in its best company, by main effects and pairs on the ranks of all trials.

    The utility is the quantile expected of the best architecture in reach that holds the candidate. So the architecture
    that is expected to be the best of all has the largest utility in every choice. A candidate that nothing in reach
    can hold (its layer is gone with a depth) gets no credit. The best is searched by coordinate ascent, from what was
    tried.

    Args:
        space: Space of the trials.
        codes: Codes of all trials, uint8 [n, choices].
        scores: Scores of these trials, float64 [n].
        alive: The candidates of each choice that are in reach.
    """
    model = EffectsModel(space, codes, scores, pairs=True)
    weights = model.mean()
    ends, values = model.ascend(weights, codes, alive)
    best = ends[values.argmax()]
    starts, held = [], []
    tried = model.value(weights, codes)
    for i, ok in enumerate(alive):
        for k in np.flatnonzero(ok):
            holders = np.flatnonzero(codes[:, i] == k)
            if len(holders):
                changed = best.copy()
                changed[i] = k
                starts += [codes[holders[tried[holders].argmax()]], changed]
                held += [i, i]
    reached = model.ascend(weights, np.array(starts), alive, np.array(held))[1]
    credit = [np.full(len(choice.candidates), np.nan) for choice in space.choices]
    for row, i, value in zip(starts, held, reached, strict=True):
        if np.isfinite(value):
            credit[i][row[i]] = np.fmax(credit[i][row[i]], ndtr(value))
    return credit


def sample_posterior(
    space: SearchSpace,
    codes: Codes,
    scores: FloatArray,
    alive: Sequence[NDArray[np.bool_]],
    n: int,
    rng: np.random.Generator,
) -> Codes:
    """Draws architectures in reach, each the best under its own draw of main effects and pairs (Thompson sampling).

    This tries both what looks good and what is little known. It returns an architecture that was tried before only if
    neither the draw's local maxima nor the neighbours of the best of them hold a new one.

    Args:
        space: Space of the trials.
        codes: Codes of all trials, uint8 [trials, choices].
        scores: Scores of these trials, float64 [trials].
        alive: The candidates of each choice that are in reach.
        n: How many architectures to draw.
        rng: Source of the randomness.

    Returns:
        uint8 [n, choices].
    """
    model = EffectsModel(space, codes, scores, pairs=True)
    known = {row.tobytes() for row in codes}
    proposed = np.empty((n, codes.shape[1]), dtype=np.uint8)
    even = [ok / ok.sum() for ok in alive]
    for j in range(n):
        weights = model.draw(rng)
        ends, values = model.ascend(weights, space.sample(NUM_STARTS, rng, even), alive)
        best = ends[values.argmax()]
        near = _neighbours(space, best, alive)
        ordered = [rows[np.argsort(-model.value(weights, rows), kind="stable")] for rows in (ends, near)]
        proposed[j] = next((row for rows in ordered for row in rows if row.tobytes() not in known), best)
        known.add(proposed[j].tobytes())
    return proposed


def _neighbours(space: SearchSpace, row: Codes, alive: Sequence[NDArray[np.bool_]]) -> Codes:
    """Returns all rows that differ in one choice. Choices that become active hold their first candidate in reach."""
    full = np.where(row == INACTIVE, np.array([np.argmax(ok) for ok in alive]), row).astype(np.uint8)
    changes = [(i, k) for i, ok in enumerate(alive) for k in np.flatnonzero(ok)]
    rows = np.repeat(full[None], len(changes), axis=0)
    for changed, (i, k) in zip(rows, changes, strict=True):
        changed[i] = k
    return space.mask_inactive(rows)


def _seen(space: SearchSpace, codes: Codes) -> list[NDArray[np.bool_]]:
    """Tells, for each choice, which candidates were in any trial."""
    sizes = [len(choice.candidates) for choice in space.choices]
    return [np.isin(np.arange(size), column) for size, column in zip(sizes, codes.T, strict=True)]
