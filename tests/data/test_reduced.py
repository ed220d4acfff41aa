import pytest
import torch

from searchhub.data.reduced import ReducedTask
from searchhub.errors import InvalidInputError

from ..training.tiny import TinyTask

CPU = torch.device("cpu")


def test_every_class_keeps_its_share():
    task = TinyTask(sizes=(64, 16, 16))
    reduced = ReducedTask(task, 0.5)
    counts, before = (torch.bincount(t.labels("train"), minlength=4) for t in (reduced, task))
    assert counts.tolist() == [int(0.5 * n + 0.5) for n in before.tolist()]
    assert reduced.size("train") == int(counts.sum())
    assert (reduced.size("validation"), reduced.size("test")) == (16, 16)
    assert len(set(reduced.indices.tolist())) == len(reduced.indices)


def test_batches_are_those_of_the_task():
    task = TinyTask(sizes=(64, 16, 16))
    reduced = ReducedTask(task, 0.25, seed=3)
    own, indices = torch.tensor([0, 5, 2]), reduced.indices[[0, 5, 2]]
    for seed in (None, 7):
        got, expected = (
            reduced.batch("train", own, device=CPU, seed=seed),
            task.batch("train", indices, device=CPU, seed=seed),
        )
        assert all(torch.equal(got[name], expected[name]) for name in expected)
    got, expected = (t.batch("validation", own, device=CPU) for t in (reduced, task))
    assert torch.equal(got["pixel_values"], expected["pixel_values"])


def test_the_draw_depends_on_the_seed_alone():
    task = TinyTask(sizes=(64, 16, 16))
    same, again, other = (ReducedTask(task, 0.25, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(same.indices, again.indices)
    assert same.fingerprint() == again.fingerprint()
    assert same.fingerprint() not in (other.fingerprint(), task.fingerprint())


def test_a_class_that_would_be_empty_is_named():
    task = TinyTask(sizes=(64, 16, 16))
    with pytest.raises(InvalidInputError, match=r"none of the \d+ of `\d`. Take a share of at least"):
        ReducedTask(task, 0.01)
    task.data["train"] = (task.data["train"][0], task.data["train"][1].clamp(max=2))
    with pytest.raises(InvalidInputError, match=r"none of the 0 of `3`\. Add some, or drop the class"):
        ReducedTask(task, 0.5)


def test_what_it_does_not_have():
    task = TinyTask()
    with pytest.raises(InvalidInputError, match="no split `full`"):
        ReducedTask(task, 0.5).batch("full", torch.tensor([0]), device=CPU)
    with pytest.raises(InvalidInputError, match="`0 < share <= 1` must hold"):
        ReducedTask(task, 0.0)
