"""Tasks loaded again from what they say of themselves."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from searchhub.data.task import Task
from searchhub.errors import InvalidInputError

LOADERS = {
    "image": "searchhub.data.loading.load_image_task",
    "glue": "searchhub.data.glue.load_glue_task",
    "text": "searchhub.data.text_loading.load_text_task",
}
"""Kind of task: the function that loads it."""


def load_task(source: Mapping[str, Any], **changes: Any) -> Task:
    """The task of a `Task.source`.

    Args:
        source: "kind" and the arguments of that kind's loader.
        **changes: Other arguments, e.g. where the data are on this machine.

    Raises:
        InvalidInputError: The kind is unknown, or the data cannot be loaded.
    """
    options = {**source, **changes}
    kind = options.pop("kind", None)
    if kind not in LOADERS:
        raise InvalidInputError(
            f"A task's source must have a kind among {sorted(LOADERS)}, but has {kind!r}. A task that was put together "
            "by hand cannot be loaded again."
        )
    module, _, function = LOADERS[kind].rpartition(".")
    task: Task = getattr(importlib.import_module(module), function)(**options)
    return task
