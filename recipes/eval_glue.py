"""Evaluate compressed BERT models on the dev sets of GLUE, as anyone would load them: a row of DDPNAS Table 5.

    python recipes/eval_glue.py --models runs/sst2 runs/mrpc runs/cola --output_dir runs/table5

Prints a JSON line a model, then a table: networks of the same name in a row, a column a task, the paper's average where
all seven of its tasks are there. A run's folder stands for all its networks. Where several networks of one name are for
the same task, as of runs with other seeds, each run has rows of its own.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console
from transformers.utils import logging as transformers_logging

from searchhub.data.glue import GLUE_TASKS, PAPER_TASKS, glue_average
from searchhub.data.text import TextTask
from searchhub.errors import InvalidInputError, SearchhubError
from searchhub.files import write_json, write_text
from searchhub.formatting import markdown_table, rich_table
from searchhub.hub.contents import FACTS
from searchhub.networks.network import MODELS, read_task_source
from searchhub.workflows.arguments import option, parse
from searchhub.workflows.evaluation import evaluate_network, networks_in
from searchhub.workflows.text_arguments import TextDataArguments


@dataclass
class Arguments:
    """The models to evaluate, and how."""

    models: list[str] = field(metadata={"help": "Model folders, run folders, or Hub ids."})
    config: str | None = option(None, "YAML file of these settings. The command line wins over it.")
    batch_size: int = option(128, "Examples of one forward pass.")
    seed: int | None = option(
        None,
        "Seed of the split, if data have no test split of their own. Default: that of the model's training.",
    )
    check: bool = option(False, "Fail if a model does not reach the score on its card.")
    output_dir: str | None = option(None, "Folder for table5.json and table5.md.")


def expand(names: list[str]) -> list[str]:
    """Models themselves: a run's folder stands for all its networks."""
    found = [str(p) for name in names for p in (networks_in(name) if Path(name).is_dir() else [name])]
    return list(dict.fromkeys(found))


def task_of(name: str, data: TextDataArguments, seed: int | None) -> TextTask:
    """The task that was asked for; else the one that the model was trained for, as its folder says.

    Without a seed, data are split as for the model's training, so that no example of the test split was in that.
    """
    source = read_task_source(name)
    if data.task_name is None and data.dataset is None:
        if not source:
            raise InvalidInputError(
                f"`{name}` must be a folder whose {FACTS} says what the model was trained for, but is none. Check the "
                "path, or give `--task_name` or `--dataset`."
            )
        known = {f.name for f in dataclasses.fields(data)}
        given = {k: v for k, v in dataclasses.asdict(data).items() if v is not None and k == "data_dir"}
        options = {k: v for k, v in source.items() if k in known}
        data = dataclasses.replace(data, **{**options, **given})
    # Validation is not looked at: its size only has to be the one that the test split was drawn beside.
    return data.task(name, source.get("seed", 0) if seed is None else seed)


def row_names(models: Sequence[tuple[str, str]]) -> list[str]:
    """In which row of the table each model stands: in that of its name.

    Where two of a name are for the same task, all of it stand in rows of as much of their paths as tells these apart.

    Args:
        models: Path and task of each, all different.
    """
    parts = [tuple(part for part in Path(path).parts if part != MODELS) for path, _ in models]
    rows = []
    for (path, _), own in zip(models, parts, strict=True):
        alike = [i for i, other in enumerate(parts) if other[-1:] == own[-1:]]
        for n in range(1, max(len(parts[i]) for i in alike) + 1):
            told_apart = {(parts[i][-n:], models[i][1]) for i in alike}
            if len(told_apart) == len(alike):
                rows.append("/".join(own[-n:]))
                break
        else:
            rows.append(path)
    return rows


def main(argv: list[str]) -> None:
    """Print a JSON line a model, and the table."""
    args, data = parse((Arguments, TextDataArguments), argv, __doc__)
    transformers_logging.disable_progress_bar()
    done: list[tuple[str, str]] = []
    measured: list[dict[str, float]] = []
    accelerator = Accelerator()
    for name in expand(args.models):
        task = task_of(name, data, args.seed)
        evaluated = evaluate_network(name, task, accelerator, batch_size=args.batch_size, same_names=False)
        print(json.dumps(evaluated.line()), flush=True)
        if args.check and evaluated.same_data:
            evaluated.check()
        elif args.check:
            print(
                f"{name}: nothing to check, for its card does not speak of these data of {task.name}", file=sys.stderr
            )
        done.append((name, task.name))
        measured.append(dict(evaluated.metrics))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row_name, (_, task_name), metrics in zip(row_names(done), done, measured, strict=True):
        found.setdefault(row_name, {})[task_name] = metrics
    of_glue = all(task in GLUE_TASKS for results in found.values() for task in results)
    rows = [row_of(name, results, percent=of_glue) for name, results in found.items()]
    Console().print(rich_table(rows, title="Dev sets; all in percent" if of_glue else "Test splits"))
    if args.output_dir is not None:
        folder = Path(args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "table5.json", found)
        write_text(folder / "table5.md", markdown_table(rows) + "\n")


def row_of(name: str, results: dict[str, dict[str, float]], *, percent: bool) -> dict[str, str]:
    """A row of the table: the primary metric of each task, and the average where it is defined.

    GLUE alone is told in percent, as in the papers; with other data beside it, as everywhere here.
    """

    def shown(value: float) -> str:
        return f"{100 * value:.1f}" if percent else f"{value:.4f}"

    order = [*PAPER_TASKS, "stsb", *(task for task in results if task not in GLUE_TASKS)]
    row = {"model": name}
    for task in order:
        if task in results:
            primary = GLUE_TASKS[task].primary if task in GLUE_TASKS else "accuracy"
            row[task] = shown(results[task][primary])
    if set(PAPER_TASKS) <= set(results):
        row["average"] = shown(glue_average(results))
    return row


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
