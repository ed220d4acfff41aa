"""Scores networks that are trained fully and published (DC-NAS Eq. 10), each once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from searchhub.errors import DivergedError, InvalidInputError
from searchhub.evaluators.accelerated import AcceleratedEvaluator
from searchhub.models.identity import plain_config
from searchhub.networks.network import Network, TrainedNetwork
from searchhub.networks.trainer import NetworkTrainer
from searchhub.space import Architecture
from searchhub.training.batch_norm import check_batch_norm_of
from searchhub.training.batches import check_batch_size
from searchhub.training.loop import StepCallback
from searchhub.trial import DIVERGED, Budget, Trial, TrialResult

logger = logging.getLogger(__name__)

T = TypeVar("T")


class NetworkEvaluator(AcceleratedEvaluator):
    """Trains the network of each architecture to the end, publishes it, and scores it on the validation split.

    The test split is evaluated too, for the network's card, but no score depends on it. A finished network is read from
    its folder, so that a killed run loses at most the one in training. Several processes train each network together. A
    network that diverges gets score 0 and the metric `diverged`, and is not published; the search goes on, because the
    others are still useful.

    Args:
        trainer: Trainer with `train_on="train"`. Its epochs are every trial's budget.
        name: Function that names the network of a trial.
        on_step: Function that is called during a trial with (steps done, steps of the trial).

    Raises:
        InvalidInputError: The trainer trains on the validation split, or its batch size does not fit.
    """

    def __init__(
        self,
        trainer: NetworkTrainer,
        name: Callable[[Trial], str],
        on_step: StepCallback | None = None,
    ) -> None:
        if trainer.train_on != "train":
            raise InvalidInputError(
                '`train_on="train"` must hold for networks to be compared on the validation split, but the trainer '
                f"trains on {trainer.train_on!r}."
            )
        check_batch_size(trainer.task, trainer.train_on, trainer.settings, trainer.accelerator)
        check_batch_norm_of(trainer.supernet.final, trainer.task, trainer.settings, trainer.accelerator)
        super().__init__(trainer.supernet, trainer.task, trainer.settings, trainer.accelerator)
        self.trainer = trainer
        self.name = name
        self.on_step = on_step

    def __call__(self, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        for trial in trials:
            if trial.budget != Budget(self.trainer.epochs):
                raise InvalidInputError(
                    f"Every trial must have the trainer's {self.trainer.epochs} epochs, but trial {trial.number} has "
                    f"{trial.budget}."
                )
            try:
                report = self.report(trial)
            except DivergedError as error:
                logger.warning("%s diverged: %s", self.name(trial), error)
                yield TrialResult(trial, 0.0, {DIVERGED: 1.0})
                continue
            metrics = report.facts["validation"]["metrics"]
            yield TrialResult(
                trial,
                self.trainer.task.search_score(metrics),
                {**metrics, "loss": report.facts["loss"]},
                report.facts["seconds"],
            )

    def report(self, trial: Trial) -> TrainedNetwork:
        """Returns the network of a trial in numbers. It is trained now unless it is finished."""
        return self.trainer.train(Network(self.name(trial), trial.architecture), self.on_step)

    def reports(self, results: Sequence[TrialResult]) -> dict[Architecture, TrainedNetwork]:
        """Returns the networks of evaluated trials in numbers, without those that diverged."""
        return {r.trial.architecture: self.report(r.trial) for r in results if DIVERGED not in r.metrics}

    @property
    def config(self) -> dict[str, Any]:
        shared = super().config
        return {
            **shared,
            "model": plain_config(self.supernet.config),
            "training": {**shared["training"], "inherit_weights": self.trainer.inherit_weights},
            "seed": self.trainer.seed,
        }
