"""`train` and `evaluate`: networks from a finished search, and what they reach."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from searchhub.cli.options import (
    AllowOtherDevice,
    AsJson,
    Candidates,
    Equal,
    From,
    Latency,
    Maximum,
    Minimum,
    Missing,
)

if TYPE_CHECKING:
    from accelerate import Accelerator

    from searchhub.data.task import Task

Data: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="NAME=VALUE",
        help="Another argument for the loader of the data, e.g. dataset=path/to/images. Can be repeated.",
        show_default=False,
    ),
]


class Split(str, Enum):
    """What is evaluated on."""

    test = "test"
    validation = "validation"
    train = "train"


def train(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.")],
    maximum: Maximum = None,
    minimum: Minimum = None,
    equal: Equal = None,
    candidates: From = Candidates.all,
    latency: Latency = None,
    allow_other_device: AllowOtherDevice = False,
    missing: Missing = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of its folder. Default: says its limits.", show_default=False)
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Generate the best architecture within limits and train it as the run trained its networks.

    It becomes a Hub-ready folder in RUN/models. The same command again finds it there.

    Example: searchhub train runs/mine --max macs=300M --min params=2M
    """
    import dataclasses

    from searchhub.callbacks.progress import ProgressDisplay
    from searchhub.cli.generation import show_generated
    from searchhub.cli.latency import with_latency
    from searchhub.cli.output import hide_loading, print_facts, print_json
    from searchhub.cli.source import load_result
    from searchhub.generation import generate
    from searchhub.networks.network import MODELS, Network, check_name, network_name
    from searchhub.networks.saved_trainer import load_trainer
    from searchhub.workflows.limits import read_limits

    limits = read_limits(maximum, minimum, equal)
    name = network_name(limits) if name is None else name
    result, folder = load_result(str(run))
    result = with_latency(result, folder, latency, allow_other_device=allow_other_device, missing=missing)
    architecture = generate(result, *limits, candidates=candidates.value)
    check_name(name, folder, architecture)
    network = Network(name, architecture, tuple(limits))
    hide_loading()
    trainer = load_trainer(folder, data=read_settings(data))
    main = trainer.accelerator.is_main_process
    told = dataclasses.replace(trainer.provenance, command=["searchhub", *sys.argv[1:]])
    trainer = dataclasses.replace(trainer, result=result, provenance=told)
    with ProgressDisplay(1, file=sys.stderr, enabled=main) as progress:
        [report] = trainer.train_all([network], progress)
    if not main:
        return
    path = folder / MODELS / network.name
    if as_json:
        print_json({"folder": str(path), **report.facts})
        return
    show_generated(result, architecture, limits)
    measured = f"{report.facts['split']}, {report.facts['examples']:,} examples"
    print_facts([*((f"{n} ({measured})", value) for n, value in report.metrics.items()), ("folder", path)])


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL_OR_RUN...", help="Folders of models, their Hub ids, or runs for all of theirs."),
    ],
    split: Annotated[Split, typer.Option("--split", help="Of the data.")] = Split.test,
    data: Data = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Examples of one forward pass.")] = 256,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write the JSON to a file.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate networks on the task that each was trained for, or on other data of its kind.

    Example: searchhub evaluate runs/mine/models/macs-300M runs/other
    """
    from searchhub.cli.output import hide_loading, print_json, print_table
    from searchhub.files import write_json
    from searchhub.networks.network import read_facts, read_task_source
    from searchhub.training.accelerator import make_accelerator

    hide_loading()
    changes = read_settings(data)
    folders = [folder for name in models for folder in _folders(name)]
    tasks = _Tasks()
    accelerator = make_accelerator()
    rows = []
    for folder in folders:
        facts = read_facts(folder) or {}
        task = tasks({**read_task_source(folder), **changes}, folder)
        same = split.value == facts.get("split") and task.fingerprint() == facts.get("identity", {}).get("task")
        rows.append(
            {
                "name": facts.get("name", folder.name),
                "folder": str(folder),
                "data": task.name,
                "split": split.value,
                "examples": task.size(split.value),
                "metrics": _metrics(folder, task, split, batch_size, accelerator),
                "recorded": facts["metrics"] if same else None,
                "costs": facts.get("costs", {}),
            }
        )
    if not accelerator.is_main_process:
        return
    if output is not None:
        write_json(output, {"networks": rows})
    print_json({"networks": rows}) if as_json else print_table([_row(row) for row in rows])


def read_settings(words: Sequence[str] | None) -> dict[str, Any]:
    """The settings of `--data name=value`; values are read as YAML does.

    >>> read_settings(["dataset=path/to/images", "image_size=32"])
    {'dataset': 'path/to/images', 'image_size': 32}

    Raises:
        InvalidInputError: One is not `name=value`.
    """
    import yaml

    from searchhub.errors import InvalidInputError

    settings = {}
    for word in words or ():
        name, equals, value = word.partition("=")
        try:
            settings[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not (name.isidentifier() and equals):
            raise InvalidInputError(f"`--data` must be like `--data dataset=path/to/images`, but got `{word}`.")
    return settings


class _Tasks:
    """Tasks by their source, each loaded once."""

    def __init__(self) -> None:
        self._loaded: list[tuple[Mapping[str, Any], Task]] = []

    def __call__(self, source: Mapping[str, Any], folder: Path) -> Task:
        from searchhub.data.sources import load_task
        from searchhub.errors import InvalidInputError

        for known, task in self._loaded:
            if known == source:
                return task
        if "kind" not in source:
            raise InvalidInputError(
                f"The data of `{folder}` must be known, but its searchhub.json does not say them. Name them, e.g. "
                "`--data kind=image --data dataset=path/to/images`."
            )
        try:
            task = load_task(source)
        except TypeError as error:
            raise InvalidInputError(
                f"`--data` must be arguments of the loader of `{source['kind']}`, but: {error}."
            ) from None
        self._loaded.append((source, task))
        return task


def _folders(name: str) -> list[Path]:
    """The folders of models that a name stands for: of a run all that it published."""
    from searchhub.cli.source import locate
    from searchhub.errors import InvalidInputError
    from searchhub.hub.contents import MODEL_CONFIG
    from searchhub.hub.pretrained import find_folder
    from searchhub.networks.network import MODELS

    if not Path(name).is_dir():
        locate(name, MODEL_CONFIG)  # a slip in a path is not asked of the Hub
        return [find_folder(name)]
    if (Path(name) / MODEL_CONFIG).exists():
        return [Path(name)]
    found = sorted(path.parent for path in Path(name).glob(f"{MODELS}/[!.]*/{MODEL_CONFIG}"))
    if not found:
        raise InvalidInputError(
            f"`{name}` must be the folder of a model, or of a run that trained some, but holds neither {MODEL_CONFIG} "
            f"nor {MODELS}/*/{MODEL_CONFIG}. Train one: `searchhub train {name} --max macs=…`."
        )
    return found


def _metrics(folder: Path, task: Task, split: Split, batch_size: int, accelerator: Accelerator) -> dict[str, float]:
    from searchhub.errors import InvalidInputError
    from searchhub.hub.pretrained import load_model
    from searchhub.training.loop import predict

    model = load_model(folder).to(accelerator.device)
    if list(model.config.id2label.values()) != list(task.label_names):
        raise InvalidInputError(
            f"The labels of `{task.name}` must be those that `{folder}` predicts, "
            f"{list(model.config.id2label.values())[:8]}, but are {list(task.label_names)[:8]}. Choose other data."
        )
    return task.score(*predict(model, task, split.value, batch_size, accelerator))


def _row(row: Mapping[str, Any]) -> dict[str, object]:
    from searchhub.generation.limits import number

    metrics = {name: f"{value:.4f}" for name, value in row["metrics"].items()}
    recorded = {f"{name} on its card": f"{value:.4f}" for name, value in (row["recorded"] or {}).items()}
    costs = {name: number(value) for name, value in row["costs"].items()}
    on = f"{row['data']}, {row['split']}, {row['examples']:,}"
    return {"network": row["name"], "on": on, **metrics, **recorded, **costs}
