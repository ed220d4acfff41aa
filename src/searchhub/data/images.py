"""Image classification tasks: pictures are decoded once or a batch at a time, and augmented on the device."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import datasets
import torch
from torch.nn import functional
from transformers import ViTImageProcessorPil

from searchhub.data.encoded import DecodedPictures, EncodedPictures, MemoryPictures, Pictures
from searchhub.data.pictures import shorter_side
from searchhub.data.processed import ProcessedPictures
from searchhub.data.splits import check_labels
from searchhub.data.task import Batch, Split, Task
from searchhub.errors import InvalidInputError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of each channel, for values in [0, 1], with which most networks for ImageNet are trained."""

Decode = Literal["memory", "on_the_fly"]


@dataclass(frozen=True)
class Augmentation:
    """Random changes to training pictures.

    Args:
        crop_padding: Number of pixels of zero padding before a random crop back to size. 0: no crop.
        flip: Whether half of the pictures are mirrored. Leave it off for digits or text.
        crop_area: Least share of a picture's area, in (0, 1], that a random part covers; the part is resized to size
            (torchvision's `RandomResizedCrop`; 0.08 for ImageNet). None: whole pictures are used.
        cutout: Side in pixels of a square at a random place that is set to the mean, as far as it lies in the picture
            (DeVries and Taylor 2017; 16 for CIFAR). 0: no square.
    """

    crop_padding: int = 0
    flip: bool = False
    crop_area: float | None = None
    cutout: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        if self.cutout < 0:
            raise InvalidInputError(f"`cutout >= 0` must hold, but got {self.cutout}.")
        if self.crop_padding < 0:
            raise InvalidInputError(f"`crop_padding >= 0` must hold, but got {self.crop_padding}.")
        if self.crop_area is not None and not 0 < self.crop_area <= 1:
            raise InvalidInputError(f"`crop_area` must be in (0, 1], but is {self.crop_area}.")
        if self.crop_area is not None and self.crop_padding:
            raise InvalidInputError(
                f"Pictures are cropped with `crop_padding` or with `crop_area`, but got {self.crop_padding} and "
                f"{self.crop_area}. Drop one."
            )


class ImageTask(Task):
    """Single-label image classification.

    Pictures, uint8 [n, 3, size, size], are decoded once and kept in memory, or decoded again for each batch by threads
    that work ahead of the training. Batches are the same to the bit, so only the time differs.

    Args:
        name: Name of the task for files and cards.
        splits: "train", "validation" and "test" with an image and a label column.
        image_column: Name of the image column.
        label_column: Name of the label column.
        label_names: Class names.
        image_size: Height and width; other pictures are resized (bilinear).
        augmentation: How training pictures are changed.
        center_crop: How pictures that are not square are cut: resize the shorter side to `image_size / center_crop` and
            take the middle (0.875 for ImageNet). None: resize the whole picture to a square.
        image_mean: Mean of each channel, for values in [0, 1].
        image_std: Deviation of each channel, for values in [0, 1].
        decode: "memory" or "on_the_fly". None: in memory if that takes no more than half of it and whole pictures are
            trained on.
        workers: Number of threads that decode. None: as many as this process has cores.
        source: What loads the task again, see `Task`.
        own_splits: The data set's own names of the splits, see `Task`.
        notes: What was decided about the data, see `Task`.

    Raises:
        InvalidInputError: A label, or a picture that is decoded now, is wrong; or the pictures do not fit in memory.
    """

    pipeline_tag = "image-classification"
    auto_class = "AutoModelForImageClassification"
    processor_class = "AutoImageProcessor"
    augmented = True

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
        center_crop: float | None = None,
        image_mean: Sequence[float] = (0.5, 0.5, 0.5),
        image_std: Sequence[float] = (0.5, 0.5, 0.5),
        decode: Decode | None = None,
        workers: int | None = None,
        source: Mapping[str, Any] | None = None,
        own_splits: Mapping[str, str] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(name, label_names, "accuracy", source, own_splits)
        self.notes = tuple(notes)
        if image_size < 1:
            raise InvalidInputError(f"`image_size >= 1` must hold, but got {image_size}.")
        if center_crop is not None and not 0 < center_crop <= 1:
            raise InvalidInputError(f"`center_crop` must be in (0, 1], but is {center_crop}.")
        if decode not in ("memory", "on_the_fly", None):
            raise InvalidInputError(f'`decode` must be "memory" or "on_the_fly", but is {decode!r}.')
        if workers is not None and workers < 1:
            raise InvalidInputError(f"`workers >= 1` must hold, but got {workers}.")
        self.image_size, self.center_crop = image_size, center_crop
        self.image_mean, self.image_std = tuple(image_mean), tuple(image_std)
        self._labels = _labels(splits, label_column, name, self.num_labels)
        if decode is None:
            fits = _share_of_memory(len(self._labels["full"]) + len(self._labels["test"]), image_size) <= 0.5
            decode = "memory" if fits and augmentation.crop_area is None else "on_the_fly"
        if decode == "memory":
            _check_memory(name, len(self._labels["full"]) + len(self._labels["test"]), image_size)
        self.decode: Decode = decode
        self.augmentation = augmentation
        files = {split: EncodedPictures(splits[split], image_column) for split in ("train", "validation", "test")}
        self._decoded = DecodedPictures(name, files, image_size, center_crop, workers)
        self._pictures: Pictures = MemoryPictures(self._decoded) if decode == "memory" else self._decoded
        self._drawn: tuple[Any, ...] = ()

    @property
    def augmentation(self) -> Augmentation:
        """Random changes to training pictures. This can be set.

        Raises:
            InvalidInputError: Random parts are asked for, but the pictures are in memory, whole.
        """
        return self._augmentation

    @augmentation.setter
    def augmentation(self, augmentation: Augmentation) -> None:
        if augmentation.crop_area is not None and self.decode == "memory":
            raise InvalidInputError(
                '`crop_area` cuts parts out of encoded pictures, but `decode` is "memory". Let it be "on_the_fly".'
            )
        self._augmentation = augmentation
        if self.source:
            self.source["augmentation"] = asdict(augmentation)

    def with_augmentation(self, **changes: Any) -> ImageTask:
        """Returns the same task, on the same pictures in memory, with other fields of its augmentation."""
        other = copy.copy(self)
        other.source = dict(self.source)
        other.augmentation = replace(self.augmentation, **changes)
        return other

    def size(self, split: Split) -> int:
        return len(self._labels[split])

    def batch(self, split: Split, indices: torch.Tensor, *, device: torch.device, seed: int | None = None) -> Batch:
        images = self._pictures.read(split, indices, crop_area=self._crop_area(seed), seed=seed)
        images = images.to(device, non_blocking=True)
        if seed is not None:
            images = self._augmented(images, split, indices, seed)
        values = normalized(images, self.image_mean, self.image_std)
        if seed is not None and self.augmentation.cutout:
            values = cutout(values, self.augmentation.cutout, self._draws(split, seed)[2][indices])
        return {
            "pixel_values": values,
            "labels": self._labels[split][indices].to(device, non_blocking=True),
        }

    def labels(self, split: Split) -> torch.Tensor:
        return self._labels[split]

    def repeated(self, split: Split, others: Sequence[Split]) -> int:
        return self._decoded.repeated(split, others)

    def prefetch(self, split: Split, batches: Sequence[torch.Tensor], *, seed: int | None = None) -> None:
        """Announces which batches come next, so that they are decoded meanwhile. It replaces earlier announcements."""
        self._pictures.prefetch(split, batches, crop_area=self._crop_area(seed), seed=seed)

    def _crop_area(self, seed: int | None) -> float | None:
        return None if seed is None else self.augmentation.crop_area

    def _augmented(self, images: torch.Tensor, split: Split, indices: torch.Tensor, seed: int) -> torch.Tensor:
        offsets, mirrored = (drawn[indices].to(images.device) for drawn in self._draws(split, seed)[:2])
        if self.augmentation.crop_padding:
            images = random_crop(images, self.augmentation.crop_padding, offsets)
        if self.augmentation.flip:
            images = torch.where(mirrored.bool().view(-1, 1, 1, 1), images.flip(-1), images)
        return images

    def _draws(self, split: Split, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # The numbers are drawn for the whole split, so that an example's augmentation does not depend on how batches
        # are shared out. A pass over a split asks with the same seed again and again.
        key, n = (split, seed, self.augmentation.crop_padding), self.size(split)
        if self._drawn[:1] != (key,):
            generator = torch.Generator().manual_seed(seed)
            offsets = torch.randint(0, 2 * self.augmentation.crop_padding + 1, (n, 2), generator=generator)
            mirrored = torch.randint(0, 2, (n,), generator=generator)
            centres = torch.randint(0, self.image_size, (n, 2), generator=generator)  # last: others are as without
            self._drawn = (key, offsets, mirrored, centres)
        return self._drawn[1], self._drawn[2], self._drawn[3]

    def score(self, predictions: torch.Tensor, references: torch.Tensor) -> dict[str, float]:
        return self._metric.compute(predictions=predictions.numpy(), references=references.numpy())

    @cached_property
    def _metric(self):  # type: ignore[no-untyped-def]
        from searchhub.metrics.classification import Accuracy  # evaluate is slow to import

        return Accuracy()

    def fingerprint(self) -> str:
        """Returns a hash of settings, class names, labels and encoded pictures, in order, wherever they are kept.

        For each picture it covers the length of its file and the last 4 KiB: reading all of ImageNet would take too
        long. In compressed pictures a change elsewhere is still noticed, because it changes the length or what follows
        it. Names and times of files do not count.
        """
        sizes = (self.image_size, self.center_crop)
        settings: tuple[Any, ...] = (self.label_names, self.image_mean, self.image_std, sizes, self.augmentation)
        if self.augmentation.cutout:  # not in the augmentation's repr, so that hashes without it stay what they were
            settings = (*settings, self.augmentation.cutout)
        return hashlib.sha256(repr((settings, self._digest)).encode()).hexdigest()[:16]

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(self._decoded.digest())
        for split in ("train", "validation", "test"):
            digest.update(self._labels[split].numpy())
        return digest.hexdigest()

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (3, self.image_size, self.image_size)

    def processor(self) -> ViTImageProcessorPil:
        """Returns the preprocessor that makes the same inputs from pictures, to publish beside a model."""
        square = {"height": self.image_size, "width": self.image_size}
        common = {"image_mean": list(self.image_mean), "image_std": list(self.image_std), "do_convert_rgb": True}
        if self.center_crop is None:
            return ViTImageProcessorPil(size=square, **common)
        size = {"shortest_edge": shorter_side(self.image_size, self.center_crop)}
        return ViTImageProcessorPil(size=size, default_to_square=False, do_center_crop=True, crop_size=square, **common)

    def processed_by(self, folder: Path) -> ProcessedPictures:
        return ProcessedPictures(self, self._decoded.files, folder, lambda split, indices: self._labels[split][indices])


def normalized(images: torch.Tensor, image_mean: Sequence[float], image_std: Sequence[float]) -> torch.Tensor:
    """Returns inputs of a network, float32 in channels-last memory, from pictures, uint8 [n, 3, height, width]."""
    values = images.float().contiguous(memory_format=torch.channels_last).div_(255.0)
    mean = torch.tensor(image_mean, device=images.device).view(1, -1, 1, 1)
    std = torch.tensor(image_std, device=images.device).view(1, -1, 1, 1)
    return values.sub_(mean).div_(std)


def random_crop(images: torch.Tensor, padding: int, offsets: torch.Tensor) -> torch.Tensor:
    """Pads pictures with zeros and cuts them back to size, each at its own place, without a loop over pictures.

    Args:
        images: Pictures [n, channels, height, width].
        padding: Number of pixels on each side.
        offsets: Row and column of the cut, int64 [n, 2] in 0 … 2 * padding.
    """
    n, _, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)
    rows = offsets[:, :1] + torch.arange(height, device=images.device)
    columns = offsets[:, 1:] + torch.arange(width, device=images.device)
    picture = torch.arange(n, device=images.device).view(n, 1, 1)
    return padded.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cutout(images: torch.Tensor, size: int, centres: torch.Tensor) -> torch.Tensor:
    """Sets a square of each picture to zero, as far as the square lies in the picture.

    Args:
        images: Normalized pictures [n, channels, height, width].
        size: Side in pixels; the square starts `size // 2` before its centre.
        centres: Row and column of each centre, int64 [n, 2].
    """
    starts = (centres - size // 2).to(images.device)
    rows, columns = (torch.arange(length, device=images.device) for length in images.shape[-2:])
    in_rows = (rows >= starts[:, :1]) & (rows < starts[:, :1] + size)
    in_columns = (columns >= starts[:, 1:]) & (columns < starts[:, 1:] + size)
    return images.masked_fill((in_rows[:, :, None] & in_columns[:, None, :]).unsqueeze(1), 0.0)


def _labels(
    splits: Mapping[str, datasets.Dataset], label_column: str, name: str, num_labels: int
) -> dict[str, torch.Tensor]:
    """Returns the labels of each split, int64 [n]."""
    labels = {}
    for split in ("train", "validation", "test"):
        labels[split] = torch.tensor(splits[split][label_column][:], dtype=torch.int64)
        check_labels(labels[split], split, name, num_labels)
    return {**labels, "full": torch.cat([labels["train"], labels["validation"]])}


def _share_of_memory(pictures: int, image_size: int) -> float:
    """Returns the share of this machine's memory that the copies of all processes on it would take."""
    needed = pictures * 3 * image_size**2 * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return needed / (os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _check_memory(name: str, pictures: int, image_size: int) -> None:
    share = _share_of_memory(pictures, image_size)
    if share > 0.8:
        raise InvalidInputError(
            f"Pictures that are decoded to memory must fit in it, but {pictures:,} of `{name}` at {image_size} x "
            f"{image_size}, in each process, take {share:.1f} times as much as there is. Decode them `on_the_fly`, or "
            "lower `--image_size` or `--max_train_samples`."
        )
