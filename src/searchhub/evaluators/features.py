"""Describes how a network learns: how far each layer has turned since epoch 1 (DC-NAS Sec. 3.2, Eqs. 6 and 7)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from searchhub.data.task import Batch
from searchhub.errors import InvalidInputError

FeatureKind = Literal["outputs", "parameters"]
""""outputs" is Eq. 7, the paper's default. "parameters" is Eq. 6, for layers that all have parameters."""


def pooled_mean(output: Tensor) -> Tensor:
    """Computes the o of Eq. 7: a layer's output averaged over a batch, then over space, so that channels are left.

    Args:
        output: Output of a layer, [batch, channels, *space].

    Returns:
        Means [channels], in the output's precision but at least float32.
    """
    wide = output.detach().to(torch.promote_types(output.dtype, torch.float32))
    return wide.mean(dim=(0, *range(2, wide.ndim)))


def cosines(outputs: Sequence[Tensor]) -> list[float]:
    """Computes Eqs. 6 and 7: the cosine between what a layer was after epoch 1 and what it was after epoch e.

    1. The first cosine is 1.
    2. A layer that is zero both times has not turned: its cosine is 1. If it is zero only once, the cosine is 0.
    3. A value that is not finite, even if it is the same twice, gives NaN, which `cluster_features` and `cluster_codes`
       refuse by layer and epoch.

    >>> cosines([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([3.0, 0.0])])
    [1.0, 0.0, 1.0]

    Args:
        outputs: One vector [n] per epoch, e = 1, 2, …

    Returns:
        One number in [-1, 1] per epoch.
    """
    return [_cosine(outputs[0], output) for output in outputs]


def _cosine(first: Tensor, later: Tensor) -> float:
    a, b = _double(first).cpu(), _double(later).cpu()
    if not (a.isfinite().all() and b.isfinite().all()):
        return math.nan
    if torch.equal(a, b):
        return 1.0
    scale = a.norm() * b.norm()
    return 0.0 if scale == 0 else float((a @ b / scale).clamp(-1.0, 1.0))


def layer_parameters(model: nn.Module, layers: Sequence[str]) -> list[Tensor]:
    """Returns the θ of Eq. 6: all parameters of each layer as one vector, a copy.

    Raises:
        InvalidInputError: A layer has no parameters, or the model has no such layer.
    """
    vectors = []
    for name in layers:
        parameters = [p.detach().flatten().clone() for p in _layer(model, name).parameters()]
        if not parameters:
            raise InvalidInputError(
                f"Every layer must have parameters for features of parameters (Eq. 6), but `{name}` has none. Take "
                "features of outputs (Eq. 7)."
            )
        vectors.append(torch.cat(parameters))
    return vectors


@torch.no_grad()
def layer_outputs(model: nn.Module, layers: Sequence[str], batches: Iterable[Batch]) -> list[Tensor]:
    """Computes the o of Eq. 7 for several layers: `pooled_mean` over all examples of some batches.

    The model runs as in validation: without dropout, with BatchNorm's running statistics.

    Args:
        model: Any model that takes batches. Labels are left out.
        layers: Names of modules that each return one tensor [batch, channels, *space].
        batches: Batches that are the same at every call, so that only the model differs.

    Returns:
        One vector [channels] per layer.

    Raises:
        InvalidInputError: There are no examples, the model has no such layer, or the layer's output is something else.
    """
    sums: list[Tensor | float] = [0.0] * len(layers)
    examples = 0
    training = model.training

    def add(index: int, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim < 2:
            found = f"one of {list(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
            raise InvalidInputError(
                f"Features need layers whose output is a tensor [batch, channels, *space], but that of "
                f"`{layers[index]}` is {found}. Networks of such layers cannot be divided by their outputs (Eq. 7)."
            )
        sums[index] = sums[index] + _double(pooled_mean(output)) * len(output)

    hooks = [
        _layer(model, name).register_forward_hook(lambda module, inputs, output, index=index: add(index, output))
        for index, name in enumerate(layers)
    ]
    try:
        model.eval()
        for batch in batches:
            inputs = {name: value for name, value in batch.items() if name != "labels"}
            examples += len(next(iter(inputs.values())))
            model(**inputs)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    if not examples:
        raise InvalidInputError("Features need at least one example, but there is no batch.")
    return [torch.as_tensor(total / examples) for total in sums]


class FeatureRecorder:
    """Compares a model's layers after each epoch with what they were after the first, of which alone it keeps a copy.

    Args:
        layers: Names of the model's modules. None stands for a choice that left its layer out, which is zero after
            every epoch.
        kind: "outputs" for Eq. 7, or "parameters" for Eq. 6.

    Raises:
        InvalidInputError: A layer that is left out has no parameters for Eq. 6.
    """

    def __init__(self, layers: Sequence[str | None], *, kind: FeatureKind = "outputs") -> None:
        if kind == "parameters" and None in layers:
            raise InvalidInputError(
                f"Every layer must have parameters for features of parameters (Eq. 6), but layer {layers.index(None)} "
                "is left out. Take features of outputs (Eq. 7)."
            )
        self.layers = tuple(layers)
        self.kind = kind
        self._present = [name for name in layers if name is not None]
        self._first: list[Tensor] = []
        self._columns: list[list[float]] = []

    @property
    def epochs(self) -> int:
        """Number of epochs that are recorded."""
        return len(self._columns)

    def record(self, model: nn.Module, batches: Iterable[Batch]) -> None:
        """Records an epoch. Call it after every epoch, with the same examples each time."""
        if self.kind == "parameters":
            now = layer_parameters(model, self._present)
        else:
            now = layer_outputs(model, self._present, batches)
        self._first = self._first or now
        turned = iter([_cosine(first, later) for first, later in zip(self._first, now, strict=True)])
        self._columns.append([1.0 if name is None else next(turned) for name in self.layers])

    def features(self) -> list[list[float]]:
        """Returns cosines [layers, epochs]; the first column is 1, and so is the row of a layer that is left out."""
        return [list(row) for row in zip(*self._columns, strict=True)]


def _double(tensor: Tensor) -> Tensor:
    """Returns the tensor in float64, which Apple's GPUs do not have."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def _layer(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise InvalidInputError(f"`{name}` must be a module of `{type(model).__name__}`, but {error}.") from error
