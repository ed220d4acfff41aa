import logging
import time

import datasets
import huggingface_hub
import pytest
import torch
from datasets import ClassLabel, Value

from searchhub.data.glue import GLUE_TASKS, PAPER_TASKS, glue_average, load_glue_task
from searchhub.data.sources import load_task
from searchhub.errors import InvalidInputError
from searchhub.metrics.glue import GLUE_METRICS, REGRESSION

from .tiny_text import FOLDERS, HEADERS, LABELS, rows, text, tiny_tokenizer, write_glue, write_tsv

CPU = torch.device("cpu")
PAIRS = ("mrpc", "stsb", "qqp", "mnli", "qnli", "rte")


def load(task, data_dir, **options):
    tokenizer = options.pop("tokenizer", None) or tiny_tokenizer()
    return load_glue_task(task, tokenizer, data_dir=str(data_dir), **options)


def contents(task, *splits):
    """Texts with the special tokens between them, and labels, of all examples of some splits, sorted."""
    found = []
    for split in splits:
        batch = task.batch(split, torch.arange(task.size(split)), device=CPU)
        texts = [
            task.processor().decode(ids[mask.bool()])
            for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
        ]
        found += zip(texts, batch["labels"].tolist(), strict=True)
    return sorted(found)


def expected(task, n, start=0):
    """The same of examples start … start + n - 1 as `write_glue` writes them."""
    classes = len(LABELS[task])
    return sorted(
        (
            f"[CLS] {text(i)} [SEP] {text(i + 1)} [SEP]" if task in PAIRS else f"[CLS] {text(i)} [SEP]",
            2.5 * (i % classes) if task == "stsb" else i % classes,
        )
        for i in range(start, start + n)
    )


# -- definitions ------------------------------------------------------------------------------------------------------


def test_there_are_eight():
    assert set(GLUE_TASKS) == set(GLUE_METRICS) == set(FOLDERS)
    for name, definition in GLUE_TASKS.items():
        assert definition.folder == FOLDERS[name]
        assert definition.regression == (name in REGRESSION)
        assert definition.primary in (*GLUE_METRICS[name], "combined_score")
        assert len(definition.tsv_columns) == len(definition.columns) + 1


def test_the_average_is_the_paper_s():
    # DDPNAS Table 5, BERT12: 81.7.
    bert = {"sst2": 92.7, "mrpc": 89.5, "cola": 54.3, "rte": 71.1, "mnli": 83.5, "qqp": 89.8, "qnli": 91.2}
    assert tuple(bert) == PAPER_TASKS
    results = {task: {GLUE_TASKS[task].primary: value, "f1": 0.0} for task, value in bert.items()}
    assert glue_average({**results, "stsb": {"combined_score": 0.0}}) == pytest.approx(81.7, abs=0.05)
    del results["cola"]
    with pytest.raises(InvalidInputError, match="but cola came not"):
        glue_average(results)


# -- official files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", GLUE_TASKS)
def test_official_tsv(tmp_path, task):
    write_glue(tmp_path, task)
    loaded = load(task, tmp_path, validation_size=12)
    assert loaded.name == task
    dev = expected(task, 12, start=60)
    if task == "mnli":
        dev = sorted(dev + expected(task, 15, start=60))
    assert contents(loaded, "test") == dev
    assert contents(loaded, "train", "validation") == contents(loaded, "full") == expected(task, 60)
    assert loaded.size("validation") == 12
    if task != "stsb":
        _, counts = loaded.batch("validation", torch.arange(12), device=CPU)["labels"].unique(return_counts=True)
        assert counts.tolist() == [12 // loaded.num_labels] * loaded.num_labels  # stratified
    assert load(task, tmp_path / FOLDERS[task], validation_size=12).fingerprint() == loaded.fingerprint()


def test_text_stands_as_it_is(tmp_path):
    """Quotation marks are characters, "null" and "NA" are words, a byte order mark and CRLF are nothing."""
    folder, texts = tmp_path / "MRPC", ('" a b', "na", "null", "' c \" d")
    made = [["01"[i % 2], "1", "2", texts[i % 4], texts[(i + 1) % 4]] for i in range(24)]
    for name in ("train", "dev"):
        write_tsv(folder / f"{name}.tsv", HEADERS["mrpc"], made, newline="\r\n", encoding="utf-8-sig")
    wanted = sorted((f"[CLS] {row[3]} [SEP] {row[4]} [SEP]", int(row[0])) for row in made)
    assert contents(load("mrpc", folder), "test") == wanted


def test_a_few_rows_cut_short_are_left_out(tmp_path, caplog):
    folder = write_glue(tmp_path, "qqp", train=2000)
    lines = (folder / "train.tsv").read_text().splitlines()
    lines[7] = "\t".join(lines[7].split("\t")[:4])
    write_tsv(folder / "train.tsv", (), [[line] for line in lines])
    with caplog.at_level(logging.WARNING):
        assert load("qqp", tmp_path).size("full") == 1999
    assert "left out 1 rows with missing fields" in caplog.text
    write_tsv(folder / "train.tsv", (), [[line] for line in lines[:100]])
    with pytest.raises(InvalidInputError, match=r"Every row of .* must have the 6 fields .* but 1 of 99 have"):
        load("qqp", tmp_path)


# -- parquet, and the Hub ---------------------------------------------------------------------------------------------


def hub_split(task, n, start=0, label=None):
    """A split as `nyu-mll/glue` holds it."""
    definition = GLUE_TASKS[task]
    columns = dict(
        zip(definition.columns, ([text(i + k) for i in range(start, start + n)] for k in (0, 1)), strict=False)
    )
    features = {c: Value("string") for c in definition.columns}
    kind = Value("float32") if definition.regression else ClassLabel(names=list(definition.label_names))
    labels = [i % len(LABELS[task]) for i in range(start, start + n)]
    if definition.regression:
        labels = [2.5 * value for value in labels]
    columns |= {"label": labels, "idx": list(range(n))}
    return datasets.Dataset.from_dict(
        columns, features=datasets.Features({**features, "label": label or kind, "idx": Value("int32")})
    )


def hub_splits(task):
    sizes = {"train": (60, 0), "validation": (12, 60)}
    if task == "mnli":
        sizes = {"train": (60, 0), "validation_matched": (12, 60), "validation_mismatched": (15, 60)}
    return datasets.DatasetDict({name: hub_split(task, *size) for name, size in sizes.items()})


@pytest.mark.parametrize("task", GLUE_TASKS)
def test_parquet_and_hub_are_the_same_task(tmp_path, monkeypatch, task):
    write_glue(tmp_path / "tsv", task)
    official = load(task, tmp_path / "tsv").fingerprint()
    for name, split in hub_splits(task).items():
        file = tmp_path / "parquet" / task / f"{name}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        split.to_parquet(str(file))
    assert load(task, tmp_path / "parquet").fingerprint() == official
    monkeypatch.setattr("searchhub.data.glue.from_hub", lambda dataset, config: hub_splits(config))
    assert load_glue_task(task, tiny_tokenizer()).fingerprint() == official


def test_a_hub_that_cannot_be_reached_is_said_at_once(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.perf_counter()
    with pytest.raises(InvalidInputError, match=r"`rte` must be loadable from `nyu-mll/glue` .*`--data_dir`"):
        load_glue_task("rte", tiny_tokenizer())
    assert time.perf_counter() - started < 5


# -- scores -----------------------------------------------------------------------------------------------------------


def test_combined_score_is_the_mean_of_both(tmp_path):
    write_glue(tmp_path, "mrpc")
    task = load("mrpc", tmp_path)
    metrics = task.score(torch.tensor([1, 1, 0, 1]), torch.tensor([1, 0, 0, 1]))
    assert metrics == pytest.approx({"f1": 0.8, "accuracy": 0.75, "combined_score": 0.775})
    assert task.metric_name == "combined_score"
    assert task.search_score(metrics) == pytest.approx(0.775)


def test_mnli_reports_both_dev_sets(tmp_path):
    write_glue(tmp_path, "mnli")
    task = load("mnli", tmp_path)
    references = task.batch("test", torch.arange(27), device=CPU)["labels"]
    for part in (task.lengths("test")[:12], task.lengths("test")[12:]):
        assert (part.diff() <= 0).all()
    wrong = references.clone()
    wrong[[0, 4, 11, 12]] = (references[[0, 4, 11, 12]] + 1) % 3  # three of the matched, one of the others
    metrics = task.score(wrong, references)
    assert metrics == pytest.approx({"accuracy_m": 9 / 12, "accuracy_mm": 14 / 15, "accuracy": (9 / 12 + 14 / 15) / 2})
    validation = task.batch("validation", torch.arange(6), device=CPU)["labels"]
    assert task.score(validation, validation) == {"accuracy": 1.0}


def test_scores_of_a_search_are_in_0_to_1(tmp_path):
    write_glue(tmp_path, "cola")
    task = load("cola", tmp_path)
    references = torch.tensor([0, 1, 1, 0])
    assert task.score(1 - references, references) == {"matthews_correlation": -1.0}
    assert task.search_score({"matthews_correlation": -1.0}) == 0.0
    assert task.search_score({"matthews_correlation": 0.3}) == 0.3
    nan = task.search_score({"matthews_correlation": float("nan")})
    assert nan != nan


def test_stsb_predicts_scores(tmp_path):
    write_glue(tmp_path, "stsb")
    task = load("stsb", tmp_path)
    assert (task.num_labels, task.regression, task.metric_name) == (1, True, "combined_score")
    predictions = task.predictions(torch.tensor([[0.5], [1.0], [3.0]]))
    metrics = task.score(predictions, torch.tensor([1.0, 2.0, 6.0]))
    assert metrics == pytest.approx({"pearson": 1.0, "spearmanr": 1.0, "combined_score": 1.0})


# -- options ----------------------------------------------------------------------------------------------------------


def test_samples_are_limited(tmp_path):
    write_glue(tmp_path, "mnli", train=90)
    task = load("mnli", tmp_path, max_train_samples=20, max_eval_samples=5, validation_size=0.2)
    assert [task.size(s) for s in ("train", "validation", "test", "full")] == [20, 5, 10, 25]
    metrics = task.score(*[task.batch("test", torch.arange(10), device=CPU)["labels"]] * 2)
    assert metrics == {"accuracy": 1.0, "accuracy_m": 1.0, "accuracy_mm": 1.0}
    other = load("mnli", tmp_path, max_train_samples=20, max_eval_samples=5, validation_size=0.2, seed=1)
    assert other.fingerprint() != task.fingerprint()
    # What is drawn from train is the same whatever is taken of it.
    everything = load("mnli", tmp_path, validation_size=0.2)
    assert set(contents(task, "validation")) <= set(contents(everything, "validation"))


def test_the_source_loads_the_same_task(tmp_path):
    write_glue(tmp_path, "rte")
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer")
    task = load("rte", tmp_path, tokenizer=tokenizer, max_length=8, max_train_samples=30, validation_size=10, seed=3)
    assert task.source["tokenizer"] == str(tmp_path / "tokenizer")
    assert load_task(task.source).fingerprint() == task.fingerprint()
    assert load_task(task.source, seed=4).fingerprint() != task.fingerprint()
    assert load("rte", tmp_path).source == {}  # of a tokenizer that no one can load


# -- bad input --------------------------------------------------------------------------------------------------------


def test_an_unknown_task(tmp_path):
    message = r"`--task_name` must be one of cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, but is 'wnli'"
    with pytest.raises(InvalidInputError, match=message):
        load("wnli", tmp_path)


def test_missing_files_are_listed(tmp_path):
    write_glue(tmp_path, "mnli")
    (tmp_path / "MNLI" / "dev_mismatched.tsv").unlink()
    with pytest.raises(InvalidInputError, match=r"`--data_dir` must hold mnli: `train.tsv`") as caught:
        load("mnli", tmp_path)
    for looked in ("`dev_matched.tsv`", "`dev_mismatched.tsv`", f"`{tmp_path}/MNLI`", f"`{tmp_path}/mnli`"):
        assert looked in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "task", "message"),
    [
        ("sst2", "mrpc", r"lacks \['#1 String', '#2 String', 'Quality'\]. It has: \['sentence', 'label'\]"),
        ("sst2", "cola", r"must have the 4 fields .* but 61 of 61 have more or less"),
        ("qnli", "rte", r"lacks \['sentence1', 'sentence2'\]"),
    ],
)
def test_the_folder_of_another_task(tmp_path, folder, task, message):
    with pytest.raises(InvalidInputError, match=message):
        load(task, write_glue(tmp_path, folder))


@pytest.mark.parametrize(
    ("task", "label", "message"),
    [
        ("rte", "maybe", r"must be \['entailment', 'not_entailment'\] or 0 … 1, but number 2 is 'maybe'"),
        ("sst2", "2", r"must be \['negative', 'positive'\] or 0 … 1, but number 2 is '2'"),
        ("stsb", "high", "must be numbers, but number 2 is 'high'"),
        ("stsb", "nan", "each with a finite label"),
    ],
)
def test_unknown_labels(tmp_path, task, label, message):
    folder = write_glue(tmp_path, task)
    made = list(rows(task, 12))
    made[2][-1] = label
    write_tsv(folder / "dev.tsv", HEADERS[task], made)
    with pytest.raises(InvalidInputError, match=message):
        load(task, folder)


def test_classes_in_another_order(tmp_path):
    folder = tmp_path / "rte"
    folder.mkdir()
    for name in ("train", "validation"):
        split = hub_split("rte", 20, label=ClassLabel(names=["not_entailment", "entailment"]))
        split.to_parquet(str(folder / f"{name}.parquet"))
    with pytest.raises(InvalidInputError, match=r"Labels of `rte` must be \['entailment', .* in this order"):
        load("rte", tmp_path)


def test_parquet_without_the_columns(tmp_path):
    for name in ("train", "dev"):
        hub_split("rte", 20).remove_columns("sentence2").to_parquet(str(tmp_path / f"{name}.parquet"))
    with pytest.raises(InvalidInputError, match=r"lacks \['sentence2'\]. It has: \['idx', 'label', 'sentence1'\]"):
        load("rte", tmp_path)


def test_parquet_that_is_none(tmp_path):
    for name in ("train", "dev"):
        (tmp_path / f"{name}.parquet").write_text("no parquet")
    with pytest.raises(InvalidInputError, match="`train` of `rte` must be parquet that can be read"):
        load("rte", tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_train_samples": 0}, "`max_train_samples` and `max_eval_samples` must be at least 1, but got 0"),
        ({"validation_size": 60}, "`--validation_size` must leave every class in both parts of the 60 training"),
        ({"max_length": 1000}, "`5 <= max_length <= 128` must hold"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    write_glue(tmp_path, "rte")
    with pytest.raises(InvalidInputError, match=message):
        load("rte", tmp_path, **options)


def test_a_tokenizer_that_is_not_there(tmp_path):
    write_glue(tmp_path, "rte")
    with pytest.raises(InvalidInputError, match="The tokenizer must be a folder or a Hub id"):
        load("rte", tmp_path, tokenizer=str(tmp_path / "nothing"))
