"""Early-stop many plain networks of other widths, divide them by how they learn, train each cluster's winner (DC-NAS).

    python recipes/dc_channels_cifar100.py                                    # handwritten digits, minutes on a CPU
    accelerate launch recipes/dc_channels_cifar100.py --config recipes/dc_channels_cifar100.yaml

Run the same command again to go on after an interruption. To divide the same early-stopped networks otherwise, or train
the winners otherwise, add `--early_from` with this run's folder, and name another `--output_dir`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from searchhub import ChannelCnnSupernet, ChannelCnnSupernetConfig, ScratchEvaluator, SearchResult, SearchTrainer
from searchhub.data.loading import describe
from searchhub.workflows.arguments import (
    DivideArguments,
    ImageDataArguments,
    RecipeTrainingArguments,
    RunArguments,
    option,
    parse,
)
from searchhub.workflows.divide_and_conquer import divide_and_conquer, plan
from searchhub.workflows.stages import main_first, run, settings_of, start_run


@dataclass
class SpaceArguments:
    """Sizes of the space. The defaults suit 8 x 8 pictures."""

    channels: list[int] = option([4, 8, 16, 32], "Channels of each layer of the base network.")
    ratios: list[float] = option([0.25, 0.5, 1, 2], "Multiples of its channels on offer in every layer.")
    pool_after: list[int] = option([2, 4], "Layers, counted from 1, after which height and width are halved.")

    def supernet(self, num_labels: int, image_size: int, seed: int) -> ChannelCnnSupernet:
        """Returns the supernet, which knows the space and its networks. Its weights are not used."""
        torch.manual_seed(seed)
        # Whole numbers as such, so that ratios read as in the paper.
        ratios = [int(ratio) if ratio == int(ratio) else ratio for ratio in self.ratios]
        sizes = {"channels": self.channels, "ratios": ratios, "pool_after": self.pool_after}
        return ChannelCnnSupernet(ChannelCnnSupernetConfig(**sizes, num_labels=num_labels, image_size=image_size))


KINDS = (ImageDataArguments, SpaceArguments, DivideArguments, RecipeTrainingArguments, RunArguments)


def main(argv: list[str]) -> None:
    """Early-stop, divide, train the winners, choose, reload."""
    data, sizes, dividing, training, where = arguments = parse(KINDS, argv, __doc__)
    accelerator = start_run(training, where)
    say = accelerator.print
    task = main_first(accelerator, data.task, where.seed)
    say(f"Data: {describe(task)}")
    supernet = sizes.supernet(task.num_labels, task.image_size, where.seed)
    space = supernet.search_space
    say(f"Space: {len(space.choices)} layers, {space.size:,} architectures")
    searcher = dividing.searcher(space, training.epochs, where.seed)
    say(dividing.words(searcher))
    args = training.search_arguments(where, searcher, train_on="train", inherit_weights=False)
    trainer = SearchTrainer(supernet, task, args, accelerator=accelerator)
    early = ScratchEvaluator(supernet, task, args.training, accelerator, seed=where.seed, **dividing.recorded())
    winners = trainer.network_trainer(SearchResult(space, ()).with_costs(*trainer.costs))
    if where.dry_run:
        say(plan(searcher, early, winners))
        return
    tracked = settings_of(arguments)
    divide_and_conquer(searcher, early, winners, early_from=dividing.early_from, tracked=tracked).conclude()


if __name__ == "__main__":
    run(main)
