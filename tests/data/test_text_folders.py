"""Folders of tables as people have them, and texts that stand in two splits."""

import shutil

import pytest

from searchhub.data.describe import describe_task
from searchhub.data.glue import load_glue_task
from searchhub.data.sources import load_task
from searchhub.data.text_loading import load_text_task
from searchhub.errors import InvalidInputError

from .tiny_text import text, tiny_tokenizer


def write(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(",".join(row) + "\n" for row in [("text", "label", "author"), *rows]))


def rows(n, start=0):
    return [(f"{text(i)} {i}", ("ham", "spam")[i % 2], f"author {i // 4}") for i in range(start, start + n)]


@pytest.fixture
def load(tmp_path):
    tokenizer = tmp_path / "tokenizer"  # a source names where it lies
    tiny_tokenizer().save_pretrained(tokenizer)

    def of(folder, **options):
        return load_text_task(str(folder), str(tokenizer), text_column="text", **options)

    return of


def sizes(task):
    return [task.size(split) for split in ("train", "validation", "test")]


def test_stray_copies_are_no_data_and_said(tmp_path, load):
    root = tmp_path / "dev [2024] a::b" / "reviews"
    write(tmp_path / "away" / "part.csv", rows(40))
    (root / "splits").mkdir(parents=True)
    (root / "splits" / "Train").symlink_to(tmp_path / "away", target_is_directory=True)
    write(root / "train_test_split" / "TEST.CSV", rows(10, 40))
    write(root / ".ipynb_checkpoints" / "train-checkpoint.csv", rows(40))
    write(root / "__MACOSX" / "._train.csv", rows(4))
    write(root / "authors.csv", rows(4))
    shutil.copy(root / "train_test_split" / "TEST.CSV", root / "train_test_split" / "TEST (1).CSV")
    task = load(root, validation_size=8)
    assert sizes(task) == [32, 8, 10]
    assert describe_task(task).splitlines() == [
        "reviews: 32 train, 8 validation, 10 test examples, 2 classes",
        "  Classes (train / validation / test): `ham` 16 / 4 / 5, `spam` 16 / 4 / 5",
        "  Left out `train_test_split/TEST (1).CSV`, a copy of `train_test_split/TEST.CSV`.",
        "  Left out 1 that say no split by their names: `authors.csv`.",
    ]
    write(root / "splits" / "Train" / "part.tsv", rows(40))
    with pytest.raises(InvalidInputError, match=r"but there are `splits/Train/part.csv` and `splits/Train/part.tsv`"):
        load(root)


def test_texts_in_two_splits_are_counted(tmp_path, load):
    write(tmp_path / "d" / "train.csv", rows(40))
    write(tmp_path / "d" / "test.csv", [*rows(6, 40), *rows(3), *rows(1)])
    task = load(tmp_path / "d", validation_size=8)
    assert task.repeated("test", ("train", "validation")) == 4
    assert task.repeated("validation", ("train",)) == 0
    assert "4 of the 10 test examples (40 %) stand in train or validation, too" in describe_task(task)


def test_parts_are_drawn_by_groups_of_rows(tmp_path, load):
    write(tmp_path / "d" / "all.csv", rows(80))
    task = load(tmp_path / "d", group_column="author", validation_size=16, test_size=16)
    assert sizes(task) == [48, 16, 16]
    assert task.source["group_column"] == "author"
    assert "group_column" not in load(tmp_path / "d").source
    with pytest.raises(InvalidInputError, match="`--group_column` must name a column"):
        load(tmp_path / "d", group_column="writer")


def test_texts_stay_with_those_that_they_stand_in(tmp_path, load):
    whole = [f"w{i} x{i} y{i} z{i}" for i in range(40)]
    phrases = [f"x{i} y{i}" for i in range(40)]
    write(
        tmp_path / "d" / "all.csv", [(words, ("ham", "spam")[i % 2], "x") for i, words in enumerate([*whole, *phrases])]
    )
    task = load(tmp_path / "d", contained_together=True, validation_size=10, test_size=10)
    assert sum(sizes(task)) == 80
    # No phrase is held out without its sentence, which has 4 words of which none is known.
    held = task.lengths("test").tolist() + task.lengths("validation").tolist()
    assert held.count(min(held)) <= held.count(max(held))
    assert task.source["contained_together"] is True
    with pytest.raises(InvalidInputError, match=r"is for single texts, but .* has pairs of \['text', 'author'\]"):
        load(tmp_path / "d", pair_column="author", contained_together=True)
    folder = tmp_path / "SST-2"
    folder.mkdir()
    for name, lines in {"train": [*whole, *phrases], "dev": phrases[:4]}.items():
        table = "".join(f"{words}\t{i % 2}\n" for i, words in enumerate(lines))
        (folder / f"{name}.tsv").write_text("sentence\tlabel\n" + table)
    glue = load_glue_task("sst2", str(tmp_path / "tokenizer"), data_dir=str(tmp_path), contained_together=True)
    assert glue.size("full") == 80
    assert glue.source["contained_together"] is True
    assert load_task(glue.source).fingerprint() == glue.fingerprint()
