"""Search DARTS cells once with DDPNAS, derive a network, and train it from scratch in its final size.

    python recipes/ddp_cells_cifar10.py --output_dir runs/digit-cells         # handwritten digits, minutes on a CPU
    accelerate launch recipes/ddp_cells_cifar10.py --config recipes/ddp_cells_cifar10.yaml --output_dir runs/cells

Run the same command again to go on after an interruption: the search goes on where it was, finished networks are kept,
and the one in training starts anew. Add limits to get more networks from the same search.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import searchhub
from searchhub import ArchitectureDistribution, SearchResult
from searchhub.callbacks.progress import ProgressDisplay
from searchhub.data.loading import describe
from searchhub.errors import SearchhubError
from searchhub.files import write_text
from searchhub.networks.choose_cells import choose_cells
from searchhub.networks.saved_trainer import save_trainer
from searchhub.networks.trainer import NetworkTrainer
from searchhub.training.batches import check_batch_size
from searchhub.workflows.arguments import ImageDataArguments, RunArguments, parse
from searchhub.workflows.cell_arguments import (
    CellArguments,
    CellNetworkArguments,
    CellSearchArguments,
    CellTrainingArguments,
    describe_cells,
)
from searchhub.workflows.dry_run import estimate
from searchhub.workflows.reloading import reload_images
from searchhub.workflows.stages import begin, search_shared, spent, summarize_networks

KINDS = (
    ImageDataArguments,
    CellArguments,
    CellSearchArguments,
    CellTrainingArguments,
    CellNetworkArguments,
    RunArguments,
)


def main(argv: list[str]) -> None:
    """Search, derive, train, compare, reload."""
    data, sizes, searching, training, wanted, run = arguments = parse(KINDS, argv, __doc__)
    folder, seed = Path(run.output_dir), run.seed
    limits, settings, final_settings = wanted.read(), training.search_settings(), training.final_settings()
    accelerator = begin(training, run)
    say = accelerator.print
    with accelerator.main_process_first():
        task = data.task(seed)
    say(f"Data: {describe(task)}")
    # On the device that trains: a dry run's times are of it.
    supernet = sizes.supernet(task.num_labels, task.image_size, seed).to(accelerator.device)
    training.check_sizes(supernet.final.config)
    space = supernet.search_space
    searcher = searching.build(space, seed)
    say(f"Space: {len(space.choices)} edges of two kinds of cell, {space.size:,} architectures")
    # Limits are of the networks that are trained from scratch, not of those of the search.
    costs = (searchhub.macs_table(supernet.final), searchhub.params_table(supernet.final))
    if run.dry_run:
        say(estimate(supernet, task, settings, searcher, costs, limits, training.epochs, final_settings))
        return
    anything = SearchResult(space, (), ArchitectureDistribution.uniform(space)).with_costs(*costs)
    choose_cells(anything, limits, random_networks=0, seed=seed)  # an error here is before the search, not after it
    check_batch_size(task, "full", final_settings, accelerator)

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
            training.final_task(task),
            final_settings,
            accelerator,
            epochs=training.epochs,
            seed=seed,
            folder=folder,
            search_settings={"searcher": dict(result.searcher), "training": settings.to_dict()},
            search_cost=spent(result, accelerator),
            command=["python", *sys.argv],
        )
        save_trainer(trainer)
        networks = choose_cells(
            result, limits, random_networks=wanted.random_networks, seed=seed, on_unmet=progress.message
        )
        published = [(n.name, n.architecture) for n in networks if n.published]
        if accelerator.is_main_process:
            write_text(folder / "report" / "genotypes.txt", describe_cells(published))
        reports = trainer.train_all(networks, progress)
    accelerator.end_training()
    if accelerator.is_main_process:
        reload = partial(reload_images, Path(__file__).with_name("eval_images.py"), data=data, seed=seed)
        summarize_networks(result, networks, reports, task, folder, reload, also=describe_cells(published).splitlines())


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
