"""What recipes have in common: how they begin, search on shared weights, and tell what came out."""

from __future__ import annotations

import dataclasses
import gc
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from transformers.utils import logging as transformers_logging

from searchhub.callbacks.base import SearchCallback
from searchhub.callbacks.progress import ProgressDisplay
from searchhub.callbacks.trackers import TrackerCallback
from searchhub.costs.table import CostTable
from searchhub.data.task import Task
from searchhub.evaluators.supernet import SupernetEvaluator
from searchhub.files import write_text
from searchhub.formatting import markdown_table, rich_table
from searchhub.hub.card import ComputeUsed
from searchhub.models.supernet import Supernet
from searchhub.networks.network import MODELS, Network, TrainedNetwork, comparison, read_original
from searchhub.reports.html import write_report
from searchhub.result import SearchResult
from searchhub.search import search
from searchhub.searchers.base import Searcher
from searchhub.training.accelerator import make_accelerator
from searchhub.training.settings import TrainingSettings
from searchhub.visualization.figures import plot_distribution, plot_pareto
from searchhub.workflows.arguments import RecipeTrainingArguments, RunArguments


def begin(training: RecipeTrainingArguments, run: RunArguments) -> Accelerator:
    """The accelerator of this process; says how many there are. From here on a log shows each line at once."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    transformers_logging.disable_progress_bar()
    accelerator = make_accelerator(
        mixed_precision=training.mixed_precision,
        report_to=run.report_to,
        logging_dir=Path(run.output_dir) / "trackers",
        seed=run.seed,
    )
    device = accelerator.device.type
    accelerator.print(f"Processes: {accelerator.num_processes} on {device}, {torch.get_num_threads()} threads each")
    return accelerator


def search_shared(
    searcher: Searcher,
    supernet: Supernet,
    task: Task,
    settings: TrainingSettings,
    accelerator: Accelerator,
    costs: Sequence[CostTable],
    progress: ProgressDisplay,
    run: RunArguments,
    arguments: Sequence[Any],
    **options: Any,
) -> SearchResult:
    """Search on a supernet's weights, in the run's folder, as a stage of a progress display.

    Args:
        searcher: Asks.
        supernet: Whose weights are trained.
        task: Data and metric of the search.
        settings: How trials are trained.
        accelerator: Of this process.
        costs: That the result carries.
        progress: Shows the stage "search".
        run: Folder, seed and tracker.
        arguments: All settings of the recipe, for the tracker.
        **options: More for `SupernetEvaluator`.
    """
    evaluator = SupernetEvaluator(
        supernet,
        task,
        settings,
        accelerator,
        num_trials=searcher.num_trials,
        seed=run.seed,
        on_step=progress.step,
        **options,
    )
    gc.freeze()  # each trial lets go of its model and collects garbage; what is here now need not be looked at again
    callbacks: list[SearchCallback] = [progress.callback("search")]
    if run.report_to:
        config = {name: value for group in arguments for name, value in dataclasses.asdict(group).items()}
        callbacks.append(TrackerCallback(accelerator, config))
    result = search(searcher, evaluator, run_dir=Path(run.output_dir), callbacks=callbacks)
    return result.with_costs(*costs)


def spent(result: SearchResult, accelerator: Accelerator) -> ComputeUsed:
    """What a search took, for cards."""
    return ComputeUsed(
        trials=len(result.history),
        seconds=sum(r.seconds for r in result.history),
        device=accelerator.device.type,
        processes=accelerator.num_processes,
    )


def summarize_networks(
    result: SearchResult,
    networks: Sequence[Network],
    reports: Sequence[TrainedNetwork],
    task: Task,
    folder: Path,
    reload: Callable[[list[Path]], None],
    *,
    also: Sequence[str] = (),
) -> None:
    """Draw a run, write and print the table of its networks, and load the published ones anew. For the main process.

    Args:
        result: Of the search.
        networks: That were trained.
        reports: Of each.
        task: What they were trained for.
        folder: The run's.
        reload: Measures the folders of published networks in a fresh process, and fails where one falls short.
        also: More lines to print.
    """
    pictures = draw_run(result, networks, folder / "report")
    rows = comparison(reports, task.metric_name, read_original(folder))
    write_text(folder / "report" / "networks.md", markdown_table(rows) + "\n")
    if published := [folder / MODELS / n.name for n in networks if n.published]:
        reload(published)
    Console().print(rich_table(rows, title=f"One search of {len(result.history)} trials; networks trained alike"))
    for line in also:
        print(line)
    print(f"Networks: {folder / MODELS}; table: {folder / 'report' / 'networks.md'}")
    print(f"Pictures: {', '.join(str(p) for p in pictures)}")
    print(f"Report, one file to open in any browser: {write_report(folder)}")


def draw_run(result: SearchResult, networks: Sequence[Network], folder: Path) -> list[Path]:
    """Draw θ over the rounds, and a Pareto front for each cost that was limited, with the chosen points."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    if len(result.trajectory) > 1:
        paths.append(folder / "theta.png")
        plot_distribution(result, paths[-1])
    for name, cost in result.costs.items():
        limited = [n for n in networks if n.published and n.limits]
        chosen = {str(n.limits[0]): n.architecture for n in limited if n.limits[0].name == name}
        if chosen and (result.history or result.distribution is not None):
            paths.append(folder / f"pareto_{name}.png")
            plot_pareto(result, cost, chosen, paths[-1])
    return paths
