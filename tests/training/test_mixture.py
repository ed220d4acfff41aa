"""The training of a mixture: what it trains when, that a kill costs nothing, and that processes agree."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from searchhub.costs.macs import macs_table
from searchhub.errors import DivergedError, InvalidInputError, RunMismatchError
from searchhub.evaluators.candidate_features import CandidateFeatures
from searchhub.space import SearchSpace
from searchhub.training.accelerator import make_accelerator
from searchhub.training.gumbel import MixtureSettings
from searchhub.training.mixture import MixtureTrainer
from searchhub.training.settings import TrainingSettings

from ..models.tiny_fbnet import tiny_fbnet
from ..recipes.harness import finish_scripts, two_processes
from .tiny import TinyTask, tiny_supernet

SETTINGS = TrainingSettings(batch_size=16, learning_rate=0.05)


def trainer(task=None, supernet=None, *, cost=False, features=False, settings=SETTINGS, on_step=None, **changes):
    supernet, task, accelerator = supernet or tiny_fbnet(), task or TinyTask(), make_accelerator()
    mixture = MixtureSettings(**{"epochs": 3, "warmup_epochs": 1, "learning_rate": 0.1, **changes})
    return MixtureTrainer(
        supernet,
        task,
        settings,
        accelerator,
        mixture=mixture,
        cost=macs_table(supernet) if cost else None,
        recorder=CandidateFeatures(supernet, task, accelerator, num_images=8) if features else None,
        seed=1,
        on_step=on_step,
    )


def weights_of(supernet):
    return {name: tensor.clone() for name, tensor in supernet.state_dict().items()}


# -- what is trained when ---------------------------------------------------------------------------------------------


def test_an_epoch_trains_weights_then_logits():
    steps = []
    it = trainer(on_step=lambda done, total: steps.append((done, total)))
    start = weights_of(it.supernet)
    warm = it.epoch(0)
    assert steps == [(1, 2), (2, 2)]
    assert "logits_loss" not in warm
    assert not it.logits.any()
    after = weights_of(it.supernet)
    assert all(not torch.equal(start[n], after[n]) for n, p in it.supernet.named_parameters()), "all are trained"

    steps.clear()
    it._train_logits(1)
    assert (it.logits != 0).all()
    parameters = dict(it.supernet.named_parameters())
    assert all(torch.equal(after[n], p) for n, p in parameters.items()), "the logits' data do not train weights"
    assert all(p.requires_grad and p.grad is None for p in parameters.values())
    assert steps == [(3, 3)]


def test_a_step_of_the_logits_goes_down_the_slope_of_their_loss():
    """Adam's first step is the learning rate against the sign of the gradient, here of one step on all of the data."""
    it = trainer(cost=True, warmup_epochs=0)
    epoch = 0
    noise = it._noise("validation", epoch, 0)
    logits = torch.zeros(3, 9, requires_grad=True)
    [[batch]] = it._batches("validation", epoch)
    m = ((logits + noise) / 5.0).softmax(-1)
    cost = macs_table(it.supernet).fixed + sum((m[i] * torch.tensor(e)).sum() for i, e in enumerate(it.cost.entries))
    loss = it.supernet.mixture().train()(weights=m, **batch).loss * 0.2 * cost.log() ** 0.6
    (slope,) = torch.autograd.grad(loss, logits)
    reached = it._train_logits(epoch)
    assert reached == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(it.logits.detach(), -0.1 * slope.sign(), atol=1e-3, rtol=0)


def test_a_cost_in_the_loss_makes_the_mixture_cheaper():
    free, dear = (trainer(cost=True, epochs=4, cost_exponent=b).train().history[-1]["cost"] for b in (0.0, 8.0))
    assert dear < 0.9 * free


def test_a_line_an_epoch():
    result = trainer(cost=True).train()
    keys = {"trial", "temperature", "loss", "entropy", "cost", "seconds"}
    assert [set(line) - {"logits_loss"} for line in result.history] == [keys] * 3
    assert ["logits_loss" in line for line in result.history] == [False, True, True]
    assert result.history[0]["entropy"] == pytest.approx(np.log(9))
    assert result.history[0]["cost"] == pytest.approx(
        macs_table(tiny_fbnet()).fixed + sum(e.mean() for e in macs_table(tiny_fbnet()).entries)
    )


def test_label_smoothing_is_of_the_weights_alone():
    """With it the loop computes the loss anew; that of the logits must keep its cost."""
    smooth = TrainingSettings(batch_size=16, learning_rate=0.05, label_smoothing=0.5)
    plain, smoothed = (trainer(settings=s, cost=True, warmup_epochs=0) for s in (SETTINGS, smooth))
    # From the same weights: an epoch would first train them to others.
    assert smoothed._train_logits(0) == pytest.approx(plain._train_logits(0), rel=1e-5)
    assert smoothed._train_weights(0) != pytest.approx(plain._train_weights(0), rel=1e-4)


# -- stopped and started ----------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "settings", [SETTINGS, TrainingSettings(optimizer="adamw", batch_size=16)], ids=["sgd", "adamw"]
)
def test_killed_it_goes_on_to_the_same_bits(tmp_path, settings):
    whole = trainer(cost=True, features=True, settings=settings)
    expected = whole.train()

    def stop(line, done):
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        trainer(cost=True, features=True, settings=settings).train(tmp_path / "run", on_epoch=stop)
    # Killed before the last checkpoint was whole: its journal line is there, and is repeated.
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    (newest / "logits.safetensors").write_bytes(b"torn")
    said, seen = [], []
    again = trainer(cost=True, features=True, settings=settings)
    result = again.train(tmp_path / "run", on_epoch=lambda line, done: seen.append(done), say=said.append)
    assert any("damaged" in text for text in said)
    assert seen == [2, 3]
    assert np.array_equal(result.logits, expected.logits)
    assert np.array_equal(again.recorder.table(), whole.recorder.table())
    ends = (weights_of(it.supernet) for it in (again, whole))
    assert all(torch.equal(*pair) for pair in zip(*(end.values() for end in ends), strict=True))
    timeless = ([{**line, "seconds": 0} for line in r.history] for r in (result, expected))
    assert next(timeless) == next(timeless)
    assert not list(tmp_path.rglob("*.pt")) + list(tmp_path.rglob("*.bin")) + list(tmp_path.rglob("*.pkl"))

    finished = trainer(cost=True, features=True, settings=settings)
    assert np.array_equal(finished.train(tmp_path / "run").logits, expected.logits)
    assert np.array_equal(finished.recorder.table(), whole.recorder.table())


def test_other_settings_do_not_go_on_under_the_old_name(tmp_path):
    trainer(epochs=2).train(tmp_path / "run")
    for changes, name in [
        ({"temperature": 4.0}, "logits.temperature"),
        ({"cost": True}, "cost"),
        ({"features": True}, "recorder"),
        ({"task": TinyTask(seed=1)}, "task.fingerprint"),
    ]:
        with pytest.raises(RunMismatchError, match=name):
            trainer(**{"epochs": 2, **changes}).train(tmp_path / "run")


# -- what is wrong ----------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_is_an_error(tmp_path):
    task = TinyTask()
    task.poisoned = True
    with pytest.raises(DivergedError, match="step 0 of epoch 0 of the weights of the mixture"):
        trainer(task).train(tmp_path / "run")
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidInputError, match="must have a `mixture"):
        trainer(supernet=tiny_supernet())
    with pytest.raises(InvalidInputError, match="the task's 4 labels, but has 3"):
        trainer(supernet=tiny_fbnet(num_labels=3))
    with pytest.raises(InvalidInputError, match="`validation`"):
        trainer(TinyTask(sizes=(32, 8, 8)))
    with pytest.raises(InvalidInputError, match="must not be trained in fp16"):
        accelerator = SimpleNamespace(num_processes=1, mixed_precision="fp16")
        MixtureTrainer(tiny_fbnet(), TinyTask(), SETTINGS, accelerator)
    with pytest.raises(InvalidInputError, match="of another space"):
        table = macs_table(tiny_fbnet(candidates=["k3_e1", "skip"]))
        MixtureTrainer(tiny_fbnet(), TinyTask(), SETTINGS, make_accelerator(), cost=table)
    assert isinstance(tiny_fbnet().search_space, SearchSpace)


# -- several processes ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_equal_one_that_accumulates_the_halves(context, tmp_path):
    script = Path(__file__).with_name("two_processes_mixture.py")
    finish_scripts(context, tmp_path, script, tmp_path, 1, envs=two_processes())
    finish_scripts(context, tmp_path, script, tmp_path, 2, envs=[{}])
    one, other, alone = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("2-0", "2-1", "1-0"))
    assert (one.pop("rank"), other.pop("rank")) == (0, 1)
    assert one == other
    assert "processes: 2" in (tmp_path / "run2" / "config.yaml").read_text()
    np.testing.assert_allclose(one["logits"], alone["logits"], atol=1e-4)
    np.testing.assert_allclose(one["weights"], alone["weights"], rtol=1e-4)
