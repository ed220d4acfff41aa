"""What evaluators that train on an accelerator share: what they say of themselves, and how processes hear of it."""

from __future__ import annotations

from typing import Any, TypeVar

from accelerate import Accelerator

from searchhub.data.task import Task
from searchhub.evaluators.base import Evaluator
from searchhub.models.supernet import Supernet
from searchhub.training.accelerator import Processes, environment_of
from searchhub.training.settings import TrainingSettings

T = TypeVar("T")


class AcceleratedEvaluator(Evaluator):
    """An evaluator that trains networks of a supernet on a task, on every process of an accelerator.

    Args:
        supernet: The supernet that knows the networks.
        task: Data and metric.
        settings: Optimizer, schedule and batch.
        accelerator: The accelerator of this process.
    """

    def __init__(self, supernet: Supernet, task: Task, settings: TrainingSettings, accelerator: Accelerator) -> None:
        self.supernet = supernet
        self.task = task
        self.settings = settings
        self.accelerator = accelerator
        self._processes = Processes(accelerator)

    @property
    def config(self) -> dict[str, Any]:
        return {
            **super().config,
            "supernet": type(self.supernet).__name__,
            "task": {"name": self.task.name, "metric": self.task.metric_name, "fingerprint": self.task.fingerprint()},
            "training": self.settings.to_dict(),
            "mixed_precision": str(self.accelerator.mixed_precision),
        }

    @property
    def environment(self) -> dict[str, Any]:
        return environment_of(self.accelerator)

    @property
    def is_main_process(self) -> bool:
        return self._processes.is_main_process

    def broadcast(self, value: T) -> T:
        return self._processes.broadcast(value)
