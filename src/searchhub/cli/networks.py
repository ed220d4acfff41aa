"""The commands `train`, `evaluate` and `rank`: they train networks of a finished search, and measure networks."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

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
    UseBudget,
)

Data: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="NAME=VALUE",
        help="Another argument for the loader of the data, e.g. dataset=path/to/images. Can be repeated.",
        show_default=False,
    ),
]


TaskKind: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="KIND",
        help="Loader of the data: image, glue, segmentation, text, or your own `package.module:function`, which no "
        "folder may name for you. Default: the one that the run, or the model's folder, names.",
        show_default=False,
    ),
]


TrustCode: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Import code outside of searchhub that the run's folder names. Read both before.",
    ),
]


class Split(str, Enum):
    """The split of the data to evaluate on."""

    test = "test"
    validation = "validation"
    train = "train"


class Precision(str, Enum):
    """The precision in which a forward pass computes."""

    no = "no"
    fp16 = "fp16"
    bf16 = "bf16"


def train(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.")],
    maximum: Maximum = None,
    minimum: Minimum = None,
    equal: Equal = None,
    candidates: From = Candidates.all,
    use_budget: UseBudget = True,
    latency: Latency = None,
    allow_other_device: AllowOtherDevice = False,
    missing: Missing = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of its folder. Default: its limits.", show_default=False)
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", min=1, help="Epochs of its training. Default: as many as the run's.", show_default=False
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Take the place of a finished network of that name that was trained otherwise, or that is another. "
            "Without it that one stays, and the new one gets a folder of its own.",
        ),
    ] = False,
    task: TaskKind = None,
    data: Data = None,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Generate the best architecture within limits and train it as the run trained its networks.

    It becomes a Hub-ready folder in RUN/models. The same command again finds it there; another limit with the same best
    architecture finds it too. With other epochs it does not compare with the run's networks, and stands beside them.

    Example: searchhub train runs/mine --max macs=300M --min params=2M
    """
    import dataclasses

    from searchhub.callbacks.progress import ProgressDisplay
    from searchhub.cli.generation import show_generated
    from searchhub.cli.output import hide_loading, print_facts, print_json
    from searchhub.cli.source import load_result
    from searchhub.errors import InvalidInputError
    from searchhub.generation import generate
    from searchhub.networks.network import MODELS, Network, check_name, network_name
    from searchhub.networks.saved_trainer import load_trainer
    from searchhub.reports.html import write_report
    from searchhub.run_folder import RESULT
    from searchhub.workflows.latency import refuse_mixed, with_latency
    from searchhub.workflows.limits import check_words, largest_of, read_limits
    from searchhub.workflows.refining import as_refined, refine_of, refined
    from searchhub.workflows.rescoring import load_evaluator
    from searchhub.workflows.stages import write_tables

    if not run.exists():  # a run on the Hub must not decide what is imported here
        raise InvalidInputError(f"`{run}` must be a run's folder on this machine, but is none. Check the path.")
    check_words(maximum, minimum, equal)
    result, folder = load_result(str(run))
    result = with_latency(result, folder, latency, allow_other_device=allow_other_device, missing=missing)
    limits = read_limits(maximum, minimum, equal, largest_of(result.costs.values()))
    hide_loading()
    given = read_settings(data, task)
    chosen_from, missing_scores = as_refined(result, limits, folder)
    if missing_scores:
        trainer = load_trainer(folder, data=given, trust_code=trust_code)
        evaluator = load_evaluator(trainer)
        if evaluator is not None:
            n = refine_of(folder)
            chosen_from = refined(result, limits, evaluator, n, folder, seed=trainer.seed)
    architecture = generate(chosen_from, *limits, candidates=candidates.value, use_budget=use_budget)
    if name is not None:
        check_name(name, folder, architecture, replacing=replace)
    refuse_mixed(folder, result.costs.values())
    network = Network(network_name(limits) if name is None else name, architecture, tuple(limits))
    trainer = load_trainer(folder, data=given, trust_code=trust_code)
    main = trainer.accelerator.is_main_process
    told = dataclasses.replace(trainer.provenance, command=["searchhub", *sys.argv[1:]])
    trainer = dataclasses.replace(
        trainer,
        result=result,
        provenance=told,
        epochs=trainer.epochs if epochs is None else epochs,
        replace=replace,
    )
    with ProgressDisplay(1, file=sys.stderr, enabled=main) as progress:
        [report] = trainer.train_all([network], progress)
    if not main:
        return
    if latency:
        result.save(folder / RESULT)  # so that a report knows the latency of every network
    if not result.division:  # DC-NAS has a table of its own there
        write_tables(result, folder, trainer.task.metric_name)
    write_report(folder)
    path = folder / MODELS / report.network.name
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
    split: Annotated[Split, typer.Option("--split", help="Split of the data.")] = Split.test,
    task: TaskKind = None,
    data: Data = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            min=0,
            max=2**32 - 1,
            help="Seed of the splits that are drawn. Default: the training's.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            min=1,
            help="Examples of one forward pass. Default: 256, or one picture where each pixel has a label.",
            show_default=False,
        ),
    ] = None,
    mixed_precision: Annotated[
        Precision | None,
        typer.Option(
            "--mixed-precision",
            help="Precision of the forward pass. Default: the one in which the networks were measured for their cards.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Fail if a network does not reach what its card says.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write the JSON to a file.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    lines: Annotated[
        bool, typer.Option("--lines", help="Print a line of JSON for each network, once it is measured, and no table.")
    ] = False,
) -> None:
    """Evaluate networks on the task that each was trained for, or on other data of its kind.

    They are loaded as anyone would load them, and the processors in their own folders make their inputs.

    Example: searchhub evaluate runs/mine/models/macs-300M runs/other
    """
    from searchhub.cli.output import hide_loading, print_json, print_line, print_table
    from searchhub.errors import InvalidInputError
    from searchhub.files import write_json
    from searchhub.training.accelerator import make_accelerator
    from searchhub.workflows.evaluation import class_rows, evaluate_networks, recorded_precision

    if as_json and lines:
        raise InvalidInputError("Either `--json` or `--lines` can be printed, but both are asked for. Drop one.")
    hide_loading()
    given = {**read_settings(data, task), **({} if seed is None else {"seed": seed})}
    folders = [folder for name in models for folder in _folders(name)]
    precision = recorded_precision(folders) if mixed_precision is None else mixed_precision.value
    try:
        accelerator = make_accelerator(mixed_precision=precision)
    except InvalidInputError:
        raise
    except ValueError as error:
        raise InvalidInputError(
            f"This machine must compute in `{precision}`, but: {error}. Give another `--mixed-precision`, e.g. `no`."
        ) from error
    found = []
    for network in evaluate_networks(folders, accelerator, split=split.value, batch_size=batch_size, data=given):
        found.append(network)
        if lines and accelerator.is_main_process:
            print_line(json.dumps(network.line()))
    rows = [network.to_dict() for network in found]
    if accelerator.is_main_process:
        if output is not None:
            write_json(output, {"networks": rows})
        if as_json:
            print_json({"networks": rows})
        elif not lines:
            print_table([_row(row) for row in rows])
            for name, values in class_rows(rows).items():
                print_table(values, title=f"{name} of each class")
    if check:
        for network in found:
            network.check()


def rank(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.")],
    task: TaskKind = None,
    data: Data = None,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Score all trained networks of a run on the weights that its search left, and compare with what they reached.

    Published networks and baselines that were trained alike stand in one table, with Kendall's tau of score and metric:
    1 where the scores put them in the order of what they reached, 0 where the two have nothing to do with each other.
    Classes that networks miss altogether are named. It trains nothing.

    Example: searchhub rank runs/mine
    """
    from searchhub.cli.output import hide_loading, print_facts, print_json, print_table
    from searchhub.networks.saved_trainer import load_trainer
    from searchhub.workflows.rescoring import rank_trained

    hide_loading()
    rankings = rank_trained(load_trainer(run, data=read_settings(data, task), trust_code=trust_code))
    if as_json:
        print_json({"rankings": [ranking.to_dict() for ranking in rankings]})
        return
    for ranking in rankings:
        rows = [
            {"network": n["name"], f"test {ranking.metric}": f"{n[ranking.metric]:.4f}", "score": f"{n['score']:.4f}"}
            for n in ranking.to_dict()["networks"]
        ]
        print_table(rows, title=f"Trained with {ranking.training}" if ranking.training else None)
        tau = "none" if ranking.tau is None else f"{ranking.tau:.3f} (p = {ranking.p_value:.2g})"
        facts = [(f"Kendall's tau of {len(rows)} networks", tau)]
        for metric, classes in ranking.at_zero.items():
            counted = ", ".join(f"{name} ({n} of {len(rows)})" for name, n in classes.items())
            facts.append((f"{metric} of 0", counted))
        print_facts(facts)


def read_settings(words: Sequence[str] | None, kind: str | None = None) -> dict[str, Any]:
    """Returns the settings of `--data name=value` and `--task kind`.

    Values are read as YAML; where the loader takes a text, they are the text that was given.

    >>> read_settings(["dataset=2024_06_01", "image_size=32"])
    {'dataset': '2024_06_01', 'image_size': 32}

    Raises:
        InvalidInputError: A word is not `name=value`.
    """
    import yaml

    from searchhub.data.sources import takes_texts
    from searchhub.errors import InvalidInputError

    settings: dict[str, Any] = {}
    texts = takes_texts(kind) if words else set()
    for word in words or ():
        name, equals, value = word.partition("=")
        try:
            written = name in texts and value not in ("", "~", "null")
            settings[name] = value if written else yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not (name.isidentifier() and equals):
            raise InvalidInputError(f"`--data` must be like `--data dataset=path/to/images`, but got `{word}`.")
    return settings if kind is None else {**settings, "kind": kind}


def _folders(name: str) -> list[Path]:
    """Returns the folders of models that a name stands for; for a run, all that it published."""
    from searchhub.cli.source import locate
    from searchhub.hub.contents import MODEL_CONFIG
    from searchhub.hub.pretrained import find_folder
    from searchhub.workflows.evaluation import networks_in

    if Path(name).is_dir():
        return networks_in(name)
    locate(name, MODEL_CONFIG)  # the Hub is not asked about a slip in a path
    return [find_folder(name)]


def _row(row: Mapping[str, Any]) -> dict[str, object]:
    from searchhub.generation.limits import number

    metrics = {name: f"{value:.4f}" for name, value in row["metrics"].items()}
    recorded = {f"{name} on its card": f"{value:.4f}" for name, value in (row["recorded"] or {}).items()}
    costs = {name: number(value) for name, value in row["costs"].items()}
    on = f"{row['data']}, {row['split']}, {row['examples']:,}"
    return {"network": row["name"], "on": on, **metrics, **recorded, **costs}
