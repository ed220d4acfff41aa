"""Reads latency tables that a command is given, as costs to limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from searchhub.costs.latency_table import LatencyTable, read_mapping
from searchhub.errors import InvalidInputError
from searchhub.result import SearchResult


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
        folder: Folder that holds the result. A phone's table needs the sizes of the supernet in it.
        files: Files that `LatencyTable.save` wrote, or the phone tables of ProxylessNAS.
        allow_other_device: Whether to accept tables that were measured elsewhere.
        missing: Milliseconds of a block that a phone's table lacks. None: a missing block is an error.

    Raises:
        InvalidInputError: A file is no such table, lacks an entry, was measured on another device, or has the name of
            another.
    """
    tables: dict[str, LatencyTable] = {}
    for file in files or ():
        data = read_mapping(file)
        if _is_phone_table(data):
            table = _phone_table(file, folder, missing)
        else:
            table = LatencyTable.load(file, result.space, allow_other_device=allow_other_device)
        if table.name in tables:
            raise InvalidInputError(
                f"Latency tables must have distinct names, but two are called `{table.name}`. Change the `name` in "
                f"`{file}`."
            )
        tables[table.name] = table
    return result.with_costs(*tables.values())


def _is_phone_table(data: Mapping[str, Any]) -> bool:
    """Whether each value is an entry like `{mean: 1.2}`, as in the files of ProxylessNAS."""
    return bool(data) and all(isinstance(entry, Mapping) and "mean" in entry for entry in data.values())


def _phone_table(file: Path, folder: Path, missing: float | None) -> LatencyTable:
    from searchhub.costs.phone import read_proxyless_table
    from searchhub.models.mobile.supernet_mobile import MobileSupernetConfig
    from searchhub.networks.saved_trainer import SUPERNET, supernet_config

    config = supernet_config(folder / SUPERNET)
    if not isinstance(config, MobileSupernetConfig):
        raise InvalidInputError(
            f"`{file}` is a table of ProxylessNAS and must price a space of its blocks, but `{folder}` searched "
            f"that of a {type(config).__name__}. Measure a table with `searchhub profile`."
        )
    return read_proxyless_table(file, config, missing="error" if missing is None else missing)
