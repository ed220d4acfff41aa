"""What `search_pays.py` measures, a piece at a time: searches on shared weights, their rivals, and lone networks."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from searchhub import (
    Budget,
    DDPSearcher,
    EvolutionSearcher,
    Limit,
    NasBenchMacroSupernetConfig,
    NasBenchMacroSupernetForImageClassification,
    SupernetEvaluator,
    TrainingSettings,
    Trial,
    load_image_task,
    macs_table,
    make_accelerator,
    search,
)
from searchhub.costs.table import CostTable
from searchhub.data.images import ImageTask
from searchhub.distribution import FloatArray
from searchhub.effects import PredictedQuality
from searchhub.evaluators.base import Evaluator
from searchhub.evaluators.tabular import read_nasbench_macro, table_index
from searchhub.files import write_json
from searchhub.generation import sample_within
from searchhub.result import SearchResult
from searchhub.scoring import ScoringSearcher
from searchhub.searchers.base import Searcher
from searchhub.space import Codes, SearchSpace
from searchhub.spaces.nasbench_macro import canonical_codes
from searchhub.training.batches import derive_seed, steps_per_epoch
from searchhub.training.fit import fit
from searchhub.trial import SCORED, SCORING, TrialResult

PARTS = ("search", "paper", "alone")
DECILES = tuple(i / 10 for i in range(1, 10))
ALONE = (9, 18, 36)
"""How many networks the passes are spread over."""

SAMPLE_SEED = 2020
"""The sample is the same for every seed, so that seeds can be compared on it."""

SIZE = ("dataset", "image_size", "width_divisor", "train_samples", "eval_samples", "batch_norm_batches")
TRAINING = ("batch_size", "learning_rate", "weight_decay", "max_grad_norm")
SEARCH = (
    "searcher",
    "estimation_epochs",
    "estimator",
    "paths",
    "score",
    "scored",
    "passes",
    "min_learning_rate",
    "sample",
    "rivals",
)


class Networks:
    """The networks that are distinct by meaning: their codes, multiply-adds and accuracies.

    Args:
        table: Path of NAS-Bench-Macro. None: accuracies are not known.
    """

    def __init__(self, table: Path | None) -> None:
        full_size = NasBenchMacroSupernetForImageClassification(NasBenchMacroSupernetConfig(num_labels=10))
        self.space: SearchSpace = full_size.search_space
        self.macs: CostTable = macs_table(full_size)
        sizes = [len(choice.candidates) for choice in self.space.choices]
        self.codes: Codes = np.indices(sizes, dtype=np.uint8).reshape(len(sizes), -1).T
        distinct, self._meaning = np.unique(canonical_codes(self.codes), axis=0, return_inverse=True)
        self._meaning = self._meaning.reshape(-1)
        self.costs = self.macs.of_codes(distinct)
        self.accuracies = None if table is None else 100.0 * self.mean(read_nasbench_macro(table).final)
        self.limits = np.quantile(self.costs, DECILES, method="lower")

    def mean(self, values: FloatArray) -> FloatArray:
        """What networks [distinct] have, of values of all architectures [all]."""
        return np.asarray(np.bincount(self._meaning, values) / np.bincount(self._meaning))

    def index(self, codes: Codes) -> NDArray[np.intp]:
        """Which networks architectures [n, choices] are, int [n]."""
        return np.asarray(self._meaning[table_index(self.space, codes)])

    def sample(self, n: int, seed: int) -> Codes:
        """Draw n networks, each by one of the architectures that mean it, uint8 [n, choices]."""
        rng = np.random.default_rng(seed)
        shuffled = rng.permutation(self.codes)
        _, first = np.unique(self.index(shuffled), return_index=True)
        return np.asarray(shuffled[rng.permutation(first)[:n]])

    def predictions(self, prediction: PredictedQuality) -> FloatArray:
        """Predicted qualities of all networks [distinct]."""
        return self.mean(prediction.value(self.codes))


# -- what is measured -------------------------------------------------------------------------------------------------


class Seed:
    """Everything that is measured with one seed.

    Args:
        args: The arguments.
        networks: The space.
        seed: Seed of data, weights, searches and training.
    """

    def __init__(self, args: argparse.Namespace, networks: Networks, seed: int) -> None:
        self.args, self.networks, self.seed = args, networks, seed
        self.settings = TrainingSettings(**{name: getattr(args, name) for name in TRAINING})

    def measured(self) -> dict[str, Any]:
        """Returns the pieces of this seed: one a part, but for "alone" lists by the number of networks."""
        found: dict[str, Any] = {}
        if "search" in self.args.parts:
            found["search"] = self._piece("search", self._of(SEARCH), self._search)
        if "paper" in self.args.parts:
            found["paper"] = self._piece("paper", self._of(("passes", "sample")), self._paper)
        if "alone" in self.args.parts:
            found["alone"] = {str(n): self._alone(n) for n in ALONE}
        return found

    def sample_alone(self) -> list[dict[str, Any]]:
        """Returns the first networks of the sample, trained alone for as long as is asked."""
        rows = self.networks.sample(self.args.sample, SAMPLE_SEED)[: self.args.alone]
        return [self._trained_alone(row, self.args.alone_epochs) for row in rows]

    def _alone(self, n: int) -> list[dict[str, Any]]:
        epochs = max(1, round(self.args.passes / n))
        return [self._trained_alone(row, epochs) for row in self.networks.sample(n, self.seed)]

    def _trained_alone(self, row: Codes, epochs: int) -> dict[str, Any]:
        name = "alone-" + "".join(str(code) for code in row)
        return self._piece(name, {"epochs": epochs}, lambda: self._train(row, epochs))

    def _of(self, names: Sequence[str]) -> dict[str, Any]:
        return {name: getattr(self.args, name) for name in names}

    def _piece(self, name: str, own: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Reads what was measured before with the same settings, or measures and keeps it."""
        settings = {**self._of((*SIZE, *TRAINING)), "dataset": Path(self.args.dataset).name, **own}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        file = self.args.folder / f"{name}-seed{self.seed}-{digest}.json"
        if not file.exists():
            measured = measure()
            write_json(file, {"settings": settings, "seed": self.seed, **measured})
            print(f"{file.name}: {json.dumps(measured['seconds'])} s", flush=True)
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found

    @cached_property
    def _task(self) -> ImageTask:
        return load_image_task(
            self.args.dataset,
            image_size=self.args.image_size,
            max_train_samples=self.args.train_samples,
            max_eval_samples=self.args.eval_samples,
            seed=self.seed,
        )

    @property
    def _per_epoch(self) -> int:
        return steps_per_epoch(self._task, "train", self.settings)

    def _supernet(self) -> NasBenchMacroSupernetForImageClassification:
        full = NasBenchMacroSupernetConfig()
        torch.manual_seed(self.seed)
        return NasBenchMacroSupernetForImageClassification(
            NasBenchMacroSupernetConfig(
                num_labels=self._task.num_labels,
                image_size=self.args.image_size,
                stem_width=full.stem_width // self.args.width_divisor,
                stage_widths=[width // self.args.width_divisor for width in full.stage_widths],
                head_width=full.head_width // self.args.width_divisor,
            )
        )

    def _search(self) -> dict[str, Any]:
        args, watch = self.args, Watch()
        settings = dataclasses.replace(self.settings, min_learning_rate=args.min_learning_rate)
        result, weights = self._searched(
            args.searcher,
            settings,
            args.scored,
            estimation_epochs=args.estimation_epochs,
            estimator=args.estimator,
            paths=args.paths,
            score=args.score,
        )
        watch.lap("search")
        sample = self._sample(weights)
        watch.lap("sample")
        found = {"result": result.to_dict(), "sample": sample}
        if not args.rivals:
            return {**found, "seconds": watch.laps}
        evolved = [
            r
            for limit in self.networks.limits
            for r in search(
                EvolutionWithin(
                    self.networks.space,
                    Limit(self.networks.macs, max=float(limit)),
                    num_trials=max(1, args.scored // len(DECILES)),
                    seed=self.seed,
                    budget=SCORED,
                ),
                weights,
            ).history
        ]
        watch.lap("evolution")
        return {
            **found,
            "evolution": self._kept(evolved),
            "seconds": watch.laps,
        }

    def _paper(self) -> dict[str, Any]:
        watch = Watch()
        result, weights = self._searched(
            "ddp", self.settings, 0, estimation_epochs=3, estimator="mean", paths="trial", score="metric"
        )
        watch.lap("search")
        sample = self._sample(weights)
        watch.lap("sample")
        return {"result": result.to_dict(), "sample": sample, "seconds": watch.laps}

    def _searched(
        self,
        searcher: str,
        settings: TrainingSettings,
        scored: int,
        *,
        estimation_epochs: int,
        estimator: Any,
        paths: Any,
        score: str,
    ) -> tuple[SearchResult, FinalWeights]:
        """A search whose trials share the passes, and what it leaves to score with."""
        space, seed, steps = self.networks.space, self.seed, round(self.args.passes * self._per_epoch)
        options: dict[str, Any] = {"estimation_epochs": estimation_epochs, "estimator": estimator, "seed": seed}
        if searcher == "ddp-noprune":  # a trial a pass
            options |= {"prune": False, "evaluations": max(1, round(self.args.passes))}
        trials = DDPSearcher(space, **options).num_trials
        each = max(1, round(steps / trials))
        budget = Budget(epochs=math.ceil(each / self._per_epoch), max_steps=each)
        chosen: Searcher = DDPSearcher(space, **options, budget=budget)
        if scored:
            chosen = ScoringSearcher(chosen, scored=scored)
        evaluator = SupernetEvaluator(
            self._supernet(),
            self._task,
            settings,
            make_accelerator(seed=seed),
            num_trials=chosen.trained_trials,
            epochs_per_trial=budget.epochs,
            max_steps_per_trial=each,
            batch_norm_batches=self.args.batch_norm_batches,
            seed=seed,
            paths=paths,
            score=score,
        )
        return search(chosen, evaluator), FinalWeights(evaluator)

    def _sample(self, weights: FinalWeights) -> dict[str, Any]:
        rows = self.networks.sample(self.args.sample, SAMPLE_SEED)
        trials = [Trial(i, self.networks.space.decode(row), SCORED, SCORING) for i, row in enumerate(rows)]
        return self._kept(list(weights(trials)))

    def _kept(self, results: Sequence[TrialResult]) -> dict[str, Any]:
        return {
            "codes": [self.networks.space.encode(r.trial.architecture).tolist() for r in results],
            "scores": [r.score for r in results],
            "accuracies": [r.metrics["accuracy"] for r in results],
            "losses": [r.metrics["validation_loss"] for r in results],
        }

    def _train(self, row: Codes, epochs: int) -> dict[str, Any]:
        watch = Watch()
        fitted = fit(
            self._supernet().extract(self.networks.space.decode(row)),
            self._task,
            self.settings,
            make_accelerator(seed=self.seed),
            epochs=epochs,
            seed=derive_seed(self.seed, "".join(str(code) for code in row)),
            train_on="train",
            evaluate_on="validation",
        )
        watch.lap("training")
        return {
            "codes": row.tolist(),
            "loss": fitted.evaluation_loss,
            "accuracy": fitted.metrics["accuracy"],
            "seconds": watch.laps,
        }


class Watch:
    """CPU seconds of this process, all threads, between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, name: str) -> None:
        now = time.process_time()
        self.laps[name], self._last = round(now - self._last, 2), now


class FinalWeights(Evaluator):
    """Scores by forward passes alone on weights that stay as they are, each architecture once.

    Args:
        evaluator: Holds the weights.
    """

    def __init__(self, evaluator: SupernetEvaluator) -> None:
        self.evaluator = evaluator
        self._known: dict[Any, TrialResult] = {}

    def __call__(self, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        for trial in trials:
            if trial.architecture not in self._known:
                (self._known[trial.architecture],) = self.evaluator([trial])
            yield dataclasses.replace(self._known[trial.architecture], trial=trial)


class EvolutionWithin(EvolutionSearcher):
    """Evolution of architectures within a limit: those of the start are drawn there, and children beyond it die unborn.

    Args:
        space: Space to search.
        limit: Limit that all of them keep to.
        options: Arguments of `EvolutionSearcher`.
    """

    def __init__(self, space: SearchSpace, limit: Limit, **options: Any) -> None:
        super().__init__(space, **options)
        self.limit = limit

    def propose(self) -> Codes:
        if not self.history:
            drawn = sample_within(self.space, [self.limit], min(self.population_size, self.num_trials), self.rng)
            return np.stack([self.space.encode(architecture) for architecture in drawn])
        while True:
            codes = super().propose()
            if all(self.limit.cost.of_row(row) <= self.limit.max for row in codes):
                return codes
