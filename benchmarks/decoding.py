"""Pictures a second that come out of JPEG files of 500 x 375 for training at 224: one thread, and several.

    python benchmarks/decoding.py --workers 2

Each reading decodes batches of random parts (`Augmentation(crop_area=0.08)`); readings of one and of several threads
take turns, and the medians are compared. Ends with a line `RESULT {json}`.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time

import datasets
import numpy as np
import torch
from datasets import ClassLabel, Image
from PIL import Image as PILImage

from searchhub.data.images import Augmentation, ImageTask


def pictures(n: int) -> list[bytes]:
    """JPEG files that are about as large as ImageNet's: smooth shapes and some noise."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(n):
        smooth = PILImage.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((500, 375), 3)
        noisy = np.asarray(smooth) + rng.normal(0, 12, (375, 500, 3))
        file = io.BytesIO()
        PILImage.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def speed(task: ImageTask, batches: int, size: int, seed: int) -> float:
    """Pictures a second."""
    order = torch.randperm(task.size("train"), generator=torch.Generator().manual_seed(seed)).repeat(batches)
    started = time.perf_counter()
    for i in range(batches):
        task._pictures.read("train", order[i * size : (i + 1) * size], crop_area=0.08, seed=seed)
    return batches * size / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=2, help="of a reading")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    files = pictures(args.pictures)
    features = datasets.Features({"image": Image(), "label": ClassLabel(names=["a"])})
    column = [{"bytes": file, "path": None} for file in files]
    split = datasets.Dataset.from_dict({"image": column, "label": [0] * len(files)}, features=features)
    tasks = {
        workers: ImageTask(
            "noise",
            dict.fromkeys(("train", "validation", "test"), split),
            image_column="image",
            label_column="label",
            label_names=["a"],
            image_size=224,
            augmentation=Augmentation(crop_area=0.08, flip=True),
            workers=workers,
        )
        for workers in (1, args.workers)
    }
    for task in tasks.values():
        speed(task, 1, args.batch_size, seed=0)
    seen: dict[int, list[float]] = {workers: [] for workers in tasks}
    for repeat in range(args.repeats):
        for workers, task in tasks.items():
            seen[workers].append(speed(task, args.batches, args.batch_size, seed=repeat))
    one, several = (statistics.median(seen[workers]) for workers in tasks)
    kilobytes = statistics.mean(map(len, files)) / 1e3
    print(f"JPEG of 500 x 375, {kilobytes:.0f} KB: {one:.0f} a second on 1 thread, {several:.0f} on {args.workers}")
    result = {"pictures_per_second": round(one), "workers": args.workers, "ratio": round(several / one, 2)}
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main()
