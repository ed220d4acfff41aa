"""Published networks are loaded in a fresh process, as anyone would, and measured again there."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from searchhub.errors import SearchhubError
from searchhub.workflows.arguments import ImageDataArguments


def reload_images(script: Path, folders: Sequence[Path], data: ImageDataArguments, seed: int) -> None:
    """Load every folder in a fresh process and measure it on the test split.

    Args:
        script: `eval_images.py`.
        folders: Of published image classifiers.
        data: What they were tested on.
        seed: Of its splits.

    Raises:
        SearchhubError: One does not load, or does not reach the accuracy on its card.
    """
    command = [sys.executable, str(script), "--models", *map(str, folders), f"--seed={seed}", "--check"]
    options = [f"--{name}={value}" for name, value in dataclasses.asdict(data).items() if value]
    if folders and subprocess.run([*command, *options]).returncode:
        raise SearchhubError("Every network must load in a fresh process and reach its accuracy there; see above.")
