"""The splits of a data set: from the Hub, with class labels, in three parts, cut to size."""

from __future__ import annotations

import re
from collections.abc import Sequence

import datasets
import numpy as np
import torch
from datasets import ClassLabel, DatasetDict, Value, load_dataset
from datasets.packaged_modules.cache.cache import Cache
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from searchhub.errors import InvalidInputError

CLASS_TYPES = re.compile(r"u?int\d+|float\d+|double|(large_)?string(_view)?|bool")
"""Arrow types of label columns that can stand for classes; of floats, whole numbers only."""

MAX_NUMBERED_CLASSES = 1000
"""So many different numbers are classes as they are; more, other than 0 … n - 1, are rather amounts to predict."""

VALIDATION_NAMES = ("validation", "valid", "val", "dev")
"""What data sets call their validation split."""


HELD_OUT = "a part of train"
"""What cards call a split that was drawn from the data set's train split."""


def from_hub(dataset: str, config: str | None = None) -> DatasetDict:
    """All splits of a data set on the Hub; without a network what an earlier run fetched, or an error at once."""
    # Asked once: where there is no network, `load_dataset` repeats its first call for 23 seconds before it says so.
    try:
        HfApi().dataset_info(dataset, expand=["sha"], timeout=10)
    except (HfHubHTTPError, HFValidationError):
        pass  # Something answered, or is wrong with the name; `load_dataset` says what.
    except Exception:
        cached = _from_cache(dataset, config)
        if cached is None:
            raise
        return cached
    return DatasetDict(load_dataset(dataset, config))


def _from_cache(dataset: str, config: str | None) -> DatasetDict | None:
    """What an earlier run fetched from the Hub; None: nothing."""
    try:
        builder = Cache(
            dataset_name=dataset.split("/")[-1], config_name=config, repo_id=dataset, version="auto", hash="auto"
        )
        return DatasetDict(builder.as_dataset())
    except ValueError:
        return None


def labelled(splits: DatasetDict, dataset: str, label_column: str) -> DatasetDict:
    """The splits that have labels; -1, null and NaN stand for none."""
    kind = next(iter(splits.values())).features[label_column]
    if not (isinstance(kind, ClassLabel) or (isinstance(kind, Value) and CLASS_TYPES.fullmatch(kind.dtype))):
        raise InvalidInputError(
            f"`{label_column}` of `{dataset}` must hold classes (ClassLabel, whole numbers, strings or booleans), but "
            f"holds {kind}. Name another `--label_column`."
        )
    kept = {}
    for name, split in splits.items():
        values = split.unique(label_column)
        missing = [v for v in values if v is None or v != v or (v == -1 and not isinstance(v, str))]
        if missing and len(missing) == len(values) and name != "train":
            continue
        if missing:
            raise InvalidInputError(
                f"Every example of the split `{name}` of `{dataset}` must have a label, but `{label_column}` holds "
                f"{missing}. Drop those examples"
                + (", or give the class another number than -1." if -1 in missing else ".")
            )
        kept[name] = split
    return DatasetDict(kept)


def with_class_labels(splits: DatasetDict, dataset: str, label_column: str) -> DatasetDict:
    """Whole numbers, strings or booleans as a `ClassLabel`: its names are the values in their order.

    Raises:
        InvalidInputError: Numbers are not whole, or more than `MAX_NUMBERED_CLASSES` and not 0 … n - 1.
    """
    if isinstance(next(iter(splits.values())).features[label_column], ClassLabel):
        return splits
    values = {value for split in splits.values() for value in split.unique(label_column)}
    numbers = sorted(v for v in values if isinstance(v, int | float) and not isinstance(v, bool))
    _check_numbers(numbers, dataset, label_column)
    if len(numbers) == len(values):
        names = [str(int(v)) for v in numbers]
    else:  # Where one file holds numbers alone and another words too, all are words.
        names = sorted({str(int(v)) if isinstance(v, float) else str(v) for v in values})
    as_they_are = names == [str(i) for i in range(len(names))]

    def cast(split: datasets.Dataset) -> datasets.Dataset:
        kind = split.features[label_column].dtype
        if "float" in kind or kind == "double":
            split = split.cast_column(label_column, Value("int64"))
        if numbers and not as_they_are:  # A `ClassLabel` takes numbers for indices, but finds strings among its names.
            split = split.cast_column(label_column, Value("string"))
        return split.cast_column(label_column, ClassLabel(names=names))

    return DatasetDict({name: cast(split) for name, split in splits.items()})


def _check_numbers(numbers: Sequence[float], dataset: str, label_column: str) -> None:
    """Whether numbers, in ascending order, can stand for classes."""
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
    """All examples, with a mark on those of some classes; `marked_classes` takes these.

    In between all are split alike, so that no example is in the test of one choice of classes and in the training data
    of another.

    Args:
        splits: With a `ClassLabel`.
        dataset: For messages.
        label_column: Of the labels.
        classes: Names, or how many to draw.
        seed: Of the draw.

    Raises:
        InvalidInputError: There is no such class, or not so many, or fewer than two are asked for.
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
        # A column beside the pictures, which are neither copied nor decoded.
        numbers = number[np.array(split[label_column][:], dtype=np.int64)]
        return split.add_column(_NUMBER, numbers, feature=label)

    return DatasetDict({name: marked(split) for name, split in splits.items()})


def marked_classes(splits: DatasetDict, label_column: str) -> DatasetDict:
    """The examples that `with_classes_marked` marked, with labels 0 … n - 1 in the order of the data set's classes."""
    chosen = {}
    for name, split in splits.items():
        rows = np.flatnonzero(np.array(split[_NUMBER][:]) >= 0)
        chosen[name] = split.select(rows).remove_columns(label_column).rename_column(_NUMBER, label_column)
    return DatasetDict(chosen)


def own_splits(splits: DatasetDict) -> dict[str, str]:
    """The test and the validation split that `three_splits` makes, by what the data set itself calls them."""
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
) -> DatasetDict:
    """The data set's own splits; what is missing is drawn from train, first test, then validation.

    Where there is a train and a validation split only, the validation split is the test split.
    """
    if "train" not in splits:
        raise InvalidInputError(f"`{dataset}` must have a split `train`, but has {sorted(splits)}.")
    found = {name: splits[name] for name in ("train", "test") if name in splits}
    for name in VALIDATION_NAMES:
        if name in splits:
            found.setdefault("validation", splits[name])
    if "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    for name, size in (("test", test_size), ("validation", validation_size)):
        if name not in found:
            parts = split_off(found["train"], size, label_column, name, seed)
            found["train"], found[name] = parts["train"], parts["test"]
    return DatasetDict(found)


def split_off(
    train: datasets.Dataset, size: float | int, label_column: str | None, name: str, seed: int
) -> DatasetDict:
    """Draw a share (below 1) or number of examples from train: "train" and "test".

    Args:
        train: What to draw from.
        size: How many.
        label_column: Stratify by these classes; None: draw at random.
        name: Of the part that is drawn.
        seed: Of the draw.

    Raises:
        InvalidInputError: A class, or a part, would be empty.
    """
    amount = int(size) if size >= 1 else size
    try:
        return train.train_test_split(test_size=amount, stratify_by_column=label_column, seed=seed)
    except ValueError as error:
        raise InvalidInputError(
            f"`--{name}_size` must leave every class in both parts of the {len(train)} training examples, but {size} "
            f"does not: {error}. Give a share, e.g. 0.2."
        ) from error


def limited(
    splits: DatasetDict, dataset: str, max_train_samples: int | None, max_eval_samples: int | None, seed: int
) -> DatasetDict:
    """At most so many examples of train and of the other splits, drawn at random.

    Raises:
        InvalidInputError: A limit is less than 1, or a split is empty.
    """
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
    """Check classes, int64 [n].

    Raises:
        InvalidInputError: There are none, or one is outside 0 … num_labels - 1.
    """
    if len(labels) == 0:
        raise InvalidInputError(f"The split `{split}` of `{name}` must hold examples, but is empty.")
    if int(labels.min()) < 0 or int(labels.max()) >= num_labels:
        raise InvalidInputError(
            f"Labels of the split `{split}` of `{name}` must be 0 … {num_labels - 1}, but span {int(labels.min())} … "
            f"{int(labels.max())}."
        )


def reason(error: Exception) -> str:
    """An error's kind and first line."""
    return f"{type(error).__name__}: " + (str(error).strip() or "no reason given").splitlines()[0].rstrip(".")
