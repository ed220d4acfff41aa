"""Learning from a teacher's outputs."""

import pytest
import torch
from accelerate import Accelerator
from transformers import BertConfig, BertForSequenceClassification

from searchhub.data.distilled import TEACHER_HIDDEN, TEACHER_LOGITS, DistilledTask, JudgedTask
from searchhub.errors import InvalidInputError, RunMismatchError
from searchhub.training.distillation import HIDDEN, distilled, kept_outputs, read_outputs
from searchhub.training.fit import fit
from searchhub.training.loop import distillation_loss, hidden_distance, outputs
from searchhub.training.settings import TrainingSettings

from ..tiny import tiny_task
from .tiny import TinyTask, tiny_supernet


class PlainTask(TinyTask):
    augmented = False

    def batch(self, split, indices, *, device, seed=None):
        return super().batch(split, indices, device=device)


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


def network(seed=0):
    supernet = tiny_supernet(seed)
    return supernet.extract(supernet.search_space.decode([0] * len(supernet.search_space.choices)))


def test_training_batches_tell_what_the_teacher_says(accelerator):
    teacher, task = network(), PlainTask()
    with_teacher = distilled(task, teacher.train(), accelerator, batch_size=5)
    indices = torch.tensor([3, 30, 0])
    device = torch.device("cpu")
    batch = with_teacher.batch("train", indices, device=device, seed=1)
    expected = teacher.eval()(task.batch("train", indices, device=device)["pixel_values"]).logits
    torch.testing.assert_close(batch[TEACHER_LOGITS], expected.detach())
    late = with_teacher.batch("full", torch.tensor([33]), device=device, seed=1)[TEACHER_LOGITS]
    torch.testing.assert_close(
        late, with_teacher.batch("validation", torch.tensor([1]), device=device, seed=1)[TEACHER_LOGITS]
    )
    assert TEACHER_LOGITS not in with_teacher.batch("train", indices, device=device)
    assert TEACHER_LOGITS not in with_teacher.batch("test", torch.tensor([0]), device=device, seed=1)
    assert with_teacher.fingerprint() != task.fingerprint()
    assert with_teacher.fingerprint() != distilled(task, network(1), accelerator).fingerprint()


def test_a_student_that_learns_from_its_teacher_alone_agrees_with_it(accelerator):
    """Labels have no weight, and are wrong: the student must find the teacher's classes all the same."""
    task = PlainTask((64, 16, 64))
    teacher = network()
    fit(teacher, task, TrainingSettings(batch_size=16), accelerator, epochs=30, seed=0)
    with_teacher = distilled(task, teacher, accelerator)
    task.data["full"][1].copy_((task.data["full"][1] + 1) % 4)
    student = network(seed=5)
    settings = TrainingSettings(batch_size=16, distillation_weight=1.0)
    fit(student, with_teacher, settings, accelerator, epochs=30, seed=1)
    said = [outputs(model, task, "test", 32, accelerator)[0].argmax(-1) for model in (teacher, student)]
    assert (said[0] == said[1]).double().mean() > 0.8


def test_loss_is_zero_at_the_teacher_and_positive_elsewhere():
    teacher = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    assert distillation_loss(teacher + 2.0, teacher, 2.0) == pytest.approx(0.0, abs=1e-6)
    assert distillation_loss(-teacher, teacher, 2.0) > 0.1
    by_hand = 4 * (teacher / 2).softmax(-1) * ((teacher / 2).log_softmax(-1) - (-teacher / 2).log_softmax(-1))
    assert distillation_loss(-teacher, teacher, 2.0) == pytest.approx(by_hand.sum(-1).mean().item(), rel=1e-5)
    scores = torch.tensor([[1.0], [3.0]])
    assert distillation_loss(scores + 2.0, scores, 2.0) == pytest.approx(4.0)


def test_refuses(accelerator):
    with pytest.raises(InvalidInputError, match="must not be augmented"):
        distilled(TinyTask(), network(), accelerator)
    settings = TrainingSettings(batch_size=16, distillation_weight=0.5)
    with pytest.raises(InvalidInputError, match="needs a teacher's logits"):
        fit(network(), PlainTask(), settings, accelerator, epochs=1, seed=0)
    with pytest.raises(InvalidInputError, match=r"`distillation_weight` must be in \[0, 1\]"):
        TrainingSettings(distillation_weight=1.5)


# -- kept on the disk, with hidden states -----------------------------------------------------------------------------


def bert(seed=0):
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    return BertForSequenceClassification(config).eval()


def test_outputs_are_kept_and_read(accelerator, tmp_path):
    task, teacher, said = tiny_task(), bert(), []
    options = {"hidden": True, "batch_size": 4, "say": said.append}
    logits, hidden = kept_outputs(task, teacher, accelerator, tmp_path, {"teacher": "a"}, **options)
    rows = torch.tensor([3, 25, 0])
    batch = task.batch("full", rows, device=torch.device("cpu"))
    with torch.no_grad():
        expected = teacher(**batch, output_hidden_states=True)
    torch.testing.assert_close(logits[rows], expected.logits, atol=1e-5, rtol=1e-4)
    real = batch["attention_mask"][..., None]
    states = hidden.padded(rows, batch["input_ids"].shape[1])
    torch.testing.assert_close(states, expected.hidden_states[-1] * real, atol=2e-3, rtol=2e-3)  # half precision
    tokens = int(task.lengths("full").sum())
    assert said == [f"Hidden states of {tokens:,} tokens take 0 MB in `{tmp_path}`."]
    assert (tmp_path / HIDDEN).stat().st_size == pytest.approx(2 * 8 * tokens, abs=256)
    written = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    again, _ = kept_outputs(task, teacher, accelerator, tmp_path, {"teacher": "a"}, **options)
    assert torch.equal(again, logits)
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == written
    with pytest.raises(RunMismatchError, match="outputs of this teacher on these data, but they differ in `teacher`"):
        kept_outputs(task, teacher, accelerator, tmp_path, {"teacher": "b"})
    with pytest.raises(RunMismatchError, match="but they differ in `task`"):
        kept_outputs(tiny_task(validation_label=1), teacher, accelerator, tmp_path, {"teacher": "a"})
    with pytest.raises(InvalidInputError, match="must hold a teacher's outputs on `tiny`, but holds none of these"):
        read_outputs(task, tmp_path / "elsewhere")


def test_a_student_comes_nearer_to_the_hidden_states_of_its_teacher(accelerator, tmp_path):
    task, teacher = tiny_task(), bert()
    _, hidden = kept_outputs(task, teacher, accelerator, tmp_path, {}, hidden=True)
    logits = torch.zeros(task.size("full"), 2)  # of these alone nothing could be learnt about hidden states
    taught = DistilledTask(task, logits, hidden)
    student = bert(seed=5)

    def distance():
        batch = taught.batch("train", torch.arange(8), device=torch.device("cpu"), seed=0)
        with torch.no_grad():
            states = student.bert(batch["input_ids"], batch["attention_mask"]).last_hidden_state
        return float(hidden_distance(states, batch[TEACHER_HIDDEN], batch["attention_mask"]))

    before = distance()
    settings = TrainingSettings(
        optimizer="adam", learning_rate=3e-3, batch_size=10, distillation_weight=1.0, hidden_weight=1.0
    )
    fit(student, taught, settings, accelerator, epochs=15, seed=0)
    assert distance() < 0.6 * before
    with pytest.raises(InvalidInputError, match="A `hidden_weight` needs a teacher's hidden states in the batches"):
        fit(bert(), DistilledTask(task, logits), settings, accelerator, epochs=1, seed=0)
    with pytest.raises(InvalidInputError, match="`distillation_weight` must be 1 where examples have no labels"):
        labels = TrainingSettings(optimizer="adam", batch_size=10, distillation_weight=0.5)
        fit(bert(), JudgedTask(task, logits), labels, accelerator, epochs=1, seed=0, evaluate_on="validation")


def test_padding_is_no_distance():
    hidden, teacher = torch.ones(1, 3, 2), torch.full((1, 3, 2), 2.0)
    mask = torch.tensor([[1, 1, 0]])
    assert float(hidden_distance(hidden, teacher, mask)) == pytest.approx(0.25)
    hidden[0, 2] = 100.0
    assert float(hidden_distance(hidden, teacher, mask)) == pytest.approx(0.25)
