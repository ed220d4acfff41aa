"""Reads a run's trained networks, as numbers, from its folder and compares them. It does not need torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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

EXAMPLES = "report/examples"
"""Subfolder of a run's folder for a few pictures of the test split, their masks, and what each network takes them for.
They are for the run's report alone: no terms of a data set are known here, so they are never published."""

EXAMPLES_INDEX = "examples.json"
"""File there that says which pictures these are, and the colour of each class."""

LARGEST, RANDOM, AT_COST = "largest", "random", "random_at_cost"
"""Roles of baselines: the largest network, random ones at the limit, and random ones at the cost of a network that
leaves a part of its limit."""

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
        also: Further limits for which the same architecture was generated; it is trained once for all of them.
    """

    name: str
    architecture: Architecture
    limits: tuple[Limit, ...] = ()
    published: bool = True
    also: tuple[tuple[Limit, ...], ...] = ()

    @property
    def limit_sets(self) -> tuple[tuple[Limit, ...], ...]:
        """All limits for which it was generated; those of one network hold together."""
        return (self.limits, *self.also)

    def serving(self, limit_sets: Sequence[tuple[Limit, ...]]) -> Network:
        """Returns the same network, which is known to serve these limits too."""
        known, more = [limits_as_json(limits) for limits in self.limit_sets], []
        for limits in limit_sets:
            if limits_as_json(limits) not in known:
                known.append(limits_as_json(limits))
                more.append(limits)
        return replace(self, also=(*self.also, *more)) if more else self


def each_once(networks: Sequence[Network]) -> list[Network]:
    """Returns the networks, but of published ones with the same architecture the first, which serves all limits."""
    found: list[Network] = []
    for network in networks:
        alike = [i for i, n in enumerate(found) if n.published and n.architecture == network.architecture]
        if network.published and alike:
            found[alike[0]] = found[alike[0]].serving(network.limit_sets)
        else:
            found.append(network)
    return found


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


def limits_as_json(limits: Sequence[Limit]) -> list[dict[str, Any]]:
    """Returns limits as facts keep them."""
    return [{"cost": x.name, "max": x.max, "min": x.min, "equal": x.equal} for x in limits]


def limits_of(facts: Mapping[str, Any]) -> tuple[tuple[Limit, ...], ...]:
    """Returns all limits that a network serves, by the facts that its folder holds."""
    return tuple(
        tuple(Limit(x["cost"], max=x["max"], min=x["min"], equal=x["equal"]) for x in together)
        for together in (facts["limits"], *facts.get("also_limits", ()))
    )


def check_distinct(networks: Sequence[Network]) -> None:
    """Checks that no two networks of a run have the same name, as equal limits would give them.

    Raises:
        InvalidInputError: Two networks have the same name.
    """
    names = [network.name for network in networks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInputError(f"Limits must be distinct, but {twice} come twice. Drop one.")


def check_name(name: str, run_dir: str | Path, architecture: Architecture, *, replacing: bool = False) -> None:
    """Checks, before any work, that a network may take a name that somebody gave, in a run's `models/`.

    Args:
        name: The name.
        run_dir: The run's folder.
        architecture: Architecture of the network.
        replacing: Whether a network of that name may be replaced.

    Raises:
        InvalidInputError: The name cannot name a folder, or its folder holds a network of another architecture.
    """
    if not name or Path(name).name != name or name.startswith(".") or len(name.encode()) > _LONGEST_NAME:
        raise InvalidInputError(f"`--name` must be the name of a folder, like `macs-300M`, but got `{name}`.")
    path = Path(run_dir) / MODELS / name
    there = _report(read_facts(path), path)
    if there is not None and there.network.architecture != architecture and not replacing:
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
        limits, *also = limits_of(facts)
        architecture = Architecture(facts["identity"]["architecture"])
        network = Network(str(facts["name"]), architecture, limits, folder is not None, tuple(also))
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

    A network that serves several limits has a row for each of them.

    Args:
        reports: Published networks and baselines of one run, trained alike (`searchhub.networks.alike`).
        metric: Metric to compare by. Networks that lack it get an empty cell.
        original: The facts that `read_original` returned. The checkpoint as it was before the search gets its own row.
    """
    rows = []
    baselines = [r for r in reports if not r.network.published and r.network.name != LARGEST]
    roles = list(dict.fromkeys(role for role in map(role_of, baselines) if role not in (RANDOM, AT_COST)))
    drawn = {
        RANDOM: "random within 5 %",
        **({AT_COST: "random at its cost"} if AT_COST in map(role_of, baselines) else {}),
    }
    others = list(dict.fromkeys(name for r in reports for name in r.costs if name not in ("macs", "params")))
    units = {name: unit for r in reports for name, unit in r.facts.get("units", {}).items()}
    macs = "MACs" + units.get("macs", "").removeprefix("multiply-adds")
    shown = [r for r in reports if r.network.published or r.network.name == LARGEST]
    for report, limits in [(r, limits) for r in shown for limits in r.network.limit_sets]:
        network = report.network
        alike = [r for r in reports if _beside(r.network, network, limits) and metric in r.metrics]
        others_alike = {role_of(r): _shown(r.metrics[metric], ".4f") for r in alike}
        rows.append(
            {
                "limit": _label(report, limits, shown, original),
                macs: _shown(report.costs.get("macs"), ",.0f"),
                "parameters": _shown(report.costs.get("params"), ",.0f"),
                **{_heading(name, units): _shown(report.costs.get(name), ",.5g") for name in others},
                f"test {metric}": _shown(report.metrics.get(metric), ".4f"),
                **{
                    heading: _mean([r.metrics[metric] for r in alike if role_of(r) == role])
                    for role, heading in drawn.items()
                },
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


def notes_of(reports: Sequence[TrainedNetwork]) -> list[str]:
    """Returns what certificates note of published networks, e.g. that a limit does not bind: one line a network."""
    noted = [(r.network.name, (r.facts.get("certificate") or {}).get("note")) for r in reports if r.network.published]
    return [f"{name}: {note}" for name, note in noted if note]


def _label(
    report: TrainedNetwork,
    limits: Sequence[Limit],
    shown: Sequence[TrainedNetwork],
    original: Mapping[str, Any] | None,
) -> str:
    """Returns the row label of a network under limits; it names the network where the limits do not tell it."""
    network = report.network
    if not limits:
        return f"none: {_largest(report, original) if network.name == LARGEST else network.name}"
    text = " and ".join(map(str, limits))
    if len(network.limit_sets) > 1 or sum(limits in r.network.limit_sets for r in shown) > 1:
        return f"{text} ({network.name})"
    return text


def _mean(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread} (n={len(values)})" if values else ""


def _largest(report: TrainedNetwork, original: Mapping[str, Any] | None) -> str:
    """Returns the row label of the largest network.

    For a compressed checkpoint it is no longer the original: it was trained further, with the search and after it.
    """
    if original is None:
        return "the largest"
    whole = original.get("costs", {}).get("params") == report.costs.get("params")
    return f"{'full size' if whole else 'the largest'}, trained on alike"


def _beside(baseline: Network, network: Network, limits: tuple[Limit, ...]) -> bool:
    """Whether a network is a baseline to another under limits: it has these, or none and the other's name in its own.

    A network that stands beside one of another training has a number after its name.
    """
    if baseline.published:
        return False
    if baseline.limits:
        return limits == baseline.limits
    name = baseline.name.rpartition("-")[0]
    return bool(name) and re.fullmatch(rf"{re.escape(name)}(\.\d+)?", network.name) is not None


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
