"""Scores trials by inherited weights: paths of a supernet are trained, then validated (DDPNAS Alg. 1, l. 4-6)."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn

from searchhub.costs.table import CostTable
from searchhub.data.task import Batch, Task
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InvalidInputError
from searchhub.evaluators.accelerated import AcceleratedEvaluator
from searchhub.evaluators.score import LIKELIHOOD, METRIC, Score, find_score, validation_loss
from searchhub.generation.size_sampling import SizeSampler
from searchhub.models.shells import Reconstruction, Shells
from searchhub.models.supernet import Supernet
from searchhub.space import Architecture
from searchhub.training.batch_norm import check_batch_norm_of
from searchhub.training.batches import (
    check_batch_size,
    derive_seed,
    evaluation_batches,
    steps_per_epoch,
    training_batches,
)
from searchhub.training.loop import (
    StepCallback,
    calibration_inputs,
    evaluate_on,
    has_batch_norm,
    measure_batch_norm,
    release_model,
    take_steps,
    train_pass,
)
from searchhub.training.settings import TrainingSettings
from searchhub.training.shared import SharedWeights
from searchhub.training.windows import SharedOptimizerState
from searchhub.trial import Trial, TrialResult

Paths = Literal["fresh", "turns", "together", "trial"]
"""How paths through the shared weights take turns; see `SupernetEvaluator`."""

KEPT_BYTES = 2**28
"""Most bytes of prepared batches that an evaluator keeps on the device from one scored network to the next."""


class SupernetEvaluator(AcceleratedEvaluator):
    """Trains shared weights for the trials' budget, and scores each trial's subnet on the validation split.

    `paths` says what is trained meanwhile. All kinds take the same number of passes, one path on one batch each:

    - "fresh": paths are drawn anew all the time, k disjoint ones at once from the searcher's distribution, and take
      turns, one a step. The proposal itself is only scored, all of it on the same weights. With `sizes` paths are drawn
      one by one instead, so that their sizes are spread evenly (`SizeSampler`).
    - "turns": the architectures of the proposal take turns, one a step.
    - "together": each step takes k disjoint paths, drawn anew, on the same batch. Their gradients are averaged on what
      they share (strict fairness).
    - "trial": each trial trains its own path for its whole budget and is then scored, as DDPNAS does. Scores are of
      different weights, each of which the last path has changed.

    Everything random follows from `seed` and the trials, so the state is the weights, their optimizer state and how
    many steps they took, nothing else. A trial of no budget (`searchhub.trial.SCORED`) is scored on the weights as they
    are.

    Args:
        supernet: The shared weights; moved to the accelerator's device.
        task: Data and metric.
        settings: Optimizer, schedule and batch; the cosine spans the whole search.
        accelerator: The accelerator of this process.
        num_trials: Trials of the whole search that train, for the schedule.
        epochs_per_trial: Epochs of each trial, for the schedule.
        max_steps_per_trial: Bound on the steps of each trial, for the schedule; None: no bound.
        batch_norm_batches: Batches from which BatchNorm statistics are measured before validation.
        seed: The seed of paths, order, augmentation and dropout.
        paths: How paths take turns.
        sizes: Cost of which the logarithm is spread evenly over "fresh" paths. None: k disjoint ones are drawn at once.
        score: What a trial's score is: a name in `searchhub.evaluators.score.SCORES`, or a function of a module.
        reconstruction: Weights that networks are scored with in place of some shared ones. They follow from the shared
            weights as they are now, so that only trials of no budget may come. None: all weights are shared.
        on_step: Called during a trial, or a whole proposal, with (steps done, steps of it).

    Raises:
        InvalidInputError: The batch does not fit, the labels are not the task's, or the settings belong to a final
            training: they have an auxiliary head or drop-path.
    """

    scores_untrained = True

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
        paths: Paths = "fresh",
        sizes: CostTable | None = None,
        score: str | Score = LIKELIHOOD,
        reconstruction: Reconstruction | None = None,
        on_step: StepCallback | None = None,
    ) -> None:
        check_batch_size(task, "train", settings, accelerator)
        check_batch_norm_of(supernet, task, settings, accelerator)
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
        check_paths(paths)
        if sizes is not None and paths != "fresh":
            raise InvalidInputError(f'`sizes` is for `paths="fresh"`, but `paths` is {paths!r}. Drop one of them.')
        supernet = supernet.to(device=accelerator.device, memory_format=settings.memory_format)
        super().__init__(supernet, task, settings, accelerator)
        self.batch_norm_batches = batch_norm_batches
        self.seed = seed
        self.paths: Paths = paths
        self._sizes = None if sizes is None else SizeSampler(sizes)
        self.score_name, self._score = find_score(score)
        self.on_step = on_step
        self._per_epoch = steps_per_epoch(task, "train", settings)
        bound = max_steps_per_trial or self._per_epoch * epochs_per_trial
        self._steps_per_trial = min(bound, self._per_epoch * epochs_per_trial)
        self._total_steps = num_trials * self._steps_per_trial
        self._state = SharedOptimizerState(dict(supernet.named_parameters()))
        self._weights = SharedWeights(supernet, settings, accelerator, self._state)
        self._solved = {"reconstruction": reconstruction.settings} if reconstruction else {}
        self._scored_models = Shells(supernet, reconstruction) if reconstruction else self._weights.shells
        self._steps = 0
        self._distribution = ArchitectureDistribution.uniform(supernet.search_space)
        self._kept: dict[str, list[Any]] = {}

    # -- proposals ----------------------------------------------------------------------------------------------------

    @property
    def whole_proposals(self) -> bool:
        return self.paths != "trial"

    def sample_from(self, distribution: ArchitectureDistribution) -> None:
        self._distribution = distribution

    def __call__(self, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        for trial in trials:
            if trial.budget.data_share != 1:
                raise InvalidInputError(
                    f"A trial on shared weights takes all training data, but its budget is {trial.budget}."
                )
            if self._solved and self._steps_of(trial):
                raise InvalidInputError(
                    "Networks are scored with weights solved anew only where nothing trains the shared ones, but the "
                    f"budget of a trial is {trial.budget}. Give trials no epochs, or leave `reconstruction` out."
                )
        if self.paths == "trial":
            yield from map(self._train_and_score, trials)
            return
        started = time.perf_counter()
        trained = [trial for trial in trials if self._steps_of(trial)]
        loss = {"loss": self._train_proposal(trained)} if trained else {}
        share = (time.perf_counter() - started) / max(1, len(trained))
        for trial in trials:
            is_trained = bool(self._steps_of(trial))
            yield self._scored(trial, loss if is_trained else {}, share if is_trained else 0.0, self._steps)

    def _steps_of(self, trial: Trial) -> int:
        whole = self._per_epoch * trial.budget.epochs
        return min(trial.budget.max_steps or whole, whole)

    def _train_proposal(self, trials: Sequence[Trial]) -> float:
        """Trains shared weights for the budgets of some trials together, and returns the mean loss."""
        first, last = trials[0].number, trials[-1].number
        seed = derive_seed(self.seed, "proposal", first)
        torch.manual_seed(derive_seed(seed, "dropout", self.accelerator.process_index))
        passes = sum(self._steps_of(trial) for trial in trials)
        with self._weights as weights:
            arguments = self._steps_with_paths([trial.architecture for trial in trials], seed, passes)
            rates = self._rates(first * self._steps_per_trial, arguments)
            what = f"the shared weights (trials {first} to {last})"
            on_step = None if self.on_step is None else self._on_proposal_step(passes)
            loss = take_steps(weights.step, rates, self.accelerator, first * self._steps_per_trial, what, on_step)
        return loss

    def _steps_with_paths(
        self, proposed: Sequence[Architecture], seed: int, passes: int
    ) -> Iterator[tuple[list[Architecture], list[Batch]]]:
        """Yields the paths and the parts of each step, until there were that many passes."""
        space, rng = self.supernet.search_space, np.random.default_rng(derive_seed(seed, "paths"))

        def drawn() -> list[Architecture]:
            if self._sizes is not None:
                return [space.decode(self._sizes.draw(rng, self._distribution))]
            return [space.decode(row) for row in self._distribution.sample_disjoint(rng)]

        batches = self._batches(seed)
        waiting: list[Architecture] = []
        while passes > 0:
            if not waiting:
                waiting = list(proposed) if self.paths == "turns" else drawn()
            taken = min(passes, len(waiting) if self.paths == "together" else 1)
            yield waiting[:taken], next(batches)
            waiting = waiting[taken:]
            passes -= taken

    def _batches(self, seed: int) -> Iterator[list[Batch]]:
        for epoch in itertools.count():
            yield from training_batches(
                self.task, "train", self.settings, self.accelerator, derive_seed(seed, "epoch", epoch)
            )

    def _rates(
        self, done: int, steps: Iterator[tuple[list[Architecture], list[Batch]]]
    ) -> Iterator[tuple[list[Architecture], list[Batch], float]]:
        """Adds the learning rate of each step, which falls with the passes that are done."""
        for paths, parts in steps:
            yield paths, parts, self.settings.learning_rate_at(done, self._total_steps)
            done += len(paths)
            self._steps += 1

    def _on_proposal_step(self, passes: int) -> Callable[[int], None]:
        together = len(self._distribution.sample_disjoint(np.random.default_rng(0))) if self.paths == "together" else 1
        steps = -(-passes // together)
        on_step = self.on_step
        assert on_step is not None
        return lambda step: on_step(step, steps)

    # -- one trial ----------------------------------------------------------------------------------------------------

    def _train_and_score(self, trial: Trial) -> TrialResult:
        """Trains a trial's own path for its budget, then scores it."""
        if not self._steps_of(trial):
            return self._scored(trial, {}, 0.0, self._steps)
        started = time.perf_counter()
        subnet = self.supernet.subnet(trial.architecture)
        loss = self._train(subnet, trial)
        score, metrics = self._measure(subnet)
        return TrialResult(trial, score, {**metrics, "loss": loss}, time.perf_counter() - started)

    def _scored(self, trial: Trial, metrics: dict[str, float], seconds: float, step: int) -> TrialResult:
        """Scores a trial on the weights as they are."""
        started = time.perf_counter()
        # What BatchNorm is measured with may drop activations out: an architecture is scored alike whenever it comes.
        codes = self.supernet.search_space.encode(trial.architecture).tobytes().hex()
        torch.manual_seed(derive_seed(self.seed, "score", codes))
        score, measured = self._measure(self._scored_models.model(trial.architecture))
        seconds += time.perf_counter() - started
        return TrialResult(trial, score, {**measured, **metrics}, seconds, weights_step=step)

    @torch.no_grad()
    def _measure(self, subnet: nn.Module) -> tuple[float, dict[str, float]]:
        """Returns the score and the metrics of a subnet on the validation split, with BatchNorm measured anew."""
        if has_batch_norm(subnet):
            measure_batch_norm(subnet, self._inputs("train", subnet), self.accelerator)
        measured = evaluate_on(subnet, self.task, self._inputs("validation", subnet), self.accelerator)
        metrics = {**measured.metrics, **validation_loss(measured.loss)}
        return self._score(self.task, metrics), metrics

    def _inputs(self, split: Literal["train", "validation"], subnet: nn.Module) -> Iterator[Any]:
        """Yields what BatchNorm is measured with ("train"), or the validation batches; few are prepared only once."""
        if split in self._kept:
            yield from self._kept[split]
            return
        if split == "train":
            made: Iterator[Any] = calibration_inputs(
                subnet.main_input_name,
                self.task,
                "train",
                self.settings,
                self.accelerator,
                batches=self.batch_norm_batches,
            )
        else:
            made = evaluation_batches(self.task, split, self.settings.eval_batch_size, self.accelerator)
        kept, size = [], 0
        for batch in made:
            size += sum(t.nbytes for t in (batch.values() if isinstance(batch, dict) else [batch]))
            if size <= KEPT_BYTES // 2:
                kept.append(batch)
            yield batch
        if size <= KEPT_BYTES // 2:
            self._kept[split] = kept

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
        left = self._steps_of(trial)
        self._steps += left
        for epoch in range(trial.budget.epochs):
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

    @property
    def scoring(self) -> dict[str, Any]:
        """How a network is scored on the weights as they are, as plain JSON."""
        return {
            "score": self.score_name,
            "seed": self.seed,
            "batch_norm_batches": self.batch_norm_batches,
            "batch_size": self.settings.batch_size,
            "eval_batch_size": self.settings.eval_batch_size,
            **self._solved,
        }

    # -- resume -------------------------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        model = {k: v for k, v in self.supernet.config.to_dict().items() if k not in ("transformers_version", "dtype")}
        own = {"paths": self.paths, "score": self.score_name}
        sizes = {} if self._sizes is None else {"sizes": self._sizes.table.name}
        return {
            **super().config,
            "model": model,
            "steps_per_trial": self._steps_per_trial,
            "total_steps": self._total_steps,
            "batch_norm_batches": self.batch_norm_batches,
            "seed": self.seed,
            **sizes,
            **{name: value for name, value in own.items() if value != self.earlier[name]},
            **self._solved,
        }

    @property
    def earlier(self) -> dict[str, Any]:
        return {"paths": "trial", "score": METRIC}

    def save(self, folder: Path) -> None:
        weights = {name: p.data.contiguous() for name, p in self.supernet.named_parameters()}
        save_file(weights, folder / "supernet.safetensors")
        state = {name: t.contiguous() for name, t in self._state.state_dict().items()}
        save_file(state, folder / "optimizer.safetensors")
        (folder / STEPS).write_text(json.dumps({"steps": self._steps}) + "\n", encoding="utf-8")

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
        # Checkpoints of earlier versions do not tell their steps, which nothing asks for where each trial trains.
        steps = folder / STEPS
        self._steps = json.loads(steps.read_text(encoding="utf-8"))["steps"] if steps.exists() else 0


STEPS = "steps.json"
"""The file of a checkpoint that says how many optimizer steps its weights have taken."""


def check_paths(paths: str) -> None:
    """Checks that paths can take turns so.

    Raises:
        InvalidInputError: There is no such kind.
    """
    if paths not in get_args(Paths):
        raise InvalidInputError(f"`paths` must be one of {list(get_args(Paths))}, but is {paths!r}.")
