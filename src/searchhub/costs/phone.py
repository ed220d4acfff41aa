"""Reads published tables of phones: they list latency by a key that spells a block's shape.

ProxylessNAS (`mobile_trim.yaml`) and Once-for-All (`224_lookup_table.yaml`) publish files in which a key names a block
by its sizes and `mean` is its milliseconds. They are not part of this package; `read_keys` reads both. Once-for-All's
blocks have squeeze-and-excitation and h-swish, which no space here has, so its keys are not matched to candidates:
`keyed_table` builds a table for a space of your own with such blocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from searchhub.costs.latency_table import LATENCY, LatencyTable, entries_of, number_of, read_mapping
from searchhub.errors import InvalidInputError
from searchhub.space import Candidate, Choice, SearchSpace
from searchhub.spaces.mobile import ZERO

if TYPE_CHECKING:
    from searchhub.models.mobile.supernet_mobile import MobileSupernetConfig

Key = Callable[[Choice, Candidate], "str | None"]
"""Function that returns the key of a candidate; None for a candidate that costs nothing."""

NAMED = 5
"""Number of missing keys that an error names."""


def read_keys(path: str | Path) -> dict[str, float]:
    """Reads milliseconds by key, from a file of ProxylessNAS or Once-for-All.

    Raises:
        InvalidInputError: The file cannot be read, or an entry has no `mean`.
    """
    path = Path(path)
    latencies = {}
    for key, entry in read_mapping(path).items():
        mean = entry.get("mean") if isinstance(entry, Mapping) else entry
        latencies[str(key)] = number_of(mean, f"{key}.mean", path)
    return latencies


def keyed_table(
    space: SearchSpace,
    latencies: Mapping[str, float],
    key: Key,
    *,
    fixed: Sequence[str] = (),
    missing: Literal["error"] | float = "error",
    device: str,
    source: str = "the table",
) -> LatencyTable:
    """Makes the table of a space whose blocks are found by key.

    Args:
        space: Space to price.
        latencies: Milliseconds by key.
        key: Function that returns the key of each candidate.
        fixed: Keys of the blocks that every architecture pays for.
        missing: "error", or the milliseconds of every key that is missing; the table lists these keys as `assumed`.
        device: Name of the device that was measured.
        source: How errors name the source of the latencies.

    Raises:
        InvalidInputError: A key is missing; the error names it.
    """
    absent: dict[str, str] = {}

    def look_up(wanted: str, what: str) -> float:
        if wanted not in latencies:
            absent.setdefault(wanted, what)
        return latencies.get(wanted, 0.0 if missing == "error" else missing)

    def milliseconds(choice: Choice, candidate: Candidate) -> float:
        wanted = key(choice, candidate)
        return 0.0 if wanted is None else look_up(wanted, f"`{candidate}` of `{choice.name}`")

    entries = entries_of(space, milliseconds)
    total = sum(look_up(wanted, "what every network has") for wanted in fixed)
    if absent and missing == "error":
        named = "; ".join(f"`{wanted}` ({what})" for wanted, what in list(absent.items())[:NAMED])
        more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
        raise InvalidInputError(
            f"{source} must hold every block of `{space.name}`, but lacks {named}{more}. Choose sizes that it holds, "
            "or pass `missing` the milliseconds to take instead."
        )
    assumed = {wanted: float(missing) for wanted in absent} if missing != "error" else {}
    return LatencyTable(LATENCY, space, total, entries, device=device, assumed=assumed)


def read_proxyless_table(
    path: str | Path,
    config: MobileSupernetConfig,
    *,
    missing: Literal["error"] | float = "error",
    device: str = "Google Pixel 1",
) -> LatencyTable:
    """Reads the latency of the layer-wise space on a phone, from a table of ProxylessNAS (Cai et al., ICLR 2019).

    The published `mobile_trim.yaml` holds every block of the full-size space at 224 x 224 with 1,000 classes
    (`MobileSupernetConfig(num_labels=1000)`), and little else. With other widths (the published ProxylessNAS networks
    have 32 channels in their first stage, and 24 here), resolutions or numbers of classes, keys are missing.

    Args:
        path: Path of the file; see `read_keys`.
        config: Sizes of the space.
        missing: "error", or the milliseconds to take for every key that is missing, e.g. 0.31 for a classifier with
            another number of classes; the table lists these keys as `assumed`.
        device: Name of the device that was measured, for units and cards.

    Raises:
        InvalidInputError: A key is missing, which the error names; or pictures are not square, or an output stride is
            set, which no block of the table has.
    """
    space = config.space()
    size = config.image_size
    if not isinstance(size, int) or config.output_stride is not None:
        raise InvalidInputError(
            "`image_size` must be one number and `output_stride` None for this table, whose blocks have no dilation, "
            f"but they are {size} and {config.output_stride}. Measure latency with `measure_latency` instead."
        )
    inner = _halved(size, config.stem_stride)
    stem = f"Conv-input:{_map(size, config.num_channels)}-output:{_map(inner, config.stem_width)}"
    first = _block_key(inner, config.stem_width, config.first_width, expansion=1, kernel=3, stride=1)
    shapes = {}
    for choice, (width, out, stride) in zip(space.choices, config.layer_shapes, strict=True):
        shapes[choice.name] = (inner, width, out, stride)
        inner = _halved(inner, stride)
    head = f"Conv_1-input:{_map(inner, config.stage_widths[-1])}-output:{_map(inner, config.head_width)}"
    logits = f"Logits-input:{_map(inner, config.head_width)}-output:{config.num_labels}"

    def key(choice: Choice, candidate: Candidate) -> str | None:
        if candidate == ZERO:
            return None
        expansion, kernel = map(int, re.findall(r"\d+", str(candidate)))
        at, width, out, stride = shapes[choice.name]
        return _block_key(at, width, out, expansion=expansion, kernel=kernel, stride=stride)

    return keyed_table(
        space,
        read_keys(path),
        key,
        fixed=(stem, first, head, logits),
        missing=missing,
        device=device,
        source=f"`{path}`",
    )


def _halved(size: int, stride: int) -> int:
    """Returns height and width after a convolution that pads half its kernel."""
    return -(-size // stride)


def _map(size: int, width: int) -> str:
    return f"{size}x{size}x{width}"


def _block_key(size: int, width: int, out: int, *, expansion: int, kernel: int, stride: int) -> str:
    residual = int(stride == 1 and width == out)
    return (
        f"expanded_conv-input:{_map(size, width)}-output:{_map(_halved(size, stride), out)}-expand:{expansion}"
        f"-kernel:{kernel}-stride:{stride}-idskip:{residual}"
    )
