"""Search a mobile (ProxylessNAS) space once with DDPNAS, then train a network for every limit.

    python recipes/ddp_mobile.py                                              # handwritten digits, minutes on a CPU
    accelerate launch recipes/ddp_mobile.py --config recipes/ddp_mobile_cifar10.yaml --dataset uoft-cs/cifar10

Run the same command again to go on after an interruption; add limits to get more networks from the same search.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

import searchhub
from searchhub import MobileSupernetConfig, MobileSupernetForImageClassification
from searchhub.callbacks.progress import ProgressDisplay
from searchhub.data.loading import describe
from searchhub.errors import SearchhubError
from searchhub.networks.choose import check_limits, choose_networks, limits_from
from searchhub.networks.saved_trainer import save_trainer
from searchhub.networks.trainer import NetworkTrainer
from searchhub.training.batches import check_batch_size
from searchhub.workflows.arguments import (
    ImageDataArguments,
    ImageSearchArguments,
    NetworkArguments,
    RecipeTrainingArguments,
    RunArguments,
    option,
    parse,
)
from searchhub.workflows.dry_run import estimate
from searchhub.workflows.reloading import reload_images
from searchhub.workflows.stages import begin, search_shared, spent, summarize_networks


@dataclass
class SpaceArguments:
    """Sizes of the space; the defaults suit 8 x 8 pictures."""

    stem_width: int = 8
    stem_stride: int = 1
    first_width: int = 8
    stage_widths: list[int] = option([16, 24, 32], "Channels of each stage.")
    stage_depths: list[int] = option([2, 2, 2], "Layers of each stage.")
    stage_strides: list[int] = option([1, 2, 2], "Stride of the first layer of each stage.")
    head_width: int = 64
    expansions: list[int] = option([3, 6], "Expansion ratios on offer.")
    kernel_sizes: list[int] = option([3, 5, 7], "Kernel sizes on offer.")
    width_multiplier: float = option(1.0, "Scales all widths.")

    def supernet(self, num_labels: int, image_size: int, seed: int) -> MobileSupernetForImageClassification:
        """The shared weights, started from a seed."""
        sizes = {**dataclasses.asdict(self), "num_labels": num_labels, "image_size": image_size}
        torch.manual_seed(seed)
        config = MobileSupernetConfig.with_multiplier(sizes.pop("width_multiplier"), **sizes)
        return MobileSupernetForImageClassification(config)


KINDS = (
    ImageDataArguments,
    SpaceArguments,
    ImageSearchArguments,
    RecipeTrainingArguments,
    NetworkArguments,
    RunArguments,
)


def main(argv: list[str]) -> None:
    """Search, generate, train, compare, reload."""
    data, sizes, searching, training, wanted, run = arguments = parse(KINDS, argv, __doc__)
    folder, seed = Path(run.output_dir), run.seed
    accelerator = begin(training, run)
    say = accelerator.print
    with accelerator.main_process_first():
        task = data.task(seed)
    say(f"Data: {describe(task)}")
    # On the device that trains: a dry run's times are of it.
    supernet = sizes.supernet(task.num_labels, task.image_size, seed).to(accelerator.device)
    searcher = searching.build(supernet.search_space, seed)
    say(f"Space: {len(searcher.space.choices)} layers, {searcher.space.size:,} architectures")
    costs = (searchhub.macs_table(supernet), searchhub.params_table(supernet))
    settings, final_settings = training.search_settings(), training.final_settings()
    limits = limits_from(costs, wanted.max_macs, wanted.max_params)
    if run.dry_run:
        say(estimate(supernet, task, settings, searcher, costs, limits, training.epochs, final_settings))
        return
    check_batch_size(task, "full", final_settings, accelerator)
    check_limits(costs, limits, random_networks=wanted.random_networks, seed=seed)

    with ProgressDisplay(2, enabled=accelerator.is_main_process) as progress:
        result = search_shared(
            searcher,
            supernet,
            task,
            settings,
            accelerator,
            costs,
            progress,
            run,
            arguments,
            epochs_per_trial=searching.epochs_per_trial,
            max_steps_per_trial=searching.steps_per_trial,
            batch_norm_batches=searching.batch_norm_batches,
        )
        trainer = NetworkTrainer(
            supernet,
            result,
            task,
            final_settings,
            accelerator,
            epochs=training.epochs,
            seed=seed,
            folder=folder,
            inherit_weights=training.inherit_weights,
            search_settings={"searcher": dict(result.searcher), "training": settings.to_dict()},
            search_cost=spent(result, accelerator),
            command=["python", *sys.argv],
        )
        save_trainer(trainer)
        networks = choose_networks(
            result,
            limits,
            random_networks=wanted.random_networks,
            with_largest=wanted.train_largest,
            seed=seed,
            on_unmet=progress.message,
        )
        reports = trainer.train_all(networks, progress)
    accelerator.end_training()
    if accelerator.is_main_process:
        script = Path(__file__).with_name("eval_images.py")
        reload = partial(reload_images, script, data=data, seed=seed)
        summarize_networks(result, networks, reports, task, folder, reload)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to go on.", file=sys.stderr)
        sys.exit(130)
