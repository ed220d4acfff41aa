"""Configuration of a network of searched cells. Self-contained: it travels to the Hub beside its modeling file."""

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
        image_size: Height and width that the network is meant for; it accepts others.
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
    """

    model_type = "searched_darts"

    num_channels: int = 3
    image_size: int = 32
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
    def auxiliary_cell(self) -> int:
        """The cell after which an auxiliary head stands in training."""
        return 2 * self.num_cells // 3

    @property
    def takes_auxiliary_head(self) -> bool:
        """Whether maps are 8 to 10 pixels high there, or after ImageNet's stem 7 to 8, as an auxiliary head needs."""
        size = self.image_size if self.stem == "cifar" else -(-self.image_size // 8)
        for i in self.reduction_layers:
            size = -(-size // 2) if i <= self.auxiliary_cell else size
        return size in ((8, 9, 10) if self.stem == "cifar" else (7, 8))

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
