"""DC-NAS divides sampled architectures by how they learn, conquers each cluster, trains the winners fully (Alg. 1)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.result import SearchResult
from searchhub.searchers.base import Searcher
from searchhub.searchers.clustering import Method, cluster_codes, most_probable
from searchhub.searchers.code_space import check_table
from searchhub.searchers.division import Division, divide
from searchhub.space import Architecture, Codes, SearchSpace
from searchhub.trial import DIVERGED, DIVERGED_EPOCH, DIVERGED_LAYER, Budget, TrialResult

__all__ = ["DCSearcher", "DCSupernetSearcher"]

MOST_DRAWS = 1000
"""Largest number of draws for each distinct architecture that is asked for."""

MOST_DRAWN = 500
"""How many of the architectures sampled from a supernet, the first, are kept to draw pictures of."""


class DCSearcher(Searcher):
    """Early-stops sampled networks, divides them by their features, and trains the best of each cluster fully.

    Round 0 asks for s distinct architectures with the proxy budget, η epochs on a share of the data. Round 1 asks for
    the winners of the K clusters with the full budget. The answer is the best of these (DC-NAS Eq. 10). K = 1 is plain
    early stopping. The searcher needs an evaluator that records features, `ScratchEvaluator`.

    1. Networks without features, which diverged, belong to no cluster. With K = 1 they score 0.
    2. Scores of round 0 are not compared with those of round 1: `SearchResult.best_trial` and `generate` look at the
       largest budget only, which is that of the K winners.

    Args:
        space: Space to search.
        num_samples: Number of samples s, from K to the size of the space. Do not give it with `architectures`.
        num_clusters: Number of clusters K; the paper has 5.
        proxy_epochs: Number of proxy epochs η, at least 2 unless K = 1; the paper suggests a tenth of the full
            training's.
        proxy_share: Share of the training data in round 0; the paper has 0.1.
        budget: Training that the winners are given; more than the proxy's.
        architectures: Distinct architectures to divide. None: they are sampled.
        probabilities: Probability of each choice's candidates by which to sample, e.g. the θ of a DDPNAS search. None:
            the draw is uniform.
        method: "kmeans" or "hierarchical".
        n_init: Number of starts of k-means.
        seed: Seed of sampling and k-means.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        num_samples: int | None = None,
        num_clusters: int = 5,
        proxy_epochs: int = 20,
        proxy_share: float = 0.1,
        budget: Budget,
        architectures: Sequence[Architecture] | None = None,
        probabilities: Sequence[FloatArray] | None = None,
        method: Method = "kmeans",
        n_init: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(space, seed=seed, budget=budget)
        if (num_samples is None) == (architectures is None):
            raise InvalidInputError("Either `num_samples` or `architectures` must be given, and not both.")
        if architectures is not None and probabilities is not None:
            raise InvalidInputError("`probabilities` are for sampling, but `architectures` are given. Drop one.")
        self._given = None if architectures is None else _distinct_rows(space, architectures)
        self.num_samples = len(self._given) if self._given is not None else num_samples or 0
        self.num_clusters = num_clusters
        self.proxy = Budget(proxy_epochs, data_share=proxy_share)
        self.probabilities = None if probabilities is None else check_probabilities(space, probabilities)
        self.method: Method = method
        self.n_init = n_init
        self.division: Division | None = None
        self._check()

    def _check(self) -> None:
        if not 1 <= self.num_clusters <= self.num_samples <= self.space.size:
            raise InvalidInputError(
                "`1 <= num_clusters <= samples <= size of the space` must hold, but got "
                f"{self.num_clusters}, {self.num_samples:,} and {self.space.size:,}."
            )
        depends = [choice.name for choice in self.space.choices if choice.condition is not None]
        if depends and self.num_clusters > 1:
            raise InvalidInputError(
                "Every network must have the same layers to be divided by their features, but choices of "
                f"`{self.space.name}` depend on others: {depends[:3]}. Divide each branch of the space apart, or take "
                "`num_clusters=1`."
            )
        if self.proxy.epochs < 2 and self.num_clusters > 1:
            raise InvalidInputError(
                "`proxy_epochs >= 2` must hold to tell networks apart, as the cosine of epoch 1 to itself is always 1, "
                f"but got {self.proxy.epochs}. Raise it, or take `num_clusters=1`."
            )
        if self.method not in get_args(Method):
            raise InvalidInputError(f"`method` must be one of {list(get_args(Method))}, but is {self.method!r}.")
        if self.n_init < 1:
            raise InvalidInputError(f"`n_init >= 1` must hold, but got {self.n_init}.")
        if self.budget.size <= self.proxy.size:
            raise InvalidInputError(
                "The full training must be more than the early-stopped one (epochs x share of the data), but is "
                f"{self.budget} against {self.proxy}. Raise the budget's `epochs`, or lower `proxy_epochs`."
            )

    @property
    def num_trials(self) -> int:
        return self.num_samples + self.num_clusters

    def budget_in(self, round: int) -> Budget:
        return self.proxy if round == 0 else self.budget

    @property
    def config(self) -> dict[str, Any]:
        return {
            **super().config,
            "num_trials": self.num_trials,
            "num_samples": self.num_samples,
            "num_clusters": self.num_clusters,
            "proxy": self.proxy.to_dict(),
            "architectures": None if self._given is None else _digest([self._given]),
            "probabilities": None if self.probabilities is None else [p.tolist() for p in self.probabilities],
            "method": self.method,
            "n_init": self.n_init,
        }

    def propose(self) -> Codes:
        if self.round == 0:
            if self._given is not None:
                return self._given
            return sample_distinct(self.space, self.num_samples, self.rng, self.probabilities)
        if self.round == 1 and self.division is not None:
            return np.stack([self.space.encode(winner) for winner in self.division.winners])
        return np.empty((0, len(self.space.choices)), dtype=np.uint8)

    def observe(self, results: Sequence[TrialResult]) -> None:
        if self.round == 0:
            self.division = self._divide(results)
        self.round += 1

    def _divide(self, results: Sequence[TrialResult]) -> Division:
        usable = np.array([i for i, r in enumerate(results) if r.features is not None or self.num_clusters == 1])
        if len(usable) < self.num_clusters:
            raise InvalidInputError(
                f"At least {self.num_clusters} networks must have features to be divided, but of {len(results)} only "
                f"{len(usable)} have: {self._why(results)}"
            )
        kept = [results[i] for i in usable]
        features = np.zeros((len(kept), 0)) if self.num_clusters == 1 else _stacked(kept)
        scores = np.array([r.score for r in kept])
        found, winners, clusters = divide(
            features, scores, self.num_clusters, method=self.method, seed=self.seed, n_init=self.n_init
        )
        labels = np.full(len(results), -1)
        labels[usable] = found
        return Division(
            tuple(np.bincount(found, minlength=self.num_clusters).tolist()),
            tuple(kept[w].trial.architecture for w in winners),
            tuple(kept[w].score for w in winners),
            tuple(labels.tolist()),
            None if clusters is None else clusters.summary(),
        )

    def _why(self, results: Sequence[TrialResult]) -> str:
        """Explains why networks have no features, and the way out."""
        diverged = [r for r in results if DIVERGED in r.metrics]
        if not diverged:
            return "the evaluator records none. Take one that does (`ScratchEvaluator`)."
        first, what = diverged[0], "the loss"
        if DIVERGED_LAYER in first.metrics:
            what = f"the output of `{self.space.choices[int(first.metrics[DIVERGED_LAYER])].name}`"
        when = f" in epoch {first.metrics[DIVERGED_EPOCH]:.0f}" if DIVERGED_EPOCH in first.metrics else ""
        return (
            f"{len(diverged)} diverged. Of the first of them, trial {first.trial.number}, {what} was no longer finite"
            f"{when}. Lower `num_clusters`, or the learning rate of early-stopped training."
        )

    def result(self) -> SearchResult:
        return _result(self, self.division)

    def extra_state(self) -> dict[str, Any]:
        return {"division": None if self.division is None else self.division.to_dict()}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        self.division = None if state["division"] is None else Division.from_dict(state["division"])


class DCSupernetSearcher(Searcher):
    """Divides architectures sampled from a trained supernet and asks for the K winners, which are then trained fully.

    s architectures are drawn by the supernet's probabilities. The features of an architecture are the rows of its
    candidates in a table. The winner of a cluster is its most probable architecture (DC-NAS Eq. 9).

    Args:
        space: Space to search. No choice may depend on another.
        table: Features of each candidate in the form that `cluster_codes` needs: [layers, candidates, epochs].
        logits: One logit per candidate, for each layer; probabilities are their softmax.
        num_samples: Number of samples s; the paper has 10^7. Duplicates count with multiplicity.
        num_clusters: Number of clusters K; the paper has 5.
        budget: Training that the winners are given.
        n_init: Number of starts of k-means.
        seed: Seed of sampling and k-means.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        table: Sequence[FloatArray] | FloatArray,
        logits: Sequence[FloatArray] | FloatArray,
        num_samples: int = 10**7,
        num_clusters: int = 5,
        budget: Budget,
        n_init: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(space, seed=seed, budget=budget)
        if not 1 <= num_clusters <= num_samples:
            raise InvalidInputError(
                f"`1 <= num_clusters <= num_samples` must hold, but got {num_clusters} and {num_samples:,}."
            )
        self.table = check_table(table)
        self.logits = [_log_softmax(np.asarray(row, dtype=np.float64)) for row in logits]
        check_probabilities(space, [np.exp(row) for row in self.logits])
        if [len(rows) for rows in self.table] != [len(row) for row in self.logits]:
            raise InvalidInputError("`table` must hold the features of as many candidates a layer as `logits` does.")
        self.num_samples = num_samples
        self.num_clusters = num_clusters
        self.n_init = n_init
        self.division: Division | None = None

    @property
    def num_trials(self) -> int:
        return self.num_clusters

    @property
    def config(self) -> dict[str, Any]:
        return {
            **super().config,
            "num_trials": self.num_trials,
            "num_samples": self.num_samples,
            "num_clusters": self.num_clusters,
            "table": _digest(self.table),
            "logits": _digest(self.logits),
            "n_init": self.n_init,
        }

    def propose(self) -> Codes:
        if self.round > 0:
            return np.empty((0, len(self.space.choices)), dtype=np.uint8)
        codes = self.space.sample(self.num_samples, self.rng, [np.exp(row) for row in self.logits])
        clusters = cluster_codes(self.table, codes, self.num_clusters, seed=self.seed, n_init=self.n_init)
        winners = codes[most_probable(codes, clusters.labels, self.logits, self.num_clusters)]
        won_by = np.array([sum(row[code] for row, code in zip(self.logits, w, strict=True)) for w in winners])
        order = np.argsort(-won_by, kind="stable")
        shown = zip(codes[:MOST_DRAWN].tolist(), np.argsort(order)[clusters.labels[:MOST_DRAWN]].tolist(), strict=True)
        self.division = Division(
            tuple(clusters.counts[order].tolist()),
            tuple(self.space.decode(winners[k]) for k in order),
            tuple(won_by[order].tolist()),
            summary=clusters.summary(),
            drawn=tuple((tuple(row), cluster) for row, cluster in shown),
        )
        return winners[order]

    def observe(self, results: Sequence[TrialResult]) -> None:
        self.round += 1

    def result(self) -> SearchResult:
        return _result(self, self.division)

    def extra_state(self) -> dict[str, Any]:
        return {"division": None if self.division is None else self.division.to_dict()}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        self.division = None if state["division"] is None else Division.from_dict(state["division"])


# -- sampling ---------------------------------------------------------------------------------------------------------


def sample_distinct(
    space: SearchSpace, n: int, rng: np.random.Generator, probabilities: Sequence[FloatArray] | None = None
) -> Codes:
    """Draws architectures until n of them differ; returns them, uint8 [n, choices], in the order in which they came.

    Raises:
        InvalidInputError: Fewer than n of 1000 · n draws differ: some are too improbable.
    """
    found = np.empty((0, len(space.choices)), dtype=np.uint8)
    drawn = 0
    while drawn < MOST_DRAWS * n:
        block = max(2 * n, 1024)
        drawn += block
        found = np.concatenate([found, space.sample(block, rng, probabilities)])
        found = found[np.sort(np.unique(found, axis=0, return_index=True)[1])]
        if len(found) >= n:
            return found[:n]
    raise InvalidInputError(
        f"{n:,} samples must differ, but of {drawn:,} draws only {len(found):,} do. Lower `num_samples`, or sample by "
        "probabilities that are less sure."
    )


def check_probabilities(space: SearchSpace, probabilities: Sequence[FloatArray]) -> list[FloatArray]:
    """Checks probabilities and returns them: for each choice one per candidate.

    Raises:
        InvalidInputError: One is missing, negative or not finite, or a choice has none above 0.
    """
    rows = [np.asarray(row, dtype=np.float64) for row in probabilities]
    if len(rows) != len(space.choices):
        raise InvalidInputError(f"`{space.name}` has {len(space.choices)} choices, but {len(rows)} were given.")
    for choice, row in zip(space.choices, rows, strict=True):
        if row.shape != (len(choice.candidates),) or not np.isfinite(row).all() or row.min() < 0 or row.max() <= 0:
            raise InvalidInputError(
                f"`{choice.name}` must have {len(choice.candidates)} finite probabilities of at least 0, one above 0, "
                f"but got {row.tolist()}."
            )
    return rows


def _distinct_rows(space: SearchSpace, architectures: Sequence[Architecture]) -> Codes:
    first: dict[Architecture, int] = {}
    for i, architecture in enumerate(architectures):
        if architecture in first:
            raise InvalidInputError(
                f"Architectures must be distinct, but {first[architecture]} and {i} are both {architecture.to_dict()}. "
                "Drop one."
            )
        first[architecture] = i
    if not first:
        raise InvalidInputError("`architectures` must not be empty.")
    return np.stack([space.encode(architecture) for architecture in architectures])


def _stacked(results: Sequence[TrialResult]) -> FloatArray:
    """Returns the features [s, layers, epochs]."""
    shapes = {tuple(len(row) for row in result.features or ()) for result in results}
    if len(shapes) > 1:
        raise InvalidInputError(
            "Every network must have features of the same layers and epochs, but they have "
            f"{sorted(len(shape) for shape in shapes)} layers and epochs of {sorted({e for s in shapes for e in s})}. "
            "Divide each branch of a space with choices that depend on others apart."
        )
    return np.array([result.features for result in results], dtype=np.float64)


def _log_softmax(logits: FloatArray) -> FloatArray:
    if not np.isfinite(logits).all():
        raise InvalidInputError(f"`logits` must be finite, but got {logits.tolist()}.")
    shifted = logits - logits.max()
    log_softmax: FloatArray = shifted - np.log(np.exp(shifted).sum())
    return log_softmax


def _digest(arrays: Sequence[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr((array.shape, array.dtype.str)).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _result(searcher: Searcher, division: Division | None) -> SearchResult:
    return SearchResult(
        searcher.space,
        tuple(searcher.history),
        searcher=searcher.config,
        division={} if division is None else division.to_dict(),
    )
