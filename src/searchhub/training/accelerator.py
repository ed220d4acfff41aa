"""Makes one Accelerator that does the right thing on a GPU, on several GPUs, and on CPU processes."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, broadcast_object_list, set_seed

from searchhub.data.splits import check_seed
from searchhub.errors import InvalidInputError

T = TypeVar("T")

logger = logging.getLogger(__name__)

PATIENCE = timedelta(hours=12)
"""How long a process waits for the others before it considers them dead."""


def make_accelerator(
    *, mixed_precision: str = "no", report_to: str | None = None, logging_dir: str | Path | None = None, seed: int = 0
) -> Accelerator:
    """Makes an Accelerator for a search.

    Without a GPU, several processes started by any launcher become CPU (gloo) processes. Otherwise `--multi_gpu`
    without a GPU would run copies that each believe to be alone. Where a launcher was asked for more processes than
    run, a warning names the command that starts them.

    Args:
        mixed_precision: "no", "fp16" or "bf16".
        report_to: Name of a tracker that Accelerate supports, e.g. "tensorboard". None: no tracker.
        logging_dir: Folder to which a tracker writes.
        seed: Seed for every library, the same on every process; trials seed themselves again.

    Raises:
        InvalidInputError: The launcher asks for `torch.compile`, which recompiles for every path of a search; the
            tracker is unknown or not installed; or the seed is out of its bounds.
    """
    check_seed(seed)
    if os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower() not in ("", "no"):
        raise InvalidInputError(
            "A search must run without torch.compile, which recompiles for every path and gives up after eight, but "
            f"the launcher set `dynamo_backend={os.environ['ACCELERATE_DYNAMO_BACKEND']}`. Compile extracted models."
        )
    installed = [str(tracker) for tracker in get_available_trackers()]
    if report_to is not None and report_to not in installed:  # Accelerate would log nowhere
        raise InvalidInputError(
            f"`report_to` must name a tracker that Accelerate knows and that is installed ({installed}), but is "
            f"{report_to!r}. Install it."
        )
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    # torch repeats this warning for each model of a search. Accelerate does not pass on the replacement it names.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
    accelerator = Accelerator(
        cpu=True if several and not torch.cuda.is_available() else None,
        mixed_precision=mixed_precision,
        log_with=report_to,
        # BatchNorm statistics are re-estimated on the same batches everywhere, so none need be sent in each step.
        kwargs_handlers=[
            DistributedDataParallelKwargs(broadcast_buffers=False),
            # Processes that each train a network of their own wait for the slowest; all of them wait while one decodes
            # data. By default they would give up after 10 minutes with NCCL, 30 with gloo.
            InitProcessGroupKwargs(timeout=PATIENCE),
        ],
        project_dir=None if logging_dir is None else str(logging_dir),
    )
    set_seed(seed)
    if missing := missing_processes(accelerator.num_processes, os.environ):
        logger.warning(missing)
    return accelerator


def missing_processes(running: int, environment: Mapping[str, str]) -> str | None:
    """Returns a sentence where a launcher was asked for more processes than run; None if it was not.

    On CPUs `accelerate launch` starts one process, whatever `--num_processes` and its configuration say. It only names
    a place where several would meet.

    Args:
        running: Number of processes that run.
        environment: The variables that a launcher set.
    """
    asked = int(environment.get("WORLD_SIZE", "1"))
    met = {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= environment.keys() and "WORLD_SIZE" not in environment
    if running > 1 or not (asked > 1 or met):
        return None
    return (
        f"{asked if asked > 1 else 'Several'} processes were asked for, but one runs: on CPUs `accelerate launch` "
        "starts no more, whatever `--num_processes` or its configuration say. To run them, write "
        f"`torchrun --nproc_per_node {max(asked, 2)} {Path(sys.argv[0]).name} …`."
    )


_OF_ONE_PROCESS = (
    "autocast",
    "backward",
    "clip_grad_norm_",
    "device",
    "free_memory",
    "mixed_precision",
    "unwrap_model",
)


class SingleProcess:
    """Replaces the Accelerator in a training that this process does alone, while other processes train something else.

    Device and precision are the Accelerator's; nothing is shared out, reduced or waited for.

    Args:
        accelerator: Accelerator of this process.
    """

    num_processes = 1
    process_index = 0

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    def __getattr__(self, name: str) -> Any:
        if name in _OF_ONE_PROCESS:
            return getattr(self._accelerator, name)
        raise AttributeError(f"A training of one process has no `{name}` of an Accelerator.")

    def prepare(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[torch.nn.Module, Any]:
        """Prepares as `Accelerator.prepare` does, but never wraps the model in DDP."""
        prepared = self._accelerator.prepare_model(model, evaluation_mode=True)  # it only leaves DDP out
        return prepared, self._accelerator.prepare_optimizer(optimizer)

    def no_sync(self, model: torch.nn.Module) -> contextlib.AbstractContextManager[None]:
        """Returns an empty context: nothing is ever synchronised."""
        return contextlib.nullcontext()

    def reduce(self, tensor: torch.Tensor, reduction: str = "sum") -> torch.Tensor:
        """Returns the tensor as it is: there is one process."""
        return tensor


def environment_of(accelerator: Accelerator) -> dict[str, Any]:
    """What bit-identity rests on beside the settings: processes, threads, device and versions, as plain JSON."""
    return {
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "device": accelerator.device.type,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


class Processes:
    """The processes of an accelerator, for `searchhub.distributed.OnMain`."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files."""
        return self._accelerator.is_main_process

    def broadcast(self, value: T) -> T:
        """Returns the main process's value, on every process."""
        holder = [value]
        broadcast_object_list(holder, from_process=0)
        return holder[0]
