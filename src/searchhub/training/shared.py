"""Trains shared weights in steps that each take other paths through them.

The paths of a step add their gradients up, an average is taken where several of them share a weight, and one update
goes to the union of their windows. So nothing that no path of the step holds moves, not even through momentum.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from searchhub.data.task import Batch
from searchhub.models.shells import Shells
from searchhub.models.supernet import Supernet, Window
from searchhub.space import Architecture
from searchhub.training.loop import backward
from searchhub.training.settings import TrainingSettings
from searchhub.training.windows import SharedOptimizerState


class SharedWeights:
    """The weights of a supernet with one optimizer, which steps on the union of some paths' windows.

    Args:
        supernet: The supernet.
        settings: Optimizer, clipping and loss.
        accelerator: Accelerator of this process.
        state: The optimizer's state, which follows the weights.
    """

    def __init__(
        self, supernet: Supernet, settings: TrainingSettings, accelerator: Accelerator, state: SharedOptimizerState
    ) -> None:
        self.shells = Shells(supernet)
        self._parameters = dict(supernet.named_parameters())
        self._settings = settings
        self._accelerator = accelerator
        self._state = state
        self._optimizer = settings.build_optimizer([next(iter(self._parameters.values()))])
        self._prepared: Any = None

    def __enter__(self) -> SharedWeights:
        self._prepared = self._accelerator.prepare_optimizer(self._optimizer)
        return self

    def __exit__(self, *error: object) -> None:
        self._prepared = None
        self._accelerator.free_memory()  # it keeps whatever it prepared

    def step(self, paths: Sequence[Architecture], parts: list[Batch], learning_rate: float) -> torch.Tensor:
        """Takes one optimizer step on some paths, all on the same batch, and returns their mean loss.

        Every process makes this call with the same paths and its own share of the batch. Gradients are averaged over
        processes, so that a step equals one of a single process on the joined batch, and all hold the same weights.
        """
        losses, used = [], []
        for path in paths:
            model = self.shells.model(path).train()
            losses.append(backward(model, parts, self._settings, self._accelerator))
            used.append(self.shells.windows(path))
        stepped = self._union(used)
        parameters = [parameter for parameter, _ in stepped]
        self._average_over_processes(parameters)
        group = self._optimizer.param_groups[0]
        group["params"], group["lr"] = parameters, learning_rate
        names = {str(i): parameter for i, parameter in enumerate(parameters)}
        windows = {str(i): window for i, (_, window) in enumerate(stepped)}
        self._optimizer.state.clear()
        self._state.lend(self._optimizer, windows, names)
        if self._settings.max_grad_norm is not None:
            self._accelerator.clip_grad_norm_(parameters, self._settings.max_grad_norm)
        self._prepared.step()
        self._state.take_back(self._optimizer, windows, names)
        for parameter in itertools.chain(parameters, *used):
            parameter.grad = None
        return torch.stack(losses).mean()

    def _union(self, used: Sequence[dict[nn.Parameter, Window]]) -> list[tuple[nn.Parameter, Window]]:
        """Returns parameters that cover the union of some models' windows once, with the mean gradient of each part."""
        if len(used) == 1:
            return list(used[0].items())
        windows: dict[nn.Parameter, Window] = {}
        counts: dict[nn.Parameter, int] = {}
        for own in used:
            windows.update(own)
            for parameter in own:
                counts[parameter] = counts.get(parameter, 0) + 1
        sources: dict[str, list[nn.Parameter]] = {}
        for parameter, window in windows.items():
            sources.setdefault(window.source, []).append(parameter)
        union: list[tuple[nn.Parameter, Window]] = []
        for source, parameters in sources.items():
            if len(parameters) == 1:
                (parameter,) = parameters
                if parameter.grad is not None:
                    parameter.grad /= counts[parameter]
                union.append((parameter, windows[parameter]))
            else:
                pieces = [(windows[p].index, p.grad, counts[p]) for p in parameters]
                union += _pieces(self._parameters[source], source, pieces)
        return union

    def _average_over_processes(self, parameters: Sequence[nn.Parameter]) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self._accelerator.num_processes == 1 or not gradients:
            return
        flat = self._accelerator.reduce(torch.cat([g.reshape(-1) for g in gradients]), reduction="mean")
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def _pieces(
    whole: nn.Parameter, source: str, windows: Sequence[tuple[tuple[slice, ...], torch.Tensor | None, int]]
) -> Iterator[tuple[nn.Parameter, Window]]:
    """Cuts overlapping windows on one parameter along their edges; yields each part with its mean gradient.

    Args:
        whole: The supernet's parameter.
        source: Its name.
        windows: For each window its slices, the sum of its gradients, and how many paths that sum is over.
    """
    shape = whole.shape
    boxes = [
        [(index[dim] if dim < len(index) else slice(None)).indices(n)[:2] for dim, n in enumerate(shape)]
        for index, *_ in windows
    ]
    edges = [sorted({edge for box in boxes for edge in box[dim]}) for dim in range(len(shape))]
    for cell in itertools.product(*(itertools.pairwise(own) for own in edges)):
        total: torch.Tensor | None = None
        paths = 0
        for box, (_, gradient, count) in zip(boxes, windows, strict=True):
            if gradient is None or any(a < low or b > high for (a, b), (low, high) in zip(cell, box, strict=True)):
                continue
            own = gradient[tuple(slice(a - low, b - low) for (a, b), (low, _) in zip(cell, box, strict=True))]
            total = own.clone() if total is None else total + own
            paths += count
        if total is not None:
            index = tuple(slice(a, b) for a, b in cell)
            part = nn.Parameter(whole.data[index])
            part.grad = total / paths
            yield part, Window(source, index)
