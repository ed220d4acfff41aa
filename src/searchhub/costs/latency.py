"""Latency, measured: one block at a time on the user's device, calibrated against whole networks."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils import benchmark

from searchhub.costs.counting import count_architecture
from searchhub.costs.device import device_name
from searchhub.costs.latency_table import LATENCY, LatencyAccuracy, LatencyTable
from searchhub.costs.macs import macs_per_module
from searchhub.costs.table import CostTable
from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.models.supernet import Supernet
from searchhub.space import INACTIVE, Architecture, Codes, SearchSpace

Time = Callable[[nn.Module, Sequence[Any], Mapping[str, Any]], float]
"""Milliseconds of one call of a module with these arguments."""

Progress = Callable[[int, int, str], None]
"""Told after each measurement: how many are done, how many there are, and what was measured."""

WARM_UP_CALLS = 3
LARGEST_TILT = 3.0
"""How strongly drawn networks lean to fast or to slow candidates: a candidate one standard deviation slower is drawn
e^±3 times as often at the ends."""


@dataclass(frozen=True)
class Stopwatch:
    """Times a module with `torch.utils.benchmark`: the median of blocks of calls, after a warm-up.

    Args:
        threads: That torch uses meanwhile.
        min_run_time: Seconds to measure for.
        clock: In seconds; None: wall-clock time, which waits for a GPU. With one thread on a CPU that others use too,
            `time.thread_time` leaves out what they take.
    """

    threads: int = 1
    min_run_time: float = 0.1
    clock: Callable[[], float] | None = None

    def __call__(self, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float:
        """Milliseconds of one call in inference mode."""
        run = partial(module, *args, **kwargs)
        clock = {} if self.clock is None else {"timer": self.clock}
        timer = benchmark.Timer("run()", globals={"run": run}, num_threads=self.threads, **clock)
        with torch.inference_mode():
            for _ in range(WARM_UP_CALLS):
                run()
            return timer.blocked_autorange(min_run_time=self.min_run_time).median * 1e3


def measure_latency(
    supernet: Supernet,
    *,
    batch_size: int = 1,
    device: torch.device | str | None = None,
    threads: int | None = None,
    calibration_networks: int = 8,
    held_out_networks: int = 12,
    rounds: int = 3,
    seed: int = 0,
    time: Time | None = None,
    on_progress: Progress | None = None,
) -> LatencyTable:
    """The latency of every architecture of a supernet, from its blocks on this device.

        latency(α) = intercept + slope · Σ over the active choices of the latency of the chosen block

    Each candidate block of each choice is timed alone, on what it receives in a whole network; blocks that are alike
    once. Slope and intercept (stem, head, the call itself) are a least-squares line through whole networks, drawn from
    fast to slow; residuals count in percent. Others, drawn alike, tell the error, beside a line on multiply-adds.

    1. Everything is timed `rounds` times in turn, and the median counts: a machine slows down and recovers.
    2. A choice without a module of its own (a depth) costs what the choices that it switches on cost.
    3. A small space may have fewer networks than are asked for. Without held-out ones `accuracy` is None.

    Args:
        supernet: Its weights stay as they are and where they are.
        batch_size: Examples in a forward pass, at least 1.
        device: "cpu" or "cuda"; None: where the supernet is.
        threads: Of torch on the CPU; None: as many as torch uses now.
        calibration_networks: Whole networks to fit the line to, at least 2.
        held_out_networks: Other whole networks to tell the error on.
        rounds: How often each is timed, at least 1.
        seed: Of the networks that are drawn.
        time: What times a module; None: a `Stopwatch`.
        on_progress: Called after each measurement.

    Raises:
        InvalidInputError: The device cannot be timed, or networks of slower blocks did not come out slower.
    """
    if batch_size < 1 or calibration_networks < 2 or held_out_networks < 0 or rounds < 1:
        raise InvalidInputError(
            "`batch_size >= 1`, `calibration_networks >= 2`, `held_out_networks >= 0` and `rounds >= 1` must hold, but "
            f"got {batch_size}, {calibration_networks}, {held_out_networks} and {rounds}."
        )
    device = torch.device(supernet.device if device is None else device)
    name = device_name(device)
    threads = threads or torch.get_num_threads()
    bench = _Bench(supernet, device, batch_size, rounds, time or Stopwatch(threads), on_progress)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None

    space = supernet.search_space
    blocks = _blocks(bench)
    rng = np.random.default_rng(seed)
    drawn = _draw(blocks, np.linspace(-LARGEST_TILT, LARGEST_TILT, calibration_networks), rng, [])
    others = _draw(blocks, rng.uniform(-LARGEST_TILT, LARGEST_TILT, held_out_networks), rng, drawn)
    measured = bench.networks([*drawn, *others])
    seen, held = measured[: len(drawn)], measured[len(drawn) :]
    slope, intercept = fit_line(np.array([blocks.of_row(row) for row in drawn]), seen)
    if not slope > 0:
        raise InvalidInputError(
            f"Networks of slower blocks must come out slower, but over {len(drawn)} networks the slope is {slope:.3g}. "
            "The machine is too busy to measure on; try again when it is quiet, or with more `rounds`."
        )
    table = CostTable(LATENCY, space, intercept, tuple(slope * entry for entry in blocks.entries))
    calibration = {"slope": slope, "intercept_ms": intercept, "networks": len(drawn)}
    if load is not None:
        calibration["load_average"] = load
    return LatencyTable(
        table.name,
        space,
        table.fixed,
        table.entries,
        device=name,
        threads=threads if device.type == "cpu" else None,
        batch_size=batch_size,
        versions={package: importlib.metadata.version(package) for package in ("torch", "transformers")},
        calibration=calibration,
        accuracy=_accuracy(supernet, table, drawn, seen, others, held),
    )


class _Bench:
    """Times blocks and networks of one supernet, and counts what was done."""

    def __init__(
        self,
        supernet: Supernet,
        device: torch.device,
        batch_size: int,
        rounds: int,
        time: Time,
        on_progress: Progress | None,
    ) -> None:
        self.supernet, self.device, self.rounds = supernet, device, rounds
        self._time, self._on_progress = time, on_progress
        generator = torch.Generator().manual_seed(0)
        self.inputs = {
            name: _filled(tensor, batch_size, generator).to(device)
            for name, tensor in supernet.example_inputs().items()
        }

    def model(self, architecture: Architecture) -> nn.Module:
        """A copy of a network's own, as it would be published, ready to run."""
        return self.supernet.extract(architecture).to(self.device).eval()

    def blocks(self, blocks: Mapping[Any, tuple[nn.Module, Sequence[Any], Mapping[str, Any]]]) -> dict[Any, float]:
        """Milliseconds of each block, the median of all rounds."""
        times: dict[Any, list[float]] = {key: [] for key in blocks}
        for done in range(self.rounds):
            for i, (key, block) in enumerate(blocks.items(), start=1):
                times[key].append(self._time(*block))
                self._tell(done * len(blocks) + i, self.rounds * len(blocks), "blocks")
        return {key: float(np.median(of)) for key, of in times.items()}

    def networks(self, rows: Sequence[Codes]) -> FloatArray:
        """Milliseconds of each whole network, the median of all rounds; only one is in memory at a time."""
        times = np.zeros((self.rounds, len(rows)))
        for done in range(self.rounds):
            for i, row in enumerate(rows):
                model = self.model(self.supernet.search_space.decode(row))
                times[done, i] = self._time(model, (), self.inputs)
                self._tell(done * len(rows) + i + 1, times.size, "networks")
        return np.asarray(np.median(times, axis=0), dtype=np.float64)

    def _tell(self, done: int, total: int, what: str) -> None:
        if self._on_progress is not None:
            self._on_progress(done, total, what)


def _blocks(bench: _Bench) -> CostTable:
    """The latency of every candidate of every choice, alone; no fixed part."""
    space = bench.supernet.search_space
    signatures: dict[tuple[int, int], Any] = {}
    distinct: dict[Any, tuple[nn.Module, Sequence[Any], Mapping[str, Any]]] = {}
    for row in _covering(space):
        if all((i, int(code)) in signatures for i, code in enumerate(row) if code != INACTIVE):
            continue
        for i, block in _recorded(bench, row).items():
            signature = _signature(*block)
            signatures.setdefault((i, int(row[i])), signature)
            distinct.setdefault(signature, block)
    times = bench.blocks(distinct)
    entries = [np.zeros(len(choice.candidates)) for choice in space.choices]
    for (i, code), signature in signatures.items():
        entries[i][code] = times[signature]
    return CostTable(LATENCY, space, 0.0, tuple(entries))


def _covering(space: SearchSpace) -> list[Codes]:
    """Rows of codes in which every candidate of every choice stands at least once."""
    rows = []
    for branch in space.branches():
        for k in range(max(len(codes) for codes in branch.codes)):
            row = [codes[k % len(codes)] if codes else INACTIVE for codes in branch.codes]
            rows.append(np.array(row, dtype=np.uint8))
    return rows


def _recorded(bench: _Bench, row: Codes) -> dict[int, tuple[nn.Module, Sequence[Any], Mapping[str, Any]]]:
    """Per choice that has a module in a network, the module and what it is called with."""
    model = bench.model(bench.supernet.search_space.decode(row))
    called: dict[int, tuple[nn.Module, Sequence[Any], Mapping[str, Any]]] = {}

    def record(index: int, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        called[index] = (module, _copied(args), _copied(kwargs))

    hooks = []
    for i, choice in enumerate(bench.supernet.search_space.choices):
        if row[i] != INACTIVE and choice.name in bench.supernet.choice_modules:
            module = model.get_submodule(bench.supernet.choice_modules[choice.name])
            hooks.append(module.register_forward_pre_hook(partial(record, i), with_kwargs=True))
    with torch.inference_mode():
        model(**bench.inputs)
    for hook in hooks:
        hook.remove()
    return called


def _copied(value: Any) -> Any:
    """Tensors copied, within tuples, lists and dicts: modules may work in place on what they receive."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {k: _copied(v) for k, v in value.items()}
    return type(value)(map(_copied, value)) if type(value) in (tuple, list) else value


def _signature(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What decides a block's latency: kinds and settings of its modules, and shapes of weights and arguments."""
    parts = [
        (
            name,
            type(part),
            tuple((k, v) for k, v in sorted(vars(part).items()) if _plain(v) and not k.startswith("_")),
            tuple((k, _shape(p)) for k, p in part.named_parameters(recurse=False)),
        )
        for name, part in module.named_modules()
    ]
    return repr((parts, _shape(args), _shape(kwargs)))


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, int | float | str | tuple) or callable(value)


def _shape(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.stride(), value.dtype
    if isinstance(value, Mapping):
        return [(k, _shape(v)) for k, v in value.items()]
    return [_shape(v) for v in value] if isinstance(value, tuple | list) else value


def _filled(example: torch.Tensor, batch_size: int, generator: torch.Generator) -> torch.Tensor:
    """A real batch of the shape of a meta tensor: noise, or ones where it counts something (tokens, masks)."""
    shape = (batch_size, *example.shape[1:])
    if example.is_floating_point():
        return torch.randn(shape, generator=generator).to(example.dtype)
    return torch.ones(shape, dtype=example.dtype)


def _draw(blocks: CostTable, tilts: Sequence[float], rng: np.random.Generator, taken: Sequence[Codes]) -> list[Codes]:
    """One row of codes a tilt, all different: negative tilts lean to fast candidates, positive ones to slow."""
    rows: list[Codes] = []
    seen = {row.tobytes() for row in taken}
    for tilt in tilts:
        probabilities = []
        for entry in blocks.entries:
            weights = np.exp(tilt * (entry - entry.mean()) / (entry.std() or 1.0))
            probabilities.append(weights / weights.sum())
        for row in blocks.space.sample(20, rng, probabilities):
            if row.tobytes() not in seen:
                seen.add(row.tobytes())
                rows.append(row)
                break
    return rows


def fit_line(x: NDArray[Any], y: NDArray[Any]) -> tuple[float, float]:
    """Slope and intercept of y on x, with the least sum of squared residuals relative to y.

    Where all x are the same the slope is 1.
    """
    scale = float(np.abs(x).max()) or 1.0
    if np.ptp(x) <= 1e-12 * scale:
        return 1.0, float(np.average(y - x, weights=y**-2.0))
    design = np.stack([x / scale, np.ones(len(x))], axis=1) / y[:, None]
    (slope, intercept), *_ = np.linalg.lstsq(design, np.ones(len(x)), rcond=None)
    return float(slope) / scale, float(intercept)


def _accuracy(
    supernet: Supernet,
    table: CostTable,
    drawn: Sequence[Codes],
    seen: FloatArray,
    others: Sequence[Codes],
    held: FloatArray,
) -> LatencyAccuracy | None:
    if not others:
        return None
    macs = np.array(
        [
            count_architecture(supernet, table.space.decode(row), macs_per_module).get("", 0)
            for row in (*drawn, *others)
        ],
        dtype=np.float64,
    )
    slope, intercept = fit_line(macs[: len(drawn)], seen)
    predicted = np.array([table.of_row(row) for row in others])
    by_macs = slope * macs[len(drawn) :] + intercept
    return LatencyAccuracy(len(others), *prediction_error(predicted, held), *prediction_error(by_macs, held))


def prediction_error(predicted: FloatArray, measured: FloatArray) -> tuple[float, float | None]:
    """Mean absolute error in percent of what was measured, and Kendall's τ; None where nothing can be ranked."""
    from scipy.stats import kendalltau  # slow to import

    mape = 100.0 * float(np.mean(np.abs(predicted - measured) / measured))
    if len(measured) < 2 or np.ptp(predicted) == 0 or np.ptp(measured) == 0:
        return mape, None
    return mape, float(kendalltau(predicted, measured).statistic)
