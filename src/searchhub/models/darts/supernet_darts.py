"""The supernet of the DARTS cells, which holds every operation on every edge of every cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from searchhub.models.darts.configuration_darts import OPERATIONS, SearchedDartsConfig, cell_edges
from searchhub.models.darts.modeling_darts import (
    SearchedDartsConvLayer,
    SearchedDartsForImageClassification,
    SearchedDartsPreTrainedModel,
    SearchedDartsReduction,
    SearchedDartsStem,
    build_operation,
    edge_key,
)
from searchhub.models.darts.modeling_darts_segmentation import (
    SearchedDartsForSemanticSegmentation,
    SegmentationMixin,
    build_segmentation_head,
)
from searchhub.models.pictures import example_pictures
from searchhub.models.supernet import Supernet, Window
from searchhub.space import Architecture, SearchSpace
from searchhub.spaces.darts import KINDS, NONE, darts_space, edge_name

PAPER = """@inproceedings{liu2019darts,
  title={{DARTS}: Differentiable Architecture Search},
  author={Liu, Hanxiao and Simonyan, Karen and Yang, Yiming},
  booktitle={International Conference on Learning Representations},
  year={2019}
}"""


@strict
class DartsSupernetConfig(SearchedDartsConfig):
    r"""
    Configuration of the supernet: the sizes of `SearchedDartsConfig` in the search, the operations on its edges, and
    what differs in networks that are trained from scratch. The defaults are DDPNAS's search network (Sec. 4): 6 cells
    of 16 channels.

    Args:
        operations: Operations on offer on each edge.
        groups: Whether a search keeps one operation with parameters and one without.
        final: Fields of `SearchedDartsConfig` that differ in networks that are trained from scratch, e.g.
            {"width": 36, "num_cells": 20}. `reduction_layers` follow from the number of cells unless given there.
        cost_size: Height and width of the pictures that costs refer to, one number or [height, width]. None:
            `image_size`.
    """

    model_type = "darts_supernet"
    left_out_at_default = (*SearchedDartsConfig.left_out_at_default, "cost_size")

    width: int = 16
    num_cells: int = 6
    search_network: bool = True
    operations: list[str] | tuple[str, ...] = OPERATIONS
    groups: bool = True
    final: dict | None = None
    cost_size: int | list[int] | tuple[int, ...] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.operations = list(self.operations)
        super().__post_init__(**kwargs)

    def space(self) -> SearchSpace:
        """Returns the search space of these cells."""
        return darts_space(num_nodes=self.num_nodes, operations=self.operations, groups=self.groups)

    def final_config(self) -> DartsSupernetConfig:
        """Returns the sizes of networks that are trained from scratch; their BatchNorm scales and shifts."""
        fields = {k: v for k, v in self.to_dict().items() if k not in _NOT_PASSED_ON}
        changes = dict(self.final or {})
        if "num_cells" in changes:
            fields["reduction_layers"] = None
        return DartsSupernetConfig(**{**fields, "search_network": False, **changes, "final": None})


class DartsSupernet(Supernet, SearchedDartsPreTrainedModel):
    """The weights of every operation on every edge of every cell, and of the stem, for any head.

    Args:
        config: Sizes and operations.
    """

    config: DartsSupernetConfig
    config_class = DartsSupernetConfig
    papers = ("ddpnas", PAPER)

    def __init__(self, config: DartsSupernetConfig) -> None:
        super().__init__(config)
        self.stem = SearchedDartsStem(config)
        self.cells = nn.ModuleList(_SupernetCell(config, i) for i in range(config.num_cells))

    @cached_property
    def search_space(self) -> SearchSpace:
        return self.config.space()

    @cached_property
    def final(self) -> Supernet:
        if not self.config.search_network and self.config.final is None:
            return self
        with torch.device("meta"):
            return type(self)(self.config.final_config())

    def subnet_config(self, architecture: Architecture) -> SearchedDartsConfig:
        fields = {k: v for k, v in self.config.to_dict().items() if k not in _SUPERNET_ONLY}
        edges = cell_edges(self.config.num_nodes)
        cells = {kind: [architecture[edge_name(kind, *edge)] for edge in edges] for kind in KINDS}
        return SearchedDartsConfig(**{**fields, **cells})

    def window(self, name: str, architecture: Architecture) -> Window:
        source = name.removeprefix("darts.features.").removeprefix("darts.")
        if source.startswith("cells.") and ".edges." in source:
            _, cell, _, edge, rest = source.split(".", 4)
            source = f"cells.{cell}.edges.{edge}.{architecture[self._choice(int(cell), edge)]}.{rest}"
        return Window(source)

    def _choice(self, cell: int, edge: str) -> str:
        return f"{self._kind(cell)}.{edge.replace('_', '.')}"

    def _kind(self, cell: int) -> str:
        return KINDS[cell in self.config.reduction_layers]

    def choice_modules(self, architecture: Architecture) -> Mapping[str, Sequence[str]]:
        modules: dict[str, list[str]] = {choice: [] for choice in architecture}
        for cell in range(self.config.num_cells):
            for source, target in cell_edges(self.config.num_nodes):
                choice = edge_name(self._kind(cell), source, target)
                if architecture[choice] != NONE:
                    modules[choice].append(f"darts.features.cells.{cell}.edges.{edge_key(source, target)}")
        return modules

    def example_inputs(self) -> dict[str, torch.Tensor]:
        return example_pictures(self.config)


class DartsSupernetForImageClassification(DartsSupernet):
    """The weights of every operation on every edge of every cell.

    All architectures share the stem, the preprocessing of cell inputs and the classifier.

    Args:
        config: Sizes and operations.
    """

    subnet_class = SearchedDartsForImageClassification

    def __init__(self, config: DartsSupernetConfig) -> None:
        super().__init__(config)
        self.classifier = nn.Linear(config.stage_widths[-1], config.num_labels)
        self.post_init()


class DartsSupernetForSemanticSegmentation(SegmentationMixin, DartsSupernet):
    """The weights of every operation on every edge of every cell, for networks that tell the class of each pixel.

    All architectures share the stem, the preprocessing of cell inputs and the head. The space is that of the
    classifiers: cells that a search finds on one task are cells of the other.

    Args:
        config: Sizes and operations.
    """

    subnet_class = SearchedDartsForSemanticSegmentation
    papers = ("ddpnas", PAPER, "deeplabv3")

    def __init__(self, config: DartsSupernetConfig) -> None:
        super().__init__(config)
        self.segmentation_head = build_segmentation_head(config)
        self.post_init()


class _SupernetCell(nn.Module):
    """The modules of a cell, with all operations on every edge."""

    def __init__(self, config: DartsSupernetConfig, index: int) -> None:
        super().__init__()
        before, last, width = config.cell_shapes[index]
        reduces = index in config.reduction_layers
        twice = index - 1 in config.reduction_layers or (index == 0 and config.stem == "imagenet")
        self.before = (SearchedDartsReduction if twice else SearchedDartsConvLayer)(config, before, width)
        self.last = SearchedDartsConvLayer(config, last, width)
        self.edges = nn.ModuleDict()
        for source, target in cell_edges(config.num_nodes):
            stride = 2 if reduces and source < 2 else 1
            self.edges[edge_key(source, target)] = nn.ModuleDict(
                {str(o): build_operation(config, o, width, stride) for o in config.operations if o != NONE}
            )


_NOT_PASSED_ON = {"model_type", "architectures", "transformers_version", "out_features", "out_indices", "stage_names"}
_SUPERNET_ONLY = {"model_type", "architectures", "transformers_version", "operations", "groups", "final", "cost_size"}
