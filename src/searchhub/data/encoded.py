"""The encoded pictures of a split, and the decoded ones: all at once in memory, or a batch at a time by threads."""

from __future__ import annotations

import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

import datasets
import numpy as np
import pyarrow as pa
import torch

from searchhub.data.pictures import UNREADABLE, random_part, unreadable, whole_picture

DIGESTED_BYTES = 4096
"""How much of the end of an encoded picture a digest reads."""

PICTURES_A_JOB = 8


class EncodedPictures:
    """The encoded pictures of a split by their number, read when asked: from its Arrow table, or from files.

    Args:
        split: With an image column; not decoded.
        image_column: Its name.
    """

    def __init__(self, split: datasets.Dataset, image_column: str) -> None:
        self.column = image_column
        self.mode: str | None = split.features[image_column].mode
        self._chunks: list[pa.StructArray] = split.data.column(image_column).chunks
        self._starts = np.cumsum([0, *(len(chunk) for chunk in self._chunks)])
        # Rows as `select` and `train_test_split` left them; `datasets` copies whole pictures to give them in order.
        indices = split._indices
        self._rows = np.arange(len(split)) if indices is None else indices.column(0).to_numpy()

    def __len__(self) -> int:
        return len(self._rows)

    def open(self, number: int) -> BinaryIO:
        """The file of a picture.

        Raises:
            ValueError: It is missing.
            OSError: Its file cannot be read.
        """
        found = self._find(number)
        return open(found, "rb") if isinstance(found, str) else io.BytesIO(found)

    def digest(self, number: int) -> bytes:
        """A hash of the length and the last 4 KiB of an encoded picture; of all of it, where it is no longer.

        Raises:
            ValueError: It is missing.
            OSError: Its file cannot be read.
        """
        found = self._find(number)
        if isinstance(found, str):
            with open(found, "rb") as file:
                length = file.seek(0, os.SEEK_END)
                file.seek(max(0, length - DIGESTED_BYTES))
                end: bytes | memoryview = file.read()
        else:
            length, end = len(found), found[-DIGESTED_BYTES:]  # without reading what is before from the disk
        digest = hashlib.sha256(f"{length} ".encode())
        digest.update(end)
        return digest.digest()

    def _find(self, number: int) -> str | memoryview:
        """The path of a picture's file, or its bytes where they are in the table."""
        row = self._rows[number]
        chunk = int(np.searchsorted(self._starts, row, side="right")) - 1
        picture = self._chunks[chunk][int(row - self._starts[chunk])]
        if picture.is_valid and picture["bytes"].is_valid:
            return memoryview(picture["bytes"].as_buffer())
        if picture.is_valid and picture["path"].is_valid:
            return str(picture["path"].as_py())
        raise ValueError("it is missing")


@dataclass(frozen=True)
class Request:
    """Pictures of one batch on their way.

    Args:
        pictures: uint8 [n, 3, size, size], filled when all jobs are done.
        jobs: Each fills a part.
    """

    pictures: np.ndarray
    jobs: list[Future[None]]

    def wait(self) -> torch.Tensor:
        """The pictures, once they are there."""
        for job in self.jobs:
            job.result()
        return torch.from_numpy(self.pictures)


class Pictures(ABC):
    """Decoded pictures by split and number, uint8 [n, 3, size, size]."""

    @abstractmethod
    def read(
        self, split: str, numbers: torch.Tensor, *, crop_area: float | None = None, seed: int | None = None
    ) -> torch.Tensor:
        """Some pictures: as evaluation sees them or, with a crop area, a random part of each.

        Args:
            split: Of `ImageTask`.
            numbers: int64 [n].
            crop_area: As in `random_box`.
            seed: Of the parts, with the picture's number.
        """

    def prefetch(
        self, split: str, batches: Sequence[torch.Tensor], *, crop_area: float | None = None, seed: int | None = None
    ) -> None:
        """Say which batches will be read next; others that were said before will not."""
        return


class DecodedPictures(Pictures):
    """Pictures decoded when they are read, by threads, and ahead of that where `prefetch` says what comes.

    Which thread decodes a picture, and when, changes nothing about it. PIL lets other threads run while it decodes
    and resizes.

    Args:
        name: Of the data set, for errors.
        files: Encoded pictures of "train", "validation" and "test".
        size: Height and width to come to.
        center_crop: As in `whole_picture`.
        workers: Number of threads; None: the processor cores of this process, shared among processes of a launch.
    """

    def __init__(
        self,
        name: str,
        files: Mapping[str, EncodedPictures],
        size: int,
        center_crop: float | None = None,
        workers: int | None = None,
    ) -> None:
        self.name, self.files, self.size, self.center_crop = name, files, size, center_crop
        self._pool = ThreadPoolExecutor(workers or _cores(), thread_name_prefix="decode")
        self._ahead: dict[tuple[object, ...], Request] = {}

    def read(
        self, split: str, numbers: torch.Tensor, *, crop_area: float | None = None, seed: int | None = None
    ) -> torch.Tensor:
        key = _key(split, numbers, crop_area, seed)
        request = self._ahead.pop(key, None) or self._request(split, numbers.numpy(), crop_area, seed)
        return request.wait()

    def prefetch(
        self, split: str, batches: Sequence[torch.Tensor], *, crop_area: float | None = None, seed: int | None = None
    ) -> None:
        wanted = {_key(split, numbers, crop_area, seed): numbers for numbers in batches}
        for key in self._ahead.keys() - wanted.keys():
            for job in self._ahead.pop(key).jobs:
                job.cancel()
        for key, numbers in wanted.items():
            if key not in self._ahead:
                self._ahead[key] = self._request(split, numbers.numpy(), crop_area, seed)

    def digest(self) -> bytes:
        """A hash of all splits' encoded pictures, in order."""
        digest = hashlib.sha256()
        for split, files in self.files.items():
            digest.update(f"{split} {len(files)} ".encode())
            blocks = [range(i, min(i + 1024, len(files))) for i in range(0, len(files), 1024)]
            for block in self._pool.map(lambda b, files=files: b"".join(map(files.digest, b)), blocks):
                digest.update(block)
        return digest.digest()

    def _request(self, split: str, numbers: np.ndarray, crop_area: float | None, seed: int | None) -> Request:
        pictures = np.empty((len(numbers), 3, self.size, self.size), dtype=np.uint8)
        jobs = []
        for i in range(0, len(numbers), PICTURES_A_JOB):
            part = slice(i, i + PICTURES_A_JOB)
            jobs.append(self._pool.submit(self._fill, pictures[part], split, numbers[part], crop_area, seed))
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
                        # A stream of its own for each picture.
                        rng = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, number]))
                        pixels = random_part(file, self.size, crop_area, rng, files.mode)
            except UNREADABLE as error:
                raise unreadable(files.column, part, self.name, there, error) from error
            picture[...] = pixels.transpose(2, 0, 1)

    def _place(self, split: str, number: int) -> tuple[str, int]:
        """The split that holds a picture, and its number there: "full" is train, then validation."""
        if split != "full":
            return split, number
        train = len(self.files["train"])
        return ("train", number) if number < train else ("validation", number - train)


class MemoryPictures(Pictures):
    """All pictures, decoded once.

    Args:
        decoded: Where from.
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


def _key(split: str, numbers: torch.Tensor, crop_area: float | None, seed: int | None) -> tuple[object, ...]:
    return split, crop_area, seed, numbers.numpy().tobytes()


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
