"""Search a space on semantic segmentation itself, or put a network found elsewhere under the head; a network per limit.

    python recipes/ddp_segmentation.py --config recipes/ddp_segmentation_camvid.yaml --dataset path/to/camvid \
        --output_dir runs/camvid
    python recipes/ddp_segmentation.py --config recipes/ddp_segmentation_camvid.yaml --dataset path/to/camvid \
        --transfer runs/cifar10/models/macs-1.1M --output_stride 8 --output_dir runs/camvid-transfer

A search trains shared weights of all backbones and of the head, scores them by exp(-validation loss), or with
`--score metric` by mean IoU, and generates a network for each limit. Limits, multiply-adds and measured latency refer
to pictures of `--cost_size`. With `--transfer` nothing is searched: a classifier's folder or Hub id is put under a new
head with its trained weights (DDPNAS Sec. 4.4.2, which trains on ImageNet first); with `--transfer_weights false` its
architecture is trained from scratch, as a search's networks are. Run the same command again to go on after an
interruption; add limits to get more networks from the same search.
"""

from __future__ import annotations

from pathlib import Path

from searchhub import SearchTrainer, UniformSearcher
from searchhub.costs.structure import cells_of
from searchhub.data.segmentation_loading import describe
from searchhub.formatting import human
from searchhub.networks.choose import default_limits
from searchhub.networks.network import Network
from searchhub.workflows.arguments import ImageSearcherArguments, NetworkArguments, RunArguments, parse
from searchhub.workflows.cell_arguments import CellArguments
from searchhub.workflows.checks import check_no_search
from searchhub.workflows.mobile_arguments import MobileArguments
from searchhub.workflows.segmentation_arguments import (
    SegmentationDataArguments,
    SegmentationNetworkArguments,
    SegmentationTrainingArguments,
)
from searchhub.workflows.stages import KEPT, main_first, run, settings_of, start_run

RULE = "transferred"
"""Name that cards give to a search that took place elsewhere, and that of its network."""

KINDS = (
    SegmentationDataArguments,
    SegmentationNetworkArguments,
    MobileArguments,
    CellArguments,
    ImageSearcherArguments,
    SegmentationTrainingArguments,
    NetworkArguments,
    RunArguments,
)


def main(argv: list[str]) -> None:
    """Search or transfer, train, compare, reload."""
    data, form, mobile, cells, searching, training, wanted, where = arguments = parse(KINDS, argv, __doc__)
    form.check(training)
    accelerator = start_run(training, where)
    task = main_first(accelerator, data.task, where.seed)
    accelerator.print(f"Data: {describe(task)}")
    training = training.fitting(task.size("train"))
    supernet = form.supernet(task, mobile, cells, where.seed)
    space = supernet.search_space
    how = {"scored": searching.scored, "refine": searching.refine}
    if form.transfer is None:
        searcher = searching.build(space, where.seed)
        accelerator.print(f"Space: {len(space.choices)} choices, {space.size:,} architectures")
    else:
        check_no_search(Path(where.output_dir))
        searcher = UniformSearcher(space, rule=RULE)
        how = {"scored": 0, "inherit_weights": form.takes_weights}
        accelerator.print(f"No search: {form.words()}")
    trainer = SearchTrainer(
        supernet,
        task,
        training.search_arguments(where, searcher, **how),
        evaluator_options=searching.evaluator_options(),
        score=searching.score,
        objective=searching.finder(space),
        more_costs=wanted.latency_tables(supernet),
        search_settings={"searcher": {"searcher": RULE}, "network": form.transfer} if form.transfer else None,
        **form.provenance(),
        accelerator=accelerator,
        tracked=settings_of(arguments),
    )
    if form.transfer is not None:
        train_transferred(trainer, Network(RULE, form.transferred(supernet)), dry_run=where.dry_run)
        return
    limits = wanted.limits(trainer.costs) or ([] if cells_of(space) else default_limits(trainer.costs))
    if where.dry_run:
        accelerator.print(trainer.estimate(*limits))
        return
    beside = {"random_networks": wanted.random_networks, "baselines": wanted.baselines}
    largest = wanted.train_largest and not cells_of(space)
    trainer.check(*limits, **beside)
    trainer.summarize(trainer.train(*limits, largest=largest, **beside))


def train_transferred(trainer: SearchTrainer, network: Network, *, dry_run: bool) -> None:
    """Says what a network costs that was found elsewhere, and trains it."""
    macs, params = (cost(network.architecture) for cost in trainer.costs[:2])
    trainer.accelerator.print(f"Network: {human(macs)} multiply-adds, {human(params)} parameters")
    trainer.check()
    if not dry_run:
        trainer.search()
        trainer.summarize(trainer.train_networks([network]))


if __name__ == "__main__":
    run(main, way_on=KEPT)
