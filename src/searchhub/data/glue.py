"""Loads GLUE's eight tasks from the Hub or from a local folder, with their official metrics."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase

from searchhub.data.splits import HELD_OUT, from_hub, limited, only_text, reason, split_off
from searchhub.data.tables import read_tables, read_text
from searchhub.data.task import Published
from searchhub.data.text import TextTask, longest_first
from searchhub.data.text_loading import load_tokenizer, source
from searchhub.data.unlabelled import read_unlabelled
from searchhub.errors import InvalidInputError
from searchhub.hub_client import kept_path

logger = logging.getLogger(__name__)

HUB_DATASET = "nyu-mll/glue"

COMBINED = "combined_score"
"""Name of the mean of a task's two metrics, as in transformers' `run_glue.py`."""

MAX_CUT_SHORT = 1e-3
"""Share of tsv rows that may lack fields. QQP's official files hold a few, which the Hub's copy leaves out."""


@dataclass(frozen=True)
class GlueDefinition:
    """The definition of one GLUE task.

    Args:
        folder: Name of the task's folder in the official archive.
        columns: Names of the text columns on the Hub.
        tsv_columns: Names of the same columns and of the label column in the official tsv files.
        label_names: Class names in the Hub's order; for STS-B the name of the score.
        primary: The one metric of comparisons. It is the mean over both dev sets for MNLI, of F1 and accuracy for MRPC,
            and of both correlations for STS-B.
        dev: Official names of the dev set's files, without their ending.
        header: Column names for tsv files that do not name their columns.
        regression: Whether labels are numbers.
    """

    folder: str
    columns: tuple[str, ...]
    tsv_columns: tuple[str, ...]
    label_names: tuple[str, ...]
    primary: str = "accuracy"
    dev: tuple[str, ...] = ("dev",)
    header: tuple[str, ...] = ()
    regression: bool = False


_PAIR = ("sentence1", "sentence2")
GLUE_TASKS: dict[str, GlueDefinition] = {
    "cola": GlueDefinition(
        "CoLA",
        ("sentence",),
        ("sentence", "label"),
        ("unacceptable", "acceptable"),
        primary="matthews_correlation",
        header=("source", "label", "mark", "sentence"),
    ),
    "sst2": GlueDefinition("SST-2", ("sentence",), ("sentence", "label"), ("negative", "positive")),
    "mrpc": GlueDefinition(
        "MRPC", _PAIR, ("#1 String", "#2 String", "Quality"), ("not_equivalent", "equivalent"), primary=COMBINED
    ),
    "stsb": GlueDefinition(
        "STS-B", _PAIR, ("sentence1", "sentence2", "score"), ("score",), primary=COMBINED, regression=True
    ),
    "qqp": GlueDefinition(
        "QQP",
        ("question1", "question2"),
        ("question1", "question2", "is_duplicate"),
        ("not_duplicate", "duplicate"),
    ),
    "mnli": GlueDefinition(
        "MNLI",
        ("premise", "hypothesis"),
        ("sentence1", "sentence2", "gold_label"),
        ("entailment", "neutral", "contradiction"),
        dev=("dev_matched", "dev_mismatched"),
    ),
    "qnli": GlueDefinition(
        "QNLI", ("question", "sentence"), ("question", "sentence", "label"), ("entailment", "not_entailment")
    ),
    "rte": GlueDefinition("RTE", _PAIR, ("sentence1", "sentence2", "label"), ("entailment", "not_entailment")),
}
"""Definition of each task, by the task's name on the Hub."""

PAPER_TASKS = ("sst2", "mrpc", "cola", "rte", "mnli", "qqp", "qnli")
"""The columns of DDPNAS Table 5 over which it takes the average."""


def glue_average(results: Mapping[str, Mapping[str, float]]) -> float:
    """Returns the average of DDPNAS Table 5: the mean of the primary metric over its seven tasks, without STS-B.

    Args:
        results: Metrics by task, as `GlueTask.score` returns them for the dev set.

    Raises:
        InvalidInputError: One of the seven tasks is missing.
    """
    missing = [task for task in PAPER_TASKS if task not in results]
    if missing:
        raise InvalidInputError(
            f"The average is over all of {', '.join(PAPER_TASKS)}, but {', '.join(missing)} came not. Evaluate what is "
            "missing, or compare task by task."
        )
    return sum(results[task][GLUE_TASKS[task].primary] for task in PAPER_TASKS) / len(PAPER_TASKS)


class GlueTask(TextTask):
    """One GLUE task. The official dev set is the test split; validation is a part of the official train set.

    Args:
        task_name: A key of `GLUE_TASKS`.
        splits: "train", "validation" and "test", with the Hub's columns and "label".
        tokenizer: A fast tokenizer, see `TextTask`.
        matched: How many of MNLI's test examples, the first ones, belong to the matched dev set. None for the other
            tasks.
        **options: Further arguments of `TextTask`.
    """

    def __init__(
        self,
        task_name: str,
        splits: Mapping[str, datasets.Dataset],
        tokenizer: PreTrainedTokenizerBase,
        *,
        matched: int | None = None,
        **options: Any,
    ) -> None:
        self.definition = definition_of(task_name)
        self.matched = matched
        super().__init__(
            task_name,
            splits,
            tokenizer,
            text_columns=self.definition.columns,
            label_column="label",
            label_names=self.definition.label_names,
            metric_name=self.definition.primary,
            regression=self.definition.regression,
            **options,
        )

    def _evaluation_order(self, split: str, lengths: torch.Tensor) -> torch.Tensor:
        if split != "test" or self.matched is None:
            return longest_first(lengths)
        mismatched = longest_first(lengths[self.matched :]) + self.matched
        return torch.cat([longest_first(lengths[: self.matched]), mismatched])

    @property
    def published(self) -> Published:
        """How a card names the data: the official dev set is the Hub's validation split; MNLI has two."""
        own = [name.replace("dev", "validation") for name in self.definition.dev]
        parts = {}
        if self.matched is not None:
            sizes = self.matched, self.size("test") - self.matched
            names = "accuracy_m", "accuracy_mm"
            parts = {name: ("accuracy", *part) for name, part in zip(names, zip(own, sizes, strict=True), strict=True)}
        return dataclasses.replace(
            super().published,
            dataset_name=f"GLUE {self.definition.folder}",
            dataset_id=HUB_DATASET,
            dataset_config=self.name,
            splits={"test": " + ".join(own), "validation": HELD_OUT},
            parts=parts,
        )

    def score(self, predictions: torch.Tensor, references: torch.Tensor) -> dict[str, float]:
        """Returns the official metrics, and the mean of two as "combined_score" if that is the primary metric.

        For MNLI's test split, which the labels identify, they are "accuracy_m", "accuracy_mm", and their mean as
        "accuracy".
        """
        metrics = self._official(predictions, references)
        if self.metric_name == COMBINED:
            metrics[COMBINED] = sum(metrics.values()) / len(metrics)
        if self.matched is not None and torch.equal(references, self._labels["test"]):
            matched = self._official(predictions[: self.matched], references[: self.matched])["accuracy"]
            mismatched = self._official(predictions[self.matched :], references[self.matched :])["accuracy"]
            metrics = {"accuracy": (matched + mismatched) / 2, "accuracy_m": matched, "accuracy_mm": mismatched}
        return metrics

    def _official(self, predictions: torch.Tensor, references: torch.Tensor) -> dict[str, float]:
        computed = self._metric.compute(predictions=predictions.numpy(), references=references.numpy())
        return dict(computed)

    @cached_property
    def _metric(self):  # type: ignore[no-untyped-def]
        from searchhub.metrics.glue import GlueMetric  # evaluate is slow to import

        return GlueMetric(self.name)

    def search_score(self, metrics: Mapping[str, float]) -> float:
        """Returns the primary metric. A correlation below 0, which is no better than a guess, counts as 0."""
        return max(metrics[self.metric_name], 0.0)  # This order keeps NaN.


def definition_of(task_name: str) -> GlueDefinition:
    """Returns the definition of the task of that name.

    Raises:
        InvalidInputError: There is no such task.
    """
    if task_name not in GLUE_TASKS:
        raise InvalidInputError(
            f"`--task_name` must be one of {', '.join(GLUE_TASKS)}, but is {task_name!r}. Any other data set is "
            "loaded by its columns: `load_text_task`."
        )
    return GLUE_TASKS[task_name]


def load_glue_task(
    task_name: str,
    tokenizer: str | PreTrainedTokenizerBase,
    *,
    data_dir: str | None = None,
    max_length: int = 128,
    pad_to_multiple_of: int = 1,
    validation_size: float | int = 0.1,
    max_train_samples: int | None = None,
    max_eval_samples: int | None = None,
    contained_together: bool = False,
    unlabelled: str | None = None,
    seed: int = 0,
) -> GlueTask:
    """Loads a GLUE task for a search: the official dev set to report on, and a part of train to validate on.

    Args:
        task_name: A key of `GLUE_TASKS`.
        tokenizer: A tokenizer, or the checkpoint that holds it.
        data_dir: The task's folder, or one that contains it under its official name or the Hub's. It holds the official
            tsv files, or parquet files with the Hub's columns, named after their splits. None: `nyu-mll/glue` on the
            Hub.
        max_length: Longest input in tokens, see `TextTask`.
        pad_to_multiple_of: Batches are padded to a multiple of it, see `TextTask`.
        validation_size: Share (below 1) or number of training examples to validate on, stratified by class.
        max_train_samples: How many training examples to take, after shuffling. None: all.
        max_eval_samples: How many validation examples, and how many of each dev set, to take. None: all.
        contained_together: Whether no text that is validated on stands, word for word, in one that is trained on, as
            38 % do of SST-2's phrases otherwise.
        unlabelled: A file of further texts without labels, see `load_text_task`. None: there is none.
        seed: Seed of splitting and shuffling.

    Raises:
        InvalidInputError: There is no such task, or its data cannot be found or read, or the data belong to another
            task.
    """
    definition = definition_of(task_name)
    found = _from_folder(task_name, Path(data_dir)) if data_dir is not None else _from_hub(task_name)
    found = {name: _with_labels(split, name, task_name) for name, split in found.items()}
    label_column = None if definition.regression else "label"
    text_column = only_text(definition.columns, task_name) if contained_together else None
    parts = split_off(found.pop("train"), validation_size, label_column, "validation", seed, text_column=text_column)
    cut = limited(
        DatasetDict(train=parts["train"], validation=parts["test"], **found),
        task_name,
        max_train_samples,
        max_eval_samples,
        seed,
    )
    dev = [cut[name] for name in found]
    tokenizer = load_tokenizer(tokenizer)
    options = {
        "task_name": task_name,
        "data_dir": data_dir,
        "max_length": max_length,
        "pad_to_multiple_of": pad_to_multiple_of,
        "validation_size": validation_size,
        "max_train_samples": max_train_samples,
        "max_eval_samples": max_eval_samples,
        "seed": seed,
        **({"contained_together": True} if contained_together else {}),  # else as sources of earlier runs
        **({} if unlabelled is None else {"unlabelled": kept_path(unlabelled)}),
    }
    return GlueTask(
        task_name,
        {"train": cut["train"], "validation": cut["validation"], "test": datasets.concatenate_datasets(dev)},
        tokenizer,
        matched=len(dev[0]) if len(dev) > 1 else None,
        max_length=max_length,
        pad_to_multiple_of=pad_to_multiple_of,
        source=source("glue", tokenizer, options),
        unlabelled=None if unlabelled is None else read_unlabelled(unlabelled, definition.columns),
    )


def _from_hub(task_name: str) -> dict[str, Dataset]:
    """Loads the train and dev sets under their official names."""
    try:
        splits = from_hub(HUB_DATASET, task_name)
    except Exception as error:
        raise InvalidInputError(
            f"`{task_name}` must be loadable from `{HUB_DATASET}` on the Hub, but is not: {reason(error)}. Without a "
            "network, give a folder with the official tsv files, or with parquet: `--data_dir`."
        ) from error
    definition = GLUE_TASKS[task_name]
    return {"train": splits["train"], **{dev: splits[dev.replace("dev", "validation")] for dev in definition.dev}}


def _from_folder(task_name: str, data_dir: Path) -> dict[str, Dataset]:
    """Loads the train and dev sets under their official names, from the first folder that has all of them."""
    definition = GLUE_TASKS[task_name]
    folders = [data_dir / definition.folder, data_dir / task_name, data_dir]
    for folder in folders:
        tsv = {name: folder / f"{name}.tsv" for name in ("train", *definition.dev)}
        if all(file.is_file() for file in tsv.values()):
            return {name: _read_tsv(file, task_name) for name, file in tsv.items()}
        parquet = {name: _parquet(folder, name) for name in tsv}
        if all(parquet.values()):
            return {name: _read_parquet(name, files, task_name) for name, files in parquet.items()}
    files = ", ".join(f"`{name}.tsv`" for name in ("train", *definition.dev))
    raise InvalidInputError(
        f"`--data_dir` must hold {task_name}: {files}, or parquet files whose names start with those of the splits. "
        f"Looked in {', '.join(f'`{folder}`' for folder in folders)}. Get them from https://gluebenchmark.com/tasks."
    )


def _parquet(folder: Path, name: str) -> list[Path]:
    """Returns the files of one split; of dev, say, `dev.parquet`, `dev-00000-of-00001.parquet` or
    `validation-….parquet`.
    """
    stems = (name, name.replace("dev", "validation"))
    return [file for file in sorted(folder.glob("*.parquet")) if file.stem.split("-")[0] in stems]


def _read_parquet(name: str, files: list[Path], task_name: str) -> Dataset:
    try:
        return read_tables({name: files})[name]
    except Exception as error:
        raise InvalidInputError(
            f"`{name}` of `{task_name}` must be parquet that can be read, but {files[0]} is not: {reason(error)}."
        ) from error


def _read_tsv(file: Path, task_name: str) -> Dataset:
    """Reads an official tsv file: only tabs separate, quotation marks are characters, and each line is a row."""
    definition = GLUE_TASKS[task_name]
    lines = read_text(file, sep="\t").split("\n")
    rows = [line.rstrip("\r").split("\t") for line in (lines if lines[-1] else lines[:-1])]
    header = list(definition.header) or (rows.pop(0) if rows else [])
    missing = [name for name in definition.tsv_columns if name not in header]
    if missing:
        raise InvalidInputError(
            f"`{file}` must have the columns {list(definition.tsv_columns)} of {task_name}, but lacks {missing}. It "
            f"has: {header}. Give {task_name}'s own folder as `--data_dir`."
        )
    whole = [row for row in rows if len(row) == len(header)]
    if len(rows) - len(whole) > MAX_CUT_SHORT * len(rows):
        raise InvalidInputError(
            f"Every row of `{file}` must have the {len(header)} fields {header}, but {len(rows) - len(whole)} of "
            f"{len(rows)} have more or less. Give {task_name}'s own official file."
        )
    if len(whole) < len(rows):
        logger.warning("%s: left out %d rows with missing fields", file, len(rows) - len(whole))
    places = [header.index(name) for name in definition.tsv_columns]
    names = (*definition.columns, "label")
    return Dataset.from_dict({name: [row[i] for row in whole] for name, i in zip(names, places, strict=True)})


def _with_labels(split: Dataset, name: str, task_name: str) -> Dataset:
    """Returns the split with its texts and with labels as the Hub numbers them, whether they are numbers or names."""
    definition = GLUE_TASKS[task_name]
    names, wanted = definition.label_names, (*definition.columns, "label")
    missing = [column for column in wanted if column not in split.column_names]
    if missing:
        raise InvalidInputError(
            f"The split `{name}` of `{task_name}` must have the columns {list(wanted)}, but lacks {missing}. It has: "
            f"{sorted(split.column_names)}."
        )
    kind = split.features["label"]
    if isinstance(kind, ClassLabel) and tuple(kind.names) != names:
        raise InvalidInputError(f"Labels of `{task_name}` must be {list(names)}, in this order, but are {kind.names}.")
    if definition.regression:
        convert, feature = _number, datasets.Value("float32")
    else:
        known = {name: i for i, name in enumerate(names)}
        known.update({str(i): i for i in range(len(names))})
        convert, feature = (lambda value: known.get(str(value))), ClassLabel(names=list(names))
    labels = [convert(value) for value in split["label"][:]]
    if None in labels:
        at = labels.index(None)
        must = "numbers" if definition.regression else f"{list(names)} or 0 … {len(names) - 1}"
        raise InvalidInputError(
            f"Labels of the split `{name}` of `{task_name}` must be {must}, but number {at} is {split[at]['label']!r}. "
            "Mend or drop it."
        )
    return split.select_columns(list(definition.columns)).add_column("label", labels, feature=feature)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
