"""Makes a classification of pictures in folders: classes are the names of folders, or stand in a metadata file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetDict, DatasetInfo, Features, Image
from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

from searchhub.data.files_of import FolderSplits, ending, folder_splits, left_out_words, some
from searchhub.data.splits import LABEL_COLUMNS
from searchhub.data.tables import read_tables
from searchhub.errors import InvalidInputError

PICTURES = frozenset(ImageFolder.EXTENSIONS)
"""Endings of the files that are read as pictures."""

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Names of files that tell more of the pictures beside them and below, a row each, by a column `file_name`."""

DOCUMENTS = frozenset(
    f".{name}"
    for name in (
        *("csv", "db", "htm", "html", "ini", "json", "jsonl", "log", "md", "parquet", "pdf", "pkl", "py", "rtf"),
        *("tsv", "txt", "xls", "xlsx", "xml", "yaml", "yml"),
    )
)
"""Endings of files that nobody takes for pictures, so that nothing is said of them."""


@dataclass(frozen=True)
class FolderPictures:
    """Pictures of a folder by split, with their classes.

    Args:
        splits: Splits with an image column, a label column where a folder or a metadata file says one, and the columns
            of the metadata.
        notes: What was decided, for people.
    """

    splits: DatasetDict
    notes: tuple[str, ...]


def read_picture_folder(folder: Path, files: Sequence[str], label_column: str | None) -> FolderPictures:
    """Reads pictures and their classes: from a metadata file that holds labels, else from the names of folders.

    The class of a picture is the innermost folder that it lies in; the folder of the split is none.

    Args:
        folder: The folder.
        files: Paths of its files relative to it, from `visible_files`.
        label_column: Name of the label column. None: "label" or "labels".

    Raises:
        InvalidInputError: Nothing says the classes, class folders lie at different depths, or there is but one class.
    """
    pictures = [file for file in files if ending(file) in PICTURES]
    others = [f for f in files if ending(f) not in PICTURES | DOCUMENTS and os.path.basename(f) not in METADATA]
    notes = [left_out_words(others, "are not read as pictures")] if others else []
    found = folder_splits(pictures, folder)
    metadata = [file for file in files if os.path.basename(file) in METADATA]
    columns = _columns(folder, metadata)
    if found.left_out:
        notes.append(left_out_words(found.left_out, "lie in no split"))
    if labels := [label_column] if label_column in columns else [name for name in LABEL_COLUMNS if name in columns]:
        splits, left_out = _by_metadata(folder, found, columns)
        if left_out:
            notes.append(left_out_words(left_out, f"are in no row of {some(metadata)}"))
        return FolderPictures(splits, (*notes, f"labels are `{labels[0]}` of {some(metadata)}"))
    where = f"{some(metadata)} has no column `{label_column or LABEL_COLUMNS[0]}`, only {sorted(columns)}"
    try:
        classes, left_out = class_folders(found, folder)
    except InvalidInputError as error:
        if not metadata:
            raise
        raise InvalidInputError(f"{error} {where}: name its `--label_column`.") from error
    if metadata:
        notes.append(f"classes are folders, since {where}")
    if left_out:
        notes.append(left_out_words(left_out, "lie in no class folder"))
    names = sorted({name for files in classes.values() for _, name in files})
    number = {name: i for i, name in enumerate(names)}
    label = ClassLabel(names=names)
    splits = {
        split: _dataset(
            folder,
            [path for path, _ in files],
            {"label": pa.array([number[name] for _, name in files], pa.int64())},
            label=label,
        )
        for split, files in classes.items()
    }
    return FolderPictures(DatasetDict(splits), tuple(notes))


def class_folders(found: FolderSplits, root: str | Path) -> tuple[dict[str, list[tuple[str, str]]], tuple[str, ...]]:
    """Returns (path, class) of each picture by split, and the pictures that lie beside the class folders.

    Raises:
        InvalidInputError: Pictures lie at different depths, or in fewer than two class folders.
    """
    every = [folders for files in found.splits.values() for _, folders in files]
    first, last = min(every, default=()), max(every, default=())
    common = 0  # folders that all pictures lie in are none of a class
    while common < min(len(first), len(last)) and first[common] == last[common]:
        common += 1
    classes: dict[str, list[tuple[str, str]]] = {}
    beside = []
    example: dict[int, str] = {}
    for split, files in found.splits.items():
        for path, folders in files:
            depth = len(folders) - common
            if depth == 0:
                beside.append(path)
                continue
            example.setdefault(depth, path)
            classes.setdefault(split, []).append((path, folders[-1]))
    if len(example) > 1:
        (low, first), (high, second) = sorted(example.items())[:2]
        raise InvalidInputError(
            f"Class folders of `{root}` must all lie at one depth, but `{first}` lies {low} and `{second}` {high} "
            "folders deep, so that either may be the class. Move the pictures, or list them in a metadata.csv with "
            "the columns file_name and label."
        )
    names = {name for files in classes.values() for _, name in files}
    if len(names) < 2:
        single = names or {folders[-1] for folders in every if folders}
        raise InvalidInputError(
            f"Pictures of `{root}` must lie in a folder for each class, and in two at least, but "
            + (
                f"all {len(every):,} lie in `{next(iter(single))}`"
                if len(single) == 1
                else f"{some(sorted(beside))} lie in none"
            )
            + (f" or beside it: {some(sorted(beside))}" if names and beside else "")
            + ". Make folders like `train/<class>/*.jpg`, or `<class>/*.jpg`."
        )
    return classes, tuple(sorted(beside))


def _dataset(folder: Path, paths: Sequence[str], columns: Mapping[str, pa.Array], **features: ClassLabel) -> Dataset:
    """Returns the pictures at some paths, which are not read, beside further columns."""
    table = pa.table({"image": picture_column(folder, paths), **columns})
    kinds = {**Features.from_arrow_schema(table.schema), "image": Image(), **features}
    return Dataset(table, info=DatasetInfo(features=Features(kinds)))


def picture_column(folder: Path, paths: Sequence[str]) -> pa.StructArray:
    """Returns a column of pictures at some paths, relative to a folder, which are not read."""
    root = os.path.abspath(folder)
    whole = pa.array([os.path.join(root, path) for path in paths], pa.string())
    return pa.StructArray.from_arrays([pa.nulls(len(paths), pa.binary()), whole], names=["bytes", "path"])


def _columns(folder: Path, metadata: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns the columns of all metadata files; each maps the paths of pictures, relative to the folder, to values."""
    columns: dict[str, dict[str, Any]] = {}
    for file, rows in read_tables({file: [folder / file] for file in metadata}, ("file_name",)).items():
        if "file_name" not in rows.column_names:
            raise InvalidInputError(
                f"`{folder / file}` must name pictures in the column `file_name`, but has {sorted(rows.column_names)}. "
                "Add the column."
            )
        beside = os.path.dirname(file)
        paths = [os.path.normpath(os.path.join(beside, str(name))) for name in rows["file_name"][:]]
        for column in rows.column_names:
            columns.setdefault(column, {}).update(zip(paths, rows[column][:], strict=True))
        columns["file_name"].update(dict.fromkeys(paths, file))
    return columns


def _by_metadata(
    folder: Path, found: FolderSplits, columns: Mapping[str, Mapping[str, Any]]
) -> tuple[DatasetDict, list[str]]:
    """Returns splits of the pictures that metadata list, in the order of the rows; and the other pictures."""
    listed = columns["file_name"]
    split_of = {path: split for split, files in found.splits.items() for path, _ in files}
    left = set(found.left_out)
    if missing := [path for path in listed if path not in split_of and path not in left]:
        raise InvalidInputError(
            f"Metadata must name pictures that are there, but `{listed[missing[0]]}` of `{folder}` names "
            f"`{missing[0]}`, which is not. Mend or drop {len(missing):,} such rows."
        )
    splits = {}
    for split in found.splits:
        paths = [path for path in listed if split_of.get(path) == split]
        further = {n: _array([v.get(p) for p in paths]) for n, v in columns.items() if n not in ("file_name", "image")}
        if paths:
            splits[split] = _dataset(folder, paths, further)
    return DatasetDict(splits), sorted(path for path in split_of if path not in listed)


def _array(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except pa.ArrowException:  # of several types: as text
        return pa.array([None if value is None else str(value) for value in values])
