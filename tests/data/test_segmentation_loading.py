import json
import os

import numpy as np
import pytest
import torch
from datasets import DatasetDict
from PIL import Image as PILImage

from searchhub.data.mask_folders import CITYSCAPES, cityscapes_table
from searchhub.data.segmentation_loading import describe, load_segmentation_task
from searchhub.data.sources import load_task
from searchhub.errors import InvalidInputError
from searchhub.metrics.segmentation import VOID

from .shapes import NAMES, pair, rows, split

CPU = torch.device("cpu")
TEST = [f"street_{i}.png" for i in range(3)]


def labels(task, of):
    return task.batch(of, torch.arange(task.size(of)), device=CPU)["labels"]


def saved(root, *parts, seed=0, mask=False, **options):
    """Writes a picture, or its mask, of a seed."""
    file = root.joinpath(*parts)
    file.parent.mkdir(parents=True, exist_ok=True)
    pair(seed, **options)[mask].save(file)


def pairs_of(root, *above, n=8, folders=("images", "masks"), first=0):
    for i in range(n):
        saved(root, *above, folders[0], f"{i}.png", seed=first + i)
        saved(root, *above, folders[1], f"{i}.png", seed=first + i, mask=True)


# -- parquet ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Parquet of 20 frames to train on, whose rows are shuffled, and of 3 to validate and to test on."""
    root = tmp_path_factory.mktemp("tables")
    order = np.random.default_rng(0).permutation(20)
    frames = split(20, names=[f"drive_{i}.png" for i in range(20)]).select(order)
    for name, own in {"train": frames, "validation": split(3, 50), "test": split(3, 60, names=TEST)}.items():
        own.to_parquet(str(root / f"{name}.parquet"))
    return root


def test_columns_classes_and_sizes_are_found(tables):
    task = load_segmentation_task(str(tables))
    assert [task.size(name) for name in ("train", "validation", "test", "full")] == [20, 3, 3, 23]
    assert task.label_names == ("0", "1", "2")
    assert (task.image_size, task.augmentation.crop_size, task.input_shape) == ((32, 48), (32, 48), (3, 32, 48))
    assert task.metric_name == "mean_iou"
    assert labels(task, "test")[0].tolist() == np.asarray(pair(60)[1]).tolist()
    assert not task.notes


def test_a_task_is_loaded_again_from_what_it_says_of_itself(tables, tmp_path):
    (tmp_path / "names.txt").write_text("ground\nbox\n\nstripe\n", encoding="utf-8")
    task = load_segmentation_task(
        str(tables),
        label_names=str(tmp_path / "names.txt"),
        image_size=24,
        augmentation={"crop_size": [16, 20], "scale": [1, 1.5]},
        validation_blocks=2,
    )
    assert task.label_names == tuple(NAMES)
    assert (task.image_size, task.augmentation.crop_size) == ((24, 24), (16, 20))
    again = load_task(json.loads(json.dumps(task.source)))
    assert again.source == task.source == json.loads(json.dumps(task.source))
    assert again.fingerprint() == task.fingerprint()


def test_validation_is_stretches_in_the_order_of_file_names(tables):
    task = load_segmentation_task(str(tables), validation_blocks=2, validation_gap=1, label_names=NAMES)
    held = [frame for row in labels(task, "validation") for frame in range(20) if same(row, frame)]
    kept = [frame for row in labels(task, "train") for frame in range(20) if same(row, frame)]
    assert len(held) == 4
    assert (held[1] - held[0], held[3] - held[2]) == (1, 1)
    assert min(abs(a - b) for a in held for b in kept) == 2
    assert task.own_splits == {"test": "test", "validation": "a part of train"}
    first, second, third, fourth = held
    assert task.notes == (
        "left out the split `validation`, since `validation_blocks` asks for stretches of train",
        f"validation is 2 stretches of train, `drive_{first}.png` to `drive_{second}.png`, `drive_{third}.png` to "
        f"`drive_{fourth}.png`; {20 - 4 - len(kept)} frames at their ends are left out",
    )


def test_gaps_leave_most_of_a_few_frames_and_are_remembered(tables):
    """20 frames, of which 4 stretches of one are held out; two frames at each end of them would leave 3 to train on."""
    task = load_segmentation_task(str(tables), validation_blocks=4, label_names=NAMES)
    assert (task.source["validation_gap"], task.size("validation")) == (1, 4)
    assert task.size("train") >= 8
    wide = load_segmentation_task(str(tables), validation_blocks=4, validation_gap=2, label_names=NAMES)
    assert wide.size("train") < 8
    for known in (task, wide):
        assert load_task(known.source).fingerprint() == known.fingerprint()
    longer = load_segmentation_task(str(tables), validation_blocks=1, label_names=NAMES)
    assert longer.source["validation_gap"] == 2


def test_gaps_that_differ_are_found_again(tmp_path):
    split(20).to_parquet(str(tmp_path / "all.parquet"))
    sizes = {"validation_blocks": 1, "test_size": 4, "validation_size": 1}
    task = load_segmentation_task(str(tmp_path / "all.parquet"), label_names=NAMES, **sizes)
    assert task.source["validation_gap"] is None
    assert load_task(task.source).fingerprint() == task.fingerprint()


def test_a_part_of_the_test_is_told_by_names(tables):
    task = load_segmentation_task(str(tables), label_names=NAMES, test_names=r"_[01]\.png$")
    assert (task.size("test"), task.size("train")) == (2, 20)
    assert [same(row, 60 + i) for i, row in enumerate(labels(task, "test"))] == [True, True]
    assert task.notes[-1] == f"test is 2 of 3 pictures, those with `{task.source['test_names']}` in their names"
    assert load_task(task.source).fingerprint() == task.fingerprint()
    whole = load_segmentation_task(str(tables), label_names=NAMES)
    assert "test_names" not in whole.source
    assert whole.fingerprint() != task.fingerprint()
    with pytest.raises(InvalidInputError, match=r"`drive_7` must be in the names of some test pictures .* as in `str"):
        load_segmentation_task(str(tables), label_names=NAMES, test_names="drive_7")
    with pytest.raises(InvalidInputError, match=r"`test_names` must be a regular expression, but `\(` is none"):
        load_segmentation_task(str(tables), label_names=NAMES, test_names="(")


def test_masks_of_one_class_and_void_are_refused(tmp_path):
    pictures, masks = zip(*(pair(i) for i in range(4)), strict=True)
    ground = [PILImage.fromarray(np.where(np.asarray(mask) == 1, VOID, 0).astype(np.uint8)) for mask in masks]
    rows(pictures, ground).to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(
        InvalidInputError, match=r"2 to 254 classes .* has 1\. 255 is void and no class: where masks hold 0"
    ):
        load_segmentation_task(str(tmp_path), validation_size=1, test_size=1, validation_blocks=1, validation_gap=0)


def same(row, frame):
    return np.array_equal(row, np.asarray(pair(frame)[1]))


def test_rows_without_names_are_in_order_and_a_lone_train_split_gives_all(tmp_path):
    split(20).to_parquet(str(tmp_path / "all.parquet"))
    task = load_segmentation_task(str(tmp_path / "all.parquet"), validation_blocks=1, test_size=5, validation_gap=0)
    held = [frame for row in labels(task, "test") for frame in range(20) if same(row, frame)]
    assert held == list(range(held[0], held[0] + 5))
    assert [task.size(name) for name in ("train", "validation", "test")] == [12, 3, 5]


def test_a_column_of_file_names_orders_frames_that_have_none(tmp_path):
    order = [int(i) for i in np.random.default_rng(0).permutation(12)]
    rows = split(12).select(order).add_column("file_name", [f"{i}.png" for i in order])
    rows.to_parquet(str(tmp_path / "all.parquet"))
    task = load_segmentation_task(str(tmp_path / "all.parquet"), validation_blocks=1, test_size=3, validation_gap=0)
    held = [frame for row in labels(task, "test") for frame in range(12) if same(row, frame)]
    assert held == list(range(held[0], held[0] + 3))


def test_groups_stay_together(tmp_path):
    drives = [f"drive {i // 5}" for i in range(20)]
    split(20).add_column("drive", drives).to_parquet(str(tmp_path / "all.parquet"))
    task = load_segmentation_task(str(tmp_path / "all.parquet"), group_column="drive", validation_size=5, test_size=5)
    frames = {
        name: {drives[f] for row in labels(task, name) for f in range(20) if same(row, f)}
        for name in ("train", "validation", "test")
    }
    assert sum(map(len, frames.values())) == len(set.union(*frames.values())) == 4
    assert f"test is all of train whose `drive` is {next(iter(frames['test']))}" in task.notes


def test_another_void_is_named_and_others_are_refused(tmp_path):
    file = str(tmp_path / "all.parquet")
    split(12, void=11).to_parquet(file)
    task = load_segmentation_task(file, void_label=11, validation_blocks=1)
    assert task.label_names == ("0", "1", "2")
    assert set(labels(task, "train").unique().tolist()) == {0, 1, 2, VOID}
    wrong = load_segmentation_task(file, label_names=NAMES, validation_blocks=1)
    with pytest.raises(InvalidInputError, match="no class has the number 11"):
        describe(wrong)


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (("a", "b"), {}, r"but its columns of pictures are \['a', 'b'\]"),
        (("image", "mask"), {"mask_column": "label"}, "`--mask_column` must name a column of .* but is 'label'"),
        (("image", "mask"), {"image_column": "mask", "mask_column": "mask"}, "and another one of masks"),
    ],
)
def test_columns_that_cannot_be_told_apart_are_asked_for(tmp_path, names, options, message):
    columns = dict(zip(("image", "mask"), names, strict=True))
    rows = split(3).rename_columns({old: new for old, new in columns.items() if old != new})
    rows.to_parquet(str(tmp_path / "all.parquet"))
    with pytest.raises(InvalidInputError, match=message):
        load_segmentation_task(str(tmp_path / "all.parquet"), **options)


def test_columns_that_are_given_are_taken(tmp_path):
    split(12).rename_columns({"image": "a", "mask": "b"}).to_parquet(str(tmp_path / "all.parquet"))
    task = load_segmentation_task(str(tmp_path / "all.parquet"), image_column="a", validation_blocks=1)
    assert (task.source["image_column"], task.source["mask_column"]) == ("a", "b")


# -- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [False, True], ids=["train/images", "images/train"])
def test_pictures_belong_to_masks_of_equal_name(tmp_path, inner):
    for first, name in enumerate(("train", "val", "test")):
        for i in range(3):
            for folder in ("images", "labels"):
                parts = (folder, name) if inner else (name, folder)
                saved(tmp_path, *parts, f"{i}.png", seed=10 * first + i, mask=folder == "labels")
    task = load_segmentation_task(str(tmp_path))
    assert [task.size(name) for name in ("train", "validation", "test")] == [3, 3, 3]
    assert np.array_equal(labels(task, "validation")[2], np.asarray(pair(12)[1]))
    assert task.own_splits == {"test": "test", "validation": "validation"}


def test_a_folder_without_splits_is_cut_by_stretches(tmp_path):
    pairs_of(tmp_path, n=12)
    (tmp_path / "stray.png").write_bytes(b"no picture, and in no folder of pictures")
    task = load_segmentation_task(str(tmp_path), validation_blocks=1, validation_gap=1)
    assert task.size("validation") == 2
    assert "left out 1 that lie in no folder of pictures or masks: `stray.png`" in task.notes


def test_a_split_without_masks_is_left_out(tmp_path):
    pairs_of(tmp_path, "train")
    pairs_of(tmp_path, "val", n=2)
    saved(tmp_path, "test", "images", "0.png")
    task = load_segmentation_task(str(tmp_path), validation_blocks=1, validation_gap=0)
    assert task.size("test") == 2, "val is what is left to test on"
    assert "the split `test`, 1 pictures, is left out, for it has no masks" in task.notes


def test_what_has_no_partner_is_refused(tmp_path):
    pairs_of(tmp_path, n=3)
    os.remove(tmp_path / "masks" / "1.png")
    with pytest.raises(InvalidInputError, match=r"Every picture of .* a mask .* 1 have none: `images/1\.png`"):
        load_segmentation_task(str(tmp_path))
    os.remove(tmp_path / "images" / "1.png")
    os.remove(tmp_path / "images" / "2.png")
    with pytest.raises(InvalidInputError, match=r"Every mask of .* must have a picture .* 1 have none: `masks/2\.png`"):
        load_segmentation_task(str(tmp_path))
    saved(tmp_path, "images", "2.png")
    saved(tmp_path, "images", "2.jpg")
    with pytest.raises(InvalidInputError, match=r"must not have one name, but `images/2\.jpg` and `images/2\.png` do"):
        load_segmentation_task(str(tmp_path))


def test_a_folder_of_something_else_is_refused(tmp_path):
    saved(tmp_path, "cats", "1.png")
    with pytest.raises(InvalidInputError, match="must hold pictures in a folder `images`, and the mask of each"):
        load_segmentation_task(str(tmp_path))
    with pytest.raises(InvalidInputError, match="`--dataset` must be a Hub id that can be reached, parquet, or a fol"):
        load_segmentation_task(str(tmp_path / "none"))


# -- Cityscapes -------------------------------------------------------------------------------------------------------

CITIES = {"train": ("aachen", "bochum", "cologne", "hanover"), "val": ("frankfurt",), "test": ("berlin",)}
IDS = np.array([7, 8, 11, 33, 26, 0, 3, 4, 9, 19], dtype=np.uint8)


def street(seed, size=(64, 128)):
    """Ids of a made-up street: blocks of evaluated and of void ids."""
    blocks = np.random.default_rng(seed).choice(IDS, (size[0] // 16, size[1] // 16))
    return np.kron(blocks, np.ones((16, 16), dtype=np.uint8))


def write_cityscapes(root, train_ids=(), splits=CITIES):
    """A tree as Cityscapes' archives unpack; `train_ids` has the stems of masks that are also there by these."""
    seed = 0
    for name, cities in splits.items():
        for city in cities:
            for frame in range(2):
                stem = f"{city}_00000{frame}_000019"
                picture = root / "leftImg8bit" / name / city / f"{stem}_leftImg8bit.png"
                masks = root / "gtFine" / name / city
                for folder in (picture.parent, masks):
                    folder.mkdir(parents=True, exist_ok=True)
                ids = street(seed)
                PILImage.fromarray(np.stack([ids * 7, ids * 3, 255 - ids], -1)).save(picture)
                PILImage.fromarray(ids).save(masks / f"{stem}_gtFine_labelIds.png")
                PILImage.fromarray(ids).save(masks / f"{stem}_gtFine_color.png")
                (masks / f"{stem}_gtFine_polygons.json").write_text("{}")
                if train_ids == "all" or stem in train_ids:
                    of = np.array(cityscapes_table())[ids].astype(np.uint8)
                    PILImage.fromarray(of).save(masks / f"{stem}_gtFine_labelTrainIds.png")
                seed += 1
    return root


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory):
    return write_cityscapes(tmp_path_factory.mktemp("cityscapes"))


def test_cityscapes_is_read_from_its_own_folders(cityscapes):
    task = load_segmentation_task(str(cityscapes))
    assert [task.size(name) for name in ("train", "validation", "test")] == [6, 2, 2]
    assert task.label_names == tuple(name for name, _ in CITYSCAPES.values())
    assert task.num_labels == 19
    assert len(task.palette) == 19
    assert task.own_splits == {"test": "val", "validation": "a part of train"}
    truth = labels(task, "test")
    for row, seed in zip(truth, (8, 9), strict=True):
        ids = street(seed)
        for value in np.unique(ids):
            expected = list(CITYSCAPES).index(value) if value in CITYSCAPES else VOID
            assert set(row[torch.from_numpy(ids == value)].tolist()) == {expected}
    held = [task._files["validation"].where(i) for i in range(2)]
    assert len({where.split("/")[-2] for where in held}) == 1, "a whole city"
    assert task.notes[:2] == (
        "masks are `*_labelIds.png`",
        "left out 2 pictures of the split `test`, which has no public masks",
    )
    assert "validation is all of train whose `city` is " in task.notes[2]


def test_training_ids_are_taken_where_all_have_them(cityscapes, tmp_path):
    ids = load_segmentation_task(str(cityscapes))
    trained = load_segmentation_task(str(write_cityscapes(tmp_path / "all", train_ids="all")))
    assert trained.notes[0] == "masks are `*_labelTrainIds.png`"
    for name in ("train", "validation", "test"):
        assert torch.equal(labels(ids, name), labels(trained, name))
    some = load_segmentation_task(str(write_cityscapes(tmp_path / "some", train_ids=("aachen_000000_000019",))))
    assert some.notes[0] == "masks are `*_labelIds.png`"


def test_stretches_of_cityscapes_are_drawn_where_they_are_asked_for(cityscapes):
    task = load_segmentation_task(str(cityscapes), validation_blocks=1, validation_gap=1)
    assert "validation is 1 stretches of train" in task.notes[2]


def test_what_is_missing_of_cityscapes_is_named(tmp_path):
    root = write_cityscapes(tmp_path, splits={"train": ("aachen",), "val": ("frankfurt",)})
    os.remove(root / "gtFine" / "val" / "frankfurt" / "frankfurt_000001_000019_gtFine_labelIds.png")
    with pytest.raises(InvalidInputError, match="1 are missing: `gtFine/val/frankfurt/frankfurt_000001_000019_gtFine"):
        load_segmentation_task(str(root))
    only = write_cityscapes(tmp_path / "only", splits={"train": ("aachen",)})
    with pytest.raises(InvalidInputError, match=r"split `val` of Cityscapes, .* Unpack leftImg8bit_trainvaltest\.zip"):
        load_segmentation_task(str(only))


def test_the_table_of_ids_is_that_of_the_official_labels():
    """Of `cityscapesscripts/helpers/labels.py`: id to trainId, of all that are drawn."""
    ignored = {0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30}
    table = cityscapes_table()
    assert {i for i in range(34) if table[i] == VOID} == ignored
    assert [table[i] for i in range(34) if i not in ignored] == list(range(19))
    assert set(table[34:255]) == {-1}


def test_a_hub_data_set_is_read_alike(monkeypatch):
    rows = DatasetDict(train=split(12, names=[f"{i}.png" for i in range(12)]), validation=split(2, 30))
    monkeypatch.setattr("searchhub.data.loading.from_hub", lambda dataset: rows)
    task = load_segmentation_task("someone/streets", validation_blocks=1, label_names=NAMES)
    assert task.published.dataset_id == "someone/streets"
    assert task.published.num_classes == 3
    assert task.size("test") == 2
