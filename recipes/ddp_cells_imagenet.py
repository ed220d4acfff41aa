"""Train a network of cells that were searched elsewhere, e.g. on CIFAR-10, on ImageNet (DDPNAS Sec. 4.2).

    accelerate launch recipes/ddp_cells_imagenet.py --config recipes/ddp_cells_imagenet.yaml \
        --cells runs/cells/models/derived --output_dir runs/cells-imagenet
    python recipes/ddp_cells_imagenet.py --cells "Genotype(normal=[('sep_conv_3x3', 1), …], …)" --output_dir runs/other

The cells are a genotype as DARTS writes it, a file that holds one, FILE:NAME for one of several in a file (a run's
report/genotypes.txt), or a published network's folder. The network is written as a Hub-ready folder; a finished one is
kept, and a training that was interrupted starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from searchhub import DartsSupernetForImageClassification, SearchTrainer
from searchhub.data.loading import describe
from searchhub.formatting import human
from searchhub.networks.choose_cells import random_beside
from searchhub.networks.network import Network, check_name
from searchhub.searchers.uniform import UniformSearcher
from searchhub.workflows.arguments import ImageDataArguments, RunArguments, option, parse
from searchhub.workflows.cell_arguments import CellTrainingArguments, FinalCellArguments, read_cells, supernet_config
from searchhub.workflows.checks import check_no_search
from searchhub.workflows.stages import KEPT, main_first, run, start_run


@dataclass
class TransferArguments:
    """The cells to train."""

    cells: str = option("", "Genotype, FILE or FILE:NAME that holds it, or a published network's folder.")
    name: str = option("transferred", "Name of the network and its folder.")
    random_networks: int = option(0, "Random cells with its number of parameters to train beside it.")


RULE = "transferred"
"""Name that cards give to a search that took place elsewhere."""

KINDS = (ImageDataArguments, FinalCellArguments, CellTrainingArguments, TransferArguments, RunArguments)


def main(argv: list[str]) -> None:
    """Read the cells, train, reload."""
    data, sizes, training, transfer, where = parse(KINDS, argv, __doc__)
    genotype, settings = read_cells(transfer.cells), training.final_settings()
    check_no_search(Path(where.output_dir))
    network = Network(transfer.name, genotype.architecture())
    check_name(network.name, where.output_dir, network.architecture)
    accelerator = start_run(training, where)
    task = training.final_task(main_first(accelerator, data.task, where.seed))
    accelerator.print(f"Data: {describe(task)}")
    config = supernet_config(
        num_labels=task.num_labels,
        image_size=task.image_size,
        num_nodes=genotype.num_nodes,
        search_network=False,
        **sizes.final_sizes(),
    )
    training.check_sizes(config)
    supernet = DartsSupernetForImageClassification(config)
    trainer = SearchTrainer(
        supernet,
        task,
        training.search_arguments(where, UniformSearcher(supernet.search_space, rule=RULE), final_training=settings),
        search_settings={"searcher": {"searcher": RULE}, "cells": str(genotype)},
        accelerator=accelerator,
    )
    macs, params = (cost(network.architecture) for cost in trainer.costs)
    accelerator.print(f"Cells: {genotype}")
    accelerator.print(f"Network: {human(macs)} multiply-adds, {human(params)} parameters")
    trainer.check()
    if where.dry_run:
        return
    beside = random_beside(network, trainer.search(), transfer.random_networks, where.seed, trainer.progress.message)
    trainer.summarize(trainer.train_networks([network, *beside]))


if __name__ == "__main__":
    run(main, way_on=KEPT)
