"""Configuration of a searched mobile network. Self-contained: it travels to the Hub beside its modeling file."""

import dataclasses
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
        image_size: Height and width that the network is meant for, one number or [height, width]; it accepts others.
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
        output_stride: How many times smaller than the picture the last map is, e.g. 8 or 16 for segmentation. The
            stages that would go further keep their resolution, and their convolutions are dilated instead. Weights
            are the same at any. None: what the strides above say.
        segmentation_head: What makes the class of each pixel from the maps: "aspp" (DeepLabV3) or "lraspp" (LR-ASPP of
            MobileNetV3). It is of no use to other networks, nor are the settings below.
        aspp_width: Channels of each branch of that head, and of what comes out. None: 256; of "lraspp" 128.
        aspp_rates: Dilations of the 3x3 branches. None: 6, 12 and 18 at an output stride of 16, and in proportion at
            others: 12, 24 and 36 at 8. "lraspp" has no such branch.
        aspp_separable: Whether the 3x3 convolutions are depthwise, with a 1x1 convolution after each.
        aspp_dropout: Dropout before the classifier of "aspp", in [0, 1).
    """

    model_type = "searched_mobile"
    left_out_at_default = (
        "output_stride",
        "segmentation_head",
        "aspp_width",
        "aspp_rates",
        "aspp_separable",
        "aspp_dropout",
    )

    num_channels: int = 3
    image_size: int | list[int] | tuple[int, ...] = 224
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
    output_stride: int | None = None
    segmentation_head: str = "aspp"
    aspp_width: int | None = None
    aspp_rates: list[int] | tuple[int, ...] | None = None
    aspp_separable: bool = False
    aspp_dropout: float | int = 0.0

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

    @property
    def map_widths(self) -> list[int]:
        """Channels of the maps: after the fixed block, and after each stage."""
        return [self.first_width, *self.stage_widths]

    @property
    def map_strides(self) -> list[int]:
        """How many times smaller than the picture these maps are where `output_stride` is None."""
        strides = [self.stem_stride]
        for stride in self.stage_strides:
            strides.append(strides[-1] * stride)
        return strides

    @property
    def built_layers(self) -> list[tuple[int, int]]:
        """(stride, dilation) of the depthwise convolution of every layer, with which the maps get `output_stride`."""
        built, reached, dilation = [], self.stem_stride, 1
        for _, _, stride in self.layer_shapes:
            if reached == self.output_stride:
                built.append((1, dilation))
                dilation *= stride
            else:
                built.append((stride, dilation))
                reached *= stride
        return built

    def to_dict(self):
        """Returns all settings but those of segmentation that are as they always were."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        settings = super().to_dict()
        return {k: v for k, v in settings.items() if k not in self.left_out_at_default or v != defaults[k]}

    def validate_segmentation(self):
        """Part of the `@strict` validation: a size, an output stride and a head that there are."""
        for name in ("image_size", "cost_size"):  # the latter of supernets
            size = getattr(self, name, None)
            pair = [size, size] if isinstance(size, int) else size
            if pair is not None and (len(pair) != 2 or min(pair) < 1):
                raise ValueError(f"`{name}` must be a number or [height, width], 1 or more, but is {size}.")
        if self.output_stride is not None and self.output_stride not in self.output_strides:
            raise ValueError(
                f"`output_stride` must be among {self.output_strides} for this network, but is {self.output_stride}."
            )
        if self.segmentation_head not in ("aspp", "lraspp"):
            raise ValueError(f'`segmentation_head` must be "aspp" or "lraspp", but is {self.segmentation_head!r}.')
        sizes = {"aspp_width": [self.aspp_width], "aspp_rates": self.aspp_rates}
        for name, values in sizes.items():
            if values is not None and (not values or any(v is not None and v < 1 for v in values)):
                raise ValueError(f"`{name} >= 1` must hold, but got {getattr(self, name)}.")

    @property
    def output_strides(self) -> list[int]:
        """The output strides on offer."""
        return sorted(set(self.map_strides))

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
