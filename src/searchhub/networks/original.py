"""Fine-tunes a whole checkpoint on the task before a compression search, as start, teacher and baseline."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from searchhub.costs.counting import count_architecture
from searchhub.costs.macs import macs_per_module
from searchhub.costs.params import params_per_module
from searchhub.data.task import Task
from searchhub.distributed import OnMain
from searchhub.errors import InvalidInputError, RunMismatchError
from searchhub.files import read_json_object
from searchhub.hub.folder import save_supernet
from searchhub.models.identity import weights_digest
from searchhub.models.supernet import Supernet
from searchhub.networks.identity import training_identity
from searchhub.networks.network import ORIGINAL_FACTS
from searchhub.run_folder import ORIGINAL
from searchhub.space import Architecture
from searchhub.training.accelerator import Processes
from searchhub.training.batches import derive_seed
from searchhub.training.fit import TrainOutput, fit
from searchhub.training.loop import StepCallback, outputs
from searchhub.training.settings import TrainingSettings

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class AfterTraining:
    """A change to a supernet after its checkpoint is fine-tuned, e.g. ordering its parts by importance.

    Args:
        change: Function that changes the supernet in place. The output of the whole network must stay the same.
        settings: All settings of the change, as plain JSON. They are compared when a run goes on.
    """

    change: Callable[[Supernet], None]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class OriginalTrainer:
    """Fine-tunes a checkpoint on a task before its parts are searched, once per run.

    The checkpoint learns from the train split alone, because validation examples score the search.

    Args:
        supernet: The supernet of the checkpoint, which is trained in place.
        full_architecture: The architecture that leaves nothing out, whether or not the space offers it.
        task: Data and metric.
        settings: Optimizer, schedule and batch.
        accelerator: The accelerator of this process.
        epochs: Passes over the train split. 0: the checkpoint is fine-tuned already.
        seed: The seed of order and dropout.
        folder: The run's folder.
        then: The change to the supernet afterwards. None: it is not changed.
        note: What readers of its figures should know, for its facts.
    """

    supernet: Supernet
    full_architecture: Architecture
    task: Task
    settings: TrainingSettings
    accelerator: Accelerator
    epochs: int
    seed: int
    folder: Path
    then: AfterTraining | None = None
    note: str = ""

    def train(self, on_step: StepCallback | None = None) -> dict[str, Any]:
        """Trains the checkpoint, or loads its weights from an earlier run of the same settings.

        Returns:
            The facts of the checkpoint, with its metrics on the test split.

        Raises:
            InvalidInputError: It is taken as it is and classifies no better than chance.
            RunMismatchError: The run's folder holds a checkpoint that was fine-tuned otherwise, and a search may go on
                from it.
        """
        self.supernet.to(self.accelerator.device)
        identity = self._identity()
        facts = self._finished(identity)
        if facts is not None:
            weights = load_file(self.folder / ORIGINAL / WEIGHTS)
            self.supernet.load_state_dict(weights, assign=False)
            return facts
        fitted = self._fit(on_step)
        self._check_above_chance()
        if self.then is not None:
            self.then.change(self.supernet)
        facts = {"identity": identity, "costs": self._costs(), **fitted.to_dict()}
        if not self.epochs:
            facts["loss"] = None  # there was no training
        if self.note:
            facts["note"] = self.note
        if self.accelerator.is_main_process:
            save_supernet(self.supernet, self.folder / ORIGINAL, {ORIGINAL_FACTS: facts})
        self.accelerator.wait_for_everyone()
        return facts

    def _fit(self, on_step: StepCallback | None) -> TrainOutput:
        # Nothing is sliced off the whole network, so that its parameters are the supernet's own.
        model = self.supernet.subnet_of_any_size(self.full_architecture)
        return fit(
            model,
            self.task,
            self.settings,
            self.accelerator,
            epochs=self.epochs,
            seed=self.seed,
            train_on="train",
            on_step=on_step,
        )

    def _check_above_chance(self) -> None:
        """Checks that it classifies validation examples better than their most frequent class does alone."""
        if self.task.labels("validation").is_floating_point():
            return
        model = self.supernet.subnet_of_any_size(self.full_architecture)
        logits, labels = outputs(model, self.task, "validation", self.settings.eval_batch_size, self.accelerator)
        predictions = self.task.predictions(logits)
        right, counts = int((predictions == labels).sum()), labels.bincount(minlength=self.task.num_labels)
        if right > int(counts.max()) or int((counts > 0).sum()) < 2:
            return
        said = (
            f"of {len(labels):,} validation examples it gets {right:,} right, and the most frequent class, "
            f"`{self.task.label_names[int(counts.argmax())]}`, alone {int(counts.max()):,}"
        )
        if not self.epochs:
            raise InvalidInputError(
                f"An original that is taken as it is must classify better than chance to be searched, but {said}. If "
                "its labels stand in another order, name them in that by `--checkpoint_labels`; else fine-tune it "
                "here: `--original_epochs 3`."
            )
        if self.accelerator.is_main_process:
            logger.warning(
                "The original is no better than chance after its fine-tuning: %s. Raise `--original_epochs`.", said
            )

    def _costs(self) -> dict[str, int]:
        counts = {"macs": macs_per_module, "params": params_per_module}
        return {
            name: count_architecture(self.supernet, self.full_architecture, count)[""] for name, count in counts.items()
        }

    def _identity(self) -> dict[str, Any]:
        return training_identity(
            self.supernet.config,
            self.task,
            self.settings,
            self.accelerator,
            epochs=self.epochs,
            seed=self.seed,
            weights=weights_digest(self.supernet),
            then=None if self.then is None else dict(self.then.settings),
        )

    def _finished(self, identity: dict[str, Any]) -> dict[str, Any] | None:
        facts = OnMain(Processes(self.accelerator))(lambda: read_json_object(self.folder / ORIGINAL / ORIGINAL_FACTS))
        if facts is not None:
            before = facts.get("identity") or {}
            changed = [name for name, value in identity.items() if before.get(name) != value]
            if changed:
                raise RunMismatchError(
                    f"`{self.folder / ORIGINAL}` must be of the same settings to go on from, but these changed: "
                    f"{', '.join(f'`{name}`' for name in changed)}. Give those of then, or choose another folder."
                )
        return facts


def importance_batches(
    task: Task, examples: int, batch_size: int, device: torch.device, seed: int
) -> list[dict[str, Any]]:
    """Returns batches of randomly drawn training examples to measure importance on, the same on every process."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "importance"))
    drawn = torch.randperm(task.size("train"), generator=generator)[:examples]
    return [task.batch("train", part, device=device) for part in drawn.split(batch_size)]
