"""The supernet of NAS-Bench-201, which holds every operation on every edge of every cell."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from searchhub.models.nasbench201.configuration_nasbench201 import SearchedNasBench201Config
from searchhub.models.nasbench201.modeling_nasbench201 import (
    SearchedNasBench201ForImageClassification,
    SearchedNasBench201PreTrainedModel,
    SearchedNasBench201Reduction,
    batch_norm,
    build_operation,
    edge_key,
)
from searchhub.models.pictures import example_pictures
from searchhub.models.supernet import Supernet, Window
from searchhub.space import Architecture, SearchSpace
from searchhub.spaces.nasbench201 import EDGES, OPERATIONS, nasbench201_space

PAPER = """@inproceedings{dong2020nasbench201,
  title={{NAS-Bench-201}: Extending the Scope of Reproducible Neural Architecture Search},
  author={Dong, Xuanyi and Yang, Yi},
  booktitle={International Conference on Learning Representations},
  year={2020}
}"""


@strict
class NasBench201SupernetConfig(SearchedNasBench201Config):
    r"""
    Configuration of the supernet: the sizes of `SearchedNasBench201Config`, which networks have both in the search and
    when they are trained from scratch.

    Args:
        groups: Whether a search keeps one operation with parameters and one without.
    """

    model_type = "nasbench201_supernet"

    search_network: bool = True
    groups: bool = True

    def space(self) -> SearchSpace:
        """Returns the search space of the cell."""
        return nasbench201_space(groups=self.groups)


class NasBench201SupernetForImageClassification(Supernet, SearchedNasBench201PreTrainedModel):
    """The weights of every operation on every edge of every cell.

    All architectures share the stem, the blocks between stages and the classifier.

    Args:
        config: Sizes.
    """

    config: NasBench201SupernetConfig
    config_class = NasBench201SupernetConfig
    subnet_class = SearchedNasBench201ForImageClassification
    papers = ("ddpnas", PAPER)

    def __init__(self, config: NasBench201SupernetConfig) -> None:
        super().__init__(config)
        widths = config.stage_widths
        self.stem = nn.Sequential(
            nn.Conv2d(config.num_channels, config.width, 3, padding=1, bias=False), batch_norm(config, config.width)
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(_edges(config, width) for _ in range(config.cells_per_stage)) for width in widths
        )
        self.reductions = nn.ModuleList(
            SearchedNasBench201Reduction(config, one, other) for one, other in itertools.pairwise(widths)
        )
        self.normalization = batch_norm(config, widths[-1])
        self.classifier = nn.Linear(widths[-1], config.num_labels)
        self.post_init()

    @cached_property
    def search_space(self) -> SearchSpace:
        return self.config.space()

    @cached_property
    def final(self) -> Supernet:
        if not self.config.search_network:
            return self
        fields = {k: v for k, v in self.config.to_dict().items() if k not in _ABOUT}
        with torch.device("meta"):
            return type(self)(NasBench201SupernetConfig(**{**fields, "search_network": False}))

    def subnet_config(self, architecture: Architecture) -> SearchedNasBench201Config:
        fields = {k: v for k, v in self.config.to_dict().items() if k not in {*_ABOUT, "groups"}}
        operations = [architecture[choice.name] for choice in self.search_space.choices]
        return SearchedNasBench201Config(**{**fields, "operations": operations})

    def window(self, name: str, architecture: Architecture) -> Window:
        source = name.removeprefix("nasbench201.").removeprefix("features.")
        if source.startswith("stages."):
            _, stage, cell, _, edge, rest = source.split(".", 5)
            source = f"stages.{stage}.{cell}.{edge}.{architecture[edge.replace('_', '.')]}.{rest}"
        return Window(source)

    def choice_modules(self, architecture: Architecture) -> Mapping[str, Sequence[str]]:
        cells = [(i, j) for i in range(self.config.num_stages) for j in range(self.config.cells_per_stage)]
        return {
            choice.name: ()
            if architecture[choice.name] == "none"
            else tuple(f"nasbench201.features.stages.{i}.{j}.edges.{edge_key(*edge)}" for i, j in cells)
            for edge, choice in zip(EDGES, self.search_space.choices, strict=True)
        }

    def example_inputs(self) -> dict[str, torch.Tensor]:
        return example_pictures(self.config)


def _edges(config: NasBench201SupernetConfig, width: int) -> nn.ModuleDict:
    """Returns all operations on every edge of a cell."""
    return nn.ModuleDict(
        {
            edge_key(*edge): nn.ModuleDict({o: build_operation(config, o, width) for o in OPERATIONS if o != "none"})
            for edge in EDGES
        }
    )


_ABOUT = {"model_type", "architectures", "transformers_version", "operations"}
