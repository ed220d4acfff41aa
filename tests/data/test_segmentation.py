import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from torch.nn import functional
from transformers import AutoImageProcessor

from searchhub.data.distilled import DistilledTask
from searchhub.data.mask_folders import CITYSCAPES, cityscapes_table
from searchhub.data.pairs import PairAugmentation
from searchhub.data.reduced import ReducedTask
from searchhub.data.segmentation import SegmentationTask
from searchhub.data.segmentation_loading import describe
from searchhub.errors import InvalidInputError
from searchhub.metrics.segmentation import VOID
from searchhub.training.batches import check_batch_size
from searchhub.training.settings import TrainingSettings

from .shapes import COLOURS, NAMES, pair, rows, split

CPU = torch.device("cpu")


def task_of(train=None, validation=None, test=None, **options):
    splits = {"train": train or split(6), "validation": validation or split(3, 10), "test": test or split(4, 20)}
    names = {"image_column": "image", "mask_column": "mask", "label_names": NAMES, "image_size": (32, 48)}
    return SegmentationTask("shapes", splits, **{**names, "workers": 2, **options})


@pytest.fixture(scope="module")
def task():
    return task_of(augmentation=PairAugmentation((24, 40)))


def batch(task, indices, of="train", seed=None):
    return task.batch(of, torch.tensor(indices), device=CPU, seed=seed)


def with_mask(mask, picture=None):
    """A split whose second example has another mask."""
    made = [pair(i) for i in range(3)]
    pictures, masks = [p for p, _ in made], [m for _, m in made]
    pictures[1], masks[1] = picture or pictures[1], mask
    return rows(pictures, masks)


# -- batches ----------------------------------------------------------------------------------------------------------


def test_training_batches_are_random_parts_with_their_labels(task):
    one = batch(task, [0, 1, 2, 3], seed=5)
    assert one["pixel_values"].shape == (4, 3, 24, 40)
    assert one["labels"].shape == (4, 24, 40)
    assert one["labels"].dtype == torch.int64
    assert one["pixel_values"].is_contiguous(memory_format=torch.channels_last)
    assert set(one["labels"].unique().tolist()) <= {0, 1, 2, VOID}
    assert batch(task, [0, 1, 2, 3], seed=6)["labels"].ne(one["labels"]).any()
    mean, std = (torch.tensor(v).view(3, 1) for v in (task.image_mean, task.image_std))
    for label in range(3):  # pixels amid one label have its colour
        pixels = one["pixel_values"].movedim(1, 0)[:, one["labels"] == label] * std + mean
        colour = torch.tensor(COLOURS[label] / 255).view(3, 1)
        assert ((pixels - colour).abs() < 0.12).float().mean() > 0.8


def test_an_example_does_not_depend_on_its_batch_nor_on_what_was_announced(task):
    whole = batch(task, [0, 1, 2, 3], seed=5)
    task.prefetch("train", [torch.tensor([3, 1])], seed=5)
    again = batch(task, [3, 1], seed=5)
    full = batch(task, [3, 1], "full", seed=5)
    for name in whole:
        assert torch.equal(again[name], whole[name][[3, 1]])
        assert torch.equal(full[name], again[name])
    validation = batch(task, [7], "full")
    assert torch.equal(validation["labels"], batch(task, [1], "validation")["labels"])


def test_outside_of_a_picture_is_the_mean_colour_and_void(task):
    wide = task_of(augmentation=PairAugmentation((64, 80), scale=(0.5, 0.5)))
    found = batch(wide, [0, 1], seed=0)
    outside = (found["pixel_values"] == 0).all(1)
    assert outside.float().mean() > 0.9
    assert (found["labels"][outside] == VOID).all()
    assert (found["labels"] != VOID).sum() > 2 * 16 * 24 * 0.8, "the picture itself is there"


def test_evaluation_sees_whole_pictures_and_masks_of_their_own_size():
    task = task_of(test=split(2, 20, size=(64, 96)))
    found = batch(task, [0, 1], "test")
    assert found["pixel_values"].shape == (2, 3, 32, 48)
    assert found["labels"].shape == (2, 64, 96)
    assert found["labels"][0].numpy().tolist() == np.asarray(pair(20, size=(64, 96))[1]).tolist()


def test_inputs_are_those_of_the_published_processor(tmp_path):
    task = task_of(test=split(2, 20, size=(31, 45)))
    task.processor().save_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert "Segformer" in type(processor).__name__
    assert not processor.do_reduce_labels
    found = batch(task, [0, 1], "test")
    published = task.processed_by(tmp_path).batch("test", torch.tensor([0, 1]), device=CPU)
    assert torch.equal(found["pixel_values"], published["pixel_values"])
    assert torch.equal(found["labels"], published["labels"])
    made = processor([pair(20, size=(31, 45))[0]], return_tensors="pt")["pixel_values"]
    assert torch.equal(made[0], found["pixel_values"][0])


# -- scores -----------------------------------------------------------------------------------------------------------


def test_scores_are_taken_at_the_masks_own_size_as_users_take_them(tmp_path):
    task = task_of(test=rows(*zip(pair(1, size=(64, 96)), pair(2, size=(40, 56)), strict=True)))
    labels = batch(task, [0, 1], "test")["labels"]
    assert labels.shape == (2, 64, 96), "the smaller mask is filled up"
    logits = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    measured = task.total(task.join([task.tally(logits, labels)]))
    processed = task.processor().post_process_semantic_segmentation(
        type("Output", (), {"logits": logits}), target_sizes=[(64, 96), (40, 56)]
    )
    said = torch.cat([labels.flatten() for labels in processed])
    truth = torch.cat([torch.tensor(np.array(pair(i, size=s)[1])).long().flatten() for i, s in SIZES])
    valid = truth != VOID
    assert measured.metrics["pixel_accuracy"] == (said == truth)[valid].double().mean()
    ious = [
        ((said == c) & (truth == c)).sum() / (((said == c) | (truth == c)) & valid).sum().double() for c in range(3)
    ]
    assert measured.by_class == {"iou": pytest.approx(dict(zip(NAMES, map(float, ious), strict=True)))}
    assert measured.metrics["mean_iou"] == pytest.approx(float(sum(ious)) / 3)
    losses = [
        functional.cross_entropy(
            functional.interpolate(logits[[i]], size, mode="bilinear", align_corners=False).double(),
            torch.tensor(np.array(pair(i + 1, size=size)[1])).long().unsqueeze(0),
            ignore_index=VOID,
            reduction="sum",
        )
        for i, (_, size) in enumerate(SIZES)
    ]
    assert measured.loss == pytest.approx(float(sum(losses)) / int(valid.sum()), rel=1e-6)


SIZES = [(1, (64, 96)), (2, (40, 56))]


def test_official_rules_of_cityscapes_by_a_confusion_matrix_made_by_hand():
    """Pixels whose truth is not evaluated count nowhere, not as wrong predictions either; absent classes do not."""
    ids = np.array([[7, 7, 8, 0], [11, 26, 26, 3]], dtype=np.uint8)  # road road sidewalk – / building car car –
    said = torch.tensor([[0, 1, 1, 13], [2, 13, 0, 13]])  # a car where nothing is evaluated, twice
    names = [name for name, _ in CITYSCAPES.values()]
    mask, picture = PILImage.fromarray(ids), PILImage.fromarray(np.zeros((2, 4, 3), dtype=np.uint8))
    task = task_of(*[rows([picture], [mask])] * 3, label_names=names, table=cityscapes_table(), image_size=(2, 4))
    logits = functional.one_hot(said, 19).permute(2, 0, 1)[None].float()
    matrix, _ = tally = task.tally(logits, batch(task, [0], "test")["labels"])
    expected = torch.zeros(19, 19, dtype=torch.int64)
    for truth, prediction in [(0, 0), (0, 1), (1, 1), (2, 2), (13, 13), (13, 0)]:
        expected[truth, prediction] += 1
    assert torch.equal(matrix, expected)
    measured = task.total(tally)
    assert measured.by_class["iou"] == pytest.approx({"road": 1 / 3, "sidewalk": 1 / 2, "building": 1, "car": 1 / 2})
    assert measured.metrics == pytest.approx({"mean_iou": 7 / 12, "pixel_accuracy": 4 / 6})


def test_scores_do_not_depend_on_how_pictures_are_shared_out(task):
    labels = batch(task, [0, 1, 2, 3], "test")["labels"]
    logits = torch.randn(4, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    whole = task.total(task.join([task.tally(logits, labels)]))
    each = [task.tally(logits[[i]], labels[[i]]) for i in range(4)]
    shared = task.total(task.join([task.join(each[:1]), task.join(each[1:])]))
    assert shared == whole
    assert task.loss(logits, labels) == whole.loss
    at_size = functional.interpolate(logits, (32, 48), mode="bilinear", align_corners=False)
    assert task.score(task.predictions(at_size), labels) == whole.metrics


def test_what_is_kept_of_a_picture_does_not_grow_with_it(task):
    small, large = (
        task.join([task.tally(torch.randn(1, 3, 4, 4), torch.zeros(1, *size, dtype=torch.int64))])
        for size in ((8, 8), (64, 64))
    )
    assert [t.numel() for t in small] == [t.numel() for t in large] == [9, 1]


def test_void_alone_has_no_loss_and_no_score(task):
    labels = torch.full((2, 8, 8), VOID)
    measured = task.total(task.join([task.tally(torch.randn(2, 3, 8, 8), labels)]))
    assert measured.loss == 0
    assert measured.metrics == {"mean_iou": 0.0, "pixel_accuracy": 0.0}
    assert measured.by_class == {"iou": {}}
    json.dumps(dataclasses.asdict(measured), allow_nan=False)


def test_a_loss_that_is_not_finite_stays_so(task):
    logits = torch.full((1, 3, 8, 8), float("nan"))
    assert math.isnan(task.loss(logits, torch.zeros(1, 8, 8, dtype=torch.int64)))


def test_pictures_of_one_class_are_fine():
    ground = PILImage.new("L", (48, 32), 0)
    task = task_of(train=with_mask(ground))
    assert batch(task, [1])["labels"].eq(0).all()


# -- masks that do not fit --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            PILImage.new("RGB", (48, 32)),
            r"number 1 is not: it must hold one number a pixel, its class, but its",
        ),
        (PILImage.new("I;16", (48, 32)), r"number 1 is not: it must hold numbers of 8 bits, but its mode is I;16"),
        (PILImage.new("L", (48, 31)), r"it must be as large as its picture, 48 x 32, but is 48 x 31. It is row 1"),
    ],
    ids=["colours", "16 bits", "size"],
)
def test_a_mask_that_is_none_is_refused_before_work_starts(mask, message):
    with pytest.raises(InvalidInputError, match="`mask` of the split `train` of `shapes` must be a mask") as error:
        task_of(train=with_mask(mask))
    assert error.match(message)


def test_a_mask_on_its_side_is_refused_when_it_is_read():
    task = task_of(train=with_mask(PILImage.new("L", (32, 48))))
    with pytest.raises(InvalidInputError, match="must be as large as its picture, 48 x 32, but is 32 x 48"):
        batch(task, [1])


def test_a_missing_mask_is_refused():
    train = split(3).to_dict()
    train["mask"][1] = None
    with pytest.raises(InvalidInputError, match="number 1 is not: it is missing"):
        task_of(train=split(3).from_dict(train, features=split(3).features))


def test_numbers_of_no_class_are_refused_by_name():
    task = task_of(train=with_mask(pair(1, void=11)[1]))
    with pytest.raises(InvalidInputError, match=r"number 1 is not: no class has the number 11\. It is row 1"):
        batch(task, [0, 1])
    with pytest.raises(InvalidInputError, match="no class has the number 11"):
        describe(task)


def test_a_palette_picture_holds_its_indices():
    picture, mask = pair(1)
    colours = mask.copy()
    colours.putpalette([7 * i % 256 for i in range(768)])
    assert colours.mode == "P"
    task = task_of(train=with_mask(colours, picture))
    assert np.array_equal(batch(task, [1])["labels"][0], np.asarray(mask))


def test_impossible_settings_are_refused():
    with pytest.raises(InvalidInputError, match="must have different names"):
        task_of(label_names=["a", "a", "b"])
    with pytest.raises(InvalidInputError, match="2 to 254 classes to tell apart, but `shapes` has 255"):
        task_of(label_names=[str(i) for i in range(255)])
    with pytest.raises(InvalidInputError, match="a colour for each of the 3 classes, but has 1"):
        task_of(palette=[(0, 0, 0)])


# -- what it says of itself -------------------------------------------------------------------------------------------


def test_absent_classes_are_said():
    task = task_of(validation=rows([pair(0)[0]], [PILImage.new("L", (48, 32), 0)]))
    lines = describe(task).splitlines()
    assert lines[0] == "shapes: 6 train, 1 validation, 4 test pictures of 48 x 32, 3 classes"
    assert "`stripe` 12 / 0 / 12, `void` 3.1 / 0 / 3.1" in lines[1]
    assert lines[2] == "  No pixel of validation is `box`, `stripe`."
    assert "1 of the 1 validation examples (100 %) stand in train, too" in lines[3]


def test_the_fingerprint_covers_pictures_masks_and_settings(task):
    alike = task_of(augmentation=PairAugmentation((24, 40)))
    assert alike.fingerprint() == task.fingerprint()
    others = [
        task_of(augmentation=PairAugmentation((24, 41))),
        task_of(augmentation=PairAugmentation((24, 40)), train=with_mask(pair(1, void=2)[1])),
        task_of(augmentation=PairAugmentation((24, 40)), label_names=["ground", "box", "line"]),
    ]
    assert len({found.fingerprint() for found in (task, *others)}) == 4


def test_what_needs_a_label_for_each_example_is_refused(task):
    with pytest.raises(InvalidInputError, match="one label for each example, but `shapes` has one for each pixel"):
        ReducedTask(task, 0.5)
    with pytest.raises(InvalidInputError, match="Learning from a teacher's outputs needs one label"):
        DistilledTask(task, torch.zeros(9, 3))
    with pytest.raises(InvalidInputError, match="are masks, which are too many to be listed"):
        task.labels("train")
    settings = TrainingSettings(batch_size=2, distillation_weight=0.5)
    with pytest.raises(InvalidInputError, match="Learning from a teacher's outputs needs one label"):
        check_batch_size(task, "train", settings, type("One", (), {"num_processes": 1}))
