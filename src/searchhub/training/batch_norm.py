"""Finds before a training starts that BatchNorm would see a single value of each channel, from which it can learn none.

A process that takes one example at a time, and a map of one pixel, leave one value.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel

from searchhub.costs.structure import cells_of
from searchhub.data.task import Task
from searchhub.errors import InvalidInputError
from searchhub.generation.cell_sampling import draw_cells
from searchhub.models.supernet import Supernet
from searchhub.training.loop import calibration_batch
from searchhub.training.settings import TrainingSettings

TRIED = 3
"""Number of architectures of a space that are looked at: maps are of the same sizes in all of them."""


def check_batch_norm_of(supernet: Supernet, task: Task, settings: TrainingSettings, accelerator: Accelerator) -> None:
    """Checks the networks of a supernet as `check_batch_norm` checks one.

    Raises:
        InvalidInputError: A BatchNorm of some network would see one value of each channel.
    """
    space, rng = supernet.search_space, np.random.default_rng(0)
    for row in space.sample(TRIED, rng) if cells_of(space) is None else draw_cells(space, TRIED, rng):
        config = supernet.subnet_config(space.decode(row))
        check_batch_norm(lambda config=config: supernet.subnet_class(config), task, settings, accelerator)  # type: ignore[misc]


def check_batch_norm(
    make: Callable[[], PreTrainedModel], task: Task, settings: TrainingSettings, accelerator: Accelerator
) -> None:
    """Checks that no BatchNorm would see one value of each channel in a step of this training.

    If a process takes a single example at a time, the shape of one goes through the network, which computes nothing
    (on the meta device); otherwise nothing can be wrong.

    Args:
        make: Function that makes the model, e.g. its class and configuration.
        task: The task, which gives an example.
        settings: Batch size, and into how many parts a batch is divided.
        accelerator: The accelerator, which knows how many processes share a batch.

    Raises:
        InvalidInputError: A BatchNorm would see one value of each channel.
    """
    parts = accelerator.num_processes * settings.gradient_accumulation_steps
    if settings.batch_size > parts:
        return
    with torch.device("meta"):
        model = make().train()
        if settings.auxiliary_weight:
            model.attach_auxiliary_head()
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return
    example = calibration_batch(task, "train", torch.zeros(1, dtype=torch.int64), torch.device("cpu"))
    shape = example[model.main_input_name].shape
    try:
        model(**{model.main_input_name: torch.empty(shape, device="meta")})
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InvalidInputError(
            "BatchNorm must see more than one value of each channel, but a process takes one example at a time "
            f"(`batch_size` {settings.batch_size} / ({accelerator.num_processes} processes x "
            f"{settings.gradient_accumulation_steps} parts)), and inputs of {' x '.join(map(str, shape[1:]))} "
            "become maps of one pixel. Raise `batch_size`, lower `gradient_accumulation_steps`, or take smaller "
            "strides or larger pictures."
        ) from error
