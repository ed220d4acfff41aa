"""Times the blocks and the networks of a supernet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.utils import benchmark

from searchhub.costs.counting import chain_terms, covering, covering_pairs, step_of
from searchhub.costs.latency_table import LATENCY, TORCH
from searchhub.costs.onnx_session import in_onnxruntime
from searchhub.costs.table import CostTable
from searchhub.distribution import FloatArray
from searchhub.models.supernet import Supernet
from searchhub.space import INACTIVE, Architecture, Codes

Block: TypeAlias = tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]
"""A module, or what runs it elsewhere, and the arguments with which it is called."""

Time = Callable[[Block, Block], FloatArray]
"""Function that returns milliseconds of a call of a block and of a call of the reference, in turn: float [pairs, 2]."""

Progress = Callable[[int, int, str], None]
"""Function that is called after each measurement with how many are done, how many there are, and what was measured."""

WARM_UP_CALLS = 3
LEAST_PAIRS = 3
PART_OF_REFERENCE = 0.3
"""How long the calls of a quick block last in a pair, in calls of the reference. One call would be lost in noise."""
MOST_CALLS = 1000


@dataclass(frozen=True)
class Stopwatch:
    """Times modules with the tools of `torch.utils.benchmark`, after a warm-up, in inference mode.

    Args:
        threads: Number of threads that torch uses meanwhile.
        min_run_time: Least number of seconds to measure for.
        clock: Function that returns seconds. None: wall-clock time, which waits for a GPU.
    """

    threads: int = 1
    min_run_time: float = 0.1
    clock: Callable[[], float] | None = None

    def __call__(self, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float:
        """Returns the milliseconds of one call: the median of blocks of calls."""
        run = partial(module, *args, **kwargs)
        clock = {} if self.clock is None else {"timer": self.clock}
        timer = benchmark.Timer("run()", globals={"run": run}, num_threads=self.threads, **clock)
        with torch.inference_mode():
            for _ in range(WARM_UP_CALLS):
                run()
            return timer.blocked_autorange(min_run_time=self.min_run_time).median * 1e3

    def in_turn(self, block: Block, reference: Block) -> FloatArray:
        """Times one call of each, milliseconds [pairs, 2], float: a machine that slows down slows both sides of a pair.

        The block is called several times in a pair if it is much quicker than the reference.
        """
        run, run_reference = (partial(module, *args, **kwargs) for module, args, kwargs in (block, reference))
        clock = self.clock or benchmark.timer
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with torch.inference_mode():
                warm = [(_seconds(run, 1, clock), _seconds(run_reference, 1, clock)) for _ in range(WARM_UP_CALLS)]
                own, other = (max(min(side), 1e-9) for side in zip(*warm, strict=True))
                calls = min(max(round(PART_OF_REFERENCE * other / own), 1), MOST_CALLS)
                pairs: list[tuple[float, float]] = []
                started = clock()
                while len(pairs) < LEAST_PAIRS or clock() - started < self.min_run_time:
                    pairs.append((_seconds(run, calls, clock) / calls, _seconds(run_reference, 1, clock)))
        finally:
            torch.set_num_threads(threads)
        return np.array(pairs) * 1e3


def _seconds(run: Callable[[], Any], calls: int, clock: Callable[[], float]) -> float:
    started = clock()
    for _ in range(calls):
        run()
    return clock() - started


@dataclass(frozen=True)
class Pairs:
    """Measurements that were taken in turn with the reference.

    Args:
        rounds: Milliseconds of block and reference, one float array [pairs, 2] per round.
    """

    rounds: Sequence[FloatArray]

    @property
    def ratio(self) -> float:
        """Duration of a call, in calls of the reference: the median of all pairs."""
        return _median_ratio(np.concatenate(self.rounds))

    @property
    def error(self) -> float:
        """The standard error of `ratio`, from how far the rounds lie apart; 0 if there is only one.

        It is that of a median of n normal values, √(π/2n) · σ. Here σ is 1.4826 times the median distance from the
        median, which a round in which the machine stalled does not widen.
        """
        ratios = np.array([_median_ratio(pairs) for pairs in self.rounds])
        sigma = 1.4826 * np.median(np.abs(ratios - np.median(ratios)))
        return float(np.sqrt(np.pi / 2 / len(ratios)) * sigma)

    @property
    def milliseconds(self) -> float:
        """Milliseconds of one call, by the clock: the median of the rounds' medians."""
        return float(np.median([np.median(pairs[:, 0]) for pairs in self.rounds]))


def _median_ratio(pairs: FloatArray) -> float:
    return float(np.median(pairs[:, 0] / pairs[:, 1]))


class Bench:
    """Times blocks and networks of one supernet in turn with one of its networks, and reports progress.

    Args:
        supernet: The supernet to measure.
        device: Device to measure on.
        batch_size: Number of examples in a forward pass.
        reference: Codes of the network against which all others are timed.
        rounds: How often each is timed.
        time: Function that times a block and the reference.
        on_progress: Function that is called after each measurement.
        runtime: What runs blocks and networks: "torch" or "onnxruntime".
        threads: Number of threads of onnxruntime. Torch's are set by `time`.
    """

    def __init__(
        self,
        supernet: Supernet,
        device: torch.device,
        batch_size: int,
        reference: Codes,
        rounds: int,
        time: Time,
        on_progress: Progress | None = None,
        *,
        runtime: str = TORCH,
        threads: int = 1,
    ) -> None:
        self._runtime, self._threads = runtime, threads
        self.supernet, self.device, self.rounds = supernet, device, rounds
        self._time, self._on_progress = time, on_progress
        generator = torch.Generator().manual_seed(0)
        self.inputs = {
            name: _filled(tensor, batch_size, generator).to(device)
            for name, tensor in supernet.example_inputs().items()
        }
        self._reference = self._network(reference)
        self._of_reference: list[FloatArray] = []

    @property
    def reference_ms(self) -> FloatArray:
        """Milliseconds of every call of the reference so far, float [calls]."""
        return np.concatenate(self._of_reference)

    def model(self, architecture: Architecture) -> nn.Module:
        """Returns a network's own copy of the weights, as it would be published, ready to run."""
        return self.supernet.extract(architecture).to(self.device).eval()

    def blocks(self, blocks: Mapping[Any, Block]) -> dict[Any, Pairs]:
        """Times each block; returns the measurements by its key."""
        blocks = {key: self._ready(block) for key, block in blocks.items()}
        times: dict[Any, list[FloatArray]] = {key: [] for key in blocks}
        for done in range(self.rounds):
            for i, (key, block) in enumerate(blocks.items(), start=1):
                times[key].append(self._in_turn(block))
                self._tell(done * len(blocks) + i, self.rounds * len(blocks), "blocks")
        return {key: Pairs(of) for key, of in times.items()}

    def networks(self, rows: Sequence[Codes]) -> list[Pairs]:
        """Times each whole network; only one is in memory at a time, besides the reference.

        Another runtime takes longer to get a network ready than to run it, so each has all its rounds at once.
        """
        times: list[list[FloatArray]] = [[] for _ in rows]
        repeats = 1 if self._runtime == TORCH else self.rounds
        for i in list(range(len(rows))) * (self.rounds // repeats):
            network = self._network(rows[i])
            for _ in range(repeats):
                times[i].append(self._in_turn(network))
                self._tell(sum(map(len, times)), self.rounds * len(rows), "networks")
        return [Pairs(of) for of in times]

    def _network(self, row: Codes) -> Block:
        return self._ready((self.model(self.supernet.search_space.decode(row)), (), self.inputs))

    def _ready(self, block: Block) -> Block:
        return block if self._runtime == TORCH else in_onnxruntime(block, self._threads)

    def _in_turn(self, block: Block) -> FloatArray:
        pairs = self._time(block, self._reference)
        self._of_reference.append(pairs[:, 1])
        return pairs

    def _tell(self, done: int, total: int, what: str) -> None:
        if self._on_progress is not None:
            self._on_progress(done, total, what)


def block_latencies(bench: Bench) -> CostTable:
    """Returns the latency of every candidate of every choice, alone, in calls of the reference, without a fixed part.

    If it also depends on the previous choice (`Supernet.chain_coupled`), it is timed after each candidate of that
    choice.
    """
    space, chained = bench.supernet.search_space, bench.supernet.chain_coupled
    signatures: dict[tuple[int, int, int], list[Any]] = {}
    distinct: dict[Any, Block] = {}

    def step(i: int, row: Codes) -> tuple[int, int, int]:
        return step_of(i, row) if chained else (i, 0, int(row[i]))

    for row in covering_pairs(space) if chained else covering(space):
        if all(step(i, row) in signatures for i, code in enumerate(row) if code != INACTIVE):
            continue
        for i, blocks in _recorded(bench, row).items():
            own = [_signature(*block) for block in blocks]
            signatures.setdefault(step(i, row), own)
            for signature, block in zip(own, blocks, strict=True):
                distinct.setdefault(signature, block)
    times = bench.blocks(distinct)
    costs = {key: sum(times[signature].ratio for signature in own) for key, own in signatures.items()}
    if chained:
        coupled, pairs = chain_terms(space, costs)
        return CostTable(LATENCY, space, 0.0, coupled, pairs=pairs)
    entries = [np.zeros(len(choice.candidates)) for choice in space.choices]
    for (i, _, code), cost in costs.items():
        entries[i][code] = cost
    return CostTable(LATENCY, space, 0.0, tuple(entries))


def _recorded(bench: Bench, row: Codes) -> dict[int, list[Block]]:
    """Returns, for each choice that has modules in a network, these modules and the arguments they are called with."""
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
    """Copies tensors, within tuples, lists and dicts too: modules may work in place on what they receive."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {k: _copied(v) for k, v in value.items()}
    return type(value)(map(_copied, value)) if type(value) in (tuple, list) else value


def _signature(module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Returns what decides a block's latency: kinds and settings of its modules, shapes of weights and arguments."""
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
    """Makes a real batch of the shape of a meta tensor: noise, or ones where it counts something (tokens, masks)."""
    shape = (batch_size, *example.shape[1:])
    if example.is_floating_point():
        return torch.randn(shape, generator=generator).to(example.dtype)
    return torch.ones(shape, dtype=example.dtype)
