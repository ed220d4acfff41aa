import bz2
import gzip
import json
import lzma
import time

import datasets
import huggingface_hub
import pytest
import torch
from datasets import ClassLabel, Value

from searchhub.data.sources import load_task
from searchhub.data.splits import HELD_OUT
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


def test_files_of_further_splits(tmp_path):
    """Values mean the same in all files: `1` and `01` are two classes, though each file alone holds numbers."""
    dataset = write(tmp_path / "mails.csv", table(40, label=["1", "2"] * 20))
    held_out = write(tmp_path / "held_out.jsonl", table(8, start=40, label=["1", "2"] * 4))
    other = write(tmp_path / "other.csv", table(6, start=48, label=["01", "1"] * 3))
    task = load(dataset, test_file=held_out)
    assert sizes(task) == [36, 4, 8]
    assert texts(task, "test") == sorted(table(8, start=40)["text"])
    assert task.own_splits == {"test": "test", "validation": HELD_OUT}
    task = load(dataset, validation_file=other)
    assert (sizes(task), task.label_names) == ([36, 6, 4], ("01", "1", "2"))
    assert texts(task, "validation") == sorted(table(6, start=48)["text"])
    assert task.own_splits == {"test": HELD_OUT, "validation": "validation"}
    task = load(dataset, validation_file=other, test_file=held_out, tokenizer=tiny_tokenizer(tmp_path / "tokenizer"))
    assert (sizes(task), task.own_splits) == ([40, 6, 8], {"test": "test", "validation": "validation"})
    assert load_task(json.loads(json.dumps(task.source))).fingerprint() == task.fingerprint()


def test_files_of_further_splits_that_cannot_be(tmp_path):
    dataset = write(tmp_path / "mails.csv", table(40))
    folder = tmp_path / "both"
    write(folder / "train.csv", table(20))
    write(folder / "test.csv", table(10))
    bare = write(tmp_path / "bare.csv", table(4).remove_columns("label"))
    for place, file, message in (
        (dataset, "no.csv", "`--test_file` must be a file, but `no.csv` is none"),
        (dataset, __file__, r"must end in one of .csv, .* but ends in `.py`"),
        (dataset, bare, f"`--test_file` must have labels in `label`, but `{bare}` has none"),
        (folder, dataset, "for data without a split `test`, but .* has `test.csv`"),
        ("me/mails", dataset, "for a file or folder on this machine, but `--dataset me/mails` is none"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            load(place, test_file=file)


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
        (
            {"text": [None] + ["a"] * 19},
            "Every example of the split `train` .* must have a `text`, but in row 0 of `.*` `text` is empty. 1 of",
        ),
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


# -- as data lie on disks ---------------------------------------------------------------------------------------------


def lines_of(labels, *, header="text,label", form="{},{}\n"):
    return header + "\n" + "".join(form.format(text(i), label) for i, label in enumerate(labels))


def stored(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def truth(task, split="test"):
    """The class name of each text."""
    batch = task.batch(split, torch.arange(task.size(split)), device=CPU)
    read = task.processor().batch_decode(batch["input_ids"], skip_special_tokens=True)
    return {line: task.label_names[label] for line, label in zip(read, batch["labels"].tolist(), strict=True)}


@pytest.mark.parametrize(
    ("train", "test", "names", "classes"),
    [
        (["01", "02", "0A"], ["01", "02"], ("01", "02", "0A"), ["01", "02"]),
        (["01", "1"], ["1", "01"], ("01", "1"), ["1", "01"]),
        (["1", "2", "10"], ["1.0", "2.0"], ("1", "2", "10"), ["1", "2"]),
        (["10", "9", "none"], ["10", "9"], ("10", "9", "none"), ["10", "9"]),
        (["true", "false"], ["false", "true"], ("false", "true"), ["false", "true"]),
        (["true", "false"], ["True", "False"], ("False", "True"), ["True", "False"]),  # booleans of two programs
        (["yes", "true"], ["true", "yes"], ("true", "yes"), ["true", "yes"]),
        (["1E5", "2E3"], ["2E3", "1E5"], ("1E5", "2E3"), ["2E3", "1E5"]),  # codes, no amounts
        (["+1", "-1"], ["+1", "-1"], ("+1", "-1"), ["+1", "-1"]),
        (["1", "12345678901234567890"], ["1"], ("1", "12345678901234567890"), ["1"]),
        (["007", "7.0"], ["007"], ("007", "7.0"), ["007"]),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_labels_have_one_type_in_all_files_and_names_as_written(tmp_path, suffix, train, test, names, classes):
    separated = {"csv": {}, "tsv": {"header": "text\tlabel", "form": "{}\t{}\n"}}[suffix]
    files = {f"train.{suffix}": train * 12, f"test.{suffix}": test * 6}
    task = load(stored(tmp_path, {name: lines_of(labels, **separated) for name, labels in files.items()}))
    assert task.label_names == names
    assert truth(task) == {text(i): label for i, label in enumerate(classes * 6)}


def test_numbers_of_json_beside_words_of_csv(tmp_path):
    rows = [json.dumps({"text": text(i), "label": i % 3 == 0}) for i in range(30)]
    stored(tmp_path, {"train.jsonl": "\n".join(rows), "test.csv": lines_of(["true", "false"] * 4)})
    task = load(tmp_path)
    assert task.label_names == ("false", "true")
    assert truth(task) == {text(i): ("true", "false")[i % 2] for i in range(8)}


def test_files_of_one_split_are_of_different_formats(tmp_path):
    write(tmp_path / "train-0.parquet", table(20, label=[0, 1] * 10))
    stored(tmp_path, {"train-1.csv": lines_of(["0", "1", "none"] * 6), "test.csv": lines_of(["none", "0"] * 4)})
    task = load(tmp_path, validation_size=8)
    assert task.label_names == ("0", "1", "none")
    assert task.size("full") == 38
    assert truth(task) == {text(i): ("none", "0")[i % 2] for i in range(8)}


@pytest.mark.parametrize(
    ("kind", "labels", "expected"),
    [
        (ClassLabel(names=["spam", "ham"]), [0, 1], ("spam", "ham")),
        (Value("int64"), [0, 1], ("ham", "spam")),
        (Value("string"), ["spam", "ham"], ("spam", "ham")),
    ],
)
def test_what_a_file_names_its_numbers_counts(tmp_path, kind, labels, expected):
    """Two files may number the same classes otherwise."""
    trained = {"text": Value("string"), "label": ClassLabel(names=["ham", "spam"])}
    write(tmp_path / "train.parquet", table(40, label=[0, 1] * 20, features=trained))
    own = {"text": Value("string"), "label": kind}
    write(tmp_path / "test.parquet", table(8, label=labels * 4, features=own))
    task = load(tmp_path, validation_size=8)
    assert task.label_names == ("ham", "spam")
    assert truth(task) == {text(i): expected[i % 2] for i in range(8)}


def test_splits_that_share_no_class(tmp_path, caplog):
    write(tmp_path / "train.parquet", table(40, label=["01", "02"] * 20))
    write(tmp_path / "test.parquet", table(8, label=[1, 2] * 4))  # another program lost the zeros
    with pytest.raises(
        InvalidInputError, match=r"`test` of .* must hold classes of train, \['01', '02'\], but .* \['1', '2'\]"
    ):
        load(tmp_path, validation_size=8)
    write(tmp_path / "test.parquet", table(8, label=["01", "03"] * 4))
    assert load(tmp_path, validation_size=8).label_names == ("01", "02", "03")
    assert "holds classes that train lacks: ['03']" in caplog.text


def test_other_columns_are_whatever_they_are(tmp_path):
    """A type that changes late, nested values that differ, and texts that look like numbers, dates or booleans."""
    csv = "id,day,ok,upvotes,mail,label\n" + "".join(
        f"00{i},2024-01-01,true,{i if i < 19_990 else 'n/a'},{text(i)},{'ab'[i % 2]}\n" for i in range(20_000)
    )
    rows = [
        {"day": "2024-01-01", "mail": text(i), "more": [i] if i % 2 else {"x": i}, "n": i if i else "", "label": i % 2}
        for i in range(40)
    ]
    stored(tmp_path, {"x.csv": csv, "x.jsonl": "\n".join(map(json.dumps, rows))})
    assert load(tmp_path / "x.csv", max_train_samples=20, max_eval_samples=20, text_column="mail").num_labels == 2
    assert sizes(load(tmp_path / "x.jsonl", text_column="mail", test_size=8, validation_size=8)) == [24, 8, 8]
    numbers = stored(tmp_path, {"n.csv": "text,label\n" + "".join(f"0{i},{'ab'[i % 2]}\n" for i in range(40))})
    assert sizes(load(numbers / "n.csv", test_size=8, validation_size=8)) == [24, 8, 8]


PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize(
    "name",
    ["REVIEWS.CSV", "Reviews.Tsv", "x.JSONL", "x.ndjson", "x.json", "x.csv.gz", "x.TSV.GZ", "x.jsonl.xz", "x.csv.bz2"],
)
def test_endings(tmp_path, name):
    kind = name.lower().split(".")[1]
    data = table(40).to_list()
    content = {
        "csv": lines_of(row["label"] for row in data),
        "tsv": lines_of((row["label"] for row in data), header="text\tlabel", form="{}\t{}\n"),
        "json": json.dumps({column: [row[column] for row in data] for column in data[0]}, indent=1),
    }.get(kind, "\n".join(map(json.dumps, data)) + "\n\n")
    content = PACKED.get(name.lower().rpartition(".")[2], bytes)(content.encode())
    task = load(stored(tmp_path, {name: content}) / name, test_size=8, validation_size=8)
    assert sizes(task) == [24, 8, 8]
    assert (
        task.fingerprint()
        == load(write(tmp_path / "y.parquet", table(40)), test_size=8, validation_size=8).fingerprint()
    )


@pytest.mark.parametrize("name", ["x.txt", "x.xlsx", "x", "x.parquet.gz", "x.zip"])
def test_endings_that_are_not_known(tmp_path, name):
    with pytest.raises(InvalidInputError, match=rf"{name}` must end in one of .csv, .* but ends in `.*`. Rename"):
        load(stored(tmp_path, {name: "text,label\n"}) / name)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_encodings_that_a_file_says(tmp_path, encoding, suffix):
    rows = "\n".join(json.dumps({"text": text(i), "label": "hé"[i % 2]}, ensure_ascii=False) for i in range(40))
    content = rows if suffix == "jsonl" else lines_of("hé" * 20)
    task = load(stored(tmp_path, {f"x.{suffix}": content.encode(encoding)}) / f"x.{suffix}", test_size=8)
    assert task.label_names == ("h", "é")


GOOD = lines_of("ab" * 20)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "x.csv",
            GOOD.encode() + "a,\ncafé,a\n".encode("cp1252"),
            r"UTF-8, but line 43, character 4, column `text`, is .* 0xe9",
        ),
        (
            "x.csv",
            GOOD.encode() + "b,caf\n\ufeff".encode("utf-16"),
            r"must be text in UTF-8, but line 42, character 1,",
        ),
        (
            "x.jsonl",
            '{"text": "a"}\n{"text": "é"}\n'.encode("cp1252"),
            r"UTF-8, but line 2, character 11, is the byte 0xe9",
        ),
        ("x.csv", ("\ufeff" + GOOD).encode("utf-16-le")[:-1], r"must be UTF-16.*, as its first bytes say, but line 41"),
        ("x.csv", GOOD + '"one\nmore",b,c\n', "the 2 fields of its first, but line 42 has 3. Put quotation marks"),
        ("x.tsv", "text\tlabel\na\tb\tc\n" + "a\tb\tc\td\n", "the 2 fields of its first, but line 2 has 3"),
        ("x.csv", '"a\nb","c"\nx,1\n"x,1\n', "Every quotation mark .* must be closed, but one in line 4 is not"),
        ("x.csv", GOOD + "b,\n", "`train` .* must have a label, but in line 42 of `.*x.csv` `label` is empty. 1 of 41"),
        ("x.csv", '"te\nxt",text,label\n' + "a,b,c\n\n,,d\n" * 20, "must have a `text`, but in line 5 of `.*x.csv`"),
        ("x.csv", "", "must begin with a line of column names, but is empty"),
        (
            "x.csv.gz",
            gzip.compress(GOOD.encode(), mtime=0)[:40],
            "must be a file that can be read, but: Compressed file ended",
        ),
        ("x.csv.gz", GOOD, "must be a file that can be read, but: Not a gzipped file"),
        ("x.jsonl", '{"text": "a"}\n\n{"text": "b",}\n', "in line 3, character 14: "),
        ("x.jsonl", '{"text": "a"}\n["b"]\n', "in line 2 stands a list"),
        ("x.json", '[{"text": "a"},\n {"text" "b"}]', "in line 2, character 10: Expecting ':'"),
        ("x.json", '{\n"text": "a"\n', "must be JSON, .* but in line 3"),
        ("x.json", "[]", "must hold rows, but is empty"),
        ("x.jsonl", "\n", "must hold rows, but is empty"),
        ("x.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": null}', "must have a label, but in line 2 of"),
        ("x.jsonl", '{"text": "a"}\n{"text": "\\ud83d"}\n', r"in line 2, column `text`, stands half of one: '\\ud83d'"),
        ("x.parquet", "no parquet", "x.parquet` could not be loaded: ArrowInvalid: Parquet magic bytes not found"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(tmp_path, name, content, message):
    with pytest.raises(InvalidInputError, match=message):
        load(stored(tmp_path, {name: content}) / name, label_column="label", text_column="text")


def test_brackets_in_a_path_are_no_pattern(tmp_path):
    for name in ("x.csv", "x.parquet"):
        assert sizes(load(write(tmp_path / "a[1]*" / name, table(40)), test_size=8, validation_size=8)) == [24, 8, 8]
