"""All that decides how a network comes out of its training, as facts keep it; another identity is trained anew."""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator
from transformers import PreTrainedConfig

from searchhub.data.task import Task
from searchhub.models.identity import plain_config
from searchhub.training.settings import TrainingSettings


def training_identity(
    config: PreTrainedConfig,
    task: Task,
    settings: TrainingSettings,
    accelerator: Accelerator,
    *,
    epochs: int,
    seed: int,
    **more: Any,
) -> dict[str, Any]:
    """The identity of a network that is trained, as plain JSON.

    Args:
        config: The configuration of the network.
        task: What it is trained for.
        settings: Optimizer, schedule and batch.
        accelerator: The accelerator of this process.
        epochs: Passes over what is trained on.
        seed: The seed of weights, order, augmentation and dropout.
        **more: What else decides it, by its key in the facts; "inherit_weights" is kept with the settings.
    """
    training = {**settings.to_dict(), "epochs": epochs}
    model = plain_config(config)
    # transformers fills the type in where a supernet is saved, which may come between two looks at one network.
    if "dtype" in model:
        model["dtype"] = model["dtype"] or "float32"
    if "inherit_weights" in more:
        training["inherit_weights"] = more.pop("inherit_weights")
    return {
        "model": model,
        "task": task.fingerprint(),
        "training": training,
        "seed": seed,
        "mixed_precision": str(accelerator.mixed_precision),
        "processes": accelerator.num_processes,
        **more,
    }
