"""Tasks of one's own are loaded by a function that their source names; a folder from elsewhere may not name one."""

import sys

import pytest
from PIL import Image

from searchhub.data.loading import load_image_task
from searchhub.data.sources import load_recorded_task, load_task
from searchhub.errors import InvalidInputError

MODULE = """
from pathlib import Path
from textwrap import dedent

from searchhub.data.task import Task

Path(__file__).with_name("imported").touch()
NUMBER = 7


class Own(Task):
    pipeline_tag, auto_class, processor_class = "image-classification", "AutoModelForImageClassification", "-"

    def __init__(self, examples=4, names=("a", "b")):
        super().__init__("own", names, "accuracy")
        self.examples, self.names = examples, names

    def size(self, split):
        return self.examples

    def batch(self, split, indices, *, device, seed=None): ...

    def score(self, predictions, references): ...

    def processor(self): ...

    def fingerprint(self):
        return str(self.examples)


def own(examples=4, names=("a", "b")):
    return Own(examples, names)


def _private():
    return Own()


def no_task():
    return 3


def broken(examples):
    return {}["nothing"]


def strict(examples):
    from searchhub.errors import InvalidInputError

    raise InvalidInputError("`examples` must be few.")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of a module `own_tasks`, on the path."""
    (tmp_path / "own_tasks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_tasks", raising=False)
    return tmp_path


def test_a_task_of_ones_own_says_how_it_was_loaded(folder):
    task = load_task({"kind": "own_tasks:own", "examples": 4}, names=("x", "y"))
    assert (task.examples, task.names) == (4, ["x", "y"])  # as they will be read from a file
    assert task.source == {"kind": "own_tasks:own", "examples": 4, "names": ["x", "y"]}
    assert load_task(task.source, examples=5).fingerprint() == "5"


def test_what_is_not_trusted_is_not_imported(folder):
    with pytest.raises(InvalidInputError, match=r"name it yourself: `--task own_tasks:own`"):
        load_task({"kind": "own_tasks:own"}, trusted=False)
    assert not (folder / "imported").exists()
    load_task({"kind": "own_tasks:own"})
    assert (folder / "imported").exists()
    assert load_task({"kind": "image", "max_eval_samples": 20}, trusted=False).size("test") == 20


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {},
            r"must have a kind among \['glue', 'image', 'segmentation', 'text'\], or name .* its kind is None",
        ),
        ({"kind": "own_tasks.own"}, "`package.module:function`, but its kind is 'own_tasks.own'"),
        ({"kind": "own tasks:own"}, "its kind is 'own tasks:own'"),
        ({"kind": "nowhere.tasks:load"}, r"No module named 'nowhere'\. Put the folder of its module on PYTHONPATH"),
        ({"kind": "own_tasks:gone"}, "has no attribute 'gone'"),
        ({"kind": "__main__:load"}, "`__main__` is another module in each program"),
        (
            {"kind": "own_tasks:NUMBER"},
            "must name a public function that `own_tasks` itself defines, but is a int of `own_tasks`",
        ),
        ({"kind": "own_tasks:Own"}, "itself defines, but is a class of `own_tasks`"),
        ({"kind": "own_tasks:_private"}, "must name a public function"),
        ({"kind": "own_tasks:dedent", "text": "x"}, "itself defines, but is a function of `textwrap`"),
        ({"kind": "os:system", "command": "exit 3"}, "must name a public function that `os` itself defines"),
        ({"kind": "own_tasks:no_task"}, "must return a `searchhub.Task`, but returned int"),
        ({"kind": "own_tasks:own", "colour": 1}, "must take the arguments .*unexpected keyword argument 'colour'"),
        (
            {"kind": "own_tasks:own", "hub_token": "x"},
            r"hold a secret, but \['hub_token'\] would.*environment variable",
        ),
        ({"kind": "own_tasks:own", "examples": {1}}, "must be plain JSON"),
        ({"kind": "own_tasks:own", "examples": float("nan")}, "must be plain JSON"),
        ({"kind": "own_tasks:broken", "examples": 1}, "raised KeyError: 'nothing'. Call it in Python to see where"),
        ({"kind": "own_tasks:strict", "examples": 1}, "^`examples` must be few.$"),
    ],
)
def test_what_is_no_loader(folder, source, message):
    with pytest.raises(InvalidInputError, match=message):
        load_task(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"kind": "text", "dataset": "./data/x.csv", "tokenizer": "."},
            r"`--data dataset=…` must be .* `./data/x.csv` could not .* no such file .* If `./data/x.csv` lies "
            r"elsewhere now, say where: `--data dataset=path/to/it`, in Python `data={\"dataset\": \"path/to/it\"}`\.$",
        ),
        (
            {"kind": "image", "dataset": "old/birds"},
            r"`--data dataset=…` must be .* where: `--data dataset=path/to/it`",
        ),
        (
            {"kind": "glue", "task_name": "rte", "tokenizer": ".", "data_dir": "no"},
            "`--data data_dir=…` .*--data data_dir=path",
        ),
        ({"kind": "image", "validation_size": 1700}, "`--data validation_size=…` must leave every class"),
    ],
)
def test_errors_of_what_a_folder_says_name_the_option_of_commands(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match=message):
        load_recorded_task(source, trusted=False)


def test_a_source_says_that_a_path_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("red", "blue"):
        (tmp_path / "birds" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (8, 8), name).save(tmp_path / "birds" / name / f"{i}.png")
    task = load_image_task("birds")
    assert task.source["dataset"] == "./birds"
    assert load_recorded_task(task.source, trusted=False).fingerprint() == task.fingerprint()
    assert load_image_task().source["dataset"] == "digits"
