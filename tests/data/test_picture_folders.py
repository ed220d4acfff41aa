import json
import shutil

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Image, Value
from PIL import Image as PILImage

from searchhub.data.loading import describe, load_image_splits, load_image_task
from searchhub.errors import InvalidInputError


@pytest.fixture
def write(pictures):
    """Writes different pictures to paths."""

    def save(root, *paths):
        for i, path in enumerate(paths):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            pictures(1, seed=len(paths) + i)[0].save(root / path)
        return root

    return save


def several(folder, n, name="{:03}.png"):
    return [f"{folder}/{name.format(i)}" for i in range(n)]


def counted(root, **options):
    """How many pictures of each class are in all splits, and in the test."""
    data = load_image_splits(str(root), **options)
    names = data.splits["train"].features[data.label_column].names
    test = np.bincount(data.splits["test"][data.label_column], minlength=len(names))
    whole = sum(np.bincount(split[data.label_column], minlength=len(names)) for split in data.splits.values())
    return dict(zip(names, whole.tolist(), strict=True)), dict(zip(names, test.tolist(), strict=True)), data.notes


# -- which pictures ---------------------------------------------------------------------------------------------------


def test_classes_and_files_may_be_called_as_splits(tmp_path, write):
    classes = ("bus", "freight train", "passenger train", "test")
    write(
        tmp_path, *(path for name in classes for path in several(name, 5)), *several("bus", 5, "agility_train_{}.png")
    )
    assert counted(tmp_path)[0] == {"bus": 10, "freight train": 5, "passenger train": 5, "test": 5}


def test_split_folders_in_capitals_are_splits(tmp_path, write):
    write(
        tmp_path,
        *(p for name in ("cat", "dog") for split in ("Training", "TEST") for p in several(f"{split}/{name}", 5)),
    )
    assert counted(tmp_path)[:2] == ({"cat": 10, "dog": 10}, {"cat": 5, "dog": 5})


def test_links_brackets_and_odd_names(tmp_path, write):
    away = write(tmp_path / "away", *several("cats", 5)) / "cats"
    root = write(tmp_path / "a::b [2024] {x}*", *several(r"dog\new", 5), *several("#1 %41?", 5))
    (root / "cat").symlink_to(away, target_is_directory=True)
    (root / ".ipynb_checkpoints").mkdir()
    write(root, "._x.png", "dog\\new/.ipynb_checkpoints/000-checkpoint.png", "__MACOSX/dog/1.png")
    counts, _, notes = counted(root)
    assert counts == {"#1 %41?": 5, "cat": 5, r"dog\new": 5}
    assert notes == ()
    task = load_image_task(str(root))
    assert task.decode == "memory"
    assert len(task.fingerprint()) == 16


def test_what_is_left_out_is_said(tmp_path, write):
    write(tmp_path, "cover.png", *(p for split in ("train", "test") for c in "ab" for p in several(f"{split}/{c}", 4)))
    write(tmp_path, "train/sheet.png", "extra/a/1.png")
    (tmp_path / "train" / "a" / "1.heic").write_bytes(b"")
    (tmp_path / "README.md").write_text("")
    counts, _, notes = counted(tmp_path)
    assert counts == {"a": 8, "b": 8}
    assert notes == (
        "left out 1 that are not read as pictures: `train/a/1.heic`",
        "left out 2 that lie in no split: `cover.png`, `extra/a/1.png`",
        "left out 1 that lie in no class folder: `train/sheet.png`",
    )
    lines = describe(load_image_task(str(tmp_path))).splitlines()
    assert lines[2] == "  Left out 1 that are not read as pictures: `train/a/1.heic`."


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["dog/1.png", "cat/persian/2.png"], r"one depth, but `dog/1.png` lies 1 and `cat/persian/2.png` 2 folders"),
        (["dog/1.png", "dog/2.png"], r"in two at least, but all 2 lie in `dog`"),
        (["train/dog/1.png", "test/dog/2.png"], r"in two at least, but all 2 lie in `dog`"),
        (["dog/1.png", "2.png"], r"all 2 lie in `dog` or beside it: `2.png`"),
        (["1.png", "2.png"], r"but `1.png`, `2.png` lie in none"),
        (["train/1.png", "test/2.png"], r"but `test/2.png`, `train/1.png` lie in none"),
        (["trainval/a/1.png", "test/a/2.png", "test/b/2.png"], r"`test` stands beside `trainval`"),
        (["train/A/1.png", "train/B/1.png", "test/a/1.png"], r"train, \['A', 'B'\], but its `label` holds \['a'"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_named(tmp_path, write, paths, message):
    with pytest.raises(InvalidInputError, match=message):
        load_image_splits(str(write(tmp_path, *paths)))


# -- metadata ---------------------------------------------------------------------------------------------------------


def metadata(root, rows, name="metadata.csv"):
    """Writes rows of (file_name, label)."""
    if name.endswith("csv"):
        (root / name).write_text("".join(f"{a},{b}\n" for a, b in [("file_name", "label"), *rows]))
    elif name.endswith("jsonl"):
        (root / name).write_text("".join(json.dumps({"file_name": a, "label": b}) + "\n" for a, b in rows))
    else:
        table = {"file_name": [a for a, _ in rows], "label": [b for _, b in rows]}
        pyarrow.parquet.write_table(pyarrow.table(table), root / name)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_labels_of_a_metadata_file(tmp_path, write, name):
    """Labels are names as they are written, though other splits hold such as could be numbers only."""
    for split, labels in {"train": ("01", "0A"), "test": ("01", "01")}.items():
        write(tmp_path, *several(split, 6))
        metadata(tmp_path / split, [(f"{i:03}.png", labels[i % 2]) for i in range(5)], name)
    counts, test, notes = counted(tmp_path)
    assert (counts, test) == ({"01": 8, "0A": 2}, {"01": 5, "0A": 0})
    said = f"`test/{name}`, `train/{name}`"
    assert notes == (
        f"left out 2 that are in no row of {said}: `test/005.png`, `train/005.png`",
        f"labels are `label` of {said}",
    )


def test_whole_numbers_of_a_metadata_file_are_in_their_order(tmp_path, write):
    write(tmp_path, *several("images", 20))
    metadata(tmp_path, [(f"images/{i:03}.png", 9 + i % 2) for i in range(20)])
    assert list(counted(tmp_path)[0]) == ["9", "10"]


def test_metadata_without_labels(tmp_path, write):
    write(tmp_path / "flat", *several("images", 4))
    (tmp_path / "flat" / "metadata.csv").write_text("file_name,caption\nimages/000.png,x\n")
    message = r"`metadata.csv` has no column `label`, only \['caption', 'file_name'\]: name its `--label_column`"
    with pytest.raises(InvalidInputError, match=message):
        load_image_splits(str(tmp_path / "flat"))
    write(tmp_path / "deep", *several("cat", 5), *several("dog", 5))
    (tmp_path / "deep" / "metadata.csv").write_text("file_name,caption\ncat/000.png,x\n")
    counts, _, notes = counted(tmp_path / "deep")
    assert counts == {"cat": 5, "dog": 5}
    assert notes[0].startswith("classes are folders, since `metadata.csv` has no column `label`")
    (tmp_path / "deep" / "metadata.csv").write_text("file_name,label\ncat/nowhere.png,x\n")
    with pytest.raises(InvalidInputError, match=r"`metadata.csv` .* names `cat/nowhere.png`, which is not"):
        load_image_splits(str(tmp_path / "deep"))
    (tmp_path / "deep" / "metadata.csv").write_text("name,label\ncat/nowhere.png,x\n")
    with pytest.raises(InvalidInputError, match=r"metadata.csv` must name pictures in the column `file_name`, but has"):
        load_image_splits(str(tmp_path / "deep"))


# -- parquet beside pictures ------------------------------------------------------------------------------------------


def test_parquet_beside_class_folders(tmp_path, write, parquet, pictures):
    write(tmp_path, *several("cat", 5), *several("dog", 5))
    parquet(tmp_path / "embeddings.parquet", {"x": Value("float32")}, x=[0.5])
    counts, _, notes = counted(tmp_path)
    assert (counts, notes) == ({"cat": 5, "dog": 5}, ("left out 1 that hold no pictures: `embeddings.parquet`",))
    columns = {"image": Image(), "label": ClassLabel(names=["a", "b"])}
    parquet(tmp_path / "all.parquet", columns, image=pictures(10), label=[0, 1] * 5)
    with pytest.raises(InvalidInputError, match=r"but holds `all.parquet` beside `cat/000.png`"):
        load_image_splits(str(tmp_path))
    alone = tmp_path / "a::b [1]"
    write(alone, "logo.png")
    for name in ("TRAIN.PARQUET", "Test.parquet"):  # `datasets` does not write to such a path
        file = parquet(tmp_path / "away" / name, columns, image=pictures(10), label=[0, 1] * 5)
        shutil.move(file, alone / name)
    assert counted(alone) == (
        {"a": 10, "b": 10},
        {"a": 5, "b": 5},
        ("left out 1 that lie beside the parquet files of pictures: `logo.png`",),
    )
    assert counted(alone / "TRAIN.PARQUET")[0] == {"a": 5, "b": 5}


# -- pictures in two splits, and groups -------------------------------------------------------------------------------


def test_pictures_in_two_splits_are_counted_and_said(tmp_path, write):
    write(tmp_path, *(p for split in ("train", "valid", "test") for c in "ab" for p in several(f"{split}/{c}", 4)))
    for there in ("test/a/000.png", "test/b/x.png", "valid/a/001.png"):
        (tmp_path / there).write_bytes((tmp_path / "train/a/000.png").read_bytes())
    PILImage.open(tmp_path / "train/a/003.png").transpose(0).save(tmp_path / "test/a/003.png")
    task = load_image_task(str(tmp_path))
    assert task.repeated("test", ("train", "validation")) == 2
    lines = describe(task).splitlines()
    assert lines[2].startswith("  2 of the 9 test examples (22 %) stand in train or validation, too")
    assert lines[3].startswith("  1 of the 8 validation examples (12 %) stand in train, too")


def test_parts_are_drawn_by_groups(tmp_path, write):
    """Four pictures of each of 20 patients; else some of a patient's would be tested, others trained on."""
    write(tmp_path, *several("images", 80))
    rows = [f"images/{i:03}.png,{'ab'[i // 4 % 2]},patient {i // 4}\n" for i in range(80)]
    (tmp_path / "metadata.csv").write_text("file_name,label,patient\n" + "".join(rows))
    data = load_image_splits(str(tmp_path), group_column="patient")
    patients = {split: set(part["patient"]) for split, part in data.splits.items()}
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 52, "validation": 12, "test": 16}
    assert sum(map(len, patients.values())) == 20
    assert [np.bincount(data.splits[s]["label"]).tolist() for s in ("test",)] == [[8, 8]]
    again = load_image_task(str(tmp_path), group_column="patient", image_size=6)
    assert again.source["group_column"] == "patient"
    with pytest.raises(InvalidInputError, match=r"`--group_column` must name a column .*but is 'x'. It has: \['image'"):
        load_image_splits(str(tmp_path), group_column="x")
    with pytest.raises(InvalidInputError, match=r"leave every class in train.* 2 groups, of 40 to 40"):
        load_image_splits(str(tmp_path), group_column="label")
