"""Loads an image task from a name or a folder: embedded digits, a Hub id, a local image folder, or local parquet."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value, load_dataset
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image as PILImage

from searchhub.data.describe import describe_task
from searchhub.data.encoded import EncodedPictures
from searchhub.data.files_of import ending, left_out_words, some, table_files, visible_files
from searchhub.data.images import Augmentation, Decode, ImageTask
from searchhub.data.picture_folders import PICTURES, FolderPictures, read_picture_folder
from searchhub.data.splits import (
    LABEL_COLUMNS,
    check_groups,
    from_hub,
    labelled,
    limited,
    marked_classes,
    own_splits,
    reason,
    split_off,
    three_splits,
    with_class_labels,
    with_classes_marked,
)
from searchhub.data.tables import read_parquet
from searchhub.errors import InvalidInputError
from searchhub.hub_client import kept_path

DIGITS = "digits"
"""Name of the embedded data set: the handwritten digits that scikit-learn contains."""


@dataclass(frozen=True)
class ImageSplits:
    """A data set with its three splits, not yet decoded.

    Args:
        name: Name of the data set for files and cards.
        splits: "train", "validation" and "test".
        image_column: Name of the image column.
        label_column: Name of the label column, a `ClassLabel`.
        own_splits: The data set's own name of each split, where it differs from ours.
        notes: What was decided about the data, for people.
    """

    name: str
    splits: DatasetDict
    image_column: str
    label_column: str
    own_splits: Mapping[str, str]
    notes: tuple[str, ...] = ()


def load_image_splits(
    dataset: str = DIGITS,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    validation_size: float | int = 0.2,
    test_size: float | int = 0.2,
    max_train_samples: int | None = None,
    max_eval_samples: int | None = None,
    classes: int | Sequence[str] | None = None,
    logits_size: float | int | None = None,
    seed: int = 0,
) -> ImageSplits:
    """Loads an image classification data set and splits it for a search.

    The data set's own validation and test splits are used. A split that is missing is drawn from train, stratified by
    label: first test, then validation.

    1. If a data set has only a train and a validation split, the validation split is the test split, and the search
       validates on a part of train. A test split without labels (all -1 or null, as ImageNet's on the Hub) does not
       count.
    2. Splits of a folder are what its folders, or its parquet files, say by their names, see `folder_splits` and
       `table_files`. What is left out is said in the notes.
    3. A class of too few examples to be in each part that is drawn stays in train.
    4. Labels that are whole numbers, strings or booleans become classes, named and ordered by their values.
    5. Without a network, a Hub id is read from the cache that an earlier run filled, or refused at once.

    Args:
        dataset: "digits", a Hub id, or a path: a folder of class folders, a parquet file, or a folder of parquet files
            named after their splits.
        image_column: Name of the image column. None: the only one of that kind.
        label_column: Name of the label column. None: the only one of that kind.
        group_column: Name of a column, as of patients or scenes: examples with the same value stay in one part where
            parts are drawn. None: examples are drawn one by one, stratified by label.
        validation_size: Share (below 1) or number of training examples to validate on, if the data set has no such
            split.
        test_size: Share or number of training examples to test on, if the data set has no such split.
        max_train_samples: How many training examples to take, after shuffling. None: all.
        max_eval_samples: How many validation examples, and how many test examples, to take. None: all.
        classes: Names of the classes to take, or how many to draw. None: all. An example is in the same split whichever
            classes are taken, as long as the sizes are the same.
        logits_size: Share or number of the training examples, of the taken classes, that replace the validation split,
            which is left out. Use it to train logits on examples that choose nothing later. None: the validation split
            stays.
        seed: Seed of splitting and shuffling.

    Raises:
        InvalidInputError: The data set cannot be found or read, has no such column, or lacks labels.
    """
    read = FolderPictures(_digits(), ())
    if dataset != DIGITS:
        words = f"`{DIGITS}`, a Hub id that can be reached, a folder of class folders, or parquet"
        copy = "parquet, or pictures like `train/<class>/*.JPEG` and `val/<class>/*.JPEG`"
        read = read_source(dataset, lambda folder: _load_folder(folder, label_column), words, copy)
    splits = read.splits
    image_column, label_column = _columns(splits, dataset, image_column, label_column)
    splits = with_pictures(splits, dataset, image_column, "--image_column")
    splits = with_class_labels(labelled(splits, dataset, label_column), dataset, label_column)
    if classes is not None:
        splits = with_classes_marked(splits, dataset, label_column, classes, seed)
    own = own_splits(splits)
    check_groups(splits, dataset, group_column)
    splits = three_splits(splits, label_column, dataset, validation_size, test_size, seed, group_column)
    if classes is not None:
        splits = marked_classes(splits, label_column)
    if logits_size is not None:
        parts = split_off(splits["train"], logits_size, label_column, "logits", seed, group_column)
        splits = DatasetDict(train=parts["train"], validation=parts["test"], test=splits["test"])
    splits = limited(splits, dataset, max_train_samples, max_eval_samples, seed)
    name = Path(dataset).name if dataset != DIGITS and Path(dataset).exists() else dataset
    return ImageSplits(name, splits, image_column, label_column, own, read.notes)


def load_image_task(
    dataset: str = DIGITS,
    *,
    image_size: int | None = None,
    augmentation: Augmentation | Mapping[str, Any] | None = None,
    center_crop: float | None = None,
    image_mean: Sequence[float] = (0.5, 0.5, 0.5),
    image_std: Sequence[float] = (0.5, 0.5, 0.5),
    decode: Decode | None = None,
    workers: int | None = None,
    **options: Any,
) -> ImageTask:
    """Loads a data set into an image task.

    Args:
        dataset: Name or path of the data set, see `load_image_splits`.
        image_size: Height and width to which pictures are resized. None: the size of the first picture, which must be
            square.
        augmentation: Augmentation of training pictures, or its fields. None: random crops for digits; crops and flips
            for others.
        center_crop: How the middle is cut out, see `ImageTask`.
        image_mean: Mean of each channel, see `ImageTask`.
        image_std: Deviation of each channel, see `ImageTask`.
        decode: Place where decoded pictures are kept, see `ImageTask`.
        workers: Number of threads that decode, see `ImageTask`.
        **options: Further arguments of `load_image_splits`.

    Raises:
        InvalidInputError: The data set cannot be found, read or decoded.
    """
    data = load_image_splits(dataset, **options)
    if image_size is None:
        image_size = _size_of_first(data)
    if augmentation is None:
        augmentation = Augmentation(crop_padding=max(1, image_size // 8), flip=dataset != DIGITS)
    elif isinstance(augmentation, Mapping):
        augmentation = Augmentation(**augmentation)
    kept = dataset if dataset == DIGITS else kept_path(dataset)
    source = {"kind": "image", "dataset": kept, "image_size": image_size, "augmentation": asdict(augmentation)}
    inputs = {"center_crop": center_crop, "image_mean": list(image_mean), "image_std": list(image_std)}
    return ImageTask(
        data.name,
        data.splits,
        image_column=data.image_column,
        label_column=data.label_column,
        label_names=data.splits["train"].features[data.label_column].names,
        image_size=image_size,
        augmentation=augmentation,
        center_crop=center_crop,
        image_mean=image_mean,
        image_std=image_std,
        decode=decode,
        workers=workers,
        source={**source, **inputs, **options},
        own_splits=data.own_splits,
        notes=data.notes,
    )


def _size_of_first(data: ImageSplits) -> int:
    first = EncodedPictures(data.splits["train"], data.image_column).decode(0, "train", data.name)
    width, height = first.size
    if width != height:
        raise InvalidInputError(
            f"Pictures must be square where `image_size` is not given, but the first of `{data.name}` is "
            f"{width} x {height}. Give `--image_size`."
        )
    return int(width)


def _digits() -> DatasetDict:
    from sklearn.datasets import load_digits  # scikit-learn is slow to import

    digits = load_digits()
    pictures = [PILImage.fromarray((p * (255.0 / 16.0)).round().astype(np.uint8)) for p in digits.images]
    features = Features({"image": Image(), "label": ClassLabel(names=[str(d) for d in range(10)])})
    return DatasetDict(train=Dataset.from_dict({"image": pictures, "label": digits.target.tolist()}, features=features))


def read_source(dataset: str, read_folder: Callable[[Path], FolderPictures], words: str, copy: str) -> FolderPictures:
    """Reads all splits of a data set: of a parquet file, a folder, or the Hub.

    Args:
        dataset: Path, or Hub id.
        read_folder: Function that reads a folder.
        words: Words, for errors, for what `dataset` may be.
        copy: Words for what a local copy of a data set on the Hub may look like.

    Raises:
        InvalidInputError: It cannot be found or read.
    """
    path = Path(dataset)
    try:
        if path.is_file() and ending(path) == ".parquet":
            return FolderPictures(read_parquet({"train": [path]}), ())
        if path.is_dir():
            return read_folder(path)
        return FolderPictures(from_hub(dataset), ())
    except InvalidInputError:
        raise
    except Exception as error:
        if _is_refused(error):
            raise InvalidInputError(
                f"`{dataset}` must be open to you on the Hub, but it is gated, private or not there: {reason(error)}. "
                "Where its page asks for it, accept its terms; log in with `hf auth login`; or give `--dataset` the "
                f"path of a local copy: {copy}."
            ) from error
        raise InvalidInputError(
            f"`--dataset` must be {words}, but `{dataset}` could not be loaded: {reason(error)}. "
            "Without a network, give the path of a local copy."
        ) from error


def _load_folder(folder: Path, label_column: str | None) -> FolderPictures:
    """Reads pictures from the parquet files of a folder if some hold any, else from its picture files."""
    files = visible_files(folder)
    pictures = [file for file in files if ending(file) in PICTURES]
    parquet = [file for file in files if ending(file) == ".parquet" and os.path.basename(file) != "metadata.parquet"]
    tables = [file for file in parquet if _holds_pictures(folder / file)]
    if not pictures and not parquet:  # archives, or nothing
        return FolderPictures(DatasetDict(load_dataset("imagefolder", data_dir=str(folder))), ())
    if pictures and not tables:
        read = read_picture_folder(folder, files, label_column)
        notes = (*read.notes, left_out_words(parquet, "hold no pictures")) if parquet else read.notes
        return FolderPictures(read.splits, notes)
    if len({os.path.dirname(file) for file in pictures}) > 1:
        raise InvalidInputError(
            f"`{folder}` must hold its pictures in parquet files, or in class folders, but holds {some(tables)} beside "
            f"{some(pictures)}. Move one kind away, or give the path of the parquet file itself."
        )
    tables = tables or parquet
    found = table_files(folder, tables)
    notes = [*found.notes]
    if beside := [*pictures, *(file for file in parquet if file not in tables)]:
        notes.append(left_out_words(beside, "lie beside the parquet files of pictures"))
    return FolderPictures(read_parquet(found.splits or {"train": [folder / f for f in tables]}), tuple(notes))


def _holds_pictures(file: Path) -> bool:
    """Whether a parquet file has a column that may hold pictures; one that cannot be read may."""
    try:
        types = pyarrow.parquet.read_schema(file).types
    except (OSError, pa.ArrowException):
        return True
    inner = [t.field("bytes").type if pa.types.is_struct(t) and t.get_field_index("bytes") >= 0 else t for t in types]
    return any(pa.types.is_binary(t) or pa.types.is_large_binary(t) for t in inner)


def _is_refused(error: BaseException | None) -> bool:
    """Whether the Hub answered that there is no such data set, or not for this user."""
    while error is not None:
        if isinstance(error, DatasetNotFoundError):
            return True
        if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
            return True
        error = error.__cause__ or error.__context__
    return False


def _columns(splits: DatasetDict, dataset: str, image_column: str | None, label_column: str | None) -> tuple[str, str]:
    features = next(iter(splits.values())).features

    def pick(given: str | None, kind: type, option: str, names: tuple[str, ...]) -> str:
        fitting = [n for n, f in features.items() if isinstance(f, kind)] or [n for n in names if n in features]
        if given is None and len(fitting) == 1:
            return fitting[0]
        if given is None or given not in features:
            raise InvalidInputError(
                f"`{option}` must name a column of `{dataset}`, but is {given!r}. It has: {sorted(features)}."
            )
        return given

    image = pick(image_column, Image, "--image_column", ("image", "img"))
    return image, pick(label_column, ClassLabel, "--label_column", LABEL_COLUMNS)


def with_pictures(splits: DatasetDict, dataset: str, image_column: str, option: str) -> DatasetDict:
    """Marks pictures as such: files of other programs hold their bytes, but do not say that they are pictures."""
    kind = next(iter(splits.values())).features[image_column]
    if isinstance(kind, Image):
        return splits
    if kind == Value("binary") or (isinstance(kind, dict) and kind.get("bytes") == Value("binary")):
        return splits.cast_column(image_column, Image())
    raise InvalidInputError(
        f"`{image_column}` of `{dataset}` must hold pictures, but holds {kind}. Name another `{option}`."
    )


def describe(task: ImageTask) -> str:
    """Describes a task for people: name, sizes of the splits, picture size, classes, and what was decided."""
    return describe_task(task, f"pictures of {task.image_size} x {task.image_size}")
