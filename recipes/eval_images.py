"""Evaluate published image classifiers on a test split, as anyone would load them.

python recipes/eval_images.py --models runs/quickstart/models/macs-430K --dataset digits
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass, field

from accelerate import Accelerator
from transformers.utils import logging as transformers_logging

from searchhub.errors import SearchhubError
from searchhub.workflows.arguments import ImageDataArguments, option, parse
from searchhub.workflows.evaluation import evaluate_network


@dataclass
class Arguments:
    """The models to evaluate, and how."""

    models: list[str] = field(metadata={"help": "Folders or Hub ids."})
    config: str | None = option(None, "YAML file of these settings. The command line wins over it.")
    batch_size: int = option(256, "Pictures of one forward pass.")
    seed: int = option(0, "Seed of the split, if the data set has no test split of its own.")
    check: bool = option(False, "Fail if a model does not reach the accuracy on its card.")


def main(argv: list[str]) -> None:
    """Print a JSON line a model."""
    args, data = parse((Arguments, ImageDataArguments), argv, __doc__)
    transformers_logging.disable_progress_bar()
    # The model's own processor makes inputs of the pictures as they are, so the task need not know their size.
    task = dataclasses.replace(data, image_size=data.image_size or 1, decode="on_the_fly").task(args.seed)
    accelerator = Accelerator()
    for name in args.models:
        found = evaluate_network(name, task, accelerator, batch_size=args.batch_size, same_names=False)
        print(json.dumps(found.line()), flush=True)
        if args.check:
            found.check()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
