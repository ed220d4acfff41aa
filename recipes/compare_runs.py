"""Set finished runs side by side: searchers and baselines under the same limits and seeds, trained alike.

    python recipes/compare_runs.py runs/cifar10/*

A row a limit and seed, a column a searcher or baseline: `random` is the mean of the random architectures in
(0.95 ν, ν], `largest` the largest network of the space (of a checkpoint, the original), which keeps to no limit. Below
them, for each searcher, its mean difference to every other column over the rows that have both, with its standard
error, and its share of the other's mean. Ends with a line `RESULT {json}`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from searchhub.errors import InvalidInputError, SearchhubError
from searchhub.hub.chosen import LARGEST
from searchhub.hub.trained import RANDOM, read_reports, role_of
from searchhub.reports.tables import markdown_table

Row = dict[str, list[float]]
"""Scores by column."""


def searcher_of(folder: Path) -> str:
    """What searched, from the run's frozen configuration."""
    try:
        settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["searcher"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InvalidInputError(f"`{folder}` must be a run folder with its config.yaml, but: {error!r}.") from error
    return settings["searcher"] + ("" if settings.get("prune", True) else " without pruning")


def read(folders: Sequence[Path], metric: str) -> tuple[dict[tuple[str, int], Row], list[str]]:
    """Scores by limit and seed, then by column; and which columns are searchers."""
    rows: dict[tuple[str, int], Row] = defaultdict(lambda: defaultdict(list))
    largest: dict[int, float] = {}
    searchers = []
    for folder in folders:
        searchers.append(searcher_of(folder))
        for report in read_reports(folder):
            network, seed = report.network, report.facts["identity"]["seed"]
            if metric not in report.metrics:
                raise InvalidInputError(
                    f"`--metric` must be one of {sorted(report.metrics)} of `{network.name}` in `{folder}`, but is "
                    f"{metric!r}."
                )
            score = report.metrics[metric]
            if network.name == LARGEST:
                largest[seed] = score
                continue
            column = searchers[-1] if network.published else role_of(report)
            limit = " and ".join(map(str, network.limits))
            rows[limit, seed][column].append(score)
    for (_, seed), row in rows.items():
        if seed in largest:
            row[LARGEST].append(largest[seed])
    return rows, sorted(set(searchers))


def shown(scores: Sequence[float]) -> str:
    """A score, or the mean of several with their standard deviation."""
    if len(scores) < 2:
        return f"{scores[0]:.4f}" if scores else ""
    return f"{statistics.mean(scores):.4f} ± {statistics.stdev(scores):.4f} (n={len(scores)})"


def differences(rows: Sequence[Mapping[str, Sequence[float]]], one: str, other: str) -> dict[str, float | int | None]:
    """Mean difference of two columns over the rows that have both, its standard error, and how many these are."""
    paired = [
        (statistics.mean(row[one]), statistics.mean(row[other])) for row in rows if row.get(one) and row.get(other)
    ]
    if not paired:
        return {"difference": None, "standard_error": None, "rows": 0}
    found = [a - b for a, b in paired]
    error = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else None
    return {
        "difference": round(statistics.mean(found), 4),
        "standard_error": None if error is None else round(error, 4),
        "rows": len(found),
        "share": round(statistics.mean(a for a, _ in paired) / statistics.mean(b for _, b in paired), 4),
    }


def main(argv: list[str]) -> None:
    """Print the table and the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders of the same settings and limits")
    parser.add_argument("--metric", default="accuracy", help="what is compared")
    args = parser.parse_args(argv)
    rows, searchers = read(args.runs, args.metric)
    others = sorted({name for row in rows.values() for name in row} - {*searchers, RANDOM, LARGEST})
    columns = [*searchers, RANDOM, *others, LARGEST]
    print(
        markdown_table(
            [
                {
                    "limit": limit,
                    "seed": seed,
                    **{column: shown(rows[limit, seed].get(column, [])) for column in columns},
                }
                for limit, seed in sorted(rows)
            ]
        )
    )
    result: dict[str, dict[str, object]] = {}
    for name in searchers:
        for other in columns:
            found = differences(list(rows.values()), name, other)
            if other == name or not found["rows"]:
                continue
            error = "" if found["standard_error"] is None else f" ± {found['standard_error']:.4f}"
            print(
                f"{name}: {found['difference']:+.4f}{error} to {other} (n={found['rows']}), {found['share']:.1%} of it"
            )
            result.setdefault(name, {})[other] = found
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
