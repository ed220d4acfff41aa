"""The dev sets of GLUE, with models as anyone would load them. A user's start of it is in test_ddp_bert.py."""

import json
import runpy
import shutil

import pytest
from transformers import AutoModelForSequenceClassification

from searchhub.data.glue import GLUE_TASKS, PAPER_TASKS
from searchhub.data.text_loading import load_text_task
from searchhub.errors import InvalidInputError
from searchhub.workflows.text_arguments import TextDataArguments

from ..data.tiny_text import text, tiny_tokenizer
from .bert_cases import NAME
from .harness import RECIPES

RECIPE = runpy.run_path(str(RECIPES / "eval_glue.py"))
EVALUATE = RECIPE["main"]


@pytest.fixture
def run_folder(bert_once, tmp_path):
    """Makes a run's folder with a network for a task: the finished run's, or with a new classifier where labels differ.

    What its facts say of its score is made up.
    """
    root, _ = bert_once

    def make(task, name=NAME, **metrics):
        model = tmp_path / "runs" / task / "models" / name
        shutil.copytree(root / "run" / "models" / NAME, model)
        facts = json.loads((model / "searchhub.json").read_text())
        facts["task"] |= {"task_name": task, "data_dir": str(root / "glue")}
        facts["metrics"] = metrics or facts["metrics"]
        (model / "searchhub.json").write_text(json.dumps(facts))
        labels = len(GLUE_TASKS[task].label_names)
        if labels != 2:
            new = AutoModelForSequenceClassification.from_pretrained(
                model,
                num_labels=labels,
                problem_type="regression" if task == "stsb" else None,
                ignore_mismatched_sizes=True,
            )
            new.save_pretrained(model)
        return model.parents[1]

    return make


def said(capsys):
    """The JSON lines and all the rest."""
    lines = capsys.readouterr().out.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")], "\n".join(lines)


@pytest.mark.slow
def test_all_tasks_of_the_paper_have_an_average(run_folder, tmp_path, capsys):
    runs = [run_folder(task) for task in (*PAPER_TASKS, "stsb")]
    EVALUATE(["--models", *map(str, runs), f"--output_dir={tmp_path / 'table'}"])
    lines, _ = said(capsys)
    assert [line["task"] for line in lines] == [*PAPER_TASKS, "stsb"]
    assert {line["task"]: line["examples"] for line in lines} == {
        **dict.fromkeys(PAPER_TASKS, 24),
        "mnli": 51,
        "stsb": 24,
    }
    found = json.loads((tmp_path / "table" / "table5.json").read_text())
    assert list(found) == [NAME]
    primary = {task: found[NAME][task][GLUE_TASKS[task].primary] for task in PAPER_TASKS}
    average = sum(primary.values()) / 7
    header, _, row = (tmp_path / "table" / "table5.md").read_text().splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == ["model", *PAPER_TASKS, "stsb", "average"]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [NAME, *(f"{100 * v:.1f}" for v in primary.values()), cells[8], f"{100 * average:.1f}"]
    assert cells[8] == f"{100 * found[NAME]['stsb']['combined_score']:.1f}"


def test_other_data_than_glues_are_told_as_everywhere():
    row_of = RECIPE["row_of"]
    assert row_of("m", {"reviews.csv": {"accuracy": 0.9111}}, percent=False) == {"model": "m", "reviews.csv": "0.9111"}
    assert row_of("m", {"sst2": {"accuracy": 0.9111}}, percent=True) == {"model": "m", "sst2": "91.1"}


@pytest.mark.slow
def test_no_average_of_fewer_tasks_and_a_row_a_name(run_folder, tmp_path, capsys):
    runs = [run_folder("sst2"), run_folder("rte"), run_folder("cola", "other")]
    EVALUATE(["--models", *map(str, runs), f"--output_dir={tmp_path / 'table'}"])
    header, _, *rows = (tmp_path / "table" / "table5.md").read_text().splitlines()
    assert "average" not in header
    assert [row.split("|")[1].strip() for row in rows] == [NAME, "other"]
    lines, shown = said(capsys)
    assert "average" not in shown.partition("Dev sets")[2]
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("models", "rows"),
    [
        ([("r/a/models/x", "sst2"), ("r/b/models/x", "mrpc"), ("r/b/models/y", "mrpc")], ["x", "x", "y"]),
        ([("r/a/models/x", "sst2"), ("r/b/models/x", "sst2"), ("r/b/models/y", "sst2")], ["a/x", "b/x", "y"]),
        # A row of every run, for it is not said which of the two another task goes with.
        ([("1/a/models/x", "sst2"), ("2/a/models/x", "sst2"), ("1/b/models/x", "rte")], ["1/a/x", "2/a/x", "1/b/x"]),
        ([("a/models/x", "sst2"), ("a/x", "sst2")], ["a/models/x", "a/x"]),
    ],
)
def test_networks_of_one_name_for_one_task_stand_in_rows_of_their_own(models, rows):
    assert RECIPE["row_names"](models) == rows


def test_data_are_split_as_for_the_training_of_the_model(tmp_path):
    """With another seed, examples that the model was trained on would be in the test split."""
    file = tmp_path / "mails.csv"
    file.write_text("\n".join(["text,label", *(f"{text(i)},{('ham', 'spam')[i % 2]}" for i in range(40))]) + "\n")
    trained = load_text_task(str(file), tiny_tokenizer(tmp_path / "tokenizer"), max_length=16, test_size=0.5, seed=3)
    model = tmp_path / "run" / "models" / "x"
    tiny_tokenizer().save_pretrained(model)
    (model / "searchhub.json").write_text(json.dumps({"task": trained.source}))
    nothing_said, task_of = TextDataArguments(), RECIPE["task_of"]
    assert task_of(str(model), nothing_said, None).fingerprint() == trained.fingerprint()
    assert task_of(str(model), nothing_said, 0).fingerprint() != trained.fingerprint()
    again = TextDataArguments(dataset=str(file), max_length=16, test_size=0.5)
    assert task_of(str(model), again, None).fingerprint() == trained.fingerprint()


@pytest.mark.slow
def test_runs_of_one_name_and_task_are_all_in_the_table(run_folder, tmp_path, capsys):
    first = run_folder("sst2")
    second = shutil.copytree(first, tmp_path / "runs" / "sst2-seed1")
    EVALUATE(["--models", str(first), str(second), f"--output_dir={tmp_path / 'table'}"])
    assert list(json.loads((tmp_path / "table" / "table5.json").read_text())) == [f"sst2/{NAME}", f"sst2-seed1/{NAME}"]
    lines, _ = said(capsys)
    assert [line["path"] for line in lines] == [str(run / "models" / NAME) for run in (first, second)]


@pytest.mark.slow
def test_a_model_folder_and_another_task_than_its_own(run_folder, bert_once, capsys):
    model = run_folder("sst2") / "models" / NAME
    glue = f"--data_dir={bert_once[0] / 'glue'}"
    EVALUATE(["--models", str(model)])
    EVALUATE(["--models", str(model), "--task_name=rte", glue])
    (own, other), _ = said(capsys)
    assert (own["task"], other["task"]) == ("sst2", "rte")
    EVALUATE(["--models", str(model), "--task_name=rte", glue, "--check"])
    assert "nothing to check, for its card does not speak of these data of rte" in capsys.readouterr().err
    facts = json.loads((model / "searchhub.json").read_text())
    assert own["accuracy"] == pytest.approx(facts["metrics"]["accuracy"], abs=1e-4)

    # The card says nothing of another task, so there is nothing to check.
    EVALUATE(["--models", str(model), "--task_name=mrpc", glue, "--check"])
    with pytest.raises(InvalidInputError, match=r"must tell apart the 3 labels of mnli, but has 2"):
        EVALUATE(["--models", str(model), "--task_name=mnli", glue])


@pytest.mark.slow
def test_a_score_that_is_not_reached(run_folder):
    run = run_folder("sst2")
    EVALUATE(["--models", str(run), "--check"])
    facts_file = run / "models" / NAME / "searchhub.json"
    facts = json.loads(facts_file.read_text())
    facts["metrics"]["accuracy"] += 2 / 24
    facts_file.write_text(json.dumps(facts))
    EVALUATE(["--models", str(run)])
    with pytest.raises(InvalidInputError, match=r"must reach the accuracy \d\.\d+ on its card, but reached \d\.\d+"):
        EVALUATE(["--models", str(run), "--check"])


@pytest.mark.slow
def test_what_cannot_be_evaluated(run_folder, bert_once, tmp_path, monkeypatch):
    with pytest.raises(InvalidInputError, match=r"nothing` must be a folder whose searchhub.json says"):
        EVALUATE(["--models", str(tmp_path / "nothing")])
    glue = [f"--data_dir={bert_once[0] / 'glue'}", "--task_name=sst2"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InvalidInputError, match=r"nothing` is no folder"):
        EVALUATE(["--models", str(tmp_path / "nothing"), *glue])
    model = run_folder("sst2") / "models" / NAME
    (model / "model.safetensors").unlink()
    with pytest.raises(InvalidInputError, match=r"must hold a text classification model"):
        EVALUATE(["--models", str(model), *glue])
