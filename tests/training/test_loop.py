import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from torch.nn import functional

from searchhub.data.reduced import ReducedTask
from searchhub.data.task import Measured
from searchhub.errors import DivergedError, InvalidInputError
from searchhub.metrics.segmentation import VOID
from searchhub.models.mobile.supernet_mobile import MobileSupernetConfig, MobileSupernetForImageClassification
from searchhub.training.batch_norm import check_batch_norm_of
from searchhub.training.batches import (
    check_batch_size,
    derive_seed,
    evaluation_batches,
    steps_per_epoch,
    training_batches,
)
from searchhub.training.fit import fit
from searchhub.training.loop import cross_entropy, evaluate, outputs, reestimate_batch_norm, train_pass
from searchhub.training.settings import TrainingSettings

from .tiny import TinyTask, tiny_supernet


class Rank:
    """What batches ask of an Accelerator."""

    device = torch.device("cpu")

    def __init__(self, process_index, num_processes):
        self.process_index, self.num_processes = process_index, num_processes


def network():
    supernet = tiny_supernet()
    return supernet.extract(supernet.search_space.decode([0] * 3))


def test_learning_rate_warms_up_and_falls_along_a_cosine():
    settings = TrainingSettings(learning_rate=1.0, warmup_steps=2)
    rates = [settings.learning_rate_at(step, 10) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.5)
    assert rates[9] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))
    settings = TrainingSettings(learning_rate=1.0, min_learning_rate=0.2)
    assert settings.learning_rate_at(10, 10) == pytest.approx(0.2)
    assert settings.learning_rate_at(5, 10) == pytest.approx(0.6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "lion"},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"min_learning_rate": 1.0},
        {"momentum": 1.0},
        {"label_smoothing": -0.1},
        {"max_grad_norm": 0.0},
        {"warmup_steps": -1},
    ],
)
def test_settings_out_of_bounds_are_refused(wrong):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        TrainingSettings(**wrong)


def test_processes_and_parts_share_out_the_same_batches():
    task, settings = TinyTask(), TrainingSettings(batch_size=8)
    alone = [parts[0] for parts in training_batches(task, "train", settings, Rank(0, 1), seed=3)]
    ranks = [list(training_batches(task, "train", settings, Rank(r, 2), seed=3)) for r in range(2)]
    halves = list(training_batches(task, "train", replace(settings, gradient_accumulation_steps=2), Rank(0, 1), seed=3))
    assert len(alone) == steps_per_epoch(task, "train", settings) == 4
    for step, batch in enumerate(alone):
        for name, whole in batch.items():
            assert torch.equal(torch.cat([ranks[r][step][0][name] for r in range(2)]), whole)
            assert torch.equal(torch.cat([part[name] for part in halves[step]]), whole)


def test_epochs_differ_and_repeat_by_seed():
    task, settings = TinyTask(), TrainingSettings(batch_size=8)
    labels = [
        torch.cat([p[0]["labels"] for p in training_batches(task, "train", settings, Rank(0, 1), seed=s)]).tolist()
        for s in (1, 1, 2)
    ]
    assert labels[0] == labels[1] != labels[2]
    assert len({derive_seed(0, "trial", i) for i in range(1000)}) == 1000
    assert derive_seed(0, "trial", 1) != derive_seed(1, "trial", 0)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_evaluation_covers_every_example_once_in_order(processes):
    task = TinyTask(sizes=(32, 17, 5))
    batches = [
        b["labels"] for r in range(processes) for b in evaluation_batches(task, "validation", 4, Rank(r, processes))
    ]
    assert torch.equal(torch.cat(batches), task.data["validation"][1])


def test_impossible_batches_are_refused_before_work():
    with pytest.raises(InvalidInputError, match="must divide"):
        check_batch_size(TinyTask(), "train", TrainingSettings(batch_size=9), Rank(0, 2))
    with pytest.raises(InvalidInputError, match="at least one batch"):
        check_batch_size(TinyTask(), "train", TrainingSettings(batch_size=64), Rank(0, 1))


@pytest.mark.parametrize(
    ("batch_size", "parts", "processes", "stride", "refused"),
    [(4, 4, 1, 2, True), (4, 1, 4, 2, True), (4, 2, 2, 2, True), (4, 2, 1, 2, False), (4, 4, 1, 1, False)],
)
def test_one_value_a_channel_is_refused_before_work(batch_size, parts, processes, stride, refused):
    """Maps of 8 x 8 are halved three times, or twice; a process takes one example at a time, or more."""
    sizes = {"stem_width": 8, "first_width": 8, "stage_widths": [8, 8], "stage_depths": [1, 1], "head_width": 8}
    config = MobileSupernetConfig(
        **sizes, stem_stride=stride, stage_strides=[2, 2], kernel_sizes=[3, 5], num_labels=2, image_size=8
    )
    supernet, task = MobileSupernetForImageClassification(config), TinyTask()
    settings = TrainingSettings(batch_size=batch_size, gradient_accumulation_steps=parts)
    if refused:
        with pytest.raises(InvalidInputError, match=rf"one example at a time \(`batch_size` 4 / \({processes} proc"):
            check_batch_norm_of(supernet, task, settings, Rank(0, processes))
        if processes == 1:
            model = supernet.extract(supernet.search_space.decode([0, 0]))
            with pytest.raises(InvalidInputError, match=r"inputs of 3 x 8 x 8 become maps of one pixel"):
                fit(model, task, settings, Accelerator(cpu=True), epochs=1, seed=0)
    else:
        check_batch_norm_of(supernet, task, settings, Rank(0, processes))


def test_accumulated_parts_average_their_gradients():
    """One part of 16 against two of 8, in eval-mode normalization so that parts see the same statistics."""
    task, gradients = TinyTask(), []
    for parts in (1, 2):
        accelerator, model = Accelerator(cpu=True), network()
        settings = TrainingSettings(batch_size=16, gradient_accumulation_steps=parts, momentum=0.0, weight_decay=0.0)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        optimizer = settings.build_optimizer(model.parameters())
        model.train = lambda mode=True, m=model: m  # keeps running statistics in use
        model.eval()
        for module in model.modules():
            module.training = False
        batches = list(training_batches(task, "train", settings, accelerator, seed=0))[:1]
        assert len(batches[0]) == parts
        train_pass(model, optimizer, batches, settings, accelerator, first_step=0, total_steps=9, what="test")
        gradients.append({n: p.detach() - before[n] for n, p in model.named_parameters()})
    for name, one in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], one, rtol=1e-4, atol=1e-7)
    assert any(g.abs().max() > 1e-4 for g in gradients[0].values())


def test_a_nan_loss_stops_with_step_and_path():
    task, model, accelerator = TinyTask(), network(), Accelerator(cpu=True)
    settings = TrainingSettings(batch_size=8)
    optimizer = settings.build_optimizer(model.parameters())

    def batches():
        for i, parts in enumerate(training_batches(task, "train", settings, accelerator, seed=0)):
            task.poisoned = i >= 1
            yield parts

    with pytest.raises(DivergedError, match=r"is nan at step 102 of trial 7, path x"):
        train_pass(
            model,
            optimizer,
            batches(),
            settings,
            accelerator,
            first_step=100,
            total_steps=200,
            what="trial 7, path x",
        )


def test_max_steps_and_on_step():
    task, model, accelerator, seen = TinyTask(), network(), Accelerator(cpu=True), []
    settings = TrainingSettings(batch_size=8)
    train_pass(
        model,
        settings.build_optimizer(model.parameters()),
        training_batches(task, "train", settings, accelerator, seed=0),
        settings,
        accelerator,
        first_step=0,
        total_steps=4,
        what="test",
        max_steps=3,
        on_step=seen.append,
    )
    assert seen == [1, 2, 3]


def test_gradients_are_clipped_and_labels_smoothed():
    task, accelerator = TinyTask(), Accelerator(cpu=True)
    moved = {}
    for norm in (None, 1e-3):
        model = network()
        settings = TrainingSettings(
            batch_size=32, learning_rate=1.0, momentum=0.0, weight_decay=0.0, max_grad_norm=norm, label_smoothing=0.1
        )
        before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
        train_pass(
            model,
            settings.build_optimizer(model.parameters()),
            training_batches(task, "train", settings, accelerator, seed=0),
            settings,
            accelerator,
            first_step=0,
            total_steps=1,
            what="test",
        )
        moved[norm] = (torch.cat([p.detach().flatten() for p in model.parameters()]) - before).norm().item()
    assert moved[1e-3] == pytest.approx(1e-3, rel=1e-3)
    assert moved[None] > 1e-2


def test_batch_norm_is_the_plain_average_over_the_batches():
    task, model, accelerator = TinyTask(), network(), Accelerator(cpu=True)
    settings = TrainingSettings(batch_size=8)
    with torch.no_grad():
        outputs = [model.mobile.features.stem.convolution(task.data["train"][0][i : i + 8]) for i in range(0, 24, 8)]
    for buffer in model.buffers():
        buffer.fill_(7)  # what was there before must not matter
    reestimate_batch_norm(model, task, "train", settings, accelerator, batches=3)
    normalization = model.mobile.features.stem.normalization
    torch.testing.assert_close(normalization.running_mean, torch.stack([o.mean((0, 2, 3)) for o in outputs]).mean(0))
    torch.testing.assert_close(
        normalization.running_var, torch.stack([o.var((0, 2, 3)) for o in outputs]).mean(0), rtol=1e-4, atol=1e-6
    )
    assert normalization.momentum == 0.1, "training goes on as before"


def test_outputs_are_in_order_and_whole():
    task, model = TinyTask(sizes=(32, 17, 5)), network().eval()
    logits, references = outputs(model, task, "validation", 4, Accelerator(cpu=True))
    with torch.no_grad():
        expected = model(task.data["validation"][0]).logits
    torch.testing.assert_close(logits, expected)
    assert torch.equal(references, task.data["validation"][1])


def test_a_task_is_scored_on_its_whole_split_at_once_unless_it_tallies_otherwise():
    task, model = TinyTask(sizes=(32, 17, 5)), network()
    logits, references = outputs(model, task, "validation", 4, Accelerator(cpu=True))
    measured = evaluate(model, task, "validation", 4, Accelerator(cpu=True))
    assert measured == Measured(task.score(logits.argmax(-1), references), task.loss(logits, references))
    assert evaluate(model, ReducedTask(task, 0.5), "validation", 4, Accelerator(cpu=True)) == measured


def test_cross_entropy_of_maps_is_the_mean_over_pixels_of_some_class():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 6, generator=generator, requires_grad=True)
    labels = torch.randint(0, 3, (2, 8, 12), generator=generator)
    labels[0, :4] = VOID
    resized = functional.interpolate(logits, (8, 12), mode="bilinear", align_corners=False)
    valid = labels != VOID
    for smoothing in (0.0, 0.1):
        rows = resized.movedim(1, -1)[valid]
        expected = functional.cross_entropy(rows, labels[valid], label_smoothing=smoothing)
        torch.testing.assert_close(cross_entropy(logits, labels, smoothing), expected)
    loss = cross_entropy(logits, torch.full_like(labels, VOID), 0.1)
    loss.backward()
    assert loss == 0, "a batch of void alone teaches nothing"
    assert not logits.grad.any()


def test_cross_entropy_of_examples_is_that_of_torch_to_the_bit():
    logits, labels = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)), torch.arange(7) % 3
    expected = functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert torch.equal(cross_entropy(logits, labels, 0.1), expected)


def test_the_schedule_of_segmentation_falls_by_a_power():
    settings = TrainingSettings(learning_rate=0.1, min_learning_rate=0.01, schedule="poly", warmup_steps=2)
    rates = [settings.learning_rate_at(step, 12) for step in (0, 2, 7, 12)]
    assert rates == pytest.approx([0.05, 0.1, 0.01 + 0.09 * 0.5**0.9, 0.01])
    assert settings.to_dict()["schedule"] == "poly"
    assert "schedule" not in TrainingSettings().to_dict(), "identities of runs without it stay what they were"
    with pytest.raises(InvalidInputError, match='`schedule` must be "cosine" or "poly", but is'):
        TrainingSettings(schedule="step")


def test_fit_learns_and_repeats_to_the_bit():
    task, results, weights = TinyTask(sizes=(64, 32, 64)), [], []
    for _ in range(2):
        model = network()
        settings = TrainingSettings(batch_size=16, learning_rate=0.2)
        results.append(fit(model, task, settings, Accelerator(cpu=True), epochs=15, seed=1))
        weights.append([p.detach() for p in model.state_dict().values()])
    assert results[0].metrics == results[1].metrics
    assert results[0].metrics["accuracy"] > 0.7, "chance is 0.25"
    assert (results[0].split, results[0].examples, results[0].steps) == ("test", 64, 90)
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_fit_leaves_a_plain_model_behind_mixed_precision(fresh_accelerate_state):
    task, model = TinyTask(), network()
    fit(model, task, TrainingSettings(batch_size=16), Accelerator(cpu=True, mixed_precision="bf16"), epochs=1, seed=0)
    assert "forward" not in vars(model), "the accelerator's autocast must not stay on the model"
    assert model(task.data["test"][0]).logits.dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in model.parameters())
