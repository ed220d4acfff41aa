import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from searchhub.errors import InvalidInputError
from searchhub.evaluators import features as features_module
from searchhub.evaluators.scratch import DIVERGED, ScratchEvaluator, feature_layers
from searchhub.models.nasbench201.supernet_nasbench201 import (
    NasBench201SupernetConfig,
    NasBench201SupernetForImageClassification,
)
from searchhub.search import search
from searchhub.searchers.dc import DCSearcher
from searchhub.training.settings import TrainingSettings
from searchhub.trial import Budget, Trial, TrialResult

from ..models.tiny_bert import tiny_bert_supernet
from ..recipes.harness import finish_scripts, two_processes
from ..tiny import tiny_task
from ..training.tiny import TinyTask, tiny_supernet

SCRIPT = Path(__file__).with_name("two_processes_scratch.py")
REDUCED = Budget(epochs=2, data_share=0.5)


def evaluator(task=None, supernet=None, settings=None, mixed_precision="no", **options):
    return ScratchEvaluator(
        supernet or tiny_supernet(dropout=0.1),
        task or TinyTask(sizes=(64, 16, 16)),
        TrainingSettings(batch_size=16, learning_rate=0.1, **(settings or {})),
        Accelerator(cpu=True, mixed_precision=mixed_precision),
        **{"feature_examples": 16, **options},
    )


def trial(number, supernet, code=0, budget=REDUCED):
    space = supernet.search_space
    return Trial(number, space.decode([code] * len(space.choices)), budget)


def plain(result):
    return {k: v for k, v in result.to_dict().items() if k != "seconds"}


def test_a_trial_depends_on_itself_alone():
    one, other = evaluator(), evaluator(supernet=tiny_supernet(seed=3, dropout=0.1))
    (first,) = one([trial(0, one.supernet)])
    torch.manual_seed(99)  # what else happened, and the supernet's weights, must not matter
    second, again = other([trial(1, one.supernet, 1), trial(0, one.supernet)])
    assert plain(again) == plain(first)
    assert second.features != first.features


def test_features_are_of_every_layer_and_epoch():
    one = evaluator()
    (result,) = one([trial(0, one.supernet)])
    assert [len(row) for row in result.features] == [2, 2, 2]
    assert [row[0] for row in result.features] == [1.0, 1.0, 1.0]
    assert all(-1 <= row[1] < 1 for row in result.features)
    assert TrialResult.from_dict(json.loads(json.dumps(result.to_dict()))) == TrialResult(
        result.trial, result.score, result.metrics, round(result.seconds, 4), result.features
    )


def test_layers_are_the_modules_of_the_choices_in_order():
    supernet = tiny_supernet()
    architecture = trial(0, supernet).architecture
    assert feature_layers(supernet, architecture) == [f"mobile.features.layers.{i}" for i in range(3)]


def test_a_share_of_the_data_is_trained_on():
    steps = []
    one = evaluator(on_step=lambda done, total: steps.append((done, total)))
    list(one([trial(0, one.supernet)]))
    assert steps == [(i, 4) for i in (1, 2, 3, 4)], "two epochs of 32 of the 64 pictures, 16 a step"


def test_weights_are_inherited_where_asked():
    supernet = tiny_supernet()
    before = {name: p.detach().clone() for name, p in supernet.named_parameters()}
    one = evaluator(supernet=supernet, inherit_weights=True)
    one.settings = TrainingSettings(batch_size=16, learning_rate=1e-30, weight_decay=0.0)
    seen = []
    one.measure = lambda model: _keep(seen, model)
    list(one([trial(0, supernet)]))
    for name, parameter in supernet.subnet(trial(0, supernet).architecture).named_parameters():
        assert torch.allclose(parameter, seen[0][name], rtol=0, atol=1e-25), name
    assert all(torch.equal(p, before[name]) for name, p in supernet.named_parameters())
    assert (
        one.config["inherited"] != evaluator(supernet=tiny_supernet(seed=1), inherit_weights=True).config["inherited"]
    )


def _keep(seen, model):
    seen.append({name: p.detach().clone() for name, p in model.named_parameters()})
    return {"kept": 1.0}


def test_what_is_measured_joins_the_metrics():
    one = evaluator(measure=lambda model: {"weights": float(sum(p.numel() for p in model.parameters()))})
    (result,) = one([trial(0, one.supernet)])
    assert result.metrics["weights"] > 100


def test_one_network_that_diverges_does_not_end_the_search():
    task = TinyTask(sizes=(64, 16, 16))
    one = evaluator(task=task)
    one.check(REDUCED)
    task.poisoned = True
    (result,) = one([trial(0, one.supernet)])
    assert (result.score, result.features, dict(result.metrics)) == (0.0, None, {DIVERGED: 1.0, "diverged_epoch": 1.0})


def test_features_that_are_not_finite_name_layer_and_epoch(monkeypatch):
    one = evaluator()
    one.check(REDUCED)
    original, calls = features_module.layer_outputs, []

    def outputs(model, layers, batches):
        calls.append(1)
        found = original(model, layers, batches)
        return [found[0], found[1] / 0, found[2] / 0] if len(calls) == 2 else found

    monkeypatch.setattr(features_module, "layer_outputs", outputs)
    (result,) = one([trial(0, one.supernet)])
    assert (result.score, result.features) == (0.0, None)
    assert dict(result.metrics) == {DIVERGED: 1.0, "diverged_epoch": 2.0, "diverged_layer": 1.0}


def test_nothing_is_trained_where_something_does_not_fit():
    one = evaluator(on_step=lambda done, total: pytest.fail("trained"))
    good = trial(0, one.supernet)
    with pytest.raises(InvalidInputError, match="whole epochs"):
        list(one([good, trial(1, one.supernet, budget=Budget(max_steps=3))]))
    with pytest.raises(InvalidInputError, match="at least one batch of 16"):
        list(one([good, trial(1, one.supernet, budget=Budget(data_share=0.125))]))
    with pytest.raises(InvalidInputError, match="must leave every class"):
        list(one([good, trial(1, one.supernet, budget=Budget(data_share=0.001))]))


def test_wrong_labels_and_precision_are_refused(monkeypatch):
    class Binary(TinyTask):
        num_labels = 2

    with pytest.raises(InvalidInputError, match="2 labels"):
        evaluator(task=Binary())
    with pytest.raises(InvalidInputError, match="feature_examples >= 1"):
        evaluator(feature_examples=0)
    # Accelerate itself refuses fp16 on a CPU.
    monkeypatch.setattr(Accelerator, "mixed_precision", property(lambda self: "fp16"))
    with pytest.raises(InvalidInputError, match=r'must not be trained in fp16.*"bf16" or "no"'):
        evaluator()


def cells():
    sizes = {"num_labels": 4, "image_size": 8, "width": 4, "num_stages": 1, "cells_per_stage": 1}
    supernet = NasBench201SupernetForImageClassification(NasBench201SupernetConfig(**sizes))
    names = supernet.search_space.choices[0].candidates
    given = [["nor_conv_3x3"] * k + ["none"] + ["nor_conv_3x3"] * (5 - k) for k in (1, 2)]
    rows = [supernet.search_space.decode([names.index(name) for name in row]) for row in given]
    return supernet, [Trial(i, architecture, REDUCED) for i, architecture in enumerate(rows)]


def test_rows_stay_with_their_choices_where_a_candidate_has_no_module():
    supernet, trials = cells()
    found = [result.features for result in evaluator(supernet=supernet)(trials)]
    for given, rows in zip(trials, found, strict=True):
        absent = [k for k, candidate in enumerate(given.architecture.values()) if candidate == "none"]
        assert len(rows) == 6
        assert [k for k, row in enumerate(rows) if row == (1.0, 1.0)] == absent


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"supernet": cells()[0], "features": "parameters"}, "layer 0 is left out"),
        ({"supernet": tiny_supernet(), "features": "parameters"}, "`mobile.features.layers.[0-9]` has none"),
    ],
)
def test_layers_without_features_are_named_before_anything_is_trained(options, message):
    one = evaluator(on_step=lambda done, total: pytest.fail("trained"), **options)
    with pytest.raises(InvalidInputError, match=message):
        list(one([trial(0, one.supernet, 1)]))


def test_text_cannot_be_divided_by_outputs():
    settings = TrainingSettings(batch_size=4)
    one = ScratchEvaluator(tiny_bert_supernet(), tiny_task(), settings, Accelerator(cpu=True))
    with pytest.raises(InvalidInputError, match=r"`bert\.encoder\.layer\.0\..*` is a tuple"):
        one.check(Budget(2))


def run(folder, stop_after=None):
    one = evaluator()
    if stop_after is not None:
        original = one._evaluate

        def evaluate(given):
            if given.number == stop_after:
                raise KeyboardInterrupt
            return original(given)

        one._evaluate = evaluate
    searcher = DCSearcher(
        one.supernet.search_space,
        num_samples=5,
        num_clusters=2,
        proxy_epochs=2,
        proxy_share=0.5,
        budget=Budget(epochs=2),
    )
    return search(searcher, one, run_dir=folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What comes out of a search that nothing interrupts."""
    return run(tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("stop_after", [2, 5, 6])
def test_a_killed_search_loses_only_the_network_in_training(whole, tmp_path, stop_after):
    """Interrupted while early stopping, before the first winner, and between the winners."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", stop_after)
    assert (tmp_path / "killed" / "journal.jsonl").read_bytes().count(b"\n") == stop_after
    resumed = run(tmp_path / "killed")
    assert [plain(r) for r in resumed.history] == [plain(r) for r in whole.history]
    assert resumed.division == whole.division
    lines = [json.loads(line) for line in (tmp_path / "killed" / "journal.jsonl").read_text().splitlines()]
    assert [line["budget"]["epochs"] for line in lines] == [2] * 7
    assert [line["budget"].get("data_share") for line in lines] == [0.5] * 5 + [None] * 2
    assert [TrialResult.from_dict(line) for line in lines] == [
        TrialResult.from_dict(r.to_dict()) for r in resumed.history
    ]


def test_results_are_the_same_whatever_the_number_of_processes(context, whole, tmp_path):
    finish_scripts(context, tmp_path, SCRIPT, tmp_path, envs=two_processes())
    for rank in range(2):
        facts = json.loads((tmp_path / f"facts-{rank}.json").read_text())
        assert facts["processes"] == 2
        assert facts["history"] == [plain(r) for r in whole.history]
        assert facts["division"] == whole.division
        assert facts["trained"] == [r for r in range(7) if (r if r < 5 else r - 5) % 2 == rank]
        assert facts["error"] == ("Process 1 stopped at trial 1 with ValueError: of trial 1", "of trial 1")[rank]
