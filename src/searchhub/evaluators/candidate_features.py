"""How each candidate of a supernet learns: the table [layer, candidate, epoch] that DC-NAS clusters by (Sec. 4.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from searchhub.data.task import Batch, Split, Task
from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.evaluators.features import cosines, layer_outputs
from searchhub.models.supernet import Supernet
from searchhub.training.batches import derive_seed


class CandidateFeatures:
    """After every epoch of a mixture's training, the globally pooled mean output of every candidate of every layer.

    The paper does not say what the output of a candidate is while all stand in one network. Here it is o_k(x): what
    candidate k makes, its residual connection with it, of the x that the mixture hands to its layer, where the layers
    before are mixed by their probabilities softmax(a).

    1. It is not multiplied by its weight m_k in the mixture. A factor leaves a cosine as it is, and one near 0 would
       only lose digits.
    2. x is what the layers before give on average, so that one pass serves all candidates, and nothing is drawn: the
       same state gives the same features. An architecture's features are then a gather from the table.
    3. BatchNorm uses the mixture's running statistics, and there is no dropout, as in validation. A block ends in
       BatchNorm, so its mean output is about that layer's bias, and the mean of x where there is a residual connection.

    Args:
        supernet: Whose mixture is trained; names the candidates of each layer.
        task: Whose pictures.
        accelerator: Of this process; each takes its share of the pictures.
        num_images: n, drawn once from `split`, not augmented (DC-NAS: 10,000).
        split: Where from.
        batch_size: Pictures of one forward pass, per process.
        seed: Of the draw.

    Raises:
        InvalidInputError: The split holds fewer pictures, or there are fewer pictures than processes.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: Task,
        accelerator: Accelerator,
        *,
        num_images: int = 10_000,
        split: Split = "train",
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        if not accelerator.num_processes <= num_images <= task.size(split) or batch_size < 1:
            raise InvalidInputError(
                f"`num_images` must be from {accelerator.num_processes}, the number of processes, to "
                f"{task.size(split)}, the size of `{split}` of `{task.name}`, and `batch_size` at least 1, but they "
                f"are {num_images} and {batch_size}."
            )
        choices = supernet.search_space.choices
        self._names = [f"layers.{i}.{c}" for i, choice in enumerate(choices) for c in choice.candidates]
        self._shape = (len(choices), len(choices[0].candidates))
        self._task, self._split, self._batch_size, self._accelerator = task, split, batch_size, accelerator
        order = torch.randperm(
            task.size(split), generator=torch.Generator().manual_seed(derive_seed(seed, "feature images"))
        )
        self._indices = order[:num_images].sort().values
        self._epochs: dict[str, list[torch.Tensor]] = {name: [] for name in self._names}
        self.config: dict[str, Any] = {
            "features": "outputs",
            "num_images": num_images,
            "split": split,
            "batch_size": batch_size,
            "seed": seed,
        }

    @torch.no_grad()
    def record(self, mixture: nn.Module, probabilities: torch.Tensor) -> None:
        """To call after every epoch, on every process.

        Args:
            mixture: Of the supernet.
            probabilities: softmax(a), float [layers, candidates].
        """
        rank, processes = self._accelerator.process_index, self._accelerator.num_processes
        n = len(self._indices)
        mine = self._indices[n * rank // processes : n * (rank + 1) // processes]
        with self._accelerator.autocast():
            means = layer_outputs(mixture, self._names, self._batches(mine, probabilities))
        for name, mean in zip(self._names, means, strict=True):
            if processes > 1:
                mean = self._accelerator.reduce(mean * (len(mine) / n), reduction="sum")
            self._epochs[name].append(mean.cpu())

    def table(self) -> FloatArray:
        """Cosines to epoch 1 (Eq. 7), [layers, candidates, epochs], for `cluster_codes`; the first column is 1."""
        rows = [cosines(vectors) for vectors in self._epochs.values()]
        return np.array(rows).reshape(*self._shape, -1)

    def _batches(self, indices: torch.Tensor, probabilities: torch.Tensor) -> Iterator[Batch]:
        for start in range(0, len(indices), self._batch_size):
            part = indices[start : start + self._batch_size]
            yield {
                **self._task.batch(self._split, part, device=self._accelerator.device),
                "weights": probabilities,
            }

    # -- files --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The mean outputs, [epochs, channels] a candidate, for safetensors."""
        return {name: torch.stack(vectors) for name, vectors in self._epochs.items() if vectors}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what `state_dict` gave."""
        # Copies, for a dot product of rows that begin at any address rounds otherwise.
        self._epochs = {name: [row.clone() for row in state.get(name, ())] for name in self._names}
