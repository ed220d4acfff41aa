"""Puts models on shared weights together from modules that were made before, because making a model anew is slow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn
from transformers import PreTrainedModel

from searchhub.models.supernet import Supernet, Window
from searchhub.space import INACTIVE, Architecture

Key = tuple[int, ...]


@dataclass
class _Frame:
    """A model whose decided modules are exchanged.

    Args:
        model: The model.
        held: For each choice, the key of the modules that it holds now.
    """

    model: PreTrainedModel
    held: dict[int, Key] = field(default_factory=dict)


class Shells:
    """Models of a supernet's architectures, like those that `Supernet.subnet` makes, without making each anew.

    A choice's modules are made once for each of its candidates. A model of another architecture is the same model with
    other modules in it, so only the last one is valid. BatchNorm statistics are those of whatever used the modules
    before, so measure them again before the model is used in evaluation mode.

    It rests on what `choice_modules` promises: a choice decides these modules and nothing else, given the choices that
    others depend on, and the choice before it where the supernet is `chain_coupled`. `SupernetContract` tests that.

    Args:
        supernet: The supernet with the shared weights.
    """

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet
        self._space = supernet.search_space
        conditions = {c.condition.choice for c in self._space.choices if c.condition is not None}
        self._parents = [i for i, choice in enumerate(self._space.choices) if choice.name in conditions]
        self._frames: dict[Key, _Frame] = {}
        self._modules: dict[Key, Mapping[str, nn.Module]] = {}

    def model(self, architecture: Architecture) -> PreTrainedModel:
        """Returns the model of an architecture. It holds until the next call.

        Raises:
            InvalidInputError: The architecture does not belong to this space.
        """
        row = self._space.encode(architecture).tolist()
        branch = tuple(row[i] for i in self._parents)
        keys = {
            i: (*branch, -1, i, *(row[i - 1 : i] if self.supernet.chain_coupled else ()), candidate)
            for i, candidate in enumerate(row)
            if candidate != INACTIVE and i not in self._parents
        }
        if branch not in self._frames or any(key not in self._modules for key in keys.values()):
            made = self.supernet.subnet(architecture)
            decided = self.supernet.choice_modules(architecture)
            for i, key in keys.items():
                names = decided.get(self._space.choices[i].name, ())
                self._modules.setdefault(key, {name: made.get_submodule(name) for name in names})
            frame = self._frames.setdefault(branch, _Frame(made))
            if frame.model is made:
                frame.held = dict(keys)
        frame = self._frames[branch]
        for i, key in keys.items():
            before = frame.held.get(i)
            if before != key:
                _exchange(frame.model, self._modules[before] if before else {}, self._modules[key])
                frame.held[i] = key
        return frame.model

    def windows(self, model: PreTrainedModel, architecture: Architecture) -> dict[nn.Parameter, Window]:
        """Returns the window of each parameter of a model that `model` returned for the architecture.

        They come in the order of their names, because that of a model's modules depends on what was exchanged.
        """
        window = self.supernet.window
        named = sorted(model.named_parameters())
        return {parameter: window(name, architecture) for name, parameter in named}


def _exchange(model: nn.Module, old: Mapping[str, nn.Module], new: Mapping[str, nn.Module]) -> None:
    for name in [*(name for name in old if name not in new), *new]:
        parent_name, _, attribute = name.rpartition(".")
        modules = model.get_submodule(parent_name)._modules
        if name in new:
            modules[attribute] = new[name]
        else:
            del modules[attribute]
