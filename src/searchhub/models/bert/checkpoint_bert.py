"""A checkpoint for a task: what becomes of the classifier that it has, or has not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from searchhub.errors import InvalidInputError
from searchhub.models.bert.supernet_bert import BertSupernetConfig, BertSupernetForSequenceClassification


def load_for_task(
    checkpoint: str,
    label_names: Sequence[str],
    *,
    regression: bool = False,
    ignore_mismatched_sizes: bool = False,
    **fields: Any,
) -> tuple[BertSupernetForSequenceClassification, list[str], str | None]:
    """The supernet of a checkpoint whose classifier, or a new one, tells apart the labels of a task.

    1. A classifier of as many labels is kept. Where its configuration names the same labels in another order (case does
       not count), its rows are brought into the task's.
    2. A sequence classifier of another number of labels is an error: it was trained for something else.
    3. What is not there, as in a pre-trained checkpoint, or is the head of another kind of task, is drawn anew from
       torch's global random numbers: seed them.

    Args:
        checkpoint: A folder, or a repository on the Hub.
        label_names: Of the task, in order.
        regression: Whether the task's one label is a number.
        ignore_mismatched_sizes: Draw a new classifier instead of the error of 2.
        **fields: As of `BertSupernetForSequenceClassification.from_pretrained`.

    Returns:
        The supernet; which of "classifier" and "pooler" are new; what a person should know of the labels, or None.

    Raises:
        InvalidInputError: The checkpoint is no BERT encoder, or has a classifier of another number of labels.
    """
    supernet, info = BertSupernetForSequenceClassification.from_pretrained(
        checkpoint,
        num_labels=len(label_names),
        problem_type="regression" if regression else "single_label_classification",
        output_loading_info=True,
        **fields,
    )
    of_checkpoint, _ = BertSupernetConfig.get_config_dict(checkpoint)
    classes = of_checkpoint.get("architectures") or [_CLASSIFIES]  # where nothing says so, it is taken for what it is
    classifies = any(name.endswith(_CLASSIFIES) for name in classes)
    names = _label_names(of_checkpoint)
    mismatched = [key for key, *_ in info["mismatched_keys"]]
    if mismatched and classifies and not ignore_mismatched_sizes:
        raise InvalidInputError(
            f"The classifier of `{checkpoint}` must tell apart the task's {len(label_names)} labels, "
            f"{list(label_names)[:8]}, but has {len(names)}, {names[:8]}. Give a checkpoint of these labels, or one "
            "without a classifier; or have a new one drawn: `--ignore_mismatched_sizes`."
        )
    parts = {"classifier": "classifier.", "pooler": "bert.pooler."}
    lacking = [*info["missing_keys"], *mismatched]
    new = [part for part, prefix in parts.items() if any(key.startswith(prefix) for key in lacking)]
    if not classifies and "classifier" not in new:
        new.insert(0, "classifier")
        torch.nn.init.normal_(supernet.classifier.weight, std=supernet.config.initializer_range)
        torch.nn.init.zeros_(supernet.classifier.bias)
    if "classifier" in new:
        return supernet, new, None
    return supernet, new, _take_over(supernet, names, label_names)


_CLASSIFIES = "ForSequenceClassification"


def _label_names(fields: dict[str, Any]) -> list[str]:
    """Of a checkpoint's configuration, which does not hold those of two labels without names."""
    given = {int(number): str(name) for number, name in (fields.get("id2label") or {}).items()}
    count = len(given) or int(fields.get("num_labels") or 2)
    return [given.get(number, f"LABEL_{number}") for number in range(count)]


@torch.no_grad()
def _take_over(
    supernet: BertSupernetForSequenceClassification, names: Sequence[str], wanted: Sequence[str]
) -> str | None:
    """Bring a classifier's rows into the order of the task; what was made of other names."""
    theirs, ours = [name.lower() for name in names], [name.lower() for name in wanted]
    if theirs == ours or all(name.startswith("label_") for name in theirs):
        return None
    if sorted(theirs) != sorted(ours) or len(set(ours)) < len(ours):
        return f"The checkpoint's labels {list(names)} are taken for {list(wanted)}, in this order."
    order = [theirs.index(name) for name in ours]
    for tensor in (supernet.classifier.weight, supernet.classifier.bias):
        tensor.copy_(tensor[order].clone())
    return f"The checkpoint's labels {list(names)} are brought into the order {list(wanted)}."
