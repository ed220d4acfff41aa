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


def install() -> None:
    """Register on, or right after, the import of transformers' Auto modules."""
    waiting: dict[str, Callable[[], None]] = {}
    for module, register in ((CONFIGURATIONS, _register_configurations), (MODELS, _register_models)):
        if module in sys.modules:
            register()
        else:
            waiting[module] = register
    if waiting:
        sys.meta_path.insert(0, _AfterImport(waiting))


def families() -> Iterator[ModuleType]:
    """The packages of `searchhub.models`. Each has an `AUTO_CLASSES`: Auto class name to "module.Class" within it."""
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


class _AfterImport(importlib.abc.MetaPathFinder):
    """Runs a function once after a module is imported for the first time; otherwise leaves imports as they are."""

    def __init__(self, waiting: dict[str, Callable[[], None]]) -> None:
        self._waiting = waiting

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._waiting:
            return None
        then = self._waiting.pop(name)
        spec = importlib.util.find_spec(name)  # asks the other finders: this one no longer waits for the name
        if spec is None or spec.loader is None:
            return spec
        spec.loader = _Loader(spec.loader, then)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, then: Callable[[], None]) -> None:
        self._loader = loader
        self._then = then

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader  # as if this class had not been there: others read sources through it
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._then()
