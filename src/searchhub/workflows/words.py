"""Says errors in the words of whoever hears them: a Python argument, a recipe's option, a command's option."""

from __future__ import annotations

import inspect
import re

TABLE = "Add the table with `result.with_costs(table)`, or give the table itself."
PREDICTION = (
    "Add it with `dataclasses.replace(result, prediction=PredictedQuality.fit(result.space, result.history))`, or "
    "leave the objective out."
)
_IN_COMMANDS = {
    TABLE: "Measure it with `searchhub profile`, and give the file: `--latency FILE`.",
    PREDICTION: "Search with `--scored`, or leave `--objective` out.",
}
_IN_RECIPES = {
    TABLE: "Limit one of these, or measure latency once the search is finished: `searchhub profile RUN`, then "
    "`searchhub train RUN --latency FILE --max latency_ms=…`.",
    PREDICTION: _IN_COMMANDS[PREDICTION],
}
_KEYWORD = re.compile(r"`(candidates|objective|random_networks|inherit_weights|publish_as)(?:=\"?([\w.]+)\"?)?`")
_OPTION = re.compile(r"`--([a-z]+(?:_[a-z]+)*)(?:[ =]([^`]*))?`")


def for_commands(message: str) -> str:
    """Returns an error in the words of the commands of `searchhub`.

    Where data are loaded, a recipe's `--dataset X` is a command's `--data dataset=X`.

    >>> for_commands("Leave `objective` out, or mend `--dataset path/to/it`.")
    'Leave `--objective` out, or mend `--data dataset=path/to/it`.'
    """
    for here, there in _IN_COMMANDS.items():
        message = message.replace(here, there)
    message = _KEYWORD.sub(lambda m: f"`--{m[1]}{' ' + m[2] if m[2] else ''}`", message)
    of_loaders = _loader_options() if _OPTION.search(message) else frozenset()
    return _OPTION.sub(lambda m: f"`--data {m[1]}={m[2] or '…'}`" if m[1] in of_loaders else m[0], message)


def for_recipes(message: str) -> str:
    """Returns an error in the words of a recipe.

    >>> for_recipes('`objective="expectation"` must come with a θ.')
    '`--objective expectation` must come with a θ.'
    """
    for here, there in _IN_RECIPES.items():
        message = message.replace(here, there)
    return _KEYWORD.sub(lambda m: f"`--{m[1]}{' ' + m[2] if m[2] else ''}`", message)


def _loader_options() -> frozenset[str]:
    """Returns the names of what the loaders of data take."""
    from searchhub.data.glue import load_glue_task
    from searchhub.data.loading import load_image_task
    from searchhub.data.text_loading import load_text_task

    loaders = (load_image_task, load_glue_task, load_text_task)
    return frozenset(name for loader in loaders for name in inspect.signature(loader).parameters)
