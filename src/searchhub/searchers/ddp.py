"""DDPNAS: dynamic distribution pruning (Zheng et al., Algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, get_args

import numpy as np

from searchhub.distribution import ArchitectureDistribution, FloatArray, Normalization
from searchhub.errors import InvalidInputError
from searchhub.result import SearchResult
from searchhub.searchers.base import Searcher
from searchhub.searchers.credit import Estimator, mean_credit, pairs_credit, regression_credit, sample_posterior
from searchhub.space import Codes, SearchSpace
from searchhub.trial import Budget, TrialResult

__all__ = ["DDPSearcher"]

DISJOINT_DRAWS = 2
"""How many draws an estimator that proposes by itself first gets, so that it has seen every candidate."""


class DDPSearcher(Searcher):
    """Samples disjoint architectures, updates θ from their scores, prunes the worst candidate of each choice.

    In a round with k candidates alive, it draws k disjoint architectures `estimation_epochs` (T) times; then it
    computes P̄ (Eq. 3), V (Eq. 4) and θ (Eq. 5), and prunes (Alg. 1). The search ends when nothing can be pruned. Cells
    with 8 operations in two groups and T = 3 take 3 · (8 + 7 + … + 3) = 99 trials, "less than 100 epochs" as the paper
    says; without groups they take 3 · (8 + … + 2) = 105, the sum of Eq. 19.

    Args:
        space: Space to search. If its choices have groups, one candidate of each group survives.
        estimation_epochs: T, at least 1; the paper has 3.
        estimator: How scores give credit to candidates. "mean" is the paper's Eq. 3, over the trials of a round.
            "regression" uses main effects over all trials so far (`regression_credit`). "pairs" uses main effects and
            pairs over all trials (`pairs_credit`); after two draws it also proposes, by posterior sampling instead of
            disjoint draws (`sample_posterior`). docs/results/tabular.md compares them.
        momentum: γ of Eq. 4 in [0, 1). Sec. 4.3 finds no difference within [0.7, 0.9] and names no number; 0.8, the
            middle, stands for it here and in `--as_in_paper`. None: 0.8 with "mean", and 0 with the others, which
            remember earlier rounds themselves.
        prune: Whether to prune. False is the paper's ablation: every round has all candidates, and the result is argmax
            θ.
        evaluations: Number of trials with `prune=False`. None: as many as the pruned search. The paper's ablation cost
            3.3 times the pruned search.
        score_scale: Factor on the scores before the softmax of Eq. 4. The paper has 1; the published code uses 100.
        normalization: How Eq. 5 normalizes: "softmax" (the paper) or "sum" (the published code).
        seed: Seed of the draws.
        budget: Training that each trial is given; the paper has one epoch.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        estimation_epochs: int = 3,
        estimator: Estimator = "mean",
        momentum: float | None = None,
        prune: bool = True,
        evaluations: int | None = None,
        score_scale: float = 1.0,
        normalization: Normalization = "softmax",
        seed: int = 0,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(space, seed=seed, budget=budget)
        if estimation_epochs < 1:
            raise InvalidInputError(f"`estimation_epochs >= 1` must hold, but got {estimation_epochs}.")
        if estimator not in get_args(Estimator):
            raise InvalidInputError(f"`estimator` must be one of {list(get_args(Estimator))}, but got {estimator!r}.")
        if momentum is None:
            momentum = 0.8 if estimator == "mean" else 0.0
        if not 0.0 <= momentum < 1.0:
            raise InvalidInputError(f"`0 <= momentum < 1` must hold, but got {momentum}.")
        if normalization not in ("softmax", "sum"):
            raise InvalidInputError(f'`normalization` must be "softmax" or "sum", but got {normalization!r}.')
        if evaluations is not None and prune:
            raise InvalidInputError("`evaluations` is for `prune=False`; a pruned search sets its own number.")
        if evaluations is not None and evaluations < 1:
            raise InvalidInputError(f"`evaluations >= 1` must hold, but got {evaluations}.")
        self.estimation_epochs = estimation_epochs
        self.estimator: Estimator = estimator
        self.momentum = momentum
        self.prune = prune
        self.score_scale = score_scale
        self.normalization: Normalization = normalization
        self.distribution = ArchitectureDistribution.uniform(space)
        self.trajectory: list[ArchitectureDistribution] = [self.distribution]
        self._num_trials = pruned_search_trials(space, estimation_epochs) if evaluations is None else evaluations
        self._draws = 0

    @property
    def num_trials(self) -> int:
        return self._num_trials

    @property
    def config(self) -> dict[str, Any]:
        return {
            **super().config,
            "estimation_epochs": self.estimation_epochs,
            "estimator": self.estimator,
            "momentum": self.momentum,
            "prune": self.prune,
            "evaluations": self._num_trials,
            "score_scale": self.score_scale,
            "normalization": self.normalization,
        }

    @property
    def sampling(self) -> ArchitectureDistribution:
        return self.distribution

    def propose(self) -> Codes:
        left = self._num_trials - len(self.history)
        if left <= 0:
            return np.empty((0, len(self.space.choices)), dtype=np.uint8)
        most = max(len(choice.candidates) for choice in self.space.choices)
        if self.estimator != "pairs" or len(self.history) < DISJOINT_DRAWS * most:
            return self.distribution.sample_disjoint(self.rng)[:left]
        alive = self.distribution.alive
        k = max(int(a.sum()) for a in alive)
        return sample_posterior(self.space, *self._compared(), alive, min(k, left), self.rng)

    def observe(self, results: Sequence[TrialResult]) -> None:
        for result in results:
            if not 0.0 <= result.score <= 1.0:
                raise InvalidInputError(
                    f"DDPNAS needs scores in [0, 1], larger is better, but trial {result.trial.number} has "
                    f"{result.score}. Scale the metric (an accuracy in percent: divide by 100)."
                )
        self._draws += 1
        if self._draws == self.estimation_epochs or len(self.history) >= self._num_trials:
            self._end_round()

    def _end_round(self) -> None:
        utility = self._utility()
        self.distribution = self.distribution.updated(
            utility, momentum=self.momentum, score_scale=self.score_scale, normalization=self.normalization
        )
        if self.prune:
            self.distribution = self.distribution.pruned([~np.isnan(credit) for credit in utility])
        self.trajectory.append(self.distribution)
        self._draws = 0
        self.round += 1

    def _utility(self) -> list[FloatArray]:
        if self.estimator == "mean":
            return mean_credit(self.space, *self._trials([r for r in self.history if r.trial.round == self.round]))
        codes, scores = self._compared()
        if self.estimator == "regression":
            return regression_credit(self.space, codes, scores)
        return pairs_credit(self.space, codes, scores, self.distribution.alive)

    def _compared(self) -> tuple[Codes, FloatArray]:
        """Returns codes [n, choices] and scores [n] of all trials, as they compare with each other.

        Scores on shared weights compare with those of the same moment, so each counts from the mean of its moment.
        """
        codes, scores = self._trials(self.history)
        moments = np.array([-1 if r.weights_step is None else r.weights_step for r in self.history])
        for moment in np.unique(moments[moments >= 0]):
            scores[moments == moment] -= scores[moments == moment].mean()
        return codes, scores

    def _trials(self, results: Sequence[TrialResult]) -> tuple[Codes, FloatArray]:
        """Returns codes [n, choices] and scores [n]."""
        codes = np.stack([self.space.encode(result.trial.architecture) for result in results])
        return codes, np.array([result.score for result in results])

    def result(self) -> SearchResult:
        return SearchResult(
            self.space,
            tuple(self.history),
            distribution=self.distribution,
            trajectory=tuple(self.trajectory),
            searcher=self.config,
        )

    def extra_state(self) -> dict[str, Any]:
        return {
            "trajectory": [d.to_dict() for d in self.trajectory],
            "draws": self._draws,
        }

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        self.trajectory = [ArchitectureDistribution.from_dict(self.space, d) for d in state["trajectory"]]
        self.distribution = self.trajectory[-1]
        self._draws = state["draws"]


def pruned_search_trials(space: SearchSpace, estimation_epochs: int) -> int:
    """Returns how many trials a pruned search takes: T · Σ k over its rounds (Eq. 19, with groups kept)."""
    alive = [len(choice.candidates) for choice in space.choices]
    floor = [len(set(choice.groups)) if choice.groups else 1 for choice in space.choices]
    total = 0
    while any(a > f for a, f in zip(alive, floor, strict=True)):
        total += estimation_epochs * max(alive)
        fullest = max(a for a, f in zip(alive, floor, strict=True) if a > f)
        alive = [a - 1 if a > f and a == fullest else a for a, f in zip(alive, floor, strict=True)]
    return total


SEARCHERS = {"ddp": DDPSearcher, "ddp-noprune": partial(DDPSearcher, prune=False)}
