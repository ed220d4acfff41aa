"""Describes a network or a supernet for programs that compare: its configuration, its weights, its classes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel

from searchhub.data.task import Task
from searchhub.errors import InvalidInputError
from searchhub.models.supernet import Supernet


def name_labels(model: PreTrainedModel, task: Task) -> None:
    """Gives a model the names of a task's classes."""
    names = dict(enumerate(task.label_names))
    model.config.id2label, model.config.label2id = names, {n: i for i, n in names.items()}


def check_not_quantized(settings: Mapping[str, Any], name: object) -> None:
    """Checks that a model's configuration does not say that its weights are quantized.

    Raises:
        InvalidInputError: The weights are quantized.
    """
    quantized = settings.get("quantization_config")
    if quantized:
        method = quantized.get("quant_method", "") if isinstance(quantized, dict) else quantized
        raise InvalidInputError(
            f"`{name}` must hold weights that can be trained and measured as they are, but its configuration says that "
            f"they are quantized (`quantization_config`, {method}). Give the checkpoint that it was made from."
        )


def weights_digest(supernet: Supernet) -> str:
    """Returns a short hash of all parameters."""
    digest = hashlib.sha256()
    for _, parameter in supernet.named_parameters():
        digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def plain_config(config: Any) -> dict[str, Any]:
    """Returns the settings that describe the network itself."""
    about = ("transformers_version", "id2label", "label2id", "_name_or_path")
    return {k: v for k, v in config.to_dict().items() if k not in about}
