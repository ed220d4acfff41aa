"""Reads latency tables that a command is given, as costs to limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from searchhub.costs.latency_table import TORCH, LatencyTable, read_mapping
from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.networks.network import read_reports
from searchhub.result import SearchResult
from searchhub.space import SearchSpace


def read_tables(
    space: SearchSpace,
    files: Sequence[str | Path] | None,
    *,
    sizes: Callable[[], Any],
    allow_other_device: bool = False,
    missing: float | None = None,
) -> list[LatencyTable]:
    """Returns the tables that files hold.

    Args:
        space: Space that the tables price.
        files: Files that `LatencyTable.save` wrote, or the phone tables of ProxylessNAS.
        sizes: Function that returns the supernet's configuration, which a phone's table needs.
        allow_other_device: Whether to accept tables that were measured elsewhere.
        missing: Milliseconds of a block that a phone's table lacks. None: a missing block is an error.

    Raises:
        InvalidInputError: A file is no such table, lacks an entry, was measured on another device, or has the name of
            another.
    """
    tables: dict[str, LatencyTable] = {}
    for file in map(Path, files or ()):
        data = read_mapping(file)
        if _is_phone_table(data):
            table = _phone_table(file, sizes(), missing)
        else:
            table = LatencyTable.load(file, space, allow_other_device=allow_other_device)
        if table.name in tables:
            raise InvalidInputError(
                f"Latency tables must have distinct names, but two are called `{table.name}`. Change the `name` in "
                f"`{file}`."
            )
        tables[table.name] = table
    return list(tables.values())


def with_latency(
    result: SearchResult,
    folder: Path,
    files: Sequence[Path] | None,
    *,
    allow_other_device: bool = False,
    missing: float | None = None,
) -> SearchResult:
    """Returns the same result with tables read from files. A table replaces the result's own table of that name.

    Args:
        result: Result whose space the tables price.
        folder: Folder that holds the result, and the supernet.
        files: As in `read_tables`, like the other arguments.
        allow_other_device: Whether to accept tables that were measured elsewhere.
        missing: Milliseconds of a block that a phone's table lacks.
    """

    def sizes() -> Any:
        from searchhub.networks.saved_trainer import SUPERNET, supernet_config  # takes torch, and most need none

        return supernet_config(folder / SUPERNET)

    tables = read_tables(
        result.space,
        files,
        sizes=sizes,
        allow_other_device=allow_other_device,
        missing=missing,
    )
    return result.with_costs(*tables)


def refuse_mixed(folder: Path, costs: Iterable[CostTable]) -> None:
    """Checks that a run's networks and new ones have their latency from the same device, runtime, threads and batch.

    Raises:
        InvalidInputError: A network of the run has a latency of that name which was measured otherwise.
    """
    tables = {cost.name: cost.unit for cost in costs if cost.unit.startswith("ms, ")}
    for report in read_reports(folder):
        units = report.facts.get("units") or {}
        for name in sorted(tables.keys() & units.keys()):
            if _measured(units[name]) != _measured(tables[name]):
                raise InvalidInputError(
                    f"`{name}` must be measured alike for all networks of `{folder}`, but `{report.network.name}` has "
                    f"it in {units[name]}, and the table is in {tables[name]}. Give the table another `name` in its "
                    "file (`searchhub profile --name`), and limit that."
                )


def _measured(unit: str) -> str:
    """Returns the unit as it was written before there were other runtimes than torch."""
    return unit.replace(f", {TORCH},", ",")


def _is_phone_table(data: Mapping[str, Any]) -> bool:
    """Whether each value is an entry like `{mean: 1.2}`, as in the files of ProxylessNAS."""
    return bool(data) and all(isinstance(entry, Mapping) and "mean" in entry for entry in data.values())


def _phone_table(file: Path, config: Any, missing: float | None) -> LatencyTable:
    from searchhub.costs.phone import read_proxyless_table
    from searchhub.models.mobile.supernet_mobile import MobileSupernetConfig

    if not isinstance(config, MobileSupernetConfig):
        raise InvalidInputError(
            f"`{file}` is a table of ProxylessNAS and must price a space of its blocks, but the search is of a "
            f"{type(config).__name__}. Measure a table with `searchhub profile`."
        )
    return read_proxyless_table(file, config, missing="error" if missing is None else missing)
