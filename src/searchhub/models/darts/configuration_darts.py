"""Configuration of a network of searched cells. Self-contained: it travels to the Hub beside its modeling file."""

import dataclasses

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.backbone_utils import BackboneConfigMixin

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


def cell_edges(num_nodes):
    """(source, target) of every edge of a cell, by target, then by source; 0 and 1 are the two cells before."""
    return [(source, target) for target in range(2, 2 + num_nodes) for source in range(target)]


@strict
class SearchedDartsConfig(BackboneConfigMixin, PreTrainedConfig):
    r"""
    One network of the DARTS space: a stem, normal and reduction cells in a row, and a classifier. The defaults are
    the sizes of the networks for CIFAR-10 that are trained from scratch.

    Args:
        num_channels: Channels of a picture.
        image_size: Height and width that the network is meant for, one number or [height, width]; it accepts others.
        stem: "cifar": a 3x3 convolution; "imagenet": three of stride 2.
        stem_multiplier: Channels of the "cifar" stem, in multiples of `width`.
        width: Channels of each node of the first cells, C; every reduction cell doubles them.
        num_cells: Normal and reduction cells together, L.
        reduction_layers: Which of them are reduction cells, counted from 0. None: L // 3 and 2 L // 3.
        num_nodes: Intermediate nodes of a cell; its output is all of them, side by side.
        normal: The operation on each edge of the normal cell, by target node, then by source: for node 2 from 0 and
            1, for node 3 from 0, 1 and 2, and so on. "none" leaves an edge out. None: separable 3x3 convolutions
            from both inputs to every node.
        reduction: The same of the reduction cell.
        search_network: Networks of a search have BatchNorm without scale and shift (but in the stem), and also after
            pooling.
        batch_norm_eps: Added to the variance.
        batch_norm_momentum: Weight of the newest batch in the running statistics.
        output_stride: How many times smaller than the picture the last map is. Where `stem` is "imagenet" it may be
            half of what stem and reductions give, 16 with two of them: the stem's second convolution then has stride 1,
            and no weights change. Others are not on offer, because a reduction without a stride is another operation.
            None: what stem and reductions give.
        segmentation_head: What makes the class of each pixel from the maps: "aspp" (DeepLabV3) or "lraspp" (LR-ASPP of
            MobileNetV3). It is of no use to other networks, nor are the settings below.
        aspp_width: Channels of each branch of that head, and of what comes out. None: 256; of "lraspp" 128.
        aspp_rates: Dilations of the 3x3 branches. None: 6, 12 and 18 at an output stride of 16, and in proportion at
            others: 12, 24 and 36 at 8. "lraspp" has no such branch.
        aspp_separable: Whether the 3x3 convolutions are depthwise, with a 1x1 convolution after each.
        aspp_dropout: Dropout before the classifier of "aspp", in [0, 1).
    """

    model_type = "searched_darts"
    left_out_at_default = (
        "output_stride",
        "segmentation_head",
        "aspp_width",
        "aspp_rates",
        "aspp_separable",
        "aspp_dropout",
    )

    num_channels: int = 3
    image_size: int | list[int] | tuple[int, ...] = 32
    stem: str = "cifar"
    stem_multiplier: int = 3
    width: int = 36
    num_cells: int = 20
    reduction_layers: list[int] | tuple[int, ...] | None = None
    num_nodes: int = 4
    normal: list[str] | tuple[str, ...] | None = None
    reduction: list[str] | tuple[str, ...] | None = None
    search_network: bool = False
    batch_norm_eps: float = 1e-5
    batch_norm_momentum: float = 0.1
    output_stride: int | None = None
    segmentation_head: str = "aspp"
    aspp_width: int | None = None
    aspp_rates: list[int] | tuple[int, ...] | None = None
    aspp_separable: bool = False
    aspp_dropout: float | int = 0.0

    def __post_init__(self, **kwargs):
        if self.reduction_layers is None:
            self.reduction_layers = sorted({self.num_cells // 3, 2 * self.num_cells // 3})
        self.reduction_layers = list(self.reduction_layers)
        self.normal = self._operations(self.normal)
        self.reduction = self._operations(self.reduction)
        self.stage_names = ["stem"] + [f"stage{i}" for i in range(1, len(self.stage_ends) + 1)]
        self.set_output_features_output_indices(
            out_indices=kwargs.pop("out_indices", None), out_features=kwargs.pop("out_features", None)
        )
        super().__post_init__(**kwargs)

    def _operations(self, operations):
        if operations is not None:
            return list(operations)
        return ["sep_conv_3x3" if source < 2 else "none" for source, _ in cell_edges(self.num_nodes)]

    @property
    def stage_ends(self) -> list[int]:
        """The last cell of each resolution."""
        return sorted({i - 1 for i in self.reduction_layers if 0 < i < self.num_cells} | {self.num_cells - 1})

    @property
    def stage_widths(self) -> list[int]:
        """Output channels of each resolution."""
        widths = [width * self.num_nodes for _, _, width in self.cell_shapes]
        return [widths[i] for i in self.stage_ends]

    @property
    def cell_shapes(self) -> list[tuple[int, int, int]]:
        """(channels of the cell before the last, of the last, of a node) of every cell."""
        first = self.width * self.stem_multiplier if self.stem == "cifar" else self.width
        shapes, before, last, width = [], first, first, self.width
        for i in range(self.num_cells):
            width = width * 2 if i in self.reduction_layers else width
            shapes.append((before, last, width))
            before, last = last, width * self.num_nodes
        return shapes

    @property
    def map_widths(self) -> list[int]:
        """Channels of the maps: of the stem, and of each resolution."""
        return [self.cell_shapes[0][1], *self.stage_widths]

    @property
    def map_strides(self) -> list[int]:
        """How many times smaller than the picture these maps are where `output_stride` is None."""
        first = 1 if self.stem == "cifar" else 8
        return [first, *(first * 2 ** sum(i <= end for i in self.reduction_layers) for end in self.stage_ends)]

    @property
    def output_strides(self) -> list[int]:
        """The output strides on offer."""
        last = self.map_strides[-1]
        return [last] if self.stem == "cifar" else [last // 2, last]

    @property
    def auxiliary_cell(self) -> int:
        """The cell after which an auxiliary head stands in training."""
        return 2 * self.num_cells // 3

    @property
    def takes_auxiliary_head(self) -> bool:
        """Whether maps are 8 to 10 pixels high there, or after ImageNet's stem 7 to 8, as an auxiliary head needs."""
        stride = self.map_strides[0] * 2 ** sum(i <= self.auxiliary_cell for i in self.reduction_layers)
        stride = stride * (self.output_stride or self.map_strides[-1]) // self.map_strides[-1]
        sizes = [self.image_size] if isinstance(self.image_size, int) else self.image_size
        return all(-(-size // stride) in ((8, 9, 10) if self.stem == "cifar" else (7, 8)) for size in sizes)

    # Copied from searchhub.models.mobile.configuration_mobile.SearchedMobileConfig.to_dict
    def to_dict(self):
        """Returns all settings but those of segmentation that are as they always were."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        settings = super().to_dict()
        return {k: v for k, v in settings.items() if k not in self.left_out_at_default or v != defaults[k]}

    # Copied from searchhub.models.mobile.configuration_mobile.SearchedMobileConfig.validate_segmentation
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

    def validate_cells(self):
        """Part of the `@strict` validation: sizes that make a network, and known operations, one an edge."""
        if self.stem not in ("cifar", "imagenet"):
            raise ValueError(f'`stem` must be "cifar" or "imagenet", but is {self.stem!r}.')
        for name in ("width", "num_cells", "num_nodes", "stem_multiplier"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name} >= 1` must hold, but got {getattr(self, name)}.")
        if self.stem == "imagenet" and self.width % 2:
            raise ValueError(f'`width` must be even where `stem` is "imagenet", but is {self.width}.')
        if not set(self.reduction_layers) <= set(range(self.num_cells)):
            raise ValueError(
                f"`reduction_layers` must be among 0 to {self.num_cells - 1}, but are {self.reduction_layers}."
            )
        edges = len(cell_edges(self.num_nodes))
        for name in ("normal", "reduction"):
            operations = getattr(self, name)
            if len(operations) != edges or not set(operations) <= set(OPERATIONS):
                raise ValueError(
                    f"`{name}` must hold an operation for each of the {edges} edges, among {list(OPERATIONS)}, "
                    f"but is {operations}."
                )


__all__ = ["SearchedDartsConfig"]
