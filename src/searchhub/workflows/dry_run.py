"""Estimates within seconds, without training, what a search would cost: trials, multiply-adds, memory, time, limits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch

from searchhub.costs.macs import macs_table
from searchhub.costs.memory import activation_bytes
from searchhub.costs.structure import cells_of
from searchhub.costs.table import CostTable
from searchhub.data.task import Task
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InfeasibleLimitError
from searchhub.formatting import duration, human
from searchhub.generation import Limit, generate
from searchhub.generation.cell_sampling import draw_cells
from searchhub.generation.cells import reachable_mean, reachable_range
from searchhub.generation.infeasible import never_cut
from searchhub.models.supernet import Supernet
from searchhub.result import SearchResult
from searchhub.searchers.base import Searcher
from searchhub.space import Architecture
from searchhub.training.loop import calibration_batch
from searchhub.training.settings import TrainingSettings

TIMED_ARCHITECTURES = 3

SAMPLED = 100
"""Number of final networks that are drawn; the one nearest to the average is timed."""

TIMED_MACS = 2e10
"""Most multiply-adds of a timed step of a final network, forward and backward: seconds on a slow machine."""


def estimate(
    supernet: Supernet,
    task: Task,
    settings: TrainingSettings,
    searcher: Searcher,
    costs: Sequence[CostTable],
    limits: Sequence[Limit | Sequence[Limit]],
    final_epochs: int,
    final_settings: TrainingSettings | None = None,
) -> str:
    """Returns a text for a person. Times come from a few training steps of random architectures, which are discarded.

    If final networks have other sizes, one of average multiply-adds is timed, too, on a part of its batch if a whole
    batch would take long.

    Args:
        supernet: The supernet, on the device that would train. It is not changed.
        task: The task, which gives sizes and one batch.
        settings: Training settings of the search.
        searcher: The searcher, which gives the number of trials and their budget.
        costs: Cost tables of the networks that are trained in the end, "macs" among them.
        limits: Limits that the text calls feasible or not.
        final_epochs: Epochs of the final training of one network.
        final_settings: Settings of the final training. None: those of the search.
    """
    final_settings = final_settings or settings
    space = supernet.search_space
    trials, steps, first = searcher.trained_trials, 0, ""
    if trials:
        if warmup := searcher.config.get("warmup_trials"):
            first = f", the first {warmup} of them warm-up"
        steps = searcher.budget.epochs * (task.size("train") // settings.batch_size)
        steps = min(steps, searcher.budget.max_steps or steps)
    final_macs = next(table for table in costs if table.name == "macs")
    macs = final_macs if supernet.final is supernet else macs_table(supernet)
    mean = macs.mean()
    rows = space.sample(TIMED_ARCHITECTURES, np.random.default_rng(0))
    step = statistics.median(
        _seconds_per_step(supernet, space.decode(row), task, settings, settings.batch_size) for row in rows
    )
    search_macs = 3 * mean * settings.batch_size * steps * trials
    weights = sum(p.numel() * p.element_size() for p in supernet.parameters())
    moments = {"sgd": 1 if settings.momentum else 0, "adam": 2, "adamw": 2}[settings.optimizer]
    activations = _largest_activations(supernet, macs, task) * settings.batch_size
    final_steps = final_epochs * (task.size("full") // final_settings.batch_size)
    final_step = step if supernet.final is supernet else _final_step(supernet, task, final_settings, final_macs)
    anything = SearchResult(space, (), ArchitectureDistribution.uniform(space)).with_costs(*costs)
    lines = [
        f"Search: {trials} trials of {steps} steps of {settings.batch_size}{first}",
        f"  multiply-adds: about {human(search_macs)} (forward and backward; {human(mean)} an example on average)",
        f"  memory: {human(weights)}B weights, {human(moments * weights)}B optimizer state, at most "
        f"{human(activations)}B activations of a step",
        f"  time: about {duration(step * steps * trials)} in one process ({step * 1e3:.0f} ms a step here "
        "and now), and validation",
        f"One final network: {final_epochs} epochs, about {duration(final_step * final_steps)} of an average "
        "architecture",
        "Limits:",
    ]
    for wanted in limits:
        together = (wanted,) if isinstance(wanted, Limit) else tuple(wanted)
        # The cells' costs N and H have no table here.
        spans = {
            limit: reachable_range(anything.costs[limit.name]) for limit in together if limit.name in anything.costs
        }
        try:
            generate(anything, *together)
            binds = len(spans) < len(together) or any(
                limit.high < high or limit.low > low for limit, (low, high) in spans.items()
            )
            verdict = "feasible" if binds else "feasible; it does not bind"
            words = ""
        except InfeasibleLimitError:
            verdict, words = "NOT feasible", never_cut({limit.name: limit.high for limit in together}, anything.costs)
        shown = " and ".join(f"{_amount(low)} to {_amount(high)}" for low, high in spans.values())
        spanned = f" (the space spans {shown})" if shown else ""
        lines.append(f"  {' and '.join(map(str, together))}: {verdict}{spanned}")
        lines += [f"    {words}"] if words else []
    return "\n".join(lines)


def _amount(cost: float) -> str:
    """Returns a count in full, and milliseconds in four digits."""
    return f"{cost:,.0f}" if cost == int(cost) else f"{cost:,.4g}"


def _final_step(supernet: Supernet, task: Task, settings: TrainingSettings, macs: CostTable) -> float:
    """Returns the seconds of a step of an average final network."""
    space, rng = supernet.search_space, np.random.default_rng(0)
    rows = space.sample(SAMPLED, rng) if cells_of(space) is None else draw_cells(space, SAMPLED, rng)
    mean = reachable_mean(macs)
    row = min(rows, key=lambda row: abs(macs.of_row(row) - mean))
    size = max(2, min(settings.batch_size, int(TIMED_MACS / (3 * macs.of_row(row)))))
    seconds = _seconds_per_step(supernet, space.decode(row), task, settings, size, final=True)
    return seconds * settings.batch_size / size


def _seconds_per_step(
    supernet: Supernet,
    architecture: Architecture,
    task: Task,
    settings: TrainingSettings,
    batch_size: int,
    *,
    final: bool = False,
) -> float:
    networks = supernet.final if final else supernet
    model = networks.subnet_class(networks.subnet_config(architecture))
    model = model.to(device=supernet.device, memory_format=settings.memory_format).train()
    optimizer = settings.build_optimizer(model.parameters())
    size = max(2, min(batch_size // settings.gradient_accumulation_steps, task.size("train")))
    batch = calibration_batch(task, "train", torch.arange(size), supernet.device)
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if supernet.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return settings.gradient_accumulation_steps * min(seconds[1:])


def _largest_activations(supernet: Supernet, macs: CostTable, task: Task) -> int:
    """Returns the bytes that one more example takes in a training step of the network of the most multiply-adds."""
    inputs = supernet.example_inputs()
    if "pixel_values" in inputs:  # costs may refer to larger pictures than those that are trained on
        pictures = task.batch("train", torch.arange(1), device=torch.device("cpu"), seed=0)["pixel_values"]
        inputs = {"pixel_values": torch.empty_like(pictures, device="meta")}
    with torch.device("meta"):
        model = supernet.subnet_class(supernet.subnet_config(supernet.search_space.decode(macs.extreme_row(1))))
        return activation_bytes(model, inputs)
