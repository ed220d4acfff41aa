"""Settings of recipes for semantic segmentation: the pictures and masks, and networks with a head for each pixel."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from searchhub.data.pairs import PairAugmentation
from searchhub.data.segmentation import SegmentationTask
from searchhub.data.segmentation_loading import load_segmentation_task
from searchhub.errors import InvalidInputError
from searchhub.hub.pretrained import find_folder, load_model
from searchhub.models.darts.configuration_darts import SearchedDartsConfig
from searchhub.models.darts.supernet_darts import DartsSupernetConfig, DartsSupernetForSemanticSegmentation
from searchhub.models.mobile.configuration_mobile import SearchedMobileConfig
from searchhub.models.mobile.supernet_mobile import MobileSupernetConfig, MobileSupernetForSemanticSegmentation
from searchhub.models.supernet import Supernet
from searchhub.space import Architecture
from searchhub.training.settings import TrainingSettings
from searchhub.workflows.arguments import RecipeTrainingArguments, option
from searchhub.workflows.cell_arguments import CellArguments, read_cells, supernet_config
from searchhub.workflows.mobile_arguments import MobileArguments

FAMILIES = ("mobile", "darts")

_CELL_SIZES = ("stem", "stem_multiplier", "width", "num_cells", "reduction_layers", "num_nodes", "search_network")
"""Fields in which a network of cells brings its sizes."""

Config = TypeVar("Config", SearchedMobileConfig, SearchedDartsConfig)


@dataclass
class SegmentationDataArguments:
    """The pictures with their masks, how they are split, and how training parts are cut."""

    dataset: str = option(
        "", "Hub id, parquet, a folder of pictures and masks, or one with Cityscapes' leftImg8bit and gtFine."
    )
    image_column: str | None = option(None, "Column of pictures. Default: the one that is called so.")
    mask_column: str | None = option(None, "Column of masks. Default: the other column of pictures.")
    label_names: list[str] | None = option(
        None, "Class names, or a text file with one on each line. Default: the numbers in the masks."
    )
    void_label: int | None = option(None, "Another value than 255 of pixels that belong to no class.")
    image_size: list[int] | None = option(
        None, "Height and width of whole pictures. Default: those of the first training picture."
    )
    crop_size: list[int] | None = option(None, "Height and width of training parts. Default: `image_size`.")
    scale: list[float] = option([0.5, 2.0], "Smallest and largest factor by which training pictures are resized.")
    flip: bool = option(True, "Mirror training pictures.")
    validation_size: float = option(0.2, "Share, or number, of training pictures that form the validation split.")
    test_size: float = option(0.2, "Share, or number, that forms the test split, if the data set has none.")
    validation_blocks: int | None = option(
        None,
        "Stretches of frames that validation consists of, drawn from train. Default: the data set's own split, or 4.",
    )
    validation_gap: int | None = option(
        None, "Frames at each end of a stretch that are left out. Default: 2, and 1 at stretches of one or two frames."
    )
    group_column: str | None = option(None, "Column, as of drives or cities, whose values are drawn whole instead.")
    max_train_samples: int | None = option(None, "Largest number of training pictures to use.")
    max_eval_samples: int | None = option(None, "Largest number of validation pictures, and of test pictures, to use.")
    decode_workers: int | None = option(None, "Threads that decode in each process. Default: one per processor core.")

    def task(self, seed: int) -> SegmentationTask:
        """Returns the task of the data set, ready to train on.

        Args:
            seed: Seed of what is held out.

        Raises:
            InvalidInputError: There is no data set, or it does not fit the settings.
        """
        if not self.dataset:
            raise InvalidInputError("`--dataset` must name pictures and masks, but is empty. See docs/my_data.md.")
        load = partial(
            load_segmentation_task,
            self.dataset,
            image_column=self.image_column,
            mask_column=self.mask_column,
            label_names=self._label_names(),
            void_label=self.void_label,
            image_size=_height_and_width("image_size", self.image_size),
            validation_size=self.validation_size,
            test_size=self.test_size,
            validation_blocks=self.validation_blocks,
            validation_gap=self.validation_gap,
            group_column=self.group_column,
            max_train_samples=self.max_train_samples,
            max_eval_samples=self.max_eval_samples,
            workers=self.decode_workers,
            seed=seed,
        )
        crop = _height_and_width("crop_size", self.crop_size)
        if crop is None:  # parts are as large as whole pictures, whose size may only be known once these are read
            crop = _height_and_width("image_size", self.image_size) or load().image_size
        return load(augmentation=PairAugmentation(crop, (self.scale[0], self.scale[-1]), self.flip))

    def _label_names(self) -> list[str] | str | None:
        """Returns class names, or the path of their file: a single word that is one."""
        names = self.label_names
        return names[0] if names and len(names) == 1 and Path(names[0]).is_file() else names


@dataclass
class SegmentationTrainingArguments(RecipeTrainingArguments):
    """Settings by which trials and final networks are trained, with segmentation's schedule."""

    schedule: str = option("poly", "Way in which the learning rate falls.", choices=["cosine", "poly"])
    auxiliary_weight: float = option(
        0.0, "Weight of the loss of an FCN on the stage before the last, in the final training. DeepLabV3: 0.4."
    )

    def final_settings(self) -> TrainingSettings:
        """Returns the settings of the final training."""
        return dataclasses.replace(super().final_settings(), auxiliary_weight=self.auxiliary_weight)


@dataclass
class SegmentationNetworkArguments:
    """The networks: a backbone, the head that tells the class of each pixel, and the size that costs refer to."""

    family: str = option("mobile", "Backbones to search.", choices=list(FAMILIES))
    transfer: str | None = option(
        None,
        "No search: a network that was found on another task, under the head, in its own sizes. A classifier's folder "
        "or Hub id; of cells also a genotype, or a file that holds it.",
    )
    transfer_weights: bool | None = option(
        None,
        "Start from that network's trained weights, all but its classifier's. `false`: from scratch. Default: yes, but "
        "not of a genotype, which has none.",
        nargs="?",
        const=True,
    )
    segmentation_head: str = option("aspp", "Head: DeepLabV3's or MobileNetV3's.", choices=["aspp", "lraspp"])
    output_stride: int | None = option(
        None, "How many times smaller than the picture the last map is, by dilation. Default: as the strides say."
    )
    aspp_width: int | None = option(None, "Channels of each branch of the head. Default: 256; of `lraspp` 128.")
    aspp_rates: list[int] | None = option(None, "Dilations of the head's branches. Default: by the output stride.")
    aspp_separable: bool = option(False, "Depthwise convolutions in the head's branches.")
    aspp_dropout: float = option(0.0, "Dropout before the classifier.")
    cost_size: list[int] | None = option(
        None, "Height and width of the pictures that limits, costs and latency refer to. Default: `image_size`."
    )

    def __post_init__(self) -> None:
        if self.transfer is None and self.transfer_weights is not None:
            raise InvalidInputError(
                "`--transfer_weights` is of a network that `--transfer` names. Name it, or drop this."
            )

    def check(self, training: RecipeTrainingArguments) -> None:
        """Checks, before any work, that networks do not start from two places.

        Raises:
            InvalidInputError: They would start from weights of a search, which does not take place.
        """
        if self.transfer is not None and training.inherit_weights:
            raise InvalidInputError(
                "`--inherit_weights` is of a search's weights, but with `--transfer` nothing is searched. Drop it: "
                "`--transfer_weights` says whether networks start from those of the other network."
            )

    @property
    def takes_weights(self) -> bool:
        """Whether networks start from the trained weights of the one that was found elsewhere.

        Raises:
            InvalidInputError: They are to, but cells were given as text.
        """
        if self.transfer is None:
            return False
        if self.transfer_weights and self._folder is None:
            raise InvalidInputError(
                "`--transfer_weights` needs the folder or Hub id of a trained network, but `--transfer` is a genotype. "
                "Drop one of the two."
            )
        return self._folder is not None and self.transfer_weights is not False

    def words(self) -> str:
        """Returns what is taken of the network that was found elsewhere, for a person."""
        if self.takes_weights:
            return f"`{self.transfer}` in its own sizes with its trained weights, under a new head"
        sizes = " in its own sizes" if self.family == "mobile" else ", its cells alone,"
        return f"`{self.transfer}`{sizes} under the head, from scratch"

    def provenance(self) -> dict[str, str]:
        """Returns what cards tell of the weights that networks start from, as arguments of a `SearchTrainer`."""
        if not self.takes_weights:
            return {}
        base = {} if Path(str(self.transfer)).is_dir() else {"base_model": str(self.transfer)}
        return {"start": f"weights of {self.transfer}, under a new head", **base}

    def supernet(self, task: SegmentationTask, mobile: MobileArguments, cells: CellArguments, seed: int) -> Supernet:
        """Returns the supernet, with weights that start from a seed, or from a network that was found elsewhere.

        A mobile network that was found elsewhere brings its sizes: they take the place of those in `mobile`. One of
        cells does so with its weights; without them its cells are built in the sizes of `cells`.

        Raises:
            InvalidInputError: The sizes do not make a network, or the other network is not of the family.
        """
        fields = {
            "num_labels": task.num_labels,
            "image_size": list(task.image_size),
            "cost_size": None if self.cost_size is None else list(_height_and_width("cost_size", self.cost_size) or ()),
            "segmentation_head": self.segmentation_head,
            "output_stride": self.output_stride,
            "aspp_width": self.aspp_width,
            "aspp_rates": self.aspp_rates,
            "aspp_separable": self.aspp_separable,
            "aspp_dropout": self.aspp_dropout,
        }
        torch.manual_seed(seed)
        supernet: Supernet
        if self.family == "darts":
            supernet = DartsSupernetForSemanticSegmentation(self._cells_config(cells, fields))
        else:
            supernet = MobileSupernetForSemanticSegmentation(self._mobile_config(task, mobile, fields))
        if self.takes_weights:
            take_trunk(supernet, self.transferred(supernet), self._source_folder())
        return supernet

    def transferred(self, supernet: Supernet) -> Architecture:
        """Returns the architecture of the network that was found elsewhere, in the supernet's space.

        Raises:
            InvalidInputError: It is no network of the family, or not in the space.
        """
        assert self.transfer is not None
        if self.family == "darts":
            return read_cells(self.transfer if self._folder is None else str(self._folder)).architecture()
        choices = supernet.search_space.choices
        blocks = self._source(SearchedMobileConfig).blocks
        architecture = Architecture({choice.name: block for choice, block in zip(choices, blocks, strict=True)})
        supernet.search_space.encode(architecture)  # a block that is not on offer is said
        return architecture

    def _mobile_config(
        self, task: SegmentationTask, mobile: MobileArguments, fields: dict[str, Any]
    ) -> MobileSupernetConfig:
        try:
            if self.transfer is not None:
                source = self._source(SearchedMobileConfig)
                sizes = {name: getattr(source, name) for name in mobile.sizes(32)}
                mobile = dataclasses.replace(mobile, **sizes, width_multiplier=1.0)
            return mobile.config(min(task.image_size), **fields)
        except (ValueError, TypeError, StrictDataclassError) as error:
            raise InvalidInputError(f"Sizes must make a network, but: {error}") from error

    def _cells_config(self, cells: CellArguments, fields: dict[str, Any]) -> DartsSupernetConfig:
        if not self.takes_weights:
            return cells.config(**fields)
        source = self._source(SearchedDartsConfig)
        return supernet_config(
            **{name: getattr(source, name) for name in _CELL_SIZES}, operations=cells.operations, **fields
        )

    @cached_property
    def _folder(self) -> Path | None:
        """The folder of the network that was found elsewhere. None: its cells are given as text."""
        name = str(self.transfer)
        text = "Genotype(" in name or any(map(os.path.isfile, (name, name.rpartition(":")[0])))
        return None if text and self.family == "darts" else find_folder(name)

    def _source_folder(self) -> Path:
        assert self._folder is not None
        return self._folder

    def _source(self, kind: type[Config]) -> Config:
        config = AutoConfig.from_pretrained(self._source_folder())
        if not isinstance(config, kind):
            raise InvalidInputError(
                f"`--transfer` must name a searched network of `--family {self.family}`, but `{self.transfer}` is a "
                f"{config.model_type}. Name another one, or change `--family`."
            )
        return config


def take_trunk(supernet: Supernet, architecture: Architecture, folder: Path) -> None:
    """Gives an architecture's part of a supernet the trained weights of a network, all but those of its head.

    Statistics of BatchNorm are not weights: they are measured anew.

    Args:
        supernet: The supernet, whose weights are changed in place.
        architecture: The network's architecture.
        folder: The folder of the network, of the same family and sizes.

    Raises:
        InvalidInputError: The folder holds no such network.
    """
    trunk = f"{supernet.base_model_prefix}.features."
    trained = dict(load_model(folder).named_parameters())
    taken = {name: own for name, own in supernet.subnet(architecture).named_parameters() if name.startswith(trunk)}
    wrong = [name for name, own in taken.items() if name not in trained or trained[name].shape != own.shape]
    if wrong:
        raise InvalidInputError(
            f"`{folder}` must hold weights of the same network, but lacks {wrong[:4]}, or has them in other sizes. "
            "Take its architecture alone: `--transfer_weights false`."
        )
    with torch.no_grad():
        for name, own in taken.items():
            own.copy_(trained[name])


def _height_and_width(name: str, size: list[int] | None) -> tuple[int, int] | None:
    """Returns a height and a width; a single number is both."""
    if size is None:
        return None
    if len(size) not in (1, 2):
        raise InvalidInputError(f"`--{name}` must be a height and a width, but is {size}.")
    return size[0], size[-1]
