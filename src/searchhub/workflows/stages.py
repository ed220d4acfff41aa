"""Stages that recipes share: how they begin, how they end, and how they present their networks."""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from rich.console import Console
from transformers.utils import logging as transformers_logging

from searchhub.callbacks import SearchCallback
from searchhub.callbacks.progress import ProgressDisplay
from searchhub.callbacks.trackers import TrackerCallback
from searchhub.data.task import Task
from searchhub.errors import SearchhubError
from searchhub.files import write_text
from searchhub.formatting import markdown_table, rich_table
from searchhub.networks.alike import trained_alike
from searchhub.networks.network import (
    MODELS,
    Network,
    TrainedNetwork,
    comparison,
    notes_of,
    read_original,
    read_reports,
)
from searchhub.reports.html import write_report
from searchhub.result import SearchResult
from searchhub.training.accelerator import make_accelerator
from searchhub.visualization.figures import plot_distribution, plot_pareto
from searchhub.workflows.arguments import RecipeTrainingArguments, RunArguments
from searchhub.workflows.words import for_recipes

T = TypeVar("T")

KEPT = "Run the same command again to go on: finished networks are kept, the one in training starts anew."
"""Message of an interrupted recipe that trains networks from scratch."""


def run(main: Callable[[list[str]], None], *, way_on: str = "Run the same command again to go on.") -> None:
    """Runs a recipe: an error of searchhub becomes one line, and Ctrl-C prints how to go on.

    Args:
        main: The recipe's function, which takes the words of the command line.
        way_on: Message after an interruption.
    """
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {for_recipes(str(error))}")
    except KeyboardInterrupt:
        print(f"Interrupted. {way_on}", file=sys.stderr)
        sys.exit(130)


def start_run(training: RecipeTrainingArguments, run: RunArguments) -> Accelerator:
    """Returns the accelerator of this process, and prints how many there are. A log then shows each line at once."""
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


def main_first(accelerator: Accelerator, load: Callable[..., T], *args: Any) -> T:
    """Loads data on the main process first, so that the others find them decoded in its cache."""
    with accelerator.main_process_first():
        return load(*args)


def settings_of(arguments: Sequence[Any]) -> dict[str, Any]:
    """Returns all settings of a recipe in one table, for a tracker."""
    return {name: value for group in arguments for name, value in dataclasses.asdict(group).items()}


def search_callbacks(
    accelerator: Accelerator,
    progress: ProgressDisplay,
    stage: str,
    tracked: Mapping[str, Any] | None = None,
    *,
    scored: int = 0,
) -> list[SearchCallback]:
    """Returns the callbacks of a search: the display of progress, and a tracker if the accelerator has one.

    Args:
        accelerator: The accelerator of this process.
        progress: The display that shows the search as a stage.
        stage: The stage's name.
        tracked: The settings that a tracker is told.
        scored: How many trials at the end are scored without training.
    """
    found: list[SearchCallback] = [progress.callback(stage, scored)]
    if accelerator.log_with:
        found.append(TrackerCallback(accelerator, tracked or {}))
    return found


def summarize_networks(
    result: SearchResult,
    networks: Sequence[TrainedNetwork],
    task: Task,
    folder: Path,
    reload: Callable[[list[Path]], None] | None,
    *,
    also: Sequence[str] = (),
) -> None:
    """Draws a run, writes and prints the table of its networks, and loads the published ones again.

    Only the main process calls this.

    Args:
        result: The result of the search.
        networks: The networks that were trained.
        task: The task that they were trained for.
        folder: The run's folder.
        reload: Function that measures the folders of published networks in a fresh process, and fails if one falls
            short.
        also: More lines to print.
    """
    pictures = write_tables(result, folder, task.metric_name)
    rows = comparison(networks, task.metric_name, read_original(folder))
    if reload is not None:
        reload([n.folder for n in networks if n.folder is not None])
    else:
        print(f"Not measured again in a fresh process, where `{task.name}`, put together by hand, cannot be loaded.")
    Console().print(rich_table(rows, title=f"One search of {len(result.history)} trials; networks trained alike"))
    for line in (*notes_of(networks), *also):
        print(line)
    print(f"Networks: {folder / MODELS}; table: {folder / 'report' / 'networks.md'}")
    print(f"Pictures: {', '.join(str(p) for p in pictures)}")
    print(f"Report, one file to open in any browser: {write_report(folder)}")


def write_tables(result: SearchResult, folder: Path, metric: str) -> list[Path]:
    """Writes the table of all networks that a run has trained, and its pictures, into its `report/`.

    Networks that were trained otherwise than others stand in a table of their own, whose heading says how.

    Args:
        result: The result of the search.
        folder: The run's folder.
        metric: Metric to compare by.

    Returns:
        Paths of the pictures.
    """
    reports, original = read_reports(folder), read_original(folder)
    groups = trained_alike(reports)
    parts = []
    for words, own in groups:
        heading = f"## Trained with {words}\n\nDo not compare across tables.\n\n" if words else ""
        notes = "".join(f"\n- {note}" for note in notes_of(own))
        parts.append(f"{heading}{markdown_table(comparison(own, metric, original))}\n{notes and notes + chr(10)}")
    if original is not None and "note" in original:
        parts.append(f"{original['note']}\n")
    write_text(folder / "report" / "networks.md", "\n".join(parts))
    return draw_run(result, [r.network for r in groups[0][1]] if groups else [], folder / "report")


def draw_run(result: SearchResult, networks: Sequence[Network], folder: Path) -> list[Path]:
    """Draws θ over the rounds, and a Pareto front for each cost that was limited, with the chosen points."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    if len(result.trajectory) > 1:
        paths.append(folder / "theta.png")
        plot_distribution(result, paths[-1])
    for name, cost in result.costs.items():
        limited = [(limits, n) for n in networks if n.published for limits in n.limit_sets if limits]
        chosen = {str(limits[0]): n.architecture for limits, n in limited if limits[0].name == name}
        if chosen and (result.history or result.distribution is not None):
            paths.append(folder / f"pareto_{name}.png")
            plot_pareto(result, cost, chosen, paths[-1])
    return paths
