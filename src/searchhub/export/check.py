"""Tells what an ONNX file computes and how fast, in onnxruntime, compared with torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from searchhub.costs.onnx_session import onnxruntime_errors
from searchhub.costs.timing import Stopwatch
from searchhub.errors import ExportError, InvalidInputError
from searchhub.export.inputs import PlainNetwork

if TYPE_CHECKING:
    import onnxruntime


def compare(
    network: PlainNetwork, session: onnxruntime.InferenceSession, batch_size: int, length: int, rtol: float, atol: float
) -> tuple[tuple[tuple[int, ...], ...], float]:
    """Returns the shapes of the main input for which both agree, and the largest difference of any output.

    The inputs are noise of several batch sizes and lengths, so that agreement at the exported shape alone does not
    suffice. Each shape is compared with and without padding.

    Args:
        network: The network as torch computes it.
        session: The session of the exported file.
        batch_size: Batch size of one of the shapes.
        length: Sequence length of that shape. Pictures have none.
        rtol: Allowed difference of an output, as a share of its value.
        atol: Allowed absolute difference on top.

    Raises:
        ExportError: The outputs differ; raised at the first such shape.
        InvalidInputError: The network itself does not return finite numbers.
    """
    sizes = dict.fromkeys([(batch_size, length), (2, max(2, length // 2)), (3, max(1, length - 1)), (1, 1)])
    shapes, worst = [], 0.0
    for seed, (size, tokens) in enumerate(sizes):
        for padded in (False, True) if len(network.inputs.names) > 1 else (False,):
            batch = network.inputs.batch(size, tokens, padded=padded, seed=seed)
            worst = max(worst, _difference(network, session, batch, rtol, atol))
        shapes.append(tuple(batch[network.inputs.names[0]].shape))
    return tuple(dict.fromkeys(shapes)), worst


def _difference(
    network: PlainNetwork,
    session: onnxruntime.InferenceSession,
    batch: Mapping[str, torch.Tensor],
    rtol: float,
    atol: float,
) -> float:
    with torch.inference_mode():
        expected = [value.numpy() for value in network(*batch.values())]
    shape = tuple(next(iter(batch.values())).shape)
    with onnxruntime_errors(f"run, on inputs of shape {shape},"):
        got: Sequence[Any] = session.run(list(network.outputs), _arrays(batch))
    worst = 0.0
    for name, wanted, value in zip(network.outputs, expected, got, strict=True):
        if not np.isfinite(wanted).all():
            raise InvalidInputError(f"The network's outputs must be finite, but on noise its `{name}` is not.")
        if value.shape != wanted.shape:
            raise ExportError(
                f"The ONNX file must return `{name}` of shape {wanted.shape} for inputs of shape {shape}, but it is of "
                f"{value.shape}. Nothing was written."
            )
        difference = np.abs(value - wanted)
        largest = float(difference.max())
        if not (difference <= atol + rtol * np.abs(wanted)).all():  # so that NaN fails
            raise ExportError(
                f"The ONNX file must compute what torch computes within {atol:g} + {rtol:g} · |value|, but its "
                f"`{name}` is off by {largest:.3g}, of values up to {np.abs(wanted).max():.3g}, on inputs of shape "
                f"{shape}. Nothing was written."
            )
        worst = max(worst, largest)
    return worst


def _arrays(batch: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    return {name: value.numpy() for name, value in batch.items()}


def time_both(
    network: PlainNetwork,
    session: onnxruntime.InferenceSession,
    batch: Mapping[str, torch.Tensor],
    stopwatch: Stopwatch,
    rounds: int,
) -> tuple[float, float]:
    """Returns the milliseconds that torch and onnxruntime take: medians over rounds in which they take turns."""
    calls: list[tuple[Any, Sequence[Any], Mapping[str, Any]]] = [
        (network.model, (), batch),
        (session.run, (list(network.outputs), _arrays(batch)), {}),
    ]
    times = np.zeros((rounds, 2))
    for i in range(rounds):
        for side in (0, 1) if i % 2 == 0 else (1, 0):
            times[i, side] = stopwatch(*calls[side])
    torch_ms, onnxruntime_ms = np.median(times, axis=0)
    return float(torch_ms), float(onnxruntime_ms)
