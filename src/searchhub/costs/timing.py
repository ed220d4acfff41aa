"""Timing the blocks and the networks of a supernet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.utils import benchmark

from searchhub.costs.counting import covering
from searchhub.costs.latency_table import LATENCY
from searchhub.costs.table import CostTable
from searchhub.distribution import FloatArray
from searchhub.models.supernet import Supernet
from searchhub.space import INACTIVE, Architecture, Codes

Time = Callable[[nn.Module, Sequence[Any], Mapping[str, Any]], float]
"""Milliseconds of one call of a module with these arguments."""

Block: TypeAlias = tuple[nn.Module, Sequence[Any], Mapping[str, Any]]
"""A module and what it is called with."""

Progress = Callable[[int, int, str], None]
"""Told after each measurement: how many are done, how many there are, and what was measured."""

WARM_UP_CALLS = 3


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


class Bench:
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

    def blocks(self, blocks: Mapping[Any, Block]) -> dict[Any, float]:
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


def block_latencies(bench: Bench) -> CostTable:
    """The latency of every candidate of every choice, alone; no fixed part."""
    space = bench.supernet.search_space
    signatures: dict[tuple[int, int], list[Any]] = {}
    distinct: dict[Any, Block] = {}
    for row in covering(space):
        if all((i, int(code)) in signatures for i, code in enumerate(row) if code != INACTIVE):
            continue
        for i, blocks in _recorded(bench, row).items():
            own = [_signature(*block) for block in blocks]
            signatures.setdefault((i, int(row[i])), own)
            for signature, block in zip(own, blocks, strict=True):
                distinct.setdefault(signature, block)
    times = bench.blocks(distinct)
    entries = [np.zeros(len(choice.candidates)) for choice in space.choices]
    for (i, code), own in signatures.items():
        entries[i][code] = sum(times[signature] for signature in own)
    return CostTable(LATENCY, space, 0.0, tuple(entries))


def _recorded(bench: Bench, row: Codes) -> dict[int, list[Block]]:
    """Per choice that has modules in a network, these and what they are called with."""
    space = bench.supernet.search_space
    architecture = space.decode(row)
    model = bench.model(architecture)
    called: dict[int, list[Block]] = {}

    def record(index: int, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        called.setdefault(index, []).append((module, _copied(args), _copied(kwargs)))

    hooks = []
    for choice, names in bench.supernet.choice_modules(architecture).items():
        for name in names:
            hook = partial(record, space.index(choice))
            hooks.append(model.get_submodule(name).register_forward_pre_hook(hook, with_kwargs=True))
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
