"""Loads published networks in a fresh process, as anyone would, and measures them again there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from searchhub.data.sources import names_own_loader
from searchhub.errors import SearchhubError

LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
"""Environment variables by which a launcher says that there are several processes."""

LAUNCHED_BY_MPI = ("OMPI_COMM_WORLD_", "MV2_COMM_WORLD_", "PMI_")
"""Prefixes of the names of such variables if MPI starts the processes."""


_START = "import sys; sys.path[:] = filter(None, sys.path); from searchhub.cli.main import main; main()"
"""Program of the fresh process. It imports nothing from the folder that it is started in, which Python puts first."""


def reload_networks(
    folders: Sequence[str | Path],
    *,
    mixed_precision: str = "no",
    batch_size: int = 256,
    kind: str | None = None,
) -> None:
    """Loads every folder in a fresh process, as anyone would, and measures its network again on the test split there.

    The run's `training.json` says what the networks were trained for, so call `save_trainer` before this. The fresh
    process is a single one, whatever launched this one.

    Args:
        folders: Folders of published networks, in their run's folder.
        mixed_precision: Precision in which they were measured: "no", "fp16" or "bf16".
        batch_size: Examples of one forward pass.
        kind: The "kind" of the task's `source`, which this process loaded. If it is a function of your own, the fresh
            process imports it, and finds modules beside the script that this one runs. None: the kind is one of
            searchhub's.

    Raises:
        SearchhubError: A network does not load, or does not reach what its card says.
    """
    if not folders:
        return
    options = [f"--mixed-precision={mixed_precision}", f"--batch-size={batch_size}", "--check", "--lines"]
    alone = {name: value for name, value in os.environ.items() if not _is_of_launcher(name)}
    if names_own_loader(kind):
        options.append(f"--task={kind}")
        alone["PYTHONPATH"] = os.pathsep.join(filter(None, [sys.path[0], os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", _START, "evaluate", *map(str, folders), *options]
    if subprocess.run(command, env=alone).returncode:
        raise SearchhubError("Every network must load in a fresh process and reach its score there; see above.")


def _is_of_launcher(name: str) -> bool:
    return name in LAUNCHED or name.startswith(LAUNCHED_BY_MPI)
