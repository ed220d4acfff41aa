"""A search space of one's own, complete: space, model, supernet, and a search on handwritten digits in half a minute.

    python examples/my_space.py

The network is a small mixer: a picture is cut into patches; each layer first mixes the patches, then the channels of
each patch. Two things vary in a layer: what mixes the patches, and how wide its channel MLP is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

import searchhub as sh
from searchhub import Window
from searchhub.models.publishing import PublishMixin

# -- the space: what may vary, as data --------------------------------------------------------------------------------


def mixer_space(num_layers: int, mixers: Sequence[str], hidden_widths: Sequence[int]) -> sh.SearchSpace:
    """Two choices a layer: what mixes its patches, and the width of its channel MLP."""
    choices = []
    for i in range(num_layers):
        choices += [
            sh.Choice(f"layer{i}.mixer", tuple(mixers)),
            sh.Choice(f"layer{i}.hidden", tuple(hidden_widths)),
        ]
    return sh.SearchSpace("mixer", tuple(choices))


# -- the model: one network of the space, as it is published ----------------------------------------------------------


@strict
class MixerConfig(PreTrainedConfig):
    r"""
    One network.

    Args:
        image_size: Height and width of a picture.
        num_channels: Channels of a picture.
        patch_size: Height and width of a patch.
        width: Channels of a patch inside the network.
        mixers: What mixes the patches, a layer each: "mlp", "conv" or "pool".
        hidden: Width of the channel MLP, a layer each.
    """

    model_type = "example_mixer"

    image_size: int = 8
    num_channels: int = 3
    patch_size: int = 2
    width: int = 24
    mixers: list[str] | tuple[str, ...] = ("mlp", "mlp")
    hidden: list[int] | tuple[int, ...] = (48, 48)


class MlpMixer(nn.Module):
    """Every patch sees every patch, with weights for each pair."""

    def __init__(self, config: MixerConfig, side: int) -> None:
        super().__init__()
        self.linear = nn.Linear(side**2, side**2)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.linear(maps.flatten(2)).view_as(maps)


class ConvMixer(nn.Module):
    """Every patch sees its neighbours, with weights for each channel."""

    def __init__(self, config: MixerConfig, side: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(config.width, config.width, 3, padding=1, groups=config.width)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.depthwise(maps)


class PoolMixer(nn.Module):
    """Every patch sees the mean of its neighbours: nothing to learn."""

    def __init__(self, config: MixerConfig, side: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.pool(maps)


MIXERS = {"mlp": MlpMixer, "conv": ConvMixer, "pool": PoolMixer}


class ChannelMlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return self.down(nn.functional.gelu(self.up(patches)))


class MixerLayer(nn.Module):
    def __init__(self, config: MixerConfig, mixer: str, hidden: int) -> None:
        super().__init__()
        self.side = config.image_size // config.patch_size
        self.mixer_norm = nn.LayerNorm(config.width)
        self.mixer = MIXERS[mixer](config, self.side)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.mlp = ChannelMlp(config.width, hidden)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """`patches`: float [batch, patches, width]."""
        maps = self.mixer_norm(patches).transpose(1, 2).unflatten(2, (self.side, self.side))
        patches = patches + self.mixer(maps).flatten(2).transpose(1, 2)
        return patches + self.mlp(self.mlp_norm(patches))


class MixerPreTrainedModel(PublishMixin, PreTrainedModel):
    config: MixerConfig
    config_class = MixerConfig
    base_model_prefix = "mixer"
    main_input_name = "pixel_values"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # `from_pretrained` calls this too, for what a file lacks: nothing may be left without a value.
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            init.trunc_normal_(module.weight, std=0.1)
            init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)


class MixerForImageClassification(MixerPreTrainedModel):
    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.stem = nn.Conv2d(config.num_channels, config.width, config.patch_size, config.patch_size)
        self.layers = nn.ModuleList(
            MixerLayer(config, mixer, hidden) for mixer, hidden in zip(config.mixers, config.hidden, strict=True)
        )
        self.norm = nn.LayerNorm(config.width)
        self.classifier = nn.Linear(config.width, config.num_labels)
        self.post_init()

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> ImageClassifierOutputWithNoAttention:
        """`pixel_values`: float [batch, channels, height, width]; `labels`: int64 [batch], for the loss."""
        patches = self.stem(pixel_values).flatten(2).transpose(1, 2)
        for layer in self.layers:
            patches = layer(patches)
        logits = self.classifier(self.norm(patches).mean(1))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)


AUTO_CLASSES = {
    "AutoConfig": "my_space.MixerConfig",
    "AutoModelForImageClassification": "my_space.MixerForImageClassification",
}
"""What transformers' Auto classes load, as "module.Class"; goes into the folders of models."""


def register() -> None:
    """Make the Auto classes of this process load the networks."""
    AutoConfig.register(MixerConfig.model_type, MixerConfig, exist_ok=True)
    AutoModelForImageClassification.register(MixerConfig, MixerForImageClassification, exist_ok=True)


# -- the supernet: the shared weights ---------------------------------------------------------------------------------


@strict
class MixerSupernetConfig(MixerConfig):
    r"""
    The sizes of `MixerConfig` and what is on offer.

    Args:
        num_layers: Number of layers.
        mixers_on_offer: Candidates of every layer.
        hidden_on_offer: Widths of every layer's channel MLP; they share the weights of the widest.
    """

    model_type = "example_mixer_supernet"

    num_layers: int = 3
    mixers_on_offer: list[str] | tuple[str, ...] = ("mlp", "conv", "pool")
    hidden_on_offer: list[int] | tuple[int, ...] = (12, 24, 48)


PAPER = """@inproceedings{tolstikhin2021mixer,
  title={{MLP-Mixer}: An all-{MLP} Architecture for Vision},
  author={Tolstikhin, Ilya and others},
  booktitle={Advances in Neural Information Processing Systems},
  year={2021}
}"""


class MixerSupernet(sh.Supernet, MixerPreTrainedModel):
    """Every mixer of every layer, and the widest channel MLP; norms, stem and classifier are shared by all."""

    config: MixerSupernetConfig
    config_class = MixerSupernetConfig
    subnet_class = MixerForImageClassification
    papers = ("ddpnas", PAPER)

    def __init__(self, config: MixerSupernetConfig) -> None:
        super().__init__(config)
        widest = max(config.hidden_on_offer)
        side = config.image_size // config.patch_size
        self.stem = nn.Conv2d(config.num_channels, config.width, config.patch_size, config.patch_size)
        self.layers = nn.ModuleList()
        for _ in range(config.num_layers):
            layer = nn.Module()
            layer.mixer_norm = nn.LayerNorm(config.width)
            layer.mixer = nn.ModuleDict({name: MIXERS[name](config, side) for name in config.mixers_on_offer})
            layer.mlp_norm = nn.LayerNorm(config.width)
            layer.mlp = ChannelMlp(config.width, widest)
            self.layers.append(layer)
        self.norm = nn.LayerNorm(config.width)
        self.classifier = nn.Linear(config.width, config.num_labels)
        self.post_init()

    @cached_property
    def search_space(self) -> sh.SearchSpace:
        return mixer_space(self.config.num_layers, self.config.mixers_on_offer, self.config.hidden_on_offer)

    def subnet_config(self, architecture: sh.Architecture) -> MixerConfig:
        sizes = ("image_size", "num_channels", "patch_size", "width", "id2label", "label2id")
        layers = range(self.config.num_layers)
        return MixerConfig(
            mixers=[architecture[f"layer{i}.mixer"] for i in layers],
            hidden=[architecture[f"layer{i}.hidden"] for i in layers],
            **{name: getattr(self.config, name) for name in sizes},
        )

    def window(self, name: str, architecture: sh.Architecture) -> Window:
        part = name.split(".")  # of the subnet: "layers.0.mixer.linear.weight", "layers.0.mlp.up.weight", "norm.weight"
        if part[0] == "layers" and part[2] == "mixer":
            mixer = architecture[f"layer{part[1]}.mixer"]
            return Window(".".join([*part[:3], str(mixer), *part[3:]]))
        if part[0] == "layers" and part[2] == "mlp":
            first = slice(0, int(architecture[f"layer{part[1]}.hidden"]))
            indices = {"up.weight": (first, slice(None)), "up.bias": (first,), "down.weight": (slice(None), first)}
            return Window(name, indices.get(".".join(part[3:]), ()))
        return Window(name)

    def choice_modules(self, architecture: sh.Architecture) -> Mapping[str, Sequence[str]]:
        modules: dict[str, Sequence[str]] = {}
        for i in range(self.config.num_layers):
            modules |= {f"layer{i}.mixer": [f"layers.{i}.mixer"], f"layer{i}.hidden": [f"layers.{i}.mlp"]}
        return modules

    def example_inputs(self) -> dict[str, torch.Tensor]:
        size = self.config.image_size
        return {"pixel_values": torch.empty(1, self.config.num_channels, size, size, device="meta")}


# -- a search in it ---------------------------------------------------------------------------------------------------


def main(
    run_dir: str | Path = "runs/my_space", *, max_macs: float = 60_000, epochs: int = 10, **data: Any
) -> dict[str, float]:
    """Search on handwritten digits, train the network for a limit, load it again; its metrics on the test split."""
    register()
    task = sh.load_image_task("digits", **data)
    torch.manual_seed(0)
    supernet = MixerSupernet(MixerSupernetConfig(num_labels=task.num_labels, image_size=task.image_size))
    arguments = sh.SearchArguments(
        output_dir=run_dir,
        searcher_options={"estimation_epochs": 2},
        training=sh.TrainingSettings(optimizer="adamw", learning_rate=3e-3, min_learning_rate=1e-3, batch_size=32),
        epochs=epochs,
    )
    trainer = sh.SearchTrainer(supernet, task, arguments)
    [network] = trainer.train(sh.Limit("macs", max=max_macs))
    loaded = AutoModelForImageClassification.from_pretrained(network.folder)
    print(f"{type(loaded).__name__}: {loaded.config.mixers}, {loaded.config.hidden}: {network.metrics}")
    return dict(network.metrics)


if __name__ == "__main__":
    main()
