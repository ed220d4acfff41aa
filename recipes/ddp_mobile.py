"""Search a mobile (ProxylessNAS) space once with DDPNAS, then train a network for every limit.

    python recipes/ddp_mobile.py                                              # handwritten digits, minutes on a CPU
    accelerate launch recipes/ddp_mobile.py --config recipes/ddp_mobile_cifar10.yaml --dataset uoft-cs/cifar10

Run the same command again to go on after an interruption; add limits to get more networks from the same search.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from searchhub import MobileSupernetConfig, MobileSupernetForImageClassification, SearchTrainer
from searchhub.data.loading import describe
from searchhub.networks.choose import default_limits
from searchhub.workflows.arguments import (
    ImageDataArguments,
    ImageSearcherArguments,
    NetworkArguments,
    RecipeTrainingArguments,
    RunArguments,
    option,
    parse,
)
from searchhub.workflows.stages import main_first, run, settings_of, start_run


@dataclass
class SpaceArguments:
    """Sizes of the space. The defaults suit 8 x 8 pictures."""

    stem_width: int = 8
    stem_stride: int = 1
    first_width: int = 8
    stage_widths: list[int] = option([16, 24, 32], "Channels of each stage.")
    stage_depths: list[int] = option([2, 2, 2], "Layers of each stage.")
    stage_strides: list[int] = option([1, 2, 2], "Stride of the first layer of each stage.")
    head_width: int = 64
    expansions: list[int] = option([3, 6], "Expansion ratios on offer.")
    kernel_sizes: list[int] = option([3, 5, 7], "Kernel sizes on offer.")
    width_multiplier: float = option(1.0, "Factor on all widths.")

    def supernet(self, num_labels: int, image_size: int, seed: int) -> MobileSupernetForImageClassification:
        """Returns the supernet, with weights that start from a seed."""
        sizes = {**dataclasses.asdict(self), "num_labels": num_labels, "image_size": image_size}
        torch.manual_seed(seed)
        config = MobileSupernetConfig.with_multiplier(sizes.pop("width_multiplier"), **sizes)
        return MobileSupernetForImageClassification(config)


KINDS = (
    ImageDataArguments,
    SpaceArguments,
    ImageSearcherArguments,
    RecipeTrainingArguments,
    NetworkArguments,
    RunArguments,
)


def main(argv: list[str]) -> None:
    """Search, generate, train, compare, reload."""
    data, sizes, searching, training, wanted, where = arguments = parse(KINDS, argv, __doc__)
    accelerator = start_run(training, where)
    task = main_first(accelerator, data.task, where.seed)
    accelerator.print(f"Data: {describe(task)}")
    supernet = sizes.supernet(task.num_labels, task.image_size, where.seed)
    searcher = searching.build(supernet.search_space, where.seed)
    accelerator.print(f"Space: {len(searcher.space.choices)} layers, {searcher.space.size:,} architectures")
    trainer = SearchTrainer(
        supernet,
        task,
        training.search_arguments(where, searcher, scored=searching.scored),
        evaluator_options=searching.evaluator_options(),
        score=searching.score,
        objective=searching.finder(searcher.space),
        more_costs=wanted.latency_tables(supernet),
        accelerator=accelerator,
        tracked=settings_of(arguments),
    )
    limits = wanted.limits(trainer.costs) or default_limits(trainer.costs)
    if where.dry_run:
        accelerator.print(trainer.estimate(*limits))
        return
    beside = {"random_networks": wanted.random_networks, "baselines": wanted.baselines}
    trainer.check(*limits, **beside)
    networks = trainer.train(*limits, largest=wanted.train_largest, **beside)
    trainer.summarize(networks)


if __name__ == "__main__":
    run(main)
