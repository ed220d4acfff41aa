"""Early-stop many plain networks of other widths, divide them by how they learn, train each cluster's winner (DC-NAS).

    python recipes/dc_channels_cifar100.py                                    # handwritten digits, minutes on a CPU
    accelerate launch recipes/dc_channels_cifar100.py --config recipes/dc_channels_cifar100.yaml

Run the same command again to go on after an interruption. To divide the same early-stopped networks otherwise, or train
the winners otherwise, add `--early_from` with this run's folder, and name another `--output_dir`.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

import searchhub
from searchhub import ChannelCnnSupernet, ChannelCnnSupernetConfig, ScratchEvaluator
from searchhub.callbacks.progress import ProgressDisplay
from searchhub.callbacks.trackers import TrackerCallback
from searchhub.data.loading import describe
from searchhub.errors import SearchhubError
from searchhub.networks.saved_trainer import save_trainer
from searchhub.networks.trainer import NetworkTrainer
from searchhub.result import SearchResult
from searchhub.workflows.arguments import (
    DivideArguments,
    ImageDataArguments,
    RecipeTrainingArguments,
    RunArguments,
    option,
    parse,
)
from searchhub.workflows.divide_and_conquer import divide_and_conquer, plan
from searchhub.workflows.reloading import reload_images
from searchhub.workflows.stages import begin


@dataclass
class SpaceArguments:
    """Sizes of the space; the defaults suit 8 x 8 pictures."""

    channels: list[int] = option([4, 8, 16, 32], "Channels of each layer of the base network.")
    ratios: list[float] = option([0.25, 0.5, 1, 2], "On offer in every layer: multiples of its channels.")
    pool_after: list[int] = option([2, 4], "Layers, counted from 1, after which height and width are halved.")

    def supernet(self, num_labels: int, image_size: int, seed: int) -> ChannelCnnSupernet:
        """Knows the space and its networks; its weights are not used."""
        torch.manual_seed(seed)
        # Whole numbers as such, so that ratios read as in the paper.
        ratios = [int(ratio) if ratio == int(ratio) else ratio for ratio in self.ratios]
        sizes = {"channels": self.channels, "ratios": ratios, "pool_after": self.pool_after}
        return ChannelCnnSupernet(ChannelCnnSupernetConfig(**sizes, num_labels=num_labels, image_size=image_size))


KINDS = (ImageDataArguments, SpaceArguments, DivideArguments, RecipeTrainingArguments, RunArguments)


def main(argv: list[str]) -> None:
    """Early-stop, divide, train the winners, choose, reload."""
    data, sizes, dividing, training, run = arguments = parse(KINDS, argv, __doc__)
    folder, seed = Path(run.output_dir), run.seed
    accelerator = begin(training, run)
    say = accelerator.print
    with accelerator.main_process_first():
        task = data.task(seed)
    say(f"Data: {describe(task)}")
    supernet = sizes.supernet(task.num_labels, task.image_size, seed)
    space = supernet.search_space
    say(f"Space: {len(space.choices)} layers, {space.size:,} architectures")
    searcher = dividing.searcher(space, training.epochs, seed)
    say(dividing.words(searcher))
    progress = ProgressDisplay(1, enabled=accelerator.is_main_process)
    early = ScratchEvaluator(
        supernet,
        task,
        training.search_settings(),
        accelerator,
        features=dividing.features,
        feature_examples=dividing.feature_examples,
        seed=seed,
        on_step=progress.step,
    )
    trainer = NetworkTrainer(
        supernet,
        SearchResult(space, ()).with_costs(searchhub.macs_table(supernet), searchhub.params_table(supernet)),
        task,
        training.final_settings(),
        accelerator,
        epochs=training.epochs,
        seed=seed,
        folder=folder,
        train_on="train",
        search_settings={"searcher": searcher.config, "training": early.settings.to_dict()},
        command=["python", *sys.argv],
    )
    if run.dry_run:
        say(plan(searcher, early, trainer))
        return

    callbacks = [progress.callback("early-stop, divide, train the winners")]
    if run.report_to:
        config = {name: value for group in arguments for name, value in dataclasses.asdict(group).items()}
        callbacks.append(TrackerCallback(accelerator, config))
    with progress:
        options = {"early_from": dividing.early_from, "callbacks": callbacks, "on_step": progress.step}
        found = divide_and_conquer(searcher, early, trainer, **options)
    save_trainer(found.trainer)
    accelerator.end_training()
    if accelerator.is_main_process:
        found.tell(partial(reload_images, Path(__file__).with_name("eval_images.py"), data=data, seed=seed))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to go on.", file=sys.stderr)
        sys.exit(130)
