"""Search a mobile (ProxylessNAS) space once with DDPNAS, then train a network for every limit.

    python recipes/ddp_mobile.py                                              # handwritten digits, minutes on a CPU
    accelerate launch recipes/ddp_mobile.py --config recipes/ddp_mobile_cifar10.yaml --dataset uoft-cs/cifar10

Run the same command again to go on after an interruption; add limits to get more networks from the same search.
"""

from __future__ import annotations

import dataclasses
import gc
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from transformers.utils import logging as transformers_logging

import searchhub
from searchhub import MobileSupernetConfig, MobileSupernetForImageClassification, SupernetEvaluator
from searchhub.cli.arguments import (
    ImageDataArguments,
    NetworkArguments,
    RunArguments,
    SearchArguments,
    TrainingArguments,
    option,
    parse,
)
from searchhub.data.loading import describe
from searchhub.errors import SearchhubError
from searchhub.files import write_text
from searchhub.hub.card import Spent
from searchhub.hub.chosen import check_limits, choose_networks, draw_run, limits_from
from searchhub.hub.finished import save_trainer
from searchhub.hub.networks import NetworkTrainer
from searchhub.hub.trained import comparison
from searchhub.reports.dry_run import estimate
from searchhub.reports.html import write_report
from searchhub.reports.progress import ProgressDisplay
from searchhub.reports.tables import markdown_table, rich_table
from searchhub.reports.trackers import TrackerCallback


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


KINDS = (ImageDataArguments, SpaceArguments, SearchArguments, TrainingArguments, NetworkArguments, RunArguments)


def reload(folders: list[Path], argv: list[str], seed: int) -> None:
    """Load every folder in a fresh process, as anyone would, and measure it again there."""
    script = Path(__file__).with_name("eval_images.py")
    command = [sys.executable, str(script), "--models", *map(str, folders), f"--seed={seed}", "--check"]
    options = [f"--{name}={value}" for name, value in dataclasses.asdict(parse(KINDS, argv, None)[0]).items() if value]
    if folders and subprocess.run([*command, *options]).returncode:
        raise SearchhubError("Every network must load in a fresh process and reach its accuracy there; see above.")


def main(argv: list[str]) -> None:
    """Search, generate, train, compare, reload."""
    data, sizes, searching, training, wanted, run = arguments = parse(KINDS, argv, __doc__)
    folder, seed = Path(run.output_dir), run.seed
    transformers_logging.disable_progress_bar()
    accelerator = searchhub.make_accelerator(
        mixed_precision=training.mixed_precision, report_to=run.report_to, logging_dir=folder / "trackers", seed=seed
    )
    say, processes, device = accelerator.print, accelerator.num_processes, accelerator.device.type
    say(f"Processes: {processes} on {device}, {torch.get_num_threads()} threads each")
    with accelerator.main_process_first():
        task = data.task(seed)
    say(f"Data: {describe(task)}")
    supernet = sizes.supernet(task.num_labels, task.image_size, seed)
    searcher = searching.build(supernet.search_space, seed)
    say(f"Space: {len(searcher.space.choices)} layers, {searcher.space.size:,} architectures")
    costs = (searchhub.macs_table(supernet), searchhub.params_table(supernet))
    settings = training.search_settings()
    limits = limits_from(costs, wanted.max_macs, wanted.max_params)
    if run.dry_run:
        say(estimate(supernet, task, settings, searcher, costs, limits, training.epochs))
        return
    check_limits(costs, limits, random_networks=wanted.random_networks, seed=seed)
    gc.freeze()  # each trial lets go of its model and collects garbage; what is here now need not be looked at again

    with ProgressDisplay(2, enabled=accelerator.is_main_process) as progress:
        evaluator = SupernetEvaluator(
            supernet,
            task,
            settings,
            accelerator,
            num_trials=searcher.num_trials,
            epochs_per_trial=searching.epochs_per_trial,
            max_steps_per_trial=searching.steps_per_trial,
            batch_norm_batches=searching.batch_norm_batches,
            seed=seed,
            on_step=progress.step,
        )
        callbacks = [progress.callback("search")]
        if run.report_to:
            config = {name: value for group in arguments for name, value in dataclasses.asdict(group).items()}
            callbacks.append(TrackerCallback(accelerator, config))
        result = searchhub.search(searcher, evaluator, run_dir=folder, callbacks=callbacks).with_costs(*costs)
        seconds = sum(r.seconds for r in result.history)
        trainer = NetworkTrainer(
            supernet,
            result,
            task,
            training.final_settings(),
            accelerator,
            epochs=training.epochs,
            seed=seed,
            folder=folder,
            inherit_weights=training.inherit_weights,
            search_settings={"searcher": dict(result.searcher), "training": settings.to_dict()},
            search_cost=Spent(trials=len(result.history), seconds=seconds, device=device, processes=processes),
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
        pictures = draw_run(result, networks, folder / "report")
        rows = comparison(reports, task.metric_name)
        write_text(folder / "report" / "networks.md", markdown_table(rows) + "\n")
        if published := [folder / "models" / n.name for n in networks if n.published]:
            reload(published, argv, seed)
        Console().print(rich_table(rows, title=f"One search of {len(result.history)} trials; networks trained alike"))
        print(f"Networks: {folder / 'models'}; table: {folder / 'report' / 'networks.md'}")
        print(f"Pictures: {', '.join(str(p) for p in pictures)}")
        print(f"Report, one file to open in any browser: {write_report(folder)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to go on.", file=sys.stderr)
        sys.exit(130)
