"""Models scores as effects of candidates and of pairs of them: Bayesian ridge regression on ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from searchhub.distribution import FloatArray
from searchhub.space import INACTIVE, Codes, SearchSpace

NOISE_GRID = np.logspace(-2.0, 1.5, 8)
"""Noise variances on the grid, as multiples of the prior variance of an architecture."""

DRIFT_GRID = (0.0, 1.0)
"""Variances, in the same unit, of the random walk by which scores drift over the whole search. 0: there is no drift."""

MAX_SWEEPS = 100


class EffectsModel:
    """Bayesian ridge regression of normal scores on one-hot rows: f(α) = φᵀ W φ, a priori W ~ N(0, σ² / choices²).

    φ holds a 1 for each of the M candidates that α has, so the diagonal of W holds main effects and the rest effects of
    pairs. Without pairs W is diagonal, with variance σ² / choices. The covariance of two architectures with m choices
    in common is σ² (m / choices)², or σ² m / choices. So n trials take one eigendecomposition [n, n], whereas the usual
    form (e.g. scikit-learn's BayesianRidge) has a covariance [M², M²] to draw from.

    1. Scores enter as normal scores, Φ⁻¹((rank − ½) / n), ties by their mean rank; otherwise networks that did not
       learn at all would decide everything.
    2. σ², the noise, and whether scores drift (a random walk over the trials, as when shared weights get better) are
       those under which the ranks are most likely (type-II maximum likelihood), on a grid.
    3. An inactive choice has no effect, alone or with others.

    Args:
        space: Space of the trials.
        codes: Codes of the trials, uint8 [n, choices], in the order tried, n at least 1.
        scores: Scores of the trials, float64 [n], larger is better, on any scale.
        pairs: Whether pairs have effects.
    """

    def __init__(self, space: SearchSpace, codes: Codes, scores: FloatArray, *, pairs: bool) -> None:
        self.space = space
        self.codes = codes
        self._power = 2 if pairs else 1
        sizes = [len(choice.candidates) for choice in space.choices]
        self._offsets = np.cumsum([0, *sizes[:-1]])
        self._size = sum(sizes)
        self._rows = np.zeros((len(codes), self._size + 1))
        np.put_along_axis(self._rows, self._columns(codes), 1.0, axis=1)
        self._rows[:, self._size] = 0.0
        self._target = normal_scores(scores)
        self._fit()

    def _fit(self) -> None:
        n = len(self._target)
        common = (self._rows @ self._rows.T / len(self.space.choices)) ** self._power
        walk = np.minimum.outer(np.arange(1, n + 1), np.arange(1, n + 1)) / n
        most_likely = -np.inf
        for drift in DRIFT_GRID:
            values, vectors = np.linalg.eigh(common + drift * walk)
            squares = (vectors.T @ self._target) ** 2
            for noise in NOISE_GRID:
                total = np.maximum(values, 0.0) + noise
                # The variance that fits best, in closed form; it is positive even if all scores are equal.
                variance = max(float(np.mean(squares / total)), 1e-12)
                likelihood = -0.5 * (n * np.log(variance) + np.log(total).sum())
                if likelihood > most_likely:
                    most_likely = likelihood
                    self.noise, self.drift, self._deviation = float(noise), drift, float(np.sqrt(variance))
                    self._inverse = (vectors / total) @ vectors.T

    # -- what it believes: W [M + 1, M + 1]; the last row and column are 0 and stand for inactive choices --------------

    def mean(self) -> FloatArray:
        """Returns the expectation of W."""
        return self._fold(self._inverse @ self._target)

    def draw(self, rng: np.random.Generator) -> FloatArray:
        """Draws W from the posterior of a model with pairs: a draw from the prior, corrected by its error on trials."""
        prior = np.zeros((self._size + 1, self._size + 1))
        prior[:-1, :-1] = rng.normal(size=(self._size, self._size)) / len(self.space.choices)
        n = len(self._target)
        seen = self.value(prior, self.codes) + np.sqrt(self.noise) * rng.normal(size=n)
        seen += np.cumsum(rng.normal(size=n)) * np.sqrt(self.drift / n)
        correction = self._fold(self._inverse @ (self._target / self._deviation - seen))
        return self._deviation * (prior + correction)

    def _fold(self, weights: FloatArray) -> FloatArray:
        """Returns Σ_n weights_n φ_n φ_nᵀ, or its diagonal, times the prior's variance."""
        scale = len(self.space.choices) ** -self._power
        if self._power == 1:
            return np.asarray(np.diag(self._rows.T @ weights) * scale)
        return np.asarray((self._rows.T * weights) @ self._rows * scale)

    # -- what follows from W ------------------------------------------------------------------------------------------

    def value(self, weights: FloatArray, codes: Codes) -> FloatArray:
        """Returns φᵀ W φ, float64 [n], of codes [n, choices]."""
        columns = self._columns(codes)
        return np.asarray(weights[columns[:, :, None], columns[:, None, :]].sum(axis=(1, 2)))

    def effects(self, weights: FloatArray) -> list[FloatArray]:
        """Returns, for each choice, the main effect of each candidate."""
        return np.split(np.diag(weights)[:-1], self._offsets[1:])

    def _columns(self, codes: Codes) -> NDArray[np.intp]:
        return np.where(codes == INACTIVE, self._size, codes + self._offsets)

    def ascend(
        self,
        weights: FloatArray,
        codes: Codes,
        alive: Sequence[NDArray[np.bool_]],
        held: NDArray[np.intp] | None = None,
    ) -> tuple[Codes, FloatArray]:
        """Climbs from each architecture: one choice after the other takes its best candidate, until none changes.

        Args:
            weights: The W to climb.
            codes: Architectures to start from, uint8 [n, choices]; they leave pruned candidates at once.
            alive: The candidates of each choice that are in reach.
            held: A choice of each architecture that stays as it is, and active. None: all choices are free.

        Returns:
            Local maxima, uint8 [n, choices], and their values [n]; −∞ where what is held cannot be active.
        """
        # Inactive choices hold some candidate meanwhile, so that they have one when a change makes them active.
        codes = np.where(codes == INACTIVE, np.array([np.argmax(a) for a in alive]), codes).astype(np.uint8)
        values = np.full(len(codes), -np.inf)
        for _ in range(MAX_SWEEPS):
            before = codes.copy()
            for i in range(codes.shape[1]):
                options = np.flatnonzero(alive[i])
                tried = np.repeat(codes[None], len(options), axis=0)
                tried[:, :, i] = options[:, None]
                if held is not None:
                    tried[:, held == i, i] = codes[held == i, i]
                reached = self._masked_values(weights, tried, held)
                best = reached.argmax(axis=0)
                codes[:, i] = tried[best, np.arange(len(codes)), i]
                values = reached.max(axis=0)
            if np.array_equal(before, codes):
                break
        return self.space.mask_inactive(codes), values

    def _masked_values(self, weights: FloatArray, codes: Codes, held: NDArray[np.intp] | None) -> FloatArray:
        """Returns the values [options, n] of codes [options, n, choices]."""
        flat = codes.reshape(-1, codes.shape[2])
        values = self.value(weights, self.space.mask_inactive(flat)).reshape(codes.shape[:2])
        if held is not None:
            active = self.space.active(flat).reshape(codes.shape)
            values[~active[:, np.arange(len(held)), held]] = -np.inf
        return values


def normal_scores(scores: FloatArray) -> FloatArray:
    """Returns Φ⁻¹((rank − ½) / n), float64 [n]: the quantiles of a normal distribution in the order of the scores."""
    from scipy.stats import rankdata  # imported late: it takes as long as the rest of a searcher

    return np.asarray(ndtri((rankdata(scores) - 0.5) / len(scores)), dtype=np.float64)
