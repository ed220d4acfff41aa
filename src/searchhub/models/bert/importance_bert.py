"""Orders heads and feed-forward neurons by importance: the best come first, since subnets keep the first ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch
from torch import nn
from transformers import BertForSequenceClassification

from searchhub.errors import InvalidInputError
from searchhub.models.bert.supernet_bert import HEADS_DIM, NEURONS_DIM, BertSupernetForSequenceClassification

ImportanceOrder: TypeAlias = Literal["first_order", "fisher", "magnitude"]


def order_by_importance(
    supernet: BertSupernetForSequenceClassification,
    batches: Iterable[Mapping[str, torch.Tensor]] = (),
    order: ImportanceOrder | None = "first_order",
) -> None:
    """Moves the most important heads and feed-forward neurons of every layer to its front, in place.

    The network at full size stays the same function, up to rounding. `supernet.head_order` and `.neuron_order` tell
    which of the checkpoint's heads and neurons stand where, and are saved with it; ordering again composes. Equally
    important ones keep their order. Call this before a search: optimizer state does not move along.

    Args:
        supernet: Supernet of a checkpoint that is fine-tuned on the task. Under an untrained classifier, first-order
            importance is noise.
        batches: Batches to measure importance on, see `importance`.
        order: The measure of importance, see `importance`. None: nothing is changed, not a bit.

    Raises:
        InvalidInputError: One of the reasons that `importance` names.
    """
    if order is None:
        return
    order_by(supernet, importance(supernet, batches, order))


def order_by(supernet: BertSupernetForSequenceClassification, scores: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Moves the heads and neurons with the largest scores to the front of every layer, in place.

    Args:
        supernet: The supernet.
        scores: Scores as `importance` returns them, in the order in which heads and neurons stand.
    """
    head_size = torch.arange(supernet.config.attention_head_size, device=supernet.device)
    with torch.no_grad():
        for i, layer in enumerate(supernet.bert.encoder.layer):
            heads, neurons = (of_layers[i].argsort(descending=True, stable=True) for of_layers in scores)
            _reorder(layer, HEADS_DIM, (heads[:, None] * len(head_size) + head_size).flatten())
            _reorder(layer, NEURONS_DIM, neurons)
            supernet.head_order[i] = supernet.head_order[i][heads]
            supernet.neuron_order[i] = supernet.neuron_order[i][neurons]


def importance(
    supernet: BertSupernetForSequenceClassification,
    batches: Iterable[Mapping[str, torch.Tensor]] = (),
    order: ImportanceOrder = "first_order",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Measures how important each head and each feed-forward neuron is, in the order in which they stand.

    - "first_order" is the mean over examples of |Σ a · ∂L/∂a|: how much the loss would change, to first order, without
      the head or neuron (Michel et al. 2019, Eq. 3; Molchanov et al. 2017). Here a are the outputs of a head, summed
      over tokens and its dimensions, or of a neuron after its activation, summed over tokens. Dropout is off. Padding
      does not count: its gradient is zero.
    - "fisher" is the mean over examples of (Σ a · ∂L/∂a)²: the diagonal of the Fisher information of a mask on heads
      and neurons (Kwon et al. 2022, Eq. 9).
    - "magnitude" is the L2 norm of the weights, without biases. A head has its rows of the query, key and value
      matrices and its columns of the attention's output matrix; a neuron has its row of the first matrix and its column
      of the second.

    Args:
        supernet: The supernet to measure. It is not changed.
        batches: Batches for "first_order" and "fisher": keyword arguments of the model, with labels, on any device.
            If several processes run, the batches of all of them count (the same, or each its own), and all get the same
            scores.
        order: "first_order", "fisher" or "magnitude".

    Returns:
        float64 [layers, heads] and float64 [layers, intermediate size], on the supernet's device.

    Raises:
        InvalidInputError: There is no batch, a batch has no labels, or the gradient of a loss is not finite.
    """
    if order == "magnitude":
        return _magnitude(supernet)
    if order in ("first_order", "fisher"):
        return _by_gradients(supernet, batches, squared=order == "fisher")
    raise InvalidInputError(f'`order` must be "first_order", "fisher", "magnitude" or None, but got {order!r}.')


def _magnitude(supernet: BertSupernetForSequenceClassification) -> tuple[torch.Tensor, torch.Tensor]:
    layers = supernet.bert.encoder.layer

    def norms(dims: Mapping[str, int], count: int) -> torch.Tensor:
        return torch.stack([sum(_squares(layer, name, dims[name], count) for name in dims) for layer in layers]).sqrt()

    return norms(HEADS_DIM, supernet.config.num_attention_heads), norms(NEURONS_DIM, supernet.config.intermediate_size)


def _squares(layer: nn.Module, linear: str, dim: int, count: int) -> torch.Tensor:
    """Returns the sums of squares of `count` equal parts of a weight along a dimension: float64 [count]."""
    weight = layer.get_submodule(linear).weight.detach().double().movedim(dim, 0)
    return weight.reshape(count, -1).square().sum(1)


def _by_gradients(
    supernet: BertSupernetForSequenceClassification, batches: Iterable[Mapping[str, torch.Tensor]], *, squared: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    config = supernet.config
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    totals = torch.zeros(layers, heads + config.intermediate_size, dtype=torch.float64, device=supernet.device)
    examples = torch.zeros((), dtype=torch.float64, device=supernet.device)
    with _recording(supernet) as recorded:
        for batch in batches:
            recorded.clear()
            # This builds the whole network, which the supernet holds though it has no forward of its own.
            inputs = {name: tensor.to(supernet.device) for name, tensor in batch.items()}
            loss = BertForSequenceClassification.forward(supernet, **inputs).loss
            if loss is None:
                raise InvalidInputError(f"Batches must have `labels`, but one has {sorted(batch)}.")
            gradients = torch.autograd.grad(loss, recorded)
            changes = [(a.detach() * g).double() for a, g in zip(recorded, gradients, strict=True)]
            size = len(changes[0])
            for i, (of_heads, of_neurons) in enumerate(zip(changes[::2], changes[1::2], strict=True)):
                of_heads = of_heads.unflatten(-1, (heads, -1)).sum((1, 3))
                # The loss is a mean over the batch: times the batch size, its gradients are those of each example's own
                # loss.
                of_all = torch.cat([of_heads, of_neurons.sum(1)], dim=1)
                totals[i] += of_all.square().sum(0) * size**2 if squared else of_all.abs().sum(0) * size
            examples += size
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for tensor in (totals, examples):
            torch.distributed.all_reduce(tensor)
    if examples == 0:
        raise InvalidInputError("First-order importance needs at least one batch of examples, but got none.")
    if not totals.isfinite().all():
        raise InvalidInputError(
            "The gradients of the loss must be finite for first-order importance, but are not. Check the checkpoint "
            'and the labels, or order by "magnitude".'
        )
    return (totals / examples).tensor_split([heads], dim=1)


@contextmanager
def _recording(supernet: BertSupernetForSequenceClassification) -> Iterator[list[torch.Tensor]]:
    """Collects the outputs of the heads and those of the neurons, layer by layer, without dropout."""
    recorded: list[torch.Tensor] = []

    def record(module: nn.Module, inputs: Any, output: Any) -> None:
        recorded.append(output[0] if isinstance(output, tuple) else output)

    hooks = [
        module.register_forward_hook(record)
        for layer in supernet.bert.encoder.layer
        for module in (layer.attention.self, layer.intermediate)
    ]
    training, problem_type = supernet.training, supernet.config.problem_type
    supernet.eval()
    try:
        with torch.enable_grad():
            yield recorded
    finally:
        for hook in hooks:
            hook.remove()
        supernet.train(training)
        supernet.config.problem_type = problem_type  # transformers stores the problem type that it derives from labels


def _reorder(layer: nn.Module, dims: Mapping[str, int], order: torch.Tensor) -> None:
    for name, dim in dims.items():
        linear = layer.get_submodule(name)
        linear.weight.copy_(linear.weight.index_select(dim, order))
        if dim == 0:
            linear.bias.copy_(linear.bias[order])
