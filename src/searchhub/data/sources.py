"""Tasks are loaded again from what they say of themselves; a user's own by a function that their source names."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from searchhub.data.task import Task
from searchhub.errors import InvalidInputError, SearchhubError
from searchhub.redact import is_secret

LOADERS = {
    "image": "searchhub.data.loading:load_image_task",
    "glue": "searchhub.data.glue:load_glue_task",
    "segmentation": "searchhub.data.segmentation_loading:load_segmentation_task",
    "text": "searchhub.data.text_loading:load_text_task",
}
"""Kind of task: the function that loads it."""


def load_task(source: Mapping[str, Any], /, *, trusted: bool = True, **changes: Any) -> Task:
    """Load the task that a `Task.source` describes.

    Tasks of one's own are loaded like those of this package. The kind is then `"package.module:function"`, and the
    task that the function returns carries this call as its `source`, so that `save_trainer` can keep it.

    Args:
        source: "kind" and the arguments of that kind's loader, plain JSON.
        trusted: Whether the kind may name code to import. Pass False for a source that a file holds: no file, of a
            run or of a model, must choose what runs on this machine.
        **changes: Other arguments, e.g. where the data are on this machine.

    Raises:
        InvalidInputError: The kind is unknown or not trusted, its function cannot be imported, does not take these
            arguments or returns no task, or the data cannot be loaded.
    """
    options = {**source, **changes}
    kind = options.pop("kind", None)
    if kind in LOADERS:
        task: Task = _imported(LOADERS[kind])(**options)
        return task
    if not names_own_loader(kind):
        raise InvalidInputError(
            f"A task's source must have a kind among {sorted(LOADERS)}, or name a loader as `package.module:function`, "
            f"but its kind is {kind!r}."
        )
    if not trusted:
        raise InvalidInputError(
            f"A folder must not choose what code is imported, but it says that `{kind}` loads its data. If that is "
            f"your own function, or one that you have read, name it yourself: `--task {kind}`; in Python "
            f'`data={{"kind": "{kind}"}}`.'
        )
    return _by_own_loader(kind, options)


def load_recorded_task(source: Mapping[str, Any], /, *, trusted: bool, **changes: Any) -> Task:
    """Load the task that a file in a folder describes. Errors name the option that commands have: `--data NAME=VALUE`.

    Args:
        source: What the file says, see `load_task`.
        trusted: Whether the kind may name code to import, see `load_task`.
        **changes: Other arguments.

    Raises:
        InvalidInputError: The task cannot be loaded.
    """
    options = {**source, **changes}
    try:
        return load_task(source, trusted=trusted, **changes)
    except InvalidInputError as error:
        if options.get("kind") not in LOADERS:
            raise
        said = re.sub(r"`--(\w+)`", lambda m: f"`--data {m[1]}=…`" if m[1] in options else m[0], str(error))
        for name in ("dataset", "data_dir", "validation_file", "test_file", "unlabelled", "tokenizer"):
            place = options.get(name)
            if isinstance(place, str) and place in said and not Path(place).exists():
                said += (
                    f" If `{place}` lies elsewhere now, say where: `--data {name}=path/to/it`, in Python "
                    f'`data={{"{name}": "path/to/it"}}`.'
                )
        raise InvalidInputError(said) from error


def takes_texts(kind: str | None) -> set[str]:
    """Returns the names of arguments that are texts in a loader: your own, if the kind names one, or searchhub's."""
    if kind is not None and names_own_loader(kind):
        loaders = [_own_loader(kind)]
    else:
        loaders = [_imported(name) for name in (*LOADERS.values(), "searchhub.data.loading:load_image_splits")]
    parameters = [p for loader in loaders for p in inspect.signature(loader).parameters.values()]
    return {p.name for p in parameters if p.annotation is str or str(p.annotation).split(" | ")[0] == "str"}


def names_own_loader(kind: object) -> bool:
    """Whether a task's kind names a function outside of this package, as `package.module:function`."""
    module, _, function = kind.partition(":") if isinstance(kind, str) else ("", "", "")
    return function.isidentifier() and all(part.isidentifier() for part in module.split("."))


def _by_own_loader(kind: str, options: Mapping[str, Any]) -> Task:
    try:
        # The task is the same now and later, when these are read from a file.
        options = json.loads(json.dumps(options, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"Arguments of `{kind}` must be plain JSON (texts, numbers, lists, …) to be written into a run's folder, "
            f"but: {error}. Let the function make what it needs of such."
        ) from error
    if secret := sorted(filter(is_secret, options)):
        raise InvalidInputError(
            f"Arguments of `{kind}` are written into a run's folder, so none of them may hold a secret, but {secret} "
            "would. Let the function read it from an environment variable."
        )
    loader = _own_loader(kind)
    try:
        inspect.signature(loader).bind(**options)
    except TypeError as error:
        raise InvalidInputError(f"`{kind}` must take the arguments {sorted(options)}, but: {error}.") from error
    try:
        task = loader(**options)
    except SearchhubError:
        raise
    except Exception as error:
        raise InvalidInputError(
            f"`{kind}` must load its task, but raised {type(error).__name__}: {error}. Call it in Python to see where."
        ) from error
    if not isinstance(task, Task):
        raise InvalidInputError(
            f"`{kind}` must return a `searchhub.Task`, but returned {type(task).__name__}. Name the function that "
            "makes the task."
        )
    task.source = {"kind": kind, **options}
    return task


def _own_loader(kind: str) -> Callable[..., Any]:
    module, _, name = kind.partition(":")
    try:
        if module == "__main__":  # another program would look in itself
            raise ImportError("`__main__` is another module in each program")
        loader = _imported(kind)
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(
            f"`{kind}` must name a function of a module that can be imported, but: {error}. Put the folder of its "
            "module on PYTHONPATH, or mend the name."
        ) from error
    if not is_function_of(loader, module) or name.startswith("_"):
        what = "class" if isinstance(loader, type) else type(loader).__name__
        home = getattr(loader, "__module__", None) or module
        raise InvalidInputError(
            f"`{kind}` must name a public function that `{module}` itself defines, but is a {what} of `{home}`. "
            "Write a function that makes the task."
        )
    found: Callable[..., Any] = loader
    return found


def is_function_of(found: object, module: str) -> bool:
    """Whether an object is a function that a module itself defines, and not one that it imports."""
    return inspect.isfunction(found) and found.__module__ == module


def _imported(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)
