"""Reads a run's trained networks, as numbers, from its folder and compares them. It does not need torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from searchhub.errors import InvalidInputError
from searchhub.files import read_json_object
from searchhub.formatting import magnitude
from searchhub.generation import Limit
from searchhub.hub.contents import FACTS
from searchhub.hub.publish import PublishedRevision, publish
from searchhub.run_folder import ORIGINAL
from searchhub.space import Architecture

TRAINING = "training.json"
"""File that holds how a run trains its networks, so that more of them can be trained alike."""

MODELS, BASELINES = "models", "baselines"
"""Subfolders of a run's folder for published networks and for baselines."""

LARGEST, RANDOM = "largest", "random"

_LONGEST_NAME = 200
"""Most bytes of a folder's name. File systems take 255, and the temporary folder that is written first has a longer
name."""

ORIGINAL_FACTS = "original.json"
"""File that holds how a run fine-tuned its checkpoint before the search, and what the checkpoint reached."""


@dataclass(frozen=True)
class Network:
    """An architecture to train.

    Args:
        name: Name of the network and its folder, unique in a run.
        architecture: The architecture to build.
        limits: The limits under which it was generated or drawn.
        published: Whether it becomes a Hub-ready folder. False: it is only measured (a baseline).
    """

    name: str
    architecture: Architecture
    limits: tuple[Limit, ...] = ()
    published: bool = True


@dataclass(frozen=True)
class TrainedNetwork:
    """The numbers of a trained network.

    Args:
        network: The network that was trained.
        costs: Its costs by name, e.g. "macs".
        metrics: Its metrics on the test split.
        facts: All facts that its folder holds.
        folder: The Hub-ready folder of a published network. None: it is a baseline, whose weights are not kept.
    """

    network: Network
    costs: Mapping[str, float]
    metrics: Mapping[str, float]
    facts: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def push_to_hub(self, repo_id: str, **options: Any) -> PublishedRevision:
        """Publishes the network's folder: card, modeling files and weights in one commit, never over another network.

        Args:
            repo_id: "name" or "owner/name".
            **options: Further arguments of `searchhub.publish`.

        Raises:
            InvalidInputError: The network is a baseline, whose weights are not kept.
        """
        if self.folder is None:
            raise InvalidInputError(
                f"A network must have a folder to be published, but `{self.network.name}` is a baseline, of which only "
                "numbers are kept. Publish one that was generated for a limit."
            )
        return publish(self.folder, repo_id, **options)


def network_name(limits: Sequence[Limit]) -> str:
    """Returns the name of a network under limits, which also names its folder.

    >>> network_name([Limit("macs", max=300e6), Limit("params", min=2e6)]), network_name([])
    ('macs-300M-params-min-2M', 'unlimited')
    """
    words = [
        f"{limit.name}-{'' if kind == 'max' else f'{kind}-'}{_short(value)}"
        for limit in limits
        for kind in ("max", "min", "equal")
        if (value := getattr(limit, kind)) is not None
    ]
    return "-".join(words) or "unlimited"


def check_distinct(networks: Sequence[Network]) -> None:
    """Checks that no two networks of a run have the same name, as equal limits would give them.

    Raises:
        InvalidInputError: Two networks have the same name.
    """
    names = [network.name for network in networks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInputError(f"Limits must be distinct, but {twice} come twice. Drop one.")


def check_name(name: str, run_dir: str | Path, architecture: Architecture) -> None:
    """Checks, before any work, that a network may take a name that somebody gave, in a run's `models/`.

    Raises:
        InvalidInputError: The name cannot name a folder, or its folder holds a network of another architecture.
    """
    if not name or Path(name).name != name or name.startswith(".") or len(name.encode()) > _LONGEST_NAME:
        raise InvalidInputError(f"`--name` must be the name of a folder, like `macs-300M`, but got `{name}`.")
    path = Path(run_dir) / MODELS / name
    there = _report(read_facts(path), path)
    if there is not None and there.network.architecture != architecture:
        raise InvalidInputError(
            f"`{path}` must not be replaced by a network of another architecture than the one that it holds. "
            "Choose another `--name`, or move it away."
        )


def _short(value: float) -> str:
    letter, factor = magnitude(value)
    return f"{value / factor:.12g}{letter}"


def read_reports(run_dir: str | Path) -> list[TrainedNetwork]:
    """Returns the networks that a run has trained so far, the cheapest first. It skips folders of anything else."""
    run_dir = Path(run_dir)
    models = [(path, True) for path in sorted((run_dir / MODELS).glob(f"*/{FACTS}"))]
    baselines = [(path, False) for path in sorted((run_dir / BASELINES).glob("*.json"))]
    # A folder that begins with a dot is one that a killed process left half written.
    visible = [(path, published) for path, published in models + baselines if not path.parent.name.startswith(".")]
    found = [_report(read_json_object(path), path.parent if published else None) for path, published in visible]
    return sorted((r for r in found if r is not None), key=_order)


def _report(facts: dict[str, Any] | None, folder: Path | None) -> TrainedNetwork | None:
    if facts is None:
        return None
    try:
        limits = tuple(Limit(x["cost"], max=x["max"], min=x["min"], equal=x["equal"]) for x in facts["limits"])
        network = Network(
            str(facts["name"]), Architecture(facts["identity"]["architecture"]), limits, folder is not None
        )
        return TrainedNetwork(network, _numbers(facts["costs"]), _numbers(facts["metrics"]), facts, folder)
    except (KeyError, TypeError, ValueError, AttributeError):  # another program or version wrote the folder
        return None


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


def _order(report: TrainedNetwork) -> tuple[object, ...]:
    limits = report.network.limits
    return (not limits, *((x.name, x.high, x.low) for x in limits[:1]), report.network.name)


def comparison(
    reports: Sequence[TrainedNetwork], metric: str, original: Mapping[str, Any] | None = None
) -> list[dict[str, str]]:
    """Returns table rows, one per limit, with the mean and spread of its random networks, and other baselines.

    Args:
        reports: Published networks and baselines of one run.
        metric: Metric to compare by. Networks that lack it get an empty cell.
        original: The facts that `read_original` returned. The checkpoint as it was before the search gets its own row.
    """
    rows = []
    baselines = [r for r in reports if not r.network.published and r.network.name != LARGEST]
    roles = list(dict.fromkeys(role for role in map(role_of, baselines) if role != RANDOM))
    others = list(dict.fromkeys(name for r in reports for name in r.costs if name not in ("macs", "params")))
    units = {name: unit for r in reports for name, unit in r.facts.get("units", {}).items()}
    macs = "MACs" + units.get("macs", "").removeprefix("multiply-adds")
    for report in reports:
        network = report.network
        if not network.published and network.name != LARGEST:
            continue
        alike = [r for r in reports if _beside(r.network, network) and metric in r.metrics]
        beside = [r.metrics[metric] for r in alike if role_of(r) == RANDOM]
        others_alike = {role_of(r): _shown(r.metrics[metric], ".4f") for r in alike if role_of(r) != RANDOM}
        spread = f" ± {np.std(beside, ddof=1):.4f}" if len(beside) > 1 else ""
        rows.append(
            {
                "limit": " and ".join(str(limit) for limit in network.limits)
                or f"none: {_largest(report, original) if network.name == LARGEST else network.name}",
                macs: _shown(report.costs.get("macs"), ",.0f"),
                "parameters": _shown(report.costs.get("params"), ",.0f"),
                **{_heading(name, units): _shown(report.costs.get(name), ",.5g") for name in others},
                f"test {metric}": _shown(report.metrics.get(metric), ".4f"),
                "random within 5 %": f"{np.mean(beside):.4f}{spread} (n={len(beside)})" if beside else "",
                **{role: others_alike.get(role, "") for role in roles},
            }
        )
    if original is not None:
        costs = original.get("costs", {})  # facts of earlier versions have no costs
        seen = " (may have seen the test)" if "note" in original else ""
        known = {
            "limit": f"none: the original, before the search{seen}",
            macs: _shown(costs.get("macs"), ",.0f"),
            "parameters": _shown(costs.get("params"), ",.0f"),
            f"test {metric}": _shown(original["metrics"].get(metric), ".4f"),
        }
        rows.append({name: known.get(name, "") for name in [*(rows[0] if rows else known)]})
    return rows


def _largest(report: TrainedNetwork, original: Mapping[str, Any] | None) -> str:
    """Returns the row label of the largest network.

    For a compressed checkpoint it is no longer the original: it was trained further, with the search and after it.
    """
    if original is None:
        return "the largest"
    whole = original.get("costs", {}).get("params") == report.costs.get("params")
    return f"{'full size' if whole else 'the largest'}, trained on alike"


def _beside(baseline: Network, network: Network) -> bool:
    """Whether a network is a baseline to another: it has the same limits, or none and the other's name in its own."""
    if baseline.published:
        return False
    if baseline.limits:
        return network.limits == baseline.limits
    return baseline.name.rpartition("-")[0] == network.name


def role_of(report: TrainedNetwork) -> str:
    """Returns the kind of a baseline: the last part of its name, without a number."""
    return report.network.name.rpartition("-")[2].rstrip("0123456789")


def _heading(cost: str, units: Mapping[str, str]) -> str:
    """Returns the column title of a cost: its name, and for a latency also what it was measured on."""
    unit = units.get(cost, "")
    return f"{cost} ({unit.removeprefix('ms, ')})" if unit.startswith("ms, ") else cost


def _shown(value: float | None, form: str) -> str:
    """Returns a number in a format, but a large one in full."""
    return "" if value is None else format(value, ",.0f" if value >= 1e5 else form)


# -- files ------------------------------------------------------------------------------------------------------------


def read_facts(folder: str | Path) -> dict[str, Any] | None:
    """Returns the facts of a model folder; None if it holds none that can be read."""
    return read_json_object(Path(folder) / FACTS)


def read_original(run_dir: str | Path) -> dict[str, Any] | None:
    """Returns how a run fine-tuned its checkpoint before the search, and what that reached; None without checkpoint."""
    return read_json_object(Path(run_dir) / ORIGINAL / ORIGINAL_FACTS)


def read_task_source(folder: str | Path) -> dict[str, Any]:
    """Returns what loads the task of a model's folder again (`Task.source`); empty if nothing tells it.

    A published folder does not tell where the data lay on somebody's machine, but the run that holds it does. The
    folder itself says how texts are tokenised. Neither may name code to import: pass the source to `load_task` with
    `trusted=False`.

    Raises:
        InvalidInputError: A file says something else where it should say that.
    """
    place = Path(folder).absolute()
    files = [place / FACTS, *([place.parent.parent / TRAINING] if place.parent.name == MODELS else [])]
    source = {}
    for file in files:
        task = (read_json_object(file) or {}).get("task") or {}
        if not isinstance(task, dict):
            raise InvalidInputError(
                f"`task` in `{file}` must name the arguments of a loader, but is {task!r}. Mend it."
            )
        source.update(task)
    if "tokenizer" in source:
        source["tokenizer"] = str(folder)
    return source
