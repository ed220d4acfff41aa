"""Search a mobile (ProxylessNAS) space once with DDPNAS, then train a network for every limit.

    python recipes/ddp_mobile.py                                              # handwritten digits, minutes on a CPU
    accelerate launch recipes/ddp_mobile.py --config recipes/ddp_mobile_cifar10.yaml --dataset uoft-cs/cifar10

Run the same command again to go on after an interruption; add limits to get more networks from the same search.
"""

from __future__ import annotations

from searchhub import SearchTrainer
from searchhub.data.loading import describe
from searchhub.errors import InfeasibleLimitError
from searchhub.networks.choose import default_limits
from searchhub.workflows.arguments import (
    ImageDataArguments,
    ImageSearcherArguments,
    NetworkArguments,
    RunArguments,
    parse,
)
from searchhub.workflows.mobile_arguments import MobileArguments, MobileTrainingArguments
from searchhub.workflows.stages import main_first, run, settings_of, start_run

KINDS = (
    ImageDataArguments,
    MobileArguments,
    ImageSearcherArguments,
    MobileTrainingArguments,
    NetworkArguments,
    RunArguments,
)


def main(argv: list[str]) -> None:
    """Search, generate, train, compare, reload."""
    data, sizes, searching, training, wanted, where = arguments = parse(KINDS, argv, __doc__)
    accelerator = start_run(training, where)
    task = main_first(accelerator, data.task, where.seed)
    accelerator.print(f"Data: {describe(task)}")
    training = training.fitting(task.size("train"))
    supernet = sizes.supernet(task.num_labels, task.image_size, where.seed)
    searcher = searching.build(supernet.search_space, where.seed)
    layers = f"{len(searcher.space.choices)} layers, {searcher.space.size:,} architectures"
    accelerator.print(f"Space: {layers} ({sizes.words(task.image_size)})")
    trainer = SearchTrainer(
        supernet,
        task,
        training.search_arguments(where, searcher, scored=searching.scored, refine=searching.refine),
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
        for way in sizes.ways_to(limits, trainer.costs, task.num_labels, task.image_size):
            accelerator.print(f"  {way}")
        return
    beside = {"random_networks": wanted.random_networks, "baselines": wanted.baselines}
    try:
        trainer.check(*limits, **beside)
    except InfeasibleLimitError as error:
        ways = sizes.ways_to(limits, trainer.costs, task.num_labels, task.image_size)
        raise InfeasibleLimitError("\n".join([str(error), *ways]), error.smallest) from error
    networks = trainer.train(*limits, largest=wanted.train_largest, **beside)
    trainer.summarize(networks)


if __name__ == "__main__":
    run(main)
