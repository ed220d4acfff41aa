"""Loads a segmentation task from a Hub id, parquet, a folder of pictures and masks, or Cityscapes' own folders."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, Image, Value

from searchhub.data.describe import describe_task
from searchhub.data.encoded import EncodedPictures
from searchhub.data.files_of import ending, table_files, visible_files
from searchhub.data.images import IMAGENET_MEAN, IMAGENET_STD
from searchhub.data.loading import read_source, with_pictures
from searchhub.data.mask_folders import FolderPairs, is_cityscapes, read_cityscapes, read_mask_folder
from searchhub.data.pairs import DecodedPairs, PairAugmentation, label_table
from searchhub.data.picture_folders import PICTURES, FolderPictures
from searchhub.data.segmentation import SegmentationTask
from searchhub.data.splits import VALIDATION_NAMES, check_groups, limited, own_splits, split_off
from searchhub.data.stretches import BLOCKS, GAP, hold_out, in_order, usual_gap
from searchhub.data.tables import read_parquet
from searchhub.errors import InvalidInputError
from searchhub.hub_client import kept_path
from searchhub.metrics.segmentation import VOID

IMAGE_COLUMNS = ("image", "images", "img", "picture", "pixel_values")
MASK_COLUMNS = (
    *("mask", "masks", "label", "labels", "annotation", "annotations", "segmentation", "segmentation_mask"),
    *("semantic_segmentation", "label_map", "gt"),
)
"""Names of columns of pictures, and of masks, that need not be given."""

NAME_COLUMNS = ("file_name", "filename", "image_path", "path")
"""Names of columns that tell the order of frames where pictures do not bring the names of their files."""

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Holding:
    """How a split that a data set lacks is drawn from its train split.

    Args:
        sizes: Share (below 1) or number of training examples for "validation" and "test".
        blocks: Number of stretches of frames. None: `BLOCKS`, and a validation split that is there is taken.
        gap: Number of frames that are left out at each end of a stretch. None: `usual_gap`.
        group_column: Column of what belongs together, which is drawn whole instead. None: stretches are drawn.
        seed: Seed of the draw.
    """

    sizes: Mapping[str, float | int]
    blocks: int | None
    gap: int | None
    group_column: str | None
    seed: int


def load_segmentation_task(
    dataset: str,
    *,
    image_column: str | None = None,
    mask_column: str | None = None,
    label_names: Sequence[str] | str | None = None,
    void_label: int | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    image_size: int | Sequence[int] | None = None,
    augmentation: PairAugmentation | Mapping[str, Any] | None = None,
    image_mean: Sequence[float] = IMAGENET_MEAN,
    image_std: Sequence[float] = IMAGENET_STD,
    validation_size: float | int = 0.2,
    test_size: float | int = 0.2,
    validation_blocks: int | None = None,
    validation_gap: int | None = None,
    group_column: str | None = None,
    test_names: str | None = None,
    max_train_samples: int | None = None,
    max_eval_samples: int | None = None,
    workers: int | None = None,
    seed: int = 0,
) -> SegmentationTask:
    """Loads a data set of pictures and masks into a segmentation task.

    The data set's own validation and test splits are used. A split that is missing is held out from train: first test,
    then validation. What is held out are whole stretches of frames in the order of their files' names, with a gap at
    each end of a stretch, or whole groups, and never single frames: neighbours show the same.

    1. If a data set has only a train and a validation split, the validation split is the test split.
    2. Masks hold the number of each pixel's class, 0 … n - 1, and 255 where it has none. No class is taken for
       background. Those of Cityscapes' folders are turned into its 19 classes.
    3. Rows of parquet or the Hub are in the order of their pictures' file names, of a column like `file_name`, or as
       they lie.

    Args:
        dataset: Hub id, or a path: a parquet file, a folder of parquet files named after their splits, a folder of
            pictures and masks (`train/images/1.jpg`, `train/masks/1.png`), or one with Cityscapes' `leftImg8bit` and
            `gtFine`.
        image_column: Name of the picture column. None: the one of two columns of pictures that is called so.
        mask_column: Name of the mask column. None: the other one.
        label_names: Class names, or the path of a text file with one on each line. None: the numbers up to the largest
            one in the masks, which are all read for that; Cityscapes' for its folders.
        void_label: Another value than 255 of pixels that belong to no class. None: there is no other.
        palette: Colour of each class. None: Cityscapes' for its folders, else none.
        image_size: Height and width to which pictures are resized; masks keep their size. A single number is both.
            None: the size of the first training picture.
        augmentation: Random changes, or the fields of a `PairAugmentation`. None: parts of `image_size`.
        image_mean: Mean of each channel, for values in [0, 1].
        image_std: Deviation of each channel, for values in [0, 1].
        validation_size: Share (below 1) or number of training examples to validate on.
        test_size: Share or number of training examples to test on, if the data set has no such split.
        validation_blocks: Number of stretches that validation consists of. A validation split that the data set has
            beside a test split is left out then. None: 4, if it has none.
        validation_gap: Number of frames at each end of a stretch that are left out. None: 2, and 1 at stretches of one
            or two frames.
        group_column: Name of a column, as of drives or cities, whose values are drawn whole instead of stretches.
            None: that of the cities for Cityscapes' folders unless `validation_blocks` is given, else none.
        test_names: Regular expression that is found in the names of test pictures' files; others are left out. None:
            all are tested on.
        max_train_samples: How many training examples to take, after shuffling. None: all.
        max_eval_samples: How many validation examples, and how many test examples, to take. None: all.
        workers: Number of threads that decode. None: as many as this process has cores.
        seed: Seed of what is held out.

    Raises:
        InvalidInputError: The data set cannot be found or read, has no such columns, or a mask does not fit.
    """
    read = _read(dataset)
    image_column, mask_column = _columns(read.splits, dataset, image_column, mask_column)
    splits = with_pictures(read.splits, dataset, image_column, "--image_column")
    splits = with_pictures(splits, dataset, mask_column, "--mask_column")
    if validation_blocks is None:
        group_column = group_column or read.group_column
    check_groups(splits, dataset, group_column)
    sizes = {"validation": validation_size, "test": test_size}
    holding = Holding(sizes, validation_blocks, validation_gap, group_column, seed)
    splits, own, said, gaps = _three_splits(splits, dataset, image_column, holding)
    if test_names is not None:
        splits["test"], note = _named(splits["test"], dataset, image_column, test_names)
        said.append(note)
    splits = limited(splits, dataset, max_train_samples, max_eval_samples, seed)
    name = Path(dataset).name if Path(dataset).exists() else dataset
    names = _names(label_names) or read.label_names or _numbers(name, splits, image_column, mask_column, void_label)
    size = _pair_of("image_size", image_size) or _size_of_first(name, splits["train"], image_column)
    if augmentation is None:
        augmentation = PairAugmentation(size)
    elif isinstance(augmentation, Mapping):
        augmentation = PairAugmentation(**augmentation)
    source = {
        "kind": "segmentation",
        "dataset": kept_path(dataset),
        "image_column": image_column,
        "mask_column": mask_column,
        "label_names": list(names),
        "void_label": void_label,
        "palette": palette if palette is None else [list(colour) for colour in palette],
        "image_size": list(size),
        "augmentation": json.loads(json.dumps(asdict(augmentation))),  # lists, as it is read from a file
        "image_mean": list(image_mean),
        "image_std": list(image_std),
        "validation_size": validation_size,
        "test_size": test_size,
        "validation_blocks": validation_blocks,
        "validation_gap": _recorded_gap(validation_gap, gaps),
        "group_column": group_column,
        "max_train_samples": max_train_samples,
        "max_eval_samples": max_eval_samples,
        "seed": seed,
        **({} if test_names is None else {"test_names": test_names}),
    }
    return SegmentationTask(
        name,
        splits,
        image_column=image_column,
        mask_column=mask_column,
        label_names=names,
        image_size=size,
        augmentation=augmentation,
        image_mean=image_mean,
        image_std=image_std,
        table=read.table if read.table is not None else label_table(len(names), void_label),
        palette=palette or read.palette,
        workers=workers,
        source=source,
        own_splits=own,
        notes=(*read.notes, *said),
    )


def describe(task: SegmentationTask) -> str:
    """Describes a task for people: sizes, each class's share of the pixels, absent classes, and what was decided.

    All masks are read for that, so that none which does not fit is met later.

    Raises:
        InvalidInputError: A mask cannot be read, or holds what is no class.
    """
    counts = {split: task.pixel_counts(split).numpy() for split in SPLITS}  # type: ignore[arg-type]
    shares = {split: 100 * own / max(1, own.sum()) for split, own in counts.items()}
    each = [
        f"`{name}` {' / '.join(f'{shares[split][i]:.2g}' for split in SPLITS)}"
        for i, name in enumerate((*task.label_names, "void"))
    ]
    lines = [f"Percent of the pixels ({' / '.join(SPLITS)}): {', '.join(each)}"]
    for split, own in counts.items():
        if absent := [name for name, n in zip(task.label_names, own, strict=False) if not n]:
            lines.append(f"No pixel of {split} is {', '.join(f'`{name}`' for name in absent)}.")
    height, width = task.image_size
    return describe_task(task, f"pictures of {width} x {height}", "\n  ".join(lines))


def _read(dataset: str) -> FolderPairs:
    """Reads all splits, from wherever they are."""
    known: list[FolderPairs] = []

    def read_folder(folder: Path) -> FolderPictures:
        files = visible_files(folder)
        tables = [file for file in files if ending(file) == ".parquet"]
        if is_cityscapes(folder):
            known.append(read_cityscapes(folder, files))
        elif tables and not any(ending(file) in PICTURES for file in files):
            found = table_files(folder, tables)
            splits = read_parquet(found.splits or {"train": [folder / file for file in tables]})
            known.append(FolderPairs(splits, found.notes))
        else:
            known.append(read_mask_folder(folder, files))
        return FolderPictures(known[0].splits, known[0].notes)

    words = "a Hub id that can be reached, parquet, or a folder of pictures and masks"
    read = read_source(dataset, read_folder, words, "parquet, or pictures like `train/images/*` and `train/masks/*`")
    return known[0] if known else FolderPairs(read.splits, read.notes)


def _columns(splits: DatasetDict, dataset: str, image_column: str | None, mask_column: str | None) -> tuple[str, str]:
    """Returns the names of the picture and the mask column."""
    features = next(iter(splits.values())).features
    fitting = [
        name
        for name, kind in features.items()
        if isinstance(kind, Image) or kind == Value("binary") or (isinstance(kind, dict) and "bytes" in kind)
    ]
    for option, given in (("image_column", image_column), ("mask_column", mask_column)):
        if given is not None and given not in features:
            raise InvalidInputError(
                f"`--{option}` must name a column of `{dataset}`, but is {given!r}. It has: {sorted(features)}."
            )
    left = [name for name in fitting if name not in (image_column, mask_column)]
    if mask_column is None:
        called = [name for name in left if name.casefold() in MASK_COLUMNS]
        mask_column = called[0] if len(called) == 1 else None
        if mask_column is None and image_column is not None and len(left) == 1:
            mask_column = left[0]
    left = [name for name in left if name != mask_column]
    if image_column is None:
        called = [name for name in left if name.casefold() in IMAGE_COLUMNS]
        image_column = left[0] if len(left) == 1 else called[0] if len(called) == 1 else None
    if image_column is None or mask_column is None or image_column == mask_column:
        raise InvalidInputError(
            f"`{dataset}` must have a column of pictures and another one of masks that are told apart by their names, "
            f"but its columns of pictures are {fitting}, of {sorted(features)}. Name them: `--image_column` and "
            "`--mask_column`."
        )
    return image_column, mask_column


def _three_splits(
    splits: DatasetDict, dataset: str, image_column: str, holding: Holding
) -> tuple[DatasetDict, dict[str, str], list[str], set[int]]:
    """Returns train, validation and test, the data set's own names of the last two, notes, and gaps at stretches."""
    if "train" not in splits:
        raise InvalidInputError(f"`{dataset}` must have a split `train`, but has {sorted(splits)}.")
    notes: list[str] = []
    gaps: set[int] = set()
    given = [name for name in VALIDATION_NAMES if name in splits]
    if holding.blocks is not None and "test" in splits and given:
        notes.append(f"left out the split `{given[0]}`, since `validation_blocks` asks for stretches of train")
        splits = DatasetDict({name: split for name, split in splits.items() if name not in given})
        given = []
    found = {name: splits[name] for name in ("train", "test") if name in splits}
    if given:
        found["validation" if "test" in found else "test"] = splits[given[0]]
    for name in ("test", "validation"):
        if name not in found:
            found["train"], found[name], note, gap = _held_out(found["train"], image_column, name, holding)
            notes.append(note)
            gaps |= set() if gap is None else {gap}
    return DatasetDict(found), own_splits(splits), notes, gaps


def _held_out(
    train: Dataset, image_column: str, name: str, holding: Holding
) -> tuple[Dataset, Dataset, str, int | None]:
    """Draws a split from train; returns what is left, the split, a note, and the gap at stretches if there are some."""
    size, column = holding.sizes[name], holding.group_column
    if column is not None:
        parts = split_off(train, size, None, name, holding.seed, column)
        groups = sorted(map(str, set(parts["test"][column][:])))
        return parts["train"], parts["test"], f"{name} is all of train whose `{column}` is {', '.join(groups)}", None
    names = _file_names(train, image_column)
    order = in_order(names)
    wanted = int(size) if size >= 1 else math.ceil(size * len(train))
    blocks = max(1, min(BLOCKS, wanted)) if holding.blocks is None else holding.blocks
    gap = usual_gap(wanted // max(1, blocks)) if holding.gap is None else holding.gap
    stretches, left = hold_out(len(train), wanted, blocks, gap, holding.seed, name)
    drawn = np.concatenate([np.arange(first, end) for first, end in stretches])

    def called(position: int) -> str:
        there = names[order[position]]
        return f"`{Path(there).name}`" if there else f"row {order[position]}"

    said = ", ".join(f"{called(first)} to {called(end - 1)}" for first, end in stretches)
    dropped = len(train) - len(left) - len(drawn)
    note = f"{name} is {len(stretches)} stretches of train, {said}; {dropped} frames at their ends are left out"
    return train.select(order[left]), train.select(order[drawn]), note, gap


def _recorded_gap(given: int | None, used: set[int]) -> int | None:
    """Returns the gap that draws the same stretches again: one number, unless those of validation and test differ."""
    if given is not None or len(used) > 1:
        return given
    return next(iter(used), GAP)


def _named(test: Dataset, dataset: str, image_column: str, pattern: str) -> tuple[Dataset, str]:
    """Returns the pictures whose files' names have a pattern, and a note.

    Raises:
        InvalidInputError: It is no regular expression, pictures have no names, or none has it.
    """
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise InvalidInputError(
            f"`test_names` must be a regular expression, but `{pattern}` is none: {error}."
        ) from None
    names = [Path(name or "").name for name in _file_names(test, image_column)]
    rows = [row for row, name in enumerate(names) if name and found.search(name)]
    if not rows:
        example = f", as in `{names[0]}`" if names and names[0] else ", for they have none"
        raise InvalidInputError(
            f"`{pattern}` must be in the names of some test pictures of `{dataset}`, but is in none{example}. Mend it."
        )
    return test.select(rows), f"test is {len(rows)} of {len(test)} pictures, those with `{pattern}` in their names"


def _file_names(split: Dataset, image_column: str) -> list[str | None]:
    """Returns names of pictures: their files', or what a column of names says, or None."""
    names = EncodedPictures(split, image_column).paths()
    columns = [column for column in NAME_COLUMNS if column in split.column_names]
    return [str(value) for value in split[columns[0]][:]] if None in names and columns else names


def _names(given: Sequence[str] | str | None) -> tuple[str, ...] | None:
    """Returns class names that are given, or stand in a text file."""
    if not isinstance(given, str):
        return None if given is None else tuple(map(str, given))
    try:
        lines = Path(given).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"`--label_names` must be class names, or a text file with one on each line, but: {error}."
        ) from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise InvalidInputError(f"`{given}` must hold class names, one on each line, but is empty.")
    return names


def _numbers(
    name: str, splits: DatasetDict, image_column: str, mask_column: str, void_label: int | None
) -> tuple[str, ...]:
    """Returns the numbers up to the largest label of all masks, which are read."""
    pictures = {split: EncodedPictures(splits[split], image_column) for split in SPLITS}
    masks = {split: EncodedPictures(splits[split], mask_column) for split in SPLITS}
    pairs = DecodedPairs(name, pictures, masks, image_size=(1, 1), table=range(256))
    counts = sum(pairs.counts(split) for split in SPLITS)
    values = np.setdiff1d(np.flatnonzero(counts), [VOID] if void_label is None else [VOID, void_label])
    if not len(values):
        raise InvalidInputError(f"Masks of `{name}` must hold classes, but all their pixels are void.")
    return tuple(str(number) for number in range(int(values.max()) + 1))


def _pair_of(option: str, size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    both = (size, size) if isinstance(size, int) else tuple(size)
    if len(both) != 2:
        raise InvalidInputError(f"`{option}` must be a height and a width, but is {list(both)}.")
    return int(both[0]), int(both[1])


def _size_of_first(name: str, train: Dataset, image_column: str) -> tuple[int, int]:
    width, height = EncodedPictures(train, image_column).decode(0, "train", name).size
    return int(height), int(width)
