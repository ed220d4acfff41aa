"""A task with fewer training examples, the same share of each class: the reduced data set of DC-NAS Eq. 2."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from searchhub.data.task import Batch, Split, Task, check_not_dense
from searchhub.data.view import TaskView
from searchhub.errors import InvalidInputError


class ReducedTask(TaskView):
    """Another task with only some of its training examples; the other splits stay as they are.

    If a class has n examples, share · n of them are drawn, halves rounded up, so that the classes keep their
    proportions.

    Args:
        task: The task to view, a classification.
        share: Share of the training split that is kept, in (0, 1].
        seed: Seed of the draw.

    Raises:
        InvalidInputError: A class would be empty, or the labels are not classes.
    """

    def __init__(self, task: Task, share: float, *, seed: int = 0) -> None:
        check_not_dense(task, "Reducing a data set by class")
        super().__init__(task)
        if not 0 < share <= 1:
            raise InvalidInputError(f"`0 < share <= 1` must hold, but got {share}.")
        self.share = share
        self.indices = _balanced(task, share, seed)

    def _of_task(self, split: Split, indices: torch.Tensor) -> torch.Tensor:
        if split == "full":
            raise InvalidInputError("A reduced task has no split `full`: train finally on the task itself.")
        return self.indices[indices] if split == "train" else indices

    def size(self, split: Split) -> int:
        return len(self.indices) if split == "train" else self.task.size(split)

    def batch(self, split: Split, indices: torch.Tensor, *, device: torch.device, seed: int | None = None) -> Batch:
        return self.task.batch(split, self._of_task(split, indices), device=device, seed=seed)

    def prefetch(self, split: Split, batches: Sequence[torch.Tensor], *, seed: int | None = None) -> None:
        """Passes the announcement on to a task that reads ahead."""
        if (prefetch := getattr(self.task, "prefetch", None)) is not None:
            prefetch(split, [self._of_task(split, batch) for batch in batches], seed=seed)

    def labels(self, split: Split) -> torch.Tensor:
        return self.task.labels(split)[self._of_task(split, torch.arange(self.size(split)))]

    def fingerprint(self) -> str:
        return self.fingerprint_with(self.indices)


def _balanced(task: Task, share: float, seed: int) -> torch.Tensor:
    """Returns positions in the training split, int64 [n], in increasing order."""
    labels = task.labels("train")
    if labels.is_floating_point():
        raise InvalidInputError(f"Labels of `{task.name}` must be classes to be reduced by class, but are numbers.")
    generator = torch.Generator().manual_seed(seed)
    kept = []
    for label, name in enumerate(task.label_names):
        own = (labels == label).nonzero().flatten()
        amount = int(share * len(own) + 0.5)
        if amount < 1:
            raise InvalidInputError(
                f"A share of {share} of the training examples must leave every class, but leaves none of the "
                f"{len(own)} of `{name}`. "
                + (f"Take a share of at least {1 / len(own):.3g}." if len(own) else "Add some, or drop the class.")
            )
        kept.append(own[torch.randperm(len(own), generator=generator)[:amount]])
    return torch.cat(kept).sort().values
