"""Scores trials by inherited weights: each trains its path of a supernet, then validates it (DDPNAS Alg. 1, l. 4-6)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn

from searchhub.data.task import Task
from searchhub.errors import InvalidInputError
from searchhub.evaluators.accelerated import AcceleratedEvaluator
from searchhub.evaluators.score import METRIC, Score, find_score
from searchhub.models.supernet import Supernet
from searchhub.training.batches import check_batch_size, derive_seed, steps_per_epoch, training_batches
from searchhub.training.loop import StepCallback, predict, reestimate_batch_norm, release_model, train_pass
from searchhub.training.settings import TrainingSettings
from searchhub.training.windows import SharedOptimizerState
from searchhub.trial import Trial, TrialResult


class SupernetEvaluator(AcceleratedEvaluator):
    """Trains a subnet for the trial's budget on shared weights and scores it on the validation split.

    Everything random follows from `seed` and the trial's number, so the state is the weights and their optimizer state,
    nothing else.

    Args:
        supernet: The shared weights; moved to the accelerator's device.
        task: Data and metric; its primary metric is the score by default.
        settings: Optimizer, schedule and batch; the cosine spans the whole search.
        accelerator: The accelerator of this process.
        num_trials: Trials of the whole search, for the schedule.
        epochs_per_trial: Epochs of each trial, for the schedule.
        max_steps_per_trial: Bound on the steps of each trial, for the schedule; None: no bound.
        batch_norm_batches: Batches from which BatchNorm statistics are measured before validation.
        seed: The seed of order, augmentation and dropout.
        score: What a trial's score is: a name in `searchhub.evaluators.score.SCORES`, or a function of a module.
        on_step: Called during a trial with (steps done, steps of the trial).

    Raises:
        InvalidInputError: The batch does not fit, the labels are not the task's, or the settings belong to a final
            training: they have an auxiliary head or drop-path.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: Task,
        settings: TrainingSettings,
        accelerator: Accelerator,
        *,
        num_trials: int,
        epochs_per_trial: int = 1,
        max_steps_per_trial: int | None = None,
        batch_norm_batches: int = 8,
        seed: int = 0,
        score: str | Score = METRIC,
        on_step: StepCallback | None = None,
    ) -> None:
        check_batch_size(task, "train", settings, accelerator)
        if supernet.config.num_labels != task.num_labels:
            raise InvalidInputError(
                f"The supernet must have the task's {task.num_labels} labels, but has {supernet.config.num_labels}."
            )
        for name in ("auxiliary_weight", "drop_path"):
            if value := getattr(settings, name):
                raise InvalidInputError(
                    f"`{name}` must be 0 in trials on shared weights, but got {value}. It is for the final training."
                )
        if batch_norm_batches < 1:
            raise InvalidInputError(f"`batch_norm_batches >= 1` must hold, but got {batch_norm_batches}.")
        supernet = supernet.to(device=accelerator.device, memory_format=settings.memory_format)
        super().__init__(supernet, task, settings, accelerator)
        self.batch_norm_batches = batch_norm_batches
        self.seed = seed
        self.score_name, self._score = find_score(score)
        self.on_step = on_step
        self._per_epoch = steps_per_epoch(task, "train", settings)
        bound = max_steps_per_trial or self._per_epoch * epochs_per_trial
        self._steps_per_trial = min(bound, self._per_epoch * epochs_per_trial)
        self._total_steps = num_trials * self._steps_per_trial
        self._state = SharedOptimizerState(dict(supernet.named_parameters()))

    def __call__(self, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        for trial in trials:
            yield self._evaluate(trial)

    def _evaluate(self, trial: Trial) -> TrialResult:
        started = time.perf_counter()
        subnet = self.supernet.subnet(trial.architecture)
        loss = self._train(subnet, trial)
        reestimate_batch_norm(
            subnet, self.task, "train", self.settings, self.accelerator, batches=self.batch_norm_batches
        )
        pair = predict(subnet, self.task, "validation", self.settings.eval_batch_size, self.accelerator)
        metrics = self.task.score(*pair)
        score = self._score(self.task, metrics)
        return TrialResult(trial, score, {**metrics, "loss": loss}, time.perf_counter() - started)

    def _train(self, subnet: nn.Module, trial: Trial) -> float:
        seed = derive_seed(self.seed, "trial", trial.number)
        torch.manual_seed(derive_seed(seed, "dropout", self.accelerator.process_index))
        parameters = dict(subnet.named_parameters())
        windows = self.supernet.windows(subnet, trial.architecture)
        optimizer = self.settings.build_optimizer(parameters.values())
        wrapped, prepared = self.accelerator.prepare(subnet, optimizer)
        # The state is lent after `prepare`, which may pass an optimizer's state through copies.
        self._state.lend(optimizer, windows, parameters)
        losses = []
        budget = trial.budget
        if budget.data_share != 1:
            raise InvalidInputError(f"A trial on shared weights takes all training data, but its budget is {budget}.")
        left = budget.max_steps or self._per_epoch * budget.epochs
        for epoch in range(budget.epochs):
            done = epoch * self._per_epoch
            if left <= done:
                break
            losses.append(
                train_pass(
                    wrapped,
                    prepared,
                    training_batches(
                        self.task, "train", self.settings, self.accelerator, derive_seed(seed, "epoch", epoch)
                    ),
                    self.settings,
                    self.accelerator,
                    first_step=trial.number * self._steps_per_trial + done,
                    total_steps=self._total_steps,
                    what=f"trial {trial.number}, path {trial.architecture.to_dict()}",
                    max_steps=left - done,
                    on_step=self._on_step(done),
                )
            )
        self._state.take_back(optimizer, windows, parameters)
        del wrapped, prepared, optimizer
        release_model(subnet, self.accelerator)
        return sum(losses) / len(losses)

    def _on_step(self, done: int) -> Callable[[int], None] | None:
        if (on_step := self.on_step) is None:
            return None
        return lambda step: on_step(done + step, self._steps_per_trial)

    # -- resume -------------------------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        model = {k: v for k, v in self.supernet.config.to_dict().items() if k not in ("transformers_version", "dtype")}
        return {
            **super().config,
            "model": model,
            "steps_per_trial": self._steps_per_trial,
            "total_steps": self._total_steps,
            "batch_norm_batches": self.batch_norm_batches,
            "seed": self.seed,
            **({} if self.score_name == METRIC else {"score": self.score_name}),
        }

    def save(self, folder: Path) -> None:
        weights = {name: p.data.contiguous() for name, p in self.supernet.named_parameters()}
        save_file(weights, folder / "supernet.safetensors")
        state = {name: t.contiguous() for name, t in self._state.state_dict().items()}
        save_file(state, folder / "optimizer.safetensors")

    def load(self, folder: Path) -> None:
        weights = load_file(folder / "supernet.safetensors")
        different = sorted(weights.keys() ^ {name for name, _ in self.supernet.named_parameters()})
        if different:
            raise InvalidInputError(
                f"`{folder}` must hold the weights of this {type(self.supernet).__name__}, but differs in "
                f"`{different[0]}`: it is from a version that built it otherwise. Start a new run."
            )
        with torch.no_grad():
            for name, parameter in self.supernet.named_parameters():
                parameter.copy_(weights[name])
        self._state.load_state_dict(load_file(folder / "optimizer.safetensors"))
