"""Makes the splits of a data set: from the Hub, with class labels, in three parts, cut to size."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
import numpy as np
import torch
from datasets import ClassLabel, DatasetDict, Value, load_dataset
from datasets.exceptions import DatasetGenerationError
from datasets.packaged_modules.cache.cache import Cache
from datasets.utils.stratify import stratified_shuffle_split_generate_indices
from pyarrow import ArrowException

from searchhub.data.draws import Contained, Groups, draw_few, draw_together
from searchhub.data.tables import as_text
from searchhub.errors import InvalidInputError
from searchhub.hub_client import is_path, why_silent

logger = logging.getLogger(__name__)

CLASS_TYPES = re.compile(r"u?int\d+|float\d+|double|(large_)?string(_view)?|bool")
"""Arrow types of label columns that can stand for classes. Floats must be whole numbers."""

MAX_NUMBERED_CLASSES = 1000
"""Up to this many different numbers are classes as they are. More of them, unless 0 … n - 1, are amounts to predict."""

VALIDATION_NAMES = ("validation", "valid", "val", "dev")
"""Names that data sets give their validation split."""


LABEL_COLUMNS = ("label", "labels")
"""Names of a label column that need not be given."""

LEAST_SHARE = 0.02
"""A part below this share that has no room for every class is taken for a slip, and refused."""

HELD_OUT = "a part of train"
"""Name on cards for a split that was drawn from the data set's train split."""


def from_hub(dataset: str, config: str | None = None) -> DatasetDict:
    """Loads all splits of a data set on the Hub. Without a network it uses an earlier run's files, or fails at once."""
    if is_path(dataset):
        raise FileNotFoundError(f"there is no such file or folder, looked for from {Path.cwd()}")
    silent = why_silent(dataset, "dataset")
    if silent is None:
        return DatasetDict(load_dataset(dataset, config))
    cached = _from_cache(dataset, config)
    if cached is None:
        raise silent
    return cached


def _from_cache(dataset: str, config: str | None) -> DatasetDict | None:
    """Returns what an earlier run fetched from the Hub; None if there is nothing."""
    try:
        builder = Cache(
            dataset_name=dataset.split("/")[-1], config_name=config, repo_id=dataset, version="auto", hash="auto"
        )
        return DatasetDict(builder.as_dataset())
    except ValueError:
        return None


def labelled(splits: DatasetDict, dataset: str, label_column: str) -> DatasetDict:
    """Returns the splits that have labels; -1, null and NaN stand for no label."""
    kind = next(iter(splits.values())).features[label_column]
    if not (isinstance(kind, ClassLabel) or (isinstance(kind, Value) and CLASS_TYPES.fullmatch(kind.dtype))):
        raise InvalidInputError(
            f"`{label_column}` of `{dataset}` must hold classes (ClassLabel, whole numbers, strings or booleans), but "
            f"holds {kind}. Name another `--label_column`."
        )
    kept = {}
    for name, split in splits.items():
        values = split.unique(label_column)
        missing = [v for v in values if v is None or v != v or v in (-1, "-1")]
        if missing and len(missing) == len(values) and name != "train":
            continue
        missing = [v for v in missing if v != "-1"]  # among words it is one
        if missing:
            raise InvalidInputError(
                f"Every example of the split `{name}` of `{dataset}` must have a label, but `{label_column}` holds "
                f"{missing}. Drop those examples"
                + (", or give the class another number than -1." if -1 in missing else ".")
            )
        kept[name] = split
    return DatasetDict(kept)


def with_class_labels(splits: DatasetDict, dataset: str, label_column: str) -> DatasetDict:
    """Turns whole numbers, strings or booleans into a `ClassLabel`, whose names are the values in their order.

    Raises:
        InvalidInputError: Numbers are not whole, or they are more than `MAX_NUMBERED_CLASSES` and not 0 … n - 1.
    """
    splits = _of_one_kind(splits, dataset, label_column)
    if isinstance(next(iter(splits.values())).features[label_column], ClassLabel):
        return splits
    values = {value for split in splits.values() for value in split.unique(label_column)}
    numbers = sorted(v for v in values if isinstance(v, int | float) and not isinstance(v, bool))
    _check_numbers(numbers, dataset, label_column)
    if len(numbers) == len(values):
        names = [str(int(v)) for v in numbers]
    else:  # If one file holds only numbers and another holds words too, all are words.
        names = sorted({_class_name(v) for v in values})
    as_they_are = names == [str(i) for i in range(len(names))]

    def cast(split: datasets.Dataset) -> datasets.Dataset:
        kind = split.features[label_column].dtype
        if "float" in kind or kind == "double":
            split = split.cast_column(label_column, Value("int64"))
        if numbers and not as_they_are:  # A `ClassLabel` takes numbers as indices, but finds strings among its names.
            split = split.cast_column(label_column, Value("string"))
        return split.cast_column(label_column, ClassLabel(names=names))

    return DatasetDict({name: cast(split) for name, split in splits.items()})


def _class_name(value: object) -> str:
    return str(int(value)) if isinstance(value, float) else str(value)


def _of_one_kind(splits: DatasetDict, dataset: str, label_column: str) -> DatasetDict:
    """Returns splits that all have train's `ClassLabel`, or none, where files differ in what they say of their labels.

    Raises:
        InvalidInputError: Train has a `ClassLabel`, and another split a class that it does not name.
    """
    kinds = [split.features[label_column] for split in splits.values()]
    if "train" not in splits or not any(isinstance(kind, ClassLabel) for kind in kinds):
        return splits
    kind = splits["train"].features[label_column]
    alike = {}
    for name, split in splits.items():
        own = split.features[label_column]
        if isinstance(own, ClassLabel) and own != kind:
            # Names count; only beside bare numbers do the numbers.
            bare = isinstance(kind, Value) and "int" in kind.dtype
            split = split.cast_column(label_column, Value("int64")) if bare else as_text(split, label_column)
        if isinstance(kind, ClassLabel) and own != kind:
            try:
                split = split.cast_column(label_column, kind)
            except (ValueError, ArrowException) as error:
                raise InvalidInputError(
                    f"The split `{name}` of `{dataset}` must hold train's classes, {kind.names[:8]}, but its "
                    f"`{label_column}` does not: {error}. Write each class alike in all files."
                ) from error
        alike[name] = split
    return DatasetDict(alike)


def _check_shared(splits: Mapping[str, datasets.Dataset], dataset: str, label_column: str) -> None:
    """Refuses a split that shares no class with train, and says which classes train lacks."""
    names = splits["train"].features[label_column].names
    classes = {name: {names[i] for i in set(split[label_column][:])} for name, split in splits.items()}
    for name, own in classes.items():
        unknown = sorted(own - classes["train"])
        if unknown and len(unknown) == len(own):
            raise InvalidInputError(
                f"The split `{name}` of `{dataset}` must hold classes of train, {sorted(classes['train'])[:8]}, but "
                f"its `{label_column}` holds {unknown[:8]}. Write each class alike in all files."
            )
        if unknown:
            logger.warning("The split `%s` of `%s` holds classes that train lacks: %s", name, dataset, unknown[:8])


def _check_numbers(numbers: Sequence[float], dataset: str, label_column: str) -> None:
    """Checks that numbers, in ascending order, can stand for classes."""
    broken = [v for v in numbers if not float(v).is_integer()]
    if broken:
        raise InvalidInputError(
            f"Numbers of `{label_column}` of `{dataset}` must be whole to be classes, but one is {broken[0]}. Put "
            "amounts into bins, or name another `--label_column`."
        )
    if len(numbers) > MAX_NUMBERED_CLASSES and (numbers[0], numbers[-1]) != (0, len(numbers) - 1):
        raise InvalidInputError(
            f"Integer labels other than 0 … n - 1 must be at most {MAX_NUMBERED_CLASSES:,} different ones, but "
            f"`{label_column}` of `{dataset}` holds {len(numbers):,}, from {numbers[0]:g} to {numbers[-1]:g}. Put "
            "amounts into bins; renumber classes, or write a letter before each number."
        )


_NUMBER = "number among the chosen classes"


def with_classes_marked(
    splits: DatasetDict, dataset: str, label_column: str, classes: int | Sequence[str], seed: int
) -> DatasetDict:
    """Returns all examples, with a mark on those of some classes; `marked_classes` selects these.

    The examples are split between the two calls, always alike, so that no example is in the test split of one choice of
    classes and in the training data of another.

    Args:
        splits: Splits with a `ClassLabel`.
        dataset: Name of the data set, for messages.
        label_column: Name of the label column.
        classes: Names of the classes, or how many to draw.
        seed: Seed of the draw.

    Raises:
        InvalidInputError: There is no such class, or there are not enough, or fewer than two are asked for.
    """
    names = next(iter(splits.values())).features[label_column].names
    if isinstance(classes, int):
        fits = 2 <= classes <= len(names)
        kept = np.random.default_rng(seed).choice(len(names), size=classes, replace=False).tolist() if fits else []
        asked: object = classes
    else:
        kept = [names.index(name) for name in classes if name in names]
        asked = [name for name in classes if name not in names][:5] or list(classes)
        fits = len(kept) == len(classes) == len(set(classes)) >= 2
    if not fits:
        raise InvalidInputError(
            f"`classes` must be 2 to {len(names)} distinct ones of `{dataset}` ({names[0]!r}, …, {names[-1]!r}), or "
            f"how many, but got {asked}."
        )
    number = np.full(len(names), -1)
    number[sorted(kept)] = np.arange(len(kept))
    label = ClassLabel(names=[names[i] for i in sorted(kept)])

    def marked(split: datasets.Dataset) -> datasets.Dataset:
        # The mark is a column beside the pictures, which are neither copied nor decoded.
        numbers = number[np.array(split[label_column][:], dtype=np.int64)]
        return split.add_column(_NUMBER, numbers, feature=label)

    return DatasetDict({name: marked(split) for name, split in splits.items()})


def marked_classes(splits: DatasetDict, label_column: str) -> DatasetDict:
    """Returns the examples that `with_classes_marked` marked. Labels are 0 … n - 1 in the order of the data set's
    classes.
    """
    chosen = {}
    for name, split in splits.items():
        rows = np.flatnonzero(np.array(split[_NUMBER][:]) >= 0)
        chosen[name] = split.select(rows).remove_columns(label_column).rename_column(_NUMBER, label_column)
    return DatasetDict(chosen)


def check_seed(seed: int) -> None:
    """Checks a seed before work is done with it.

    Raises:
        InvalidInputError: It is negative, or larger than the libraries that draw random numbers take.
    """
    if not 0 <= seed < 2**32:
        raise InvalidInputError(f"`0 <= seed < {2**32:,}` must hold, but got {seed}. Choose another.")


def own_splits(splits: DatasetDict) -> dict[str, str]:
    """Returns the data set's own names of the test and validation split that `three_splits` makes."""
    own = ["test"] if "test" in splits else []
    own += [name for name in VALIDATION_NAMES if name in splits][:1]
    return dict(zip(("test", "validation"), [*own, HELD_OUT, HELD_OUT], strict=False))


def three_splits(
    splits: DatasetDict,
    label_column: str,
    dataset: str,
    validation_size: float | int,
    test_size: float | int,
    seed: int,
    group_column: str | None = None,
    text_column: str | None = None,
) -> DatasetDict:
    """Returns the data set's own splits. A missing one is drawn from train, first test, then validation.

    If there is only a train and a validation split, the validation split is the test split.

    Raises:
        InvalidInputError: There is no train split, another split has none of its classes, or a part cannot be drawn.
    """
    if "train" not in splits:
        raise InvalidInputError(f"`{dataset}` must have a split `train`, but has {sorted(splits)}.")
    found = {name: splits[name] for name in ("train", "test") if name in splits}
    for name in VALIDATION_NAMES:
        if name in splits:
            found.setdefault("validation", splits[name])
    if "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    _check_shared(found, dataset, label_column)
    for name, size in (("test", test_size), ("validation", validation_size)):
        if name not in found:
            parts = split_off(found["train"], size, label_column, name, seed, group_column, text_column)
            found["train"], found[name] = parts["train"], parts["test"]
    return DatasetDict(found)


def check_groups(splits: DatasetDict, dataset: str, group_column: str | None) -> None:
    """Checks that train has the column by which parts are to be drawn.

    Raises:
        InvalidInputError: It has no such column.
    """
    if group_column is not None and group_column not in (columns := splits["train"].column_names):
        raise InvalidInputError(
            f"`--group_column` must name a column of `{dataset}`, but is {group_column!r}. It has: {sorted(columns)}."
        )


def only_text(columns: Sequence[str], dataset: str) -> str:
    """Returns the one column of texts.

    Raises:
        InvalidInputError: There are several: it is not said what it means that a pair stands in another.
    """
    if len(columns) != 1:
        raise InvalidInputError(
            f"`--contained_together` is for single texts, but `{dataset}` has pairs of {list(columns)}. Drop it."
        )
    return columns[0]


def split_off(
    train: datasets.Dataset,
    size: float | int,
    label_column: str | None,
    name: str,
    seed: int,
    group_column: str | None = None,
    text_column: str | None = None,
) -> DatasetDict:
    """Draws a share (below 1) or number of examples from train; returns the parts "train" and "test".

    Classes keep their proportions. If some have too few examples for both parts, at least one example of each stays in
    train.

    Args:
        train: Examples to draw from.
        size: Share or number of examples to draw.
        label_column: Name of the column of classes to stratify by. None: draw at random.
        name: Name of the part that is drawn, for errors.
        seed: Seed of the draw.
        group_column: Name of a column: all examples with one value go to the same part, so the size is met nearly, and
            classes keep their proportions nearly. An empty value stands for a group of its own. None: no groups.
        text_column: Name of a column of texts, none of which, where it is drawn, stands in one that is left. None: they
            are not looked at.

    Raises:
        InvalidInputError: A class, or a part, would be empty.
    """
    check_seed(seed)
    amount = int(size) if size >= 1 else size
    wanted = amount if size >= 1 else math.ceil(size * len(train))
    labels = None if label_column is None else np.array(train[label_column][:])
    if group_column is not None or text_column is not None:
        kept = Groups(train[group_column][:]) if group_column is not None else Contained(train[text_column][:])
        drawn = draw_together(kept, labels, wanted, seed)
        if drawn is None:
            raise InvalidInputError(
                f"What stays together must leave every class in train, but no draw of about {wanted} of the "
                f"{len(train)} training examples for `--{name}_size` does: there are {kept.words}. Change the size, or "
                f"drop `--{'contained_together' if group_column is None else 'group_column'}`."
            )
        return _parts(train, drawn)
    if labels is not None and 0 < wanted < len(train):
        counts = np.unique(labels, return_counts=True)[1]
        few = counts.min() < 2 or LEAST_SHARE * len(train) <= wanted < len(counts)
        if few and len(counts) <= len(train) - wanted and wanted <= (counts - 1).sum():
            return _parts(train, draw_few(labels, wanted, seed))
    try:
        if labels is None or not 0 < wanted < len(train):
            return train.train_test_split(test_size=amount, seed=seed)
        if counts.min() < 2:
            raise ValueError("a class has only one example")
        # `train_test_split` draws the same, but reads labels row by row: of millions that takes minutes.
        rng = np.random.default_rng(seed)
        rest, drawn = next(stratified_shuffle_split_generate_indices(labels, len(train) - wanted, wanted, rng))
        return _parts(train, drawn, rest)
    except ValueError as error:
        raise InvalidInputError(
            f"`--{name}_size` must leave every class in both parts of the {len(train)} training examples, but {size} "
            f"does not: {error}. Give a share, e.g. 0.2."
        ) from error


def _parts(train: datasets.Dataset, drawn: np.ndarray, rest: np.ndarray | None = None) -> DatasetDict:
    """Returns both parts; `drawn` are positions of the second, in random order, `rest` those of the first if given."""
    if rest is None:
        rest = np.setdiff1d(np.arange(len(train)), drawn)
    return DatasetDict(train=train.select(rest), test=train.select(drawn))


def limited(
    splits: DatasetDict, dataset: str, max_train_samples: int | None, max_eval_samples: int | None, seed: int
) -> DatasetDict:
    """Draws at random at most `max_train_samples` of train and `max_eval_samples` of each other split.

    Raises:
        InvalidInputError: A limit is less than 1, a split is empty, or the seed is out of its bounds.
    """
    check_seed(seed)
    splits = DatasetDict(splits)
    for split in splits:
        limit = max_train_samples if split == "train" else max_eval_samples
        if limit is not None and limit < 1:
            raise InvalidInputError(f"`max_train_samples` and `max_eval_samples` must be at least 1, but got {limit}.")
        if limit is not None and limit < len(splits[split]):
            splits[split] = splits[split].shuffle(seed=seed).select(range(limit))
        if len(splits[split]) == 0:
            raise InvalidInputError(f"The split `{split}` of `{dataset}` must hold examples, but is empty.")
    return splits


def check_labels(labels: torch.Tensor, split: str, name: str, num_labels: int) -> None:
    """Checks classes, int64 [n].

    Raises:
        InvalidInputError: There are no labels, or one is outside 0 … num_labels - 1.
    """
    if len(labels) == 0:
        raise InvalidInputError(f"The split `{split}` of `{name}` must hold examples, but is empty.")
    if int(labels.min()) < 0 or int(labels.max()) >= num_labels:
        raise InvalidInputError(
            f"Labels of the split `{split}` of `{name}` must be 0 … {num_labels - 1}, but span {int(labels.min())} … "
            f"{int(labels.max())}."
        )


def reason(error: Exception) -> str:
    """Returns an error's kind and first line; of an error about making a data set, its cause's."""
    while isinstance(error, DatasetGenerationError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return f"{type(error).__name__}: " + (str(error).strip() or "no reason given").splitlines()[0].rstrip(".")
