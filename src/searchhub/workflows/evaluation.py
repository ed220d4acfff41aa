"""Measures published networks as anyone would load them: with the Auto class and the folder's own processor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import Accelerator
from transformers import PreTrainedModel

from searchhub.data.sources import load_task, names_own_loader
from searchhub.data.splits import reason
from searchhub.data.task import Split, Task
from searchhub.errors import InvalidInputError
from searchhub.hub.contents import FACTS, MODEL_CONFIG
from searchhub.hub.pretrained import find_folder
from searchhub.networks.network import MODELS, read_facts, read_task_source
from searchhub.training.loop import predict

SPARING = {"image": {"decode": "on_the_fly"}}
"""For each kind of task, arguments by which its loader does no work and takes no memory for other splits."""

_NAMES = ("kind", "dataset", "task_name")
"""Arguments of a task's loader that name its data."""


@dataclass(frozen=True)
class EvaluatedNetwork:
    """The metrics of a published network.

    Args:
        name: Name of the network and its folder.
        path: The folder, as it was asked for.
        facts: The folder's facts of its network (`searchhub.json`). Empty: it has none.
        task: Name of the data.
        same_data: Whether the card speaks of this split of this data.
        split: The split of the data.
        examples: Number of examples in the split.
        metrics: The measured metrics, the primary one among them.
        mixed_precision: Precision of the forward pass: "no", "fp16" or "bf16".
    """

    name: str
    path: str
    facts: Mapping[str, Any]
    task: str
    same_data: bool
    split: str
    examples: int
    metrics: Mapping[str, float]
    mixed_precision: str = "no"

    @property
    def recorded(self) -> dict[str, float] | None:
        """The metrics on the network's card; None if they come from other data or another number of examples."""
        same = self.same_data and self.facts.get("examples") == self.examples
        return dict(self.facts["metrics"]) if same else None

    def check(self) -> None:
        """Compares the metrics with the card.

        Raises:
            InvalidInputError: A metric differs from the card, or the card says nothing about this split of this data.
        """
        if self.recorded is None:
            spoken = {name: self.facts.get(name) for name in ("task", "split", "examples")} if self.facts else "nothing"
            raise InvalidInputError(
                f"The card of `{self.path}` must speak of {self.task}, {self.split}, {self.examples} examples, for the "
                f"network to be checked by it, but its {FACTS} says {spoken}. Give the data of its training, or leave "
                "out the check."
            )
        for metric, value in self.metrics.items():
            expected = self.recorded.get(metric)
            if expected is None or not abs(expected - value) <= self._tolerance(metric):
                on_card = "missing" if expected is None else f"{expected:.4f}"
                raise InvalidInputError(
                    f"`{self.path}` must reach the {metric} {on_card} on its card, but reached {value:.4f}."
                )

    def _tolerance(self, metric: str) -> float:
        """Returns how far a metric may move because sums round otherwise in batches of another size."""
        exact = metric == "accuracy" and self.mixed_precision == "no"
        return max(1.5 / self.examples, 5e-4 if exact else 5e-3)

    def line(self) -> dict[str, Any]:
        """Returns the facts that programs print on one line, rounded."""
        metrics = {name: round(value, 4) for name, value in self.metrics.items()}
        row = {"model": Path(self.path).name, "path": self.path, "task": self.task}
        return {**row, **metrics, "split": self.split, "examples": self.examples}

    def to_dict(self) -> dict[str, Any]:
        """Returns all facts as plain JSON, for programs."""
        return {
            "name": self.name,
            "folder": self.path,
            "data": self.task,
            "split": self.split,
            "examples": self.examples,
            "metrics": dict(self.metrics),
            "recorded": self.recorded,
            "costs": self.facts.get("costs", {}),
        }


def evaluate_networks(
    folders: Sequence[str | Path],
    accelerator: Accelerator,
    *,
    split: Split = "test",
    batch_size: int = 256,
    data: Mapping[str, Any] | None = None,
) -> Iterator[EvaluatedNetwork]:
    """Evaluates networks one after another, each on the task that its folder, or the run around it, names.

    Args:
        folders: Folders of models, or their Hub ids.
        accelerator: Device and precision.
        split: The split to evaluate on.
        batch_size: Examples of one forward pass.
        data: Other arguments for the task's loader. Their "kind" may name your own loader; no folder may name one.

    Raises:
        InvalidInputError: A folder holds no network, or its data are unknown, cannot be loaded, or have other labels
            than the network predicts.
    """
    given = dict(data or {})
    source, task = None, None
    for folder in map(find_folder, folders):
        wanted = _source(folder, given)
        if task is None or wanted != source:
            source, task = wanted, None  # the data of one run are freed before those of another are loaded
            task = _load(wanted, trusted="kind" in given)
        yield evaluate_network(folder, task, accelerator, split=split, batch_size=batch_size)


def evaluate_network(
    folder: str | Path,
    task: Task,
    accelerator: Accelerator,
    *,
    split: Split = "test",
    batch_size: int = 256,
    same_names: bool = True,
) -> EvaluatedNetwork:
    """Evaluates a published network on a task.

    Args:
        folder: Folder of the model, or its Hub id.
        task: Data and metric.
        accelerator: Device and precision.
        split: The split to evaluate on.
        batch_size: Examples of one forward pass.
        same_names: Whether the model's labels must have the names of the task's. False: only their number must agree.

    Raises:
        InvalidInputError: The folder holds no network of the task's kind, or one with other labels.
    """
    place = find_folder(folder)
    model = _load_model(place, task)
    _check_labels(model, task, folder, same_names)
    model.to(accelerator.device)
    pair = predict(model, task.processed_by(place), split, batch_size, accelerator)
    facts = read_facts(place) or {}
    return EvaluatedNetwork(
        name=facts.get("name", place.name),
        path=str(folder),
        facts=facts,
        task=task.name,
        same_data=facts.get("split") == split and _same_data(facts, task),
        split=split,
        examples=task.size(split),
        metrics=task.score(*pair),
        mixed_precision=str(accelerator.mixed_precision),
    )


def networks_in(folder: str | Path) -> list[Path]:
    """Returns the folders of models that a folder stands for: all that a run published, or else the folder itself.

    Raises:
        InvalidInputError: The folder holds neither a model nor a run that published one.
    """
    folder = Path(folder)
    if (folder / MODEL_CONFIG).exists():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"{MODELS}/[!.]*/{MODEL_CONFIG}"))
    if not found:
        raise InvalidInputError(
            f"`{folder}` must be the folder of a model, or of a run that trained some, but holds neither "
            f"{MODEL_CONFIG} nor {MODELS}/*/{MODEL_CONFIG}. Train one: `searchhub train {folder} --max macs=…`."
        )
    return found


# -- inside -----------------------------------------------------------------------------------------------------------


def _same_data(facts: Mapping[str, Any], task: Task) -> bool:
    """Whether a card speaks of a task's data: their names agree, or else their content, wherever they lie now."""
    known = facts.get("task") or {}
    if all(_last(known.get(name)) == _last(task.source.get(name)) for name in _NAMES):
        return True
    return bool(facts.get("identity", {}).get("task") == task.fingerprint())


def _last(value: object) -> object:
    """Returns a path's last part: a published folder tells no more about where its data lay."""
    return Path(value).name if isinstance(value, str) else value


def _source(folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a folder's task is loaded from. If another kind is given, the folder's arguments do not count."""
    own = read_task_source(folder)
    source = {**own, **given} if given.get("kind", own.get("kind")) == own.get("kind") else dict(given)
    if "kind" not in source:
        raise InvalidInputError(
            f"The data of `{folder}` must be known, but its {FACTS} does not say them. Name them, e.g. "
            "`--data kind=image --data dataset=path/to/images`."
        )
    return source


def _load(source: Mapping[str, Any], *, trusted: bool) -> Task:
    try:
        return load_task({**SPARING.get(source["kind"], {}), **source}, trusted=trusted)
    except TypeError as error:
        if names_own_loader(source["kind"]):
            raise
        raise InvalidInputError(
            f"`--data` must be arguments of the loader of `{source['kind']}`, but: {error}."
        ) from None


def _load_model(folder: Path, task: Task) -> PreTrainedModel:
    way_out = "If it brings code of its own that you trust, load it yourself."
    try:
        model = getattr(transformers, task.auto_class).from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"`{folder}` must hold a {task.pipeline_tag.replace('-', ' ')} model that can be loaded, but: "
            f"{reason(error)}. {way_out}"
        ) from error
    assert isinstance(model, PreTrainedModel)
    return model


def _check_labels(model: PreTrainedModel, task: Task, folder: str | Path, same_names: bool) -> None:
    names = list(model.config.id2label.values())
    if model.config.num_labels != task.num_labels:
        raise InvalidInputError(
            f"`{folder}` must tell apart the {task.num_labels} labels of {task.name}, but has "
            f"{model.config.num_labels}. Choose other data."
        )
    if same_names and names != list(task.label_names):
        raise InvalidInputError(
            f"The labels of `{task.name}` must be those that `{folder}` predicts, {names[:8]}, but are "
            f"{list(task.label_names)[:8]}. Choose other data."
        )
