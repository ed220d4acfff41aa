"""The object that a user drives: it searches once, trains a network for every limit, measures and publishes.

It only puts the verbs in order: `search`, `generate`, `NetworkTrainer`, `publish`. Each can be called without it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from searchhub.callbacks import SearchCallback
from searchhub.callbacks.progress import ProgressDisplay
from searchhub.costs.macs import macs_table
from searchhub.costs.params import params_table
from searchhub.costs.structure import cells_of
from searchhub.costs.table import CostTable
from searchhub.data.task import Task
from searchhub.distributed import OnMain
from searchhub.errors import InvalidInputError
from searchhub.evaluators.base import Evaluator
from searchhub.evaluators.score import LIKELIHOOD, Score
from searchhub.evaluators.supernet import SupernetEvaluator
from searchhub.generation import Limit, generate
from searchhub.hub.publish import PublishedRevision
from searchhub.models.supernet import Supernet
from searchhub.networks.card_facts import Provenance, compute_used
from searchhub.networks.choose import Finder, LimitSet, check_limits, choose_networks
from searchhub.networks.network import Network, TrainedNetwork, read_reports
from searchhub.networks.saved_trainer import load_trainer, save_trainer
from searchhub.networks.trainer import NetworkTrainer
from searchhub.reports.html import write_report
from searchhub.result import SearchResult
from searchhub.scoring import ScoringSearcher
from searchhub.search import search
from searchhub.searchers.base import Searcher
from searchhub.searchers.named import build_searcher
from searchhub.searchers.uniform import UniformSearcher
from searchhub.space import Architecture
from searchhub.training.accelerator import Processes, make_accelerator
from searchhub.training.settings import TrainingSettings
from searchhub.workflows.checks import check_given, check_search, check_training
from searchhub.workflows.compression import SEARCH_FINE_TUNING, CompressionArguments, Prepared, load_original, prepare
from searchhub.workflows.dry_run import estimate
from searchhub.workflows.latency import refuse_mixed
from searchhub.workflows.refining import refine_of, refined
from searchhub.workflows.reloading import reload_networks
from searchhub.workflows.rescoring import load_evaluator, score_again
from searchhub.workflows.search_arguments import SearchArguments
from searchhub.workflows.stages import search_callbacks, summarize_networks
from searchhub.workflows.teaching import asks_parent

SCORED_BY_DEFAULT = 200
"""How many architectures are scored after a search whose arguments do not say."""

EvaluatorFactory = Callable[..., Evaluator]
"""Function that makes the evaluator of a search. It is called as `SupernetEvaluator` is, which is the default."""


class SearchTrainer:
    """Searches once, then trains a network for every limit. Every process makes the same calls.

    Nothing expensive happens before `search` or `train`. Both can be interrupted: the same program, run again, goes on.

    >>> trainer = SearchTrainer(supernet, task, SearchArguments(output_dir="runs/mine"))  # doctest: +SKIP
    >>> networks = trainer.train(Limit("macs", max=3e8), random_networks=3)  # doctest: +SKIP

    Args:
        supernet: The supernet; or a BERT checkpoint to compress, by Hub id or folder.
        task: Data and metric.
        args: How to search and train.
        callbacks: Further callbacks of the search, beside the progress display.
        evaluator: Evaluator of the trials, or a function that makes one and is called as `SupernetEvaluator` is.
        evaluator_options: Further arguments of the function that makes the evaluator, e.g. {"batch_norm_batches": 8}.
        score: Score of a trial: a name in `searchhub.evaluators.score.SCORES`, or a function of a module. It is the
            likelihood exp(−validation loss) by default.
        objective: Function that finds the network for some limits, as `generate` does by DDPNAS Eq. 10.
        costs: The cost tables that limits can name, "macs" and "params" among them, of the networks of
            `supernet.final`; or a function that makes them when they are first asked for. None: multiply-adds and
            parameters.
        more_costs: Further cost tables that limits can name, e.g. of a latency.
        final_task: Task of the final training, if it differs from `task`, e.g. in augmentation. None: `task`.
        accelerator: The accelerator of this process. None: one is made.
        progress: Whether the main process shows progress.
        tracked: The settings that a tracker is told. None: none.
        search_settings: The settings of the search that cards tell. None: those of the searcher and of its trials.
        start: Name of the weights that the supernet brings, for cards of networks that inherit them. None: they are
            those of the search.
        base_model: Hub id of the model that these weights come from, for cards. None: they come from none, or from the
            checkpoint that is compressed.
        command: The words of the run's command, for cards. None: the command of this process.
    """

    def __init__(
        self,
        supernet: Supernet | str,
        task: Task,
        args: SearchArguments,
        *,
        callbacks: Sequence[SearchCallback] = (),
        evaluator: Evaluator | EvaluatorFactory = SupernetEvaluator,
        evaluator_options: Mapping[str, Any] | None = None,
        score: str | Score = LIKELIHOOD,
        objective: Finder = generate,
        costs: Sequence[CostTable] | Callable[[], Sequence[CostTable]] | None = None,
        more_costs: Sequence[CostTable] = (),
        final_task: Task | None = None,
        accelerator: Accelerator | None = None,
        progress: bool = True,
        tracked: Mapping[str, Any] | None = None,
        search_settings: Mapping[str, Any] | None = None,
        start: str | None = None,
        base_model: str | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        self.folder = Path(args.output_dir)
        self.accelerator = accelerator or make_accelerator(
            mixed_precision=args.mixed_precision,
            report_to=args.report_to,
            logging_dir=self.folder / "trackers",
            seed=args.seed,
        )
        if accelerator is not None and args.mixed_precision not in ("no", str(accelerator.mixed_precision)):
            raise InvalidInputError(
                f"`mixed_precision` must be the given accelerator's {accelerator.mixed_precision!r}, but is "
                f"{args.mixed_precision!r}. Drop it."
            )
        self.compression = args.compression
        if isinstance(supernet, str):
            given = args.compression or CompressionArguments()
            self.compression = replace(given, base_model=given.base_model or supernet)
            torch.manual_seed(args.seed)
            original = load_original(supernet, task, self.accelerator, epochs=given.epochs, labels=given.labels)
            supernet = original.supernet
            self.compression = replace(self.compression, epochs=original.epochs, note=given.note or original.note)
        self.supernet = supernet.to(self.accelerator.device)
        self.task, self.final_task = task, final_task or task
        self.args = args
        compressed = self.compression is not None
        self.training = args.training or (SEARCH_FINE_TUNING if compressed else TrainingSettings())
        self.final_training = args.final_training or replace(self.training, min_learning_rate=0.0)
        if self.compression is not None and self.compression.judge == "parent":
            self.training = replace(self.training, distillation_weight=1.0)
        self.epochs = (3 if compressed else 15) if args.epochs is None else args.epochs
        self.inherit_weights = compressed if args.inherit_weights is None else args.inherit_weights
        self.callbacks = tuple(callbacks)
        self.score, self.objective = score, objective
        self._costs, self._more_costs = costs, tuple(more_costs)
        self._evaluator, self._evaluator_options = evaluator, dict(evaluator_options or {})
        self._tracked = tracked
        self._search_settings = search_settings
        self._start, self._base_model = start, base_model
        self.command = ["python", *sys.argv] if command is None else list(command)
        self._searcher: Searcher | None = None
        self._networks: NetworkTrainer | None = None
        self._searched: Supernet | None = None
        self._evaluated: Evaluator | None = None
        self._searching = self._loaded = False
        self._show = progress
        self._display: ProgressDisplay | None = None
        check_given(self, self._evaluator, self._evaluator_options)

    @classmethod
    def from_run(
        cls,
        folder: str | Path,
        *,
        objective: Finder = generate,
        accelerator: Accelerator | None = None,
        data: Mapping[str, Any] | None = None,
        trust_code: bool = False,
        progress: bool = True,
    ) -> SearchTrainer:
        """Returns the trainer of a finished run. Networks that it trains compare with those of the run.

        Args:
            folder: Folder of the run.
            objective: What finds the network for some limits, as in the run.
            accelerator: The accelerator of this process. None: one with the run's mixed precision.
            data: Other arguments for the task's loader, e.g. {"dataset": its place on this machine}. Its "kind" may
                name your own loader, {"kind": "package.module:function"}.
            trust_code: Whether code outside of searchhub is imported that the run's folder names: the loader of its
                data, the class of its supernet, its `publish_as`. Read the folder and that code first.
            progress: Whether the main process shows progress.

        Raises:
            InvalidInputError: The run holds no trainer, its data cannot be loaded or are not those that it used, or it
                names code to import and nobody consented.
        """
        networks = load_trainer(folder, accelerator, data=data, trust_code=trust_code)
        args = SearchArguments(
            output_dir=folder,
            searcher=UniformSearcher(networks.supernet.search_space),  # the search is over
            training=networks.settings,
            final_training=networks.settings,
            epochs=networks.epochs,
            train_on=networks.train_on,
            inherit_weights=networks.inherit_weights,
            stages=networks.stages,
            stage_epochs=networks.stage_epochs,
            publish_as=networks.publish_as,
            refine=refine_of(Path(folder)),
            seed=networks.seed,
        )
        trainer = cls(
            networks.supernet,
            networks.task,
            args,
            objective=objective,
            costs=tuple(networks.result.costs.values()),
            accelerator=networks.accelerator,
            progress=progress,
        )
        trainer._networks = replace(networks, provenance=replace(networks.provenance, command=trainer.command))
        trainer._evaluated = load_evaluator(networks)
        trainer._loaded = True
        return trainer

    # -- before anything expensive ------------------------------------------------------------------------------------

    @property
    def searcher(self) -> Searcher:
        """The searcher of this trainer."""
        if self._searcher is None:
            args = self.args
            self._searcher = (
                args.searcher
                if isinstance(args.searcher, Searcher)
                else build_searcher(
                    args.searcher,
                    self.supernet.search_space,
                    seed=args.seed,
                    budget=args.budget,
                    **args.searcher_options,
                )
            )
            if self._scored and self._searcher.num_trials:
                self._searcher = ScoringSearcher(self._searcher, scored=self._scored, sizes=self._sizes)
        return self._searcher

    @property
    def compares_nothing(self) -> bool:
        """Whether paths change every step and nothing is scored on the final weights."""
        shared = getattr(self._evaluator, "scores_untrained", False)
        return shared and not self._scored and self._evaluator_options.get("paths", "fresh") != "trial"

    @property
    def _scored(self) -> int:
        """How many architectures are scored after the search."""
        if self.args.scored is not None:
            return self.args.scored
        return SCORED_BY_DEFAULT if getattr(self._evaluator, "scores_untrained", False) else 0

    @property
    def _sizes(self) -> CostTable | None:
        """The cost over whose logarithm paths and scored architectures are spread evenly."""
        name = self.args.even_sizes
        found = next((table for table in self.costs if table.name == name), None)
        if name is not None and found is None:
            raise InvalidInputError(
                f"`even_sizes` must be one of {[table.name for table in self.costs]}, but is {name!r}."
            )
        return found

    @cached_property
    def costs(self) -> tuple[CostTable, ...]:
        """The cost tables that limits can name."""
        given = self._costs() if callable(self._costs) else self._costs
        # Limits refer to networks that are trained in the end, which may have other sizes than those of the search.
        tables = given or default_costs(self.supernet.final, compressed=self.compression is not None)
        if not {"macs", "params"} <= {table.name for table in tables}:
            raise InvalidInputError(
                f"`costs` must hold `macs` and `params`, which cards tell, but holds {[t.name for t in tables]}. Add "
                "`macs_table(supernet.final)` and `params_table(supernet.final)`."
            )
        return (*tables, *self._more_costs)

    @property
    def progress(self) -> ProgressDisplay:
        """The display that shows how far the run is. Only the main process shows it."""
        if self._display is None:
            searching = (self.searcher.num_trials > 0) + isinstance(self.searcher, ScoringSearcher)
            before = (self.compression is not None) + asks_parent(self)
            stages = 1 if self._networks else before + searching + 1
            self._display = ProgressDisplay(stages, enabled=self._show and self.accelerator.is_main_process)
        return self._display

    def check(
        self,
        *limits: LimitSet,
        random_networks: int = 0,
        largest: bool = False,
        baselines: Mapping[str, Finder] | None = None,
    ) -> None:
        """Fails now, rather than after the search, if something would stop it or the training after it.

        It takes the arguments of `train`. Without limits it checks the settings alone.

        Raises:
            InvalidInputError: A batch does not fit, a setting cannot be met, or limits are not distinct.
            InfeasibleLimitError: No architecture meets a limit.
        """
        if self._networks is None:
            check_search(self)
        check_training(self)
        if limits or largest:
            if self._networks is None and not self.searcher.num_trials and self.objective is generate:
                raise InvalidInputError(
                    "A searcher that tries something must choose the networks, or an `objective` that needs no search, "
                    f"but `{type(self.searcher).__name__}` takes no trials. Name another searcher."
                )
            check_limits(
                self.costs,
                limits,
                random_networks=random_networks,
                with_largest=largest,
                seed=self.args.seed,
                find=self.objective,
                baselines=baselines,
            )
            refuse_mixed(self.folder, self.costs)

    def estimate(self, *limits: LimitSet) -> str:
        """Returns a text about the run's cost and the feasible limits. It takes seconds and trains nothing.

        Raises:
            InvalidInputError: Settings would stop the run (`check`).
        """
        self.check()
        return estimate(
            self.supernet,
            self.task,
            self.training,
            self.searcher,
            self.costs,
            limits,
            self.epochs,
            self.final_training,
        )

    # -- the verbs ----------------------------------------------------------------------------------------------------

    def search(self) -> SearchResult:
        """Searches, goes on with an interrupted search, or reads a finished one. A second call returns the same result.

        With `compression` the checkpoint is first fine-tuned as a whole. The run's folder then holds what `from_run`
        makes this trainer from; where the task was put together by hand, without a `source`, a message says that it
        does not.

        Raises:
            InvalidInputError: Something would stop the search, or this trainer began one that did not end.
        """
        if self._networks is None:
            if self._searching:
                raise InvalidInputError(
                    "A search that was interrupted goes on with a new `SearchTrainer` and a new supernet: the weights "
                    "of this one have changed since."
                )
            self.check()
            self._searching = True
            with self.progress as progress:
                prepared = prepare(self, progress) if self.compression else Prepared(self.supernet, self.task)
                # Each trial frees its model and collects garbage; objects that exist now need not be looked at again.
                gc.freeze()
                result = self._search(prepared).with_costs(*self.costs)
            self._searched = self.supernet if prepared.supernet is not self.supernet else None
            self._networks = self.network_trainer(result, prepared)
            if self._networks.task.source:
                self.save()
            else:
                self.progress.message(
                    f"`{self.task.name}` was put together by hand, so that networks cannot be trained or measured from "
                    f"`{self.folder}` later. Load it with `load_task` for that."
                )
        return self._networks.result

    def train(
        self,
        *limits: LimitSet,
        random_networks: int = 0,
        largest: bool = False,
        baselines: Mapping[str, Finder] | None = None,
    ) -> list[TrainedNetwork]:
        """Trains the network of each limit and its baselines, all alike. It searches first if need be.

        Published networks become Hub-ready folders in the run's `models/`. Only the numbers of baselines are kept. A
        network that is finished already is read; one that was trained otherwise stays, beside the new one. Limits that
        give the same architecture share one network.

        Args:
            *limits: A limit for each network, or a tuple of several that hold together. In a space of cells the derived
                network comes first.
            random_networks: Number of random architectures of its cost to train beside each network.
            largest: Whether to train the network with the most multiply-adds, too.
            baselines: Functions that find further baselines for each limit, by name.

        Returns:
            The trained networks, in the order of the limits; each knows all its limits. Its baselines follow each.

        Raises:
            InfeasibleLimitError: Nothing meets a limit.
            InvalidInputError: No network is asked for, or limits are not distinct.
        """
        return self.train_networks(
            self.choose(*limits, random_networks=random_networks, largest=largest, baselines=baselines)
        )

    def choose(
        self,
        *limits: LimitSet,
        random_networks: int = 0,
        largest: bool = False,
        baselines: Mapping[str, Finder] | None = None,
    ) -> list[Network]:
        """Returns the networks that `train` would train with the same arguments. It searches first if need be."""
        if not (limits or largest) and cells_of(self.supernet.search_space) is None:
            raise InvalidInputError("At least one network must be asked for, but there is none. Give a limit.")
        if self._networks is None:
            self.check(*limits, random_networks=random_networks, largest=largest, baselines=baselines)
        networks = choose_networks(
            self.search(),
            limits,
            random_networks=random_networks,
            with_largest=largest,
            seed=self.args.seed,
            on_unmet=self.progress.message,
            find=self._find,
            baselines=baselines,
        )
        return score_again(networks, self._evaluated, self.searcher.num_trials)

    def _find(self, result: SearchResult, *limits: Limit) -> Architecture:
        """Returns the architecture for some limits, after those near the optimum were scored if that is asked for."""
        args = self.args
        if args.refine and limits and self._evaluated is not None and result.prediction is not None:
            result = refined(result, limits, self._evaluated, args.refine, self.folder, seed=args.seed)
        return self.objective(result, *limits)

    def train_networks(self, networks: Sequence[Network]) -> list[TrainedNetwork]:
        """Trains networks that you chose, as the run trains its own. It searches first if need be.

        Raises:
            InvalidInputError: There is no network.
            DivergedError: The loss of a network does not stay finite.
        """
        if not networks:
            raise InvalidInputError("At least one network must be asked for, but there is none. Give a limit.")
        self.search()
        assert self._networks is not None
        with self.progress as progress:
            trained = self._networks.train_all(networks, progress)
        self._display = None  # what is trained later is another stage of its own
        return trained

    def evaluate(self, *names: str) -> None:
        """Loads published networks in a fresh process, as anyone would, and measures them on the test split again.

        The main process measures; every process makes the call, and hears of an error.

        Args:
            *names: Names of networks in `models/`. Without names all are measured.

        Raises:
            InvalidInputError: There is no such network, or the task was put together by hand.
            SearchhubError: A network does not load, or does not reach the score on its card.
        """
        OnMain(Processes(self.accelerator))(partial(self._evaluate, names))

    def _evaluate(self, names: Sequence[str]) -> None:
        known = {r.network.name: r.folder for r in read_reports(self.folder) if r.folder is not None}
        for name in names:
            if name not in known:
                raise InvalidInputError(f"`{name}` must be one of {sorted(known)} in `{self.folder}`, but is none.")
        if not known:
            raise InvalidInputError(f"`{self.folder}` must hold a network to evaluate, but holds none. Train one.")
        if not self.task.source:
            raise InvalidInputError(
                f"A task must have a `source` for networks to be measured in a fresh process, but `{self.task.name}` "
                "was put together by hand. Load it with `load_task`."
            )
        self._reload([known[name] for name in names or known])

    def save(self) -> None:
        """Writes the run's folder so that `from_run` can make this trainer from it. `search` does so at its end.

        A trainer that `from_run` made has nothing to write.
        """
        self.search()
        assert self._networks is not None
        if not self._loaded:
            scoring = dict(self._evaluated.scoring) if isinstance(self._evaluated, SupernetEvaluator) else None
            if scoring is not None and self.compression is not None and self.compression.judge == "parent":
                scoring |= {"judge": "parent", "judged": self.compression.judged}
            if scoring is not None and self.args.refine:
                scoring["refine"] = self.args.refine
            save_trainer(self._networks, searched=self._searched, scoring=scoring)

    def summarize(self, networks: Sequence[TrainedNetwork], *, also: Sequence[str] = ()) -> None:
        """Ends the run: loads its networks again (`evaluate`), prints their table, draws pictures, writes the report.

        Args:
            networks: The networks that `train` returned.
            also: More lines to print below the table.
        """
        result = self.search()
        self.accelerator.end_training()
        if self.accelerator.is_main_process:
            reload = self._reload if self.task.source else None
            summarize_networks(result, networks, self.task, self.folder, reload, also=also)

    def write_report(self) -> Path:
        """Writes a report of the run as one HTML file, and returns its path."""
        return write_report(self.folder)

    def push_to_hub(self, repo_id: str, network: str | None = None, **options: Any) -> PublishedRevision:
        """Publishes a trained network: card, modeling files and weights in one commit, never over another network.

        Args:
            repo_id: "name" or "owner/name".
            network: The network's name in `models/`. None: the only one there is.
            **options: Further arguments of `searchhub.publish`.

        Raises:
            InvalidInputError: There is no such network, or there are several and none is named.
            HubError: The Hub refused or could not be reached.
        """
        found = {r.network.name: r for r in read_reports(self.folder) if r.network.published}
        name = next(iter(found)) if network is None and len(found) == 1 else network
        if name not in found:
            raise InvalidInputError(
                f"`network` must be one of the networks in `{self.folder}`, {sorted(found)}, but is {network!r}."
            )
        return OnMain(Processes(self.accelerator))(partial(found[name].push_to_hub, repo_id, **options))

    # -- the parts that it drives -------------------------------------------------------------------------------------

    def network_trainer(self, result: SearchResult, prepared: Prepared | None = None, **changes: Any) -> NetworkTrainer:
        """Returns the trainer of a result's networks.

        Args:
            result: The result, with cost tables.
            prepared: The supernet and tasks that compression prepared. None: the trainer's own.
            **changes: Fields of the `NetworkTrainer` to set otherwise.
        """
        args, prepared = self.args, prepared or Prepared(self.supernet, self.task)
        settings = {"searcher": dict(result.searcher or self.searcher.config), "training": self.training.to_dict()}
        settings = settings if self._search_settings is None else dict(self._search_settings)
        fields: dict[str, Any] = {
            "epochs": self.epochs,
            "seed": args.seed,
            "folder": self.folder,
            "inherit_weights": self.inherit_weights,
            "reconstruction": prepared.reconstruction,
            "stages": args.stages,
            "stage_epochs": args.stage_epochs,
            "train_on": args.train_on,
            "publish_as": args.publish_as,
            "replace": args.replace,
            "provenance": Provenance(
                start=self._start or prepared.start,
                base_model=self.compression.base_model if self.compression else self._base_model,
                search_settings=settings,
                search_cost=compute_used(result.history, self.accelerator),
                command=self.command,
            ),
        }
        task = prepared.final_task or self.final_task
        return NetworkTrainer(
            prepared.supernet, result, task, self.final_training, self.accelerator, **{**fields, **changes}
        )

    def _callbacks(self) -> list[SearchCallback]:
        scored = self.searcher.num_trials - self.searcher.trained_trials
        return [
            *search_callbacks(self.accelerator, self.progress, "search", self._tracked, scored=scored),
            *self.callbacks,
        ]

    def _search(self, prepared: Prepared) -> SearchResult:
        searcher = self.searcher
        if not searcher.num_trials:
            return searcher.result()
        evaluator = self._evaluator
        if not isinstance(evaluator, Evaluator):
            untrained = prepared.reconstruction is not None and not searcher.budget.epochs
            evaluator = evaluator(
                self.supernet,
                prepared.search_task or self.task,
                self.training,
                self.accelerator,
                num_trials=searcher.trained_trials,
                epochs_per_trial=searcher.budget.epochs,
                max_steps_per_trial=searcher.budget.max_steps,
                score=self.score,
                seed=self.args.seed,
                on_step=self.progress.step,
                **({} if self._sizes is None else {"sizes": self._sizes}),
                **({"reconstruction": prepared.reconstruction} if untrained else {}),
                **self._evaluator_options,
            )
        result = search(searcher, evaluator, run_dir=self.folder, callbacks=self._callbacks())
        self._evaluated = evaluator if evaluator.scores_untrained else None
        return result

    def _reload(self, folders: Sequence[Path]) -> None:
        kind = self.final_task.source.get("kind")
        precision, size = str(self.accelerator.mixed_precision), self.final_training.eval_batch_size
        reload_networks(folders, mixed_precision=precision, batch_size=size, kind=kind)


def default_costs(supernet: Supernet, *, compressed: bool) -> list[CostTable]:
    """Returns tables of multiply-adds and parameters, and for compression also of parameters without embeddings."""
    tables = [macs_table(supernet), params_table(supernet)]
    return [*tables, params_table(supernet, embeddings=False)] if compressed else tables
