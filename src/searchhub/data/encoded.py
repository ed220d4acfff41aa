"""Holds the pictures of a split, encoded and decoded: all at once in memory, or a batch at a time by threads."""

from __future__ import annotations

import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO, Generic, TypeVar

import datasets
import numpy as np
import pyarrow as pa
import torch
from PIL import Image as PILImage

from searchhub.data.pictures import random_part, unreadable, upright, whole_picture

T = TypeVar("T")

DIGESTED_BYTES = 4096
"""How many bytes at the end of an encoded picture a digest reads."""

PICTURES_A_JOB = 8


class EncodedPictures:
    """The encoded pictures of a split by their number, each read when asked for: from the Arrow table or a file.

    Args:
        split: A split with an image column that is not decoded.
        image_column: Name of that column.
    """

    def __init__(self, split: datasets.Dataset, image_column: str) -> None:
        self.column = image_column
        self.mode: str | None = split.features[image_column].mode
        self._chunks: list[pa.StructArray] = split.data.column(image_column).chunks
        self._starts = np.cumsum([0, *(len(chunk) for chunk in self._chunks)])
        # Rows in the order of `select` and `train_test_split`; `datasets` would copy whole pictures to give them in
        # order.
        indices = split._indices
        self._rows = np.arange(len(split)) if indices is None else indices.column(0).to_numpy()

    def __len__(self) -> int:
        return len(self._rows)

    def open(self, number: int) -> BinaryIO:
        """Opens the file of a picture.

        Raises:
            ValueError: The picture is missing.
            OSError: The picture's file cannot be read.
        """
        found = self._find(number)
        return open(found, "rb") if isinstance(found, str) else io.BytesIO(found)

    def decode(self, number: int, split: str, name: str) -> PILImage.Image:
        """Returns a picture, upright, in the mode that it has or that the data set declares.

        Args:
            number: Number of the picture.
            split: Name of the split, for errors.
            name: Name of the data set, for errors.

        Raises:
            InvalidInputError: The picture cannot be read.
        """
        try:
            with self.open(number) as file, PILImage.open(file) as picture:
                return upright(picture, self.mode)
        except Exception as error:
            raise unreadable(self.column, split, name, number, self.where(number), error) from error

    def where(self, number: int) -> str:
        """Returns where a picture lies, for people: the path of its file, or its row in the data set's own split."""
        row = int(self._rows[number])
        picture = self._struct(number)
        path = picture["path"].as_py() if picture.is_valid else None
        if path and not picture["bytes"].is_valid:
            return f"`{path}`"
        return f"row {row:,} before shuffling, counted from 0" + (f", `{path}`" if path else "")

    def paths(self) -> list[str | None]:
        """Returns the path, or the name of the file before it was packed, of each picture; None where there is none."""
        paths = [path for chunk in self._chunks for path in chunk.field("path").to_pylist()]
        return [paths[row] for row in self._rows]

    def content(self, number: int) -> bytes:
        """Returns a hash of all of an encoded picture.

        Raises:
            ValueError: The picture is missing.
            OSError: The picture's file cannot be read.
        """
        with self.open(number) as file:
            return hashlib.sha256(file.read()).digest()

    def digest(self, number: int) -> bytes:
        """Returns a hash of an encoded picture's length and last 4 KiB, or of all of it if it is no longer than that.

        Raises:
            ValueError: The picture is missing.
            OSError: The picture's file cannot be read.
        """
        found = self._find(number)
        if isinstance(found, str):
            with open(found, "rb") as file:
                length = file.seek(0, os.SEEK_END)
                file.seek(max(0, length - DIGESTED_BYTES))
                end: bytes | memoryview = file.read()
        else:
            length, end = len(found), found[-DIGESTED_BYTES:]  # reads nothing before it from the disk
        digest = hashlib.sha256(f"{length} ".encode())
        digest.update(end)
        return digest.digest()

    def _find(self, number: int) -> str | memoryview:
        """Returns the path of a picture's file, or its bytes if they are in the table."""
        picture = self._struct(number)
        if picture.is_valid and picture["bytes"].is_valid:
            return memoryview(picture["bytes"].as_buffer())
        if picture.is_valid and picture["path"].is_valid:
            return str(picture["path"].as_py())
        raise ValueError("it is missing")

    def _struct(self, number: int) -> pa.StructScalar:
        row = self._rows[number]
        chunk = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._chunks[chunk][int(row - self._starts[chunk])]


@dataclass(frozen=True)
class Request(Generic[T]):
    """What a batch needs, while it is being decoded.

    Args:
        decoded: What is complete when all jobs are done.
        jobs: Jobs, each of which fills a part.
    """

    decoded: T
    jobs: list[Future[None]]

    def wait(self) -> T:
        """Returns what was asked for once all of it is decoded."""
        for job in self.jobs:
            job.result()
        return self.decoded


class Decoder(ABC, Generic[T]):
    """Decodes batches with threads when they are asked for, or ahead of that once it is announced what comes.

    What is decoded does not depend on which thread does it, nor when. PIL lets other threads run while it decodes and
    resizes.

    Args:
        name: Name of the data set, for errors.
        files: Encoded pictures of "train", "validation" and "test", and whatever else belongs to them.
        workers: Number of threads. None: this process's share of the processor cores among the processes of a launch.
    """

    def __init__(self, name: str, files: Mapping[str, EncodedPictures], workers: int | None = None) -> None:
        self.name, self.files = name, files
        self._pool = ThreadPoolExecutor(workers or _cores(), thread_name_prefix="decode")
        self._ahead: dict[tuple[object, ...], Request[T]] = {}
        self._found: dict[str, bytes] = {}

    @abstractmethod
    def _request(self, split: str, numbers: np.ndarray, how: tuple[Any, ...]) -> Request[T]:
        """Starts to decode a batch.

        Args:
            split: Name of the split.
            numbers: Numbers of its examples, int64 [n].
            how: What else the result depends on.
        """

    def _take(self, split: str, numbers: torch.Tensor, how: tuple[Any, ...]) -> T:
        request = self._ahead.pop(_key(split, numbers, how), None) or self._request(split, numbers.numpy(), how)
        return request.wait()

    def _announce(self, split: str, batches: Sequence[torch.Tensor], how: tuple[Any, ...]) -> None:
        wanted = {_key(split, numbers, how): numbers for numbers in batches}
        for key in self._ahead.keys() - wanted.keys():
            for job in self._ahead.pop(key).jobs:
                job.cancel()
        for key, numbers in wanted.items():
            if key not in self._ahead:
                self._ahead[key] = self._request(split, numbers.numpy(), how)

    def digest(self) -> bytes:
        """Returns a hash of all encoded pictures, in order."""
        digest = hashlib.sha256()
        for split, files in self.files.items():
            digest.update(f"{split} {len(files)} ".encode())
            digest.update(self._digests(split))
        return digest.digest()

    def repeated(self, split: str, others: Sequence[str]) -> int:
        """Counts the pictures of a split that are, byte for byte, in other splits, too."""
        own = self._as_texts(split)
        there = {other: self._as_texts(other) for other in others}
        alike = np.isin(own, np.concatenate(list(there.values())))
        candidates = own[alike]  # of equal length and end
        contents = {
            self.files[other].content(int(i))
            for other, of in there.items()
            for i in np.flatnonzero(np.isin(of, candidates))
        }
        return sum(self.files[split].content(int(i)) in contents for i in np.flatnonzero(alike))

    def _digests(self, split: str) -> bytes:
        """Returns the hashes of all pictures of a split, one after another."""
        if split not in self._found:
            files = self.files[split]
            blocks = [range(i, min(i + 1024, len(files))) for i in range(0, len(files), 1024)]
            self._found[split] = b"".join(
                self._pool.map(lambda block: b"".join(self._digest_of(split, i) for i in block), blocks)
            )
        return self._found[split]

    def _digest_of(self, split: str, number: int) -> bytes:
        files = self.files[split]
        try:
            return files.digest(number)
        except (OSError, ValueError) as error:
            raise unreadable(files.column, split, self.name, number, files.where(number), error) from error

    def _as_texts(self, split: str) -> np.ndarray:
        return np.frombuffer(self._digests(split), dtype="S32")

    def _place(self, split: str, number: int) -> tuple[str, int]:
        """Returns the split that holds a picture, and its number there: "full" is train, then validation."""
        if split != "full":
            return split, number
        train = len(self.files["train"])
        return ("train", number) if number < train else ("validation", number - train)


class Pictures(ABC):
    """Decoded pictures by split and number, uint8 [n, 3, size, size]."""

    @abstractmethod
    def read(
        self, split: str, numbers: torch.Tensor, *, crop_area: float | None = None, seed: int | None = None
    ) -> torch.Tensor:
        """Reads some pictures: as evaluation sees them or, with a crop area, a random part of each.

        Args:
            split: Name of a split of `ImageTask`.
            numbers: Numbers of the pictures, int64 [n].
            crop_area: Least share of a picture's area, see `random_box`. None: whole pictures.
            seed: Seed of the random parts, together with the picture's number.
        """

    def prefetch(
        self, split: str, batches: Sequence[torch.Tensor], *, crop_area: float | None = None, seed: int | None = None
    ) -> None:
        """Announces which batches will be read next; earlier announcements no longer hold."""
        return


class DecodedPictures(Decoder[np.ndarray], Pictures):
    """Decodes square pictures, see `Decoder`.

    Args:
        name: Name of the data set, for errors.
        files: Encoded pictures of "train", "validation" and "test".
        size: Height and width of the decoded pictures.
        center_crop: How the middle is cut out, see `whole_picture`.
        workers: Number of threads, see `Decoder`.
    """

    def __init__(
        self,
        name: str,
        files: Mapping[str, EncodedPictures],
        size: int,
        center_crop: float | None = None,
        workers: int | None = None,
    ) -> None:
        super().__init__(name, files, workers)
        self.size, self.center_crop = size, center_crop

    def read(
        self, split: str, numbers: torch.Tensor, *, crop_area: float | None = None, seed: int | None = None
    ) -> torch.Tensor:
        return torch.from_numpy(self._take(split, numbers, (crop_area, seed)))

    def prefetch(
        self, split: str, batches: Sequence[torch.Tensor], *, crop_area: float | None = None, seed: int | None = None
    ) -> None:
        self._announce(split, batches, (crop_area, seed))

    def _request(self, split: str, numbers: np.ndarray, how: tuple[Any, ...]) -> Request[np.ndarray]:
        pictures = np.empty((len(numbers), 3, self.size, self.size), dtype=np.uint8)
        jobs = []
        for i in range(0, len(numbers), PICTURES_A_JOB):
            part = slice(i, i + PICTURES_A_JOB)
            jobs.append(self._pool.submit(self._fill, pictures[part], split, numbers[part], *how))
        return Request(pictures, jobs)

    def _fill(
        self, pictures: np.ndarray, split: str, numbers: np.ndarray, crop_area: float | None, seed: int | None
    ) -> None:
        for picture, number in zip(pictures, numbers.tolist(), strict=True):
            part, there = self._place(split, number)
            files = self.files[part]
            try:
                with files.open(there) as file:
                    if crop_area is None or seed is None:
                        pixels = whole_picture(file, self.size, self.center_crop, files.mode)
                    else:
                        pixels = random_part(file, self.size, crop_area, example_rng(seed, number), files.mode)
            except Exception as error:
                raise unreadable(files.column, part, self.name, there, files.where(there), error) from error
            picture[...] = pixels.transpose(2, 0, 1)


class MemoryPictures(Pictures):
    """Holds all pictures in memory, decoded once.

    Args:
        decoded: The pictures to decode and hold.
    """

    def __init__(self, decoded: DecodedPictures) -> None:
        sizes = {split: len(files) for split, files in decoded.files.items()}
        whole = {"full": sizes["train"] + sizes["validation"], "test": sizes["test"]}
        self._pictures = {split: decoded.read(split, torch.arange(n)) for split, n in whole.items()}
        full, train = self._pictures["full"], sizes["train"]
        self._pictures |= {"train": full[:train], "validation": full[train:]}

    def read(
        self, split: str, numbers: torch.Tensor, *, crop_area: float | None = None, seed: int | None = None
    ) -> torch.Tensor:
        assert crop_area is None, "random parts are cut out of encoded pictures"
        return self._pictures[split][numbers]


def example_rng(seed: int, number: int) -> np.random.Generator:
    """Returns the random stream that an example has of its own, whichever batch it is in."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, number]))


def _key(split: str, numbers: torch.Tensor, how: tuple[Any, ...]) -> tuple[object, ...]:
    return split, how, numbers.numpy().tobytes()


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
