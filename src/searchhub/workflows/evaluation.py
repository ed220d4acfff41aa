"""Measures published networks as anyone would load them: with the Auto class and the folder's own processor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel

from searchhub.data.loading import load_image_splits
from searchhub.data.sources import load_recorded_task, names_own_loader
from searchhub.data.splits import reason
from searchhub.data.task import Split, Task
from searchhub.errors import InvalidInputError
from searchhub.files import read_json_object
from searchhub.hub.contents import FACTS, MODEL_CONFIG
from searchhub.hub.pretrained import find_folder
from searchhub.models.identity import check_not_quantized
from searchhub.networks.network import MODELS, read_facts, read_task_source
from searchhub.redact import redact_data
from searchhub.training.loop import evaluate

SPARING = {"image": {"decode": "on_the_fly"}}
"""For each kind of task, arguments by which its loader does no work and takes no memory for other splits."""

_NOT_OF_EXAMPLES = {
    "augmentation",
    "center_crop",
    "data_dir",
    "decode",
    "image_mean",
    "image_size",
    "image_std",
    "pad_to_multiple_of",
    "palette",
    "tokenizer",
    "workers",
}
"""Arguments of searchhub's loaders that choose neither examples nor labels."""

PRECISIONS = ("no", "fp16", "bf16")

BATCH_SIZE = 256
"""Examples of one forward pass. Where each pixel has a label it is one picture, since that may be of any size."""


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
        by_class: Metrics of single classes, see `searchhub.data.task.Measured`.
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
    by_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def recorded(self) -> dict[str, float] | None:
        """The metrics on the network's card; None if they come from other data or another number of examples."""
        same = self.same_data and self.facts.get("examples") == self.examples
        return dict(self.facts.get("metrics", {})) if same else None

    def check(self) -> None:
        """Compares the metrics with the card.

        Raises:
            InvalidInputError: A metric differs from the card, or the card says nothing about this split of this data.
        """
        if self.recorded is None:
            spoken = {name: self.facts.get(name) for name in ("task", "split", "examples")} if self.facts else "nothing"
            raise InvalidInputError(
                f"The card of `{self.path}` must speak of {self.task}, {self.split}, {self.examples} examples, for the "
                f"network to be checked by it, but its {FACTS} says {spoken}. Give the data of its training, with the "
                "same arguments, or leave out the check."
            )
        for metric in dict.fromkeys([*self.metrics, *self.recorded]):
            expected, value = self.recorded.get(metric), self.metrics.get(metric)
            if expected is None or value is None or not abs(expected - value) <= self._tolerance(metric):
                on_card, reached = ("missing" if x is None else f"{x:.4f}" for x in (expected, value))
                raise InvalidInputError(
                    f"`{self.path}` must reach the {metric} {on_card} on its card, but reached {reached}."
                )

    def _tolerance(self, metric: str) -> float:
        """Returns how far a metric may move because sums round otherwise in batches of another size."""
        if self.by_class:  # metrics of pixels, of which one example has many
            return 5e-3
        exact = metric == "accuracy" and self.mixed_precision == _precision(self.facts) == "no"
        return 1.5 / self.examples if exact else max(1.5 / self.examples, 5e-3)

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
            **({"by_class": dict(self.by_class)} if self.by_class else {}),
            "recorded": self.recorded,
            "costs": self.facts.get("costs", {}),
        }


def evaluate_networks(
    folders: Sequence[str | Path],
    accelerator: Accelerator,
    *,
    split: Split = "test",
    batch_size: int | None = None,
    data: Mapping[str, Any] | None = None,
    wrap: Callable[[nn.Module], nn.Module] | None = None,
) -> Iterator[EvaluatedNetwork]:
    """Evaluates networks one after another, each on the task that its folder, or the run around it, names.

    Args:
        folders: Folders of models, or their Hub ids.
        accelerator: Device and precision.
        split: The split to evaluate on.
        batch_size: Examples of one forward pass. None: `BATCH_SIZE`, or one where each pixel has a label.
        data: Other arguments for the task's loader. Their "kind" may name your own loader; no folder may name one.
        wrap: Function that turns a model into the one that is measured, see `evaluate_network`.

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
        yield evaluate_network(folder, task, accelerator, split=split, batch_size=batch_size, wrap=wrap)


def evaluate_network(
    folder: str | Path,
    task: Task,
    accelerator: Accelerator,
    *,
    split: Split = "test",
    batch_size: int | None = None,
    same_names: bool = True,
    wrap: Callable[[nn.Module], nn.Module] | None = None,
) -> EvaluatedNetwork:
    """Evaluates a published network on a task.

    Args:
        folder: Folder of the model, or its Hub id.
        task: Data and metric.
        accelerator: Device and precision.
        split: The split to evaluate on.
        batch_size: Examples of one forward pass. None: `BATCH_SIZE`, or one where each pixel has a label.
        same_names: Whether the model's labels must have the names of the task's. False: only their number must agree.
        wrap: Function that turns the model into the one that is measured, e.g. one that sees parts of pictures. None:
            the model itself is measured.

    Raises:
        InvalidInputError: The folder holds no network of the task's kind, or one with other labels.
    """
    place = find_folder(folder)
    facts = _facts(place)
    model = _load_model(place, task)
    _check_labels(model, task, folder, same_names)
    model.to(accelerator.device)
    seen = model if wrap is None else wrap(model)
    size = batch_size or (1 if task.dense else BATCH_SIZE)
    measured = evaluate(seen, task.processed_by(place), split, size, accelerator)
    return EvaluatedNetwork(
        name=str(facts.get("name", place.name)),
        path=str(folder),
        facts=facts,
        task=task.name,
        same_data=facts.get("split") == split and _same_data(facts, task),
        split=split,
        examples=task.size(split),
        metrics=measured.metrics,
        mixed_precision=str(accelerator.mixed_precision),
        by_class=measured.by_class,
    )


def recorded_precision(folders: Sequence[str | Path]) -> str:
    """Returns the precision in which networks were measured for their cards; "no" where the folders do not say it.

    Raises:
        InvalidInputError: The networks were measured in several precisions.
    """
    found = {_precision(_facts(find_folder(folder))) for folder in folders} or {"no"}
    if len(found) > 1:
        raise InvalidInputError(
            f"Networks must have been measured in one precision to be measured together, but were in {sorted(found)}. "
            "Give `--mixed-precision`, or evaluate them apart."
        )
    return found.pop()


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


def class_rows(networks: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, str]]]:
    """Returns a table for each metric of single classes: a row a class, a column a network.

    Args:
        networks: What `EvaluatedNetwork.to_dict` returned. Those that have the name of another one are called by their
            folders.
    """
    names = [str(row["name"]) for row in networks]
    columns = [
        name if names.count(name) == 1 else str(row["folder"]) for name, row in zip(names, networks, strict=True)
    ]
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for column, row in zip(columns, networks, strict=True):
        for metric, values in row.get("by_class", {}).items():
            for label, value in values.items():
                tables.setdefault(metric, {}).setdefault(label, {"class": label})[column] = f"{value:.4f}"
    return {metric: list(rows.values()) for metric, rows in tables.items()}


# -- inside -----------------------------------------------------------------------------------------------------------


def _facts(folder: Path) -> dict[str, Any]:
    """Returns the facts in a model's folder; empty if it holds none.

    Raises:
        InvalidInputError: They are not what searchhub wrote.
    """
    facts = read_facts(folder)
    if facts is None and not (folder / FACTS).exists():
        return {}
    found = facts or {}
    parts = [found.get(name, {}) for name in ("task", "identity", "metrics", "costs")]
    sound = facts is not None and all(isinstance(part, dict) for part in parts)
    if not sound or not all(isinstance(n, (int, float)) for part in parts[2:] for n in part.values()):
        raise InvalidInputError(
            f"`{folder / FACTS}` must hold what searchhub wrote, with `task`, `identity`, and numbers as `metrics` and "
            "`costs`, but does not. Download the folder again, or remove the file to measure without it."
        )
    return found


def _precision(facts: Mapping[str, Any]) -> str:
    precision = str(facts.get("identity", {}).get("mixed_precision", "no"))
    return precision if precision in PRECISIONS else "no"


def _same_data(facts: Mapping[str, Any], task: Task) -> bool:
    """Whether a card speaks of a task's data: their arguments agree, or else their content, wherever they lie now."""
    known, source = facts.get("task", {}), redact_data(task.source)
    if names_own_loader(source.get("kind")):
        same = known == source
    else:
        known, source = _with_defaults(known), _with_defaults(source)
        names = (known.keys() | source.keys()) - _NOT_OF_EXAMPLES
        same = "kind" in known and all(_last(known.get(name)) == _last(source.get(name)) for name in names)
    return bool(same or facts.get("identity", {}).get("task") == task.fingerprint())


def _with_defaults(source: Mapping[str, Any]) -> dict[str, Any]:
    """Adds what the loader of pictures takes where nothing is given; sources of other kinds say it already."""
    parameters = inspect.signature(load_image_splits).parameters.values() if source.get("kind") == "image" else ()
    return {**{p.name: p.default for p in parameters}, **source}


def _last(value: object) -> object:
    """Returns a path's last part: a published folder tells no more about where its data lay."""
    return Path(value).name if isinstance(value, str) else value


def _source(folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a folder's task is loaded from. If another kind is given, the folder's arguments do not count."""
    _facts(folder)  # says what is wrong with the file, before anything is read from it
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
        return load_recorded_task({**SPARING.get(source["kind"], {}), **source}, trusted=trusted)
    except TypeError as error:
        if names_own_loader(source["kind"]):
            raise
        raise InvalidInputError(
            f"`--data` must be arguments of the loader of `{source['kind']}`, but: {error}."
        ) from None


def _load_model(folder: Path, task: Task) -> PreTrainedModel:
    way_out = "If it brings code of its own that you trust, load it yourself."
    check_not_quantized(read_json_object(folder / MODEL_CONFIG) or {}, folder)
    try:
        model, info = getattr(transformers, task.auto_class).from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidInputError(
            f"`{folder}` must hold a {task.pipeline_tag.replace('-', ' ')} model that can be loaded, but: "
            f"{reason(error)}. {way_out}"
        ) from error
    if new := sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]])):
        raise InvalidInputError(
            f"`{folder}` must hold all weights of its {type(model).__name__}, or random ones would be measured, but "
            f"these are missing or of another size: {new[:8]}. Train the network, or download it again."
        )
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
