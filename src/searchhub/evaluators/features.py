"""How a network learns, as features: how far each layer has turned since epoch 1 (DC-NAS Sec. 3.2, Eqs. 6 and 7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from searchhub.data.task import Batch
from searchhub.errors import InvalidInputError

FeatureKind = Literal["outputs", "parameters"]
""" "outputs": Eq. 7, the default of the paper. "parameters": Eq. 6, for layers that all have some."""


def pooled_mean(output: Tensor) -> Tensor:
    """The o of Eq. 7: a layer's output averaged over a batch, then over space, so that channels are left.

    Args:
        output: [batch, channels, *space].

    Returns:
        [channels], of the output's precision but at least float32.
    """
    wide = output.detach().to(torch.promote_types(output.dtype, torch.float32))
    return wide.mean(dim=(0, *range(2, wide.ndim)))


def cosines(outputs: Sequence[Tensor]) -> list[float]:
    """Eqs. 6 and 7: the cosine between what a layer was after epoch 1 and what it was after epoch e.

    1. The first is always 1.
    2. A layer that is zero both times has not turned: 1. Zero only once: 0.
    3. What is not finite gives NaN, which `cluster_features` and `cluster_codes` refuse by layer and epoch.

    >>> cosines([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([3.0, 0.0])])
    [1.0, 0.0, 1.0]

    Args:
        outputs: One vector [n] an epoch, e = 1, 2, …

    Returns:
        A number in [-1, 1] an epoch.
    """
    first = outputs[0].double().cpu()
    return [_cosine(first, output.double().cpu()) for output in outputs]


def _cosine(a: Tensor, b: Tensor) -> float:
    if torch.equal(a, b):
        return 1.0
    scale = a.norm() * b.norm()
    return 0.0 if scale == 0 else float((a @ b / scale).clamp(-1.0, 1.0))


def layer_parameters(model: nn.Module, layers: Sequence[str]) -> list[Tensor]:
    """The θ of Eq. 6: all parameters of each layer as one vector, a copy.

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
    """The o of Eq. 7 for several layers: `pooled_mean` over all examples of some batches.

    The model is evaluated, as in validation: without dropout, with BatchNorm's running statistics.

    Args:
        model: Any model that takes batches; labels are left out.
        layers: Names of modules that each give one tensor [batch, channels, *space].
        batches: The same at every call, so that only the model differs.

    Returns:
        A vector [channels] a layer.

    Raises:
        InvalidInputError: There are no examples, or the model has no such layer.
    """
    sums: list[Tensor | float] = [0.0] * len(layers)
    examples = 0
    training = model.training

    def add(index: int, output: Tensor) -> None:
        sums[index] = sums[index] + pooled_mean(output).double() * len(output)

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
    """Remembers a model's layers after each epoch and turns them into features.

    Args:
        layers: Names of the model's modules.
        kind: Eq. 7 or Eq. 6.
    """

    def __init__(self, layers: Sequence[str], *, kind: FeatureKind = "outputs") -> None:
        self.layers = tuple(layers)
        self.kind = kind
        self._epochs: list[list[Tensor]] = []

    def record(self, model: nn.Module, batches: Iterable[Batch]) -> None:
        """To call after every epoch, with the same examples each time."""
        if self.kind == "parameters":
            self._epochs.append(layer_parameters(model, self.layers))
        else:
            self._epochs.append(layer_outputs(model, self.layers, batches))

    def features(self) -> list[list[float]]:
        """Cosines [layers, epochs]; the first column is 1."""
        return [cosines(vectors) for vectors in zip(*self._epochs, strict=True)]


def _layer(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise InvalidInputError(f"`{name}` must be a module of `{type(model).__name__}`, but {error}.") from error
