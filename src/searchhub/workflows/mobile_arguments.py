"""Sizes of the mobile space: presets by the size of the pictures, and which options reach a limit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from searchhub.costs.counting import count_architecture
from searchhub.costs.macs import macs_per_module
from searchhub.costs.params import params_per_module
from searchhub.costs.table import CostTable
from searchhub.generation import Limit
from searchhub.models.mobile.supernet_mobile import MobileSupernetConfig, MobileSupernetForImageClassification
from searchhub.networks.choose import LimitSet
from searchhub.space import Architecture
from searchhub.spaces.mobile import ZERO
from searchhub.workflows.arguments import RecipeTrainingArguments, option

PRESETS: dict[int, dict[str, Any]] = {
    8: {
        "stem_width": 8,
        "stem_stride": 1,
        "first_width": 8,
        "stage_widths": [16, 24, 32],
        "stage_depths": [2, 2, 2],
        "stage_strides": [1, 2, 2],
        "head_width": 64,
    },
    32: {
        "stem_width": 16,
        "stem_stride": 2,
        "first_width": 8,
        "stage_widths": [16, 24, 48],
        "stage_depths": [2, 3, 3],
        "stage_strides": [2, 2, 1],
        "head_width": 192,
    },
    64: {
        "stem_width": 16,
        "stem_stride": 2,
        "first_width": 8,
        "stage_widths": [16, 24, 48, 80],
        "stage_depths": [2, 3, 3, 2],
        "stage_strides": [2, 2, 2, 1],
        "head_width": 320,
    },
    224: {
        "stem_width": 32,
        "stem_stride": 2,
        "first_width": 16,
        "stage_widths": [24, 40, 80, 96, 192, 320],
        "stage_depths": [4, 4, 4, 4, 4, 1],
        "stage_strides": [2, 2, 2, 1, 2, 1],
        "head_width": 1280,
    },
}
"""Sizes by the height and width of the pictures that they suit: those of 224 are ProxylessNAS's."""

MULTIPLIERS = (0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Width multipliers that are tried for a limit that the space does not reach."""

_STAGES = ("stage_widths", "stage_depths", "stage_strides")


def preset_for(image_size: int) -> int:
    """Returns the preset whose pictures are nearest in size, by their ratio; between two the smaller.

    >>> [preset_for(size) for size in (8, 16, 28, 96, 224)]
    [8, 8, 32, 64, 224]
    """
    return min(PRESETS, key=lambda size: abs(math.log(image_size / size)))


@dataclass
class MobileTrainingArguments(RecipeTrainingArguments):
    """Settings by which search trials and final networks are trained.

    Paths that change every step train each candidate only now and then, so that the rate is higher than where a trial
    trains its own.
    """

    learning_rate: float = option(0.1, "Peak of the learning rate in the search.")


@dataclass
class MobileArguments:
    """Sizes of the space. What is not given is as in the preset, which suits the size of the pictures."""

    preset: int | None = option(
        None, "Sizes that suit pictures of this height. Default: the nearest.", choices=list(PRESETS)
    )
    stem_width: int | None = None
    stem_stride: int | None = None
    first_width: int | None = None
    stage_widths: list[int] | None = option(None, "Channels of each stage.")
    stage_depths: list[int] | None = option(None, "Layers of each stage.")
    stage_strides: list[int] | None = option(None, "Stride of the first layer of each stage.")
    head_width: int | None = None
    expansions: list[int] = option([3, 6], "Expansion ratios on offer.")
    kernel_sizes: list[int] = option([3, 5, 7], "Kernel sizes on offer.")
    width_multiplier: float = option(1.0, "Factor on all widths.")

    def sizes(self, image_size: int) -> dict[str, Any]:
        """Returns the sizes: those that were given, and the preset's for the rest."""
        preset = PRESETS[preset_for(image_size) if self.preset is None else self.preset]
        own = {name: getattr(self, name) for name in preset}
        return {name: preset[name] if value is None else value for name, value in own.items()}

    def words(self, image_size: int) -> str:
        """Returns which preset the space has, for a person."""
        preset = preset_for(image_size) if self.preset is None else self.preset
        return f"preset {preset}, for pictures of {image_size} x {image_size}"

    def config(self, height: int, **fields: Any) -> MobileSupernetConfig:
        """Returns the configuration of a supernet.

        Args:
            height: Height of the pictures, which chooses the preset where none was given.
            fields: Other fields of the configuration, `num_labels` and `image_size` among them.
        """
        offered = {"expansions": self.expansions, "kernel_sizes": self.kernel_sizes}
        return MobileSupernetConfig.with_multiplier(
            self.width_multiplier, **{**self.sizes(height), **offered, **fields}
        )

    def supernet(self, num_labels: int, image_size: int, seed: int) -> MobileSupernetForImageClassification:
        """Returns the supernet, with weights that start from a seed."""
        torch.manual_seed(seed)
        return MobileSupernetForImageClassification(
            self.config(image_size, num_labels=num_labels, image_size=image_size)
        )

    def ways_to(
        self, limits: Sequence[LimitSet], costs: Sequence[CostTable], num_labels: int, image_size: int
    ) -> list[str]:
        """Returns, for each limit on multiply-adds or parameters that the space does not reach, options that do.

        Args:
            limits: The limits of each network.
            costs: Cost tables of the space.
            num_labels: Number of classes.
            image_size: Height and width of the pictures.
        """
        together = [(wanted,) if isinstance(wanted, Limit) else tuple(wanted) for wanted in limits]
        spans = {cost.name: cost.bounds() for cost in costs if cost.name in ("macs", "params")}
        single = dict.fromkeys(limit for group in together for limit in group if limit.name in spans)
        unmet = [limit for limit in single if not _reaches(limit, spans[limit.name])]
        variants = self._variants(num_labels, image_size) if unmet else {}
        lines = []
        for limit in unmet:
            found = []
            for option_name in ("--width_multiplier", "--preset"):  # of each the mildest that will do
                of = ((words, spans[limit.name]) for words, spans in variants.items() if words.startswith(option_name))
                found += [
                    f"`{words}` ({low:,} to {high:,})" for words, (low, high) in of if _reaches(limit, (low, high))
                ][:1]
            way = " or ".join(found) or "none of the presets and width multipliers; give sizes of your own"
            lines.append(f"{limit} is reached with {way}")
        return lines

    def _variants(self, num_labels: int, image_size: int) -> dict[str, dict[str, tuple[int, int]]]:
        """Returns the smallest and the largest cost with other width multipliers and presets, the nearest first."""
        size = preset_for(image_size) if self.preset is None else self.preset
        multipliers = sorted(set(MULTIPLIERS) - {self.width_multiplier}, key=_far_from(self.width_multiplier))
        # A preset has its own stages, which sizes that were given may not go with.
        free = dict.fromkeys(_STAGES)
        variants = {
            **{f"--width_multiplier {m:g}": dataclasses.replace(self, width_multiplier=m) for m in multipliers},
            **{
                f"--preset {preset}": dataclasses.replace(self, preset=preset, **free)
                for preset in sorted(set(PRESETS) - {size}, key=_far_from(size))
            },
        }
        return {words: sizes._spans(num_labels, image_size) for words, sizes in variants.items()}

    def _spans(self, num_labels: int, image_size: int) -> dict[str, tuple[int, int]]:
        """Returns multiply-adds and parameters of the smallest and of the largest network."""
        with torch.device("meta"):
            supernet = self.supernet(num_labels, image_size, 0)
        blocks = [f"mbconv_e{pick(self.expansions)}_k{pick(self.kernel_sizes)}" for pick in (min, max)]
        choices = supernet.search_space.choices
        ends = (
            Architecture({choice.name: ZERO if ZERO in choice.candidates else blocks[0] for choice in choices}),
            Architecture({choice.name: blocks[1] for choice in choices}),
        )
        counted = {"macs": macs_per_module, "params": params_per_module}
        counts = {
            name: [count_architecture(supernet, end, count)[""] for end in ends] for name, count in counted.items()
        }
        return {name: (low, high) for name, (low, high) in counts.items()}


def _far_from(here: float) -> Callable[[float], float]:
    return lambda there: abs(math.log(there / here))


def _reaches(limit: Limit, span: tuple[float, float]) -> bool:
    """Returns whether some architecture may meet a limit, by the smallest and the largest cost."""
    return limit.low <= span[1] and limit.high >= span[0]
