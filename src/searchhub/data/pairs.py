"""Decodes pictures with their masks; a random part of both is cut through one source box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image as PILImage

from searchhub.data.encoded import Decoder, EncodedPictures, Request, example_rng
from searchhub.data.pictures import BILINEAR, rgb_picture, unreadable
from searchhub.errors import InvalidInputError
from searchhub.metrics.segmentation import VOID

NEAREST = PILImage.Resampling.NEAREST

OUTSIDE = 254
"""Label of what lies outside of a picture in a batch; no class may have it."""

MAX_LABELS = OUTSIDE
"""Largest number of classes: masks have 8 bits."""

REFUSED = -1
"""Entry of a table of labels for values that no mask may hold."""

MASK_MODES = ("L", "P", "1")
"""PIL's modes of pictures that hold one number of 8 bits a pixel; of a palette's pictures it is the index."""

MASK = "a mask of its picture"

Pairs = tuple[np.ndarray, list[np.ndarray]]
"""Pictures, uint8 [n, 3, height, width], and the labels of each, uint8 [height, width], of any size."""


@dataclass(frozen=True)
class PairAugmentation:
    """Random changes to training pictures and their masks.

    Args:
        crop_size: Height and width of the part that is cut out. What lies outside of the picture has the mean colour
            and no class.
        scale: Smallest and largest factor, above 0, by which the whole picture is resized before; uniformly drawn.
        flip: Whether half of the pictures are mirrored.

    Raises:
        InvalidInputError: A number is out of its bounds.
    """

    crop_size: tuple[int, int]
    scale: tuple[float, float] = (0.5, 2.0)
    flip: bool = True

    def __post_init__(self) -> None:
        # Lists come from files of runs; the repr, which hashes of the data cover, is that of tuples.
        object.__setattr__(self, "crop_size", tuple(self.crop_size))
        object.__setattr__(self, "scale", tuple(map(float, self.scale)))
        if len(self.crop_size) != 2 or min(self.crop_size) < 1:
            raise InvalidInputError(f"`crop_size` must be a height and a width of at least 1, but is {self.crop_size}.")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise InvalidInputError(f"`scale` must be two factors, 0 < least <= most, but is {self.scale}.")


@dataclass(frozen=True)
class Part:
    """The part of a picture that a crop shows.

    Args:
        source: Left, top, right and bottom in the picture.
        target: Left, top, right and bottom in the crop; the rest of the crop lies outside of the picture.
        mirrored: Whether the crop is mirrored afterwards.
    """

    source: tuple[float, float, float, float]
    target: tuple[int, int, int, int]
    mirrored: bool


def draw_part(
    size: tuple[int, int], image_size: tuple[int, int], augmentation: PairAugmentation, rng: np.random.Generator
) -> Part:
    """Draws the part of a picture that a training example shows.

    The picture, resized to `image_size` times the scale, lies at a uniformly drawn place: if it is larger than the crop
    it fills it, otherwise all of it is in the crop; in each direction on its own.

    Args:
        size: Height and width of the picture.
        image_size: Height and width that the picture has at scale 1.
        augmentation: Size of the crop, and range of the scale.
        rng: Generator that draws scale, place and mirroring.
    """
    scale = rng.uniform(*augmentation.scale)
    source, target = [], []
    for own, whole, crop in zip(size, image_size, augmentation.crop_size, strict=True):
        scaled = max(1, round(whole * scale))
        spare = scaled - crop
        start = int(rng.integers(min(0, spare), max(0, spare) + 1))
        low, high = max(0, -start), min(crop, scaled - start)
        source.append((max(0.0, (start + low) * own / scaled), min(float(own), (start + high) * own / scaled)))
        target.append((low, high))
    mirrored = bool(rng.integers(2)) and augmentation.flip
    (top, bottom), (left, right) = source
    (t, b), (lft, rgt) = target
    return Part((left, top, right, bottom), (lft, t, rgt, b), mirrored)


def cut(picture: PILImage.Image, labels: np.ndarray, part: Part, crop_size: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Cuts a part out of a picture, bilinearly, and out of its labels, by nearest neighbour.

    Returns:
        Pixels, uint8 [height, width, 3], and labels, uint8 [height, width], which are `OUTSIDE` there.
    """
    left, top, right, bottom = part.target
    size = (right - left, bottom - top)
    pixels = np.zeros((*crop_size, 3), dtype=np.uint8)
    cropped = np.full(crop_size, OUTSIDE, dtype=np.uint8)
    pixels[top:bottom, left:right] = np.asarray(picture.resize(size, BILINEAR, box=part.source))
    cropped[top:bottom, left:right] = np.asarray(PILImage.fromarray(labels).resize(size, NEAREST, box=part.source))
    return (pixels[:, ::-1], cropped[:, ::-1]) if part.mirrored else (pixels, cropped)


def mask_values(file: BinaryIO) -> np.ndarray:
    """Returns the numbers of a mask, uint8 [height, width].

    Raises:
        InvalidInputError: It has colours, or more than 8 bits.
    """
    with PILImage.open(file) as mask:
        check_mode(mask.mode)
        return np.asarray(mask).astype(np.uint8)


def check_mode(mode: str) -> None:
    """Checks PIL's mode of a mask.

    Raises:
        InvalidInputError: It has colours, or more than 8 bits.
    """
    if mode in MASK_MODES:
        return
    if mode.startswith(("I", "F")):
        raise InvalidInputError(
            f"it must hold numbers of 8 bits, but its mode is {mode}: save "
            "`Image.fromarray(np.asarray(mask).astype(np.uint8))` if it holds classes, and none above 255"
        )
    raise InvalidInputError(
        f"it must hold one number a pixel, its class, but its mode is {mode}: turn colours into the classes' numbers, "
        "and save these as a picture of mode L"
    )


class DecodedPairs(Decoder[Pairs]):
    """Decodes pictures and their masks, see `Decoder`.

    Args:
        name: Name of the data set, for errors.
        pictures: Encoded pictures of "train", "validation" and "test".
        masks: Encoded masks of the same examples.
        image_size: Height and width of whole pictures. Masks keep their own.
        table: Label of each of the 256 values that a mask may hold; `REFUSED` for those that it must not.
        workers: Number of threads, see `Decoder`.
    """

    def __init__(
        self,
        name: str,
        pictures: Mapping[str, EncodedPictures],
        masks: Mapping[str, EncodedPictures],
        *,
        image_size: tuple[int, int],
        table: Sequence[int],
        workers: int | None = None,
    ) -> None:
        super().__init__(name, {**pictures, **{_masks(split): files for split, files in masks.items()}}, workers)
        self.image_size = image_size
        self.table = np.array(table, dtype=np.int16)
        self._counts: dict[str, np.ndarray] = {}

    def read(
        self,
        split: str,
        numbers: torch.Tensor,
        *,
        augmentation: PairAugmentation | None = None,
        seed: int | None = None,
    ) -> Pairs:
        """Reads examples: whole ones or, with a seed, a random part of each.

        Args:
            split: Name of a split of a `SegmentationTask`.
            numbers: Numbers of the examples, int64 [n].
            augmentation: Random changes. None: whole examples.
            seed: Seed of the random parts, together with the example's number. None: whole examples.
        """
        return self._take(split, numbers, (None if seed is None else augmentation, seed))

    def prefetch(
        self,
        split: str,
        batches: Sequence[torch.Tensor],
        *,
        augmentation: PairAugmentation | None = None,
        seed: int | None = None,
    ) -> None:
        """Announces which batches will be read next; earlier announcements no longer hold."""
        self._announce(split, batches, (None if seed is None else augmentation, seed))

    def labels(self, split: str, number: int) -> np.ndarray:
        """Returns the labels of one example, uint8 [height, width], at the mask's own size.

        Raises:
            InvalidInputError: The mask cannot be read, or holds what is no class.
        """
        part, there = self._place(split, number)
        files = self.files[_masks(part)]
        try:
            with files.open(there) as file:
                values = mask_values(file)
            labels = self.table[values]
            if labels.min(initial=0) < 0:
                wrong = np.unique(values[labels < 0]).tolist()
                raise InvalidInputError(f"no class has the number {', '.join(map(str, wrong[:8]))}")
        except Exception as error:
            raise unreadable(files.column, part, self.name, there, files.where(there), error, MASK) from error
        return labels.astype(np.uint8)

    def counts(self, split: str) -> np.ndarray:
        """Returns how many pixels have each label, int64 [256]. This reads all masks of the split, once."""
        if split not in self._counts:
            numbers = range(len(self.files[split]))
            each = self._pool.map(lambda i: np.bincount(self.labels(split, i).ravel(), minlength=256), numbers)
            self._counts[split] = sum(each, start=np.zeros(256, dtype=np.int64))
        return self._counts[split]

    def check(self, split: str) -> None:
        """Checks, without decoding them, that all masks of a split are masks, and as large as their pictures.

        Raises:
            InvalidInputError: A picture or a mask cannot be opened, has colours or more than 8 bits, or they differ.
        """
        for _ in self._pool.map(lambda i: self._check(split, i), range(len(self.files[split]))):
            pass

    def _check(self, split: str, number: int) -> None:
        files, masks = self.files[split], self.files[_masks(split)]
        try:
            with files.open(number) as file, PILImage.open(file) as picture:
                size = picture.size
        except Exception as error:
            raise unreadable(files.column, split, self.name, number, files.where(number), error) from error
        try:
            with masks.open(number) as file, PILImage.open(file) as mask:
                check_mode(mask.mode)
                # Some pictures lie on their side in the file; whether this one does is known when it is decoded.
                if mask.size not in (size, size[::-1]):
                    raise _other_size(mask.size, size)
        except Exception as error:
            raise unreadable(masks.column, split, self.name, number, masks.where(number), error, MASK) from error

    def _pair(self, split: str, number: int) -> tuple[PILImage.Image, np.ndarray]:
        labels = self.labels(split, number)
        part, there = self._place(split, number)
        files, masks = self.files[part], self.files[_masks(part)]
        try:
            with files.open(there) as file:
                picture = rgb_picture(file, files.mode)
        except Exception as error:
            raise unreadable(files.column, part, self.name, there, files.where(there), error) from error
        if labels.shape[::-1] != picture.size:
            error = _other_size(labels.shape[::-1], picture.size)
            raise unreadable(masks.column, part, self.name, there, masks.where(there), error, MASK)
        return picture, labels

    def _request(self, split: str, numbers: np.ndarray, how: tuple[Any, ...]) -> Request[Pairs]:
        augmentation: PairAugmentation | None = how[0]
        size = self.image_size if augmentation is None else augmentation.crop_size
        pictures = np.empty((len(numbers), 3, *size), dtype=np.uint8)
        masks = [np.empty(0, dtype=np.uint8)] * len(numbers)
        jobs: list[Future[None]] = [
            self._pool.submit(self._fill, pictures, masks, split, numbers, i, *how) for i in range(len(numbers))
        ]
        return Request((pictures, masks), jobs)

    def _fill(
        self,
        pictures: np.ndarray,
        masks: list[np.ndarray],
        split: str,
        numbers: np.ndarray,
        i: int,
        augmentation: PairAugmentation | None,
        seed: int | None,
    ) -> None:
        number = int(numbers[i])
        picture, labels = self._pair(split, number)
        if augmentation is None or seed is None:
            height, width = self.image_size
            pixels = np.asarray(
                picture if picture.size == (width, height) else picture.resize((width, height), BILINEAR)
            )
        else:
            part = draw_part(labels.shape, self.image_size, augmentation, example_rng(seed, number))
            pixels, labels = cut(picture, labels, part, augmentation.crop_size)
        pictures[i] = pixels.transpose(2, 0, 1)
        masks[i] = labels


def _masks(split: str) -> str:
    return f"masks of {split}"


def _other_size(mask: Sequence[int], picture: Sequence[int]) -> InvalidInputError:
    sizes = " x ".join(map(str, mask)), " x ".join(map(str, picture))
    return InvalidInputError(f"it must be as large as its picture, {sizes[1]}, but is {sizes[0]}")


def label_table(num_labels: int, void_label: int | None = None) -> list[int]:
    """Returns the table of labels of masks whose values are the classes' numbers, and 255 or `void_label` for void."""
    table = [value if value < num_labels else REFUSED for value in range(256)]
    for void in {VOID, void_label} - {None}:
        table[void] = VOID
    return table
