"""DC-NAS on networks trained apart, from the searcher to published winners; the two recipes that do so share this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from searchhub.callbacks import SearchCallback
from searchhub.evaluators.networks import NetworkEvaluator
from searchhub.evaluators.scratch import ScratchEvaluator
from searchhub.evaluators.staged import StagedEvaluator
from searchhub.files import write_text
from searchhub.hub.card import Spent
from searchhub.hub.divided import tell_order
from searchhub.hub.networks import NetworkTrainer, OnStep
from searchhub.hub.trained import MODELS
from searchhub.reports.clusters import plot_clusters, plot_winners
from searchhub.reports.html import write_report
from searchhub.reports.tables import markdown_table, rich_table
from searchhub.result import SearchResult
from searchhub.search import search
from searchhub.searchers.dc import DCSearcher


@dataclass(frozen=True)
class Conquered:
    """What came of it.

    Args:
        result: With every early-stopped network, the division, and the winners' scores.
        trainer: Of the winners, with this result.
        rows: Of a table of the winners, the best on the validation split first.
        pictures: Where they are.
    """

    result: SearchResult
    trainer: NetworkTrainer
    rows: list[dict[str, Any]]
    pictures: list[Path]

    @property
    def models(self) -> list[Path]:
        """The folders of the winners, in the order of the rows."""
        return [self.trainer.folder / MODELS / str(row["network"]) for row in self.rows]

    def tell(self, reload: Callable[[list[Path]], None] | None = None) -> None:
        """Print what came of it, for the main process, and write the report.

        Args:
            reload: Measures the winners' folders in a fresh process, and fails where one falls short.
        """
        if reload is not None:
            reload(self.models)
        Console().print(rich_table(self.rows, title="The best of each cluster, fully trained; best first"))
        print(f"Chosen: {self.models[0]}; table: {self.trainer.folder / 'report' / 'networks.md'}")
        print(f"Pictures: {', '.join(map(str, self.pictures))}")
        print(f"Report, one file to open in any browser: {write_report(self.trainer.folder)}")


def divide_and_conquer(
    searcher: DCSearcher,
    early: ScratchEvaluator,
    trainer: NetworkTrainer,
    *,
    callbacks: Sequence[SearchCallback] = (),
    on_step: OnStep | None = None,
) -> Conquered:
    """Early-stop what the searcher samples, divide, train and publish each cluster's winner, and put them in order.

    Every process makes this call. The run's folder is the trainer's; the same call goes on with an interrupted one.

    Args:
        searcher: Its budget is the trainer's epochs.
        early: Of the early-stopped networks.
        trainer: Of the winners, with `train_on="train"` and cost tables.
        callbacks: Of the search.
        on_step: Called during a winner's training with (steps done, steps of it).

    Raises:
        InvalidInputError: What would stop it is said before anything is trained.
    """
    early.check(searcher.proxy)
    accelerator = trainer.accelerator
    full = NetworkEvaluator(trainer, lambda trial: f"cluster-{trial.number - searcher.num_samples}", on_step)
    evaluator = StagedEvaluator(early, full, searcher.budget)
    result = search(searcher, evaluator, run_dir=trainer.folder, callbacks=callbacks)
    result = result.with_costs(*trainer.result.costs.values())
    sampled, winners = result.history[: searcher.num_samples], result.history[searcher.num_samples :]
    spent = Spent(
        trials=len(sampled),
        seconds=sum(r.seconds for r in sampled),
        device=accelerator.device.type,
        processes=accelerator.num_processes,
    )
    trainer = replace(trainer, result=result, search_cost=spent)
    rows = tell_order(result, {r.trial.architecture: full.report(r.trial) for r in winners}, trainer)
    pictures = []
    if accelerator.is_main_process:
        report = trainer.folder / "report"
        report.mkdir(exist_ok=True)
        write_text(report / "networks.md", markdown_table(rows) + "\n")
        draw = [plot_winners] if searcher.num_clusters == 1 else [plot_clusters, plot_winners]
        for plot in draw:
            pictures.append(report / f"{plot.__name__.removeprefix('plot_')}.png")
            plot(result, pictures[-1])
    return Conquered(result, trainer, rows, pictures)
