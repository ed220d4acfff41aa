"""Scores networks that are trained apart, with features of how each learned (DC-NAS Alg. 1, lines 3-12)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import PreTrainedModel

from searchhub.data.reduced import ReducedTask
from searchhub.data.task import Batch, Task, check_not_dense
from searchhub.errors import DivergedError, InvalidInputError, SearchhubError
from searchhub.evaluators.accelerated import AcceleratedEvaluator
from searchhub.evaluators.features import FeatureKind, FeatureRecorder
from searchhub.evaluators.score import METRIC, Score, find_score, validation_loss
from searchhub.models.identity import plain_config, weights_digest
from searchhub.models.supernet import Supernet
from searchhub.space import Architecture
from searchhub.training.accelerator import SingleProcess
from searchhub.training.batch_norm import check_batch_norm_of
from searchhub.training.batches import check_batch_size, derive_seed
from searchhub.training.fit import fit
from searchhub.training.loop import StepCallback
from searchhub.training.settings import TrainingSettings
from searchhub.trial import DIVERGED, DIVERGED_EPOCH, DIVERGED_LAYER, Budget, Trial, TrialResult

T = TypeVar("T")


class ScratchEvaluator(AcceleratedEvaluator):
    """Trains the network of each architecture for the trial's budget and scores it on the validation split.

    A budget with a `data_share` trains on that share of each class (the D̃ of DC-NAS Eq. 2), always the same examples.
    The learning rate falls over the budget. Everything random follows from `seed` and the trial's number.

    1. Several processes train one network each at the same time, and wait for the slowest. Results are the same
       whatever their number.
    2. If the loss or a feature becomes NaN or infinite, the trial gets score 0, no features, and the metric `diverged`.
       The search goes on. Further metrics tell the epoch and layer.
    3. Epochs are whole: a budget with `max_steps` is refused.

    Args:
        supernet: The supernet that knows the models. Its weights are not used unless they are inherited, and nothing of
            it is changed. Where networks of a search are smaller than final ones (cells), `supernet.final` has the
            sizes of these.
        task: Data and metric; its primary metric is the score.
        settings: Optimizer, schedule and batch, of one process.
        accelerator: The accelerator of this process.
        inherit_weights: Start every network from the supernet's weights, not at random: DC-NAS on a search by shared
            weights.
        features: What is recorded after every epoch, of each choice's layer (`feature_layers`).
        feature_examples: How many training examples the mean output is taken of (Eq. 7), the same for all networks;
            None: of all that networks are trained on.
        measure: Further metrics of a trained network, e.g. what it reaches on other data; nothing is chosen by them.
        seed: The seed of weights, order, augmentation, dropout and the reduced data.
        score: What a trial's score is: a name in `searchhub.evaluators.score.SCORES`, or a function of a module.
        on_step: Called during a trial of this process with (steps done, steps of the trial).

    Raises:
        InvalidInputError: Labels, batch size or precision do not fit.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: Task,
        settings: TrainingSettings,
        accelerator: Accelerator,
        *,
        inherit_weights: bool = False,
        features: FeatureKind = "outputs",
        feature_examples: int | None = 1000,
        measure: Callable[[PreTrainedModel], Mapping[str, float]] | None = None,
        seed: int = 0,
        score: str | Score = METRIC,
        on_step: StepCallback | None = None,
    ) -> None:
        check_not_dense(task, "A search by networks that are trained apart (DC-NAS)")
        if supernet.config.num_labels != task.num_labels:
            raise InvalidInputError(
                f"The networks must have the task's {task.num_labels} labels, but have {supernet.config.num_labels}."
            )
        if feature_examples is not None and feature_examples < 1:
            raise InvalidInputError(f"`feature_examples >= 1` must hold, but got {feature_examples}.")
        if accelerator.mixed_precision == "fp16":
            raise InvalidInputError(
                "Networks that are trained apart must not be trained in fp16, whose loss scale would pass from one to "
                'the next. Take `mixed_precision` "bf16" or "no".'
            )
        super().__init__(supernet, task, settings, accelerator)
        self.inherit_weights = inherit_weights
        self.features: FeatureKind = features
        self.feature_examples = feature_examples
        self.measure = measure
        self.seed = seed
        self.score_name, self._score = find_score(score)
        self.on_step = on_step
        self._alone = SingleProcess(accelerator)
        check_batch_size(task, "train", settings, self._alone)
        check_batch_norm_of(supernet, task, settings, self._alone)
        self._tasks: dict[float, Task] = {1.0: task}
        self._records = False

    def check(self, budget: Budget) -> None:
        """Fails now, before any training, if something would stop a training with this budget.

        Raises:
            InvalidInputError: The budget bounds steps, its data lack a class or hold no batch, or a layer has no
                features of this kind.
        """
        if budget.epochs == 0:
            raise InvalidInputError(
                f"A network that is trained apart takes at least one epoch, but the budget is {budget}. Scores without "
                "training are for shared weights."
            )
        if budget.max_steps is not None:
            raise InvalidInputError(
                f"A network that is trained apart takes whole epochs, but the budget is {budget}. Leave `max_steps` "
                "out, and lower `epochs` or `data_share`."
            )
        try:
            check_batch_size(self._task(budget), "train", self.settings, self._alone)
        except InvalidInputError as error:
            if budget.data_share == 1:
                raise
            share = f"{100 * budget.data_share:g} %"
            raise InvalidInputError(f"{error} Or raise the budget's `data_share`, {share} of the data.") from error
        self._check_features()

    def _check_features(self) -> None:
        """Records features, of an example or two, of untrained networks that have every candidate of every choice."""
        if self._records:
            return
        space = self.supernet.search_space
        if any(choice.condition is not None for choice in space.choices):
            rows = list(space.sample(1, np.random.default_rng(0)))
        else:
            most = max(len(choice.candidates) for choice in space.choices)
            rows = [np.array([min(k, len(c.candidates) - 1) for c in space.choices], np.uint8) for k in range(most)]
        examples = torch.arange(min(2, self.task.size("train")))
        batch = self.task.batch("train", examples, device=self.accelerator.device)
        for architecture in map(space.decode, rows):
            model = self._model(architecture, self.seed).to(self.accelerator.device)
            FeatureRecorder(feature_layers(self.supernet, architecture), kind=self.features).record(model, [batch])
        self._records = True

    def _task(self, budget: Budget) -> Task:
        if budget.data_share not in self._tasks:
            seed = derive_seed(self.seed, "reduced data")
            self._tasks[budget.data_share] = ReducedTask(self.task, budget.data_share, seed=seed)
        return self._tasks[budget.data_share]

    # -- trials -------------------------------------------------------------------------------------------------------

    def __call__(self, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        for budget in dict.fromkeys(trial.budget for trial in trials):
            self.check(budget)
        processes = self.accelerator.num_processes
        for first in range(0, len(trials), processes):
            yield from self._together(trials[first : first + processes])

    def _together(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """Evaluates one trial per process. Every process gets all results, or an error if any process has one."""
        rank = self.accelerator.process_index
        result, failure = None, None
        try:
            result = self._evaluate(trials[rank]) if rank < len(trials) else None
        except Exception as error:
            failure = error
        gathered = gather_object([(result, None if failure is None else f"{type(failure).__name__}: {failure}")])
        if failure is not None:
            raise failure
        for process, (_, message) in enumerate(gathered):
            if message is not None:
                raise SearchhubError(f"Process {process} stopped at trial {trials[process].number} with {message}")
        return [result for result, _ in gathered if result is not None]

    def _evaluate(self, trial: Trial) -> TrialResult:
        started = time.perf_counter()
        seed = derive_seed(self.seed, "trial", trial.number)
        task, epochs = self._task(trial.budget), trial.budget.epochs
        model = self._model(trial.architecture, seed)
        recorder = FeatureRecorder(feature_layers(self.supernet, trial.architecture), kind=self.features)
        try:
            fitted = fit(
                model,
                task,
                self.settings,
                self._alone,  # type: ignore[arg-type]
                epochs=epochs,
                seed=seed,
                train_on="train",
                evaluate_on="validation",
                on_step=self.on_step,
                on_epoch=lambda trained: recorder.record(trained, self._feature_batches(task)),
            )
            features = recorder.features()
            bad = _not_finite(features)
            more = {} if self.measure is None else self.measure(model)
        except DivergedError:
            bad = {DIVERGED: 1.0, DIVERGED_EPOCH: recorder.epochs + 1.0}
        seconds = time.perf_counter() - started
        if bad:
            return TrialResult(trial, 0.0, bad, seconds)
        measured = {**fitted.metrics, **validation_loss(fitted.evaluation_loss)}
        metrics = {**measured, "loss": fitted.loss, **more}
        score = self._score(self.task, measured)
        return TrialResult(trial, score, metrics, seconds, tuple(map(tuple, features)))

    def _model(self, architecture: Architecture, seed: int) -> PreTrainedModel:
        if self.inherit_weights:
            return self.supernet.extract(architecture)
        torch.manual_seed(derive_seed(seed, "weights"))
        return self.supernet.subnet_class(self.supernet.subnet_config(architecture))

    def _feature_batches(self, task: Task) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "feature examples"))
        indices = torch.randperm(task.size("train"), generator=generator)[: self.feature_examples]
        for part in indices.split(self.settings.eval_batch_size):
            yield task.batch("train", part, device=self.accelerator.device)

    # -- resume -------------------------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        return {
            **super().config,
            "model": plain_config(self.supernet.config),
            "inherited": weights_digest(self.supernet) if self.inherit_weights else None,
            "features": self.features,
            "feature_examples": self.feature_examples,
            "seed": self.seed,
            **({} if self.score_name == METRIC else {"score": self.score_name}),
        }

    @property
    def environment(self) -> dict[str, Any]:
        """Without the number of processes, on which nothing depends here."""
        return {name: value for name, value in super().environment.items() if name != "processes"}


def feature_layers(supernet: Supernet, architecture: Architecture) -> list[str | None]:
    """Returns, for each choice, the module whose output is its layer: the first that it decides, or None."""
    modules = supernet.choice_modules(architecture)
    return [next(iter(modules.get(choice.name, ())), None) for choice in supernet.search_space.choices]


def _not_finite(features: Sequence[Sequence[float]]) -> dict[str, float]:
    """Returns as metrics where features [layers, epochs] are first not finite; empty if nowhere."""
    bad = [(e, k) for k, row in enumerate(features) for e, value in enumerate(row, 1) if not math.isfinite(value)]
    if not bad:
        return {}
    epoch, layer = min(bad)
    return {DIVERGED: 1.0, DIVERGED_EPOCH: float(epoch), DIVERGED_LAYER: float(layer)}
