"""Networks that are cut step by step: each stage trains shared weights, from which the next smaller one is cut."""

import dataclasses
from itertools import pairwise

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from searchhub.callbacks.progress import ProgressDisplay
from searchhub.costs.macs import macs_table
from searchhub.costs.params import params_table
from searchhub.errors import InvalidInputError, RunFolderError
from searchhub.generation import Limit, largest_within
from searchhub.networks import saved_trainer, staging
from searchhub.networks import trainer as networks_module
from searchhub.networks.alike import trained_alike, training_of
from searchhub.networks.saved_trainer import load_trainer, save_trainer
from searchhub.networks.trainer import Network, NetworkTrainer
from searchhub.result import SearchResult
from searchhub.training.settings import TrainingSettings
from searchhub.workflows.checks import check_training
from searchhub.workflows.compression import CompressionArguments
from searchhub.workflows.search_arguments import SearchArguments
from searchhub.workflows.trainer import SearchTrainer

from ..models.tiny_bert import tiny_bert_supernet
from ..tiny import tiny_task

SHARES = (0.7, 0.4)
SETTINGS = TrainingSettings(optimizer="adamw", learning_rate=1e-2, batch_size=8)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(networks_module, "_picture", lambda *_: b"")


def make(folder, **changes):
    supernet = tiny_bert_supernet(num_hidden_layers=2, sizes="small", hidden_dropout_prob=0.1)
    costs = macs_table(supernet), params_table(supernet), params_table(supernet, embeddings=False)
    options = {"epochs": 1, "seed": 3, "inherit_weights": True, "stages": SHARES, **changes}
    result = SearchResult(supernet.search_space, ()).with_costs(*costs)
    return NetworkTrainer(supernet, result, tiny_task(), SETTINGS, Accelerator(cpu=True), folder=folder, **options)


def network(trainer, share=0.2, name="fifth"):
    limit = Limit("encoder_params", max=share * trainer.result.costs["encoder_params"].bounds()[1])
    return Network(name, largest_within(trainer.result, limit), (limit,))


def weights(report):
    return load_file(report.folder / "model.safetensors")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network that was trained without interruption, with what was said."""
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks_module, "_picture", lambda *_: b"")
        trainer = make(tmp_path_factory.mktemp("run"))
        report = trainer.train(network(trainer), on_stage=said.append)
    return trainer, report, said


def test_stages_contain_each_other_and_hand_on_weights(run):
    trainer, report, said = run
    stages, table = report.facts["stages"], trainer.result.costs["encoder_params"]
    chain = [*(architecture for _, architecture, _ in stages), report.network.architecture.to_dict()]
    assert [(share, epochs) for share, _, epochs in stages] == [(share, 1) for share in SHARES]
    for larger, smaller in pairwise(chain):
        assert all(larger[name] >= value for name, value in smaller.items())
    sizes = [table(a) / table.bounds()[1] for a in map(type(report.network.architecture), chain)]
    assert 0.4 < sizes[0] <= 0.7
    assert 0.2 < sizes[1] <= 0.4
    assert [line.split(":")[0] for line in said if ":" in line] == ["stage 0.7", "stage 0.4"]
    assert said[-1] == "own training"
    # The first stage starts from the supernet, which stays as it is; the second from the first.
    before = {name: p.clone() for name, p in make(trainer.folder).supernet.named_parameters()}
    assert all(torch.equal(p, before[name]) for name, p in trainer.supernet.named_parameters())
    supernet, _ = staging.train_stages(trainer, trainer._stages(report.network)[:1], None, said.append)
    first = supernet.extract(type(report.network.architecture)(chain[0]))
    assert not torch.equal(first.classifier.weight, trainer.supernet.classifier.weight)
    kept = [load_file(path) for path in trainer.folder.glob("stages/*/model.safetensors")]
    assert len(kept) == 2
    assert any(all(torch.equal(p, own.get(name)) for name, p in first.named_parameters()) for own in kept)


def test_a_run_that_is_killed_goes_on_to_the_same_bits(run, tmp_path, monkeypatch):
    _, expected, _ = run
    trainer, fitted, calls = make(tmp_path), staging.fit, []

    def killed(*given, **options):
        calls.append(options["seed"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fitted(*given, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(staging, "fit", killed)
        trainer.train(network(trainer))
    monkeypatch.setattr(staging, "fit", lambda *given, **o: calls.append(o["seed"]) or fitted(*given, **o))
    report = make(tmp_path).train(network(trainer))
    assert calls[1:] == [calls[1], calls[1]]  # the first stage is not trained again
    found, wanted = weights(report), weights(expected)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.items())


def test_with_and_without_stages_are_not_alike(run, tmp_path):
    trainer, report, _ = run
    assert training_of(report.facts)["stages"] == [[0.7, 1], [0.4, 1]]
    card = (report.folder / "README.md").read_text()
    assert "0.7 (1 epochs), 0.4 (1 epochs)" in card
    assert "| epochs run | 3 |" in card or "epochs run: 3" in card
    plain = dataclasses.replace(trainer, stages=(), folder=tmp_path)
    assert "stages" not in plain._identity(report.network)
    at_once = plain.train(report.network)
    assert not {"stages", "stage_seconds"} & at_once.facts.keys()
    assert not all(torch.equal(tensor, weights(report)[name]) for name, tensor in weights(at_once).items())
    other = dataclasses.replace(report, facts={**report.facts, "identity": {**report.facts["identity"]}})
    other.facts["identity"]["stages"] = [[share, {}, epochs] for share, _, epochs in report.facts["stages"]]
    groups = trained_alike([report, at_once, other])  # stages through other networks are alike
    assert [[len(own), words] for words, own in groups] == [[2, "stages [[0.7, 1], [0.4, 1]]"], [1, "stages None"]]


def test_networks_share_stages_and_leave_out_those_below_their_size(run, capsys):
    trainer, report, _ = run
    half = network(trainer, share=0.5, name="half")
    again = dataclasses.replace(report.network, name="baseline", published=False)
    retrained = dataclasses.replace(trainer, epochs=2)
    with ProgressDisplay(1) as progress:
        one, two = retrained.train_all([again, half], progress)
    said = capsys.readouterr().out
    assert said.count("trained before") == 3  # both stages of the first run, and its first one for the larger network
    assert one.facts["stages"] == report.facts["stages"]
    assert "`half`, no stage at 0.4: the network itself is as large" in said
    assert [share for share, _, _ in two.facts["stages"]] == [0.7]


def test_a_damaged_stage_is_said(run, tmp_path):
    trainer, report, _ = run
    for path in trainer.folder.glob("stages/*/stage.json"):
        kept = tmp_path / "stages" / path.parent.name
        kept.mkdir(parents=True)
        (kept / "stage.json").write_text(path.read_text())
    with pytest.raises(RunFolderError, match="is trained again"):
        make(tmp_path).train(report.network)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": (0.2, 0.5)}, "must be shares that fall strictly"),
        ({"stages": (0.5, 0.5)}, "must be shares that fall strictly"),
        ({"stages": (1.0, 0.5)}, "must be shares that fall strictly, between 0 and 1"),
        ({"stages": (0.5, 0.0)}, "must be shares that fall strictly, between 0 and 1"),
        ({"stages": (float("nan"),)}, "must be shares that fall strictly, between 0 and 1"),
        ({"stage_epochs": 0}, "`stage_epochs` must be at least 1"),
        ({"inherit_weights": False}, "`inherit_weights` must be True for `stages`"),
    ],
)
def test_stages_that_cannot_be(run, changes, message):
    with pytest.raises(InvalidInputError, match=message):
        dataclasses.replace(run[0], **changes)


def test_a_saved_trainer_has_stages(run, tmp_path, monkeypatch):
    task = tiny_task()
    task.source = {"kind": "tiny"}
    monkeypatch.setattr(saved_trainer, "load_recorded_task", lambda *_, **__: task)
    trainer = dataclasses.replace(run[0], task=task, folder=tmp_path, stage_epochs=2)
    save_trainer(trainer)
    loaded = load_trainer(tmp_path)
    assert (loaded.stages, loaded.stage_epochs) == ([0.7, 0.4], 2)
    assert loaded._identity(run[1].network) == trainer._identity(run[1].network)


def test_a_run_refuses_stages_before_its_search(tmp_path):
    supernet = tiny_bert_supernet(num_hidden_layers=2)
    arguments = {"output_dir": tmp_path / "run", "searcher": "random", "training": SETTINGS, "scored": 0}
    for changes, message in (
        ({"stages": (0.2, 0.5)}, "must be shares that fall strictly"),
        ({"stages": (0.5,), "compression": CompressionArguments(reconstruct=True)}, "left out with reconstruction"),
    ):
        settings = SearchArguments(**{**arguments, "inherit_weights": True, **changes})
        with pytest.raises(InvalidInputError, match=message):
            check_training(SearchTrainer(supernet, tiny_task(), settings, progress=False))
    assert not (tmp_path / "run").exists()
