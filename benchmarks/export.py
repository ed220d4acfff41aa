"""What onnxruntime saves: a network in it beside the same network in torch, on one thread.

    python benchmarks/export.py --networks 5 --batch_size 1

Random architectures of a small mobile space at the size of CIFAR-10, each exported and checked; then both sides take
turns on the same noise, and medians of the rounds count. torch runs eagerly, in inference mode and float32, its weights
in the memory format that is told. `ratio` is onnxruntime's time over torch's: below 1 it is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch

from searchhub import MobileSupernetConfig, MobileSupernetForImageClassification, export_onnx

SIZES = {
    "num_labels": 10,
    "image_size": 32,
    "stem_width": 16,
    "stem_stride": 1,
    "first_width": 16,
    "stage_widths": [24, 32, 64],
    "stage_depths": [2, 3, 3],
    "stage_strides": [1, 2, 2],
    "head_width": 256,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=5, help="how many (default: 5)")
    parser.add_argument("--batch_size", type=int, default=1, help="default: 1")
    parser.add_argument("--threads", type=int, default=1, help="of either (default: 1)")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is timed (default: 7)")
    parser.add_argument("--min_run_time", type=float, default=0.2, help="seconds of each timing (default: 0.2)")
    parser.add_argument(
        "--memory_format",
        choices=["channels_last", "contiguous_format"],
        default="channels_last",
        help="of torch's weights",
    )
    arguments = parser.parse_args()
    torch.manual_seed(0)
    supernet = MobileSupernetForImageClassification(MobileSupernetConfig(**SIZES))
    space = supernet.search_space
    load = os.getloadavg()[0]
    reports = []
    with tempfile.TemporaryDirectory() as folder:
        for i, row in enumerate(space.sample(arguments.networks, np.random.default_rng(0))):
            report = export_onnx(
                supernet.extract(space.decode(row)).to(memory_format=getattr(torch, arguments.memory_format)),
                Path(folder) / f"{i}.onnx",
                batch_size=arguments.batch_size,
                threads=arguments.threads,
                rounds=arguments.rounds,
                min_run_time=arguments.min_run_time,
            )
            reports.append(report)
            print(
                f"{i:3d}  torch {report.torch_ms:8.3f} ms  onnxruntime {report.onnxruntime_ms:8.3f} ms  "
                f"ratio {report.onnxruntime_ms / report.torch_ms:.3f}  largest difference "
                f"{report.max_abs_difference:.1e}"
            )
    ratios = [report.onnxruntime_ms / report.torch_ms for report in reports]
    print(
        f"{reports[0].device}, {os.cpu_count()} CPUs, {arguments.threads} threads, load {load:.1f}; torch "
        f"{reports[0].versions['torch']}, onnxruntime {reports[0].versions['onnxruntime']}; ratios over {len(ratios)} "
        f"networks {min(ratios):.3f} … {max(ratios):.3f}"
    )
    result = {
        "ratio": round(statistics.median(ratios), 4),
        "torch_ms": round(statistics.median(report.torch_ms for report in reports), 4),
        "onnxruntime_ms": round(statistics.median(report.onnxruntime_ms for report in reports), 4),
        "max_abs_difference": max(report.max_abs_difference for report in reports),
        "batch_size": arguments.batch_size,
        "threads": arguments.threads,
        "memory_format": arguments.memory_format,
        "networks": len(ratios),
        "load_average": round(load, 2),
    }
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main()
