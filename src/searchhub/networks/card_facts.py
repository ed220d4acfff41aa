"""Gathers what the card of a trained network says: where it comes from, what it cost, and what it reached."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from accelerate import Accelerator
from transformers import PreTrainedModel

from searchhub._version import __version__
from searchhub.data.task import Task
from searchhub.generation import GeneratedArchitecture
from searchhub.generation.architecture import optimality, predicted_loss
from searchhub.hub.card import CardFacts, ComputeUsed, Evaluation, ReachedLimit
from searchhub.hub.folder import is_stock
from searchhub.networks.network import Network, read_original
from searchhub.trial import TrialResult

if TYPE_CHECKING:
    from searchhub.networks.trainer import NetworkTrainer


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a run's networks come from, as their cards tell it. It does not change how they are trained.

    Args:
        start: Name of the weights that a network inherits.
        base_model: The checkpoint that the supernet was made from. None: there was none.
        search_settings: The settings of the search, as plain JSON.
        search_cost: The compute that the search used.
        command: The words of the run's command.
    """

    start: str = "weights of the supernet"
    base_model: str | None = None
    search_settings: Mapping[str, Any] = field(default_factory=dict)
    search_cost: ComputeUsed = ComputeUsed()
    command: Sequence[str] = ()


def card_facts(
    trainer: NetworkTrainer, network: Network, model: PreTrainedModel, facts: Mapping[str, Any]
) -> CardFacts:
    """Returns all facts that the card of a network states.

    Args:
        trainer: The trainer of the network.
        network: The network.
        model: The model that is published. Only its class counts.
        facts: The network's measured facts, as its folder holds them.
    """
    costs, task, told = facts["costs"], trainer.task, trainer.provenance
    data = task.published
    limits = tuple(
        ReachedLimit(
            cost=x.name,
            reached=costs[x.name],
            minimum=x.min,
            maximum=x.max,
            equal=x.equal,
            unit=trainer.tables(network)[x.name].unit,
        )
        for together in network.limit_sets
        for x in together
        if x.name in costs
    )
    original = read_original(trainer.folder) or {}
    card = CardFacts(
        model_name=network.name,
        model_class=type(model).__name__,
        architecture=network.architecture,
        auto_class=task.auto_class,
        processor_class=task.processor_class,
        pipeline_tag=task.pipeline_tag,
        base_model=told.base_model,
        remote_code=not is_stock(model),
        needs_searchhub=not is_stock(model),
        dataset_id=data.dataset_id,
        dataset_config=data.dataset_config,
        dataset_name=data.dataset_name,
        dataset_revision=task.fingerprint(),
        num_labels=data.num_classes,
        input_shape=task.input_shape,
        diagram="architecture.png",
        limits=limits,
        params=int(costs["params"]),
        macs=int(costs["macs"]),
        macs_unit=trainer.result.costs["macs"].unit,
        evaluations=(
            *_evaluations(task, facts["split"], facts),
            *_evaluations(task, "validation", facts.get("validation")),
        ),
        by_class=facts.get("by_class", {}),
        space_name=trainer.result.space.name,
        search_settings=told.search_settings,
        search_cost=told.search_cost,
        training_settings={
            **trainer.settings.to_dict(),
            **_parts(task),
            "start": told.start if trainer.inherit_weights else "from scratch",
            **_stage_settings(facts),
            **_original_settings(original),
        },
        training_cost=ComputeUsed(
            epochs=trainer.epochs + sum(epochs for _, _, epochs in facts.get("stages", ())),
            seconds=facts["seconds"] + facts.get("stage_seconds", 0.0),
            device=trainer.accelerator.device.type,
            processes=trainer.accelerator.num_processes,
        ),
        seed=trainer.seed,
        versions=versions(),
        command=tuple(told.command),
        papers=trainer.supernet.papers,
        notes=(original["note"],) if "note" in original else (),
    )
    if isinstance(network.architecture, GeneratedArchitecture):
        certificate = network.architecture.certificate
        optimal = optimality(certificate.to_dict())
        objective = {"expectation": "E[α]", "score": "the score"}.get(certificate.objective, certificate.objective)
        card = replace(
            card,
            selection=f"{optimal} of {objective} ({certificate.method})",
            expectation=certificate.expectation,
            predicted_loss=(
                None if certificate.loss is None else predicted_loss(certificate.loss, certificate.deviation)
            ),
            measured_loss=certificate.measured,
        )
    return card


def versions() -> dict[str, str]:
    """Returns the versions that a result depends on."""
    python = ".".join(str(n) for n in sys.version_info[:3])
    others = {name: version(name) for name in ("torch", "transformers", "accelerate", "datasets")}
    return {"python": python, "searchhub": __version__, **others}


def _evaluations(task: Task, split: str, found: Mapping[str, Any] | None) -> list[Evaluation]:
    """Returns what was measured on a split, the primary metric first, under the names that the Hub knows."""
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


def _parts(task: Task) -> dict[str, Any]:
    """Returns how training parts are cut where each pixel has a label, as the task's source says it."""
    augmentation = task.source.get("augmentation") if task.dense else None
    return {} if augmentation is None else {"augmentation": augmentation}


def _stage_settings(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the stages before a network's own training: the share that each keeps at most, and its epochs."""
    stages = [f"{share:g} ({epochs} epochs)" for share, _, epochs in facts.get("stages", ())]
    return {"stages": stages} if stages else {}


def _original_settings(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how the run fine-tuned its checkpoint before the search; empty if there was no checkpoint."""
    identity = facts.get("identity")
    if not identity:
        return {}
    training = {name: identity["training"][name] for name in ("epochs", "learning_rate")}
    return {"original": {**training, **(identity["then"] or {"order": "none"})}}


def compute_used(trials: Sequence[TrialResult], accelerator: Accelerator) -> ComputeUsed:
    """Returns the compute that a search's trials used, for cards; empty if there are no trials."""
    if not trials:
        return ComputeUsed()
    return ComputeUsed(
        trials=len(trials),
        seconds=sum(r.seconds for r in trials),
        device=accelerator.device.type,
        processes=accelerator.num_processes,
    )
