"""Models scores as effects of candidates and of pairs of them: Bayesian ridge regression on ranks.

`EffectsModel` is fitted anew whenever a searcher asks. `PredictedQuality` is what a finished search keeps: effects that
add up, so that the exact solvers can maximise them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.space import INACTIVE, Codes, SearchSpace
from searchhub.trial import TrialResult, most_trained

NOISE_GRID = np.logspace(-2.0, 1.5, 8)
"""Noise variances on the grid, as multiples of the prior variance of an architecture."""

DRIFT_GRID = (0.0, 1.0)
"""Variances, in the same unit, of the random walk by which scores drift over the whole search. 0: there is no drift."""

BRANCH_GRID = (0.0, 0.1, 1.0)
"""Prior variances of a branch's own effects on the grid, as multiples of that of effects which all branches share."""

MAX_SWEEPS = 100


class _Fit(NamedTuple):
    """The likeliest of several kernels: its position, and the noise and variance under which it is so likely.

    `inverse` is that of kernel + noise · 1.
    """

    kernel: int
    noise: float
    variance: float
    inverse: FloatArray


def _likeliest(kernels: Iterable[FloatArray], target: FloatArray) -> _Fit:
    """Chooses among kernels [n, n] and the noise grid by type-II maximum likelihood; the variance has a closed form."""
    n, most_likely, best = len(target), -np.inf, None
    for i, kernel in enumerate(kernels):
        values, vectors = np.linalg.eigh(kernel)
        squares = (vectors.T @ target) ** 2
        for noise in NOISE_GRID:
            total = np.maximum(values, 0.0) + noise
            # The variance that fits best is positive even if all scores are equal.
            variance = max(float(np.mean(squares / total)), 1e-12)
            likelihood = -0.5 * (n * np.log(variance) + np.log(total).sum())
            if likelihood > most_likely:
                most_likely = likelihood
                best = _Fit(i, float(noise), variance, (vectors / total) @ vectors.T)
    assert best is not None, "likelihoods are finite"
    return best


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
        self._offsets, self._size = _layout(space)
        self._rows = _one_hot(space, codes)
        self._target = normal_scores(scores)
        self._fit()

    def _fit(self) -> None:
        n = len(self._target)
        common = (self._rows @ self._rows.T / len(self.space.choices)) ** self._power
        walk = np.minimum.outer(np.arange(1, n + 1), np.arange(1, n + 1)) / n
        fit = _likeliest((common + drift * walk for drift in DRIFT_GRID), self._target)
        self.noise, self.drift, self._deviation = fit.noise, DRIFT_GRID[fit.kernel], float(np.sqrt(fit.variance))
        self._inverse = fit.inverse

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
        columns = _columns(self.space, codes)
        return np.asarray(weights[columns[:, :, None], columns[:, None, :]].sum(axis=(1, 2)))

    def effects(self, weights: FloatArray) -> list[FloatArray]:
        """Returns, for each choice, the main effect of each candidate."""
        return np.split(np.diag(weights)[:-1], self._offsets[1:])

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


@dataclass(frozen=True, eq=False)
class PredictedQuality:
    """Predicts how good architectures are that were never scored: effects add up over the active choices.

        f(α) = intercept of α's branch + Σ over the active choices of the effect of α's candidate in this branch

    in normal scores, so that 0 is the median of what was scored and larger is better. It is a Bayesian ridge regression
    (a Gaussian process whose kernel is linear in one-hot rows). Two architectures with m choices in common have the
    covariance σ² (1 + r) m / choices + σ² if they are of one branch (`SearchSpace.branches`; for BERT, one depth), else
    σ² m / choices: effects are shared by all branches, and each branch deviates from them and has an intercept.

    1. Scores enter as normal scores of their ranks, as in `EffectsModel`; σ², the noise and r are those under which the
       ranks are likeliest. They are scores of the same weights, so that none drift.
    2. An inactive choice has no effect. A space without conditional choices is one branch, and r is 0.
    3. Ranks have no unit. So a straight line that never runs the wrong way is fitted to −log(score) of the trials over
       their predicted values: for scores exp(−loss), that is the validation loss. Scores of 0 (diverged) are left out.
       If scores are not in [0, 1], the line is fitted to the score itself, and `quantity` says so.

    Args:
        space: Space of the architectures.
        codes: Codes of the trials that it was fitted to, uint8 [n, choices]; the posterior follows from them.
        intercepts: One number a branch, float64 [branches], in the order of `space.branches()`.
        effects: For each choice, one number a candidate.
        deviations: What a branch adds to the effects, float64 [branches, candidates of all choices]; 0 rows if none do.
        variance: σ², in squares of normal scores.
        noise: Variance of a score around f, as a multiple of σ².
        branch_variance: r.
        quantity: What `loss` returns: "loss", −log(score), or "score".
        offset: Value of the line at f = 0.
        slope: Slope of the line; at most 0 for a loss, at least 0 for a score.
    """

    space: SearchSpace
    codes: Codes
    intercepts: FloatArray
    effects: tuple[FloatArray, ...]
    deviations: FloatArray
    variance: float
    noise: float
    branch_variance: float
    quantity: Literal["loss", "score"]
    offset: float
    slope: float

    def __post_init__(self) -> None:
        for choice, effect in zip(self.space.choices, self.effects, strict=True):
            if effect.shape != (len(choice.candidates),) or not np.isfinite(effect).all():
                raise InvalidInputError(
                    f"`{choice.name}` must have {len(choice.candidates)} finite effects, but has {effect.tolist()}."
                )
        arrays: list[NDArray[Any]] = [self.codes, self.intercepts, self.deviations, *self.effects]
        for array in arrays:
            array.setflags(write=False)

    @classmethod
    def fit(cls, space: SearchSpace, results: Sequence[TrialResult]) -> PredictedQuality:
        """Fits the effects to those results whose scores compare with each other (`most_trained`).

        Raises:
            InvalidInputError: There is none.
        """
        compared = most_trained(results)
        if not compared:
            raise InvalidInputError(
                "Effects must be fitted to at least one trial, but there is none. Score some first."
            )
        codes = np.array([space.encode(result.trial.architecture) for result in compared])
        return cls.of_scores(space, codes, np.array([result.score for result in compared]))

    @classmethod
    def of_scores(cls, space: SearchSpace, codes: Codes, scores: FloatArray) -> PredictedQuality:
        """Fits the effects to scores that compare with each other.

        Args:
            space: Space of the architectures.
            codes: Codes, uint8 [n, choices], n at least 1.
            scores: Scores, finite float64 [n], larger is better.
        """
        codes = np.array(codes, dtype=np.uint8)  # a copy, since arrays that are kept are frozen
        branches = _Branches(space)
        branch_of, count = branches.of(codes), branches.count
        common = _common(space, codes, codes)
        same = (branch_of[:, None] == branch_of[None, :]).astype(np.float64)
        ratios = BRANCH_GRID if count > 1 else BRANCH_GRID[:1]
        target = normal_scores(scores)
        fit = _likeliest((_kernel(common, same, ratio) for ratio in ratios), target)
        ratio = ratios[fit.kernel]
        effects, intercepts, deviations = _fold(space, codes, branch_of, count, ratio, fit.inverse @ target)
        fitted = cls(space, codes, intercepts, effects, deviations, fit.variance, fit.noise, ratio, "loss", 0.0, 0.0)
        return replace(fitted, **_line(fitted.value(codes), np.asarray(scores, dtype=np.float64)))

    def __eq__(self, other: object) -> bool:
        """Whether every number is the same, to the bit."""
        return isinstance(other, PredictedQuality) and self.space == other.space and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    # -- what it predicts ---------------------------------------------------------------------------------------------

    def entries(self, branch: int) -> tuple[FloatArray, ...]:
        """Returns, for each choice, the effect of each candidate in a branch, by its position in `space.branches()`."""
        if not len(self.deviations):
            return self.effects
        own = np.split(self.deviations[branch], _layout(self.space)[0][1:])
        return tuple(effect + deviation for effect, deviation in zip(self.effects, own, strict=True))

    def branch_of(self, codes: Codes) -> NDArray[np.intp]:
        """Returns the branch [n] of codes [n, choices], by its position in `space.branches()`."""
        return self._branches.of(codes)

    def value(self, codes: Codes) -> FloatArray:
        """Returns f, float64 [n], of codes [n, choices], in normal scores; larger is better."""
        branch_of = self.branch_of(codes)
        columns = _columns(self.space, codes)
        values = self.intercepts[branch_of] + np.append(np.concatenate(self.effects), 0.0)[columns].sum(axis=1)
        if len(self.deviations):
            padded = np.pad(self.deviations, ((0, 0), (0, 1)))
            values = values + padded[branch_of[:, None], columns].sum(axis=1)
        return np.asarray(values)

    def loss(self, codes: Codes) -> tuple[FloatArray, FloatArray]:
        """Returns the calibrated loss and its deviation, float64 [n] each; for `quantity` "score", those of the score.

        The deviation is that of the posterior of the effects; how far a score lies from the line is not in it.
        """
        variances = np.empty(len(codes))
        for start in range(0, len(codes), _BLOCK):
            block = codes[start : start + _BLOCK]
            prior = (1.0 + self.branch_variance) * (block != INACTIVE).sum(axis=1) / block.shape[1] + 1.0
            seen = self._covariance(block)
            variances[start : start + _BLOCK] = prior - np.einsum("ij,ij->i", seen @ self._inverse, seen)
        deviation = np.sqrt(self.variance * np.maximum(variances, 0.0))
        return self.offset + self.slope * self.value(codes), abs(self.slope) * deviation

    def difference(self, one: Codes, other: Codes) -> tuple[float, float]:
        """Returns f(one) − f(other), in normal scores, and its posterior deviation, of two rows [choices] of codes."""
        codes = np.stack([one, other])
        branch_of, seen = self.branch_of(codes), self._covariance(codes)
        same = (branch_of[:, None] == branch_of[None, :]).astype(np.float64)
        prior = _kernel(_common(self.space, codes, codes), same, self.branch_variance)
        covariance = prior - seen @ self._inverse @ seen.T
        spread = max(0.0, float(covariance[0, 0] + covariance[1, 1] - covariance[0, 1] - covariance[1, 0]))
        first, second = self.value(codes).tolist()
        return first - second, float(np.sqrt(self.variance * spread))

    def draw(self, rng: np.random.Generator) -> PredictedQuality:
        """Draws effects from their posterior: a draw from the prior, corrected by its error on the trials."""
        choices, (offsets, size) = len(self.space.choices), _layout(self.space)
        count = self._branches.count
        shared = np.split(rng.normal(size=size) / np.sqrt(choices), offsets[1:])
        own = rng.normal(size=(count if self.branch_variance else 0, size)) * np.sqrt(self.branch_variance / choices)
        prior = replace(self, intercepts=rng.normal(size=count), effects=tuple(shared), deviations=own)
        error = prior.value(self.codes) + np.sqrt(self.noise) * rng.normal(size=len(self.codes))
        effects, intercepts, deviations = _fold(
            self.space, self.codes, self._trial_branches, count, self.branch_variance, self._inverse @ -error
        )
        scale = float(np.sqrt(self.variance))
        return replace(
            self,
            intercepts=self.intercepts + scale * (prior.intercepts + intercepts),
            effects=tuple(
                mean + scale * (drawn + correction)
                for mean, drawn, correction in zip(self.effects, prior.effects, effects, strict=True)
            ),
            deviations=self.deviations + scale * (own + deviations),
        )

    @cached_property
    def _inverse(self) -> FloatArray:
        """Inverse of the covariance of the trials' scores, in units of σ², float64 [n, n]."""
        seen = self._covariance(self.codes)
        return np.asarray(np.linalg.inv(seen + self.noise * np.eye(len(seen))))

    @cached_property
    def _trial_branches(self) -> NDArray[np.intp]:
        return self.branch_of(self.codes)

    @cached_property
    def _branches(self) -> _Branches:
        return _Branches(self.space)

    def _covariance(self, codes: Codes) -> FloatArray:
        """Returns the prior covariance of architectures with the trials', in units of σ², float64 [n, trials]."""
        same = (self.branch_of(codes)[:, None] == self._trial_branches[None, :]).astype(np.float64)
        return _kernel(_common(self.space, codes, self.codes), same, self.branch_variance)

    # -- files --------------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON without the space; floats are written so that they read back to the same bits."""
        return {
            "codes": self.codes.tobytes().hex(),
            "intercepts": self.intercepts.tolist(),
            "effects": [effect.tolist() for effect in self.effects],
            "deviations": [row.tolist() if row.any() else [] for row in self.deviations],
            "variance": self.variance,
            "noise": self.noise,
            "branch_variance": self.branch_variance,
            "quantity": self.quantity,
            "offset": self.offset,
            "slope": self.slope,
        }

    @classmethod
    def from_dict(cls, space: SearchSpace, data: Mapping[str, Any]) -> PredictedQuality:
        """Returns the prediction that `to_dict` wrote."""
        size = _layout(space)[1]
        return cls(
            space,
            np.frombuffer(bytes.fromhex(data["codes"]), dtype=np.uint8).reshape(-1, len(space.choices)),
            np.array(data["intercepts"], dtype=np.float64),
            tuple(np.array(effect, dtype=np.float64) for effect in data["effects"]),
            np.array([row or [0.0] * size for row in data["deviations"]], dtype=np.float64).reshape(-1, size),
            data["variance"],
            data["noise"],
            data["branch_variance"],
            data["quantity"],
            data["offset"],
            data["slope"],
        )


class _Branches:
    """Tells the branches of a space apart by the candidates of the choices that others depend on."""

    def __init__(self, space: SearchSpace) -> None:
        self._parents = sorted({space.index(c.condition.choice) for c in space.choices if c.condition is not None})
        self._known = {
            bytes(branch.codes[p][0] if branch.codes[p] else INACTIVE for p in self._parents): number
            for number, branch in enumerate(space.branches())
        }
        self.count = len(self._known)

    def of(self, codes: Codes) -> NDArray[np.intp]:
        """Returns the branch [n] of codes [n, choices], by its position in `space.branches()`."""
        rows = np.ascontiguousarray(codes[:, self._parents])
        return np.array([self._known[row.tobytes()] for row in rows], dtype=np.intp)


_BLOCK = 4096
"""Number of architectures whose covariances with all trials are held at once."""


def _line(values: FloatArray, scores: FloatArray) -> dict[str, Any]:
    """Returns quantity, offset and slope of the least-squares line over predicted values that runs the right way."""
    quantity = "loss" if (scores >= 0.0).all() and (scores <= 1.0).all() and (scores > 0.0).any() else "score"
    if quantity == "loss":
        values, scores = values[scores > 0.0], scores[scores > 0.0]
        known, sign = -np.log(scores), -1.0
    else:
        known, sign = scores, 1.0
    centred = values - values.mean()
    spread = float(centred @ centred)
    slope = sign * max(0.0, sign * float(centred @ known) / spread) if spread > 0.0 else 0.0
    return {"quantity": quantity, "offset": float(known.mean()) - slope * float(values.mean()), "slope": slope}


def _kernel(common: FloatArray, same: FloatArray, ratio: float) -> FloatArray:
    """Returns the prior covariance in units of σ² from what is in common, and from who is of the same branch."""
    return np.asarray(common + same * (ratio * common + 1.0))


def _fold(
    space: SearchSpace, codes: Codes, branch_of: NDArray[np.intp], count: int, ratio: float, weights: FloatArray
) -> tuple[tuple[FloatArray, ...], FloatArray, FloatArray]:
    """Returns Σ_n weights_n times the prior covariance of each effect, intercept and deviation with the n-th trial."""
    (offsets, size), choices = _layout(space), len(space.choices)
    rows = _one_hot(space, codes)[:, :size] * weights[:, None]
    own = np.zeros((count if ratio else 0, size))
    if ratio:
        np.add.at(own, branch_of, rows * (ratio / choices))
    effects = tuple(np.split(rows.sum(axis=0) / choices, offsets[1:]))
    return effects, np.bincount(branch_of, weights, minlength=count).astype(np.float64), own


def _common(space: SearchSpace, one: Codes, other: Codes) -> FloatArray:
    """Returns the share of all choices that two architectures have, active and with the same candidate, [n, m]."""
    return np.asarray(_one_hot(space, one) @ _one_hot(space, other).T / len(space.choices))


def _layout(space: SearchSpace) -> tuple[NDArray[np.intp], int]:
    """Returns where each choice's candidates begin among the candidates of all choices, and how many these are."""
    sizes = [len(choice.candidates) for choice in space.choices]
    return np.cumsum([0, *sizes[:-1]]), sum(sizes)


def _columns(space: SearchSpace, codes: Codes) -> NDArray[np.intp]:
    """Returns the position of each candidate among those of all choices, [n, choices]; inactive ones come after all."""
    offsets, size = _layout(space)
    return np.where(codes == INACTIVE, size, codes + offsets)


def _one_hot(space: SearchSpace, codes: Codes) -> FloatArray:
    """Returns a 1 for each candidate that an architecture has, [n, candidates + 1]; the last column is 0."""
    size = _layout(space)[1]
    rows = np.zeros((len(codes), size + 1))
    np.put_along_axis(rows, _columns(space, codes), 1.0, axis=1)
    rows[:, size] = 0.0
    return rows


def normal_scores(scores: FloatArray) -> FloatArray:
    """Returns Φ⁻¹((rank − ½) / n), float64 [n]: the quantiles of a normal distribution in the order of the scores."""
    from scipy.special import ndtri  # imported late: results are read without it
    from scipy.stats import rankdata

    return np.asarray(ndtri((rankdata(scores) - 0.5) / len(scores)), dtype=np.float64)
