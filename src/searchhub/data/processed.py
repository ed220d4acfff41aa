"""Pictures as users of a published model see them: through the image processor that its folder holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from transformers import AutoImageProcessor

from searchhub.data.encoded import EncodedPictures
from searchhub.data.splits import reason
from searchhub.data.task import Batch, Split, Task
from searchhub.data.view import TaskView
from searchhub.errors import InvalidInputError

LabelsOf: TypeAlias = Callable[[Split, torch.Tensor], torch.Tensor]


class ProcessedPictures(TaskView):
    """Another task of pictures whose inputs a published image processor makes from the pictures of the data set.

    The task's own sizes, mean and deviation are not used, so a figure that is measured here shows that the processor
    is right. Nothing is augmented.

    Args:
        task: The task.
        files: Encoded pictures of "train", "validation" and "test".
        folder: The folder of the model, with its processor.
        labels: Function that returns the labels of some examples of a split.

    Raises:
        InvalidInputError: The folder holds no image processor that can be loaded.
    """

    def __init__(self, task: Task, files: Mapping[str, EncodedPictures], folder: Path, labels: LabelsOf) -> None:
        super().__init__(task)
        self._files, self._labels = files, labels
        try:
            self._processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise InvalidInputError(
                f"`{folder}` must hold an image processor, with which its users make inputs, but: {reason(error)}."
            ) from error

    def batch(self, split: Split, indices: torch.Tensor, *, device: torch.device, seed: int | None = None) -> Batch:
        """As in `Task`, for "train", "validation" and "test"; a seed changes nothing."""
        pictures = [self._files[split].decode(i, split, self.name) for i in indices.tolist()]
        inputs = self._processor(pictures, return_tensors="pt")
        labels = self._labels(split, indices)
        return {name: tensor.to(device) for name, tensor in {**inputs, "labels": labels}.items()}

    def fingerprint(self) -> str:
        return self.task.fingerprint()
