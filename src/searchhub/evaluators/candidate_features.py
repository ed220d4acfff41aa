"""Records how each candidate of a supernet learns: the table [layer, candidate, epoch] of DC-NAS Sec. 4.2."""

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
    """Records, after every epoch of a mixture's training, the globally pooled mean output of each layer's candidates.

    The paper does not say what the output of a candidate is while all stand in one network. Here it is o_k(x): what
    candidate k, with its residual connection, makes of the x that the mixture passes to its layer, where the earlier
    layers are mixed by their probabilities softmax(a).

    1. The output is not multiplied by its weight m_k in the mixture. A factor leaves a cosine as it is, and one near 0
       would only lose digits.
    2. x is what the earlier layers yield on average, so that one pass serves all candidates and nothing is drawn: the
       same state gives the same features. The features of an architecture are then a gather from the table.
    3. BatchNorm uses the mixture's running statistics, and there is no dropout, as in validation. A block ends in
       BatchNorm, so its mean output is about that layer's bias, plus the mean of x if there is a residual connection.

    Args:
        supernet: The supernet whose mixture is trained; it names the candidates of each layer.
        task: The task that holds the pictures.
        accelerator: Accelerator of this process; each process takes its share of the pictures.
        num_images: Number of pictures n, drawn once from `split`, not augmented (DC-NAS: 10,000).
        split: Split that holds the pictures.
        batch_size: Number of pictures of one forward pass, per process.
        seed: Seed of the draw.

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
        """Records an epoch. Call it after every epoch, on every process.

        Args:
            mixture: Mixture of the supernet.
            probabilities: The probabilities softmax(a), float [layers, candidates].
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
        """Returns cosines to epoch 1 (Eq. 7), [layers, candidates, epochs], for `cluster_codes`; column one is 1."""
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
        """Returns the mean outputs, [epochs, channels] per candidate, for safetensors."""
        return {name: torch.stack(vectors) for name, vectors in self._epochs.items() if vectors}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restores what `state_dict` returned."""
        # These are copies, because a dot product of rows that begin at any address rounds differently.
        self._epochs = {name: [row.clone() for row in state.get(name, ())] for name in self._names}
