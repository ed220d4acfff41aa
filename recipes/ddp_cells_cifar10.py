"""Search DARTS cells once with DDPNAS, derive a network, and train it from scratch in its final size.

    python recipes/ddp_cells_cifar10.py --output_dir runs/digit-cells         # handwritten digits, minutes on a CPU
    accelerate launch recipes/ddp_cells_cifar10.py --config recipes/ddp_cells_cifar10.yaml --output_dir runs/cells

Run the same command again to go on after an interruption: the search goes on where it was, finished networks are kept,
and the one in training starts anew. Add words to `--equal`, `--max` or `--min` to get more networks from the same
search; an option with a single word holds for every network.
"""

from __future__ import annotations

from searchhub import SearchTrainer
from searchhub.data.loading import describe
from searchhub.files import write_text
from searchhub.workflows.arguments import ImageDataArguments, RunArguments, parse
from searchhub.workflows.cell_arguments import (
    CellArguments,
    CellNetworkArguments,
    CellSearcherArguments,
    CellTrainingArguments,
    describe_cells,
)
from searchhub.workflows.stages import KEPT, main_first, run, settings_of, start_run

KINDS = (
    ImageDataArguments,
    CellArguments,
    CellSearcherArguments,
    CellTrainingArguments,
    CellNetworkArguments,
    RunArguments,
)


def main(argv: list[str]) -> None:
    """Search, derive, train, compare, reload."""
    data, sizes, searching, training, wanted, where = arguments = parse(KINDS, argv, __doc__)
    training.final_settings()  # what is wrong with them is said at once
    accelerator = start_run(training, where)
    task = main_first(accelerator, data.task, where.seed)
    accelerator.print(f"Data: {describe(task)}")
    training = training.fitting(task.size("train"))
    final_settings = training.final_settings()
    supernet = sizes.supernet(task.num_labels, task.image_size, where.seed)
    training.check_sizes(supernet.final.config)
    searcher = searching.build(supernet.search_space, where.seed)
    space = searcher.space
    accelerator.print(f"Space: {len(space.choices)} edges of two kinds of cell, {space.size:,} architectures")
    trainer = SearchTrainer(
        supernet,
        task,
        training.search_arguments(
            where, searcher, scored=searching.scored, refine=searching.refine, final_training=final_settings
        ),
        evaluator_options=searching.evaluator_options(),
        score=searching.score,
        objective=searching.finder(searcher.space),
        more_costs=wanted.latency_tables(supernet),
        final_task=training.final_task(task),
        accelerator=accelerator,
        tracked=settings_of(arguments),
    )
    limits = wanted.limits(trainer.costs)
    if where.dry_run:
        accelerator.print(trainer.estimate(*limits))
        return
    trainer.check(*limits)
    networks = trainer.choose(*limits, random_networks=wanted.random_networks)
    cells = describe_cells([(n.name, n.architecture) for n in networks if n.published])
    if accelerator.is_main_process:
        write_text(trainer.folder / "report" / "genotypes.txt", cells)
    trainer.summarize(trainer.train_networks(networks), also=cells.splitlines())


if __name__ == "__main__":
    run(main, way_on=KEPT)
