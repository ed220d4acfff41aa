"""Loads a text task from a name or a folder: a Hub id, or local csv, tsv, json or parquet."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import ClassLabel, DatasetDict, Value
from huggingface_hub import try_to_load_from_cache
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from searchhub.data.files_of import TableFiles, table_files, visible_files
from searchhub.data.splits import (
    HELD_OUT,
    check_groups,
    from_hub,
    labelled,
    limited,
    only_text,
    own_splits,
    reason,
    split_off,
    three_splits,
    with_class_labels,
)
from searchhub.data.tables import COMPRESSED, FORMATS, format_of, holds_texts, place, read_tables
from searchhub.data.text import TextTask
from searchhub.data.unlabelled import read_unlabelled
from searchhub.errors import InvalidInputError
from searchhub.hub_client import is_path, kept_path, why_silent

logger = logging.getLogger(__name__)

TEXT_NAMES = ("text", "sentence")
"""Names of the column of texts, where none is given."""


def load_text_task(
    dataset: str,
    tokenizer: str | PreTrainedTokenizerBase,
    *,
    dataset_config_name: str | None = None,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    contained_together: bool = False,
    max_length: int = 128,
    pad_to_multiple_of: int = 1,
    validation_size: float | int = 0.1,
    test_size: float | int = 0.1,
    validation_file: str | None = None,
    test_file: str | None = None,
    unlabelled: str | None = None,
    max_train_samples: int | None = None,
    max_eval_samples: int | None = None,
    seed: int = 0,
) -> TextTask:
    """Loads a text classification data set, splits it for a search and tokenises it.

    Splits are made as `load_image_splits` makes them. The data set's own are used; what is missing is drawn from train,
    stratified. If there is only a train and a validation split, the latter is the test split. A test split without
    labels does not count. Labels are classes: a `ClassLabel`, whole numbers (e.g. 1 to 5 stars), strings or booleans.

    Args:
        dataset: A Hub id, or a path: a csv, tsv, json, jsonl or parquet file, or a folder of such files named after
            their splits. In tsv files quotation marks are characters.
        tokenizer: A tokenizer, or the checkpoint that holds it.
        dataset_config_name: Name of a configuration of the data set on the Hub.
        text_column: Name of the column of texts. None: "text" or "sentence", or the only column of strings beside the
            labels.
        pair_column: Name of the column of second texts. None: there is none.
        label_column: Name of the label column. None: the only `ClassLabel`, or "label" or "labels".
        group_column: Name of a column, e.g. of authors: rows with one value stay in one part where parts are drawn.
            None: rows are drawn one by one.
        contained_together: Whether, where parts are drawn, no text of one that is not train stands in a text of train,
            word for word. Phrases of one another, as SST-2's, else make figures too good.
        max_length: Longest input in tokens, see `TextTask`.
        pad_to_multiple_of: Batches are padded to a multiple of it, see `TextTask`.
        validation_size: Share (below 1) or number of training examples to validate on, if the data set has no such
            split.
        test_size: Share or number of training examples to test on, if the data set has no such split.
        validation_file: A csv, tsv, json, jsonl or parquet file of the validation split, where `dataset` is a path and
            has none. None: it is drawn from train.
        test_file: Likewise of the test split.
        unlabelled: A file of further texts without labels: a table with the same columns, or a .txt file with a text in
            each line. Networks can learn from them what a teacher says. None: there is none.
        max_train_samples: How many training examples to take, after shuffling. None: all.
        max_eval_samples: How many validation examples, and how many test examples, to take. None: all.
        seed: Seed of splitting and shuffling.

    Raises:
        InvalidInputError: The data set cannot be found or read, has no such columns, or lacks texts or labels.
    """
    given = {name: file for name, file in (("validation", validation_file), ("test", test_file)) if file is not None}
    splits, files = _load(dataset, dataset_config_name, (text_column, pair_column, *TEXT_NAMES), given)
    text_column, label_column = _pick_columns(splits, dataset, text_column, pair_column, label_column)
    for name in [n for n in splits if n != "train" and label_column not in splits[n].column_names]:
        # It counts as one whose labels are all missing.
        logger.warning("The split `%s` of `%s` has no column `%s` and is not used.", name, dataset, label_column)
        del splits[name]
    _check_filled(splits, files.splits, dataset, label_column, "a label")
    splits = labelled(splits, dataset, label_column)
    for name, file in given.items():
        if name not in splits:
            raise InvalidInputError(f"`--{name}_file` must have labels in `{label_column}`, but `{file}` has none.")
    for column in (text_column, pair_column):
        if column is not None:
            _check_filled(splits, files.splits, dataset, column, f"a `{column}`")
    splits = with_class_labels(splits, dataset, label_column)
    own = own_splits(splits)
    text_columns = [text_column] if pair_column is None else [text_column, pair_column]
    check_groups(splits, dataset, group_column)
    contained = only_text(text_columns, dataset) if contained_together else None
    if validation_file is not None and "test" not in splits:  # else it would be taken for the test
        parts = split_off(splits["train"], test_size, label_column, "test", seed, group_column, contained)
        splits["train"], splits["test"] = parts["train"], parts["test"]
        own["test"], own["validation"] = HELD_OUT, "validation"
    splits = three_splits(splits, label_column, dataset, validation_size, test_size, seed, group_column, contained)
    splits = limited(splits, dataset, max_train_samples, max_eval_samples, seed)
    tokenizer = load_tokenizer(tokenizer)
    options = {
        "dataset": kept_path(dataset),
        "dataset_config_name": dataset_config_name,
        "text_column": text_column,
        "pair_column": pair_column,
        "label_column": label_column,
        "max_length": max_length,
        "pad_to_multiple_of": pad_to_multiple_of,
        "validation_size": validation_size,
        "test_size": test_size,
        "max_train_samples": max_train_samples,
        "max_eval_samples": max_eval_samples,
        "seed": seed,
        # What is not used is not said, as in the sources of earlier runs.
        **({} if group_column is None else {"group_column": group_column}),
        **({"contained_together": True} if contained_together else {}),
        **{f"{name}_file": kept_path(file) for name, file in given.items()},
        **({} if unlabelled is None else {"unlabelled": kept_path(unlabelled)}),
    }
    return TextTask(
        Path(dataset).name if Path(dataset).exists() else dataset,
        splits,
        tokenizer,
        text_columns=text_columns,
        label_column=label_column,
        label_names=splits["train"].features[label_column].names,
        max_length=max_length,
        pad_to_multiple_of=pad_to_multiple_of,
        source=source("text", tokenizer, options),
        own_splits=own,
        notes=files.notes,
        unlabelled=None if unlabelled is None else read_unlabelled(unlabelled, text_columns),
    )


def load_tokenizer(tokenizer: str | PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of a checkpoint, or the one that is given.

    Raises:
        InvalidInputError: There is no tokenizer of that name, or the Hub cannot be reached.
    """
    if not isinstance(tokenizer, str):
        return tokenizer
    here = Path(tokenizer).exists()
    if not here and is_path(tokenizer):
        raise InvalidInputError(
            f"The tokenizer must be a folder or a Hub id with a tokenizer, but `{tokenizer}` is no folder, looked for "
            f"from {Path.cwd()}. Give the path of the checkpoint."
        )
    try:
        silent = None if here else why_silent(tokenizer, "model")
        if silent is not None and not isinstance(try_to_load_from_cache(tokenizer, "tokenizer_config.json"), str):
            raise silent
        local = here or silent is not None
        return AutoTokenizer.from_pretrained(tokenizer, local_files_only=local, trust_remote_code=False)
    except Exception as error:
        raise InvalidInputError(
            f"The tokenizer must be a folder or a Hub id with a tokenizer, but `{tokenizer}` could not be loaded: "
            f"{reason(error)}. Without a network, give the path of a local copy; where its config.json names no "
            "`model_type`, write one into it."
        ) from error


def source(kind: str, tokenizer: PreTrainedTokenizerBase, options: dict[str, Any]) -> dict[str, Any]:
    """Returns what loads a text task again, see `Task`; empty if the tokenizer has no origin to load it from."""
    if not tokenizer.name_or_path:
        return {}
    return {"kind": kind, "tokenizer": kept_path(str(tokenizer.name_or_path)), **options}


def _load(
    dataset: str, config: str | None, texts: Sequence[str | None], given: Mapping[str, str]
) -> tuple[DatasetDict, TableFiles]:
    """Returns the splits of a data set, and the files of each; of one on the Hub, no files.

    Args:
        dataset: A Hub id, a file or a folder.
        config: Configuration of a data set on the Hub.
        texts: Names of columns that are texts.
        given: Files of further splits. What values mean is decided over all files together.
    """
    path = Path(dataset)
    try:
        if not path.exists():
            if given:
                raise InvalidInputError(
                    f"`--{next(iter(given))}_file` is for a file or folder on this machine, but `--dataset {dataset}` "
                    "is none. Drop it, or mend the path."
                )
            return from_hub(dataset, config), TableFiles({})
        files = TableFiles({"train": [_table(path)]}) if path.is_file() else _by_split(path)
        for name, file in given.items():
            if name in files.splits:
                raise InvalidInputError(
                    f"`--{name}_file` is for data without a split `{name}`, but `{dataset}` has "
                    f"`{files.splits[name][0].relative_to(path)}`. Drop it, or move that away."
                )
            if not Path(file).is_file():
                raise InvalidInputError(f"`--{name}_file` must be a file, but `{file}` is none. Mend the path.")
            files = replace(files, splits={**files.splits, name: [_table(Path(file))]})
        return read_tables(files.splits, texts), files
    except InvalidInputError:
        raise
    except Exception as error:
        raise InvalidInputError(
            "`--dataset` must be a Hub id that can be reached, or a csv, tsv, json, jsonl or parquet file, or a folder "
            f"of them, but `{dataset}` could not be loaded: {reason(error)}. Without a network, give the path of a "
            "local copy."
        ) from error


def _table(path: Path) -> Path:
    """Returns the path of a table.

    Raises:
        InvalidInputError: Its name says no format that is known.
    """
    if format_of(path) is None:
        raise InvalidInputError(
            f"`{path}` must end in one of {', '.join(FORMATS)} (packed: {', '.join(COMPRESSED)} behind it), but ends "
            f"in `{path.suffix}`. Rename a table: .csv if commas separate its columns, .tsv if tabs do. Other texts "
            "must become a table with a column of labels."
        )
    return path


def _check_filled(
    splits: DatasetDict, files: Mapping[str, Sequence[Path]], dataset: str, column: str, what: str
) -> None:
    """Refuses a row whose column is empty, while it is known where the row stands. A split without labels has none."""
    for name, split in splits.items():
        if column not in split.column_names:
            continue  # said where the split is used
        filled = split.data.table[column].is_valid().to_numpy()
        if filled.all() or (what == "a label" and name != "train" and not filled.any()):
            continue
        row = int(filled.argmin())
        where = place(files[name], row) if name in files else f"row {row}"
        raise InvalidInputError(
            f"Every example of the split `{name}` of `{dataset}` must have {what}, but in {where} `{column}` is empty. "
            f"{filled.size - filled.sum():,} of {filled.size:,} are: mend or drop them, or name another column."
        )


def _by_split(folder: Path) -> TableFiles:
    """Returns the tables of a folder by split; a single one whose name says no split is train."""
    files = [file for file in visible_files(folder) if format_of(Path(file)) is not None]
    found = table_files(folder, files)
    if not found.splits and len(files) == 1:
        return TableFiles({"train": [folder / files[0]]})
    if "train" not in found.splits:
        raise InvalidInputError(
            f"`{folder}` must hold a file whose name says `train` and ends in one of {', '.join(FORMATS)}, but holds "
            f"{files}. Rename the training file."
        )
    return found


def _pick_columns(
    splits: DatasetDict, dataset: str, text_column: str | None, pair_column: str | None, label_column: str | None
) -> tuple[str, str]:
    """Returns the columns of texts and labels. A column that is not given is found if there is no doubt."""
    if "train" not in splits:
        raise InvalidInputError(f"`{dataset}` must have a split `train`, but has {sorted(splits)}.")
    features = splits["train"].features

    def pick(given: str | None, option: str, *guesses: list[str]) -> str:
        candidates = [given] if given is not None else next((g for g in guesses if len(g) == 1), [])
        if not candidates or candidates[0] not in features:
            raise InvalidInputError(
                f"`{option}` must name a column of `{dataset}`, but is {given!r}. It has: {sorted(features)}."
            )
        return candidates[0]

    label = pick(
        label_column,
        "--label_column",
        [n for n, f in features.items() if isinstance(f, ClassLabel)],
        [n for n in ("label", "labels") if n in features],
    )
    strings = [n for n, f in features.items() if f in (Value("string"), Value("large_string")) and n != label]
    if len(strings) > 1:
        strings = [n for n in strings if holds_texts(splits["train"].data.table[n])]
    text = pick(text_column, "--text_column", [n for n in TEXT_NAMES if n in features], strings)
    if pair_column is not None:
        pick(pair_column, "--pair_column")
    return text, label
