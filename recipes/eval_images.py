"""Evaluate published image classifiers on a test split, as anyone would load them.

python recipes/eval_images.py --models runs/quickstart/models/macs-430K --dataset digits
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification
from transformers.utils import logging as transformers_logging

import searchhub  # noqa: F401  (makes the Auto classes know searched models)
from searchhub.errors import InvalidInputError, SearchhubError
from searchhub.metrics.classification import Accuracy
from searchhub.networks.network import read_facts
from searchhub.workflows.arguments import ImageDataArguments, option, parse


@dataclass
class Arguments:
    """What to evaluate."""

    models: list[str] = field(metadata={"help": "Folders or Hub ids."})
    config: str | None = option(None, "YAML file of these settings; the command line wins.")
    batch_size: int = option(256, "Pictures of one forward pass.")
    seed: int = option(0, "Of the split, where the data set has no test split of its own.")
    check: bool = option(False, "Fail where a model does not reach the accuracy on its card.")


@torch.no_grad()
def accuracy(name: str, pictures: Sequence, labels: list[int], batch_size: int) -> float:
    """Test accuracy of a published model, through its own preprocessor; `pictures` may decode when they are sliced."""
    processor = AutoImageProcessor.from_pretrained(name)
    model = AutoModelForImageClassification.from_pretrained(name).eval()
    predictions: list[int] = []
    for i in range(0, len(pictures), batch_size):
        inputs = processor(pictures[i : i + batch_size], return_tensors="pt")
        predictions += model(**inputs).logits.argmax(-1).tolist()
    return Accuracy().compute(predictions=predictions, references=labels)["accuracy"]


def main(argv: list[str]) -> None:
    """Print a JSON line a model."""
    args, data = parse((Arguments, ImageDataArguments), argv, __doc__)
    transformers_logging.disable_progress_bar()
    source = data.splits(args.seed)
    pictures = source.splits["test"][source.image_column]
    labels = source.splits["test"][source.label_column][:]
    for name in args.models:
        value = accuracy(name, pictures, labels, args.batch_size)
        row = {"model": Path(name).name, "accuracy": round(value, 4), "split": "test", "examples": len(labels)}
        print(json.dumps(row), flush=True)
        facts = read_facts(name) if args.check else None
        # A picture on the edge may fall the other way: sums round differently in batches of another size.
        if facts is not None and abs(facts["metrics"]["accuracy"] - value) > 1.5 / len(labels):
            raise InvalidInputError(
                f"`{name}` must reach the {facts['metrics']['accuracy']:.4f} on its card, but reached {value:.4f}."
            )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
