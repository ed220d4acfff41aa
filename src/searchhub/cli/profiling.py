"""The command `profile`: it measures how long the networks of a search take on this machine."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searchhub.cli.options import Revision

if TYPE_CHECKING:
    from searchhub.callbacks.progress import ProgressDisplay, Stage
    from searchhub.costs.latency_table import LatencyTable
    from searchhub.costs.timing import Progress
    from searchhub.models.supernet import Supernet


class Runtime(str, Enum):
    """What runs the networks that are timed."""

    torch = "torch"
    onnxruntime = "onnxruntime"


def profile(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_SUPERNET", help="Folder of a finished run or of a supernet; or a supernet's Hub id."
        ),
    ],
    runtime: Annotated[
        Runtime,
        typer.Option("--runtime", help="What will run the networks: torch, or onnxruntime for what `export` writes."),
    ] = Runtime.torch,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Examples in a forward pass.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", min=1, help="Threads on the CPU. Default: as many as torch uses.", show_default=False
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu or cuda. Default: the CPU.", show_default=False)
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often each block and network is timed.")] = 10,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of the networks that are drawn.")] = 0,
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="Table to write: .json, else YAML.")] = Path(
        "latency.json"
    ),
    name: Annotated[str, typer.Option("--name", help="Name by which limits call the latency.")] = "latency_ms",
    revision: Revision = None,
) -> None:
    """Measure a latency table here, block by block, and say how right it is. Leave the machine alone meanwhile.

    Example: searchhub profile runs/mine --runtime onnxruntime --threads 1 --output laptop.json
    """
    import dataclasses

    from searchhub.callbacks.progress import ProgressDisplay
    from searchhub.cli.output import print_line
    from searchhub.cli.source import locate
    from searchhub.costs.latency import measure_latency
    from searchhub.hub.contents import MODEL_CONFIG
    from searchhub.networks.saved_trainer import SUPERNET

    folder = locate(run, MODEL_CONFIG, revision=revision)
    supernet = _supernet(folder if (folder / MODEL_CONFIG).exists() else folder / SUPERNET)
    with ProgressDisplay(2, file=sys.stderr) as progress:
        table = measure_latency(
            supernet,
            runtime=runtime.value,
            batch_size=batch_size,
            device=device,
            threads=threads,
            rounds=rounds,
            seed=seed,
            on_progress=_shown_by(progress),
        )
    table = dataclasses.replace(table, name=name)
    table.save(output)
    _show(table)
    print_line(f"Written: {output}. Next: searchhub generate {run} --latency {output} --max {table.name}=…")


def _supernet(folder: Path) -> Supernet:
    """Returns a supernet of these sizes. Its weights do not matter: networks take as long whatever they are."""
    import torch

    from searchhub.networks.saved_trainer import supernet_class, supernet_config

    kind, config = supernet_class(folder), supernet_config(folder)
    with torch.device("meta"):
        sizes: Any = kind(config).final.config
    supernet: Supernet = kind(sizes).eval()
    return supernet


def _shown_by(progress: ProgressDisplay) -> Progress:
    """Shows one stage for blocks, and one for whole networks."""
    stages: dict[str, Stage] = {}

    def on_progress(done: int, total: int, what: str) -> None:
        if what not in stages:
            stages[what] = progress.stage(f"measure {what}", total)
        stages[what].advance(n=done - stages[what].done)

    return on_progress


def _show(table: LatencyTable) -> None:
    from searchhub.cli.output import print_facts, print_table

    low, high = table.bounds()
    print_facts([("latency", f"{low:.4g} to {high:.4g} ms over the space"), ("measured on", table.unit)])
    if table.reference is not None:
        print_facts([("speed of this machine", f"changed up to {table.reference.drift:.2g}-fold meanwhile")])
    accuracy = table.accuracy
    if accuracy is not None:
        rows = [
            {"by": "this table", "mean error in %": accuracy.mape, "Kendall's τ": accuracy.kendall_tau},
            {"by": "multiply-adds", "mean error in %": accuracy.macs_mape, "Kendall's τ": accuracy.macs_kendall_tau},
        ]
        print_table(rows, title=f"On {accuracy.networks} other networks")
