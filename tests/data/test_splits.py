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


@pytest.mark.parametrize("size", [0.25, 31])
def test_classes_keep_their_proportions_in_the_draw_of_datasets(size):
    """Runs that were saved name their data by these very draws."""
    data = rows([50, 40, 30])
    theirs = data.train_test_split(test_size=size, stratify_by_column="label", seed=3)
    ours = split_off(data, size, "label", "test", 3)
    assert {name: part["id"][:] for name, part in ours.items()} == {name: p["id"][:] for name, p in theirs.items()}


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
    with pytest.raises(InvalidInputError, match=r"must leave every class .* a class has only one example"):
        split_off(rows([1, 1, 1, 1]), 2, "label", "test", 0)


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
    with pytest.raises(InvalidInputError, match=r"`--test_size` does: there are 1 groups, of 8 to 8 examples"):
        split_off(rows([4, 4], group=["x"] * 8), 0.25, "label", "test", 0, "group")


def test_held_out_texts_stand_in_no_other():
    """As SST-2's train rows: sentences, and phrases of them that are rows, too."""
    rng = np.random.default_rng(0)
    sentences = [" ".join(map(str, rng.integers(0, 2000, 9))) for _ in range(60)]
    phrases = [" ".join(s.split()[a:b]).upper() for s in sentences for a, b in ((0, 4), (2, 9), (3, 4), (4, 4 + 1))]
    texts = [*sentences, *phrases, "a", "b a", "c"]
    data = rows([120, 183]).add_column("text", texts)

    def contained(parts):
        """How many held-out texts stand in those of train."""
        train = [f" {text.lower()} " for text in parts["train"]["text"]]
        return sum(any(f" {text.lower()} " in other for other in train) for text in parts["test"]["text"])

    parts = split_off(data, 0.2, "label", "test", 0, text_column="text")
    assert contained(parts) == 0
    _, test = counted(parts, 2)
    assert abs(test.sum() - 61) <= 6
    assert abs(test[0] - 24) <= 8
    assert contained(split_off(data, 0.2, "label", "test", 0)) > 20
    with pytest.raises(
        InvalidInputError, match=r"there are 1 texts that stand in no other, of 2.*drop `--contained_to"
    ):
        split_off(rows([2]).add_column("text", ["a b", "a"]), 0.5, None, "test", 0, text_column="text")
