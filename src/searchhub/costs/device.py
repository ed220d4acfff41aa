"""Names the processors of this machine."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from searchhub.errors import InvalidInputError


def cpu_name() -> str:
    """Returns the model name of the CPU, as exactly as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Returns the model name of a device on which latency can be measured.

    Raises:
        InvalidInputError: `torch.utils.benchmark` does not wait for devices of this kind to finish.
    """
    if device.type == "cpu":
        return cpu_name()
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    raise InvalidInputError(f'Latency must be measured on "cpu" or "cuda", but got "{device}". Pass `device="cpu"`.')


def devices_here() -> list[str]:
    """Returns the names of the CPU and of every GPU of this machine."""
    gpus = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
    return [cpu_name(), *sorted(gpus)]


def threads_here() -> int:
    """Returns how many threads torch uses on the CPU."""
    return torch.get_num_threads()
