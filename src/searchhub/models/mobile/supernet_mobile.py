"""The supernet of the layer-wise (ProxylessNAS) space, which holds every candidate block of every layer."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from torch import nn

from searchhub.errors import InvalidInputError
from searchhub.models.layered import LayeredSupernet
from searchhub.models.mobile.configuration_mobile import SearchedMobileConfig
from searchhub.models.mobile.modeling_mobile import (
    SearchedMobileBlock,
    SearchedMobileConvLayer,
    SearchedMobileForImageClassification,
    SearchedMobilePreTrainedModel,
    build_layer,
)
from searchhub.models.mobile.modeling_mobile_segmentation import (
    SearchedMobileForSemanticSegmentation,
    SegmentationMixin,
    build_segmentation_head,
)
from searchhub.space import SearchSpace
from searchhub.spaces.mobile import ZERO, mobile_space

PAPER = """@inproceedings{cai2019proxylessnas,
  title={{ProxylessNAS}: Direct Neural Architecture Search on Target Task and Hardware},
  author={Cai, Han and Zhu, Ligeng and Han, Song},
  booktitle={International Conference on Learning Representations},
  year={2019}
}"""


@strict
class MobileSupernetConfig(SearchedMobileConfig):
    r"""
    Configuration of the supernet: the sizes of `SearchedMobileConfig` and the candidates of its layers.

    Args:
        expansions: Expansion ratios on offer in every layer.
        kernel_sizes: Depthwise kernel sizes on offer in every layer.
        cost_size: Height and width of the pictures that costs refer to, one number or [height, width]. None:
            `image_size`.
    """

    model_type = "mobile_supernet"
    left_out_at_default = (*SearchedMobileConfig.left_out_at_default, "cost_size")

    expansions: list[int] | tuple[int, ...] = (3, 6)
    kernel_sizes: list[int] | tuple[int, ...] = (3, 5, 7)
    cost_size: int | list[int] | tuple[int, ...] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.expansions, self.kernel_sizes = list(self.expansions), list(self.kernel_sizes)
        super().__post_init__(**kwargs)

    @classmethod
    def with_multiplier(cls, width_multiplier: float, **kwargs: Any) -> MobileSupernetConfig:
        """Returns the configuration with every width scaled and rounded to a multiple of 8, as MobileNetV2 does.

        The head keeps its width if the multiplier is below 1.

        Args:
            width_multiplier: Factor on every width, greater than 0.
            **kwargs: Other fields, before scaling.
        """
        if width_multiplier <= 0:
            raise InvalidInputError(f"`width_multiplier > 0` must hold, but got {width_multiplier}.")
        base = cls(**kwargs)
        widths = {
            "stem_width": make_divisible(base.stem_width * width_multiplier),
            "first_width": make_divisible(base.first_width * width_multiplier),
            "stage_widths": [make_divisible(w * width_multiplier) for w in base.stage_widths],
            "head_width": make_divisible(base.head_width * max(1.0, width_multiplier)),
        }
        return cls(**{**kwargs, **widths})

    def space(self) -> SearchSpace:
        """Returns the search space of these sizes."""
        return mobile_space(
            first_width=self.first_width,
            stage_widths=self.stage_widths,
            stage_depths=self.stage_depths,
            stage_strides=self.stage_strides,
            expansions=self.expansions,
            kernel_sizes=self.kernel_sizes,
        )


def make_divisible(width: float, divisor: int = 8) -> int:
    """Returns the multiple of `divisor` nearest to `width`, but at least `divisor` and 0.9 `width` (MobileNetV2)."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


class MobileSupernet(LayeredSupernet, SearchedMobilePreTrainedModel):
    """The weights of every candidate block of every layer, and of the stem and the fixed block, for any head.

    Args:
        config: Sizes and candidates.
    """

    config: MobileSupernetConfig
    config_class = MobileSupernetConfig
    papers = ("ddpnas", PAPER)

    def __init__(self, config: MobileSupernetConfig) -> None:
        super().__init__(config)
        self.stem = SearchedMobileConvLayer(config, config.num_channels, config.stem_width, 3, config.stem_stride)
        self.first = SearchedMobileBlock(config, config.stem_width, config.first_width, 1, 1, 3)
        self.layers = nn.ModuleList(
            nn.ModuleDict({str(c): build_layer(config, c, *shape) for c in choice.candidates if c != ZERO})
            for choice, shape in zip(self.search_space.choices, config.layer_shapes, strict=True)
        )


class MobileSupernetForImageClassification(MobileSupernet):
    """The weights of every candidate block of every layer.

    All architectures share the stem, the fixed block, the head and the classifier.

    Args:
        config: Sizes and candidates.
    """

    subnet_class = SearchedMobileForImageClassification

    def __init__(self, config: MobileSupernetConfig) -> None:
        super().__init__(config)
        self.head = SearchedMobileConvLayer(config, config.stage_widths[-1], config.head_width)
        self.classifier = nn.Linear(config.head_width, config.num_labels)
        self.post_init()


class MobileSupernetForSemanticSegmentation(SegmentationMixin, MobileSupernet):
    """The weights of every candidate block of every layer, for networks that tell the class of each pixel.

    All architectures share the stem, the fixed block and the head. The space is that of the classifiers of these sizes,
    whatever the output stride: what a search finds on one task is an architecture of the other.

    Args:
        config: Sizes and candidates.
    """

    subnet_class = SearchedMobileForSemanticSegmentation
    papers = ("ddpnas", PAPER, "deeplabv3")

    def __init__(self, config: MobileSupernetConfig) -> None:
        super().__init__(config)
        self.segmentation_head = build_segmentation_head(config)
        self.post_init()
