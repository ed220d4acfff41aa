"""Exports a trained network as one ONNX file. The file is compared with torch before it is put in place, and timed."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from searchhub._version import __version__
from searchhub.costs.device import cpu_name
from searchhub.costs.onnx_session import PACKAGES, cannot_express, check_packages, open_session, quiet
from searchhub.costs.timing import Stopwatch
from searchhub.errors import InvalidInputError
from searchhub.export.check import compare, time_both
from searchhub.export.inputs import ModelInputs, PlainNetwork
from searchhub.files import replacing
from searchhub.hub.contents import MODEL_CONFIG, contents_of
from searchhub.hub.pretrained import find_folder, load_model

LARGEST_FILE = 2**31 - 1
"""Number of bytes that one protobuf message, and so one ONNX file, can hold."""

DEFAULT_LENGTH = 128
"""Number of tokens of a sequence, if the model has positions for that many."""


@dataclass(frozen=True)
class ExportReport:
    """What was written, how close it is to torch, and how fast it is.

    Args:
        path: Path of the ONNX file.
        bytes: Size of the file in bytes.
        opset: Version of the ONNX operators.
        inputs: Maps each input's name to its axes: a number, or the name of an axis of any length.
        outputs: Maps each output's name to its axes, likewise.
        max_abs_difference: Largest absolute difference of any output between onnxruntime and torch, over all compared
            inputs.
        compared: Shapes of the main input that were compared.
        torch_ms: Milliseconds of one call of the model in inference mode and float32: the median of the rounds.
        onnxruntime_ms: Milliseconds of one call in onnxruntime on the same inputs, likewise.
        timed: Shape of the main input that was timed.
        threads: Number of threads that both used.
        device: Model name of the CPU.
        versions: Versions of the packages that took part.
    """

    path: Path
    bytes: int
    opset: int
    inputs: Mapping[str, tuple[int | str, ...]]
    outputs: Mapping[str, tuple[int | str, ...]]
    max_abs_difference: float
    compared: tuple[tuple[int, ...], ...]
    torch_ms: float
    onnxruntime_ms: float
    timed: tuple[int, ...]
    threads: int
    device: str
    versions: Mapping[str, str]

    @property
    def batch_size(self) -> int:
        """Number of examples in a call that was timed."""
        return self.timed[0]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON."""
        plain: dict[str, Any] = json.loads(json.dumps({**asdict(self), "path": str(self.path)}))
        return {**plain, "batch_size": self.batch_size}


def export_onnx(
    source: PreTrainedModel | str | Path,
    output: str | Path,
    *,
    batch_size: int = 1,
    sequence_length: int | None = None,
    opset: int | None = None,
    rtol: float = 1e-3,
    atol: float = 1e-5,
    threads: int | None = None,
    rounds: int = 5,
    min_run_time: float = 0.2,
) -> ExportReport:
    """Writes a network as one ONNX file for any batch size, checks it in onnxruntime, and times both.

    1. The inputs are those of the model's kind: pictures of the size that it is meant for (of any size where the
       network is for segmentation), or tokens of any length with their mask and types. The outputs are the tensors that
       it returns, e.g. `logits`, which for segmentation are as large as its head makes them.
    2. The check runs on noise, at another batch size, length and size of pictures than was exported with, and where
       there is a mask with padding too. It runs before the file is in place: an export that fails it leaves no file,
       and an earlier file stays.
    3. The network is exported in evaluation mode, on the CPU, in float32, whatever state the model is in. The model
       stays as it is.
    4. The file's metadata hold `id2label`, the model's class, its architecture and the version of searchhub, but no
       path of this machine.

    Args:
        source: A model, its folder, or its name on the Hub. Code that comes with it is not run. To export a model whose
            code you trust, load it and pass the model.
        output: Path of the file to write; its name ends in ".onnx".
        batch_size: Number of examples in a call that is timed, at least 1.
        sequence_length: Number of tokens of each example that is timed. None: 128, or as many as the model has
            positions for.
        opset: Version of the ONNX operators. None: the one that torch recommends.
        rtol: Allowed difference of an output, as a share of its value.
        atol: Allowed absolute difference on top: |onnxruntime − torch| <= atol + rtol · |torch| must hold everywhere.
        threads: Number of threads for both. None: as many as torch uses now.
        rounds: How often each is timed, in turn, at least 1.
        min_run_time: Least number of seconds of each timing.

    Raises:
        InvalidInputError: No model that can be run was given, or an argument is out of its bounds.
        ExportError: A package is missing; torch cannot express the network in ONNX; or the file computes something
            else.
        HubError: The model cannot be fetched.
        RunFolderError: The place cannot be written to.
    """
    check_packages()
    output = Path(output)
    _check_arguments(output, batch_size, sequence_length, rounds, threads)
    folder = None if isinstance(source, torch.nn.Module) else find_folder(source)
    network = PlainNetwork.of(source if folder is None else load_model(folder), folder)
    length = _length(network.inputs, sequence_length)
    threads = threads or torch.get_num_threads()

    with replacing(output) as temporary:
        program = _converted(network, network.inputs.batch(2, max(2, length // 2)), opset)
        program.save(temporary, external_data=False)
        session = open_session(temporary, threads)
        compared, worst = compare(network, session, batch_size, length, rtol, atol)
        timed = network.inputs.batch(batch_size, length)
        torch_ms, onnxruntime_ms = time_both(network, session, timed, Stopwatch(threads, min_run_time), rounds)
        size = temporary.stat().st_size
    return ExportReport(
        path=output,
        bytes=size,
        opset=program.model.opset_imports[""],
        inputs={x.name: tuple(x.shape) for x in session.get_inputs()},
        outputs={x.name: tuple(x.shape) for x in session.get_outputs()},
        max_abs_difference=worst,
        compared=compared,
        torch_ms=torch_ms,
        onnxruntime_ms=onnxruntime_ms,
        timed=tuple(timed[network.inputs.names[0]].shape),
        threads=threads,
        device=cpu_name(),
        versions=_versions(),
    )


# -- what is given ----------------------------------------------------------------------------------------------------


def _check_arguments(
    output: Path, batch_size: int, sequence_length: int | None, rounds: int, threads: int | None
) -> None:
    if output.suffix != ".onnx" or output.is_dir():
        raise InvalidInputError(f'`output` must be a file like "network.onnx", but got "{output}".')
    counts = {"batch_size": batch_size, "sequence_length": sequence_length, "rounds": rounds, "threads": threads}
    for name, value in counts.items():
        if value is not None and value < 1:
            raise InvalidInputError(f"`{name} >= 1` must hold, but got {value}.")


def _length(inputs: ModelInputs, asked: int | None) -> int:
    if asked is None:
        return min(DEFAULT_LENGTH, inputs.longest)
    if inputs.picture is None and asked > inputs.longest:
        raise InvalidInputError(
            f"`sequence_length <= {inputs.longest}`, the positions of the model, must hold, but got {asked}."
        )
    return asked


# -- the file ---------------------------------------------------------------------------------------------------------


def _converted(network: PlainNetwork, batch: Mapping[str, torch.Tensor], opset: int | None) -> torch.onnx.ONNXProgram:
    """Converts the network to ONNX, with metadata, without what torch notes on every node: source files and lines."""
    size = sum(t.numel() * t.element_size() for t in [*network.parameters(), *network.buffers()])
    if size > LARGEST_FILE:
        raise InvalidInputError(
            f"A network must be at most {LARGEST_FILE:,} bytes to be one ONNX file, but has {size:,} bytes of weights."
        )
    with quiet():
        try:
            program = torch.onnx.export(
                network,
                tuple(batch.values()),
                dynamo=True,
                dynamic_shapes=(tuple(network.inputs.axes.values()),),
                input_names=list(batch),
                output_names=list(network.outputs),
                opset_version=opset,
                optimize=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise cannot_express(network.model, error) from error
    assert program is not None
    written = program.model.opset_imports[""]
    if opset is not None and written != opset:
        raise InvalidInputError(
            f"`opset` must be one that this network can be written in, but got {opset} and torch wrote {written}. "
            "Leave it out."
        )
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()
    for weight in program.model.graph.initializers.values():
        # Weights say their types and shapes themselves. What is said again beside them is wrong once a tool, such as
        # onnxruntime's `quantize_dynamic`, turns a weight over.
        weight.type = weight.shape = None
        weight.metadata_props.clear()
    program.model.metadata_props.update(_metadata(network.model))
    return program


def _metadata(model: PreTrainedModel) -> dict[str, str]:
    settings = json.loads(model.config.to_json_string(use_diff=False))
    contents = contents_of(lambda name: settings if name == MODEL_CONFIG else None)
    values = {
        "searchhub_version": __version__,
        "model_class": type(model).__name__,
        "architecture": json.dumps(contents.identity if contents else settings, sort_keys=True),
    }
    if model.config.id2label:
        values["id2label"] = json.dumps({str(i): label for i, label in model.config.id2label.items()})
    return values


def _versions() -> dict[str, str]:
    others = {name: importlib.metadata.version(name) for name in ("torch", "transformers", *PACKAGES)}
    return {"searchhub": __version__, **others}
