"""What a model's folder says of the data it was trained on, and what it keeps to itself."""

import json

import pytest

from searchhub.errors import InvalidInputError
from searchhub.networks.network import read_task_source
from searchhub.redact import redact_whole


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def test_a_run_knows_where_its_data_lie_and_a_published_folder_does_not(tmp_path):
    model = tmp_path / "run" / "models" / "small"
    assert read_task_source(model) == {}
    write(model / "searchhub.json", {"task": {"kind": "glue", "data_dir": "glue", "tokenizer": "bert", "seed": 0}})
    published = {"kind": "glue", "data_dir": "glue", "tokenizer": str(model), "seed": 0}
    assert read_task_source(model) == published
    write(tmp_path / "run" / "training.json", {"task": {"kind": "glue", "data_dir": "/data/glue", "tokenizer": "/b"}})
    assert read_task_source(model) == {**published, "data_dir": "/data/glue"}
    write(tmp_path / "elsewhere" / "small" / "searchhub.json", {"task": {"kind": "image", "dataset": "digits"}})
    assert read_task_source(tmp_path / "elsewhere" / "small") == {"kind": "image", "dataset": "digits"}


def test_a_file_that_names_no_arguments(tmp_path):
    write(tmp_path / "run" / "training.json", {"task": ["image"]})
    with pytest.raises(InvalidInputError, match=r"`task` in .*training\.json` must name the arguments of a loader"):
        read_task_source(tmp_path / "run" / "models" / "small")


def test_a_path_with_spaces_is_reduced_whole():
    assert redact_whole("/home/ann/my birds") == "my birds"
    assert redact_whole("uoft-cs/cifar10") == "uoft-cs/cifar10"
