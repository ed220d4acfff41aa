"""Text classification tasks: texts are tokenised once and kept without padding; a batch has similar lengths."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import datasets
import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from searchhub.data.splits import check_labels
from searchhub.data.task import Batch, Published, Split, Task
from searchhub.errors import InvalidInputError

TEXTS_AT_ONCE = 1000
"""How many texts the tokenizer gets at once: enough for its speed, few enough for memory."""

BATCHES_SORTED_AT_ONCE = 50
"""Number of batches among which an epoch's examples are sorted by length, as in transformers' sampler."""


@dataclass(frozen=True)
class TokenRows:
    """Rows of tokens of different lengths, stored one after the other.

    Args:
        ids: int32 [tokens].
        types: The text of a pair to which each token belongs, int8 [tokens]. None: the tokenizer does not say.
        starts: Start of each row, int64 [rows + 1]; the last entry is the end of all.
    """

    ids: torch.Tensor
    types: torch.Tensor | None
    starts: torch.Tensor

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> torch.Tensor:
        """Number of tokens of each row, int64 [rows]."""
        return self.starts.diff()

    @classmethod
    def of_lengths(cls, ids: torch.Tensor, types: torch.Tensor | None, lengths: torch.Tensor) -> TokenRows:
        """Makes rows from tokens that follow each other and the rows' lengths."""
        return cls(ids, types, torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]))

    def select(self, rows: torch.Tensor) -> TokenRows:
        """Returns these rows, int64 [n], in this order."""
        lengths = self.lengths[rows]
        selected = TokenRows.of_lengths(self.ids, self.types, lengths)
        shift = torch.repeat_interleave(self.starts[rows] - selected.starts[:-1], lengths)
        tokens = shift + torch.arange(len(shift))
        return TokenRows(self.ids[tokens], None if self.types is None else self.types[tokens], selected.starts)

    def __add__(self, other: TokenRows) -> TokenRows:
        types = None
        if self.types is not None and other.types is not None:
            types = torch.cat([self.types, other.types])
        lengths = torch.cat([self.lengths, other.lengths])
        return TokenRows.of_lengths(torch.cat([self.ids, other.ids]), types, lengths)

    def padded(self, rows: torch.Tensor, pad_token_id: int, multiple_of: int = 1) -> dict[str, torch.Tensor]:
        """Returns model inputs, int64 [n, longest]: "input_ids", "attention_mask", and "token_type_ids" if any."""
        lengths = self.lengths[rows]
        position = torch.arange(-(-int(lengths.max()) // multiple_of) * multiple_of)
        real = position < lengths[:, None]
        tokens = torch.where(real, self.starts[rows][:, None] + position, 0)
        inputs = {
            "input_ids": torch.where(real, self.ids[tokens].long(), pad_token_id),
            "attention_mask": real.long(),
        }
        if self.types is not None:
            inputs["token_type_ids"] = torch.where(real, self.types[tokens].long(), 0)
        return inputs


class TextTask(Task):
    """Classification or scoring of texts or pairs of texts, with all tokens in memory.

    Validation and test examples are kept in the order of their lengths, the longest first, so that evaluation in order
    pads little. This is not the data set's order; predictions and references always share it.

    Args:
        name: Name of the task for files and cards.
        splits: "train", "validation" and "test" with the columns named below.
        tokenizer: A fast tokenizer. It is not changed.
        text_columns: One column for single texts, or two for pairs.
        label_column: Name of the label column: classes 0 … n - 1, or numbers if `regression`.
        label_names: Class names; the one name of the score if `regression`.
        metric_name: Name of the primary metric.
        regression: Whether labels are numbers to predict.
        max_length: Longest input in tokens, special ones included. Longer inputs are cut; in a pair, the longer text
            first.
        pad_to_multiple_of: Batches are padded to a multiple of it, for GPUs with tensor cores.
        source: What loads the task again, see `Task`.
        own_splits: The data set's own names of the splits, see `Task`.
        notes: What was decided about the data, see `Task`.
        unlabelled: Further texts without labels, in the same columns, see `searchhub.data.unlabelled`. None: none.

    Raises:
        InvalidInputError: A split is empty or lacks a column, a text is missing, a label is out of range, or the
            tokenizer is not suitable.
    """

    pipeline_tag = "text-classification"
    auto_class = "AutoModelForSequenceClassification"
    processor_class = "AutoTokenizer"

    def __init__(
        self,
        name: str,
        splits: Mapping[str, datasets.Dataset],
        tokenizer: PreTrainedTokenizerBase,
        *,
        text_columns: Sequence[str],
        label_column: str,
        label_names: Sequence[str],
        metric_name: str = "accuracy",
        regression: bool = False,
        max_length: int = 128,
        pad_to_multiple_of: int = 1,
        source: Mapping[str, Any] | None = None,
        own_splits: Mapping[str, str] | None = None,
        notes: Sequence[str] = (),
        unlabelled: datasets.Dataset | None = None,
    ) -> None:
        super().__init__(name, label_names, metric_name, source, own_splits)
        self.notes = tuple(notes)
        _check_tokenizer(tokenizer, max_length, pad_to_multiple_of, pair=len(text_columns) == 2)
        self.tokenizer, self.max_length, self.pad_to_multiple_of = tokenizer, max_length, pad_to_multiple_of
        self.regression = regression
        self._texts = hashlib.sha256()
        self._rows: dict[str, TokenRows] = {}
        self._seen: dict[str, Counter[bytes]] = {}
        self._labels: dict[str, torch.Tensor] = {}
        for split in ("train", "validation", "test"):
            columns = _columns(splits[split], f"the split `{split}` of `{name}`", text_columns, label_column)
            labels = _labels(columns.pop(), split, name, self.num_labels, regression)
            rows = self._tokenised(columns)
            self._seen[split] = Counter(_hash(texts) for texts in zip(*columns, strict=True))
            if split != "train":
                order = self._evaluation_order(split, rows.lengths)
                rows, labels = rows.select(order), labels[order]
            self._rows[split], self._labels[split] = rows, labels
        self.unlabelled: TokenRows | None = None
        if unlabelled is not None:
            columns = _columns(unlabelled, "the unlabelled texts", text_columns)
            self.unlabelled = self._tokenised(columns)
            there = {_hash(texts) for texts in zip(*columns, strict=True)}
            if both := sum(n for texts, n in self._seen["test"].items() if texts in there):
                self.notes += (
                    f"{both:,} of the {len(self._labels['test']):,} test examples stand in the unlabelled texts, too",
                )
        self._rows["full"] = self._rows["train"] + self._rows["validation"]
        self._labels["full"] = torch.cat([self._labels["train"], self._labels["validation"]])

    @property
    def published(self) -> Published:
        """How a card names the data, see `Task`; a regression has no classes."""
        return dataclasses.replace(
            super().published,
            dataset_config=self.source.get("dataset_config_name"),
            num_classes=None if self.regression else self.num_labels,
        )

    def _tokenised(self, columns: Sequence[Sequence[str]]) -> TokenRows:
        # A tokenizer keeps the truncation of its last call, and would be published with it.
        tokenizer = copy.deepcopy(self.tokenizer)
        typed = "token_type_ids" in tokenizer.model_input_names
        ids, types, lengths = [], [], []
        for i in range(0, len(columns[0]), TEXTS_AT_ONCE):
            texts = [list(column[i : i + TEXTS_AT_ONCE]) for column in columns]
            self._texts.update(json.dumps(texts).encode())
            made = tokenizer(
                *texts,
                truncation="longest_first",
                max_length=self.max_length,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=typed,
            )
            ids += [np.asarray(row, dtype=np.int32) for row in made["input_ids"]]
            lengths += [len(row) for row in made["input_ids"]]
            if typed:
                types += [np.asarray(row, dtype=np.int8) for row in made["token_type_ids"]]
        return TokenRows.of_lengths(
            torch.from_numpy(np.concatenate(ids)),
            torch.from_numpy(np.concatenate(types)) if typed else None,
            torch.tensor(lengths, dtype=torch.int64),
        )

    def _evaluation_order(self, split: str, lengths: torch.Tensor) -> torch.Tensor:
        """Returns the order, int64 [n], in which the examples of a split other than train are kept."""
        return longest_first(lengths)

    def size(self, split: Split) -> int:
        return len(self._labels[split])

    def rows(self, split: Split) -> TokenRows:
        """Returns the tokens of each example."""
        return self._rows[split]

    def lengths(self, split: Split) -> torch.Tensor:
        """Returns the number of tokens of each example, int64 [size]."""
        return self._rows[split].lengths

    def batch(self, split: Split, indices: torch.Tensor, *, device: torch.device, seed: int | None = None) -> Batch:
        """Returns a batch, see `Task`; nothing is augmented. "labels" are int64 [n], or float32 if `regression`."""
        inputs = self._rows[split].padded(indices, self.tokenizer.pad_token_id, self.pad_to_multiple_of)
        inputs["labels"] = self._labels[split][indices]
        return {name: tensor.to(device, non_blocking=True) for name, tensor in inputs.items()}

    def order(self, split: Split, *, batch_size: int, seed: int) -> torch.Tensor:
        """Groups batches by length, in random order; which examples a ragged last batch holds is random too."""
        return grouped_by_length(self.lengths(split), batch_size, seed)

    def repeated(self, split: Split, others: Sequence[Split]) -> int:
        there = set().union(*(self._seen[other] for other in others))
        return sum(n for texts, n in self._seen[split].items() if texts in there)

    def predictions(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.squeeze(-1).float() if self.regression else super().predictions(logits)

    def score(self, predictions: torch.Tensor, references: torch.Tensor) -> dict[str, float]:
        return self._metric.compute(predictions=predictions.numpy(), references=references.numpy())

    @cached_property
    def _metric(self):  # type: ignore[no-untyped-def]
        from searchhub.metrics.classification import Accuracy  # evaluate is slow to import

        return Accuracy()

    def processor(self) -> PreTrainedTokenizerBase:
        """Returns the tokenizer as it was given."""
        return self.tokenizer

    @cached_property
    def _digest(self) -> str:
        digest = self._texts.copy()
        tokenizer = json.loads(self.tokenizer.backend_tokenizer.to_str())
        # Each call of a tokenizer sets these two settings anew.
        digest.update(json.dumps({k: v for k, v in tokenizer.items() if k not in ("truncation", "padding")}).encode())
        for split in ("train", "validation", "test"):
            digest.update(self._rows[split].ids.numpy())
            digest.update(self._rows[split].starts.numpy())
            digest.update(self._labels[split].numpy())
        if self.unlabelled is not None:
            digest.update(self.unlabelled.ids.numpy())
            digest.update(self.unlabelled.starts.numpy())
        return digest.hexdigest()

    def fingerprint(self) -> str:
        """Returns a hash of texts, tokens, labels, tokenizer and lengths."""
        settings = (self.label_names, self.max_length, self.pad_to_multiple_of, self._digest)
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]


def grouped_by_length(lengths: torch.Tensor, batch_size: int, seed: int) -> torch.Tensor:
    """Returns a random order, int64 [n], in which each batch holds texts of similar length."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(lengths), generator=generator)
    whole = len(shuffled) - len(shuffled) % batch_size
    groups = shuffled[:whole].split(BATCHES_SORTED_AT_ONCE * batch_size)
    batches = torch.cat([group[lengths[group].argsort(stable=True)] for group in groups]).view(
        whole // batch_size, batch_size
    )
    mixed = batches[torch.randperm(len(batches), generator=generator)]
    return torch.cat([mixed.flatten(), shuffled[whole:]])


def longest_first(lengths: torch.Tensor) -> torch.Tensor:
    """Returns an order, int64 [n], of descending length: what does not fit in memory fails at once."""
    return lengths.argsort(descending=True, stable=True)


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, max_length: int, multiple_of: int, *, pair: bool) -> None:
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise InvalidInputError(
            f"The tokenizer must be a fast one with a padding token, but {type(tokenizer).__name__} is not. Take a "
            "checkpoint that has a `tokenizer.json`, or set `pad_token`."
        )
    least = tokenizer.num_special_tokens_to_add(pair=pair) + (2 if pair else 1)
    if not least <= max_length <= tokenizer.model_max_length:
        raise InvalidInputError(
            f"`{least} <= max_length <= {tokenizer.model_max_length}` must hold for this tokenizer and these texts, "
            f"but got {max_length}."
        )
    if multiple_of < 1:
        raise InvalidInputError(f"`pad_to_multiple_of >= 1` must hold, but got {multiple_of}.")


def _columns(data: datasets.Dataset, what: str, texts: Sequence[str], label: str | None = None) -> list[list[Any]]:
    """Returns the values of the columns of texts, and after them those of the labels if they have a column."""
    names = [*texts, *([] if label is None else [label])]
    missing = [n for n in names if n not in data.column_names]
    if missing:
        raise InvalidInputError(
            f"{what[:1].upper()}{what[1:]} must have the columns {names}, but lacks {missing}. It has: "
            f"{sorted(data.column_names)}."
        )
    columns = [data[n][:] for n in names]
    for column, values in zip(texts, columns, strict=False):
        wrong = next((i for i, text in enumerate(values) if not isinstance(text, str)), None)
        if wrong is not None:
            raise InvalidInputError(
                f"Every `{column}` of {what} must be a text, but number {wrong} is {values[wrong]!r}. Mend or drop it, "
                "or name another column."
            )
    return columns


def _hash(texts: Sequence[str]) -> bytes:
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=16).digest()


def _labels(values: list[Any], split: str, task: str, num_labels: int, regression: bool) -> torch.Tensor:
    """Returns labels as a tensor, int64 [n], or float32 [n] for a regression."""
    kinds = (int, float) if regression else (int,)
    wrong = next((i for i, value in enumerate(values) if not isinstance(value, kinds)), None)
    if wrong is not None:
        raise InvalidInputError(
            f"Every label of the split `{split}` of `{task}` must be {'a number' if regression else 'an integer'}, but "
            f"number {wrong} is {values[wrong]!r}. Mend or drop it, or name another column."
        )
    if not regression:
        labels = torch.tensor(values, dtype=torch.int64)
        check_labels(labels, split, task, num_labels)
        return labels
    scores = torch.tensor(values, dtype=torch.float32)
    if len(scores) == 0 or not bool(scores.isfinite().all()):
        raise InvalidInputError(f"The split `{split}` of `{task}` must hold examples, each with a finite label.")
    return scores
