import copy
import dataclasses
import json

import pytest
import torch

from searchhub.errors import InvalidInputError, RunMismatchError
from searchhub.models.bert.supernet_bert import BertSupernetForSequenceClassification
from searchhub.networks.original import AfterTraining, OriginalTrainer, importance_batches
from searchhub.run_folder import ORIGINAL
from searchhub.training.accelerator import make_accelerator
from searchhub.training.fit import fit
from searchhub.training.settings import TrainingSettings

from ..models.tiny_bert import tiny_bert_supernet
from ..tiny import tiny_task

SETTINGS = TrainingSettings(optimizer="adamw", learning_rate=1e-2, batch_size=8)


@pytest.fixture(scope="module")
def task():
    return tiny_task()


@pytest.fixture
def trainer(task, tmp_path):
    def make(**changes):
        supernet = changes.pop("supernet", None) or tiny_bert_supernet()
        whole = supernet.full_architecture
        given = {"epochs": 2, "seed": 3, "folder": tmp_path / "run", "task": task, "settings": SETTINGS, **changes}
        return OriginalTrainer(supernet, whole, accelerator=make_accelerator(), **given)

    return make


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def swap_neurons(supernet):
    """Stands for an ordering that shows in weights and in what is saved of it."""
    with torch.no_grad():
        supernet.bert.encoder.layer[0].intermediate.dense.weight.mul_(2)
        supernet.neuron_order[0] = supernet.neuron_order[0].flip(0)


SWAPPED = AfterTraining(swap_neurons, {"order": "swapped"})


def test_it_trains_the_whole_checkpoint_on_the_train_split(trainer, task):
    made = trainer()
    alone = copy.deepcopy(made.supernet).subnet(made.full_architecture)
    steps = []
    facts = made.train(lambda done, total: steps.append((done, total)))
    fitted = fit(alone, task, SETTINGS, made.accelerator, epochs=2, seed=3, train_on="train")
    assert same(made.supernet.subnet(made.full_architecture), alone)
    assert facts["metrics"] == fitted.metrics
    assert (facts["split"], facts["examples"], facts["epochs"]) == ("test", 7, 2)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_validation_examples_are_not_learnt_from(trainer, tmp_path):
    one, other = trainer(), trainer(task=tiny_task(validation_label=1), folder=tmp_path / "other")
    one.train()
    other.train()
    assert same(one.supernet, other.supernet)


def test_again_its_weights_are_read(trainer):
    first = trainer(then=SWAPPED)
    facts = first.train()
    assert first.supernet.neuron_order[0, 0] == 31
    steps = []
    again = trainer(then=SWAPPED)
    assert again.train(lambda *step: steps.append(step)) == json.loads(json.dumps(facts))
    assert steps == []
    assert same(first.supernet, again.supernet)
    loaded = BertSupernetForSequenceClassification.from_pretrained(first.folder / ORIGINAL)
    assert same(first.supernet, loaded)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"epochs": 1}, "`training`"),
        ({"settings": dataclasses.replace(SETTINGS, learning_rate=1e-3)}, "`training`"),
        ({"seed": 4}, "`seed`"),
        ({"then": SWAPPED}, "`then`"),
        ({"task": tiny_task(validation_label=1)}, "`task`"),
        ({"supernet": tiny_bert_supernet(seed=1)}, "`weights`"),
        ({"supernet": tiny_bert_supernet(sequence_length=8)}, "`model`"),
    ],
)
def test_one_of_other_settings_is_kept(changes, named, trainer):
    first = trainer()
    first.train()
    before = (first.folder / ORIGINAL / "model.safetensors").read_bytes()
    with pytest.raises(RunMismatchError, match=rf"these changed: {named}\. Give those of then"):
        trainer(**changes).train()
    assert (first.folder / ORIGINAL / "model.safetensors").read_bytes() == before


def test_without_epochs_the_checkpoint_is_only_measured(trainer):
    made = trainer(epochs=0)
    before = copy.deepcopy(made.supernet)
    facts = made.train()
    assert same(made.supernet, before)
    assert (facts["loss"], facts["steps"]) == (None, 0)
    assert 0 <= facts["metrics"]["accuracy"] <= 1
    assert trainer(epochs=0).train() == facts


def test_what_is_taken_as_it_is_must_be_better_than_chance(trainer, tmp_path, caplog):
    task = tiny_task(validation_label=None)
    learnt = trainer(task=task, epochs=30)
    learnt.train()
    assert "no better than chance" not in caplog.text
    again = trainer(task=task, epochs=0, supernet=learnt.supernet, folder=tmp_path / "again", note="Seen before.")
    assert again.train()["note"] == "Seen before."
    with torch.no_grad():
        learnt.supernet.classifier.weight.neg_()  # its labels in another order
        learnt.supernet.classifier.bias.neg_()
    turned = trainer(task=task, epochs=0, supernet=learnt.supernet, folder=tmp_path / "turned")
    message = r"of 6 validation examples it gets \d right, and the most frequent class, `no`, alone 3. If its labels"
    with pytest.raises(InvalidInputError, match=message):
        turned.train()
    assert not turned.folder.exists()
    trainer(
        task=task,
        epochs=1,
        supernet=learnt.supernet,
        settings=dataclasses.replace(SETTINGS, learning_rate=1e-9),
        folder=tmp_path / "slow",
    ).train()
    assert "no better than chance after its fine-tuning: of 6 validation examples" in caplog.text


@pytest.mark.parametrize("left", ["", "{", "[]", "null"])
def test_a_file_that_cannot_be_read_is_trained_anew(left, trainer):
    first = trainer()
    first.train()
    (first.folder / ORIGINAL / "original.json").write_text(left)
    steps, again = [], trainer()
    again.train(lambda *step: steps.append(step))
    assert len(steps) == 4
    assert same(first.supernet, again.supernet)


class Asked:
    """A task that notes which training examples it is asked for."""

    def __init__(self, size):
        self._size, self.asked = size, []

    def size(self, split):
        assert split == "train"
        return self._size

    def batch(self, split, indices, *, device):
        assert split == "train"
        self.asked.append(indices.tolist())
        return {"labels": indices.to(device)}


def drawn(examples, seed, size=1000):
    task = Asked(size)
    importance_batches(task, examples, 8, torch.device("cpu"), seed)
    return task.asked


def test_importance_is_measured_on_random_examples():
    batches = drawn(100, seed=0)
    assert [len(part) for part in batches] == [8] * 12 + [4]
    found = [i for part in batches for i in part]
    assert len(set(found)) == 100
    # Of data sorted by label it sees all: 100 from 1000, in each half 50 but for bad luck.
    assert 30 < sum(i < 500 for i in found) < 70
    assert drawn(100, seed=0) == batches != drawn(100, seed=1)
    assert sorted(i for part in drawn(10_000, seed=0, size=20) for i in part) == list(range(20))


def test_the_whole_checkpoint_is_trained_where_the_space_offers_less_of_it(trainer, task):
    sizes = {"depths": [2, 3], "intermediate_sizes": [8, 16], "num_heads": [2]}
    made = trainer(supernet=tiny_bert_supernet(**sizes))
    before = copy.deepcopy(made.supernet)
    facts = made.train()
    for name, parameter in made.supernet.named_parameters():
        moved = parameter != before.get_parameter(name)
        if name not in NOT_MOVED and "embeddings" not in name:
            assert moved.float().mean() > 0.99, name
    # It is the same training as that of a space which offers all of it.
    other = trainer(folder=made.folder.with_name("other"))
    assert (
        other.train()["costs"]
        == facts["costs"]
        == {"macs": FULL_MACS, "params": sum(p.numel() for p in before.parameters())}
    )
    assert same(made.supernet, other.supernet)
    assert made.supernet.whole_layers == []
    assert [a["depth"] for a in other.supernet.whole_layers] == [4, 3, 2]


NOT_MOVED = {f"bert.encoder.layer.{i}.attention.self.key.bias" for i in range(4)}
"""Softmax takes no notice of what is added to all keys."""

FULL_MACS = 4 * (12 * (4 * 24 * 24 + 2 * 24 * 32) + 2 * 12 * 12 * 24) + 24 * 24 + 24 * 2
"""At 12 tokens: matrices of four layers, attention, pooler and classifier."""
