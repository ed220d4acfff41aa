"""Set finished runs side by side: searchers against random architectures of the same cost, trained alike.

    python recipes/compare_runs.py runs/cifar10/*

A row a limit and seed; below them the mean difference of each searcher to the mean of the random architectures in
(0.95 ν, ν], over all rows that have both, with its standard error. Ends with a line `RESULT {json}`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import yaml

from searchhub.errors import InvalidInputError, SearchhubError
from searchhub.hub.trained import read_facts
from searchhub.reports.tables import markdown_table

Key = tuple[str, int]


def searcher_of(folder: Path) -> str:
    """What searched, from the run's frozen configuration."""
    try:
        settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["searcher"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InvalidInputError(f"`{folder}` must be a run folder with its config.yaml, but: {error!r}.") from error
    return settings["searcher"] + ("" if settings.get("prune", True) else " without pruning")


def read(folders: list[Path]) -> tuple[dict[Key, dict[str, float]], dict[Key, list[float]]]:
    """Accuracies by (limit, seed): of each searcher's network, and of the random architectures."""
    found: dict[Key, dict[str, float]] = defaultdict(dict)
    random: dict[Key, list[float]] = defaultdict(list)
    for folder in folders:
        for model in sorted((folder / "models").glob("*/")):
            facts = read_facts(model)
            if facts is not None:
                found[model.name, facts["identity"]["seed"]][searcher_of(folder)] = facts["metrics"]["accuracy"]
        for baseline in sorted((folder / "baselines").glob("*-random*.json")):
            facts = json.loads(baseline.read_text(encoding="utf-8"))
            key = (baseline.stem.rpartition("-random")[0], facts["identity"]["seed"])
            random[key].append(facts["metrics"]["accuracy"])
    return found, random


def main(argv: list[str]) -> None:
    """Print the table and the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders of the same settings and limits")
    found, random = read(parser.parse_args(argv).runs)
    searchers = sorted({name for row in found.values() for name in row})
    rows, differences = [], defaultdict(list)
    for limit, seed in sorted(found):
        beside = random.get((limit, seed), [])
        row: dict[str, object] = {"limit": limit, "seed": seed}
        for name in searchers:
            accuracy = found[limit, seed].get(name)
            row[name] = "" if accuracy is None else f"{accuracy:.4f}"
            if accuracy is not None and beside:
                differences[name].append(accuracy - statistics.mean(beside))
        spread = f" ± {statistics.stdev(beside):.4f}" if len(beside) > 1 else ""
        row["random architectures"] = f"{statistics.mean(beside):.4f}{spread} (n={len(beside)})" if beside else ""
        row["best of them"] = f"{max(beside):.4f}" if beside else ""
        rows.append(row)
    print(markdown_table(rows))
    result = {}
    for name, values in differences.items():
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        print(f"{name}: {statistics.mean(values):+.4f} ± {error:.4f} to the mean of the random ones (n={len(values)})")
        result[name] = {
            "difference": round(statistics.mean(values), 4),
            "standard_error": round(error, 4) if len(values) > 1 else None,
            "rows": len(values),
        }
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
