"""Learning from a teacher's outputs."""

import pytest
import torch
from accelerate import Accelerator

from searchhub.data.distilled import TEACHER_LOGITS
from searchhub.errors import InvalidInputError
from searchhub.training.distillation import distilled
from searchhub.training.fit import fit
from searchhub.training.loop import distillation_loss, outputs
from searchhub.training.settings import TrainingSettings

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
