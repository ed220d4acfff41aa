"""From a search among channel ratios to a published network, on a few digits."""

import pytest
import torch
from transformers import AutoModelForImageClassification

from searchhub.costs.macs import macs_table
from searchhub.costs.params import params_table
from searchhub.data.sources import load_task
from searchhub.evaluators.supernet import SupernetEvaluator
from searchhub.generation import Limit, generate
from searchhub.hub.card import ComputeUsed
from searchhub.models.channel_cnn.supernet_channel_cnn import ChannelCnnSupernet, ChannelCnnSupernetConfig
from searchhub.networks.card_facts import Provenance
from searchhub.networks.choose import choose_networks
from searchhub.networks.saved_trainer import load_trainer, save_trainer
from searchhub.networks.trainer import NetworkTrainer
from searchhub.reports.html import write_report
from searchhub.search import search
from searchhub.searchers.ddp import DDPSearcher
from searchhub.searchers.uniform import UniformSearcher
from searchhub.training.accelerator import make_accelerator
from searchhub.training.settings import TrainingSettings
from searchhub.trial import Budget
from searchhub.workflows.dry_run import estimate
from searchhub.workflows.stages import draw_run

DIGITS = {"kind": "image", "dataset": "digits", "max_train_samples": 96, "max_eval_samples": 40}
SETTINGS = TrainingSettings(optimizer="adamw", batch_size=32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder, and the trainer of what was searched in it."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    sizes = {"channels": [8, 8, 8], "pool_after": [1, 2], "ratios": [0.5, 1, 2]}
    supernet = ChannelCnnSupernet(ChannelCnnSupernetConfig(**sizes, num_labels=10, image_size=8))
    task, accelerator = load_task(DIGITS), make_accelerator()
    searcher = DDPSearcher(supernet.search_space, estimation_epochs=1, budget=Budget(max_steps=1))
    evaluator = SupernetEvaluator(supernet, task, SETTINGS, accelerator, num_trials=searcher.num_trials)
    result = search(searcher, evaluator, run_dir=folder).with_costs(macs_table(supernet), params_table(supernet))
    result.save(folder / "result.json")
    spent = ComputeUsed(trials=len(result.history), device="cpu")
    told = Provenance(search_cost=spent)
    trainer = NetworkTrainer(
        supernet, result, task, SETTINGS, accelerator, epochs=1, seed=3, folder=folder, provenance=told
    )
    save_trainer(trainer)
    return folder, trainer


def test_networks_within_coupled_limits_are_published(run):
    folder, trainer = run
    limits = [(Limit("macs", max=20_000), Limit("params", max=2_000))]
    (network, largest) = choose_networks(trainer.result, limits, random_networks=0, with_largest=True, seed=0)
    assert set(largest.architecture.values()) == {2}
    report = trainer.train(network)
    model = AutoModelForImageClassification.from_pretrained(folder / "models" / network.name)
    assert sum(p.numel() for p in model.parameters()) == report.costs["params"] <= 2_000
    assert report.costs["macs"] <= 20_000
    card = (folder / "models" / network.name / "README.md").read_text()
    assert "exact optimum" in card
    assert "DC-NAS" in card
    assert "| layer3 |" in card
    draw_run(trainer.result, [network], folder / "report")
    write_report(folder, folder / "report.html")
    assert " – " in (folder / "report.html").read_text(encoding="utf-8")


def test_a_run_is_taken_up_again(run):
    folder, trainer = run
    again = load_trainer(folder)
    assert again.result.costs == trainer.result.costs
    limit = Limit("macs", max=30_000)
    assert generate(again.result, limit) == generate(trainer.result, limit)
    for mine, theirs in zip(again.supernet.parameters(), trainer.supernet.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_dry_run_knows_mean_and_largest(run):
    _, trainer = run
    costs = list(trainer.result.costs.values())
    text = estimate(
        trainer.supernet,
        trainer.task,
        SETTINGS,
        UniformSearcher(trainer.supernet.search_space),
        costs,
        [Limit("macs", max=20_000)],
        1,
    )
    assert "macs <= 20,000: feasible (the space spans 9,952 to 74,368)" in text
    assert "32.18K an example on average" in text
