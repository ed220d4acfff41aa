"""A task of texts that is made in milliseconds, for tests of all that takes any task."""

import datasets

from searchhub.data.text import TextTask

from .data.tiny_text import text, tiny_tokenizer


def tiny_task(validation_label=0):
    """20 training, 6 validation and 7 test examples."""

    def split(n, start, label=None):
        rows = range(start, start + n)
        return datasets.Dataset.from_dict(
            {"text": [text(i) for i in rows], "label": [i % 2 if label is None else label for i in rows]}
        )

    splits = {"train": split(20, 0), "validation": split(6, 20, validation_label), "test": split(7, 26)}
    return TextTask(
        "tiny", splits, tiny_tokenizer(), text_columns=["text"], label_column="label", label_names=["no", "yes"]
    )
