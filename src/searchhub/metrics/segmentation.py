"""Metrics of semantic segmentation, all from one confusion matrix of a whole split.

A mean over pictures of each picture's IoU is another number, so matrices are added up first. Integers add up to the
same sums in any order, on any number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

VOID = 255
"""The label of pixels that belong to no class: they are in no loss and no metric, also not as wrong predictions."""


def confusion_matrix(predictions: torch.Tensor, references: torch.Tensor, num_labels: int) -> torch.Tensor:
    """Counts pixels by their class and by what they were predicted as; void pixels are not counted.

    Args:
        predictions: Predicted classes 0 … num_labels - 1, int64 of any shape.
        references: True classes, or `VOID`, int64 of the same shape.
        num_labels: Number of classes.

    Returns:
        int64 [num_labels, num_labels]; rows are true classes, columns predicted ones.
    """
    valid = references != VOID
    pairs = references[valid] * num_labels + predictions[valid]
    return pairs.bincount(minlength=num_labels**2).view(num_labels, num_labels)


def class_ious(matrix: torch.Tensor, label_names: Sequence[str]) -> dict[str, float]:
    """Returns the intersection over union of each class, in [0, 1], from a confusion matrix.

    A class that is neither there nor predicted has none, and is left out.
    """
    hits = matrix.diagonal()
    unions = matrix.sum(0) + matrix.sum(1) - hits
    return {
        name: hit / union for name, hit, union in zip(label_names, hits.tolist(), unions.tolist(), strict=True) if union
    }


def segmentation_metrics(matrix: torch.Tensor, label_names: Sequence[str]) -> dict[str, float]:
    """Returns "mean_iou", over the classes that have an IoU, and "pixel_accuracy" from a confusion matrix.

    Both are 0 where all pixels are void: then nothing was recognised.
    """
    ious, pixels = class_ious(matrix, label_names), int(matrix.sum())
    return {
        "mean_iou": sum(ious.values()) / max(1, len(ious)),
        "pixel_accuracy": int(matrix.diagonal().sum()) / max(1, pixels),
    }
