import io

import pytest
from rich.console import Console

from searchhub.costs.macs import macs_table
from searchhub.costs.params import params_table
from searchhub.errors import InvalidInputError
from searchhub.evaluators.networks import NetworkEvaluator
from searchhub.formatting import rich_table
from searchhub.networks import trainer as networks_module
from searchhub.networks.network import read_facts
from searchhub.networks.trainer import NetworkTrainer
from searchhub.result import SearchResult
from searchhub.search import search
from searchhub.searchers.random import RandomSearcher
from searchhub.training.accelerator import make_accelerator
from searchhub.training.settings import TrainingSettings
from searchhub.trial import Budget
from searchhub.workflows.ranking import narrow, rank_winners

from ..models.tiny_fbnet import tiny_fbnet
from ..training.tiny import TinyTask


def trainer(folder, **changes):
    supernet = tiny_fbnet()
    result = SearchResult(supernet.search_space, ()).with_costs(macs_table(supernet), params_table(supernet))
    options = {"epochs": 2, "seed": 0, "train_on": "train", **changes}
    settings = TrainingSettings(batch_size=16)
    return NetworkTrainer(supernet, result, TinyTask(), settings, make_accelerator(), folder=folder, **options)


def searched(it, budget=Budget(2)):
    evaluator = NetworkEvaluator(it, lambda trial: f"cluster-{trial.number}")
    searcher = RandomSearcher(it.supernet.search_space, num_trials=2, seed=3, budget=budget)
    result = search(searcher, evaluator, run_dir=it.folder).with_costs(*it.result.costs.values())
    return result, {r.trial.architecture: evaluator.report(r.trial) for r in result.history}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    it = trainer(tmp_path_factory.mktemp("run"))
    return it, *searched(it)


def test_scores_are_those_of_the_validation_split(run):
    it, result, reports = run
    for trial in result.history:
        facts = read_facts(it.folder / "models" / f"cluster-{trial.trial.number}")
        assert facts["validation"]["metrics"] == {"accuracy": trial.score}
        assert facts["validation"]["examples"] == 16
        assert (facts["split"], facts["steps"]) == ("test", 4), "2 epochs of 32 pictures of train, not of 48 of full"
        assert reports[trial.trial.architecture].metrics == facts["metrics"]
        assert "test" not in trial.metrics


def test_a_finished_network_is_not_trained_again(run, monkeypatch):
    it, result, _ = run

    def refuse(*args, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(networks_module, "fit", refuse)
    again = NetworkEvaluator(it, lambda trial: f"cluster-{trial.number}")
    scores = [r.score for r in again([r.trial for r in result.history])]
    assert scores == [r.score for r in result.history]


def test_every_card_tells_the_order(run):
    it, result, reports = run
    architectures = [r.trial.architecture for r in result.history]
    division = {
        "sizes": [700, 300],
        "winners": [a.to_dict() for a in architectures],
        "won_by": [-2.5, -3.25],
        "labels": None,
        "summary": {"counts": [300, 700], "inertia": 1.5, "threads": None},
    }
    scores = [0.25, 0.75]
    history = tuple(
        type(r)(r.trial, score, r.metrics, r.seconds) for r, score in zip(result.history, scores, strict=True)
    )
    result = type(result)(result.space, history, costs=result.costs, division=division)
    rows = rank_winners(result, reports, it)
    assert [row["network"] for row in rows] == ["cluster-1", "cluster-0"]
    assert [row["architectures in it"] for row in rows] == ["300", "700"]
    assert [row["log-probability"] for row in rows] == ["-3.2500", "-2.5000"]
    assert [row["accuracy (validation)"] for row in rows] == ["0.7500", "0.2500"]
    said = io.StringIO()
    large = [{**row, "network": "cluster-10", "architectures in it": "10,000,000"} for row in rows]
    Console(file=said, width=80).print(rich_table(narrow(large)))
    heading, *lines = (line for line in said.getvalue().splitlines() if line[0] in "┃│")
    assert " ".join(heading.replace("┃", " ").split()) == "network cluster of log p MACs params validation test"
    assert [line.replace("│", " ").split()[:3] for line in lines] == [
        ["cluster-10", "10,000,000", "-3.2500"],
        ["cluster-10", "10,000,000", "-2.5000"],
    ]
    for rank, i in enumerate((1, 0), 1):
        card = (it.folder / "models" / f"cluster-{i}" / "README.md").read_text()
        assert f"winner of cluster {i} of 2, which holds {[700, 300][i]} architectures; no. {rank} of 2" in card
        assert card.index("| cluster-1 |") < card.index("| cluster-0 |")
        assert "- `division.sizes`: 700, 300" in card
        assert "division.counts" not in card
        assert card.startswith("---\nlibrary_name: transformers")


def test_what_cannot_be_compared_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match='`train_on="train"` must hold'):
        NetworkEvaluator(trainer(tmp_path, train_on="full"), str)
    with pytest.raises(InvalidInputError, match="the trainer's 2 epochs, but trial 0 has"):
        searched(trainer(tmp_path / "run"), Budget(3))
