"""Configuration of a searched FBNet. Self-contained: it travels to the Hub beside its modeling file."""

import re

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.backbone_utils import BackboneConfigMixin


@strict
class SearchedFBNetConfig(BackboneConfigMixin, PreTrainedConfig):
    r"""
    One network of the FBNet search space: a stem, stages of searched blocks, a 1x1 convolution and a classifier. The
    defaults are the full-size space at 224 x 224.

    DC-NAS (Sec. 4.2) and FBNet's published code differ in two places; the defaults are DC-NAS's words.

    Args:
        num_channels: Channels of a picture.
        image_size: Height and width that the network is meant for; it accepts others.
        stem_width: Output channels of the 3x3 stem.
        stem_stride: Stride of the stem, 1 or 2.
        stage_widths: Output channels of each stage.
        stage_depths: Layers of each stage.
        stage_strides: Stride of the first layer of each stage.
        head_width: Output channels of the last 1x1 convolution.
        blocks: One entry a layer: "k{kernel}_e{expansion}", with "_g{groups}" for grouped 1x1 convolutions and a
            channel shuffle after the first, or "skip" to leave the layer out. None: k3_e1 everywhere.
        always_expand: Whether a block of expansion 1 has its first 1x1 convolution (DC-NAS), or leaves it out (FBNet's
            published code). A shuffle stays where the convolution goes.
        stride_at: Which convolution takes the stride of a block: "expansion", the first 1x1 (DC-NAS), or "depthwise"
            (FBNet's published code). A block without the first 1x1 strides in the depthwise one.
        batch_norm_eps: Added to the variance.
        batch_norm_momentum: Weight of the newest batch in the running statistics.
        classifier_dropout: Dropout before the classifier, in [0, 1).
    """

    model_type = "searched_fbnet"

    num_channels: int = 3
    image_size: int = 224
    stem_width: int = 16
    stem_stride: int = 2
    stage_widths: list[int] | tuple[int, ...] = (16, 24, 32, 64, 112, 184, 352)
    stage_depths: list[int] | tuple[int, ...] = (1, 4, 4, 4, 4, 4, 1)
    stage_strides: list[int] | tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    head_width: int = 1984
    blocks: list[str] | tuple[str, ...] | None = None
    always_expand: bool = True
    stride_at: str = "expansion"
    batch_norm_eps: float = 1e-5
    batch_norm_momentum: float = 0.1
    classifier_dropout: float | int = 0.0

    # Copied from searchhub.models.mobile.configuration_mobile.SearchedMobileConfig.__post_init__ with
    # mbconv_e3_k3->k3_e1
    def __post_init__(self, **kwargs):
        self.stage_widths = list(self.stage_widths)
        self.stage_depths = list(self.stage_depths)
        self.stage_strides = list(self.stage_strides)
        self.blocks = ["k3_e1"] * sum(self.stage_depths) if self.blocks is None else list(self.blocks)
        self.stage_names = ["stem"] + [f"stage{i}" for i in range(1, len(self.stage_depths) + 1)]
        self.set_output_features_output_indices(
            out_indices=kwargs.pop("out_indices", None), out_features=kwargs.pop("out_features", None)
        )
        super().__post_init__(**kwargs)

    # Copied from searchhub.models.mobile.configuration_mobile.SearchedMobileConfig.layer_shapes with
    # first_width->stem_width
    @property
    def layer_shapes(self) -> list[tuple[int, int, int]]:
        """(in channels, out channels, stride) of every layer."""
        shapes, width = [], self.stem_width
        for out, depth, stride in zip(self.stage_widths, self.stage_depths, self.stage_strides):
            for i in range(depth):
                shapes.append((width, out, stride if i == 0 else 1))
                width = out
        return shapes

    # Copied from searchhub.models.mobile.configuration_mobile.SearchedMobileConfig.validate_stages
    def validate_stages(self):
        """Part of the `@strict` validation: one width and stride a stage."""
        if not len(self.stage_widths) == len(self.stage_depths) == len(self.stage_strides) >= 1:
            raise ValueError(
                "`stage_widths`, `stage_depths` and `stage_strides` must have the same length, at least 1, but are "
                f"{self.stage_widths}, {self.stage_depths} and {self.stage_strides}."
            )

    def validate_stride_at(self):
        """Part of the `@strict` validation: a known place of the stride."""
        if self.stride_at not in ("expansion", "depthwise"):
            raise ValueError(f'`stride_at` must be "expansion" or "depthwise", but is {self.stride_at!r}.')

    def validate_blocks(self):
        """Part of the `@strict` validation: one known block a layer, whose widths divide by its groups."""
        if len(self.blocks) != sum(self.stage_depths):
            raise ValueError(
                f"`blocks` must hold one entry a layer ({sum(self.stage_depths)}), but holds {len(self.blocks)}."
            )
        for i, (block, (width, out, _)) in enumerate(zip(self.blocks, self.layer_shapes)):
            found = re.fullmatch(r"k\d*[13579]_e[1-9]\d*(?:_g([2-9]))?", block)
            if block != "skip" and found is None:
                raise ValueError(
                    f'Block {i} must be "skip" or like "k3_e6" or "k5_e1_g2" (odd kernel), but is {block!r}.'
                )
            if found and found[1] and (width % int(found[1]) or out % int(found[1])):
                raise ValueError(
                    f"Widths of a grouped block must divide by its groups, but block {i} is {block!r} from {width} to "
                    f"{out} channels."
                )


__all__ = ["SearchedFBNetConfig"]
