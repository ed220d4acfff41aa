"""The base of supernets whose networks are a sequence of layers, each of which chooses its block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cached_property

import torch
from transformers import PreTrainedConfig

from searchhub.models.pictures import example_pictures
from searchhub.models.supernet import Supernet, Window
from searchhub.space import Architecture, SearchSpace


class LayeredSupernet(Supernet):
    """A supernet that holds every candidate block of every layer, and shares all other modules between its models.

    Three things must hold for a family:

    1. The supernet has `layers`, a `ModuleList` with one `ModuleDict` of candidates for each choice, in their order.
    2. Its models have these layers as `features.layers` of their base model. What else lies in the base model or in its
       `features` has the same name in the supernet, without these prefixes.
    3. The supernet's configuration is that of its models with more fields. It has `space()`, `image_size` and
       `num_channels`. The models' configuration names the candidates of an architecture in `blocks`.
    """

    @cached_property
    def search_space(self) -> SearchSpace:
        return self.config.space()

    def subnet_config(self, architecture: Architecture) -> PreTrainedConfig:
        config_class = self.subnet_class.config_class
        offers = {field.name for field in fields(self.config)} - {field.name for field in fields(config_class)}
        left_out = {"model_type", "architectures", "transformers_version", *offers}
        kept = {key: value for key, value in self.config.to_dict().items() if key not in left_out}
        return config_class(**{**kept, "blocks": [architecture[choice.name] for choice in self.search_space.choices]})

    def window(self, name: str, architecture: Architecture) -> Window:
        source = name.removeprefix(f"{self.base_model_prefix}.").removeprefix("features.")
        if source.startswith("layers."):
            _, layer, rest = source.split(".", 2)
            source = f"layers.{layer}.{architecture[self.search_space.choices[int(layer)].name]}.{rest}"
        return Window(source)

    def choice_modules(self, architecture: Architecture) -> Mapping[str, Sequence[str]]:
        layers = f"{self.base_model_prefix}.features.layers"
        return {choice.name: (f"{layers}.{i}",) for i, choice in enumerate(self.search_space.choices)}

    def example_inputs(self) -> dict[str, torch.Tensor]:
        return example_pictures(self.config)
