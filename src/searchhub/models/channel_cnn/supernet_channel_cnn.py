"""The supernet of the channel-ratio space: the widest network. Every other network has the first of its channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from huggingface_hub.dataclasses import strict

from searchhub.models.channel_cnn.configuration_channel_cnn import SearchedChannelCnnConfig
from searchhub.models.channel_cnn.modeling_channel_cnn import (
    SearchedChannelCnnForImageClassification,
    SearchedChannelCnnPreTrainedModel,
    build_classifier,
    build_layers,
)
from searchhub.models.pictures import example_pictures
from searchhub.models.supernet import Supernet, Window
from searchhub.space import Architecture, SearchSpace
from searchhub.spaces.channels import RATIOS, channels_space


@strict
class ChannelCnnSupernetConfig(SearchedChannelCnnConfig):
    r"""
    Configuration of the supernet: the sizes of `SearchedChannelCnnConfig`, whose `channels` are those of the base
    network, and the ratios on offer.

    Args:
        ratios: Multiples of its base channels on offer in every layer, increasing. All must give whole numbers.
    """

    model_type = "channel_cnn_supernet"

    ratios: list[int | float] | tuple[int | float, ...] = RATIOS

    def __post_init__(self, **kwargs: Any) -> None:
        self.ratios = list(self.ratios)
        super().__post_init__(**kwargs)

    def space(self) -> SearchSpace:
        """Returns the search space of these layers and ratios."""
        return channels_space(len(self.channels), self.ratios)

    def validate_ratios(self) -> None:
        """Checks, as part of the `@strict` validation, that every ratio gives whole numbers of channels."""
        channels_space(len(self.channels), self.ratios)
        for base in self.channels:
            broken = [ratio for ratio in self.ratios if base * ratio != int(base * ratio)]
            if broken:
                raise ValueError(
                    f"Ratios must give whole numbers of channels, but {broken} of {base} do not. Change `channels`."
                )


class ChannelCnnSupernet(Supernet, SearchedChannelCnnPreTrainedModel):
    """The weights of the widest network.

    A narrower layer takes the first output channels of the widest, on the first of its input channels: its windows
    slice a convolution along both.

    Args:
        config: Sizes and ratios.
    """

    config: ChannelCnnSupernetConfig
    config_class = ChannelCnnSupernetConfig
    subnet_class = SearchedChannelCnnForImageClassification
    papers = ("dcnas",)
    chain_coupled = True

    def __init__(self, config: ChannelCnnSupernetConfig) -> None:
        super().__init__(config)
        widest = self.subnet_config(Architecture({c.name: c.candidates[-1] for c in self.search_space.choices}))
        self.layers = build_layers(widest)
        self.classifier = build_classifier(widest)
        self.post_init()

    @cached_property
    def search_space(self) -> SearchSpace:
        return self.config.space()

    def subnet_config(self, architecture: Architecture) -> SearchedChannelCnnConfig:
        fields = {k: v for k, v in self.config.to_dict().items() if k not in _SUPERNET_ONLY}
        return SearchedChannelCnnConfig(**{**fields, "channels": self._channels(architecture)})

    def _channels(self, architecture: Architecture) -> list[int]:
        ratios = [architecture[choice.name] for choice in self.search_space.choices]
        return [int(base * float(ratio)) for base, ratio in zip(self.config.channels, ratios, strict=True)]

    def window(self, name: str, architecture: Architecture) -> Window:
        source = name.removeprefix("channel_cnn.")
        channels = self._channels(architecture)
        if source == "classifier.bias":
            return Window(source)
        if source == "classifier.weight":
            return Window(source, (slice(None), slice(0, channels[-1] * self.config.last_size**2)))
        layer = int(source.split(".")[1])
        first = slice(0, channels[layer])
        if layer and source.endswith("convolution.weight"):
            return Window(source, (first, slice(0, channels[layer - 1])))
        return Window(source, (first,))

    def choice_modules(self, architecture: Architecture) -> Mapping[str, Sequence[str]]:
        layers = {choice.name: [f"channel_cnn.layers.{i}"] for i, choice in enumerate(self.search_space.choices)}
        layers[self.search_space.choices[-1].name].append("classifier")
        return layers

    def example_inputs(self) -> dict[str, torch.Tensor]:
        return example_pictures(self.config)


_SUPERNET_ONLY = {"model_type", "ratios", "architectures", "transformers_version"}
