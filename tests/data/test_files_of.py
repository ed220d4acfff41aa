import os

import pytest

from searchhub.data.files_of import ending, folder_splits, left_out_words, said_split, table_files, visible_files
from searchhub.errors import InvalidInputError


def write(root, *paths, content=None):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path if content is None else content)


def divided(*paths):
    """The folders beside the one of the split, by split."""
    found = folder_splits(sorted(paths), "root")
    return {split: ["/".join(f) for _, f in files] for split, files in found.splits.items()}, found.left_out


# -- finding ----------------------------------------------------------------------------------------------------------


def test_hidden_files_and_copies_of_systems_are_passed_over(tmp_path):
    root = tmp_path / ".cache" / "train_test"  # the folder itself may have any name
    write(root, "b.csv", "a/c.csv", "a-b/d.csv", ".hidden.csv", "._b.csv", "a/.ipynb_checkpoints/c-checkpoint.csv")
    write(root, "__MACOSX/._b.csv", "a/@eaDir/c.csv", "__background__/e.csv")
    assert visible_files(root) == ["__background__/e.csv", "a-b/d.csv", "a/c.csv", "b.csv"]


def test_links_are_followed_but_not_in_circles(tmp_path):
    write(tmp_path / "away", "1.png", "deep/2.png")
    write(tmp_path / "root", "dog/3.png")
    (tmp_path / "root" / "cat").symlink_to(tmp_path / "away", target_is_directory=True)
    (tmp_path / "root" / "dog" / "4.png").symlink_to(tmp_path / "away" / "1.png")
    (tmp_path / "away" / "deep" / "up").symlink_to(tmp_path / "away", target_is_directory=True)
    (tmp_path / "root" / "dog" / "root").symlink_to(tmp_path / "root", target_is_directory=True)
    (tmp_path / "link").symlink_to(tmp_path / "root", target_is_directory=True)
    for root in (tmp_path / "root", tmp_path / "link"):
        assert visible_files(root) == ["cat/1.png", "cat/deep/2.png", "dog/3.png", "dog/4.png"]


def test_a_name_that_is_no_text_is_said(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_text("")
    with pytest.raises(InvalidInputError, match=r"must be UTF-8, but 'caf\\udce9.png' is not. Rename it"):
        visible_files(tmp_path)


def test_endings_in_any_case():
    assert [ending(name) for name in ("A.CSV", "a.b/c.Csv.GZ", "x.gz", "none", "REVIEWS.PARQUET")] == [
        ".csv",
        ".csv.gz",
        ".gz",
        "",
        ".parquet",
    ]


# -- splits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "split"),
    [("TRAIN", "train"), ("Training", "train"), ("train2017", "train"), ("seg_train", "train"), ("Val", "validation"),
     ("dev-matched", "validation"), ("Test", "test"), ("strain", None), ("contest", None), ("train_test_split", None),
     ("prétrain", None), ("evaluation", "eval")],
)  # fmt: skip
def test_what_a_name_says(name, split):
    assert said_split(name)[0] == split


def test_splits_are_the_first_level_of_folders_in_any_case():
    assert divided("Training/cat/1", "Test/cat/1", "VAL/cat/1") == (
        {"train": ["cat"], "validation": ["cat"], "test": ["cat"]},
        (),
    )
    # … below folders that all have in common, and above those of classes, whatever these are called
    assert divided("d/train/test/1", "d/train/bus/1", "d/test/train/1")[0] == {
        "train": ["d/bus", "d/test"],
        "test": ["d/train"],
    }
    assert divided("cat/train/1", "dog/test/1")[0] == {"train": ["cat"], "test": ["dog"]}
    assert divided("seg_train/cat/1", "seg_test/cat/1")[0] == {"train": ["cat"], "test": ["cat"]}


@pytest.mark.parametrize(
    "classes",
    [
        ("bus", "freight train", "passenger train"),
        ("bus", "train", "test"),
        ("drug test", "train ride"),
        ("dev", "ops"),
    ],
)
def test_classes_may_be_called_as_splits(classes):
    files = [f"{name}/{i}_train.png" for name in classes for i in range(2)]
    assert divided(*files) == ({"train": [name for name in sorted(classes) for _ in range(2)]}, ())
    deeper = [f"{name}/2024/train_{i}.png" for name in classes for i in range(2)]
    if classes[0] == "bus" and "test" not in classes:
        assert set(divided(*deeper)[0]) == {"train"}


def test_what_stands_beside_the_splits_is_left_out_and_said():
    splits, left_out = divided("train/cat/1", "test/cat/1", "extra/cat/1", "cover")
    assert splits == {"train": ["cat"], "test": ["cat"]}
    assert left_out == ("cover", "extra/cat/1")
    words = "left out 2 that lie in no split: `cover`, `extra/cat/1`"
    assert left_out_words(left_out, "lie in no split") == words
    assert left_out_words("abcdef", "x").endswith("`a`, `b`, `c`, …")


def test_either_splits_or_classes():
    with pytest.raises(
        InvalidInputError, match="all be splits, or all be classes, but `test` stands beside `trainval`"
    ):
        divided("trainval/cat/1", "test/cat/1")


def test_eval_is_what_is_missing():
    assert set(divided("train/a/1", "eval/a/1")[0]) == {"train", "test"}
    assert set(divided("train/a/1", "eval/a/1", "test/a/1")[0]) == {"train", "validation", "test"}
    assert divided("train/a/1", "eval/a/1", "test/a/1", "dev/a/1")[1] == ("eval/a/1",)


# -- tables -----------------------------------------------------------------------------------------------------------


def tables(root, *names, **options):
    write(root, *names, **options)
    found = table_files(root, visible_files(root))
    return {split: [str(f.relative_to(root)) for f in files] for split, files in found.splits.items()}, found.notes


def test_a_tables_own_name_outweighs_its_folders(tmp_path):
    assert tables(tmp_path / "a", "train_test_split/train.csv", "train_test_split/test.csv")[0] == {
        "train": ["train_test_split/train.csv"],
        "test": ["train_test_split/test.csv"],
    }
    assert tables(tmp_path / "b", "test/train.csv", "train/Test/part.csv")[0] == {
        "train": ["test/train.csv"],
        "test": ["train/Test/part.csv"],
    }


def test_tables_without_a_split_are_said(tmp_path):
    splits, left_out = tables(tmp_path / "a", "Train.PARQUET", "Dev.parquet", "index.parquet")
    assert splits == {"train": ["Train.PARQUET"], "validation": ["Dev.parquet"]}
    assert left_out == ("left out 1 that say no split by their names: `index.parquet`",)
    assert tables(tmp_path / "b", "0.parquet", "1.parquet") == ({}, ())


def test_copies_of_a_table_are_not_read_twice(tmp_path):
    splits, left_out = tables(tmp_path / "a", "train (1).csv", "train.csv", content="text,label\n")
    assert splits == {"train": ["train.csv"]}
    assert left_out == ("left out `train (1).csv`, a copy of `train.csv`",)
    with pytest.raises(
        InvalidInputError, match=r"the same examples twice, but there are `train.csv` and `train.jsonl`"
    ):
        tables(tmp_path / "b", "train.csv", "train.jsonl")
    assert len(tables(tmp_path / "c", "train-0.csv", "train-1.csv.gz")[0]["train"]) == 2
