"""From architectures to networks: trained alike, evaluated once, each a Hub-ready folder. Finished ones are kept."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from transformers import PreTrainedModel

from searchhub._version import __version__
from searchhub.callbacks.progress import ProgressDisplay
from searchhub.costs.table import CostTable
from searchhub.data.task import Split, Task
from searchhub.errors import InvalidInputError
from searchhub.files import read_json_object, write_json, write_text
from searchhub.generation import GeneratedArchitecture
from searchhub.generation.cells import known_costs
from searchhub.hub.card import CardFacts, ComputeUsed, Evaluation, ReachedLimit, eval_results_yaml, model_card
from searchhub.hub.folder import is_stock, save_model_folder
from searchhub.models.identity import name_labels, plain_config, weights_digest
from searchhub.models.supernet import Supernet
from searchhub.networks.network import BASELINES, MODELS, Network, TrainedNetwork, read_facts, read_original
from searchhub.redact import redact_whole
from searchhub.result import SearchResult
from searchhub.space import Architecture
from searchhub.training.batches import derive_seed
from searchhub.training.fit import fit
from searchhub.training.loop import StepCallback, predict
from searchhub.training.settings import TrainingSettings
from searchhub.visualization.diagram import plot_architecture


@dataclass(frozen=True)
class NetworkTrainer:
    """Trains networks of one search, all with the same settings, seed and number of epochs.

    Args:
        supernet: Whose model class and weights.
        result: Of the search, with cost tables.
        task: Data and metric.
        settings: Optimizer, schedule and batch.
        accelerator: Of this process.
        epochs: Passes over what is trained on.
        seed: Of weights, order, augmentation and dropout.
        folder: Published networks go to `models/`, baselines to `baselines/` in it.
        inherit_weights: Start from the supernet's weights; False, as in DDPNAS, from scratch.
        start: For the card, what those weights are.
        base_model: For the card, the checkpoint that the supernet was made from.
        search_settings: For the card.
        search_cost: For the card.
        command: For the card, word by word.
        train_on: "full", train and validation together; or "train", where networks are to be compared by "validation":
            then what they reach there is among their facts.
        publish_as: Makes what is published of a trained model, e.g. a stock class that expresses it; None: itself.
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
    start: str = "weights of the supernet"
    base_model: str | None = None
    search_settings: Mapping[str, Any] = field(default_factory=dict)
    search_cost: ComputeUsed = ComputeUsed()
    command: Sequence[str] = ()
    train_on: Split = "full"
    publish_as: Callable[[PreTrainedModel], PreTrainedModel] | None = None

    def __post_init__(self) -> None:
        if self.inherit_weights:
            check_inheritable(self.supernet)

    def train(self, network: Network, on_step: StepCallback | None = None) -> TrainedNetwork:
        """Train a network and write its folder, or read it where it is finished already.

        Every process makes this call; the main one writes.
        """
        costs = {name: table(network.architecture) for name, table in self._tables(network).items()}
        facts = self._finished(network)
        if facts is None:
            facts = self._train(network, costs, on_step)
        return TrainedNetwork(network, costs, facts["metrics"], facts)

    def train_all(self, networks: Sequence[Network], progress: ProgressDisplay) -> list[TrainedNetwork]:
        """Train networks one after another, as a stage of a progress display."""
        reports: list[TrainedNetwork] = []
        with progress.stage(f"train {len(networks)} networks", len(networks)) as stage:
            for network in networks:
                stage.begin(network.name)
                reports.append(self.train(network, stage.step))
                stage.advance(best=max(r.metrics[self.task.metric_name] for r in reports))
        return reports

    def model(self, architecture: Architecture) -> PreTrainedModel:
        """The untrained model of an architecture, or one with the supernet's weights."""
        if self.inherit_weights:
            model = self.supernet.extract(architecture)
        else:
            torch.manual_seed(derive_seed(self.seed, "weights"))
            final = self.supernet.final
            model = final.subnet_class(final.subnet_config(architecture))
        name_labels(model, self.task)
        return model

    def rewrite_card(self, report: TrainedNetwork, **changes: Any) -> None:
        """Write a finished network's card anew, with what is known only once others are finished too.

        Args:
            report: Of a published network.
            **changes: Fields of `CardFacts`, e.g. `comparison`.
        """
        if self.accelerator.is_main_process:
            with torch.device("meta"):
                final = self.supernet.final
                model = final.subnet_class(final.subnet_config(report.network.architecture))
                model = model if self.publish_as is None else self.publish_as(model)
            card = replace(self._card_facts(report.network, model, report.facts), **changes)
            write_text(self._path(report.network) / "README.md", model_card(card))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _identity(self, network: Network) -> dict[str, Any]:
        """All that decides how a network comes out; a folder with another identity is trained anew."""
        return {
            "architecture": network.architecture.to_dict(),
            "model": plain_config(self.supernet.final.subnet_config(network.architecture)),
            "task": self.task.fingerprint(),
            "training": {**self.settings.to_dict(), "epochs": self.epochs, "inherit_weights": self.inherit_weights},
            "inherited": weights_digest(self.supernet) if self.inherit_weights else None,
            "seed": self.seed,
            "mixed_precision": str(self.accelerator.mixed_precision),
            "processes": self.accelerator.num_processes,
            **({} if self.train_on == "full" else {"train_on": self.train_on}),
        }

    def _tables(self, network: Network) -> dict[str, CostTable]:
        """The result's costs, and what else the network's limits name."""
        known = known_costs(self.result)
        return {**self.result.costs, **{x.name: known[x.name] for x in network.limits}}

    def _path(self, network: Network) -> Path:
        if network.published:
            return self.folder / MODELS / network.name
        return self.folder / BASELINES / f"{network.name}.json"

    def _finished(self, network: Network) -> dict[str, Any] | None:
        # The processes may share a disk that the main one writes to meanwhile: only one looks.
        found: list[dict[str, Any] | None] = [None]
        if self.accelerator.is_main_process:
            path = self._path(network)
            found[0] = read_facts(path) if network.published else read_json_object(path)
            if found[0] is not None and found[0].get("identity") != self._identity(network):
                found[0] = None
        if self.accelerator.num_processes > 1:
            broadcast_object_list(found, from_process=0)
        return found[0]

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
            "units": {name: table.unit for name, table in self._tables(network).items()},
            "task": {k: redact_whole(v) if isinstance(v, str) else v for k, v in self.task.source.items()},
            **fitted.to_dict(),
        }
        if isinstance(network.architecture, GeneratedArchitecture):
            facts["certificate"] = network.architecture.certificate.to_dict()
        if self.train_on == "train":
            pair = predict(model, self.task, "validation", self.settings.eval_batch_size, self.accelerator)
            facts["validation"] = {"metrics": self.task.score(*pair), "examples": self.task.size("validation")}
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
        card = self._card_facts(network, model, facts)
        save_model_folder(
            model,
            self._path(network),
            card=model_card(card),
            facts=facts,
            processor=self.task.processor(),
            pictures={"architecture.png": picture},
            eval_results=eval_results_yaml(card),
        )

    def _card_facts(self, network: Network, model: PreTrainedModel, facts: Mapping[str, Any]) -> CardFacts:
        costs, data = facts["costs"], self.task.published
        limits = tuple(
            ReachedLimit(
                cost=x.name,
                reached=costs[x.name],
                minimum=x.min,
                maximum=x.max,
                equal=x.equal,
                unit=self._tables(network)[x.name].unit,
            )
            for x in network.limits
        )
        card = CardFacts(
            model_name=network.name,
            model_class=type(model).__name__,
            architecture=network.architecture,
            auto_class=self.task.auto_class,
            processor_class=self.task.processor_class,
            pipeline_tag=self.task.pipeline_tag,
            base_model=self.base_model,
            remote_code=not is_stock(model),
            needs_searchhub=not is_stock(model),
            dataset_id=data.dataset_id,
            dataset_config=data.dataset_config,
            dataset_name=data.dataset_name,
            dataset_revision=self.task.fingerprint(),
            num_labels=data.num_classes,
            input_shape=self.task.input_shape,
            diagram="architecture.png",
            limits=limits,
            params=int(costs["params"]),
            macs=int(costs["macs"]),
            macs_unit=self.result.costs["macs"].unit,
            evaluations=(
                *_evaluations(self.task, facts["split"], facts),
                *_evaluations(self.task, "validation", facts.get("validation")),
            ),
            space_name=self.result.space.name,
            search_settings=self.search_settings,
            search_cost=self.search_cost,
            training_settings={
                **self.settings.to_dict(),
                "start": self.start if self.inherit_weights else "from scratch",
                **_original_settings(self.folder),
            },
            training_cost=ComputeUsed(
                epochs=self.epochs,
                seconds=facts["seconds"],
                device=self.accelerator.device.type,
                processes=self.accelerator.num_processes,
            ),
            seed=self.seed,
            versions=versions(),
            command=tuple(self.command),
            papers=self.supernet.papers,
        )
        if isinstance(network.architecture, GeneratedArchitecture):
            certificate = network.architecture.certificate
            optimal = "exact optimum of E[α]" if certificate.optimal else "not an optimum of E[α]"
            card = replace(card, selection=f"{optimal} ({certificate.method})", expectation=certificate.expectation)
        return card


def check_inheritable(supernet: Supernet) -> None:
    """Check that networks can start from a supernet's weights.

    Raises:
        InvalidInputError: They are not networks of the search.
    """
    if supernet.final is not supernet:
        raise InvalidInputError(
            "`inherit_weights` must be False where the networks that are trained have other sizes, or other BatchNorm, "
            f"than those of the search, as with a {type(supernet).__name__}. Train from scratch."
        )


def _evaluations(task: Task, split: str, found: Mapping[str, Any] | None) -> list[Evaluation]:
    """What was measured on a split, the primary metric first, by the names that others know."""
    if found is None:
        return []
    data = task.published
    whole = data.splits.get(split, split), found["examples"]
    names = sorted(found["metrics"], key=lambda name: name != task.metric_name)
    known = {name: data.parts.get(name, (name, *whole)) for name in names}
    return [
        Evaluation(metric=metric, value=found["metrics"][name], split=where, num_examples=examples)
        for name, (metric, where, examples) in known.items()
    ]


def _original_settings(folder: Path) -> dict[str, Any]:
    """For the card, how the run fine-tuned its checkpoint before the search; empty where there was none."""
    identity = (read_original(folder) or {}).get("identity")
    if not identity:
        return {}
    training = {name: identity["training"][name] for name in ("epochs", "learning_rate")}
    return {"original": {**training, **(identity["then"] or {"order": "none"})}}


def _picture(network: Network, result: SearchResult) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "architecture.png"
        plot_architecture(network.architecture, path, network.name, space=result.space)
        return path.read_bytes()


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    python = ".".join(str(n) for n in sys.version_info[:3])
    others = {name: version(name) for name in ("torch", "transformers", "accelerate", "datasets")}
    return {"python": python, "searchhub": __version__, **others}
