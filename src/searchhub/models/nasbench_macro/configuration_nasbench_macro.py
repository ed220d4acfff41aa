"""Configuration of a NAS-Bench-Macro network. Self-contained: it travels to the Hub beside its modeling file."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.backbone_utils import BackboneConfigMixin

BLOCKS = ("identity", "mb3_k3", "mb6_k5")


@strict
class SearchedNasBenchMacroConfig(BackboneConfigMixin, PreTrainedConfig):
    r"""
    One network of NAS-Bench-Macro: a stem, stages of searched blocks, a 1x1 convolution and a classifier. The defaults
    are the sizes of the benchmark, for CIFAR-10.

    Args:
        num_channels: Channels of a picture.
        image_size: Height and width that the network is meant for; it accepts others.
        stem_width: Output channels of the 3x3 stem.
        stem_stride: Stride of the stem, 1 or 2.
        stage_widths: Output channels of each stage.
        stage_depths: Layers of each stage.
        stage_strides: Stride of the first layer of each stage, 1 or 2.
        head_width: Output channels of the last 1x1 convolution.
        blocks: One entry a layer: "mb{expansion}_k{kernel}", that is mb3_k3 or mb6_k5, or "identity" to leave the layer
            out; where the shape changes that is a strided 1x1 convolution with BatchNorm. None: mb3_k3 everywhere.
        batch_norm_eps: Added to the variance.
        batch_norm_momentum: Weight of the newest batch in the running statistics.
        classifier_dropout: Dropout before the classifier, in [0, 1).
    """

    model_type = "searched_nasbench_macro"

    num_channels: int = 3
    image_size: int = 32
    stem_width: int = 32
    stem_stride: int = 1
    stage_widths: list[int] | tuple[int, ...] = (64, 128, 256)
    stage_depths: list[int] | tuple[int, ...] = (2, 3, 3)
    stage_strides: list[int] | tuple[int, ...] = (2, 2, 2)
    head_width: int = 1280
    blocks: list[str] | tuple[str, ...] | None = None
    batch_norm_eps: float = 1e-5
    batch_norm_momentum: float = 0.1
    classifier_dropout: float | int = 0.0

    # Copied from searchhub.models.mobile.configuration_mobile.SearchedMobileConfig.__post_init__ with
    # mbconv_e3_k3->mb3_k3
    def __post_init__(self, **kwargs):
        self.stage_widths = list(self.stage_widths)
        self.stage_depths = list(self.stage_depths)
        self.stage_strides = list(self.stage_strides)
        self.blocks = ["mb3_k3"] * sum(self.stage_depths) if self.blocks is None else list(self.blocks)
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

    def validate_blocks(self):
        """Part of the `@strict` validation: one known block a layer."""
        if len(self.blocks) != sum(self.stage_depths) or not set(self.blocks) <= set(BLOCKS):
            raise ValueError(
                f"`blocks` must hold one of {list(BLOCKS)} for each of the {sum(self.stage_depths)} layers, "
                f"but is {self.blocks}."
            )


__all__ = ["SearchedNasBenchMacroConfig"]
