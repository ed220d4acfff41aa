"""Makes transformers' Auto classes know searchhub's models, without importing transformers or torch here.

There is no plugin entry point in transformers, and `import searchhub` must stay cheap. So: where transformers' Auto
modules are loaded already, register now; else register the moment they are.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

CONFIGURATIONS = "transformers.models.auto.configuration_auto"
MODELS = "transformers.models.auto.modeling_auto"


WATCHED = ("transformers.", "searchhub.models.")
"""Modules in the middle of whose import nothing is registered: a family's classes may come from them."""


def install() -> None:
    """Register right after the import of transformers' Auto modules, or now."""
    watch = _Watch([(CONFIGURATIONS, _register_configurations), (MODELS, _register_models)])
    watch.register()
    if watch.waiting:
        sys.meta_path.insert(0, watch)


def families() -> Iterator[ModuleType]:
    """The packages of `searchhub.models`.

    Each has an `AUTO_CLASSES`, Auto class name to "module.Class" within it, and a `PUBLIC`, other public names alike.
    """
    models = importlib.import_module("searchhub.models")
    for info in pkgutil.iter_modules(models.__path__):
        if info.ispkg:
            yield importlib.import_module(f"searchhub.models.{info.name}")


def _load(family: ModuleType, path: str) -> Any:
    module, _, name = path.partition(".")
    return getattr(importlib.import_module(f"{family.__name__}.{module}"), name)


def _register_configurations() -> None:
    auto_config = sys.modules[CONFIGURATIONS].AutoConfig
    for family in families():
        config = _load(family, family.AUTO_CLASSES["AutoConfig"])
        auto_config.register(config.model_type, config, exist_ok=True)


def _register_models() -> None:
    auto = importlib.import_module("transformers.models.auto")
    for family in families():
        config = _load(family, family.AUTO_CLASSES["AutoConfig"])
        for auto_class, path in family.AUTO_CLASSES.items():
            if auto_class != "AutoConfig":
                getattr(auto, auto_class).register(config, _load(family, path), exist_ok=True)


class _Watch(importlib.abc.MetaPathFinder):
    """Knows when none of the watched modules is half imported, and then registers what can be; otherwise leaves
    imports as they are.
    """

    def __init__(self, waiting: list[tuple[str, Callable[[], None]]]) -> None:
        self.waiting = waiting  # a module, and what to call once it is there
        self._finding: set[str] = set()
        self._busy = 0

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not self.waiting or not name.startswith(WATCHED) or name in self._finding:
            return None
        self._finding.add(name)
        try:
            spec = importlib.util.find_spec(name)  # asks the other finders
        finally:
            self._finding.discard(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec

    def register(self) -> None:
        """Call what waits for a module that is there, one after another."""
        if self._busy:
            return
        for module, function in list(self.waiting):
            if module in sys.modules and (module, function) in self.waiting:
                self.waiting.remove((module, function))
                function()

    def __enter__(self) -> None:
        self._busy += 1

    def __exit__(self, *error: object) -> None:
        self._busy -= 1
        if error[0] is None:
            self.register()


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, watch: _Watch) -> None:
        self._loader = loader
        self._watch = watch

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader  # as if this class had not been there: others read sources through it
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        with self._watch:
            self._loader.exec_module(module)
