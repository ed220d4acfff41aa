"""Measures latency one block at a time on the user's device, and calibrates it against whole networks."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from searchhub.costs.counting import count_architecture, example_tokens
from searchhub.costs.device import device_name
from searchhub.costs.latency_table import (
    LATENCY,
    ONNXRUNTIME,
    RUNTIMES,
    TORCH,
    LatencyAccuracy,
    LatencyReference,
    LatencyTable,
)
from searchhub.costs.macs import macs_per_module
from searchhub.costs.onnx_session import check_packages
from searchhub.costs.table import CostTable
from searchhub.costs.timing import Bench, Progress, Stopwatch, Time, block_latencies
from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.models.supernet import Supernet
from searchhub.space import Codes

RUN_TIME = 0.05
"""Seconds for which each is timed in a round. Many short rounds see more of what a machine does than few long ones."""

LARGEST_TILT = 3.0
"""How strongly drawn networks prefer fast or slow candidates: at the ends, a candidate that is one standard deviation
slower is drawn e^±3 times as often.
"""


def measure_latency(
    supernet: Supernet,
    *,
    runtime: str = TORCH,
    batch_size: int = 1,
    device: torch.device | str | None = None,
    threads: int | None = None,
    calibration_networks: int = 8,
    held_out_networks: int = 12,
    rounds: int = 10,
    seed: int = 0,
    time: Time | None = None,
    on_progress: Progress | None = None,
) -> LatencyTable:
    """Measures the latency of every architecture of a supernet, from its blocks on this device.

        latency(α) = intercept + slope · Σ over the active choices of the latency of the chosen block

    Each candidate block of each choice is timed on its own, on what it receives in a whole network; equal blocks are
    timed once. Slope and intercept (stem, head, the call itself) are a least-squares line through whole networks, drawn
    from fast to slow; residuals count in percent. Other networks, drawn alike, tell the error, next to that of a line
    on multiply-adds.

    1. A machine slows down and recovers, by a factor of two within a second if it is virtual. So everything is called
       in turn with one network, the reference. The median of the ratios counts, and the reference's median over the
       whole measurement turns it into milliseconds. `LatencyTable.reference` stores it.
    2. A choice without a module of its own (a depth) costs what the choices that it switches on cost.
    3. Onnxruntime runs each block as a file of its own. What it fuses across blocks, or converts between them, is in
       whole networks alone, and so in the line and in the error on held-out networks.
    4. A small space may have fewer networks than are asked for. Without held-out networks `accuracy` is None.

    Args:
        supernet: The supernet to measure. Its weights stay as they are and where they are.
        runtime: What runs the networks: "torch", or "onnxruntime" on the CPU, as it runs what `export_onnx` writes.
        batch_size: Number of examples in a forward pass, at least 1.
        device: "cpu" or "cuda". None: the supernet's device; for onnxruntime the CPU.
        threads: Number of threads on the CPU. None: as many as torch uses now.
        calibration_networks: Number of whole networks to which the line is fitted, at least 2.
        held_out_networks: Number of other whole networks on which the error is measured.
        rounds: How often each is timed, at least 1.
        seed: Seed of the networks that are drawn.
        time: Function that times a block and the reference in turn. None: `searchhub.costs.timing.Stopwatch.in_turn`.
        on_progress: Function that is called after each measurement.

    Raises:
        InvalidInputError: The device or runtime cannot be timed, or networks of slower blocks did not come out slower.
        ExportError: The packages of onnxruntime are missing, or it cannot run a block.
    """
    if batch_size < 1 or calibration_networks < 2 or held_out_networks < 0 or rounds < 1:
        raise InvalidInputError(
            "`batch_size >= 1`, `calibration_networks >= 2`, `held_out_networks >= 0` and `rounds >= 1` must hold, but "
            f"got {batch_size}, {calibration_networks}, {held_out_networks} and {rounds}."
        )
    if runtime not in RUNTIMES:
        raise InvalidInputError(f"`runtime` must be one of {', '.join(RUNTIMES)}, but is {runtime!r}.")
    if runtime == ONNXRUNTIME:
        check_packages()
        device = "cpu" if device is None else device
    device = torch.device(supernet.device if device is None else device)
    if runtime == ONNXRUNTIME and device.type != "cpu":
        raise InvalidInputError(f'Onnxruntime must be timed on "cpu", but got "{device}". Pass `device="cpu"`.')
    name = device_name(device)
    threads = threads or torch.get_num_threads()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None

    space = supernet.search_space
    rng = np.random.default_rng(seed)
    reference_row = space.sample(1, rng)[0]
    bench = Bench(
        supernet,
        device,
        batch_size,
        reference_row,
        rounds,
        time or Stopwatch(threads, RUN_TIME).in_turn,
        on_progress,
        runtime=runtime,
        threads=threads,
    )
    blocks = block_latencies(bench)
    drawn = _draw(blocks, np.linspace(-LARGEST_TILT, LARGEST_TILT, calibration_networks), rng, [])
    others = _draw(blocks, rng.uniform(-LARGEST_TILT, LARGEST_TILT, held_out_networks), rng, drawn)
    ratios = np.array([pairs.ratio for pairs in bench.networks([*drawn, *others])])
    fastest, typical, slowest = np.percentile(bench.reference_ms, [5, 50, 95]).tolist()
    seen, held = np.split(typical * ratios, [len(drawn)])
    table, calibration = _calibrated(blocks, typical, drawn, seen)
    if load is not None:
        calibration["load_average"] = load
    return LatencyTable(
        table.name,
        space,
        table.fixed,
        table.entries,
        pairs=table.pairs,
        device=name,
        threads=threads if device.type == "cpu" else None,
        batch_size=batch_size,
        tokens=example_tokens(supernet),
        runtime=runtime,
        versions={
            package: importlib.metadata.version(package) for package in dict.fromkeys((TORCH, "transformers", runtime))
        },
        calibration=calibration,
        accuracy=_accuracy(supernet, table, drawn, seen, others, held),
        reference=LatencyReference(space.decode(reference_row), typical, slowest / fastest),
    )


def _calibrated(
    blocks: CostTable, reference_ms: float, rows: Sequence[Codes], measured: FloatArray
) -> tuple[CostTable, dict[str, float]]:
    """Returns milliseconds of whole networks, from blocks in calls of the reference, and the line between both."""
    alone = reference_ms * np.array([blocks.of_row(row) for row in rows])
    slope, intercept = fit_line(alone, measured)
    if not slope > 0:
        raise InvalidInputError(
            f"Networks of slower blocks must come out slower, but over {len(rows)} networks the slope is {slope:.3g}. "
            "The machine is too busy to measure on; try again when it is quiet, or with more `rounds`."
        )
    entries, pairs = (tuple(slope * reference_ms * part for part in parts) for parts in (blocks.entries, blocks.pairs))
    calibration = {"slope": slope, "intercept_ms": intercept, "networks": len(rows)}
    return CostTable(LATENCY, blocks.space, intercept, entries, pairs=pairs), calibration


def _draw(blocks: CostTable, tilts: Sequence[float], rng: np.random.Generator, taken: Sequence[Codes]) -> list[Codes]:
    """Draws one row of codes per tilt, all different. Negative tilts prefer fast candidates, positive ones slow."""
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
    """Returns slope and intercept of y on x, with the least sum of squared residuals relative to y.

    If all x are the same, the slope is 1.
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
    """Returns the mean absolute error in percent of the measurement, and Kendall's τ; None if nothing can be ranked."""
    from scipy.stats import kendalltau  # slow to import

    mape = 100.0 * float(np.mean(np.abs(predicted - measured) / measured))
    if len(measured) < 2 or np.ptp(predicted) == 0 or np.ptp(measured) == 0:
        return mape, None
    return mape, float(kendalltau(predicted, measured).statistic)
