import json
import time

import datasets
import huggingface_hub
import pytest
import torch
from datasets import ClassLabel, Value

from searchhub.data.sources import load_task
from searchhub.data.text_loading import load_text_task, load_tokenizer
from searchhub.errors import InvalidInputError

from .tiny_text import text, tiny_tokenizer

CPU = torch.device("cpu")
SPLITS = ("train", "validation", "test")


def columns(n, start=0, names=("ham", "spam")):
    return {"text": [text(i) for i in range(start, start + n)], "label": [names[i % 2] for i in range(n)]}


def table(n, start=0, features=None, **changes):
    features = None if features is None else datasets.Features(features)
    return datasets.Dataset.from_dict({**columns(n, start), **changes}, features=features)


def write(file, data):
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        data.to_parquet(str(file))
    elif file.suffix in (".json", ".jsonl"):
        data.to_json(str(file))
    else:
        separator = "\t" if file.suffix == ".tsv" else ","
        lines = [separator.join(data.column_names)] + [separator.join(map(str, row.values())) for row in data]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(file)


def load(dataset, **options):
    return load_text_task(str(dataset), options.pop("tokenizer", None) or tiny_tokenizer(), **options)


def sizes(task):
    return [task.size(split) for split in SPLITS]


def texts(task, split):
    batch = task.batch(split, torch.arange(task.size(split)), device=CPU)
    return sorted(task.processor().batch_decode(batch["input_ids"], skip_special_tokens=True))


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_one_file_is_split_in_three(tmp_path, suffix):
    task = load(write(tmp_path / f"mails.{suffix}", table(40)), validation_size=0.25, test_size=8)
    assert task.name == f"mails.{suffix}"
    assert task.label_names == ("ham", "spam")
    assert sizes(task) == [24, 8, 8]
    assert sorted(texts(task, "full") + texts(task, "test")) == sorted(text(i) for i in range(40))
    labels = task.batch("test", torch.arange(8), device=CPU)["labels"]
    assert labels.sum() == 4  # stratified


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("names", [("train", "dev", "test"), ("data/train-0", "data/validation-0", "data/test-0")])
def test_a_folder_of_splits(tmp_path, suffix, names):
    (tmp_path / "README.md").write_text("train, dev and test\n")
    for name, n, start in zip(names, (20, 6, 4), (0, 20, 26), strict=True):
        write(tmp_path / f"{name}.{suffix}", table(n, start))
    task = load(tmp_path)
    assert sizes(task) == [20, 6, 4]
    assert texts(task, "test") == sorted(text(i) for i in range(26, 30))


def test_words_that_look_like_nothing_are_words(tmp_path):
    words = ["na", "null", "a", "b"] * 5
    for suffix in ("csv", "tsv"):
        task = load(write(tmp_path / f"x.{suffix}", table(20, text=words)), validation_size=4, test_size=4)
        assert sorted(texts(task, "full") + texts(task, "test")) == sorted(words)


def test_quotation_marks(tmp_path):
    quoted = ['"a b" c', '"a'] * 10
    task = load(write(tmp_path / "x.tsv", table(20, text=quoted)), validation_size=4, test_size=4)
    assert set(texts(task, "full")) == {'" a b " c', '" a'}
    (tmp_path / "x.csv").write_text("text,label\n" + '"a, b",ham\n"c",spam\n' * 10)
    task = load(tmp_path / "x.csv", validation_size=4, test_size=4)
    assert set(texts(task, "full")) == {"a b", "c"}  # the comma is no word of the tokenizer


def test_validation_without_test_is_the_test(tmp_path):
    for name, n in (("train", 40), ("dev", 6)):
        write(tmp_path / f"{name}.csv", table(n))
    assert sizes(load(tmp_path, validation_size=10)) == [30, 10, 6]


def test_a_test_split_without_labels_is_none(tmp_path):
    write(tmp_path / "train.csv", table(40))
    write(tmp_path / "test.csv", table(6).remove_columns("label"))
    assert sizes(load(tmp_path, validation_size=10, test_size=10)) == [20, 10, 10]
    write(tmp_path / "test.csv", table(6, label=[""] * 6))
    assert sizes(load(tmp_path, validation_size=10, test_size=10)) == [20, 10, 10]


# -- columns and labels -----------------------------------------------------------------------------------------------


def test_pairs_and_named_columns(tmp_path):
    data = table(20, other=["b"] * 20, kind=list(range(2)) * 10).rename_column("text", "first")
    task = load(
        write(tmp_path / "x.parquet", data), text_column="first", pair_column="other", label_column="kind", test_size=4
    )
    row = task.batch("test", torch.arange(4), device=CPU)
    assert row["token_type_ids"].sum(1).tolist() == [2] * 4
    assert task.label_names == ("0", "1")


@pytest.mark.parametrize(
    ("kind", "labels", "names"),
    [
        (Value("int64"), [0, 1, 2] * 8, ("0", "1", "2")),
        (Value("int32"), [10, 2, 5] * 8, ("2", "5", "10")),
        (Value("float64"), [1.0, 2.0, 5.0] * 8, ("1", "2", "5")),
        (Value("float32"), [0.0, 1.0, 2.0] * 8, ("0", "1", "2")),
        (Value("string"), ["z", "x", "y"] * 8, ("x", "y", "z")),
        (Value("bool"), [True, False, True] * 8, ("False", "True")),
        (ClassLabel(names=["p", "q", "r"]), [0, 1, 2] * 8, ("p", "q", "r")),
    ],
)
def test_classes(tmp_path, kind, labels, names):
    data = table(24, label=labels, features={"text": Value("string"), "label": kind})
    task = load(write(tmp_path / "x.parquet", data), validation_size=6, test_size=6)
    assert task.label_names == names
    assert task.batch("full", torch.arange(18), device=CPU)["labels"].bincount().shape == (len(names),)


def test_stars_from_one_to_five_are_classes_however_a_file_writes_them(tmp_path):
    """pandas takes quoted numbers for numbers, and `1.0` for a float; each star keeps its texts."""
    for form in ("{}", '"{}"', "{}.0"):
        rows = "".join(f"{text(i)},{form.format(i % 5 + 1)}\n" for i in range(40))
        (tmp_path / "x.csv").write_text("text,label\n" + rows)
        task = load(tmp_path / "x.csv", validation_size=10, test_size=10)
        assert task.label_names == ("1", "2", "3", "4", "5")
        batch = task.batch("test", torch.arange(10), device=CPU)
        stars = {text(i): i % 5 for i in range(40)}
        read = task.processor().batch_decode(batch["input_ids"], skip_special_tokens=True)
        assert batch["labels"].tolist() == [stars[line] for line in read]


def test_numbers_in_one_file_and_words_in_another(tmp_path):
    write(tmp_path / "train.csv", table(40, label=["1", "2", "3", "none"] * 10))
    write(tmp_path / "test.csv", table(6, 40, label=[1, 2, 3] * 2))
    assert load(tmp_path, validation_size=8).label_names == ("1", "2", "3", "none")


def test_the_only_column_of_strings_holds_the_texts(tmp_path):
    data = table(20, label=[0, 1] * 10).rename_column("text", "mail")
    assert sizes(load(write(tmp_path / "x.parquet", data), validation_size=4, test_size=4)) == [12, 4, 4]


# -- the Hub, options, source -----------------------------------------------------------------------------------------


def test_a_data_set_of_the_hub(monkeypatch):
    asked = []

    def hub(*names):
        asked.append(names)
        return datasets.DatasetDict(train=table(40), test=table(6, 40))

    monkeypatch.setattr("searchhub.data.text_loading.from_hub", hub)
    task = load("some/where", dataset_config_name="en", max_train_samples=8, max_eval_samples=5, validation_size=10)
    assert asked == [("some/where", "en")]
    assert task.name == "some/where"
    assert sizes(task) == [8, 5, 5]


def test_the_source_loads_the_same_task(tmp_path):
    file = write(tmp_path / "x.csv", table(40))
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer")
    task = load(file, tokenizer=tokenizer, max_length=5, test_size=8, max_train_samples=10, seed=2)
    assert load_task(json.loads(json.dumps(task.source))).fingerprint() == task.fingerprint()
    assert load_task(task.source, seed=3).fingerprint() != task.fingerprint()


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"text_column": "mail"},
            r"`--text_column` must name a column of .* but is 'mail'. It has: \['label', 'text'\]",
        ),
        ({"pair_column": "mail"}, "`--pair_column` must name a column .* but is 'mail'"),
        ({"label_column": "class"}, "`--label_column` must name a column .* but is 'class'"),
        ({"max_train_samples": 0}, "must be at least 1, but got 0"),
        ({"test_size": 39}, "`--test_size` must leave every class in both parts"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    with pytest.raises(InvalidInputError, match=message):
        load(write(tmp_path / "x.csv", table(40)), **options)


def test_columns_in_doubt(tmp_path):
    two = table(20, more=["a"] * 20).rename_column("text", "mail")
    with pytest.raises(
        InvalidInputError, match=r"`--text_column` must name .* is None. It has: \['label', 'mail', 'more"
    ):
        load(write(tmp_path / "x.csv", two))
    with pytest.raises(InvalidInputError, match=r"`--label_column` must name .* is None"):
        load(write(tmp_path / "y.csv", table(20).rename_column("label", "kind")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": [[0], [1]] * 10}, "`label` of .* must hold classes .* but holds"),
        ({"label": [0.5, 1.0] * 10}, "`label` of .* must be whole to be classes, but one is 0.5"),
        ({"label": [1.0, float("nan")] * 10}, "Every example of the split `train` .* must have a label, but .*nan"),
        ({"label": [1, -1] * 10}, r"must have a label, but .*\[-1\]. Drop .* give the class another number than -1"),
        ({"label": ["ham", None] * 10}, "Every example of the split `train` .* must have a label"),
        ({"text": [None] + ["a"] * 19}, "Every `text` of the split `.*` must be a text, but number .* is None"),
    ],
)
def test_wrong_data(tmp_path, changes, message):
    with pytest.raises(InvalidInputError, match=message):
        load(write(tmp_path / "x.parquet", table(20, **changes)), test_size=4)


def test_amounts_are_no_classes(tmp_path, monkeypatch):
    monkeypatch.setattr("searchhub.data.splits.MAX_NUMBERED_CLASSES", 3)
    amounts = write(tmp_path / "x.parquet", table(40, label=[7, 9, 40, 2] * 10))
    with pytest.raises(InvalidInputError, match=r"at most 3 .* holds 4, from 2 to 40\. Put amounts into bins"):
        load(amounts)
    classes = write(tmp_path / "y.parquet", table(40, label=[0, 1, 2, 3] * 10))
    assert load(classes).num_labels == 4


def test_a_folder_without_train(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / f"{name}.csv", table(4))
    with pytest.raises(InvalidInputError, match=r"must hold a file whose name says `train` .*'one.csv', 'two.csv'"):
        load(tmp_path)


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "x.parquet").write_text("no parquet")
    with pytest.raises(InvalidInputError, match=r"`--dataset` must be .* but `.*x.parquet` could not be loaded"):
        load(tmp_path / "x.parquet")


def test_a_hub_that_cannot_be_reached_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.perf_counter()
    with pytest.raises(InvalidInputError, match=r"`nobody/nothing` could not be loaded: .*path of a local copy"):
        load("nobody/nothing")
    with pytest.raises(InvalidInputError, match=r"The tokenizer must be .* but `nobody/nothing` could not be loaded"):
        load(write(tmp_path / "x.csv", table(40)), tokenizer="nobody/nothing")
    assert time.perf_counter() - started < 5


def test_a_tokenizer_runs_no_code_of_its_folder(tmp_path, monkeypatch):
    tiny_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").unlink(missing_ok=True)
    (tmp_path / "code.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
        "from transformers import BertTokenizer\n\nclass Own(BertTokenizer):\n    pass\n"
    )
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["code.Own", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # nobody is asked either
    with pytest.raises(InvalidInputError, match="must be a folder or a Hub id with a tokenizer"):
        load_tokenizer(str(tmp_path))
    assert not (tmp_path / "ran").exists()
