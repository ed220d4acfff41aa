"""Tables of measured latency: what they contain besides numbers, and the file that a person can read and write."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.files import write_text
from searchhub.space import Architecture, Candidate, Choice, SearchSpace

FORMAT_VERSION = 1
LATENCY = "latency_ms"

TORCH, ONNXRUNTIME = RUNTIMES = ("torch", "onnxruntime")
"""What can run networks while they are timed: torch as it is, or onnxruntime, which runs what `export` writes."""


@dataclass(frozen=True)
class LatencyAccuracy:
    """How well a table predicts whole networks that it was not calibrated on, next to a line on multiply-adds.

    Args:
        networks: Number of networks held out.
        mape: Mean absolute error of the table in percent of the measured latency.
        kendall_tau: Kendall's τ of table and measurement. None: there is nothing to rank.
        macs_mape: The same error of a line on multiply-adds, fitted to the networks that calibrated the table.
        macs_kendall_tau: Kendall's τ of multiply-adds and measurement.
    """

    networks: int
    mape: float
    kendall_tau: float | None
    macs_mape: float
    macs_kendall_tau: float | None


@dataclass(frozen=True)
class LatencyReference:
    """The network that was called in turn with everything timed; the table's milliseconds refer to it.

    Args:
        architecture: Architecture of the network.
        ms: Its latency in milliseconds by the clock: the median of all its calls while the table was measured.
        drift: Unsteadiness of the machine: the 95th percentile of those calls divided by the 5th.
    """

    architecture: Architecture
    ms: float
    drift: float


@dataclass(frozen=True, eq=False, kw_only=True)
class LatencyTable(CostTable):
    """Milliseconds of a forward pass: a cost table that says where and how it was measured.

    Limits, `generate` and `pareto` take it like any other cost. A file is YAML, or JSON if its name ends so. A file
    written by hand needs no more than this, with a number for every candidate of every choice (extra candidates are
    ignored):

        format_version: 1
        device: Pixel 1
        fixed: 11.4             # ms that every network pays: stem, head, classifier
        entries:
          stage1.layer1:
            mbconv_e3_k3: 6.24  # ms
            mbconv_e3_k5: 7.52

    Args:
        device: Name of the processor that ran it.
        threads: Number of threads on the CPU. None: it ran on a GPU, or the number is not known.
        batch_size: Number of examples in one forward pass.
        tokens: Number of tokens of each example. None: examples are not texts.
        versions: Versions of the packages with which it was measured.
        runtime: What ran it: "torch" or "onnxruntime". None: it is not known, as of a phone's table.
        calibration: How block latencies became network latencies; empty if they were only added.
        accuracy: Accuracy on networks held out. None: it was not measured.
        reference: Network against which others are timed, to tell their latency at the same speed of the machine. None:
            there is none.
        assumed: Keys that a published table lacks, and the milliseconds that stand in their place.
    """

    device: str
    threads: int | None = None
    batch_size: int = 1
    tokens: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    calibration: Mapping[str, float] = field(default_factory=dict)
    accuracy: LatencyAccuracy | None = None
    reference: LatencyReference | None = None
    assumed: Mapping[str, float] = field(default_factory=dict)
    runtime: str | None = None

    def __post_init__(self) -> None:
        if not self.unit:
            threads = f", {self.threads} thread{'s' * (self.threads != 1)}" if self.threads else ""
            tokens = f" of {self.tokens} tokens" if self.tokens else ""
            runtime = f"{self.runtime}, " if self.runtime else ""
            unit = f"ms, {self.device}, {runtime}batch {self.batch_size}{tokens}{threads}"
            object.__setattr__(self, "unit", unit)
        super().__post_init__()

    def save(self, path: str | Path) -> None:
        """Writes the table, atomically: as JSON if the name ends in .json, else as YAML."""
        path = Path(path)
        data: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "space": self.space.name,
            "device": self.device,
            **({} if self.runtime is None else {"runtime": self.runtime}),
            "threads": self.threads,
            "batch_size": self.batch_size,
            **({} if self.tokens is None else {"tokens": self.tokens}),
            "versions": dict(self.versions),
            "calibration": dict(self.calibration),
            "accuracy": None if self.accuracy is None else asdict(self.accuracy),
            "reference": None if self.reference is None else _written(self.reference),
            "assumed": dict(self.assumed),
            "fixed": self.fixed,
            "entries": {
                choice.name: dict(zip(map(str, choice.candidates), entry.tolist(), strict=True))
                for choice, entry in zip(self.space.choices, self.entries, strict=True)
            },
        }
        if self.pairs:
            data["pairs"] = [pair.tolist() for pair in self.pairs]
        as_json = path.suffix == ".json"
        write_text(path, json.dumps(data, indent=1) + "\n" if as_json else yaml.safe_dump(data, sort_keys=False))

    @classmethod
    def load(cls, path: str | Path, space: SearchSpace, *, allow_other_device: bool = False) -> LatencyTable:
        """Reads a table for a space, and refuses one that was measured on another device or with other threads.

        Args:
            path: File that `save`, or a person, wrote.
            space: Space that the table must price.
            allow_other_device: Whether to accept a table of another device, to generate for that device.

        Raises:
            InvalidInputError: The file is no such table, lacks an entry (which is named), or was measured on another
                device.
        """
        path = Path(path)
        data = read_mapping(path)
        if data.get("format_version") != FORMAT_VERSION:
            raise InvalidInputError(
                f"A latency table must say `format_version: {FORMAT_VERSION}`, but `{path}` says "
                f"{data.get('format_version')!r}."
            )
        try:
            table = cls._from_file(path, space, data)
        except InvalidInputError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidInputError(f"`{path}` is not a latency table of searchhub: {error!r}.") from error
        if not allow_other_device:
            _refuse_other_device(path, table)
        return table

    @classmethod
    def _from_file(cls, path: Path, space: SearchSpace, data: Mapping[str, Any]) -> LatencyTable:
        for key in ("device", "fixed", "entries"):
            if data.get(key) is None:
                raise InvalidInputError(f"A latency table must give `{key}`, but `{path}` does not. Add it.")
        # YAML reads `3: 1.2` as the entry of a number, and candidates may be numbers, so they are compared as written.
        entries = {str(name): {str(c): ms for c, ms in of.items()} for name, of in data["entries"].items()}

        def milliseconds(choice: Choice, candidate: Candidate) -> float:
            ms = entries.get(choice.name, {}).get(str(candidate))
            key = f"entries.{choice.name}.{candidate}"
            if ms is None:
                raise InvalidInputError(
                    f"A latency table of `{space.name}` must hold a number for `{candidate}` of `{choice.name}`, but "
                    f"`{path}` has no `{key}`. Measure it and add it."
                )
            return number_of(ms, key, path)

        accuracy, reference, versions = data.get("accuracy"), data.get("reference"), data.get("versions") or {}
        # Tables that were measured before others than torch could run networks do not say what ran them.
        runtime = data.get("runtime", TORCH if TORCH in versions else None)
        if runtime not in (None, *RUNTIMES):
            raise InvalidInputError(
                f"The `runtime` of a latency table must be one of {', '.join(RUNTIMES)}, but `{path}` says {runtime!r}."
            )
        return cls(
            str(data.get("name", LATENCY)),
            space,
            number_of(data["fixed"], "fixed", path),
            entries_of(space, milliseconds),
            device=str(data["device"]),
            threads=data.get("threads"),
            batch_size=int(data.get("batch_size", 1)),
            tokens=data.get("tokens"),
            versions=versions,
            calibration=data.get("calibration") or {},
            accuracy=None if accuracy is None else LatencyAccuracy(**accuracy),
            reference=None if reference is None else _read_reference(reference, space, path),
            assumed=data.get("assumed") or {},
            runtime=runtime,
            pairs=tuple(np.array(pair, dtype=np.float64) for pair in data.get("pairs") or ()),
        )


def _written(reference: LatencyReference) -> dict[str, Any]:
    return {"architecture": reference.architecture.to_dict(), "ms": reference.ms, "drift": reference.drift}


def _read_reference(data: Mapping[str, Any], space: SearchSpace, path: Path) -> LatencyReference:
    architecture = Architecture(data["architecture"])
    space.encode(architecture)
    ms, drift = (number_of(data[key], f"reference.{key}", path) for key in ("ms", "drift"))
    return LatencyReference(architecture, ms, drift)


def entries_of(
    space: SearchSpace, milliseconds: Callable[[Choice, Candidate], float]
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], ...]:
    """Returns the entries of a cost table, which are asked for one by one."""
    return tuple(np.array([milliseconds(choice, c) for c in choice.candidates]) for choice in space.choices)


def read_mapping(path: Path) -> Mapping[str, Any]:
    """Returns the mapping that a JSON or YAML file holds.

    Raises:
        InvalidInputError: The file cannot be read, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise InvalidInputError(f"`{path}` must be readable, but the system said: {error.strerror}.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise InvalidInputError(f"`{path}` must be JSON or YAML, but cannot be parsed: {error}") from error
    if not isinstance(data, Mapping):
        raise InvalidInputError(f"`{path}` must hold a mapping of keys to values, but holds a {type(data).__name__}.")
    return data


def number_of(value: Any, key: str, path: Path) -> float:
    """Returns a number in a file. YAML reads `1e-3` as text, which is accepted too."""
    try:
        if isinstance(value, bool) or not isinstance(value, Real | str):
            raise ValueError
        return float(value)
    except ValueError:
        raise InvalidInputError(f"`{key}` must be a number of milliseconds, but `{path}` says {value!r}.") from None


def _refuse_other_device(path: Path, table: LatencyTable) -> None:
    """Refuses another device. Torch is imported only here, so that tables of other devices are read without it."""
    from searchhub.costs.device import devices_here, threads_here

    here = devices_here()
    if table.device not in here:
        raise InvalidInputError(
            f"A latency table must be measured on this machine ({', '.join(here)}), but `{path}` was on "
            f"{table.device}. Measure one here with `measure_latency`, or pass `allow_other_device=True` to generate "
            f"for {table.device}."
        )
    if table.runtime != ONNXRUNTIME and table.threads not in (None, threads_here()):  # a session has threads of its own
        raise InvalidInputError(
            f"A latency table must be measured with as many threads as torch uses ({threads_here()}), but `{path}` was "
            f"with {table.threads}. Call `torch.set_num_threads({table.threads})`, measure again, or pass "
            "`allow_other_device=True` (`--allow-other-device`)."
        )
