import gc
import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import update_bn

from searchhub.errors import DivergedError, InvalidInputError, RunMismatchError
from searchhub.evaluators.supernet import SupernetEvaluator
from searchhub.search import search
from searchhub.searchers.ddp import DDPSearcher
from searchhub.searchers.random import RandomSearcher
from searchhub.training.settings import TrainingSettings
from searchhub.trial import SCORED, SCORING, Budget, Trial

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
        **{"paths": "trial", "score": "metric", **options},
    )


def trials(supernet, n, budget=None):
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
    assert sorted(p.name for p in tmp_path.iterdir()) == ["optimizer.safetensors", "steps.json", "supernet.safetensors"]


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
            original, count = one._train_and_score, iter(range(100))

            def evaluate(trial):
                if next(count) == stop_after:
                    raise KeyboardInterrupt
                return original(trial)

            one._train_and_score = evaluate
        result = search(RandomSearcher(supernet.search_space, num_trials=5), one, run_dir=folder)
        return result, supernet

    expected, weights = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop_after=2)
    resumed, again = run(tmp_path / "stopped")
    assert [r.score for r in resumed.history] == [r.score for r in expected.history]
    for (name, a), (_, b) in zip(weights.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name


# -- paths that change every step --------------------------------------------------------------------------------------

EVERY_STEP = ["fresh", "turns", "together"]


def weights_of(one):
    return {name: p.detach().clone() for name, p in one.supernet.named_parameters()}


@pytest.mark.parametrize("paths", EVERY_STEP)
def test_a_proposal_depends_on_saved_state_and_itself_alone(tmp_path, paths):
    options = {"paths": paths, "score": "likelihood", "optimizer": "adamw"}
    whole = evaluator(**options)
    plan = trials(whole.supernet, 6)
    first = list(whole(plan[:3]))
    whole.save(tmp_path)
    rest = list(whole(plan[3:]))
    again = evaluator(tiny_supernet(seed=9, dropout=0.1), **options)
    torch.manual_seed(1234)
    again.load(tmp_path)
    resumed = list(again(plan[3:]))
    assert [r.metrics for r in resumed] == [r.metrics for r in rest]
    assert [r.weights_step for r in resumed] == [r.weights_step for r in rest]
    for name, weight in weights_of(whole).items():
        assert torch.equal(weight, weights_of(again)[name]), name
    assert len({r.weights_step for r in rest}) == 1, "a proposal is scored on the same weights"
    assert first[0].weights_step < rest[0].weights_step


@pytest.mark.parametrize(("paths", "steps"), [("fresh", 14), ("turns", 14), ("together", 2)])
def test_every_kind_takes_the_same_number_of_passes(paths, steps, monkeypatch):
    """Seven trials of an epoch of two steps are 14 passes; seven disjoint paths together take them in two steps."""
    passes = []
    one = evaluator(paths=paths, on_step=lambda done, total: passes.append((done, total)))
    taken = []
    step = one._weights.step

    def counted(paths, parts, rate):
        taken.append(paths)
        return step(paths, parts, rate)

    monkeypatch.setattr(one._weights, "step", counted)
    plan = trials(one.supernet, 7)
    results = list(one(plan))
    assert sum(map(len, taken)) == 14
    assert passes == [(i + 1, steps) for i in range(steps)]
    assert [r.weights_step for r in results] == [steps] * 7
    if paths == "turns":
        assert [path for (path,) in taken] == [trial.architecture for trial in plan] * 2
    else:
        drawn = [path for together in taken for path in together][:7]
        for choice in one.supernet.search_space.choices:
            assert len({path[choice.name] for path in drawn}) == len(choice.candidates), "the draw is disjoint"


def test_fresh_paths_are_drawn_from_what_the_searcher_samples():
    one = evaluator(paths="fresh")
    searcher = DDPSearcher(one.supernet.search_space, estimation_epochs=1)
    alive = [np.arange(len(c.candidates)) == 1 for c in one.supernet.search_space.choices]
    one.sample_from(replace(searcher.sampling, alive=tuple(alive)))
    before = weights_of(one)
    list(one(trials(one.supernet, 1)))
    for name, weight in weights_of(one).items():
        candidates = [list(layer) for layer in one.supernet.layers]
        parts = name.split(".")
        if parts[0] == "layers" and parts[2] != candidates[int(parts[1])][1]:
            assert torch.equal(weight, before[name]), name
        elif name.endswith("convolution.weight"):
            assert not torch.equal(weight, before[name]), name


@pytest.mark.parametrize("paths", ["trial", *EVERY_STEP])
def test_a_trial_without_budget_only_scores(paths):
    one = evaluator(paths=paths, score="likelihood")
    list(one(trials(one.supernet, 2)))
    before, state = weights_of(one), {k: t.clone() for k, t in one._state.state_dict().items()}
    plan = [replace(trial, number=trial.number + 2, budget=SCORED, round=SCORING) for trial in trials(one.supernet, 3)]
    results = list(one(plan))
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(one).items())
    assert all(torch.equal(tensor, state[key]) for key, tensor in one._state.state_dict().items())
    assert [r.weights_step for r in results] == [4] * 3 if paths != "together" else True
    assert all("loss" not in r.metrics for r in results), "nothing was trained"
    alone = list(one(plan[2:]))
    assert (alone[0].score, alone[0].metrics) == (results[2].score, results[2].metrics)


def test_a_score_is_that_of_the_subnet_standing_alone():
    """BatchNorm measured anew on the first batches, then validation: by hand, on a copy of the weights."""
    one = evaluator(paths="fresh", score="likelihood", batch_norm_batches=2)
    list(one(trials(one.supernet, 2)))
    (trial,) = [replace(t, number=9, budget=SCORED) for t in trials(one.supernet, 1)]
    (result,) = one([trial])
    model = one.supernet.extract(trial.architecture)
    model.dropout.p = 0.0
    update_bn((one.task.data["train"][0][i : i + 16] for i in (0, 16)), model)
    pictures, labels = one.task.data["validation"]
    with torch.no_grad():
        loss = model.eval()(pixel_values=pictures, labels=labels)
    assert result.metrics["validation_loss"] == pytest.approx(loss.loss.item(), rel=1e-5)
    assert result.score == pytest.approx(math.exp(-loss.loss.item()), rel=1e-5)
    assert result.metrics["accuracy"] == (loss.logits.argmax(-1) == labels).double().mean()


def test_a_network_whose_outputs_are_not_finite_scores_zero():
    one = evaluator(paths="fresh", score="likelihood")
    with torch.no_grad():
        one.supernet.classifier.bias.fill_(float("inf"))
    (result,) = one([replace(trials(one.supernet, 1)[0], budget=SCORED)])
    assert result.score == 0.0
    assert "validation_loss" not in result.metrics


def test_mixed_precision_of_paths_that_change_every_step(fresh_accelerate_state):
    one = evaluator(mixed_precision="bf16", paths="together")
    assert all(0 <= r.score <= 1 for r in one(trials(one.supernet, 2)))
    assert all(p.dtype == torch.float32 for p in one.supernet.parameters())
    assert one.accelerator._optimizers == []


def test_settings_at_the_values_of_earlier_versions_are_left_out_of_config():
    assert not {"paths", "score"} & set(evaluator().config)
    one = evaluator(paths="fresh", score="likelihood")
    assert (one.config["paths"], one.config["score"]) == ("fresh", "likelihood")
    with pytest.raises(InvalidInputError, match=r"`paths` must be one of \['fresh', 'turns', 'together', 'trial'\]"):
        evaluator(paths="every_step")


def test_a_run_begun_otherwise_says_how_it_goes_on(tmp_path):
    one = evaluator(num_trials=2)
    search(RandomSearcher(one.supernet.search_space, num_trials=2), one, run_dir=tmp_path)
    other = evaluator(num_trials=2, paths="fresh", score="likelihood")
    with pytest.raises(RunMismatchError, match=r'`evaluator.paths` was "trial", now "fresh"; `evaluator.score` was "m'):
        search(RandomSearcher(other.supernet.search_space, num_trials=2), other, run_dir=tmp_path)


def test_a_search_killed_after_the_first_score_of_a_round_repeats_the_round(tmp_path):
    def run(folder, stop_after=None):
        one = evaluator(num_trials=14, paths="fresh", score="likelihood")
        if stop_after is not None:
            original, count = one._scored, iter(range(100))

            def scored(*arguments):
                if next(count) == stop_after:
                    raise KeyboardInterrupt
                return original(*arguments)

            one._scored = scored
        space = one.supernet.search_space
        return search(DDPSearcher(space, estimation_epochs=1, prune=False, evaluations=14), one, run_dir=folder), one

    expected, whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop_after=8)
    assert len((tmp_path / "stopped" / "journal.jsonl").read_text().splitlines()) == 8
    assert sorted(p.name for p in (tmp_path / "stopped" / "checkpoints").iterdir()) == ["000006"]
    resumed, again = run(tmp_path / "stopped")
    assert [(r.score, r.metrics) for r in resumed.history] == [(r.score, r.metrics) for r in expected.history]
    assert resumed.distribution == expected.distribution
    for name, weight in weights_of(whole).items():
        assert torch.equal(weight, weights_of(again)[name]), name
