"""What training paths of a supernet costs, beside the same networks standing alone: a step, and a whole trial.

    python benchmarks/supernet_step.py --architectures 20
    python benchmarks/supernet_step.py --space darts        # or nasbench201, segmentation
    python benchmarks/supernet_step.py --paths trial        # one path a trial, as in the paper

Both sides are the same class with the same sizes, prepared by the same accelerator, and take turns, step by step and
trial by trial; figures are CPU-seconds of this process. A whole trial is: build, wrap, one epoch, BatchNorm
re-estimation, validation, and a checkpoint that a killed search could go on from. The standalone network's checkpoint
holds itself and its optimizer; the supernet's holds all candidates. Pictures are noise: speed does not depend on them.

Where paths change every step ("fresh"), a step's ratio is of whole sums: it includes making each module once, at its
first use, which a search of thousands of steps does not notice. A trial's ratio is that of a whole proposal, with one
checkpoint, to as many trainings alone. `scores` compares architectures that are scored without training, BatchNorm
measured anew, with bare inference on batches that lie ready: as many pictures through a model that is there. Tasks of
segmentation decode pictures and masks each time, which trials and scores pay for.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as PILImage
from safetensors.torch import save_file

from searchhub import (
    Architecture,
    DartsSupernetConfig,
    DartsSupernetForImageClassification,
    ImageTask,
    MobileSupernetConfig,
    MobileSupernetForImageClassification,
    MobileSupernetForSemanticSegmentation,
    NasBench201SupernetConfig,
    NasBench201SupernetForImageClassification,
    SupernetEvaluator,
    TrainingSettings,
    Trial,
    checkpoints,
    make_accelerator,
)
from searchhub.data.segmentation import SegmentationTask
from searchhub.data.task import Task
from searchhub.evaluators.supernet import Paths
from searchhub.journal import Mark
from searchhub.models.supernet import Supernet
from searchhub.training.batches import derive_seed, evaluation_batches, training_batches
from searchhub.training.loop import evaluate, reestimate_batch_norm, train_pass
from searchhub.training.shared import SharedWeights
from searchhub.training.windows import SharedOptimizerState
from searchhub.trial import SCORED, SCORING

PAIR_SIZE = (64, 96)
"""Height and width of pictures with masks."""


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


def noise_pairs(train: int, validation: int) -> SegmentationTask:
    """A task of random pictures of 64 x 96 and random masks."""
    rng = np.random.default_rng(0)
    features = Features({"image": Image(), "mask": Image()})

    def split(n: int) -> Dataset:
        pictures = rng.integers(0, 256, (n, *PAIR_SIZE, 3), dtype=np.uint8)
        masks = rng.integers(0, 10, (n, *PAIR_SIZE), dtype=np.uint8)
        columns = {"image": list(map(PILImage.fromarray, pictures)), "mask": list(map(PILImage.fromarray, masks))}
        return Dataset.from_dict(columns, features=features)

    splits = {"train": split(train), "validation": split(validation), "test": split(1)}
    names = [str(i) for i in range(10)]
    columns = {"image_column": "image", "mask_column": "mask"}
    return SegmentationTask("noise", splits, label_names=names, image_size=PAIR_SIZE, workers=1, **columns)


def supernet_of(space: str) -> Supernet:
    """A supernet for 32 x 32 pictures, for segmentation for 64 x 96; for DARTS the 6 cells of 16 channels of DDPNAS."""
    if space == "darts":
        return DartsSupernetForImageClassification(DartsSupernetConfig(num_labels=10))
    if space == "nasbench201":
        return NasBench201SupernetForImageClassification(NasBench201SupernetConfig(num_labels=10))
    sizes = {
        "num_labels": 10,
        "stem_width": 16,
        "stem_stride": 2,
        "first_width": 8,
        "stage_widths": [16, 24, 48],
        "stage_depths": [2, 3, 3],
        "stage_strides": [2, 2, 1],
    }
    if space == "segmentation":
        head = {"image_size": list(PAIR_SIZE), "aspp_width": 64, "aspp_separable": True}
        return MobileSupernetForSemanticSegmentation(MobileSupernetConfig(**sizes, **head))
    return MobileSupernetForImageClassification(MobileSupernetConfig(**sizes, image_size=32, head_width=192))


class Bench:
    """The two sides, with everything that they share.

    Args:
        supernet: Whose architectures.
        task: What they train for.
        settings: How.
    """

    def __init__(self, supernet: Supernet, task: Task, settings: TrainingSettings, paths: Paths = "trial") -> None:
        self.supernet, self.task, self.settings, self.paths = supernet, task, settings, paths
        self.accelerator = make_accelerator()
        self.evaluator = SupernetEvaluator(
            supernet, task, settings, self.accelerator, num_trials=1_000_000, paths=paths
        )
        self._folder = tempfile.TemporaryDirectory()
        self.checkpoints = Path(self._folder.name)

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

    def fresh_ratio(self, architectures: Sequence[Architecture], repeats: int) -> float:
        """CPU-seconds of steps that each take another path, over those of the same networks' steps standing alone."""
        batch = next(iter(training_batches(self.task, "train", self.settings, self.accelerator, 0)))
        alone = [self.stepper(self.standalone(architecture), None) for architecture in architectures]
        for step in alone:
            step()
        state = SharedOptimizerState(dict(self.supernet.named_parameters()))
        shared = SharedWeights(self.supernet, self.settings, self.accelerator, state)
        spent = np.zeros(2)
        with shared:
            for i in range(repeats):
                for j, architecture in enumerate(architectures):
                    for side in (0, 1) if (i + j) % 2 else (1, 0):
                        started = time.process_time()
                        if side:
                            alone[j]()
                        else:
                            shared.step([architecture], batch, self.settings.learning_rate)
                        spent[side] += time.process_time() - started
        self.accelerator.free_memory()
        return float(spent[0] / spent[1])

    def proposal_ratio(self, architectures: Sequence[Architecture]) -> float:
        """CPU-seconds of a proposal with its checkpoint, over those of the same trials of networks of their own."""
        started = time.process_time()
        list(self.evaluator([Trial(i, architecture) for i, architecture in enumerate(architectures)]))
        last = len(architectures) - 1
        checkpoints.publish(self.checkpoints / "search", last, {}, self.evaluator.save, Mark(0, ""))
        together = time.process_time() - started
        return together / sum(self.standalone_trial(i, architecture) for i, architecture in enumerate(architectures))

    def score_ratio(self, architectures: Sequence[Architecture]) -> tuple[float, float]:
        """CPU-seconds of scores without training over those of bare inference; and architectures a second."""
        ready = [
            [batch["pixel_values"] for batch in evaluation_batches(self.task, split, size, self.accelerator)]
            for split, size in (("train", self.settings.batch_size), ("validation", self.settings.eval_batch_size))
        ]
        measured = [*ready[0][: self.evaluator.batch_norm_batches], *ready[1]]
        list(self.evaluator([Trial(10**5 + i, a, SCORED, SCORING) for i, a in enumerate(architectures[:2])]))
        spent = np.zeros(2)
        for i, architecture in enumerate(architectures):
            model = self.standalone(architecture).eval()
            for side in (0, 1) if i % 2 else (1, 0):
                started = time.process_time()
                if side:
                    with torch.no_grad():
                        for pictures in measured:
                            model(pixel_values=pictures)
                else:
                    list(self.evaluator([Trial(10**6 + i, architecture, SCORED, SCORING)]))
                spent[side] += time.process_time() - started
        return float(spent[0] / spent[1]), len(architectures) / float(spent[0])

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
        evaluate(model, self.task, "validation", self.settings.eval_batch_size, self.accelerator)

        def save(folder: Path) -> None:
            state = {n: p.data.contiguous() for n, p in model.named_parameters()}
            save_file(state, folder / "model.safetensors")
            moments = {f"{i}|{k}": t.contiguous() for i, s in enumerate(optimizer.state.values()) for k, t in s.items()}
            save_file(moments, folder / "optimizer.safetensors")

        checkpoints.publish(self.checkpoints / "alone", number, {}, save, Mark(0, ""))
        return time.process_time() - started

    def compare(self, architectures: Mapping[str, Architecture], steps: int) -> dict[str, Any]:
        """Print the ratios of each architecture, by its name; returns the figures of all."""
        labels = torch.zeros(2, dtype=torch.int64)
        self.task.score(labels, labels)  # the metric is imported at its first use
        gc.freeze()
        of_steps, of_trials = [], []
        for i, (name, architecture) in enumerate(architectures.items()):
            of_steps.append(self.step_ratio(architecture, steps))
            first, second = (self.window_trial, self.standalone_trial)[:: 1 if i % 2 else -1]
            one, other = first(i, architecture), second(i, architecture)
            window, alone = (one, other) if i % 2 else (other, one)
            of_trials.append(window / alone)
            print(
                f"{name:>9}  step {of_steps[-1]:.3f}  trial {of_trials[-1]:.3f}  "
                f"({window:.2f} s against {alone:.2f} s)",
                flush=True,
            )
        print(
            f"{os.cpu_count()} CPUs, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}; ratios over "
            f"{len(of_steps)} architectures: step {min(of_steps):.3f} … {max(of_steps):.3f}, trial "
            f"{min(of_trials):.3f} … {max(of_trials):.3f}"
        )
        return {
            "ratio": round(statistics.median(of_steps), 4),
            "trial_ratio": round(statistics.median(of_trials), 4),
            "architectures": len(of_steps),
        }

    def compare_fresh(self, architectures: Sequence[Architecture], steps: int) -> dict[str, Any]:
        """Print and return the ratios where paths change every step."""
        labels = torch.zeros(2, dtype=torch.int64)
        self.task.score(labels, labels)
        gc.freeze()
        score, speed = self.score_ratio(architectures)
        step, trial = self.fresh_ratio(architectures, steps), self.proposal_ratio(architectures)
        print(
            f"{os.cpu_count()} CPUs, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}; "
            f"{len(architectures)} architectures: step {step:.3f}, trial {trial:.3f}, scores {score:.3f} "
            f"({speed:.1f} architectures a CPU-second)"
        )
        return {
            "ratio": round(step, 4),
            "trial_ratio": round(trial, 4),
            "score_ratio": round(score, 4),
            "architectures_per_second": round(speed, 2),
            "architectures": len(architectures),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    spaces = ["mobile", "nasbench201", "darts", "segmentation"]
    parser.add_argument("--space", choices=spaces, default="mobile", help="default: mobile")
    parser.add_argument("--paths", choices=["fresh", "trial"], default="fresh", help="default: fresh")
    parser.add_argument("--architectures", type=int, default=20, help="how many (default: 20)")
    parser.add_argument("--steps", type=int, default=8, help="timed steps of each (default: 8)")
    parser.add_argument("--steps_per_epoch", type=int, default=40, help="length of a trial's epoch (default: 40)")
    parser.add_argument("--batch_size", type=int, default=64, help="default: 64")
    arguments = parser.parse_args()
    supernet = supernet_of(arguments.space)
    examples = arguments.batch_size * arguments.steps_per_epoch
    task = noise_pairs(examples, 128) if arguments.space == "segmentation" else noise_task(examples, 512, 32)
    bench = Bench(supernet, task, TrainingSettings(batch_size=arguments.batch_size), arguments.paths)
    space = supernet.search_space
    rows = space.sample(arguments.architectures, np.random.default_rng(0))
    architectures = [space.decode(row) for row in rows]
    if arguments.paths == "trial":
        figures = bench.compare({str(i): a for i, a in enumerate(architectures)}, arguments.steps)
    else:
        figures = bench.compare_fresh(architectures, arguments.steps)
    settings = {"space": arguments.space, "paths": arguments.paths, "steps_per_epoch": arguments.steps_per_epoch}
    print("RESULT", json.dumps({**settings, **figures}))


if __name__ == "__main__":
    main()
