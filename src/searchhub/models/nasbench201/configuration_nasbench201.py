"""Configuration of a NAS-Bench-201 network. Self-contained: it travels to the Hub beside its modeling file."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.backbone_utils import BackboneConfigMixin

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


@strict
class SearchedNasBench201Config(BackboneConfigMixin, PreTrainedConfig):
    r"""
    One network of NAS-Bench-201: a stem, three stages of one cell repeated, residual blocks of stride 2 between them,
    and a classifier. The defaults are the sizes of the benchmark.

    Args:
        num_channels: Channels of a picture.
        image_size: Height and width that the network is meant for; it accepts others.
        width: Channels of the stem and of the first stage; each further stage doubles them.
        num_stages: Stages.
        cells_per_stage: Cells of each stage, N.
        operations: The operation on each edge of the cell: to node 1 from 0, to 2 from 0 and 1, to 3 from 0, 1 and 2.
            None: "nor_conv_3x3" everywhere.
        search_network: Networks of a search have BatchNorm without scale and shift in their cells.
        batch_norm_eps: Added to the variance.
        batch_norm_momentum: Weight of the newest batch in the running statistics.
    """

    model_type = "searched_nasbench201"

    num_channels: int = 3
    image_size: int = 32
    width: int = 16
    num_stages: int = 3
    cells_per_stage: int = 5
    operations: list[str] | tuple[str, ...] | None = None
    search_network: bool = False
    batch_norm_eps: float = 1e-5
    batch_norm_momentum: float = 0.1

    def __post_init__(self, **kwargs):
        self.operations = ["nor_conv_3x3"] * len(EDGES) if self.operations is None else list(self.operations)
        self.stage_names = ["stem"] + [f"stage{i}" for i in range(1, self.num_stages + 1)]
        self.set_output_features_output_indices(
            out_indices=kwargs.pop("out_indices", None), out_features=kwargs.pop("out_features", None)
        )
        super().__post_init__(**kwargs)

    @property
    def stage_widths(self) -> list[int]:
        """Channels of each stage."""
        return [self.width * 2**i for i in range(self.num_stages)]

    def validate_cells(self):
        """Part of the `@strict` validation: sizes that make a network, and a known operation on every edge."""
        for name in ("width", "num_stages", "cells_per_stage"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name} >= 1` must hold, but got {getattr(self, name)}.")
        if len(self.operations) != len(EDGES) or not set(self.operations) <= set(OPERATIONS):
            raise ValueError(
                f"`operations` must hold one of {list(OPERATIONS)} for each of the {len(EDGES)} edges, "
                f"but is {self.operations}."
            )


__all__ = ["SearchedNasBench201Config"]
