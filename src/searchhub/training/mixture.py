"""Trains a supernet's mixture by gradients: weights on one part of the data, logits on another (DC-NAS Sec. 4.2).

Layer l outputs Σ_k m_k o_k(x), where m is a draw of the Gumbel-softmax of the layer's logits a (FBNet Sec. 3.3). Each
epoch trains the weights on "train" (80 %), then the logits on "validation" (20 %). This is a training, not a search by
ask/tell: it yields logits from which architectures are sampled.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn

from searchhub.costs.table import CostTable
from searchhub.data.task import Batch, Task, check_not_dense
from searchhub.distributed import OnMain
from searchhub.distribution import FloatArray, softmax
from searchhub.errors import InvalidInputError
from searchhub.models.supernet import Supernet, Window
from searchhub.run_folder import RunFolder
from searchhub.space import SearchSpace
from searchhub.training.accelerator import Processes, environment_of
from searchhub.training.batch_norm import check_batch_norm_of
from searchhub.training.batches import check_batch_size, derive_seed, steps_per_epoch, training_batches
from searchhub.training.gumbel import CostTerm, MixtureSettings, gumbel_noise, gumbel_softmax
from searchhub.training.loop import StepCallback, release_model, share_buffers, train_pass
from searchhub.training.settings import TrainingSettings
from searchhub.training.windows import SharedOptimizerState

Epoch = dict[str, Any]
"""Outcome of an epoch as plain JSON: "trial" (its number from 0), losses, cost, entropy, temperature, seconds."""


class EpochRecorder(Protocol):
    """Looks at the mixture after each epoch and records something of it."""

    config: Mapping[str, Any]
    """Returns the settings that decide what is recorded, as plain JSON."""

    def record(self, mixture: nn.Module, probabilities: torch.Tensor) -> None:
        """Called on every process, after each epoch, with softmax(a) [layers, candidates]."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Returns everything that was recorded, for safetensors."""

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restores what `state_dict` returned."""


@dataclass(frozen=True, eq=False)
class MixtureResult:
    """The outcome of training a mixture.

    Args:
        space: Search space of the supernet.
        logits: The logits a, float64 [layers, candidates].
        history: Outcome of each epoch.
    """

    space: SearchSpace
    logits: FloatArray
    history: tuple[Epoch, ...]

    @property
    def probabilities(self) -> FloatArray:
        """softmax(a) of each layer, [layers, candidates], for `space.sample`."""
        return np.stack([softmax(row) for row in self.logits])


class _OfLogits(nn.Module):
    """The loss as a function of the logits alone, as DDP and Adam see it."""

    def __init__(self, mixture: nn.Module, logits: nn.Parameter, term: CostTerm | None) -> None:
        super().__init__()
        self.logits = logits
        self._mixture = (mixture,)  # in a tuple, so that its parameters do not become this module's
        self._term = term

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor, noise: torch.Tensor, temperature: float) -> Any:
        weights = gumbel_softmax(self.logits, noise, temperature)
        output = self._mixture[0](pixel_values, weights, labels)
        if self._term is not None:
            output.loss = output.loss * self._term(weights)
        return output


class MixtureTrainer:
    """Trains the mixture of a supernet in place, one epoch at a time.

    The weights' loss is the cross-entropy, because the cost does not depend on them. Everything random in an epoch is
    drawn from `seed` and the epoch's number, so that the state is the weights, the logits, their optimizers' state and
    what `recorder` recorded.

    Args:
        supernet: A supernet with a `mixture()`. It is moved to the accelerator's device.
        task: The task. "train" trains the weights, "validation" the logits. Load it with `logits_size=0.2` for the
            paper's 80 and 20 %, so that neither trains on the pictures that later choose among the winners.
        settings: Settings for the weights; the cosine spans all epochs.
        accelerator: Accelerator of this process.
        mixture: Settings for the logits. None: the paper's.
        cost: Cost in the logits' loss. None: the loss is the cross-entropy alone.
        recorder: What looks at the mixture after each epoch.
        seed: Seed of order, augmentation, dropout and draws.
        on_step: Function that is called within an epoch with (steps done, steps of the epoch).

    Raises:
        InvalidInputError: A split holds no batch, or supernet, task and cost do not fit together.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: Task,
        settings: TrainingSettings,
        accelerator: Accelerator,
        *,
        mixture: MixtureSettings | None = None,
        cost: CostTable | None = None,
        recorder: EpochRecorder | None = None,
        seed: int = 0,
        on_step: StepCallback | None = None,
    ) -> None:
        _check(supernet, task, settings, accelerator, cost)
        self.supernet = supernet.to(device=accelerator.device, memory_format=settings.memory_format)
        self.task, self.settings, self.accelerator = task, settings, accelerator
        self.mixture_settings = mixture or MixtureSettings()
        self.cost, self.recorder, self.seed, self.on_step = cost, recorder, seed, on_step
        self.mixture = supernet.mixture()
        shape = (len(supernet.search_space.choices), len(supernet.search_space.choices[0].candidates))
        self.logits = nn.Parameter(torch.zeros(shape, device=accelerator.device))
        self._term = None if cost is None else CostTerm(cost, self.mixture_settings)
        self._of_logits = _OfLogits(self.mixture, self.logits, self._term)
        self._weights_state = SharedOptimizerState(dict(self.mixture.named_parameters()))
        self._logits_state = SharedOptimizerState({"logits": self.logits})
        self.steps = (steps_per_epoch(task, "train", settings), steps_per_epoch(task, "validation", settings))

    def train(self, run_dir: str | Path | None = None, *, on_epoch: Any = None, say: Any = None) -> MixtureResult:
        """Trains all epochs, or those that are left.

        With `run_dir` every epoch is saved, and the same call after a kill goes on to the same bits as a training that
        was never interrupted. Every process makes this call; the main one writes.

        Args:
            run_dir: A folder for this training alone: new, empty, or of the same training. None: everything stays in
                memory.
            on_epoch: Function that is called on the main process with (outcome of the epoch, epochs done).
            say: Function that receives messages about the folder for a person to read.

        Raises:
            DivergedError: A loss is no longer finite.
            RunMismatchError: The folder was started with other settings, data, processes or threads.
            RunFolderError: The folder is in use or damaged, does not hold a training, or cannot be written to.
        """
        on_main = OnMain(Processes(self.accelerator))
        folder: RunFolder | None = None
        history: list[Epoch] = []

        def start() -> tuple[str | None, list[Epoch]]:
            nonlocal folder
            if run_dir is None:
                return None, []
            folder = RunFolder(Path(run_dir), self.config, say or (lambda text: None))
            found = folder.restore()
            return (None, []) if found is None else (str(found.path), found.searcher_state()["history"])

        try:
            checkpoint, history = on_main(start)
            if checkpoint is not None:
                self.load(Path(checkpoint))
            for epoch in range(len(history), self.mixture_settings.epochs):
                line = self.epoch(epoch)
                history.append(line)
                if folder is not None:
                    on_main(partial(folder.record, line, {"history": history}, self.save))
                elif run_dir is not None:
                    on_main(lambda: None)  # the main process records meanwhile
                if on_epoch is not None and self.accelerator.is_main_process:
                    on_epoch(line, len(history))
        finally:
            if folder is not None:
                folder.close()
        return MixtureResult(self.supernet.search_space, self._numbers(), tuple(history))

    def epoch(self, epoch: int) -> Epoch:
        """Trains one epoch: the weights, then the logits except during warm-up; then the recorder looks."""
        started = time.perf_counter()
        torch.manual_seed(derive_seed(self.seed, "dropout", epoch, self.accelerator.process_index))
        line: Epoch = {"trial": epoch, "temperature": self.mixture_settings.temperature_at(epoch)}
        line["loss"] = self._train_weights(epoch)
        if epoch >= self.mixture_settings.warmup_epochs:
            line["logits_loss"] = self._train_logits(epoch)
        share_buffers(self.mixture, self.accelerator)
        probabilities = self.logits.detach().softmax(-1)
        if self.recorder is not None:
            self.recorder.record(self.mixture, probabilities)
        line["entropy"] = float(torch.special.entr(probabilities).sum(-1).mean())
        if self._term is not None:
            line["cost"] = float(self._term.cost(probabilities))
        return {**line, "seconds": round(time.perf_counter() - started, 4)}

    # -- inside -------------------------------------------------------------------------------------------------------

    def _train_weights(self, epoch: int) -> float:
        tau = self.mixture_settings.temperature_at(epoch)

        def batches() -> Iterator[list[Batch]]:
            for step, parts in enumerate(self._batches("train", epoch)):
                weights = gumbel_softmax(self.logits.detach(), self._noise("train", epoch, step), tau)
                yield [{**part, "weights": weights} for part in parts]

        return self._pass(self.mixture, self._weights_state, self.settings, batches(), epoch, 0)

    def _train_logits(self, epoch: int) -> float:
        tau = self.mixture_settings.temperature_at(epoch)

        def batches() -> Iterator[list[Batch]]:
            for step, parts in enumerate(self._batches("validation", epoch)):
                noise = self._noise("validation", epoch, step)
                yield [{**part, "noise": noise, "temperature": torch.tensor(tau)} for part in parts]

        settings = self.mixture_settings.of_logits(self.settings)
        self.mixture.train()
        trained = [p for p in self.mixture.parameters() if p.requires_grad]
        for parameter in trained:
            parameter.requires_grad_(False)
        try:
            return self._pass(self._of_logits, self._logits_state, settings, batches(), epoch, 1)
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)

    def _pass(
        self,
        module: nn.Module,
        state: SharedOptimizerState,
        settings: TrainingSettings,
        batches: Iterator[list[Batch]],
        epoch: int,
        phase: int,
    ) -> float:
        parameters = dict(module.named_parameters())
        windows = {name: Window(name) for name in parameters}
        optimizer = settings.build_optimizer(parameters.values())
        wrapped, prepared = self.accelerator.prepare(module, optimizer)
        state.lend(optimizer, windows, parameters)  # after `prepare`, which may copy an optimizer's state
        steps = self.steps[phase]
        loss = train_pass(
            wrapped,
            prepared,
            batches,
            settings,
            self.accelerator,
            first_step=epoch * steps,
            total_steps=self.mixture_settings.epochs * steps,
            what=f"epoch {epoch} of the {('weights', 'logits')[phase]} of the mixture",
            on_step=self._on_step(epoch, phase),
        )
        state.take_back(optimizer, windows, parameters)
        del wrapped, prepared, optimizer
        release_model(module, self.accelerator)
        return loss

    def _on_step(self, epoch: int, phase: int) -> Callable[[int], None] | None:
        if (on_step := self.on_step) is None:
            return None
        warming = epoch < self.mixture_settings.warmup_epochs
        total = self.steps[0] + (0 if warming else self.steps[1])
        before = self.steps[0] * phase
        return lambda done: on_step(before + done, total)

    def _batches(self, split: Any, epoch: int) -> Iterator[list[Batch]]:
        seed = derive_seed(self.seed, split, epoch)
        return training_batches(self.task, split, self.settings, self.accelerator, seed)

    def _noise(self, split: str, epoch: int, step: int) -> torch.Tensor:
        seed = derive_seed(self.seed, "gumbel", split, epoch, step)
        return gumbel_noise(tuple(self.logits.shape), seed).to(self.logits.device)

    def _numbers(self) -> FloatArray:
        return np.asarray(self.logits.detach().cpu().double().numpy())

    # -- resume -------------------------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decides the outcome, as plain JSON. It is compared on resume."""
        model = {k: v for k, v in self.supernet.config.to_dict().items() if k not in ("transformers_version", "dtype")}
        cost = None if self.cost is None else self.cost.to_dict()
        digest = hashlib.sha256(json.dumps(cost).encode()).hexdigest()[:16]
        return {
            "training": "mixture",
            "supernet": type(self.supernet).__name__,
            "model": model,
            "task": {"name": self.task.name, "fingerprint": self.task.fingerprint()},
            "weights": self.settings.to_dict(),
            "logits": self.mixture_settings.to_dict(),
            "cost": None if cost is None else {"name": cost["name"], "unit": cost["unit"], "digest": digest},
            "recorder": None if self.recorder is None else dict(self.recorder.config),
            "mixed_precision": str(self.accelerator.mixed_precision),
            "seed": self.seed,
            "environment": environment_of(self.accelerator),
        }

    def save(self, folder: Path) -> None:
        """Writes the state into an empty folder."""
        states = {
            "supernet": self.supernet.state_dict(),
            "logits": {"logits": self.logits.detach()},
            "weights_optimizer": self._weights_state.state_dict(),
            "logits_optimizer": self._logits_state.state_dict(),
            "recorder": {} if self.recorder is None else self.recorder.state_dict(),
        }
        for name, state in states.items():
            save_file({key: t.contiguous() for key, t in state.items()}, folder / f"{name}.safetensors")

    def load(self, folder: Path) -> None:
        """Restores what `save` wrote."""
        saved = {path.stem: load_file(path) for path in folder.glob("*.safetensors")}
        self.supernet.load_state_dict(saved["supernet"])
        with torch.no_grad():
            self.logits.copy_(saved["logits"]["logits"])
        self._weights_state.load_state_dict(saved["weights_optimizer"])
        self._logits_state.load_state_dict(saved["logits_optimizer"])
        if self.recorder is not None:
            self.recorder.load_state_dict(saved["recorder"])


def _check(
    supernet: Supernet, task: Task, settings: TrainingSettings, accelerator: Accelerator, cost: CostTable | None
) -> None:
    check_not_dense(task, "A mixture of all candidates")
    for split in ("train", "validation"):
        check_batch_size(task, split, settings, accelerator)
    check_batch_norm_of(supernet, task, settings, accelerator)
    if not callable(getattr(supernet, "mixture", None)):
        raise InvalidInputError(
            "The supernet must have a `mixture()`, a network of all candidates at once, but "
            f"`{type(supernet).__name__}` has none. `FBNetSupernetForImageClassification` has."
        )
    if supernet.config.num_labels != task.num_labels:
        raise InvalidInputError(
            f"The supernet must have the task's {task.num_labels} labels, but has {supernet.config.num_labels}."
        )
    if accelerator.mixed_precision == "fp16":
        raise InvalidInputError(
            "A mixture must not be trained in fp16, whose loss scale no checkpoint holds, so that a killed training "
            'would go on to other bits. Take `mixed_precision` "bf16" or "no".'
        )
    if cost is not None and cost.space != supernet.search_space:
        raise InvalidInputError(f"`{cost.name}` must price `{supernet.search_space.name}`, but is of another space.")
