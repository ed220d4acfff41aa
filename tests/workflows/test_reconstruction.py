"""Networks of a checkpoint whose output matrices are solved anew: scored without training, and trained."""

import dataclasses

import pytest
import torch

from searchhub import CompressionArguments, Limit, RandomSearcher, SearchArguments, SearchTrainer, TrainingSettings
from searchhub.errors import InvalidInputError
from searchhub.evaluators.supernet import SupernetEvaluator
from searchhub.models.bert.reconstruction_bert import RIDGE, BertReconstruction, gather_reconstruction
from searchhub.networks import trainer as networks_module
from searchhub.networks.alike import training_of
from searchhub.networks.original import importance_batches
from searchhub.networks.trainer import NetworkTrainer
from searchhub.run_folder import RECONSTRUCTION
from searchhub.trial import SCORED, Budget, Trial
from searchhub.workflows import compression as compression_module

from ..models.tiny_bert import tiny_bert_supernet
from ..tiny import tiny_task

SETTINGS = TrainingSettings(optimizer="adamw", learning_rate=1e-2, batch_size=8)
EXAMPLES, SEED = 12, 3


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(networks_module, "_picture", lambda *_: b"")


def make(folder, **changes):
    """A run that trains nothing before the final training, on a checkpoint that is fine-tuned for an epoch."""
    supernet = tiny_bert_supernet(num_hidden_layers=2)
    supernet.config.architectures = [type(supernet).__name__]  # as loading a checkpoint leaves it
    compression = {"epochs": 1, "training": SETTINGS, "order_examples": EXAMPLES, "reconstruct": True}
    searcher = RandomSearcher(supernet.search_space, num_trials=2, budget=Budget(epochs=0))
    arguments = {"searcher": searcher, "scored": 3, "training": SETTINGS, "epochs": 1, "seed": SEED, **changes}
    arguments["compression"] = CompressionArguments(**{**compression, **arguments.get("compression", {})})
    return SearchTrainer(supernet, tiny_task(), SearchArguments(output_dir=folder, **arguments), progress=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run to its end, with the weights that its network started from."""
    started = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks_module, "_picture", lambda *_: b"")
        made = NetworkTrainer.model

        def model(self, architecture):
            found = made(self, architecture)
            started.append({name: tensor.clone() for name, tensor in found.state_dict().items()})
            return found

        patch.setattr(NetworkTrainer, "model", model)
        trainer = make(tmp_path_factory.mktemp("run") / "run")
        (network,) = trainer.train(Limit("encoder_params", max=8_000))
    return trainer, network, started[0]


def gathered(trainer):
    batches = importance_batches(trainer.task, EXAMPLES, SETTINGS.batch_size, trainer.supernet.device, SEED)
    return gather_reconstruction(trainer.supernet, batches)


def test_a_network_starts_with_solved_matrices(run):
    trainer, network, started = run
    architecture = network.network.architecture
    expected = trainer.supernet.extract(architecture)  # nothing has trained the fine-tuned checkpoint further
    assert not same(expected, started)
    gathered(trainer).apply(expected, architecture)
    assert same(expected, started)


def same(model, weights):
    return all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_what_was_trained_says_so(run):
    _, network, _ = run
    settings = {"tokens": gathered(run[0]).settings["tokens"], "ridge": RIDGE}
    assert network.facts["identity"]["reconstruction"] == settings
    assert training_of(network.facts)["reconstruction"] == settings
    card = (network.folder / "README.md").read_text()
    assert "`start`: weights of the fine-tuned checkpoint, output matrices solved anew" in card


def test_a_search_that_trains_nothing_scores_with_them(run):
    trainer, _, _ = run
    history = trainer.search().history
    assert len(history) == 5
    solved, plain = (
        SupernetEvaluator(
            trainer.supernet, trainer.task, SETTINGS, trainer.accelerator, num_trials=0, seed=SEED, **more
        )
        for more in ({"reconstruction": gathered(trainer)}, {})
    )
    trials = [dataclasses.replace(result.trial, budget=SCORED) for result in history]
    assert [r.score for r in solved(trials)] == [r.score for r in history]
    assert [r.score for r in plain(trials)] != [r.score for r in history]
    settings = gathered(trainer).settings
    assert solved.config == {**plain.config, "reconstruction": settings}
    assert solved.scoring == {**plain.scoring, "reconstruction": settings}
    (trial,) = [Trial(0, history[0].trial.architecture, Budget(max_steps=1))]
    with pytest.raises(InvalidInputError, match="only where nothing trains the shared ones"):
        list(solved([trial]))


def test_again_they_are_read(run, monkeypatch):
    trainer, network, _ = run
    monkeypatch.setattr(compression_module, "gather_reconstruction", lambda *_, **__: pytest.fail("gathered again"))
    monkeypatch.setattr(networks_module, "fit", lambda *_, **__: pytest.fail("trained again"))
    (again,) = make(trainer.folder).train(Limit("encoder_params", max=8_000))
    assert again.metrics == network.metrics
    file = trainer.folder / RECONSTRUCTION
    other = BertReconstruction.load(file, trainer.supernet)
    other.data = "other examples"
    other.save(file)
    with pytest.raises(InvalidInputError, match=r"must be made of these texts \(12 examples of"):
        make(trainer.folder).search()


def test_without_them_it_is_another_training(run, monkeypatch):
    trainer, network, _ = run
    facts = network.facts["identity"]
    plain = make(trainer.folder, compression={"reconstruct": False}).network_trainer(trainer.search())
    identity = plain._identity(network.network)
    assert "reconstruction" not in identity
    assert {
        k: v for k, v in facts.items() if k not in ("reconstruction", "inherited", "processes")
    }.items() <= identity.items()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"compression": {"start": "supernet"}},
            "must be False where networks start from the weights after the search",
        ),
        ({"inherit_weights": False}, "must be False for networks that are trained from scratch"),
    ],
)
def test_where_it_makes_no_sense_it_is_refused(tmp_path, changes, message):
    with pytest.raises(InvalidInputError, match=message):
        make(tmp_path / "run", **changes).check()


def test_a_trainer_of_networks_from_scratch_refuses_it(run):
    trainer, _, _ = run
    with pytest.raises(InvalidInputError, match="`reconstruction` must be None"):
        trainer.network_trainer(trainer.search(), inherit_weights=False, reconstruction=gathered(trainer))
