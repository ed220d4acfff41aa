"""Image classification tasks: pictures decoded once, augmented a batch at a time on the device."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import datasets
import numpy as np
import torch
from PIL import Image as PILImage
from torch.nn import functional
from transformers import ViTImageProcessorPil

from searchhub.data.task import Batch, Split, Task
from searchhub.errors import InvalidInputError


@dataclass(frozen=True)
class Augmentation:
    """What is done to training pictures.

    Args:
        crop_padding: Pixels of zero padding before a random crop back to size; 0: no crop.
        flip: Mirror half of the pictures. Not for digits or text.
    """

    crop_padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise InvalidInputError(f"`crop_padding >= 0` must hold, but got {self.crop_padding}.")


class ImageTask(Task):
    """Single-label image classification with all pictures in memory, uint8 [n, 3, size, size].

    Args:
        name: For files and cards.
        splits: "train", "validation" and "test" with an image and a label column.
        image_column: Name of the image column.
        label_column: Name of the label column.
        label_names: Class names.
        image_size: Height and width; other pictures are resized (bilinear).
        augmentation: For training batches.
        image_mean: Per channel, of values in [0, 1].
        image_std: Per channel, of values in [0, 1].
    """

    def __init__(
        self,
        name: str,
        splits: Mapping[str, datasets.Dataset],
        *,
        image_column: str,
        label_column: str,
        label_names: Sequence[str],
        image_size: int,
        augmentation: Augmentation = Augmentation(),
        image_mean: Sequence[float] = (0.5, 0.5, 0.5),
        image_std: Sequence[float] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__(name, label_names, "accuracy")
        if image_size < 1:
            raise InvalidInputError(f"`image_size >= 1` must hold, but got {image_size}.")
        self.image_size = image_size
        self.augmentation = augmentation
        self.image_mean, self.image_std = tuple(image_mean), tuple(image_std)
        _check_memory(name, sum(len(split) for split in splits.values()), image_size)
        self._images: dict[str, torch.Tensor] = {}
        self._labels: dict[str, torch.Tensor] = {}
        for split in ("train", "validation", "test"):
            self._images[split] = decode(splits, split, image_column, image_size, name)
            self._labels[split] = torch.tensor(splits[split][label_column][:], dtype=torch.int64)
            _check_labels(self._labels[split], split, name, self.num_labels)
        for parts in (self._images, self._labels):
            train = len(parts["train"])
            parts["full"] = torch.cat([parts["train"], parts["validation"]])
            parts["train"], parts["validation"] = parts["full"][:train], parts["full"][train:]

    def size(self, split: Split) -> int:
        return len(self._labels[split])

    def batch(self, split: Split, indices: torch.Tensor, *, device: torch.device, seed: int | None = None) -> Batch:
        images = self._images[split][indices].to(device, non_blocking=True)
        if seed is not None:
            images = self._augmented(images, split, indices, seed)
        values = images.float().contiguous(memory_format=torch.channels_last).div_(255.0)
        mean = torch.tensor(self.image_mean, device=device).view(1, -1, 1, 1)
        std = torch.tensor(self.image_std, device=device).view(1, -1, 1, 1)
        return {
            "pixel_values": values.sub_(mean).div_(std),
            "labels": self._labels[split][indices].to(device, non_blocking=True),
        }

    def _augmented(self, images: torch.Tensor, split: Split, indices: torch.Tensor, seed: int) -> torch.Tensor:
        # Drawn for the whole split, so that an example's augmentation does not depend on how batches are shared out.
        generator = torch.Generator().manual_seed(seed)
        padding, n = self.augmentation.crop_padding, self.size(split)
        offsets = torch.randint(0, 2 * padding + 1, (n, 2), generator=generator)[indices].to(images.device)
        mirrored = torch.randint(0, 2, (n,), generator=generator)[indices].to(images.device)
        if padding:
            images = random_crop(images, padding, offsets)
        if self.augmentation.flip:
            images = torch.where(mirrored.bool().view(-1, 1, 1, 1), images.flip(-1), images)
        return images

    def score(self, predictions: torch.Tensor, references: torch.Tensor) -> dict[str, float]:
        return self._metric.compute(predictions=predictions.numpy(), references=references.numpy())

    @cached_property
    def _metric(self):  # type: ignore[no-untyped-def]
        from searchhub.metrics.classification import Accuracy  # evaluate is slow to import

        return Accuracy()

    def fingerprint(self) -> str:
        settings = (self.label_names, self.image_mean, self.image_std, self.augmentation)
        return hashlib.sha256(repr((settings, self._digest)).encode()).hexdigest()[:16]

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for split in ("train", "validation", "test"):
            digest.update(repr(tuple(self._images[split].shape)).encode())
            digest.update(self._images[split].numpy())
            digest.update(self._labels[split].numpy())
        return digest.hexdigest()

    def image_processor(self) -> ViTImageProcessorPil:
        """The preprocessor that makes the same inputs from pictures, to publish beside a model."""
        size = {"height": self.image_size, "width": self.image_size}
        return ViTImageProcessorPil(
            size=size, image_mean=list(self.image_mean), image_std=list(self.image_std), do_convert_rgb=True
        )


def random_crop(images: torch.Tensor, padding: int, offsets: torch.Tensor) -> torch.Tensor:
    """Pad with zeros and cut back to size, each picture at its own place, without a loop over pictures.

    Args:
        images: [n, channels, height, width].
        padding: Pixels on each side.
        offsets: int64 [n, 2], row and column of the cut in 0 … 2 * padding.
    """
    n, _, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)
    rows = offsets[:, :1] + torch.arange(height, device=images.device)
    columns = offsets[:, 1:] + torch.arange(width, device=images.device)
    picture = torch.arange(n, device=images.device).view(n, 1, 1)
    return padded.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


UNREADABLE = (OSError, ValueError, AttributeError, SyntaxError)
"""What PIL raises on files that are broken or no pictures, and a missing picture (None) when it is used."""


def decode(
    splits: Mapping[str, datasets.Dataset], split: str, image_column: str, image_size: int, name: str
) -> torch.Tensor:
    """All pictures of a split as uint8 [n, 3, image_size, image_size], as the image processor makes them.

    Raises:
        InvalidInputError: A picture is missing or cannot be read.
    """
    pictures = np.empty((len(splits[split]), 3, image_size, image_size), dtype=np.uint8)
    done = 0
    try:
        for picture in splits[split][image_column]:
            rgb = _to_rgb(picture)
            if rgb.size != (image_size, image_size):
                rgb = rgb.resize((image_size, image_size), PILImage.Resampling.BILINEAR)
            pictures[done] = np.asarray(rgb).transpose(2, 0, 1)
            done += 1
    except UNREADABLE as error:
        raise unreadable(image_column, split, name, done, error) from error
    return torch.from_numpy(pictures)


def unreadable(image_column: str, split: str, name: str, number: int, error: Exception) -> InvalidInputError:
    """The error of a picture that cannot be read."""
    return InvalidInputError(
        f"Every `{image_column}` of the split `{split}` of `{name}` must be a picture that can be read, but number "
        f"{number} is not: {error}. Mend or drop it."
    )


def _to_rgb(picture: PILImage.Image) -> PILImage.Image:
    """What is transparent becomes white, as transformers' image processors make it."""
    if "A" not in picture.getbands() and picture.info.get("transparency") is None:
        return picture.convert("RGB")
    rgba = picture.convert("RGBA")
    return PILImage.alpha_composite(PILImage.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _check_memory(name: str, pictures: int, image_size: int) -> None:
    # Twice for a moment, while train and validation are joined.
    needed = 2 * pictures * 3 * image_size**2
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > 0.8 * available:
        raise InvalidInputError(
            f"The pictures of a task must fit in memory, but {pictures:,} of `{name}` at {image_size} x {image_size} "
            f"take {needed / 1e9:.0f} GB of {available / 1e9:.0f} GB. Lower `--image_size` or `--max_train_samples`."
        )


def _check_labels(labels: torch.Tensor, split: str, name: str, num_labels: int) -> None:
    if len(labels) == 0:
        raise InvalidInputError(f"The split `{split}` of `{name}` must hold examples, but is empty.")
    if int(labels.min()) < 0 or int(labels.max()) >= num_labels:
        raise InvalidInputError(
            f"Labels of the split `{split}` of `{name}` must be 0 … {num_labels - 1}, but span {int(labels.min())} … "
            f"{int(labels.max())}."
        )
