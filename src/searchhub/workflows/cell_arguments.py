"""Settings that recipes for cells share."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from searchhub.data.images import ImageTask
from searchhub.errors import InvalidInputError
from searchhub.files import read_json_object
from searchhub.hub.contents import MODEL_CONFIG
from searchhub.models.darts.supernet_darts import DartsSupernetConfig, DartsSupernetForImageClassification
from searchhub.searchers.base import Searcher
from searchhub.space import SearchSpace
from searchhub.spaces.darts import KINDS, OPERATIONS
from searchhub.spaces.genotype import Genotype, identifier
from searchhub.training.settings import TrainingSettings
from searchhub.workflows.arguments import ImageSearcherArguments, LimitArguments, RecipeTrainingArguments, option


def supernet_config(**fields: Any) -> DartsSupernetConfig:
    """Returns the configuration of a supernet.

    Raises:
        InvalidInputError: The fields do not make a valid configuration.
    """
    try:
        return DartsSupernetConfig(**fields)
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise InvalidInputError(f"Sizes must make a network of cells, but: {error}") from error


@dataclass
class FinalCellArguments:
    """Sizes of the networks that are trained from scratch. The defaults suit 8 x 8 pictures."""

    final_width: int = option(8, "Channels of a node in the first cells of final networks, C.")
    final_num_cells: int = option(4, "Number of cells of final networks, L.")
    final_reduction_layers: list[int] | None = option(None, "Indices of reduction cells. Default: L/3 and 2L/3.")
    stem: str = option(
        "cifar", "Stem: one 3x3 convolution, or ImageNet's three of stride 2.", choices=["cifar", "imagenet"]
    )

    def final_sizes(self) -> dict[str, Any]:
        """Returns the fields of `SearchedDartsConfig` in which final networks differ."""
        return {
            "width": self.final_width,
            "num_cells": self.final_num_cells,
            "reduction_layers": self.final_reduction_layers,
            "stem": self.stem,
        }


@dataclass
class CellArguments(FinalCellArguments):
    """Sizes of the networks of the search, and of final networks."""

    width: int = option(4, "Channels of a node in the first cells of the search's networks, C.")
    num_cells: int = option(3, "Number of cells of the search's networks, L.")
    reduction_layers: list[int] | None = option(None, "Indices of reduction cells. Default: L/3 and 2L/3.")
    num_nodes: int = option(4, "Number of intermediate nodes of a cell.")
    operations: list[str] = option(list(OPERATIONS), "Operations on offer on each edge.", choices=list(OPERATIONS))

    def config(self, **fields: Any) -> DartsSupernetConfig:
        """Returns the configuration of a supernet; `fields` are the others, `num_labels` among them.

        Raises:
            InvalidInputError: The sizes of the search's networks, or of final ones, are not valid.
        """
        names = ("width", "num_cells", "reduction_layers", "num_nodes", "operations", "stem")
        fields = {**{name: getattr(self, name) for name in names}, "final": self.final_sizes(), **fields}
        supernet_config(**{**fields, **self.final_sizes(), "final": None})  # errors in final sizes would come too late
        return supernet_config(**fields)

    def supernet(self, num_labels: int, image_size: int, seed: int) -> DartsSupernetForImageClassification:
        """Returns the supernet, with weights that start from a seed."""
        torch.manual_seed(seed)
        return DartsSupernetForImageClassification(self.config(num_labels=num_labels, image_size=image_size))


@dataclass
class CellSearcherArguments(ImageSearcherArguments):
    """Settings of the searcher of cells, with DDPNAS's T."""

    estimation_epochs: int = option(3, "T of DDPNAS: how often each round repeats its draw.")

    def build(self, space: SearchSpace, seed: int) -> Searcher:
        """Returns the searcher of that name.

        Raises:
            InvalidInputError: The searcher gives no θ to derive cells from.
        """
        searcher = super().build(space, seed)
        if searcher.result().distribution is None:
            raise InvalidInputError(
                f"`--searcher` must give a θ to derive cells from, as `ddp` and `ddp-noprune` do, but "
                f"`{self.searcher}` gives none. Random cells stand beside each network: `--random_networks`."
            )
        return searcher


@dataclass
class CellTrainingArguments(RecipeTrainingArguments):
    """Settings by which cells are trained; final networks get DARTS's regularization."""

    auxiliary_weight: float = option(0.0, "Weight of an auxiliary head's loss in the final training. DARTS: 0.4.")
    drop_path: float = option(0.0, "Probability of dropped operations at the end of the final training. DARTS: 0.2.")
    cutout: int = option(0, "Side of the square that is cut out of pictures in the final training. CIFAR: 16.")

    def final_settings(self) -> TrainingSettings:
        """Returns the settings of the final training.

        Raises:
            InvalidInputError: Final networks would start from weights of the search, which have other sizes.
        """
        if self.inherit_weights:
            raise InvalidInputError("`--inherit_weights` must be left out: final networks of cells have other sizes.")
        return dataclasses.replace(
            super().final_settings(), auxiliary_weight=self.auxiliary_weight, drop_path=self.drop_path
        )

    def check_sizes(self, config: DartsSupernetConfig) -> None:
        """Checks, before any work, that networks of these sizes can be trained with these settings.

        Raises:
            InvalidInputError: The networks cannot have an auxiliary head.
        """
        if self.auxiliary_weight and not config.takes_auxiliary_head:
            raise InvalidInputError(
                "`--auxiliary_weight` must be 0 where maps are not 8 x 8 to 10 x 10 (7 x 7 or 8 x 8 after ImageNet's "
                f"stem) at two thirds of the cells, which pictures of {config.image_size} x {config.image_size} do not "
                "give with these cells. Leave it out, or change `--image_size` or `--final_num_cells`."
            )

    def final_task(self, task: ImageTask) -> ImageTask:
        """Returns the task of the final training."""
        return task.with_augmentation(cutout=self.cutout) if self.cutout else task


@dataclass
class CellNetworkArguments(LimitArguments):
    """Limits of the networks that come out of the search besides the derived one: one network per word.

    Commas join limits of one network, like `non_parameter=4,height=2` (DDPNAS Table 4).
    """

    random_networks: int = option(3, "Random cells with its number of parameters to train beside each network.")


def read_cells(name: str) -> Genotype:
    """Reads the cells to build a network from.

    Args:
        name: A genotype's text, a file that holds it, FILE:NAME for one of several in a file, or the folder of a
            published network of cells.

    Raises:
        InvalidInputError: The name is none of these.
    """
    if "Genotype(" in name:
        return Genotype.parse(name)
    file, _, which = name.rpartition(":")
    # `os.path.isfile` takes any text for a path.
    for path, chosen in ((name, None), (file, which)):
        if os.path.isfile(path):
            try:
                return Genotype.parse(Path(path).read_text(encoding="utf-8"), chosen)
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidInputError(
                    f"`{path}` must hold a genotype's text, but cannot be read: {error}."
                ) from error
            except InvalidInputError as error:
                raise InvalidInputError(f"`--cells {name}`: {error} Of several in a file: FILE:NAME.") from error
    config = read_json_object(Path(name) / MODEL_CONFIG)
    if config is None or config.get("model_type") != "searched_darts":
        raise InvalidInputError(
            "`--cells` must be a genotype's text, a file that holds it, FILE:NAME for one of several, or the folder of "
            f"a published network of cells, but `{name}` is none of these."
        )
    cells = [config.get(kind) for kind in KINDS]
    if not all(isinstance(cell, list) and all(isinstance(operation, str) for operation in cell) for cell in cells):
        raise InvalidInputError(
            f"`{Path(name) / MODEL_CONFIG}` must list the operations of {list(KINDS)}, but does not."
        )
    return Genotype.from_operations(*cells)


def describe_cells(architectures: Sequence[tuple[str, Any]]) -> str:
    """Returns a line per derived network: its name, and its cells as DARTS writes them. `read_cells` reads a line."""
    return "".join(f"{identifier(name)} = {Genotype.of(architecture)}\n" for name, architecture in architectures)
