"""Tells how certain a pruned search may be of what it pruned: DDPNAS Theorems 2 and 3, from the trials of each round.

The theorems take the estimates of a choice's candidates as independent normal numbers of one deviation σ_t, whose means
lie evenly spread over ζ_t, the distance from the worst to the best of K. They do not say how σ_t and ζ_t are known.
Here a candidate's estimate is P̄ of Eq. 3, the mean of its trials in the round, and:

- σ_t comes from how a candidate's trials differ, after the mean of their draw is subtracted: all candidates of a choice
  are in each draw once, so what happens to a whole draw (shared weights get better) cancels. It is pooled over all
  choices. A mean of n trials has 1/√n of one trial's deviation.
- ζ_t is the largest P̄ of the choice less the smallest, with draws' means subtracted likewise. It contains noise, so
  that it is not 0 for candidates that are all alike; what is computed from it is then too certain.

How a candidate's trials differ depends mostly on what stood beside it in other choices. Trials of disjoint draws are
nearly independent; those of shared weights are not quite. The figures are estimates under these assumptions, not
guarantees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from searchhub.distribution import FloatArray
from searchhub.result import SearchResult
from searchhub.space import Codes

__all__ = ["pruning_confidence"]


@dataclass(frozen=True)
class PruningConfidence:
    """The confidence of one round. Numbers are means over the choices that it pruned.

    Args:
        round: Number of the round, from 0.
        pruned: How many choices lost a candidate. If none did, the other numbers cover all choices.
        candidates: Number of candidates K of a choice.
        trials: Number of trials of a candidate.
        sigma: Deviation σ_t of a candidate's estimate.
        zeta: Distance ζ_t from the worst to the best estimate of a choice.
        error: Theorem 2: the probability that the worst two candidates stand in the wrong order,
            P(ξ_1 - ξ_0 < 0) = Φ(-δ/(√2 σ_t)) with δ = ζ_t/K.
        bound: Theorem 3: 2 (K σ_t/ζ_t)², an upper bound on the probability that another candidate than the worst is
            pruned. A bound of more than 1 says nothing, and is given as 1.
        best_lost: Probability that the estimate of the best candidate falls below the mean of the worst, Φ(-ζ_t/σ_t),
            as in Sec. 4.3.
    """

    round: int
    pruned: int
    candidates: float
    trials: float
    sigma: float
    zeta: float
    error: float
    bound: float
    best_lost: float


def pruning_confidence(result: SearchResult) -> list[PruningConfidence]:
    """Returns the confidence of each finished round of a search with a θ, from its history and trajectory.

    1. A round of a single draw (T = 1) tells nothing of σ_t and is left out.
    2. Candidates without a trial in the round, and choices with fewer than two candidates that have one, take no part.
    3. Results without a θ (random search) have no rounds: the list is empty.
    """
    rounds = []
    for number, (before, after) in enumerate(zip(result.trajectory[:-1], result.trajectory[1:], strict=True)):
        trials = [r for r in result.history if r.trial.round == number]
        if not trials:
            continue
        codes = np.stack([result.space.encode(r.trial.architecture) for r in trials])
        most = max(int(alive.sum()) for alive in before.alive)
        pruned = [bool((old & ~new).any()) for old, new in zip(before.alive, after.alive, strict=True)]
        found = round_confidence(codes, np.array([r.score for r in trials]), before.alive, pruned, most, number)
        if found is not None:
            rounds.append(found)
    return rounds


def round_confidence(
    codes: Codes,
    scores: FloatArray,
    alive: Sequence[NDArray[np.bool_]],
    pruned: Sequence[bool],
    per_draw: int,
    number: int = 0,
) -> PruningConfidence | None:
    """Returns the confidence of one round; None if it has only one draw, or if no candidate has two trials.

    Args:
        codes: Codes of the round's trials in order, uint8 [n, choices].
        scores: Scores of these trials, float64 [n].
        alive: The candidates of each choice before the round's end.
        pruned: Whether each choice lost a candidate; if none did, all count.
        per_draw: Number of trials in a draw.
        number: Number of the round.
    """
    draws = np.arange(len(scores)) // per_draw
    level = np.bincount(draws, scores) / np.bincount(draws)
    adjusted = scores - level[draws]
    spread, freedom = 0.0, 0.0
    estimates: list[tuple[FloatArray, FloatArray]] = []
    for column, own in zip(codes.T, alive, strict=True):
        known = column < len(own)
        count = np.bincount(column[known], minlength=len(own)).astype(np.float64)
        total = np.bincount(column[known], adjusted[known], minlength=len(own))
        mean = total / np.maximum(count, 1.0)
        spread += float(((adjusted[known] - mean[column[known]]) ** 2).sum())
        # The mean of each candidate takes one degree of freedom, and so does that of each draw but one.
        freedom += max(0.0, float(known.sum()) - float((count > 0).sum()) - (level.size - 1))
        estimates.append((mean[own & (count > 0)], count[own & (count > 0)]))
    chosen = [i for i, (mean, _) in enumerate(estimates) if len(mean) > 1 and (pruned[i] or not any(pruned))]
    if level.size < 2 or freedom <= 0.0 or not chosen:
        return None
    deviation = math.sqrt(spread / freedom)
    rows = np.array([_of_choice(*estimates[i], deviation) for i in chosen])
    return PruningConfidence(number, sum(pruned), *rows.mean(axis=0).tolist())


def _of_choice(means: FloatArray, counts: FloatArray, deviation: float) -> tuple[float, ...]:
    """Returns a choice's candidates, trials, σ_t, ζ_t, error, bound, best_lost; if all are alike, no order is known."""
    k, zeta = len(means), float(means.max() - means.min())
    sigma = deviation * math.sqrt(float((1.0 / counts).mean()))
    if sigma == 0.0:
        unsure = 0.0 if zeta > 0.0 else 0.5
        return k, float(counts.mean()), sigma, zeta, unsure, 2.0 * unsure, unsure
    error = float(ndtr(-zeta / (k * math.sqrt(2.0) * sigma)))
    bound = min(1.0, 2.0 * (k * sigma / zeta) ** 2) if zeta > 0.0 else 1.0
    return k, float(counts.mean()), sigma, zeta, error, bound, float(ndtr(-zeta / sigma))


def evenly_spaced(candidates: int, distance: float) -> tuple[float, float]:
    """Returns Kendall's τ and the probability that the best is pruned, in the toy example of DDPNAS Sec. 4.3.

    The estimates of K candidates are independent normal numbers of one deviation σ, whose means lie `distance` · σ (the
    paper's C) apart. τ is the expected rank correlation of estimates with means; the candidate with the lowest estimate
    is pruned.

    The paper states C = 0.41 at τ = 0.57, and P(X < μ + K · Cσ) = P(X < μ + 3.28σ) > 0.99 as the probability that the
    best is pruned wrongly; 3.28 makes K = 8. That number is Φ(3.28), and by the paper's own argument it is the
    probability that the best is *kept*:

    >>> round(float(ndtr(8 * 0.41)), 4)
    0.9995

    The best lies K - 1 distances above the worst, not K, and the worst has noise, too, as have all between. Integrated
    over all of them, the best is pruned more often than 1 - Φ(3.28) = 0.0005, but still rarely:

    >>> tau, lost = evenly_spaced(8, 0.41)
    >>> round(tau, 2), round(lost, 4)
    (0.56, 0.002)

    τ = 0.57 needs a C of 0.42, so that the paper's 0.41 is nearly right:

    >>> round(evenly_spaced(8, 0.42)[0], 2)
    0.57

    Args:
        candidates: Number of candidates K, at least 2.
        distance: Distance C of neighbouring means in units of σ, at least 0.
    """
    gaps = np.arange(1, candidates)
    pairs = (candidates - gaps) * (2.0 * ndtr(gaps * distance / math.sqrt(2.0)) - 1.0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    # The best's estimate is the lowest if those of all others, which lie `gaps` distances below it, are higher.
    all_higher = ndtr(-(nodes[:, None] + gaps * distance)).prod(axis=1)
    return float(pairs.sum() / gaps.sum()), float(weights @ all_higher / math.sqrt(2.0 * math.pi))
