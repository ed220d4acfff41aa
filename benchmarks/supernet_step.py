"""What training a path of a supernet costs, beside the same network standing alone: a step, and a whole trial.

    python benchmarks/supernet_step.py --architectures 20

Both sides are the same class with the same sizes, prepared by the same accelerator, and take turns, step by step and
trial by trial; figures are CPU-seconds of this process. A whole trial is: build, wrap, one epoch, BatchNorm
re-estimation, validation, and a checkpoint that a killed search could go on from. The standalone network's checkpoint
holds itself and its optimizer; the supernet's holds all candidates. Pictures are noise: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as PILImage
from safetensors.torch import save_file

from searchhub import (
    Architecture,
    ImageTask,
    MobileSupernetConfig,
    MobileSupernetForImageClassification,
    SupernetEvaluator,
    TrainingSettings,
    Trial,
    checkpoints,
    make_accelerator,
)
from searchhub.journal import Mark
from searchhub.training.batches import derive_seed, training_batches
from searchhub.training.loop import predict, reestimate_batch_norm, train_pass
from searchhub.training.windows import SharedOptimizerState


def noise_task(train: int, validation: int, size: int) -> ImageTask:
    """A task of random pictures at the size of CIFAR-10."""
    rng = np.random.default_rng(0)
    features = Features({"image": Image(), "label": ClassLabel(num_classes=10)})

    def split(n: int) -> Dataset:
        pictures = [PILImage.fromarray(p) for p in rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)]
        return Dataset.from_dict({"image": pictures, "label": rng.integers(0, 10, n).tolist()}, features=features)

    splits = DatasetDict(train=split(train), validation=split(validation), test=split(16))
    names = [str(i) for i in range(10)]
    return ImageTask("noise", splits, image_column="image", label_column="label", label_names=names, image_size=size)


class Bench:
    """The two sides, with everything that they share."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.settings = TrainingSettings(batch_size=arguments.batch_size)
        self.accelerator = make_accelerator()
        self.task = noise_task(arguments.batch_size * arguments.steps_per_epoch, 512, 32)
        config = MobileSupernetConfig(
            num_labels=10,
            image_size=32,
            stem_width=16,
            stem_stride=2,
            first_width=8,
            stage_widths=[16, 24, 48],
            stage_depths=[2, 3, 3],
            stage_strides=[2, 2, 1],
            head_width=192,
        )
        self.supernet = MobileSupernetForImageClassification(config)
        self.evaluator = SupernetEvaluator(
            self.supernet, self.task, self.settings, self.accelerator, num_trials=1_000_000
        )
        self.checkpoints = Path(tempfile.mkdtemp())

    def standalone(self, architecture: Architecture) -> torch.nn.Module:
        """The network of an architecture with weights of its own."""
        model = self.supernet.subnet_class(self.supernet.subnet_config(architecture))
        return model.to(memory_format=self.settings.memory_format)

    # -- a step -------------------------------------------------------------------------------------------------------

    def stepper(self, model: torch.nn.Module, architecture: Architecture | None) -> Callable[[], float]:
        """A function that takes one optimizer step and returns its CPU-seconds; with an architecture, on windows."""
        optimizer = self.settings.build_optimizer(model.parameters())
        wrapped, prepared = self.accelerator.prepare(model, optimizer)
        if architecture is not None:
            state = SharedOptimizerState(dict(self.supernet.named_parameters()))
            windows = self.supernet.windows(model, architecture)
            state.lend(optimizer, windows, dict(model.named_parameters()))
        batch = next(iter(training_batches(self.task, "train", self.settings, self.accelerator, 0)))

        def step() -> float:
            started = time.process_time()
            train_pass(
                wrapped, prepared, [batch], self.settings, self.accelerator, first_step=0, total_steps=10, what="bench"
            )
            return time.process_time() - started

        return step

    def step_ratio(self, architecture: Architecture, repeats: int) -> float:
        """CPU-seconds of a window step over those of a standalone step, medians of interleaved steps."""
        window = self.stepper(self.supernet.subnet(architecture), architecture)
        alone = self.stepper(self.standalone(architecture), None)
        times: list[tuple[float, float]] = []
        for i in range(repeats + 2):
            pair = (window(), alone()) if i % 2 else tuple(reversed((alone(), window())))
            times.append(pair)  # type: ignore[arg-type]
        self.accelerator.free_memory()
        return statistics.median(t[0] for t in times[2:]) / statistics.median(t[1] for t in times[2:])

    # -- a whole trial ------------------------------------------------------------------------------------------------

    def window_trial(self, number: int, architecture: Architecture) -> float:
        """CPU-seconds of a trial of the search, with its checkpoint."""
        started = time.process_time()
        list(self.evaluator([Trial(number, architecture)]))
        checkpoints.publish(self.checkpoints / "search", number, {}, self.evaluator.save, Mark(0, ""))
        return time.process_time() - started

    def standalone_trial(self, number: int, architecture: Architecture) -> float:
        """CPU-seconds of the same work on a network of its own."""
        started = time.process_time()
        torch.manual_seed(0)
        model = self.standalone(architecture)
        optimizer = self.settings.build_optimizer(model.parameters())
        wrapped, prepared = self.accelerator.prepare(model, optimizer)
        batches = training_batches(self.task, "train", self.settings, self.accelerator, derive_seed(0, "trial", number))
        train_pass(
            wrapped, prepared, batches, self.settings, self.accelerator, first_step=0, total_steps=10**6, what="bench"
        )
        self.accelerator.free_memory()
        reestimate_batch_norm(model, self.task, "train", self.settings, self.accelerator, batches=8)
        self.task.score(*predict(model, self.task, "validation", self.settings.eval_batch_size, self.accelerator))

        def save(folder: Path) -> None:
            state = {n: p.data.contiguous() for n, p in model.named_parameters()}
            save_file(state, folder / "model.safetensors")
            moments = {str(i): s["momentum_buffer"].contiguous() for i, s in enumerate(optimizer.state.values())}
            save_file(moments, folder / "optimizer.safetensors")

        checkpoints.publish(self.checkpoints / "alone", number, {}, save, Mark(0, ""))
        return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", type=int, default=20, help="how many (default: 20)")
    parser.add_argument("--steps", type=int, default=8, help="timed steps of each (default: 8)")
    parser.add_argument("--steps_per_epoch", type=int, default=40, help="length of a trial's epoch (default: 40)")
    parser.add_argument("--batch_size", type=int, default=64, help="default: 64")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    gc.freeze()
    rows = bench.supernet.search_space.sample(arguments.architectures, np.random.default_rng(0))
    steps, trials = [], []
    for i, row in enumerate(rows):
        architecture = bench.supernet.search_space.decode(row)
        steps.append(bench.step_ratio(architecture, arguments.steps))
        first, second = (bench.window_trial, bench.standalone_trial)[:: 1 if i % 2 else -1]
        one, other = first(i, architecture), second(i, architecture)
        window, alone = (one, other) if i % 2 else (other, one)
        trials.append(window / alone)
        print(f"{i:3d}  step {steps[-1]:.3f}  trial {trials[-1]:.3f}  ({window:.2f} s against {alone:.2f} s)")
    print(
        f"{os.cpu_count()} CPUs, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}; ratios over "
        f"{len(steps)} architectures: step {min(steps):.3f} … {max(steps):.3f}, trial {min(trials):.3f} … "
        f"{max(trials):.3f}"
    )
    result = {
        "ratio": round(statistics.median(steps), 4),
        "trial_ratio": round(statistics.median(trials), 4),
        "architectures": len(steps),
        "steps_per_epoch": arguments.steps_per_epoch,
    }
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main()
