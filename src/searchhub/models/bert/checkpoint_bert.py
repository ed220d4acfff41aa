"""Loads a checkpoint for a task, and decides what becomes of its classifier."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from searchhub.errors import InvalidInputError
from searchhub.hub_client import why_silent
from searchhub.models.bert.supernet_bert import BertSupernetConfig, BertSupernetForSequenceClassification
from searchhub.models.identity import check_not_quantized


def load_for_task(
    checkpoint: str,
    label_names: Sequence[str],
    *,
    regression: bool = False,
    fine_tune: bool | None = True,
    names: Sequence[str] | None = None,
    ignore_mismatched_sizes: bool = False,
    **fields: Any,
) -> tuple[BertSupernetForSequenceClassification, list[str], str | None]:
    """Returns the supernet of a checkpoint, with its own classifier or a new one for the labels of a task.

    1. A classifier with the same number of labels is kept. If its configuration names the same labels in another order
       (case does not count), its rows are brought into the task's order. `LABEL_0`, `LABEL_1`, …, which transformers
       writes where nobody named them, are the labels called 0, 1, … and no others.
    2. If the names are others, it is kept in its order only where it will be fine-tuned; otherwise that is an error.
       Where `LABEL_0`, … say nothing, a checkpoint that is said to be fine-tuned is taken in the task's order.
    3. A sequence classifier with another number of labels is an error: it was trained for something else.
    4. A classifier that is missing, as in a pre-trained checkpoint, or that belongs to another kind of task, is drawn
       anew from torch's global random numbers: seed them.

    Args:
        checkpoint: A folder, or a repository on the Hub.
        label_names: Names of the task's labels, in order.
        regression: Whether the task's one label is a number.
        fine_tune: Whether it will be fine-tuned for the task. False: it is fine-tuned already. None: it is if its
            classifier has the task's labels by name.
        names: Names of the labels of its classifier, in its order. None: those of its configuration.
        ignore_mismatched_sizes: Whether to draw a new classifier instead of raising the error of 3.
        **fields: Further arguments of `BertSupernetForSequenceClassification.from_pretrained`.

    Returns:
        The supernet; which of "classifier" and "pooler" are new; and a message about the labels for a person, or None.

    Raises:
        InvalidInputError: The checkpoint is no BERT encoder, is quantized, or its classifier has another number of
            labels, or labels of other names and is not to be fine-tuned.
    """
    silent = not Path(checkpoint).exists() and why_silent(checkpoint, "model") is not None
    try:
        of_checkpoint, _ = BertSupernetConfig.get_config_dict(checkpoint, local_files_only=silent)
    except OSError:
        of_checkpoint = {}  # said when the weights are asked for
    check_not_quantized(of_checkpoint, checkpoint)
    supernet, info = BertSupernetForSequenceClassification.from_pretrained(
        checkpoint,
        num_labels=len(label_names),
        problem_type="regression" if regression else "single_label_classification",
        output_loading_info=True,
        local_files_only=silent,
        **fields,
    )
    classes = of_checkpoint.get("architectures") or [_CLASSIFIES]  # without architectures it counts as a classifier
    classifies = any(name.endswith(_CLASSIFIES) for name in classes)
    known = _label_names(of_checkpoint)
    if names is not None and len(names) != len(known):
        raise InvalidInputError(
            f"`--checkpoint_labels` must name the {len(known)} labels of `{checkpoint}` in its order, but names "
            f"{len(names)}, {list(names)[:8]}."
        )
    names = known if names is None else names
    mismatched = [key for key, *_ in info["mismatched_keys"]]
    if mismatched and classifies and not ignore_mismatched_sizes:
        raise InvalidInputError(
            f"The classifier of `{checkpoint}` must tell apart the task's {len(label_names)} labels, "
            f"{list(label_names)[:8]}, but has {len(names)}, {list(names)[:8]}. Give a checkpoint of these labels, or "
            "one without a classifier; or have a new one drawn: `--ignore_mismatched_sizes`."
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
    fits, note = _take_over(supernet, names, label_names)
    if fits or fine_tune or (fine_tune is False and _say_nothing(names)):
        return supernet, new, note
    nothing = ", which nobody named" if _say_nothing(names) else ""
    raise InvalidInputError(
        f"The classifier of `{checkpoint}` must have the task's labels by name, {list(label_names)[:8]}, to be taken "
        f"as it is, but has {list(names)[:8]}{nothing}. If these stand for those, name them in the classifier's order, "
        f"e.g. `--checkpoint_labels {shlex.join(label_names[:8])}`; else fine-tune it here: `--original_epochs 3`."
    )


_CLASSIFIES = "ForSequenceClassification"


def _label_names(fields: dict[str, Any]) -> list[str]:
    """Reads the label names from a checkpoint's configuration, which leaves out two default names."""
    given = {int(number): str(name) for number, name in (fields.get("id2label") or {}).items()}
    count = len(given) or int(fields.get("num_labels") or 2)
    return [given.get(number, f"LABEL_{number}") for number in range(count)]


@torch.no_grad()
def _take_over(
    supernet: BertSupernetForSequenceClassification, names: Sequence[str], wanted: Sequence[str]
) -> tuple[bool, str | None]:
    """Brings a classifier's rows into the task's order; returns whether its labels are the task's, and a message."""
    theirs, ours = [name.lower() for name in names], [name.lower() for name in wanted]
    if _say_nothing(names) and sorted(ours) == sorted(map(str, range(len(ours)))):
        theirs = [name.removeprefix("label_") for name in theirs]
    if theirs == ours:
        return True, None
    if sorted(theirs) != sorted(ours) or len(set(ours)) < len(ours):
        return False, f"The checkpoint's labels {list(names)} are taken for {list(wanted)}, in this order."
    order = [theirs.index(name) for name in ours]
    for tensor in (supernet.classifier.weight, supernet.classifier.bias):
        tensor.copy_(tensor[order].clone())
    return True, f"The checkpoint's labels {list(names)} are brought into the order {list(wanted)}."


def _say_nothing(names: Sequence[str]) -> bool:
    """Whether labels have the names that transformers gives those that nobody named: LABEL_0, LABEL_1, …"""
    return [name.lower() for name in names] == [f"label_{i}" for i in range(len(names))]
