"""Runs networks and parts of them in onnxruntime, which is what runs an exported file."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from searchhub.errors import ExportError

if TYPE_CHECKING:
    import onnxruntime

PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def check_packages() -> None:
    """Checks that everything is installed that writes and runs ONNX.

    Raises:
        ExportError: A package is missing.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            f"{', '.join(PACKAGES)} must be installed to export a network or to time it in onnxruntime, but "
            f'{", ".join(missing)} cannot be found. Run `pip install "searchhub[onnx]"`.'
        )


def open_session(source: Path | bytes, threads: int, *, beside_others: bool = False) -> onnxruntime.InferenceSession:
    """Opens a file, or what one holds, in onnxruntime, to run on the CPU with `threads` threads.

    Args:
        source: Path of the file, or its bytes.
        threads: Number of threads.
        beside_others: Whether threads sleep between two runs, so that they take nothing from other sessions.

    Raises:
        ExportError: onnxruntime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    if beside_others:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    with onnxruntime_errors("load"):
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


@contextmanager
def onnxruntime_errors(what: str) -> Iterator[None]:
    """Turns errors of onnxruntime into an `ExportError` that says what it must do."""
    try:
        yield
    except Exception as error:  # onnxruntime's errors have no common base class
        raise ExportError(
            f"onnxruntime must {what} what torch exported, but says: {error} Nothing was written."
        ) from error


def in_onnxruntime(
    block: tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]], threads: int
) -> tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]:
    """Returns what runs a module in onnxruntime on the same arguments: a function and its own arguments.

    Torch's tracing exporter writes it: within a second, where the one of `export_onnx` takes many. Onnxruntime makes
    the same of both.

    Args:
        block: A module, and the arguments with which it is called.
        threads: Number of threads.

    Raises:
        ExportError: Torch cannot express the module in ONNX, or onnxruntime refuses it.
    """
    module, args, kwargs = block
    flat = _OfTensors(module, args, kwargs)
    written, names = io.BytesIO(), [f"x{i}" for i in range(len(flat.tensors))]
    with quiet(), torch.no_grad():
        try:
            torch.onnx.export(flat, tuple(flat.tensors), written, input_names=names, dynamo=False)
        except (RuntimeError, torch.onnx.OnnxExporterError) as error:
            raise cannot_express(module, error) from error
    session = open_session(written.getvalue(), threads, beside_others=True)
    # What the result does not depend on is no input of the graph, which may drop it.
    named = dict(zip(names, (tensor.numpy() for tensor in flat.tensors), strict=True))
    return session.run, (None, {x.name: named[x.name] for x in session.get_inputs()}), {}


def cannot_express(module: Any, error: Exception) -> ExportError:
    """Returns the error of a module that has no form in ONNX."""
    said = " ".join(str(error.__cause__ or error).split())[:300].rstrip(".")
    return ExportError(f"`{type(module).__name__}` must be made of what torch.onnx can express, but: {said}.")


@contextmanager
def quiet() -> Iterator[None]:
    """Silences what torch prints while it exports. Errors are raised as ever."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


class _OfTensors(nn.Module):
    """A module as a function from tensors to a tuple of tensors; what else it is called with stays as it was."""

    def __init__(self, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self.module = module
        self.leaves, self.form = pytree.tree_flatten((tuple(args), dict(kwargs)))
        # Copies, because a tensor that was made in inference mode cannot be traced.
        self.tensors = [leaf.clone() for leaf in self.leaves if isinstance(leaf, torch.Tensor)]

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = iter(tensors)
        leaves = [next(given) if isinstance(leaf, torch.Tensor) else leaf for leaf in self.leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self.form)
        returned = pytree.tree_leaves(self.module(*args, **kwargs))
        return tuple(value for value in returned if isinstance(value, torch.Tensor))
