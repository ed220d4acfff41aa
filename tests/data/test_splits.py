import datasets
import numpy as np
import pytest
from datasets import ClassLabel

from searchhub.data.splits import split_off
from searchhub.errors import InvalidInputError


def rows(counts, **columns):
    """Examples of classes, so many of each, in random order."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    names = ClassLabel(names=[str(i) for i in range(len(counts))])
    features = {"label": names, "id": datasets.Value("int64")}
    data = datasets.Dataset.from_dict(
        {"label": labels.tolist(), "id": list(range(len(labels)))}, features=datasets.Features(features)
    )
    for name, values in columns.items():
        data = data.add_column(name, values)
    return data


def counted(parts, classes):
    assert not set(parts["train"]["id"]) & set(parts["test"]["id"])
    return [np.bincount(parts[part]["label"], minlength=classes) for part in ("train", "test")]


def test_a_class_of_one_example_stays_in_train():
    data = rows([50, 40, 1, 2])
    train, test = counted(split_off(data, 0.2, "label", "test", 0), 4)
    assert train.sum() == 74
    assert test.sum() == 19
    assert train[2] == 1
    assert train[3] >= 1
    assert abs(test[0] - 10) <= 1
    assert abs(test[1] - 8) <= 1
    again = split_off(data, 0.2, "label", "test", 0)["test"]["id"]
    assert again == split_off(data, 0.2, "label", "test", 0)["test"]["id"] != sorted(again)
    assert again != split_off(data, 0.2, "label", "test", 1)["test"]["id"]


def test_many_classes_of_few_examples():
    train, test = counted(split_off(rows([4] * 150), 0.1, "label", "test", 0), 150)
    assert (train.sum(), test.sum()) == (540, 60)
    assert set(test) == {0, 1}
    assert train.min() == 3


def test_a_part_that_would_take_a_whole_class_is_refused():
    for size in (57, 60, 0, 61):
        with pytest.raises(InvalidInputError, match="`--test_size` must leave every class in both parts of the 60"):
            split_off(rows([50, 5, 4, 1]), size, "label", "test", 0)


def test_groups_stay_whole():
    data = rows([60, 60], group=[i // 6 if i < 60 else None for i in range(120)])
    parts = split_off(data, 0.25, "label", "test", 0, "group")
    _, test = counted(parts, 2)
    assert abs(test.sum() - 30) <= 3
    assert abs(test[0] - test[1]) <= 4
    assert not (set(parts["train"]["group"]) & set(parts["test"]["group"])) - {None}
    assert None in parts["train"]["group"]
    assert None in parts["test"]["group"]
    assert split_off(data, 0.25, None, "test", 0, "group")["test"].num_rows == pytest.approx(30, abs=3)
    with pytest.raises(InvalidInputError, match=r"Whole groups .*`--test_size` does: `group` has 1 groups, of 8 to 8"):
        split_off(rows([4, 4], group=["x"] * 8), 0.25, "label", "test", 0, "group")
