"""Finds the files of a folder, and which split each of them holds: the same for pictures, masks and tables."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import datasets
from datasets.data_files import DataFilesDict, DataFilesList

from searchhub.errors import InvalidInputError
from searchhub.files import sha256

SPLITS = ("train", "validation", "test")

SPLIT_WORDS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training", "trainset", "trn"),
    "validation": ("validation", "valid", "val", "dev", "development", "validate", "valset", "devset"),
    "test": ("test", "testing", "testset", "tst"),
    "eval": ("eval", "evaluation", "evaluate", "evalset"),
}
"""Words in a folder's or file's name that say which split it holds, in any case. What "eval" is, the others decide."""

NO_DATA = ("__MACOSX", "__pycache__", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found")
"""Folders in which systems and programs keep copies, beside those whose name begins with a dot."""

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""Endings that stand behind a format's own, as in `reviews.csv.gz`."""

NAMED = 3
"""Number of files that a message names."""


def ending(path: str | Path) -> str:
    """Returns the ending of a file in small letters; of a compressed file both, as ".csv.gz"."""
    stem, last = os.path.splitext(os.path.basename(path))
    last = last.lower()
    return os.path.splitext(stem)[1].lower() + last if last in COMPRESSED else last


def visible_files(folder: str | Path) -> list[str]:
    """Returns the paths, relative to a folder, of all files in it and below, ordered as text.

    Links to files and folders are followed, unless they lead back to a folder that they lie in. Hidden files and
    folders are passed over, and folders in which systems keep copies (`NO_DATA`). The folder itself may have any name.

    Raises:
        InvalidInputError: A folder cannot be read, or a name is no text.
    """
    root = os.fspath(folder)
    found = sorted(_walk(root, "", (os.path.realpath(root),)))
    try:
        "".join(found).encode()
    except UnicodeEncodeError:
        odd = next(name for name in found if not name.isprintable() and _no_text(name))
        raise InvalidInputError(f"Names of files in `{root}` must be UTF-8, but {odd!a} is not. Rename it.") from None
    return found


def _no_text(name: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in name)


def _walk(root: str, below: str, above: tuple[str, ...]) -> Iterator[str]:
    try:
        with os.scandir(os.path.join(root, below)) as entries:
            listed = list(entries)
    except OSError as error:
        raise InvalidInputError(f"Every folder of `{root}` must be readable, but: {error}.") from error
    for entry in listed:
        if entry.name.startswith(".") or entry.name in NO_DATA:
            continue
        path = os.path.join(below, entry.name)
        if not entry.is_dir():
            yield path
            continue
        real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(above[-1], entry.name)
        if real not in above:
            yield from _walk(root, path, (*above, real))


def said_split(name: str) -> tuple[str | None, bool]:
    """Returns the split that a name says, and whether it says nothing else. A name that says two splits says none."""
    words = [word for word in re.split(r"[\W\d_]+", name.casefold()) if word]
    said = {split for split, names in SPLIT_WORDS.items() if set(words) & set(names)}
    return (next(iter(said)) if len(said) == 1 else None), len(words) == 1


def _with_eval(said: Collection[str | None]) -> dict[str, str | None]:
    """Returns what each split that names say is here: "eval" is the test, or the validation beside a test."""
    known: dict[str, str | None] = {split: split for split in SPLITS}
    known["eval"] = next((split for split in ("test", "validation") if split not in said), None)
    return known


@dataclass(frozen=True)
class FolderSplits:
    """The files of each split, with the folders that each lies in beside the one that says its split.

    Args:
        splits: Maps "train", "validation" and "test" to (path, folders) of each file, in the order of the paths. If
            no folder says a split, all are train.
        left_out: Paths of the files that lie in no split.
    """

    splits: Mapping[str, Sequence[tuple[str, tuple[str, ...]]]]
    left_out: tuple[str, ...] = ()


def folder_splits(files: Sequence[str], root: str | Path) -> FolderSplits:
    """Divides files, by their paths relative to a root, as the first level of folders says that names splits only.

    1. A level names splits if each of its folders is called as one, in any case, or like "seg_train" and "seg_test" if
       there are folders below them; without these they are classes ("freight train", "train" beside "bus").
    2. Folders beside train and another split, with folders below them, are left out.
    3. Words in the names of files, and of the root, never count.

    Args:
        files: Paths relative to the root, in order.
        root: The root, for messages.

    Raises:
        InvalidInputError: Some folders of a level say a split and others do not, so that either may be meant.
    """
    folders = [tuple(path.split(os.sep)[:-1]) for path in files]
    for level in range(max(map(len, folders), default=0)):
        here = [parts for parts in folders if len(parts) > level]
        told = {name: said_split(name) for name in sorted({parts[level] for parts in here})}
        said = {split for split, _ in told.values() if split is not None}
        others = [name for name, (split, _) in told.items() if split is None]
        plain = [name for name, (split, alone) in told.items() if split is not None and alone]
        only_plain = len(plain) == len(told)
        if not said or (not only_plain and all(len(parts) == level + 1 for parts in here)):
            continue  # a level of classes, whatever words their names have
        if only_plain or ("train" in said and len(said) > 1):
            return _divided(files, folders, level, {name: split for name, (split, _) in told.items()}, said)
        if others and plain:
            raise InvalidInputError(
                f"Folders of one level in `{root}` must all be splits, or all be classes, but `{plain[0]}` stands "
                f"beside {some(others)}. Call the folders of splits train, validation and test; move others away."
            )
    return FolderSplits({"train": list(zip(files, folders, strict=True))})


def _divided(
    files: Sequence[str],
    folders: Sequence[tuple[str, ...]],
    level: int,
    told: Mapping[str, str | None],
    said: Collection[str | None],
) -> FolderSplits:
    meant = _with_eval(said)
    splits: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    left_out = []
    for path, parts in zip(files, folders, strict=True):
        split = told.get(parts[level]) if len(parts) > level else None
        split = None if split is None else meant[split]
        if split is None:
            left_out.append(path)
        else:
            splits.setdefault(split, []).append((path, parts[:level] + parts[level + 1 :]))
    return FolderSplits({name: splits[name] for name in SPLITS if name in splits}, tuple(left_out))


@dataclass(frozen=True)
class TableFiles:
    """The table files (csv, parquet, …) of each split.

    Args:
        splits: Maps "train", "validation" and "test" to files. It is empty if no name says a split.
        notes: Words for people about files that are not read.
    """

    splits: Mapping[str, Sequence[Path]]
    notes: tuple[str, ...] = ()


def table_files(folder: Path, files: Sequence[str]) -> TableFiles:
    """Divides table files by split: as each one's own name says, else the innermost folder that says a split.

    A file that is a copy of another one of its split, byte for byte, is left out.

    Args:
        folder: The folder.
        files: Paths of its table files, relative to it.

    Raises:
        InvalidInputError: Two files of a split have the same name but for their endings: one is a copy of the other.
    """
    told = {file: _told(file) for file in files}
    meant = _with_eval({split for split in told.values() if split is not None})
    splits: dict[str, list[Path]] = {}
    unsaid, notes = [], []
    for file, split in told.items():
        split = None if split is None else meant[split]
        if split is not None:
            splits.setdefault(split, []).append(folder / file)
        elif any(told.values()):
            unsaid.append(file)
    for split, paths in splits.items():
        stems: dict[str, Path] = {}
        for path in paths:
            twin = stems.setdefault(str(path)[: -len(ending(path))].casefold(), path)
            if twin != path:
                raise InvalidInputError(
                    f"The split `{split}` of `{folder}` must not hold the same examples twice, but there are "
                    f"`{twin.relative_to(folder)}` and `{path.relative_to(folder)}`. Move one away, or name them apart."
                )
        splits[split], copies = _without_copies(folder, paths)
        notes += copies
    notes += [
        f"{split} is {len(paths)} files: {some(_names(paths, folder))}" for split, paths in splits.items() if paths[1:]
    ]
    if unsaid:
        notes.append(left_out_words(unsaid, "say no split by their names"))
    return TableFiles({name: splits[name] for name in SPLITS if name in splits}, tuple(notes))


def _names(paths: Sequence[Path], folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in paths]


def _told(file: str) -> str | None:
    """Returns the split that the name of a file says, or else the innermost of its folders that says one."""
    name = os.path.basename(file)
    own = name[: len(name) - len(ending(name))]
    return next((split for part in (own, *file.split(os.sep)[-2::-1]) if (split := said_split(part)[0])), None)


def _without_copies(folder: Path, paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Returns the paths without those whose content an earlier one has, and a word about each that is dropped."""
    sizes = {path: path.stat().st_size for path in paths}
    counts = Counter(sizes.values())
    first: dict[tuple[int, str], Path] = {}
    copies = {}
    for path in sorted(paths, key=lambda path: (len(path.name), path)):  # "train (1).csv" is the copy
        content = (sizes[path], sha256(path) if counts[sizes[path]] > 1 else "")
        if first.setdefault(content, path) != path:
            copies[path] = first[content]
    said = [
        f"left out `{path.relative_to(folder)}`, a copy of `{copies[path].relative_to(folder)}`"
        for path in sorted(copies)
    ]
    return [path for path in paths if path not in copies], said


def as_data_files(splits: Mapping[str, Sequence[Path]]) -> DataFilesDict:
    """Returns files for a builder of `datasets`, which would otherwise take their paths for patterns."""
    return DataFilesDict(
        {
            split: DataFilesList([_plain(path) for path in paths], [(str(path.stat().st_mtime),) for path in paths])
            for split, paths in splits.items()
        }
    )


def _plain(path: Path) -> str:
    """Returns a path that `datasets` can open: in "a::b" it looks for `a` in an archive `b`, so that takes a link."""
    whole = os.path.abspath(path)
    if "::" not in whole:
        return whole
    name = hashlib.sha256(os.fsencode(whole)).hexdigest()[:32] + ending(whole)
    link = Path(datasets.config.HF_DATASETS_CACHE) / "links" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        link.symlink_to(whole)
    return str(link)


def some(names: Sequence[str]) -> str:
    """Returns the first few names, for people."""
    return ", ".join(f"`{name}`" for name in names[:NAMED]) + (", …" if len(names) > NAMED else "")


def left_out_words(paths: Sequence[str], why: str) -> str:
    """Returns words that say which files are left out, and why."""
    return f"left out {len(paths):,} that {why}: {some(paths)}"
