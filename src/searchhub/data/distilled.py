"""Tasks whose batches hold the outputs of a teacher: to learn from, and to be judged by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from searchhub.data.task import Batch, Measured, Split, Tally, Task, check_not_dense
from searchhub.data.view import TaskView
from searchhub.errors import InvalidInputError

TEACHER_LOGITS = "teacher_logits"
"""Name of the teacher's logits in a batch."""

TEACHER_HIDDEN = "teacher_hidden"
"""Name of the teacher's last hidden states in a batch."""

OF_TEACHER = (TEACHER_LOGITS, TEACHER_HIDDEN)
"""What a batch holds beside inputs and labels."""

DISTILLATION = "Learning from a teacher's outputs"
"""Words for errors about tasks of which a teacher's logits are too many to be kept."""

FIDELITY, AGREEMENT = "fidelity", "agreement"
"""Metrics of a network that is judged by a teacher."""


@dataclass(frozen=True)
class HiddenStates:
    """The last hidden states of all tokens of some texts.

    Args:
        values: float16 [tokens, hidden size]; it may lie on the disk.
        starts: Place of each text's first token in it, int64 [texts].
        lengths: Number of tokens of each text, int64 [texts].
    """

    values: NDArray[np.float16]
    starts: torch.Tensor
    lengths: torch.Tensor

    def select(self, rows: torch.Tensor) -> HiddenStates:
        """Returns those of some texts, int64 [n], in this order."""
        return HiddenStates(self.values, self.starts[rows], self.lengths[rows])

    def padded(self, rows: torch.Tensor, length: int) -> torch.Tensor:
        """Returns those of some texts, float32 [n, length, hidden size], with zeros for padding."""
        position = torch.arange(length)
        real = position < self.lengths[rows][:, None]
        found = torch.zeros(len(rows), length, self.values.shape[1])
        tokens = (self.starts[rows][:, None] + position)[real]
        found[real] = torch.from_numpy(self.values[tokens.numpy()].astype(np.float32))
        return found


class DistilledTask(TaskView):
    """Another task whose batches also hold the outputs of a teacher, which are computed once.

    `searchhub.training.distillation.distilled` makes it.

    Args:
        task: The task to view.
        logits: The teacher's logits, float [n, labels], for the split "full".
        hidden: The teacher's last hidden states for that split. None: batches hold none.

    Raises:
        InvalidInputError: The logits or hidden states have another shape; or training batches are augmented, so that a
            teacher would have to see each batch.
    """

    def __init__(self, task: Task, logits: torch.Tensor, hidden: HiddenStates | None = None) -> None:
        check_not_dense(task, DISTILLATION)
        super().__init__(task)
        if task.augmented:
            raise InvalidInputError(
                f"Batches of a distilled task must not be augmented, but those of `{task.name}` are."
            )
        if logits.shape != (task.size("full"), task.num_labels):
            raise InvalidInputError(
                f"`logits` must be [{task.size('full')}, {task.num_labels}], but are {list(logits.shape)}."
            )
        if hidden is not None and len(hidden.starts) != task.size("full"):
            raise InvalidInputError(f"`hidden` must be of {task.size('full')} texts, but is of {len(hidden.starts)}.")
        self.logits, self.hidden = logits, hidden
        train = task.size("train")
        self._first = {"full": 0, "train": 0, "validation": train}

    def batch(self, split: Split, indices: torch.Tensor, *, device: torch.device, seed: int | None = None) -> Batch:
        batch = self.task.batch(split, indices, device=device, seed=seed)
        if seed is not None and split in self._first:
            rows = indices + self._first[split]
            batch[TEACHER_LOGITS] = self.logits[rows].to(device)
            if self.hidden is not None:
                batch[TEACHER_HIDDEN] = self.hidden.padded(rows, batch["input_ids"].shape[1]).to(device)
        return batch

    def order(self, split: Split, *, batch_size: int, seed: int) -> torch.Tensor:
        return self.task.order(split, batch_size=batch_size, seed=seed)

    def fingerprint(self) -> str:
        return self.fingerprint_with(self.logits)


class JudgedTask(DistilledTask):
    """Another task whose labels are a teacher's outputs: networks learn from these, and are judged by them.

    No label is read. The loss on validation examples is the distance to the teacher's outputs, so that the score
    exp(-validation loss) says how faithful a network is to it:

    - for classes the Kullback-Leibler divergence KL(teacher ‖ network), a mean over examples in nats;
    - for a regression the mean squared difference.

    Metrics are "fidelity", exp(-distance), and for classes "agreement", the share of examples of which both say the
    same class.

    Args:
        task: The task to view.
        logits: The teacher's logits, float [n, labels], for the split "full".
        hidden: The teacher's last hidden states for that split. None: batches hold none.
        judged: Largest number of validation examples that judge. They lie evenly over the split. None: all of them.

    Raises:
        InvalidInputError: The same as for `DistilledTask`, or `judged` is not positive.
    """

    def __init__(
        self,
        task: Task,
        logits: torch.Tensor,
        hidden: HiddenStates | None = None,
        *,
        judged: int | None = None,
    ) -> None:
        super().__init__(task, logits, hidden)
        if judged is not None and judged < 1:
            raise InvalidInputError(f"`judged >= 1` must hold, but got {judged}.")
        self.metric_name = FIDELITY
        size = task.size("validation")
        count = size if judged is None else min(judged, size)
        self._judging = torch.arange(count) * size // count

    def size(self, split: Split) -> int:
        return len(self._judging) if split == "validation" else self.task.size(split)

    def batch(self, split: Split, indices: torch.Tensor, *, device: torch.device, seed: int | None = None) -> Batch:
        if split not in self._first:
            return super().batch(split, indices, device=device, seed=seed)
        rows = self._judging[indices] if split == "validation" else indices
        batch = super().batch(split, rows, device=device, seed=seed)
        batch.pop("labels", None)
        if seed is None:
            batch["labels"] = self.logits[rows + self._first[split]].to(device)
        return batch

    def labels(self, split: Split) -> torch.Tensor:
        if split not in self._first:
            return super().labels(split)
        rows = self._judging if split == "validation" else torch.arange(self.size(split))
        return self.logits[rows + self._first[split]]

    def tally(self, logits: torch.Tensor, labels: torch.Tensor) -> Tally:
        return Task.tally(self, logits, labels)

    def total(self, tally: Tally) -> Measured:
        logits, teacher = tally
        distance = self.loss(logits, teacher)
        metrics = {FIDELITY: math.exp(-distance) if math.isfinite(distance) else 0.0}
        if logits.shape[-1] > 1:
            metrics[AGREEMENT] = float((logits.argmax(-1) == teacher.argmax(-1)).double().mean())
        return Measured(metrics, distance)

    def loss(self, logits: torch.Tensor, references: torch.Tensor) -> float:
        if logits.shape[-1] == 1:
            return float(torch.nn.functional.mse_loss(logits.double(), references.double()))
        mine, theirs = (torch.log_softmax(outputs.double(), -1) for outputs in (logits, references))
        return float((theirs.exp() * (theirs - mine)).sum(-1).mean())

    def search_score(self, metrics: Any) -> float:
        return float(metrics[FIDELITY])

    def fingerprint(self) -> str:
        return self.fingerprint_with(torch.cat([self.logits.flatten(), self._judging.float()]))
