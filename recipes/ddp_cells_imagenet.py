"""Train a network of cells that were searched elsewhere, e.g. on CIFAR-10, on ImageNet (DDPNAS Sec. 4.2).

    accelerate launch recipes/ddp_cells_imagenet.py --config recipes/ddp_cells_imagenet.yaml \
        --cells runs/cells/models/derived --output_dir runs/cells-imagenet
    python recipes/ddp_cells_imagenet.py --cells "Genotype(normal=[('sep_conv_3x3', 1), …], …)" --output_dir runs/other

The cells are a genotype as DARTS writes it, a file that holds one, FILE:NAME for one of several in a file (a run's
report/genotypes.txt), or a published network's folder. The network is written as a Hub-ready folder; a finished one is
kept, and a training that was interrupted starts anew.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import searchhub
from searchhub import DartsSupernetForImageClassification, SearchResult
from searchhub.callbacks.progress import ProgressDisplay
from searchhub.data.loading import describe
from searchhub.errors import InvalidInputError, SearchhubError
from searchhub.formatting import human
from searchhub.networks.choose_cells import random_beside
from searchhub.networks.network import Network, check_name
from searchhub.networks.saved_trainer import save_trainer
from searchhub.networks.trainer import NetworkTrainer
from searchhub.run_folder import RUN_CONFIG
from searchhub.training.batches import check_batch_size
from searchhub.workflows.arguments import ImageDataArguments, RunArguments, option, parse
from searchhub.workflows.cell_arguments import CellTrainingArguments, FinalCellArguments, read_cells, supernet_config
from searchhub.workflows.reloading import reload_images
from searchhub.workflows.stages import begin, summarize_networks


@dataclass
class TransferArguments:
    """Which cells."""

    cells: str = option("", "A genotype, a FILE or FILE:NAME that holds it, or a published network's folder.")
    name: str = option("transferred", "Of the network and its folder.")
    random_networks: int = option(0, "Random cells of its number of parameters to train beside it.")


KINDS = (ImageDataArguments, FinalCellArguments, CellTrainingArguments, TransferArguments, RunArguments)


def main(argv: list[str]) -> None:
    """Read the cells, train, reload."""
    data, sizes, training, transfer, run = parse(KINDS, argv, __doc__)
    folder, seed = Path(run.output_dir), run.seed
    genotype, settings = read_cells(transfer.cells), training.final_settings()
    if (folder / RUN_CONFIG).exists():
        raise InvalidInputError(f"`{folder}` must not hold a search where nobody searches. Choose another folder.")
    architecture = genotype.architecture()
    check_name(transfer.name, folder, architecture)
    accelerator = begin(training, run)
    say = accelerator.print
    with accelerator.main_process_first():
        task = training.final_task(data.task(seed))
    say(f"Data: {describe(task)}")
    config = supernet_config(
        num_labels=task.num_labels,
        image_size=task.image_size,
        num_nodes=genotype.num_nodes,
        search_network=False,
        **sizes.final_sizes(),
    )
    training.check_sizes(config)
    networks_of = DartsSupernetForImageClassification(config)
    costs = (searchhub.macs_table(networks_of), searchhub.params_table(networks_of))
    say(f"Cells: {genotype}")
    say(f"Network: {human(costs[0](architecture))} multiply-adds, {human(costs[1](architecture))} parameters")
    check_batch_size(task, "full", settings, accelerator)
    if run.dry_run:
        return
    result = SearchResult(networks_of.search_space, (), searcher={"searcher": "transferred"}).with_costs(*costs)
    network = Network(transfer.name, architecture)
    with ProgressDisplay(1, enabled=accelerator.is_main_process) as progress:
        networks = [network, *random_beside(network, result, transfer.random_networks, seed, progress.message)]
        trainer = NetworkTrainer(
            networks_of,
            result,
            task,
            settings,
            accelerator,
            epochs=training.epochs,
            seed=seed,
            folder=folder,
            search_settings={"searcher": {"searcher": "transferred"}, "cells": str(genotype)},
            command=["python", *sys.argv],
        )
        save_trainer(trainer)
        reports = trainer.train_all(networks, progress)
    accelerator.end_training()
    if accelerator.is_main_process:
        reload = partial(reload_images, Path(__file__).with_name("eval_images.py"), data=data, seed=seed)
        summarize_networks(result, networks, reports, task, folder, reload)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print(
            "Interrupted. Run the same command again to go on: finished networks are kept, the one in training starts "
            "anew.",
            file=sys.stderr,
        )
        sys.exit(130)
