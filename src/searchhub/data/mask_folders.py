"""Finds pictures and their masks in folders: by equal names in folders beside each other, or as Cityscapes has them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from datasets import Dataset, DatasetDict, DatasetInfo, Features, Image, Value

from searchhub.data.files_of import ending, folder_splits, left_out_words, some
from searchhub.data.pairs import REFUSED
from searchhub.data.picture_folders import PICTURES, picture_column
from searchhub.errors import InvalidInputError
from searchhub.metrics.segmentation import VOID

IMAGE, MASK, CITY = "image", "mask", "city"
"""Columns of what is read from folders."""

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "pictures", "jpegimages")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "annotation", "segmentationclass")
"""Names, in any case, of folders that hold pictures, and of those beside them that hold masks."""

PICTURES_OF_CITIES, MASKS_OF_CITIES = "leftImg8bit", "gtFine"
"""Folders of Cityscapes, with a folder for each split, and in it one for each city."""

CITYSCAPES = {
    7: ("road", (128, 64, 128)),
    8: ("sidewalk", (244, 35, 232)),
    11: ("building", (70, 70, 70)),
    12: ("wall", (102, 102, 156)),
    13: ("fence", (190, 153, 153)),
    17: ("pole", (153, 153, 153)),
    19: ("traffic light", (250, 170, 30)),
    20: ("traffic sign", (220, 220, 0)),
    21: ("vegetation", (107, 142, 35)),
    22: ("terrain", (152, 251, 152)),
    23: ("sky", (70, 130, 180)),
    24: ("person", (220, 20, 60)),
    25: ("rider", (255, 0, 0)),
    26: ("car", (0, 0, 142)),
    27: ("truck", (0, 0, 70)),
    28: ("bus", (0, 60, 100)),
    31: ("train", (0, 80, 100)),
    32: ("motorcycle", (0, 0, 230)),
    33: ("bicycle", (119, 11, 32)),
}
"""Name and colour of the evaluated classes by their id in `*_labelIds.png`, in the order of their training ids, 0 to 18
(cityscapesScripts, `helpers/labels.py`).
"""

CITYSCAPES_IDS = 34
"""Number of ids; those of no evaluated class are void."""


@dataclass(frozen=True)
class FolderPairs:
    """Pictures and masks by split, and what is known of them.

    Args:
        splits: Splits with the columns `IMAGE` and `MASK`.
        notes: What was decided, for people.
        label_names: Class names. None: nothing says them.
        table: Label of each value that a mask may hold. None: values are labels.
        palette: Colour of each class. None: nothing says them.
        group_column: Column of what belongs together. None: there is none.
    """

    splits: DatasetDict
    notes: tuple[str, ...] = ()
    label_names: tuple[str, ...] | None = None
    table: list[int] | None = None
    palette: list[tuple[int, ...]] | None = None
    group_column: str | None = None


def read_mask_folder(folder: Path, files: Sequence[str]) -> FolderPairs:
    """Reads pictures and their masks: those in folders of pictures belong to those of equal name in folders of masks.

    Folders of splits may stand above these folders, or in them: `train/images`, or `images/train`. A split without any
    mask is left out.

    Args:
        folder: The folder.
        files: Paths of its files relative to it, from `visible_files`.

    Raises:
        InvalidInputError: There are no such folders, a picture has no mask or a mask no picture, or two have one name.
    """
    pictures = [file for file in files if ending(file) in PICTURES]
    found = folder_splits(pictures, folder)
    notes = [left_out_words(found.left_out, "lie in no split")] if found.left_out else []
    splits, beside = {}, []
    for split, examples in found.splits.items():
        sides: tuple[dict[tuple[str, ...], str], dict[tuple[str, ...], str]] = ({}, {})
        for path, folders in examples:
            side, key = _key(path, folders)
            if side is None:
                beside.append(path)
                continue
            twin = sides[side].setdefault(key, path)
            if twin != path:
                raise InvalidInputError(
                    f"Two files of `{folder}` must not have one name, but `{twin}` and `{path}` do. Move one away."
                )
        images, masks = sides
        if images and not masks:
            notes.append(f"the split `{split}`, {len(images):,} pictures, is left out, for it has no masks")
        elif images or masks:
            _check_pairs(folder, images, masks)
            keys = sorted(images, key=images.__getitem__)
            splits[split] = pair_dataset(folder, [images[key] for key in keys], [masks[key] for key in keys])
    if not splits:
        raise InvalidInputError(
            f"`{folder}` must hold pictures in a folder `{IMAGE_FOLDERS[0]}`, and the mask of each, by the same name, "
            f"in one called `{MASK_FOLDERS[0]}`, like `train/images/1.jpg` and `train/masks/1.png`, but holds "
            f"{some(pictures) or 'no pictures'}. Rename its folders, or pack it into parquet with the columns "
            f"`{IMAGE}` and `{MASK}`."
        )
    if beside:
        notes.append(left_out_words(beside, "lie in no folder of pictures or masks"))
    return FolderPairs(DatasetDict(splits), tuple(notes))


def _key(path: str, folders: Sequence[str]) -> tuple[int | None, tuple[str, ...]]:
    """Returns whether a file is a picture, 0, or a mask, 1, and what both of a pair have in common."""
    stem = os.path.splitext(os.path.basename(path))[0]
    for level, name in enumerate(folders):
        for side, names in enumerate((IMAGE_FOLDERS, MASK_FOLDERS)):
            if name.casefold() in names:
                return side, (*folders[:level], *folders[level + 1 :], stem)
    return None, ()


def _check_pairs(folder: Path, images: Mapping[tuple[str, ...], str], masks: Mapping[tuple[str, ...], str]) -> None:
    for here, there, words in ((images, masks, ("picture", "mask")), (masks, images, ("mask", "picture"))):
        if alone := sorted(here[key] for key in here.keys() - there.keys()):
            raise InvalidInputError(
                f"Every {words[0]} of `{folder}` must have a {words[1]} of the same name, but {len(alone):,} have "
                f"none: {some(alone)}. Add these, or move the {words[0]}s away."
            )


def pair_dataset(folder: Path, images: Sequence[str], masks: Sequence[str], **columns: Sequence[str]) -> Dataset:
    """Returns pictures and masks at some paths, relative to a folder, which are not read, beside columns of texts."""
    pictures = {IMAGE: picture_column(folder, images), MASK: picture_column(folder, masks)}
    table = pa.table({**pictures, **{name: pa.array(values, pa.string()) for name, values in columns.items()}})
    kinds = {IMAGE: Image(), MASK: Image(), **dict.fromkeys(columns, Value("string"))}
    return Dataset(table, info=DatasetInfo(features=Features(kinds)))


def is_cityscapes(folder: Path) -> bool:
    """Whether a folder holds Cityscapes as its archives unpack."""
    return (folder / PICTURES_OF_CITIES).is_dir() or (folder / MASKS_OF_CITIES).is_dir()


def read_cityscapes(folder: Path, files: Sequence[str]) -> FolderPairs:
    """Reads Cityscapes' fine annotations from its own folders, with the 19 classes that are evaluated.

    1. Masks are `*_gtFine_labelIds.png`, turned into classes by a table; or `*_gtFine_labelTrainIds.png` where every
       picture has one. The pixels are the same.
    2. The test split has no public masks, so it is left out, and "val" is what networks are tested on. The search
       validates on whole cities of train.

    Args:
        folder: The folder.
        files: Paths of its files relative to it, from `visible_files`.

    Raises:
        InvalidInputError: Pictures or masks are missing.
    """
    there = set(files)
    rows: dict[str, list[tuple[str, str, str]]] = {"train": [], "val": []}
    tested = 0
    suffix = f"_{PICTURES_OF_CITIES}.png"
    for file in files:
        parts = file.split(os.sep)
        if parts[0] != PICTURES_OF_CITIES or len(parts) != 4 or not file.endswith(suffix):
            continue
        _, split, city, name = parts
        tested += split == "test"
        if split in rows:
            stem = os.path.join(MASKS_OF_CITIES, split, city, name.removesuffix(suffix) + f"_{MASKS_OF_CITIES}")
            rows[split].append((file, stem, city))
    for split, found in rows.items():
        if not found:
            raise InvalidInputError(
                f"`{folder}` must hold pictures of the split `{split}` of Cityscapes, "
                f"`{PICTURES_OF_CITIES}/{split}/<city>/*{suffix}`, but holds none. Unpack "
                f"{PICTURES_OF_CITIES}_trainvaltest.zip there."
            )
    every = [stem for found in rows.values() for _, stem, _ in found]
    trained = all(f"{stem}_labelTrainIds.png" in there for stem in every)
    end = "_labelTrainIds.png" if trained else "_labelIds.png"
    if missing := [f"{stem}{end}" for stem in every if f"{stem}{end}" not in there]:
        raise InvalidInputError(
            f"Every picture of `{folder}` must have a mask, but {len(missing):,} are missing: {some(missing)}. Unpack "
            f"{MASKS_OF_CITIES}_trainvaltest.zip there."
        )
    splits = {
        split: pair_dataset(
            folder,
            [file for file, _, _ in found],
            [f"{stem}{end}" for _, stem, _ in found],
            **{CITY: [city for _, _, city in found]},
        )
        for split, found in rows.items()
    }
    notes = [f"masks are `*{end}`"]
    if tested:
        notes.append(f"left out {tested:,} pictures of the split `test`, which has no public masks")
    return FolderPairs(
        DatasetDict(splits),
        tuple(notes),
        label_names=tuple(name for name, _ in CITYSCAPES.values()),
        table=None if trained else cityscapes_table(),
        palette=[colour for _, colour in CITYSCAPES.values()],
        group_column=CITY,
    )


def cityscapes_table() -> list[int]:
    """Returns the label of each value of `*_labelIds.png`."""
    table = [VOID if value < CITYSCAPES_IDS else REFUSED for value in range(256)]
    for label, value in enumerate(CITYSCAPES):
        table[value] = label
    table[VOID] = VOID
    return table
