"""Set finished runs side by side: searchers and baselines under the same limits and seeds, trained alike.

    python recipes/compare_runs.py runs/cifar10/*

A section a task, of the metric that its searches were scored by. In its first table a row a limit and seed, a column a
searcher or baseline: `random` is the mean of the random architectures in (0.95 ν, ν], `largest` the largest network of
the space (of a checkpoint, the original at full size, trained on alike), `original` the fine-tuned checkpoint that the
search began from; these two keep to no limit. Runs of one searcher with other settings have columns of their own, named
by what differs. Where runs trained their networks from other weights than each other, baselines are each run's own:
`beside` it. Where trainings differ in another way (epochs, settings), networks are never pooled: columns say how theirs
were trained, and no difference is printed between columns of other training, unless `--trained_otherwise` asks for it.

Then a table a limit, for limits of one seed share a search and are no independent pairs: for each searcher its mean
difference to every other column over the seeds that have both, with its standard error, how many seeds these are, and
its share of the other's mean. Ends with a line `RESULT {json}`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from searchhub.errors import InvalidInputError, SearchhubError
from searchhub.files import read_json_object
from searchhub.formatting import markdown_table
from searchhub.networks.alike import differences, in_words, training_of
from searchhub.networks.network import LARGEST, RANDOM, TRAINING, TrainedNetwork, read_original, read_reports, role_of
from searchhub.run_folder import ORIGINAL, RESULT, RUN_CONFIG

Row = dict[str, list[float]]
"""Scores by column."""

OF_ITS_OWN = ("seed", "data", "weights to start from")
"""What may differ in how networks of one task were trained: seeds draw other splits, and starts are told apart."""

ELSEWHERE = ("seed", "tokenizer", "data_dir")
"""What may differ in how runs of one task loaded their data."""


@dataclass(frozen=True)
class Score:
    """The score of one network.

    Args:
        value: Value of the metric.
        column: The searcher that found the network, or the kind of baseline that it is.
        run: Folder of its run.
        searcher: Searcher of that run.
        limit: Its limits as text. None: it keeps to no limit, and stands beside the networks of every limit.
        seed: Seed of the run.
        start: Identity of the weights that its training started from. None: it started from scratch.
        data: What its task was loaded from. Empty: an earlier version did not write it.
        training: How it was trained, seed and start apart. Empty: it is the original.
    """

    value: float
    column: str
    run: Path
    searcher: str
    limit: str | None
    seed: int
    start: str | None
    data: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def found(self) -> bool:
        """Whether a search found the network."""
        return self.column == self.searcher


def searcher_of(folder: Path) -> str:
    """What searched, from the run's result, or while it is unfinished from its frozen configuration."""
    try:
        result = read_json_object(folder / RESULT)
        settings = (result or yaml.safe_load((folder / RUN_CONFIG).read_text(encoding="utf-8")))["searcher"]
        return str(settings["searcher"]) + ("" if settings.get("prune", True) else " without pruning")
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"`{folder}` must be a run folder with its {RESULT} or {RUN_CONFIG}, but: {error!r}."
        ) from error


def settings_of(folder: Path) -> dict[str, str]:
    """What else a run says of how it searched and trained, in words; seeds apart."""
    searcher = (read_json_object(folder / RESULT) or {}).get("searcher", {})
    training = read_json_object(folder / TRAINING) or {}
    parts = {
        "": {name: value for name, value in searcher.items() if name not in ("searcher", "prune")},
        "search ": training.get("search_settings", {}).get("training", {}),
        "final ": {**training.get("training", {}), "epochs": training.get("epochs")},
        "start from ": {"": str(training.get("start")).removeprefix("weights of ")},
        "original ": ((read_original(folder) or {}).get("identity") or {}).get("then") or {},
    }
    found = {f"{part}{name}": str(value) for part, values in parts.items() for name, value in values.items()}
    return {name.strip(): value for name, value in found.items() if not name.endswith("seed")}


def task_of(folder: Path) -> str:
    """What the networks of a run were trained for."""
    reports = read_reports(folder)
    if not reports:
        raise InvalidInputError(
            f"`{folder}` ({searcher_of(folder)}) must hold networks that it trained, but holds none yet. Let it "
            "finish, or leave it out."
        )
    data = reports[0].facts.get("task") or {}
    return " ".join(str(data[key]) for key in ("task_name", "dataset", "dataset_config_name") if data.get(key))


def metric_of(folders: Sequence[Path]) -> str:
    """What searches of one task were scored by, as their configuration says, or the one metric that networks have.

    Raises:
        InvalidInputError: None of them searched, and the networks have several metrics.
    """
    for path in filter(Path.is_file, (folder / RUN_CONFIG for folder in folders)):
        try:
            settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            metric = settings.get("evaluator", {}).get("task", {}).get("metric")
        except (OSError, yaml.YAMLError, AttributeError) as error:
            raise InvalidInputError(f"`{path}` must be a run's configuration, but: {error!r}.") from error
        if metric:
            return str(metric)
    metrics = sorted({name for folder in folders for report in read_reports(folder) for name in report.metrics})
    if len(metrics) == 1:
        return metrics[0]
    raise InvalidInputError(
        f"Where no run searched, `--metric` must name one of {metrics}, for {', '.join(f'`{f}`' for f in folders)}. "
        "Give it."
    )


def named(folders: Sequence[Path]) -> dict[Path, str]:
    """What searched in each run; those of one searcher are told apart by the settings in which they differ."""
    searchers = {folder: searcher_of(folder) for folder in folders}
    settings = {folder: settings_of(folder) for folder in folders}
    names = {}
    for folder, searcher in searchers.items():
        alike = [settings[other] for other in folders if searchers[other] == searcher]
        own = settings[folder]
        differ = sorted(name for name in own if any(own[name] != other.get(name) for other in alike))
        words = ", ".join(f"{name} {own[name]}" for name in differ)
        names[folder] = f"{searcher} ({words})" if words else searcher
    return names


def read(folder: Path, searcher: str, metric: str) -> Iterator[Score]:
    """The scores of a run: of its networks, its baselines, and the checkpoint that it fine-tuned first."""
    score = None
    for report in read_reports(folder):
        network, identity = report.network, report.facts["identity"]
        column = searcher if network.published else role_of(report)
        score = Score(
            value=_metric(report, metric, folder),
            column=LARGEST if network.name == LARGEST else column,
            run=folder,
            searcher=searcher,
            limit=None,
            seed=identity["seed"],
            start=identity.get("inherited"),
            data=report.facts.get("task") or {},
            training={k: v for k, v in training_of(report.facts).items() if k not in OF_ITS_OWN},
        )
        if network.name == LARGEST:
            yield score
        else:
            yield from (replace(score, limit=" and ".join(map(str, limits))) for limits in network.limit_sets)
    original = (read_original(folder) or {}).get("metrics", {}).get(metric)
    if score is not None and original is not None:
        # Runs of one seed fine-tune it alike; where they did not, the score tells.
        yield replace(score, value=original, column=ORIGINAL, limit=None, start=str(original), training={})


def _metric(report: TrainedNetwork, metric: str, folder: Path) -> float:
    if metric not in report.metrics:
        raise InvalidInputError(
            f"`--metric` must be one of {sorted(report.metrics)} of `{report.network.name}` in `{folder}`, but is "
            f"{metric!r}."
        )
    return report.metrics[metric]


def check_alike(scores: Sequence[Score]) -> None:
    """Check that scores of one task can be set side by side.

    Raises:
        InvalidInputError: Runs had other data, or two are of the same searcher, limit and seed.
    """
    first: dict[tuple[str, str | None, int], Score] = {}
    options = [{k: v for k, v in s.data.items() if k not in ELSEWHERE} for s in scores]
    for score, given in zip(scores, options, strict=True):
        changed = sorted(k for k in {*given, *options[0]} if given.get(k) != options[0].get(k))
        if changed:
            raise InvalidInputError(
                f"Runs of one task must have the same data to be compared, but `{scores[0].run}` and `{score.run}` "
                f"differ in {', '.join(f'`{name}`' for name in changed)}. Compare them apart."
            )
        if score.found and first.setdefault((score.column, score.limit, score.seed), score).run != score.run:
            raise InvalidInputError(
                "There must be one run of a searcher, limit and seed, but there are two of "
                f"{score.column}, {score.limit} and seed {score.seed}: `{score.run}` and "
                f"`{first[score.column, score.limit, score.seed].run}`. Leave one out."
            )


def told_apart(scores: Sequence[Score]) -> list[Score]:
    """The same scores; baselines of runs that started from other weights than each other in columns of their own."""
    starts: dict[tuple[str, str | None, int], set[str | None]] = defaultdict(set)
    for s in scores:
        if s.found or s.column == ORIGINAL:
            starts["" if s.found else ORIGINAL, s.limit, s.seed].add(s.start)
    apart = {kind for (kind, *_), found in starts.items() if len(found) > 1}
    return [s if s.found or (ORIGINAL if s.column == ORIGINAL else "") not in apart else _beside(s) for s in scores]


def trained_apart(scores: Sequence[Score]) -> list[Score]:
    """The same scores; where trainings differ, in columns that say how they were trained."""
    names = differences([s.training for s in scores if s.training])

    def named_by_training(s: Score) -> Score:
        words = [in_words(s.training, [name]) for name in names]
        missing = [word for word in words if word not in s.column]
        if not (missing and s.training):
            return s
        column = f"{s.column} ({', '.join(missing)})"
        return replace(s, column=column, searcher=column if s.found else s.searcher)

    return [named_by_training(s) for s in scores]


def _beside(score: Score) -> Score:
    return replace(score, column=f"{score.column} beside {score.searcher}")


def rows_of(scores: Sequence[Score]) -> dict[tuple[str, int], Row]:
    """Scores by limit and seed, then by column."""
    rows: dict[tuple[str, int], Row] = defaultdict(lambda: defaultdict(list))
    for s in scores:
        if s.limit is not None:
            rows[s.limit, s.seed][s.column].append(s.value)
    for s in scores:
        for (_, seed), row in rows.items():
            if s.limit is None and s.seed == seed and not (s.column == ORIGINAL and row[ORIGINAL]):
                row[s.column].append(s.value)
    return rows


def columns_of(scores: Sequence[Score]) -> list[str]:
    """Searchers, then random architectures, then other baselines, then what keeps to no limit."""

    def place(s: Score) -> tuple[object, ...]:
        return not s.found, s.limit is None, not s.column.startswith(RANDOM), s.column

    return list(dict.fromkeys(s.column for s in sorted(scores, key=place)))


def shown(scores: Sequence[float]) -> str:
    """A score, or the mean of several with their standard deviation."""
    if len(scores) < 2:
        return f"{scores[0]:.4f}" if scores else ""
    return f"{statistics.mean(scores):.4f} ± {statistics.stdev(scores):.4f} (n={len(scores)})"


def difference(rows: Sequence[Mapping[str, Sequence[float]]], one: str, other: str) -> dict[str, Any] | None:
    """Mean difference of two columns over the seeds that have both, and its standard error; None: no seed has both.

    Args:
        rows: Rows of one limit, one per seed.
        one: The column that is compared.
        other: The column that is subtracted.
    """
    paired = [
        (statistics.mean(row[one]), statistics.mean(row[other])) for row in rows if row.get(one) and row.get(other)
    ]
    if not paired:
        return None
    found = [a - b for a, b in paired]
    error = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else None
    return {
        "difference": round(statistics.mean(found), 4),
        "standard_error": None if error is None else round(error, 4),
        "seeds": len(found),
        "share": round(statistics.mean(a for a, _ in paired) / statistics.mean(b for _, b in paired), 4),
    }


def tell_task(
    task: str, folders: Sequence[Path], metric: str | None, *, trained_otherwise: bool = False
) -> dict[str, Any]:
    """Print the tables of the runs for one task; differences by limit, searcher and other column."""
    metric = metric or metric_of(folders)
    scores = [s for folder, searcher in named(folders).items() for s in read(folder, searcher, metric)]
    scores = trained_apart(scores)
    check_alike(scores)
    scores = told_apart(scores)
    training = {s.column: s.training for s in scores}
    unlike = set()
    rows, columns = rows_of(scores), columns_of(scores)
    print(f"## {task}: {metric}\n" if task else f"## {metric}\n")
    told = [
        {"limit": limit, "seed": seed, **{column: shown(rows[limit, seed].get(column, [])) for column in columns}}
        for limit, seed in sorted(rows)
    ]
    print(markdown_table(told))
    result: dict[str, Any] = {}
    for limit in sorted({limit for limit, _ in rows}):
        alike = [row for (other, _), row in rows.items() if other == limit]
        table = []
        for one in dict.fromkeys(s.column for s in scores if s.found):
            for other in columns:
                found = difference(alike, one, other)
                if found is None or other == one:
                    continue
                if training[other] and training[other] != training[one] and not trained_otherwise:
                    unlike.add(f"{one} and {other}")
                    continue
                result.setdefault(limit, {}).setdefault(one, {})[other] = found
                error = found["standard_error"]
                table.append(
                    {
                        "searcher": one,
                        "against": other,
                        "difference": f"{found['difference']:+.4f}",
                        "± standard error": None if error is None else f"{error:.4f}",
                        "seeds": found["seeds"],
                        "share": f"{found['share']:.1%}",
                    }
                )
        print(f"\n{limit}:\n\n{markdown_table(table)}\n")
    if unlike:
        print(f"Not compared, since trained otherwise: {'; '.join(sorted(unlike))}. See --trained_otherwise.\n")
    return result


def main(argv: list[str]) -> None:
    """Print the tables of each task, and the differences as JSON by task, limit, searcher and other column."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders of the same settings and limits")
    parser.add_argument("--metric", help="what is compared; default: by what the searches were scored")
    parser.add_argument(
        "--trained_otherwise",
        action="store_true",
        help="print differences to networks that were trained otherwise, too",
    )
    args = parser.parse_args(argv)
    by_task: dict[str, list[Path]] = defaultdict(list)
    for folder in args.runs:
        by_task[task_of(folder)].append(folder)
    result = {
        task: tell_task(task, folders, args.metric, trained_otherwise=args.trained_otherwise)
        for task, folders in by_task.items()
    }
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
