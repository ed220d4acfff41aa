"""The peak of memory while masks are scored: of few pictures, and of ten times as many.

    python benchmarks/segmentation_memory.py

What evaluation keeps of a picture is its part of a confusion matrix, so both are alike; with all outputs kept, as for
classes, the larger one would take as much more as the last line says. Each reading is a process of its own, in which
glibc gives large blocks back at once (`MALLOC_MMAP_THRESHOLD_`): by default it keeps some hundred MB of freed blocks,
which a peak would count. Ends with a line `RESULT {json}`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset, Features, Image
from PIL import Image as PILImage
from torch import nn

from searchhub.data.segmentation import SegmentationTask
from searchhub.training.loop import evaluate

CLASSES = 19


class Segmenter(nn.Module):
    """A convolution of stride 8 and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 16, 9, stride=8, padding=4), nn.ReLU(), nn.Conv2d(16, CLASSES, 1))

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.layers(pixel_values))


def png(pixels: np.ndarray) -> dict[str, object]:
    file = io.BytesIO()
    PILImage.fromarray(pixels).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def made_task(pictures: int, height: int, width: int) -> SegmentationTask:
    """A task whose test split has so many pictures of coloured blocks, each block a class."""
    rng = np.random.default_rng(0)
    block = np.ones((height // 8, width // 8), dtype=np.uint8)
    masks = [np.kron(rng.integers(0, CLASSES, (8, 8), dtype=np.uint8), block) for _ in range(pictures)]
    columns = {"image": [png(np.stack([m * 12, m, 255 - m], -1)) for m in masks], "mask": [png(m) for m in masks]}
    test = Dataset.from_dict(columns, features=Features({"image": Image(), "mask": Image()}))
    few = test.select(range(1))
    return SegmentationTask(
        "blocks",
        {"train": few, "validation": few, "test": test},
        image_column="image",
        mask_column="mask",
        label_names=[str(i) for i in range(CLASSES)],
        image_size=(height, width),
        workers=1,
    )


def peak() -> float:
    """The most memory that this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read(pictures: int, args: argparse.Namespace) -> dict[str, float]:
    """What scoring so many pictures adds to a process that has scored one batch, and how long it takes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, accelerator = Segmenter(), Accelerator(cpu=True)
    evaluate(model, made_task(args.batch_size, args.height, args.width), "test", args.batch_size, accelerator)
    task = made_task(pictures, args.height, args.width)
    before, started = peak(), time.perf_counter()
    evaluate(model, task, "test", args.batch_size, accelerator)
    seconds = time.perf_counter() - started
    return {"peak_mb": peak(), "added_mb": peak() - before, "ms_a_picture": 1000 * seconds / pictures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=50, help="the other reading has ten times as many")
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--read", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        print(json.dumps(read(args.read, args)))
        return
    sizes = [f"--{name}={getattr(args, name)}" for name in ("height", "width", "batch_size")]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    found = {}
    for pictures in (args.pictures, 10 * args.pictures):
        command = [sys.executable, __file__, f"--read={pictures}", *sizes]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        found[pictures] = json.loads(done.stdout.splitlines()[-1])
        print(pictures, "pictures:", ", ".join(f"{name} {value:.0f}" for name, value in found[pictures].items()))
    few, many = found.values()
    whole = 9 * args.pictures * args.height * args.width * CLASSES * 4 / 2**20
    print(f"All outputs at the masks' size would take {whole:,.0f} MB more for the larger one.")
    result = {
        "pictures": list(found),
        "peak_mb": [round(of["peak_mb"]) for of in found.values()],
        "added_mb": [round(of["added_mb"]) for of in found.values()],
        "ratio": round(many["peak_mb"] / few["peak_mb"], 2),
        "outputs_mb": round(whole),
    }
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main()
