"""Draws what networks take a few test pictures for, beside the pictures and their masks, for the report of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image as PILImage
from torch.nn import functional
from transformers import PreTrainedModel

from searchhub.data.segmentation import SegmentationTask
from searchhub.files import replacing, write_json
from searchhub.metrics.segmentation import VOID
from searchhub.networks.network import EXAMPLES, EXAMPLES_INDEX
from searchhub.visualization.palette import class_colours

NUMBER = 3
"""How many pictures are drawn at most."""

WIDTH = 384
"""Most pixels of a drawn picture from left to right."""


@torch.no_grad()
def save_examples(
    model: PreTrainedModel, task: SegmentationTask, name: str, run_dir: Path, accelerator: Accelerator
) -> None:
    """Writes pictures of the test split, their masks and what a network takes them for into a run's `EXAMPLES`.

    The pictures lie at equal distances in the split, so they are the same for each network of a run. They are not put
    into a folder that is published.

    Args:
        model: A trained network, on the accelerator's device.
        task: Task that it was trained for.
        name: The network's name.
        run_dir: Folder of the run.
        accelerator: Device and precision.
    """
    size = task.size("test")
    numbers = sorted({round(float(i)) for i in np.linspace(0, size - 1, min(NUMBER, size))})
    colours = task.palette or class_colours(task.num_labels)
    folder = run_dir / EXAMPLES
    model.eval()
    for place, number in enumerate(numbers):
        picture, truth = task.example("test", number)
        inputs = task.batch("test", torch.tensor([number]), device=accelerator.device)
        with accelerator.autocast():
            logits = model(pixel_values=inputs["pixel_values"]).logits.float()
        logits = functional.interpolate(logits, truth.shape, mode="bilinear", align_corners=False)
        said = logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
        width = min(WIDTH, picture.width)
        shown = (width, max(1, round(picture.height * width / picture.width)))
        with replacing(folder / f"{place}-picture.jpg") as file:
            picture.resize(shown).save(file, "JPEG", quality=90)
        for of, classes in (("truth", truth), (f"prediction-{name}", said)):
            with replacing(folder / f"{place}-{of}.png") as file:
                _coloured(classes, colours).resize(shown, PILImage.Resampling.NEAREST).save(file, "PNG", optimize=True)
    classes = [{"name": label, "colour": list(colour)} for label, colour in zip(task.label_names, colours, strict=True)]
    write_json(folder / EXAMPLES_INDEX, {"split": "test", "examples": numbers, "classes": classes})


def _coloured(classes: np.ndarray, colours: list[tuple[int, ...]] | tuple[tuple[int, ...], ...]) -> PILImage.Image:
    """Returns classes [height, width] as a picture of their colours, with void in black."""
    assert len(colours) <= VOID
    picture = PILImage.fromarray(classes, "P")
    picture.putpalette([part for colour in colours for part in colour] + [0] * 3 * (256 - len(colours)))
    return picture
