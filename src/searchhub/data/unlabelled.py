"""Texts without labels, from which networks learn what a teacher says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from datasets import Dataset

from searchhub.data.splits import reason
from searchhub.data.tables import COMPRESSED, FORMATS, format_of, read_tables
from searchhub.data.task import Batch, Split, Task
from searchhub.data.text import TextTask, TokenRows, grouped_by_length
from searchhub.data.view import TaskView
from searchhub.errors import InvalidInputError


class UnlabelledTexts(TaskView):
    """A task whose training texts have no labels: its own, and the unlabelled ones that were loaded with it.

    "train" is the task's own training texts, then the unlabelled ones; "full" is that, then validation. Batches of both
    have no labels, so only a teacher's outputs can be learnt from them. The other splits are the task's.

    Args:
        task: A task with unlabelled texts.

    Raises:
        InvalidInputError: It has none.
    """

    task: TextTask

    def __init__(self, task: TextTask) -> None:
        super().__init__(task)
        if task.unlabelled is None:
            raise InvalidInputError(f"`{task.name}` must have unlabelled texts, but has none. Load it with them.")
        train = task.rows("train") + task.unlabelled
        self._rows: dict[str, TokenRows] = {"train": train, "full": train + task.rows("validation")}

    def size(self, split: Split) -> int:
        return len(self._rows[split]) if split in self._rows else self.task.size(split)

    def lengths(self, split: Split) -> torch.Tensor:
        """Returns the number of tokens of each example, int64 [size]."""
        return self._rows[split].lengths if split in self._rows else self.task.lengths(split)

    def batch(self, split: Split, indices: torch.Tensor, *, device: torch.device, seed: int | None = None) -> Batch:
        if split not in self._rows:
            return self.task.batch(split, indices, device=device, seed=seed)
        tokenizer = self.task.tokenizer
        inputs = self._rows[split].padded(indices, tokenizer.pad_token_id, self.task.pad_to_multiple_of)
        return {name: tensor.to(device, non_blocking=True) for name, tensor in inputs.items()}

    def order(self, split: Split, *, batch_size: int, seed: int) -> torch.Tensor:
        return grouped_by_length(self.lengths(split), batch_size, seed)

    def fingerprint(self) -> str:
        return self.fingerprint_with(self._rows["full"].ids)


def teachable(task: Task) -> Task:
    """Returns all texts that a teacher can say something of: a task's own, and the unlabelled ones if it has any."""
    return UnlabelledTexts(task) if isinstance(task, TextTask) and task.unlabelled is not None else task


def read_unlabelled(file: str, text_columns: Sequence[str]) -> Dataset:
    """Reads texts without labels: a table with the task's columns, or a .txt file with a text in each line.

    Args:
        file: The file.
        text_columns: Names of the columns of texts.

    Raises:
        InvalidInputError: The file is missing, of another kind, or holds no text; or texts of pairs come as .txt.
    """
    path = Path(file)
    if not path.is_file():
        raise InvalidInputError(f"`--unlabelled` must be a file, but `{file}` is none. Mend the path.")
    if path.suffix.lower() == ".txt":
        if len(text_columns) > 1:
            raise InvalidInputError(
                f"`--unlabelled` must be a table with the columns {list(text_columns)} for pairs of texts, but "
                f"`{file}` has one text a line."
            )
        try:
            lines = [line.rstrip("\r") for line in path.read_text(encoding="utf-8-sig").split("\n")]
        except UnicodeDecodeError as error:
            raise InvalidInputError(
                f"`--unlabelled {file}` must be UTF-8, but is not: {error}. Save it anew."
            ) from error
        data = Dataset.from_dict({text_columns[0]: [line for line in lines if line.strip()]})
    elif format_of(path) is None:
        raise InvalidInputError(
            f"`--unlabelled` must end in .txt, {', '.join(FORMATS)} (packed: {', '.join(COMPRESSED)}), "
            f"but `{file}` ends in `{path.suffix}`."
        )
    else:
        try:
            data = read_tables({"train": [path]}, text_columns)["train"]
        except InvalidInputError:
            raise
        except Exception as error:
            raise InvalidInputError(f"`--unlabelled {file}` could not be read: {reason(error)}.") from error
    if not len(data):
        raise InvalidInputError(f"`--unlabelled` must hold texts, but `{file}` is empty. Give another file.")
    return data
