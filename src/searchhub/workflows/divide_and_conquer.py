"""Runs DC-NAS on networks trained apart, from the searcher to published winners. Two recipes share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from searchhub.callbacks.base import SearchCallback
from searchhub.callbacks.progress import ProgressDisplay
from searchhub.errors import DivergedError, InvalidInputError
from searchhub.evaluators.kept import KeptEvaluator
from searchhub.evaluators.networks import NetworkEvaluator
from searchhub.evaluators.scratch import ScratchEvaluator
from searchhub.evaluators.staged import StagedEvaluator
from searchhub.files import write_text
from searchhub.formatting import human, markdown_table, rich_table
from searchhub.networks.card_facts import compute_used
from searchhub.networks.network import MODELS
from searchhub.networks.saved_trainer import save_trainer
from searchhub.networks.trainer import NetworkTrainer
from searchhub.reports.html import write_report
from searchhub.result import SearchResult
from searchhub.run_folder import EARLY
from searchhub.search import search
from searchhub.searchers.dc import DCSearcher
from searchhub.searchers.division import winners_in_order
from searchhub.training.loop import StepCallback
from searchhub.trial import DIVERGED
from searchhub.visualization.clusters import over_k_text, plot_clusters, plot_winners, summarize_clusters
from searchhub.workflows.ranking import narrow, rank_winners
from searchhub.workflows.reloading import reload_networks
from searchhub.workflows.stages import search_callbacks


@dataclass(frozen=True)
class DCNASOutput:
    """The output of `divide_and_conquer`.

    Args:
        result: The result of the search: every early-stopped network, the division, and the winners' scores.
        trainer: The trainer of the winners, with this result.
        rows: Rows of a table of the winners, the best on the validation split first.
        pictures: Files of the pictures.
        lost: Names of winners that diverged in their full training. They are not published.
    """

    result: SearchResult
    trainer: NetworkTrainer
    rows: list[dict[str, Any]]
    pictures: list[Path]
    lost: list[str]

    @property
    def models(self) -> list[Path]:
        """The folders of the winners, in the order of the rows."""
        return [self.trainer.folder / MODELS / str(row["network"]) for row in self.rows]

    def conclude(self) -> None:
        """Ends the run: saves the trainer, loads the winners again in a fresh process, and prints the outcome.

        Every process makes this call.
        """
        save_trainer(self.trainer)
        accelerator = self.trainer.accelerator
        accelerator.end_training()
        if accelerator.is_main_process:
            kind = self.trainer.task.source.get("kind")
            reload_networks(self.models, mixed_precision=str(accelerator.mixed_precision), kind=kind)
            self.tell()

    def tell(self) -> None:
        """Prints the outcome and writes the report. Only the main process calls this."""
        title = f"The best of each cluster, fully trained, best first; {self.trainer.task.metric_name}"
        Console().print(rich_table(narrow(self.rows), title=title))
        if self.lost:
            print(f"Diverged in full training, and not published: {', '.join(self.lost)}")
        print(f"Chosen: {self.models[0]}; table: {self.trainer.folder / 'report' / 'networks.md'}")
        print(f"Pictures: {', '.join(map(str, self.pictures))}")
        print(f"Report, one file to open in any browser: {write_report(self.trainer.folder)}")


def plan(searcher: DCSearcher, early: ScratchEvaluator, trainer: NetworkTrainer) -> str:
    """Returns a text for a person that tells what `divide_and_conquer` would do.

    Raises:
        InvalidInputError: Something would stop it.
    """
    _winners(searcher, early, trainer)
    rows = []
    for what, n, budget, settings in (
        ("Early-stopped", searcher.num_samples, searcher.proxy, early.settings),
        ("Winners", searcher.num_clusters, searcher.budget, trainer.settings),
    ):
        steps = int(trainer.task.size("train") * budget.data_share) // settings.batch_size
        macs = 3 * trainer.result.costs["macs"].mean() * n * budget.epochs * steps * settings.batch_size
        rows.append(
            f"{what}: {n:,} networks, {budget.epochs} epochs of about {steps} steps of {settings.batch_size}\n"
            f"  multiply-adds: about {human(macs)} (forward and backward)"
        )
    rows.append("A network of the space:")
    for name, cost in trainer.result.costs.items():
        low, high = cost.bounds()
        rows.append(f"  {name}: {low:,.0f} to {high:,.0f}")
    return "\n".join(rows)


def _winners(
    searcher: DCSearcher, early: ScratchEvaluator, trainer: NetworkTrainer, on_step: StepCallback | None = None
) -> NetworkEvaluator:
    """Returns the evaluator that trains the winners. Fails if something would stop either stage."""
    early.check(searcher.proxy)
    return NetworkEvaluator(trainer, lambda trial: f"cluster-{trial.number - searcher.num_samples}", on_step)


def divide_and_conquer(
    searcher: DCSearcher,
    early: ScratchEvaluator,
    trainer: NetworkTrainer,
    *,
    early_from: str | Path | None = None,
    callbacks: Sequence[SearchCallback] = (),
    tracked: Mapping[str, Any] | None = None,
) -> DCNASOutput:
    """Early-stops sampled networks, divides them, trains and publishes each cluster's winner, and ranks the winners.

    Every process makes this call. The trainer's folder is the run's, and the same call goes on with an interrupted run.
    Its subfolder `early/` keeps the early-stopped networks, with the settings of their training alone. So a run with
    another division, or another training of the winners, can take them over into its own folder (`early_from`).

    Args:
        searcher: The searcher, which samples, divides and asks for the winners. Its budget is the trainer's epochs.
        early: The evaluator that trains the early-stopped networks.
        trainer: The trainer of the winners, with `train_on="train"`. Its result holds cost tables.
        early_from: The folder of another run with the same `early`. None: no networks are taken over.
        callbacks: Further callbacks of the search, beside the progress display.
        tracked: The settings that a tracker is told.

    Raises:
        InvalidInputError: Something would stop the run, and nothing has been trained. Or features do not divide; then
            the message says how to go on with the trained networks.
        DivergedError: The full training of every winner diverged. The message says how to go on, too.
    """
    accelerator = trainer.accelerator
    progress = ProgressDisplay(1, enabled=accelerator.is_main_process)
    early.on_step = progress.step
    full = _winners(searcher, early, trainer, progress.step)
    source = None if early_from is None else Path(early_from) / EARLY
    stage = "early-stop, divide, train the winners"
    callbacks = [*search_callbacks(accelerator, progress, stage, tracked), *callbacks]
    with progress, KeptEvaluator(early, trainer.folder / EARLY, take_from=source) as kept:
        evaluator = StagedEvaluator(kept, full, searcher.budget)
        try:
            result = search(searcher, evaluator, run_dir=trainer.folder, callbacks=callbacks)
            if not winners_in_order(result):
                raise DivergedError(
                    "At least one winner must not diverge in its full training, but all "
                    f"{searcher.num_clusters} did. Lower its learning rate."
                )
        except (InvalidInputError, DivergedError) as error:
            raise type(error)(
                f"{error} Early-stopped networks are kept: with `--early_from {trainer.folder}` and another "
                "`--output_dir` none of them is trained again, whatever else is changed but their own training."
            ) from error
    result = summarize_clusters(result.with_costs(*trainer.result.costs.values()))
    sampled, winners = result.history[: searcher.num_samples], result.history[searcher.num_samples :]
    spent = compute_used(sampled, accelerator)
    lost = [full.name(r.trial) for r in winners if DIVERGED in r.metrics]
    settings = {
        **trainer.provenance.search_settings,
        "features": {"kind": early.features, "examples": early.feature_examples or "all"},
        "diverged": {"early-stopped": sum(DIVERGED in r.metrics for r in sampled), "winners": len(lost)},
    }
    told = replace(trainer.provenance, search_cost=spent, search_settings=settings)
    trainer = replace(trainer, result=result, provenance=told)
    rows = rank_winners(result, full.reports(winners), trainer)
    pictures = []
    if accelerator.is_main_process:
        report = trainer.folder / "report"
        report.mkdir(exist_ok=True)
        write_text(report / "networks.md", markdown_table(rows) + "\n")
        draw = [plot_winners]
        if searcher.num_clusters > 1:
            write_text(report / "clusters.md", over_k_text(result))
            draw.insert(0, plot_clusters)
        for plot in draw:
            pictures.append(report / f"{plot.__name__.removeprefix('plot_')}.png")
            plot(result, pictures[-1])
    return DCNASOutput(result, trainer, rows, pictures, lost)
