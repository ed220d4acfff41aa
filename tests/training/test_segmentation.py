import copy
import json

import pytest
import torch
from accelerate import Accelerator

from searchhub.data.task import Measured
from searchhub.errors import InvalidInputError
from searchhub.evaluators.scratch import ScratchEvaluator
from searchhub.training.batch_norm import check_batch_norm
from searchhub.training.batches import evaluation_batches
from searchhub.training.distillation import distilled
from searchhub.training.fit import fit
from searchhub.training.loop import evaluate, reestimate_batch_norm
from searchhub.training.settings import TrainingSettings

from .test_loop import Rank
from .tiny import tiny_supernet
from .tiny_segmentation import TinySegmenter, tiny_segmenter, tiny_task

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def task():
    return tiny_task()


def test_a_network_learns_masks_and_repeats_to_the_bit(task):
    settings = TrainingSettings(
        batch_size=4, learning_rate=0.1, schedule="poly", label_smoothing=0.1, eval_batch_size=2
    )
    results = []
    for _ in range(2):
        model = tiny_segmenter()
        before = evaluate(model, task, "test", 2, Accelerator(cpu=True))
        results.append(fit(model, task, settings, Accelerator(cpu=True), epochs=8, seed=1))
    first, second = results
    assert {**first.to_dict(), "seconds": 0} == {**second.to_dict(), "seconds": 0}
    assert first.metrics["mean_iou"] > 0.6 > before.metrics["mean_iou"]
    assert first.metrics["pixel_accuracy"] > 0.9
    assert first.evaluation_loss < before.loss
    assert set(first.by_class["iou"]) == {"ground", "box", "stripe"}
    facts = json.loads(json.dumps(first.to_dict(), allow_nan=False))
    assert facts["by_class"] == first.by_class
    assert set(facts["metrics"]) == {"mean_iou", "pixel_accuracy"}, "no row of a card is of one class"


def test_scores_are_the_same_on_any_number_of_processes(task):
    model = tiny_segmenter().eval()
    measured = evaluate(model, task, "test", 6, Accelerator(cpu=True))
    assert isinstance(measured, Measured)
    for processes in (2, 4, 8):  # of six pictures: some have none
        tallies = []
        for rank in range(processes):
            with torch.no_grad():
                own = [
                    task.tally(model(batch["pixel_values"]).logits, batch["labels"])
                    for batch in evaluation_batches(task, "test", 2, Rank(rank, processes))
                ]
            tallies += [task.join(own)] if own else []
        shared = task.total(task.join(tallies))
        assert shared.metrics == measured.metrics
        assert shared.by_class == measured.by_class
        assert shared.loss == pytest.approx(measured.loss, rel=1e-6)


def test_batch_norm_is_measured_on_crops_of_the_training_batch_size_always_the_same():
    task, seen, statistics = tiny_task(train=20), [], []
    real = task.batch

    def batch(split, indices, **options):
        made = real(split, indices, **options)
        seen.append((indices.tolist(), tuple(made["pixel_values"].shape)))
        return made

    task.batch = batch
    settings, model = TrainingSettings(batch_size=4), tiny_segmenter()
    for _ in range(2):
        copied = copy.deepcopy(model)
        reestimate_batch_norm(copied, task, "train", settings, Accelerator(cpu=True), batches=2)
        statistics.append([buffer.clone() for buffer in copied.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*statistics, strict=True))
    assert seen[:2] == seen[2:] == [([0, 2, 5, 7], (4, 3, 24, 40)), ([10, 12, 15, 17], (4, 3, 24, 40))]


def test_a_pooled_branch_with_a_batch_of_one_is_refused_before_work_starts(task):
    model = tiny_segmenter()
    one = TrainingSettings(batch_size=2, gradient_accumulation_steps=2)
    with pytest.raises(InvalidInputError, match=r"BatchNorm must see more than one value .* inputs of 3 x 24 x 40"):
        fit(model, task, one, Accelerator(cpu=True), epochs=1, seed=0)
    check_batch_norm(lambda: TinySegmenter(model.config), task, TrainingSettings(batch_size=2), Rank(0, 1))


def test_what_needs_a_label_for_each_example_is_refused_before_work_starts(task):
    with pytest.raises(InvalidInputError, match=r"\(DC-NAS\) needs one label for each example, but `shapes` has one"):
        ScratchEvaluator(tiny_supernet(), task, TrainingSettings(batch_size=4), Accelerator(cpu=True))
    with pytest.raises(InvalidInputError, match="Learning from a teacher's outputs needs one label"):
        distilled(task, torch.nn.Identity(), Accelerator(cpu=True))
    taught = TrainingSettings(batch_size=4, distillation_weight=0.5)
    with pytest.raises(InvalidInputError, match="Learning from a teacher's outputs needs one label"):
        fit(tiny_segmenter(), task, taught, Accelerator(cpu=True), epochs=1, seed=0)
