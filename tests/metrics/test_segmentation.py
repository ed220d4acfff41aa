import json

import pytest
import torch

from searchhub.metrics.segmentation import VOID, class_ious, confusion_matrix, segmentation_metrics

TRUTH = torch.tensor([[0, 0, 1, 1], [0, 2, 1, VOID], [2, 2, VOID, VOID]])
SAID = torch.tensor([[0, 1, 1, 1], [0, 2, 2, 0], [2, 0, 1, 2]])
NAMES = ["road", "car", "sky"]


def test_the_matrix_counts_pixels_by_hand():
    matrix = confusion_matrix(SAID, TRUTH, 3)
    assert matrix.tolist() == [[2, 1, 0], [0, 2, 1], [1, 0, 2]]
    assert matrix.dtype == torch.int64
    assert matrix.sum() == (TRUTH != VOID).sum(), "void counts nowhere, whatever it is taken for"


def test_metrics_come_from_one_matrix():
    matrix = confusion_matrix(SAID, TRUTH, 3)
    ious = {"road": 2 / 4, "car": 2 / 4, "sky": 2 / 4}
    assert class_ious(matrix, NAMES) == ious
    assert segmentation_metrics(matrix, NAMES) == {"mean_iou": 0.5, "pixel_accuracy": 6 / 9}


def test_parts_add_up_to_the_whole_in_any_order():
    parts = [confusion_matrix(s, t, 3) for s, t in zip(SAID, TRUTH, strict=True)]
    whole = confusion_matrix(SAID, TRUTH, 3)
    assert torch.equal(sum(parts), whole)
    assert torch.equal(sum(reversed(parts)), whole)
    mean_of_parts = sum(segmentation_metrics(part, NAMES)["mean_iou"] for part in parts) / 3
    assert mean_of_parts != segmentation_metrics(whole, NAMES)["mean_iou"], "that is another number"


def test_a_class_that_is_neither_there_nor_predicted_is_left_out():
    matrix = confusion_matrix(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 3)
    assert class_ious(matrix, NAMES) == {"road": 0.5, "car": 0.5}
    assert segmentation_metrics(matrix, NAMES)["mean_iou"] == 0.5
    missed = confusion_matrix(torch.tensor([0, 2]), torch.tensor([0, 0]), 3)
    assert class_ious(missed, NAMES) == {"road": 0.5, "sky": 0.0}, "one that is only predicted is wrong"


def test_of_void_alone_there_are_numbers_that_json_knows():
    matrix = confusion_matrix(SAID, torch.full_like(TRUTH, VOID), 3)
    metrics = segmentation_metrics(matrix, NAMES)
    assert json.loads(json.dumps({**metrics, **class_ious(matrix, NAMES)}, allow_nan=False)) == {
        "mean_iou": 0.0,
        "pixel_accuracy": 0.0,
    }


def test_a_prediction_that_is_right_everywhere_is_perfect():
    truth = TRUTH.clone()
    assert segmentation_metrics(confusion_matrix(truth.clamp(max=2), truth, 3), NAMES) == pytest.approx(
        {"mean_iou": 1.0, "pixel_accuracy": 1.0}
    )
