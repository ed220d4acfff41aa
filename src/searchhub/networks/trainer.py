"""Trains architectures all alike, evaluates each once, and writes Hub-ready folders. Finished networks are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from searchhub.callbacks.progress import ProgressDisplay
from searchhub.costs.table import CostTable
from searchhub.data.task import Split, Task
from searchhub.distributed import OnMain
from searchhub.errors import InvalidInputError
from searchhub.files import read_json_object, write_json, write_text
from searchhub.generation import GeneratedArchitecture
from searchhub.generation.cells import known_costs
from searchhub.hub.card import eval_results_yaml, model_card
from searchhub.hub.folder import save_model_folder
from searchhub.models.identity import name_labels, weights_digest
from searchhub.models.supernet import Supernet
from searchhub.networks.card_facts import Provenance, card_facts
from searchhub.networks.identity import training_identity
from searchhub.networks.network import BASELINES, MODELS, Network, TrainedNetwork, read_facts
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

    def __post_init__(self) -> None:
        if self.inherit_weights:
            check_inheritable(self.supernet)

    def train(self, network: Network, on_step: StepCallback | None = None) -> TrainedNetwork:
        """Trains a network and writes its folder, or reads the folder if the network is finished already.

        Every process makes this call; the main one writes.
        """
        costs = {name: table(network.architecture) for name, table in self.tables(network).items()}
        facts = self._finished(network)
        if facts is None:
            facts = self._train(network, costs, on_step)
        return TrainedNetwork(
            network, costs, facts["metrics"], facts, self._path(network) if network.published else None
        )

    def train_all(self, networks: Sequence[Network], progress: ProgressDisplay) -> list[TrainedNetwork]:
        """Trains networks one after another, as a stage of a progress display."""
        reports: list[TrainedNetwork] = []
        with progress.stage(f"train {len(networks)} networks", len(networks)) as stage:
            for network in networks:
                stage.begin(network.name)
                reports.append(self.train(network, stage.step))
                stage.advance(best=max(r.metrics[self.task.metric_name] for r in reports))
        return reports

    def model(self, architecture: Architecture) -> PreTrainedModel:
        """Returns the model of an architecture before training: new, or with the supernet's weights."""
        if self.inherit_weights:
            model = self.supernet.extract(architecture)
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
        return {**self.result.costs, **{x.name: known[x.name] for x in network.limits}}

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
        )

    def _path(self, network: Network) -> Path:
        if network.published:
            return self.folder / MODELS / network.name
        return self.folder / BASELINES / f"{network.name}.json"

    def _finished(self, network: Network) -> dict[str, Any] | None:
        # The processes may share a disk that the main one writes to meanwhile: only one looks, and decides for all.
        def read() -> dict[str, Any] | None:
            path = self._path(network)
            facts = read_facts(path) if network.published else read_json_object(path)
            return facts if facts is not None and facts.get("identity") == self._identity(network) else None

        return OnMain(Processes(self.accelerator))(read)

    def _train(self, network: Network, costs: Mapping[str, float], on_step: StepCallback | None) -> dict[str, Any]:
        model = self.model(network.architecture)
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
            "limits": [{"cost": x.name, "max": x.max, "min": x.min, "equal": x.equal} for x in network.limits],
            "costs": dict(costs),
            "units": {name: table.unit for name, table in self.tables(network).items()},
            "task": redact_data(self.task.source),
            **fitted.to_dict(),
        }
        if isinstance(network.architecture, GeneratedArchitecture):
            facts["certificate"] = network.architecture.certificate.to_dict()
        if self.train_on == "train":
            measured = evaluate(model, self.task, "validation", self.settings.eval_batch_size, self.accelerator)
            facts["validation"] = {"metrics": measured.metrics, "examples": self.task.size("validation")}
        if self.accelerator.is_main_process:
            if network.published:
                self._publish(network, model, facts)
            else:
                write_json(self._path(network), facts)
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
