"""Tasks whose labels are a teacher's outputs, and texts without labels."""

import datasets
import numpy as np
import pytest
import torch

from searchhub.data.distilled import TEACHER_HIDDEN, TEACHER_LOGITS, DistilledTask, HiddenStates, JudgedTask
from searchhub.data.text import TextTask
from searchhub.data.text_loading import load_text_task
from searchhub.data.unlabelled import UnlabelledTexts, read_unlabelled, teachable
from searchhub.errors import InvalidInputError

from ..tiny import tiny_task
from .tiny_text import text, tiny_tokenizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def task():
    return tiny_task()


@pytest.fixture(scope="module")
def logits(task):
    return torch.randn(task.size("full"), 2, generator=torch.Generator().manual_seed(0))


def hidden_of(task, size=3):
    lengths = task.lengths("full")
    values = np.arange(int(lengths.sum()) * size, dtype=np.float16).reshape(-1, size)
    return HiddenStates(values, lengths.cumsum(0) - lengths, lengths)


def test_what_is_learnt_and_what_judges_are_the_teachers_outputs(task, logits):
    judged = JudgedTask(task, logits)
    train = judged.batch("train", torch.tensor([2, 0]), device=CPU, seed=1)
    assert "labels" not in train
    torch.testing.assert_close(train[TEACHER_LOGITS], logits[[2, 0]])
    validation = judged.batch("validation", torch.tensor([1]), device=CPU)
    torch.testing.assert_close(validation["labels"], logits[[21]])
    assert torch.equal(judged.batch("test", torch.tensor([0]), device=CPU)["labels"], task.labels("test")[:1])
    torch.testing.assert_close(judged.labels("validation"), logits[20:])


def test_the_loss_is_the_divergence_from_the_teacher(task, logits):
    judged, teacher = JudgedTask(task, logits), logits[20:]
    perfect = judged.total(judged.tally(teacher + 3.0, teacher))
    assert perfect.loss == pytest.approx(0.0, abs=1e-6)
    assert perfect.metrics == {"fidelity": pytest.approx(1.0), "agreement": 1.0}
    other = torch.zeros_like(teacher)
    p = teacher.double().softmax(-1)
    by_hand = float((p * (p / 0.5).log()).sum(-1).mean())
    found = judged.total((other, teacher))
    assert found.loss == pytest.approx(by_hand)
    assert found.metrics["fidelity"] == pytest.approx(np.exp(-by_hand))
    assert judged.search_score(found.metrics) == found.metrics["fidelity"]
    broken = judged.total((torch.full_like(teacher, torch.nan), teacher))
    assert broken.metrics["fidelity"] == 0.0
    numbers = JudgedTask.loss(judged, torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [1.0]]))
    assert numbers == pytest.approx(2.0)


def test_few_examples_judge_and_lie_evenly(task, logits):
    judged = JudgedTask(task, logits, judged=3)
    assert (judged.size("validation"), judged.size("train")) == (3, 20)
    torch.testing.assert_close(judged.labels("validation"), logits[[20, 22, 24]])
    assert judged.fingerprint() != JudgedTask(task, logits).fingerprint()
    assert JudgedTask(task, logits, judged=99).size("validation") == 6
    with pytest.raises(InvalidInputError, match="`judged >= 1` must hold, but got 0"):
        JudgedTask(task, logits, judged=0)


def test_hidden_states_stand_where_their_tokens_do(task, logits):
    taught = DistilledTask(task, logits, hidden_of(task))
    rows = torch.tensor([5, 0])
    batch = taught.batch("train", rows, device=CPU, seed=1)
    lengths, starts = task.lengths("full"), hidden_of(task).starts
    assert batch[TEACHER_HIDDEN].shape == (2, batch["input_ids"].shape[1], 3)
    for states, row in zip(batch[TEACHER_HIDDEN], rows, strict=True):
        own = torch.arange(starts[row] * 3, (starts[row] + lengths[row]) * 3).view(-1, 3).float()
        torch.testing.assert_close(states[: lengths[row]], own)
        assert not states[lengths[row] :].any()
    with pytest.raises(InvalidInputError, match="`hidden` must be of 26 texts, but is of 2"):
        DistilledTask(task, logits, hidden_of(task).select(torch.tensor([0, 1])))


# -- texts without labels ---------------------------------------------------------------------------------------------


def labelled(n, start=0):
    rows = range(start, start + n)
    return datasets.Dataset.from_dict({"text": [text(i) for i in rows], "label": [i % 2 for i in rows]})


def with_unlabelled(texts):
    return TextTask(
        "tiny",
        {"train": labelled(8), "validation": labelled(4, 8), "test": labelled(4, 12)},
        tiny_tokenizer(),
        text_columns=["text"],
        label_column="label",
        label_names=["no", "yes"],
        unlabelled=datasets.Dataset.from_dict({"text": texts}),
    )


def test_unlabelled_texts_are_trained_on_without_labels():
    task = with_unlabelled(["good", "bad a a"])
    view = teachable(task)
    assert (view.size("train"), view.size("full"), view.size("validation"), task.size("train")) == (10, 14, 4, 8)
    batch = view.batch("train", torch.tensor([8, 9, 0]), device=CPU)
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids"}
    assert batch["attention_mask"].sum(1).tolist() == [3, 5, int(task.lengths("train")[0])]
    late = view.batch("full", torch.tensor([10]), device=CPU)["input_ids"]
    assert torch.equal(late, task.batch("validation", torch.tensor([0]), device=CPU)["input_ids"])
    assert sorted(view.order("train", batch_size=3, seed=0).tolist()) == list(range(10))
    assert len({task.fingerprint(), view.fingerprint(), with_unlabelled(["good"]).fingerprint()}) == 3
    plain = tiny_task()
    assert teachable(plain) is plain
    with pytest.raises(InvalidInputError, match="must have unlabelled texts, but has none"):
        UnlabelledTexts(plain)


def test_unlabelled_files(tmp_path):
    table, lines = tmp_path / "more.csv", tmp_path / "more.txt"
    table.write_text("id,text\n1,good\n2,007\n")
    lines.write_text("good\n\nbad a\n")
    assert read_unlabelled(str(table), ["text"])["text"][:] == ["good", "007"]
    assert read_unlabelled(str(lines), ["text"])["text"][:] == ["good", "bad a"]
    labelled(20).to_csv(tmp_path / "train.csv")
    task = load_text_task(str(tmp_path / "train.csv"), tiny_tokenizer(tmp_path / "tok"), unlabelled=str(lines))
    assert len(task.unlabelled) == 2
    assert task.source["unlabelled"] == str(lines)


@pytest.mark.parametrize(
    ("name", "content", "columns", "message"),
    [
        ("none.csv", None, ["text"], "must be a file, but `.*none.csv` is none"),
        ("empty.txt", "\n", ["text"], "must hold texts, but `.*empty.txt` is empty"),
        ("pairs.txt", "a\n", ["one", "two"], r"must be a table with the columns \['one', 'two'\] for pairs"),
        ("x.docx", "a\n", ["text"], "must end in .txt, .*, but `.*` ends in `.docx`"),
    ],
)
def test_wrong_unlabelled_files(tmp_path, name, content, columns, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInputError, match=message):
        read_unlabelled(str(tmp_path / name), columns)
