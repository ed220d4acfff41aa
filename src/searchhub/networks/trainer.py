"""Trains architectures all alike, evaluates each once, and writes Hub-ready folders. Finished networks are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from searchhub.callbacks.progress import ProgressDisplay
from searchhub.callbacks.progress import Stage as ShownStage
from searchhub.costs.table import CostTable
from searchhub.data.segmentation import SegmentationTask
from searchhub.data.task import Split, Task
from searchhub.distributed import OnMain
from searchhub.errors import InvalidInputError
from searchhub.files import read_json_object, write_json, write_text
from searchhub.generation import GeneratedArchitecture
from searchhub.generation.cells import known_costs
from searchhub.hub.card import eval_results_yaml, model_card
from searchhub.hub.contents import FACTS
from searchhub.hub.folder import save_model_folder
from searchhub.models.identity import name_labels, weights_digest
from searchhub.models.shells import Reconstruction
from searchhub.models.supernet import Supernet
from searchhub.networks.alike import differences, in_words, training_of
from searchhub.networks.card_facts import Provenance, card_facts
from searchhub.networks.examples import save_examples
from searchhub.networks.identity import training_identity
from searchhub.networks.network import (
    BASELINES,
    MODELS,
    Network,
    TrainedNetwork,
    each_once,
    limits_as_json,
    limits_of,
    network_name,
    read_facts,
)
from searchhub.networks.staging import Stage, check_stages, stages_of, train_stages
from searchhub.redact import redact_data
from searchhub.result import SearchResult
from searchhub.space import Architecture
from searchhub.training.accelerator import Processes
from searchhub.training.batches import derive_seed
from searchhub.training.fit import fit
from searchhub.training.loop import StepCallback, evaluate
from searchhub.training.settings import TrainingSettings
from searchhub.visualization.diagram import plot_architecture


@dataclass(frozen=True)
class NetworkTrainer:
    """Trains the networks of one search, all with the same settings, seed and number of epochs.

    Args:
        supernet: The supernet, which knows the class of the networks and holds the weights that they may inherit.
        result: The result of the search, with cost tables.
        task: Data and metric.
        settings: Optimizer, schedule and batch.
        accelerator: The accelerator of this process.
        epochs: Passes over the split that is trained on.
        seed: The seed of weights, order, augmentation and dropout.
        folder: The run's folder. Published networks go to its `models/`, baselines to its `baselines/`.
        inherit_weights: Whether networks start from the supernet's weights. False: from scratch, as in DDPNAS.
        train_on: Split to train on. "full" (train + validation) for final numbers; "train" if you rank networks on
            validation, whose metrics are then saved too.
        publish_as: Function that turns a trained model into the one that is published, e.g. of a stock class. None:
            the trained model itself is published.
        provenance: Origin of the networks, for their cards.
        replace: Whether a network takes the place of a finished one of its name that was trained otherwise, or that is
            another. False: that one stays, and the new one gets a folder of its own, `name.2`.
        reconstruction: Weights that networks start from in place of some inherited ones. None: those are inherited,
            too.
        stages: Shares of the largest network on offer, which fall. Before a network's own training, the weights that it
            starts from are trained through the best network of at most each share that contains it. Shares that are not
            above the network's own size are left out. Empty: it is cut at once.
        stage_epochs: Passes of each stage.
    """

    supernet: Supernet
    result: SearchResult
    task: Task
    settings: TrainingSettings
    accelerator: Accelerator
    epochs: int
    seed: int
    folder: Path
    inherit_weights: bool = False
    train_on: Split = "full"
    publish_as: Callable[[PreTrainedModel], PreTrainedModel] | None = None
    provenance: Provenance = field(default_factory=Provenance)
    replace: bool = False
    reconstruction: Reconstruction | None = None
    stages: Sequence[float] = ()
    stage_epochs: int = 1

    def __post_init__(self) -> None:
        if self.inherit_weights:
            check_inheritable(self.supernet)
        elif self.reconstruction is not None:
            raise InvalidInputError(
                "`reconstruction` must be None for networks that are trained from scratch: it completes weights that "
                "they inherit (`inherit_weights`)."
            )
        check_stages(
            self.stages,
            self.stage_epochs,
            self.supernet.search_space,
            inherit_weights=self.inherit_weights,
            reconstruct=self.reconstruction is not None,
        )

    def train(
        self,
        network: Network,
        on_step: StepCallback | None = None,
        on_stage: Callable[[str], None] | None = None,
    ) -> TrainedNetwork:
        """Trains a network and writes its folder, or reads the folder if the network is finished already.

        1. A finished network is not overwritten, unless `replace` says so.
        2. An architecture is trained once. If a folder of another name holds it, trained alike, that network serves
           these limits too, and it is returned.

        Every process makes this call; the main one writes.

        Args:
            network: The network.
            on_step: Called after each optimizer step.
            on_stage: Called with a line on each stage before the network's own training.
        """
        place = self._place(network)
        facts = self._train(place, on_step, on_stage) if place.facts is None else self._keep(place, place.facts)
        costs = {name: table(network.architecture) for name, table in self.tables(network).items()}
        return TrainedNetwork(place.network, costs, facts["metrics"], facts, place.path if network.published else None)

    def train_all(self, networks: Sequence[Network], progress: ProgressDisplay) -> list[TrainedNetwork]:
        """Trains networks one after another, as a stage of a progress display; equal architectures once."""
        reports: list[TrainedNetwork] = []
        networks = each_once(networks)
        for network in networks:
            for limits in network.also:
                progress.message(f"`{network_name(limits)}` is the same network as `{network.name}`: trained once.")
        with progress.stage(f"train {len(networks)} networks", len(networks)) as stage:
            for network in networks:
                stage.begin(network.name)
                reports.append(self.train(network, stage.step, partial(_show, progress, stage, network.name)))
                if reports[-1].network.name != network.name:
                    progress.message(self._why_there(network, reports[-1]))
                stage.advance(best=max(r.metrics[self.task.metric_name] for r in reports))
        return reports

    def model(self, architecture: Architecture) -> PreTrainedModel:
        """Returns the model of an architecture before training: new, or with the supernet's weights."""
        if self.inherit_weights:
            model = self.supernet.extract(architecture)
            if self.reconstruction is not None:
                self.reconstruction.apply(model, architecture)
        else:
            torch.manual_seed(derive_seed(self.seed, "weights"))
            final = self.supernet.final
            model = final.subnet_class(final.subnet_config(architecture))
        name_labels(model, self.task)
        return model

    def rewrite_card(self, report: TrainedNetwork, **changes: Any) -> None:
        """Writes a finished network's card again, with facts that are known only once other networks are finished.

        Args:
            report: A published network.
            **changes: Fields of `CardFacts`, e.g. `comparison`.
        """
        if self.accelerator.is_main_process:
            with torch.device("meta"):
                final = self.supernet.final
                model = final.subnet_class(final.subnet_config(report.network.architecture))
                model = model if self.publish_as is None else self.publish_as(model)
            card = replace(card_facts(self, report.network, model, report.facts), **changes)
            write_text(self._path(report.network) / "README.md", model_card(card))

    def tables(self, network: Network) -> dict[str, CostTable]:
        """Returns the cost tables of the result, and tables of other costs that the network's limits name."""
        known = known_costs(self.result)
        named = [x.name for limits in network.limit_sets for x in limits]
        return {**self.result.costs, **{name: known[name] for name in named if name in known}}

    # -- inside -------------------------------------------------------------------------------------------------------

    def _identity(self, network: Network) -> dict[str, Any]:
        """Returns all that decides how a network comes out. If a folder has another identity, training starts anew."""
        return training_identity(
            self.supernet.final.subnet_config(network.architecture),
            self.task,
            self.settings,
            self.accelerator,
            epochs=self.epochs,
            seed=self.seed,
            architecture=network.architecture.to_dict(),
            inherit_weights=self.inherit_weights,
            inherited=weights_digest(self.supernet) if self.inherit_weights else None,
            **({} if self.train_on == "full" else {"train_on": self.train_on}),
            **({"reconstruction": self.reconstruction.settings} if self.reconstruction else {}),
            **_staged(self._stages(network)),
        )

    def _stages(self, network: Network) -> list[Stage]:
        """Returns the stages before the network's own training."""
        return stages_of(self.result, network.architecture, self.stages, self.stage_epochs) if self.stages else []

    def _start(
        self, stages: Sequence[Stage], on_step: StepCallback | None, on_stage: Callable[[str], None] | None
    ) -> tuple[NetworkTrainer, dict[str, Any]]:
        """Trains the stages. Returns a trainer whose supernet they trained, and facts on them."""
        say = on_stage or (lambda text: None)
        left_out = [share for share in self.stages if share not in [stage.share for stage in stages]]
        if left_out:
            say(f"no stage at {', '.join(f'{x:g}' for x in left_out)}: the network itself is as large")
        if not stages:
            return self, {}
        supernet, seconds = train_stages(self, stages, on_step, say)
        say("own training")
        return replace(self, supernet=supernet, stages=()), {**_staged(stages), "stage_seconds": seconds}

    def _path(self, network: Network) -> Path:
        if network.published:
            return self.folder / MODELS / network.name
        return self.folder / BASELINES / f"{network.name}.json"

    def _place(self, network: Network) -> _Place:
        """Returns where a network is, or where it will be."""
        own, identity = self._path(network), self._identity(network)

        def look() -> _Place:
            there = _read(own)
            if there is not None and there.get("identity") == identity:
                return _Place(own, network if not network.published else _served(own, network, there), there)
            for path in sorted(own.parent.glob("[!.]*")):
                facts = _read(path)
                if facts is not None and facts.get("identity") == identity:
                    if network.published:
                        return _Place(path, _served(path, network, facts), facts)
                    return _Place(own if there is None else path, network, facts)
            if there is None or "identity" not in there or self.replace:
                return _Place(own, network, None)
            free = next(path for path in map(partial(_numbered, own), count(2)) if _read(path) is None)
            return _Place(free, replace(network, name=free.name) if network.published else network, None)

        # The processes may share a disk that the main one writes to meanwhile: only one looks, and decides for all.
        return OnMain(Processes(self.accelerator))(look)

    def _keep(self, place: _Place, facts: dict[str, Any]) -> dict[str, Any]:
        """Returns the facts of a finished network, after it wrote down what else the network is there for."""
        network = place.network
        kept = {**facts, "name": network.name, **_limits(network)}
        if self.accelerator.is_main_process and kept != _read(place.path):
            write_json(place.path / FACTS if network.published else place.path, kept)
        self.accelerator.wait_for_everyone()
        return kept

    def _why_there(self, network: Network, report: TrainedNetwork) -> str:
        """Returns a sentence on a published network that has another name than was asked for."""
        there = read_facts(self._path(network))
        if there is None:
            return f"`{network.name}` is the same network as `{report.network.name}`, which is trained already."
        trainings = [training_of(there), training_of(report.facts)]
        names = differences(trainings)
        how = " and ".join(in_words(t, names) for t in trainings) if names else "another architecture"
        return (
            f"`{network.name}` is finished and stays; this one is `{report.network.name}`, for they differ: {how}. To "
            "replace it, give `--replace`; in Python `replace=True`."
        )

    def _train(
        self, place: _Place, on_step: StepCallback | None, on_stage: Callable[[str], None] | None
    ) -> dict[str, Any]:
        network = place.network
        costs = {name: table(network.architecture) for name, table in self.tables(network).items()}
        started, staged = self._start(self._stages(network), on_step, on_stage)
        model = started.model(network.architecture)
        fitted = fit(
            model,
            self.task,
            self.settings,
            self.accelerator,
            epochs=self.epochs,
            seed=self.seed,
            train_on=self.train_on,
            on_step=on_step,
        )
        facts: dict[str, Any] = {
            "name": network.name,
            "identity": self._identity(network),
            **_limits(network),
            "costs": costs,
            "units": {name: table.unit for name, table in self.tables(network).items()},
            "task": redact_data(self.task.source),
            **fitted.to_dict(),
            **staged,
        }
        if isinstance(network.architecture, GeneratedArchitecture):
            facts["certificate"] = network.architecture.certificate.to_dict()
        if self.train_on == "train":
            measured = evaluate(model, self.task, "validation", self.settings.eval_batch_size, self.accelerator)
            facts["validation"] = {"metrics": measured.metrics, "examples": self.task.size("validation")}
        if self.accelerator.is_main_process:
            if network.published:
                if isinstance(self.task, SegmentationTask):
                    save_examples(model, self.task, network.name, self.folder, self.accelerator)
                self._publish(network, model, facts)
            else:
                write_json(place.path, facts)
        self.accelerator.wait_for_everyone()
        return facts

    def _publish(self, network: Network, model: PreTrainedModel, facts: dict[str, Any]) -> None:
        if self.publish_as is not None:
            model = self.publish_as(model)
        picture = _picture(network, self.result)
        card = card_facts(self, network, model, facts)
        save_model_folder(
            model,
            self._path(network),
            card=model_card(card),
            facts=facts,
            processor=self.task.processor(),
            pictures={"architecture.png": picture},
            eval_results=eval_results_yaml(card),
        )


@dataclass(frozen=True)
class _Place:
    """Where a network is, under which name, and its facts. None: it will be trained there."""

    path: Path
    network: Network
    facts: dict[str, Any] | None


def _read(path: Path) -> dict[str, Any] | None:
    return read_json_object(path) if path.suffix == ".json" else read_facts(path)


def _numbered(path: Path, number: int) -> Path:
    name = path.name.removesuffix(".json")
    return path.with_name(f"{name}.{number}{path.name.removeprefix(name)}")


def _served(path: Path, network: Network, facts: Mapping[str, Any]) -> Network:
    """Returns the network of a folder, which serves another one's limits too."""
    limits, *also = limits_of(facts)
    return replace(network, name=path.name, limits=limits, also=tuple(also)).serving(network.limit_sets)


def _limits(network: Network) -> dict[str, Any]:
    """Returns a network's limits as its facts hold them."""
    also = {"also_limits": [limits_as_json(limits) for limits in network.also]} if network.also else {}
    return {"limits": limits_as_json(network.limits), **also}


def _staged(stages: Sequence[Stage]) -> dict[str, Any]:
    """Returns stages as facts hold them; nothing where there are none."""
    return {"stages": [stage.to_list() for stage in stages]} if stages else {}


def _show(progress: ProgressDisplay, stage: ShownStage, name: str, text: str) -> None:
    progress.message(f"`{name}`, {text}")
    stage.begin(f"{name}, {text.partition(':')[0].partition(' takes')[0]}")


def check_inheritable(supernet: Supernet) -> None:
    """Checks that networks can start from a supernet's weights.

    Raises:
        InvalidInputError: The networks have other sizes, or other BatchNorm, than those of the search.
    """
    if supernet.final is not supernet:
        raise InvalidInputError(
            "`inherit_weights` must be False where the networks that are trained have other sizes, or other BatchNorm, "
            f"than those of the search, as with a {type(supernet).__name__}. Train from scratch."
        )


def _picture(network: Network, result: SearchResult) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "architecture.png"
        plot_architecture(network.architecture, path, network.name, space=result.space)
        return path.read_bytes()
