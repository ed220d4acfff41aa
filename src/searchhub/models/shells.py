"""Puts models on shared weights together from modules that were made before, because making a model anew is slow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import nn
from transformers import PreTrainedModel

from searchhub.models.supernet import Supernet, Window
from searchhub.space import INACTIVE, Architecture

Key = tuple[int, ...]


class Reconstruction(Protocol):
    """Weights that make up for what a cut leaves out, in place of those that a model shares with its supernet."""

    settings: dict[str, Any]
    """How they are found, as plain JSON."""

    def apply(self, model: PreTrainedModel, architecture: Architecture) -> None:
        """Gives a model of this architecture such weights as parameters of its own.

        What a module gets may depend on the choices alone that decide the module.
        """

    def save(self, path: Path) -> None:
        """Writes a file, whole or not at all."""


@dataclass
class _Modules:
    """The modules that a choice decides by one of its candidates, by name, with the windows of their parameters."""

    modules: dict[str, nn.Module]
    windows: dict[nn.Parameter, Window]


@dataclass
class _Frame:
    """A model whose decided modules are exchanged.

    Args:
        model: The model.
        windows: Windows of the parameters that no choice decides.
        held: For each choice, the key of the modules that it holds now.
    """

    model: PreTrainedModel
    windows: dict[nn.Parameter, Window]
    held: dict[int, Key]


class Shells:
    """Models of a supernet's architectures, like those that `Supernet.subnet` makes, without making each anew.

    A choice's modules are made once for each of its candidates. A model of another architecture is the same model with
    other modules in it, so only the last one is valid. BatchNorm statistics are those of whatever used the modules
    before, so measure them again before the model is used in evaluation mode.

    It rests on what `choice_modules` promises: a choice decides these modules and nothing else, given the choices that
    others depend on, and the choice before it where the supernet is `chain_coupled`. `SupernetContract` tests that.

    Args:
        supernet: The supernet with the shared weights.
        reconstruction: Weights that models get in place of some shared ones. Such models can be scored, but what trains
            them leaves the supernet untrained. None: all weights are shared.
    """

    def __init__(self, supernet: Supernet, reconstruction: Reconstruction | None = None) -> None:
        self.supernet = supernet
        self._reconstruction = reconstruction
        self._space = supernet.search_space
        conditions = {c.condition.choice for c in self._space.choices if c.condition is not None}
        self._parents = [i for i, choice in enumerate(self._space.choices) if choice.name in conditions]
        self._frames: dict[Key, _Frame] = {}
        self._modules: dict[Key, _Modules] = {}

    def model(self, architecture: Architecture) -> PreTrainedModel:
        """Returns the model of an architecture. It holds until the next call.

        Raises:
            InvalidInputError: The architecture does not belong to this space.
        """
        branch, keys = self._keys(architecture)
        if branch not in self._frames or any(key not in self._modules for key in keys.values()):
            self._make(architecture, branch, keys)
        frame = self._frames[branch]
        for i, key in keys.items():
            before = frame.held[i]
            if before != key:
                _exchange(frame.model, self._modules[before].modules, self._modules[key].modules)
                frame.held[i] = key
        return frame.model

    def windows(self, architecture: Architecture) -> dict[nn.Parameter, Window]:
        """Returns the window of each parameter of the model of an architecture, which `model` returned before.

        Their order depends on the architecture alone, unlike that of the model's modules.
        """
        branch, keys = self._keys(architecture)
        found = dict(self._frames[branch].windows)
        for key in keys.values():
            found |= self._modules[key].windows
        return found

    def _keys(self, architecture: Architecture) -> tuple[Key, dict[int, Key]]:
        """Returns what tells frames apart, and for each choice with modules what tells these apart."""
        row = self._space.encode(architecture).tolist()
        branch = tuple(row[i] for i in self._parents)
        coupled = self.supernet.chain_coupled
        return branch, {
            i: (*branch, -1, i, *(row[i - 1 : i] if coupled else ()), candidate)
            for i, candidate in enumerate(row)
            if candidate != INACTIVE and i not in self._parents
        }

    def _make(self, architecture: Architecture, branch: Key, keys: Mapping[int, Key]) -> None:
        """Makes a model anew, and keeps it or those of its modules that are not known yet."""
        made = self.supernet.subnet(architecture)
        if self._reconstruction is not None:
            self._reconstruction.apply(made, architecture)
        windows = {name: (p, self.supernet.window(name, architecture)) for name, p in sorted(made.named_parameters())}
        decided = self.supernet.choice_modules(architecture)
        for i, key in keys.items():
            names = decided.get(self._space.choices[i].name, ())
            own = [name for name in windows if name.startswith(tuple(f"{module}." for module in names))]
            parts = dict(windows.pop(name) for name in own)
            self._modules.setdefault(key, _Modules({name: made.get_submodule(name) for name in names}, parts))
        self._frames.setdefault(branch, _Frame(made, dict(windows.values()), dict(keys)))


def _exchange(model: nn.Module, old: Mapping[str, nn.Module], new: Mapping[str, nn.Module]) -> None:
    for name in [*(name for name in old if name not in new), *new]:
        parent_name, _, attribute = name.rpartition(".")
        modules = model.get_submodule(parent_name)._modules
        if name in new:
            modules[attribute] = new[name]
        else:
            del modules[attribute]
