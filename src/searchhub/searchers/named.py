"""Searchers by name: those of this folder, those that others add to the table, and any class by its dotted path."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

from searchhub import searchers
from searchhub.errors import InvalidInputError
from searchhub.searchers.base import Searcher
from searchhub.searchers.ddp import pruned_search_trials
from searchhub.space import SearchSpace
from searchhub.trial import Budget

__all__ = ["build_searcher"]

SearcherFactory = Callable[..., Searcher]
"""Makes a searcher of a space, `seed` and `budget`; what else it takes, its signature says. A class is one."""


def _of_this_folder() -> dict[str, SearcherFactory]:
    found: dict[str, SearcherFactory] = {}
    for info in pkgutil.iter_modules(searchers.__path__):
        if info.name != "named":
            found |= getattr(importlib.import_module(f"{searchers.__name__}.{info.name}"), "SEARCHERS", {})
    return found


SEARCHERS: dict[str, SearcherFactory] = _of_this_folder()
"""The table. A module of this folder names its searchers in a `SEARCHERS` of its own; others add theirs here."""


def find_searcher(name: str) -> SearcherFactory:
    """What makes the searcher of a name.

    >>> find_searcher("random").__name__, find_searcher("searchhub.searchers.random:RandomSearcher").__name__
    ('RandomSearcher', 'RandomSearcher')

    Args:
        name: A name in `SEARCHERS`, or "package.module:Class".

    Raises:
        InvalidInputError: The table has no such name, or the class cannot be imported.
    """
    if name in SEARCHERS:
        return SEARCHERS[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise InvalidInputError(
            f"`searcher` must be one of {sorted(SEARCHERS)}, or a class as `package.module:Class`, but is {name!r}."
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInputError(
            f"`searcher` must name a class that can be imported, but `{name}` cannot: {error}. Put its module on "
            "PYTHONPATH, or mend the name."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Searcher)):
        raise InvalidInputError(f"`searcher` must name a subclass of `searchhub.Searcher`, but `{name}` is {found!r}.")
    return found


def searcher_settings(name: str) -> frozenset[str]:
    """The names of the arguments that a searcher takes, by its name."""
    return frozenset(inspect.signature(find_searcher(name)).parameters)


def who_takes(setting: str) -> str:
    """Which searchers of the table take a setting, in words.

    >>> who_takes("estimator")
    '`ddp` and `ddp-noprune`'
    """
    return " and ".join(f"`{name}`" for name in sorted(SEARCHERS) if setting in searcher_settings(name)) or "none"


def build_searcher(
    name: str,
    space: SearchSpace,
    *,
    num_trials: int | None = None,
    seed: int = 0,
    budget: Budget | None = None,
    **settings: Any,
) -> Searcher:
    """The searcher of a name, new.

    >>> build_searcher("random", space, num_trials=20, seed=1)  # doctest: +SKIP

    Args:
        name: A name in `SEARCHERS`, or "package.module:Class".
        space: What to search.
        num_trials: How many trials to take, for a searcher that can be told so. None: as many as DDPNAS takes.
        seed: The seed of all its randomness.
        budget: What each trial is given.
        **settings: Further arguments of this searcher. `estimation_epochs` also says how many trials DDPNAS takes.

    Raises:
        InvalidInputError: There is no such searcher, or it does not take one of the settings.
    """
    make, takes = find_searcher(name), searcher_settings(name)
    if "num_trials" in takes:
        epochs = settings.get("estimation_epochs", 3)
        settings["num_trials"] = pruned_search_trials(space, epochs) if num_trials is None else num_trials
    elif "evaluations" in takes:
        settings["evaluations"] = num_trials
    elif num_trials is not None:
        raise InvalidInputError(f"`num_trials` is for searchers that can be told it, but `{name}` cannot. Drop it.")
    if "estimation_epochs" not in takes:
        settings.pop("estimation_epochs", None)
    for setting in settings:
        if setting not in takes:
            raise InvalidInputError(f"`{setting}` is for {who_takes(setting)}, but the searcher is `{name}`. Drop it.")
    searcher = make(space, seed=seed, budget=budget, **settings)
    if not isinstance(searcher, Searcher):
        raise InvalidInputError(f"`{name}` must make a `searchhub.Searcher`, but makes a {type(searcher).__name__}.")
    return searcher
