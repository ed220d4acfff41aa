"""Configuration of a searched mobile network. Self-contained: it travels to the Hub beside its modeling file."""

import re

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.backbone_utils import BackboneConfigMixin


@strict
class SearchedMobileConfig(BackboneConfigMixin, PreTrainedConfig):
    r"""
    One network of the layer-wise (ProxylessNAS) search space: a stem, a fixed inverted residual block, stages of
    searched blocks, a 1x1 convolution and a classifier. The defaults are the full-size space at 224 x 224.

    Args:
        num_channels: Channels of a picture.
        image_size: Height and width that the network is meant for; it accepts others.
        stem_width: Output channels of the 3x3 stem.
        stem_stride: Stride of the stem, 1 or 2.
        first_width: Output channels of the fixed block (expansion 1, 3x3).
        stage_widths: Output channels of each stage.
        stage_depths: Layers of each stage.
        stage_strides: Stride of the first layer of each stage.
        head_width: Output channels of the last 1x1 convolution.
        blocks: One entry a layer: "mbconv_e{expansion}_k{kernel}", or "zero" to leave the layer out. None: the
            smallest block, e3 k3, everywhere.
        batch_norm_eps: Added to the variance.
        batch_norm_momentum: Weight of the newest batch in the running statistics.
        classifier_dropout: Dropout before the classifier, in [0, 1).
    """

    model_type = "searched_mobile"

    num_channels: int = 3
    image_size: int = 224
    stem_width: int = 32
    stem_stride: int = 2
    first_width: int = 16
    stage_widths: list[int] | tuple[int, ...] = (24, 40, 80, 96, 192, 320)
    stage_depths: list[int] | tuple[int, ...] = (4, 4, 4, 4, 4, 1)
    stage_strides: list[int] | tuple[int, ...] = (2, 2, 2, 1, 2, 1)
    head_width: int = 1280
    blocks: list[str] | tuple[str, ...] | None = None
    batch_norm_eps: float = 1e-3
    batch_norm_momentum: float = 0.1
    classifier_dropout: float | int = 0.0

    def __post_init__(self, **kwargs):
        self.stage_widths = list(self.stage_widths)
        self.stage_depths = list(self.stage_depths)
        self.stage_strides = list(self.stage_strides)
        self.blocks = ["mbconv_e3_k3"] * sum(self.stage_depths) if self.blocks is None else list(self.blocks)
        self.stage_names = ["stem"] + [f"stage{i}" for i in range(1, len(self.stage_depths) + 1)]
        self.set_output_features_output_indices(
            out_indices=kwargs.pop("out_indices", None), out_features=kwargs.pop("out_features", None)
        )
        super().__post_init__(**kwargs)

    @property
    def layer_shapes(self) -> list[tuple[int, int, int]]:
        """(in channels, out channels, stride) of every layer."""
        shapes, width = [], self.first_width
        for out, depth, stride in zip(self.stage_widths, self.stage_depths, self.stage_strides):
            for i in range(depth):
                shapes.append((width, out, stride if i == 0 else 1))
                width = out
        return shapes

    def validate_stages(self):
        """Part of the `@strict` validation: one width and stride a stage."""
        if not len(self.stage_widths) == len(self.stage_depths) == len(self.stage_strides) >= 1:
            raise ValueError(
                "`stage_widths`, `stage_depths` and `stage_strides` must have the same length, at least 1, but are "
                f"{self.stage_widths}, {self.stage_depths} and {self.stage_strides}."
            )

    def validate_blocks(self):
        """Part of the `@strict` validation: one known block a layer, zero only where shapes allow it."""
        if len(self.blocks) != sum(self.stage_depths):
            raise ValueError(
                f"`blocks` must hold one entry a layer ({sum(self.stage_depths)}), but holds {len(self.blocks)}."
            )
        for i, (block, (width, out, stride)) in enumerate(zip(self.blocks, self.layer_shapes)):
            if block == "zero" and (width != out or stride != 1):
                raise ValueError(
                    f'Block {i} changes the shape ({width} to {out}, stride {stride}) and cannot be "zero".'
                )
            if block != "zero" and re.fullmatch(r"mbconv_e[1-9]\d*_k\d*[13579]", block) is None:
                raise ValueError(f'Block {i} must be "zero" or like "mbconv_e3_k5" (odd kernel), but is {block!r}.')


__all__ = ["SearchedMobileConfig"]
