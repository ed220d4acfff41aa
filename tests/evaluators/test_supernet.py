import gc
import weakref

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from searchhub.errors import DivergedError, InvalidInputError
from searchhub.evaluators.supernet import SupernetEvaluator
from searchhub.search import search
from searchhub.searchers.random import RandomSearcher
from searchhub.training.settings import TrainingSettings
from searchhub.trial import Budget, Trial

from ..training.tiny import TinyTask, tiny_supernet


def evaluator(supernet=None, task=None, num_trials=6, mixed_precision="no", **options):
    settings = TrainingSettings(
        batch_size=16,
        learning_rate=options.pop("learning_rate", 0.05),
        optimizer=options.pop("optimizer", "sgd"),
    )
    return SupernetEvaluator(
        supernet or tiny_supernet(dropout=0.1),
        task or TinyTask(),
        settings,
        Accelerator(cpu=True, mixed_precision=mixed_precision),
        num_trials=num_trials,
        **options,
    )


def trials(supernet, n, budget=None):
    import numpy as np

    rows = supernet.search_space.sample(n, np.random.default_rng(1))
    return [Trial(i, supernet.search_space.decode(row), budget or Budget()) for i, row in enumerate(rows)]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_trial_depends_on_saved_state_and_itself_alone(tmp_path, optimizer):
    """Going on from a checkpoint in a new evaluator gives the bits of never having stopped."""
    supernet = tiny_supernet(dropout=0.1)
    plan = trials(supernet, 4)
    whole = evaluator(supernet, optimizer=optimizer)
    first = list(whole(plan[:2]))
    whole.save(tmp_path)
    rest = list(whole(plan[2:]))
    again = evaluator(tiny_supernet(seed=9, dropout=0.1), optimizer=optimizer)
    torch.manual_seed(1234)  # what else happened in the process must not matter
    again.load(tmp_path)
    resumed = list(again(plan[2:]))
    assert [r.score for r in resumed] == [r.score for r in rest]
    assert [r.metrics["loss"] for r in resumed] == [r.metrics["loss"] for r in rest]
    for (name, a), (_, b) in zip(supernet.named_parameters(), again.supernet.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert len(first) == 2


@pytest.mark.parametrize("name", ["auxiliary_weight", "drop_path"])
def test_what_only_a_final_training_has_is_refused(name):
    with pytest.raises(InvalidInputError, match=f"`{name}` must be 0 in trials"):
        SupernetEvaluator(
            tiny_supernet(), TinyTask(), TrainingSettings(batch_size=16, **{name: 0.4}), Accelerator(), num_trials=1
        )


def test_weights_of_a_supernet_that_was_built_otherwise_are_refused(tmp_path):
    one = evaluator()
    one.save(tmp_path)
    weights = load_file(tmp_path / "supernet.safetensors")
    save_file({name: w for name, w in weights.items() if name != "classifier.bias"}, tmp_path / "supernet.safetensors")
    with pytest.raises(InvalidInputError, match=r"`classifier\.bias`.* Start a new run"):
        one.load(tmp_path)


def test_files_hold_no_pickle(tmp_path):
    one = evaluator()
    list(one(trials(one.supernet, 1)))
    one.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["optimizer.safetensors", "supernet.safetensors"]


def test_a_supernet_learns_over_trials():
    supernet, task = tiny_supernet(), TinyTask(sizes=(64, 64, 16))
    one = evaluator(supernet, task, num_trials=8, epochs_per_trial=8, learning_rate=0.2)
    scores = [r.score for r in one(trials(supernet, 8, Budget(epochs=8)))]
    assert sum(scores[-3:]) / 3 > 0.6, f"chance is 0.25: {scores}"


def test_models_are_let_go_after_each_trial():
    one = evaluator()
    seen = []
    original = one.supernet.subnet

    def subnet(architecture):
        model = original(architecture)
        seen.append(weakref.ref(model))
        return model

    one.supernet.subnet = subnet
    list(one(trials(one.supernet, 3)))
    gc.collect()
    assert len(seen) == 3
    assert [ref() for ref in seen] == [None] * 3
    assert one.accelerator._models == []


def test_budgets_are_kept():
    steps = []
    one = evaluator(on_step=lambda done, total: steps.append((done, total)), epochs_per_trial=2, max_steps_per_trial=3)
    list(one(trials(one.supernet, 1, Budget(epochs=2, max_steps=3))))
    assert steps == [(1, 3), (2, 3), (3, 3)], "an epoch has two steps; the bound cuts the second"


def test_a_share_of_the_data_is_refused():
    one = evaluator()
    with pytest.raises(InvalidInputError, match=r"takes all training data, but its budget is .*data_share=0\.5"):
        list(one(trials(one.supernet, 1, Budget(data_share=0.5))))


def test_nan_names_trial_and_path():
    task = TinyTask()
    one = evaluator(task=task)
    plan = trials(one.supernet, 1)
    task.poisoned = True
    with pytest.raises(DivergedError, match=r"step 0 of trial 0, path .*stage1\.layer1"):
        list(one(plan))


def test_mixed_precision_runs_and_leaves_shared_weights_in_float32(fresh_accelerate_state):
    one = evaluator(mixed_precision="bf16")
    results = list(one(trials(one.supernet, 2)))
    assert all(0 <= r.score <= 1 for r in results)
    assert all(p.dtype == torch.float32 for p in one.supernet.parameters())


def test_config_and_environment_name_what_bits_rest_on():
    one = evaluator()
    assert one.config["task"]["fingerprint"] == one.task.fingerprint()
    assert one.config["training"]["learning_rate"] == 0.05
    assert one.config["model"]["stage_widths"] == [8, 16]
    assert one.environment["threads"] == torch.get_num_threads()
    assert one.environment["processes"] == 1


def test_wrong_labels_and_batches_are_refused():
    class Binary(TinyTask):
        num_labels = 2

    with pytest.raises(InvalidInputError, match="2 labels"):
        evaluator(task=Binary())
    with pytest.raises(InvalidInputError, match="at least one batch"):
        evaluator(task=TinyTask(sizes=(8, 8, 8)))
    with pytest.raises(InvalidInputError, match="batch_norm_batches"):
        evaluator(batch_norm_batches=0)


def test_a_search_on_disk_resumes_with_the_supernet(tmp_path):
    """Interrupted between trials, then gone on with: the journal and the weights of an uninterrupted run."""

    def run(folder, stop_after=None):
        supernet = tiny_supernet(dropout=0.1)
        one = evaluator(supernet, num_trials=5)
        if stop_after is not None:
            original, count = one._evaluate, iter(range(100))

            def evaluate(trial):
                if next(count) == stop_after:
                    raise KeyboardInterrupt
                return original(trial)

            one._evaluate = evaluate
        result = search(RandomSearcher(supernet.search_space, num_trials=5), one, run_dir=folder)
        return result, supernet

    expected, weights = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop_after=2)
    resumed, again = run(tmp_path / "stopped")
    assert [r.score for r in resumed.history] == [r.score for r in expected.history]
    for (name, a), (_, b) in zip(weights.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name
