"""What cards of networks for texts say of data, sizes and training, in the names that others know."""

import json

import pytest
import yaml
from accelerate import Accelerator
from huggingface_hub import ModelCard, parse_eval_result_entries

from searchhub.costs.macs import macs_table
from searchhub.costs.params import params_table
from searchhub.data.glue import GLUE_TASKS, load_glue_task
from searchhub.data.text_loading import load_text_task
from searchhub.distribution import ArchitectureDistribution
from searchhub.generation import Limit, generate
from searchhub.networks import trainer as networks_module
from searchhub.networks.network import comparison
from searchhub.networks.trainer import Network, NetworkTrainer
from searchhub.result import SearchResult
from searchhub.training.fit import TrainOutput
from searchhub.training.settings import TrainingSettings

from ..data.tiny_text import text, tiny_tokenizer, write_glue
from ..models.tiny_bert import tiny_bert_supernet

TWO = "validation_matched + validation_mismatched"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The report and the card of a network for a task, as if it had been trained and reached 0.5, 0.6, …"""

    def publish(task):
        def fitted(*_, **__):
            metrics = {name: 0.5 + i / 10 for i, name in enumerate(METRICS[task.name])}
            return TrainOutput(metrics, "test", task.size("test"), 0.1, 1, 1, 1.0, 0.7)

        monkeypatch.setattr(networks_module, "fit", fitted)
        monkeypatch.setattr(networks_module, "_picture", lambda *_: b"")
        supernet = tiny_bert_supernet(num_labels=task.num_labels)
        costs = macs_table(supernet), params_table(supernet)
        uniform = ArchitectureDistribution.uniform(supernet.search_space)
        result = SearchResult(supernet.search_space, (), uniform).with_costs(*costs)
        settings, run = TrainingSettings(batch_size=8), tmp_path / "run"
        trainer = NetworkTrainer(
            supernet, result, task, settings, Accelerator(cpu=True), epochs=1, seed=0, folder=run, inherit_weights=True
        )
        limit = Limit("macs", max=sum(costs[0].bounds()) / 2)
        report = trainer.train(Network("macs-half", generate(result, limit), (limit,)))
        return report, report.folder

    return publish


METRICS = {
    "sst2": ["accuracy"],
    "stsb": ["pearson", "spearmanr", "combined_score"],
    "mnli": ["accuracy", "accuracy_m", "accuracy_mm"],
    "mails.csv": ["accuracy"],
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sst2", [("accuracy", "validation", 12)]),
        ("stsb", [(metric, "validation", 12) for metric in ("combined_score", "pearson", "spearmanr")]),
        (
            "mnli",
            [
                ("accuracy", TWO, 27),
                ("accuracy", "validation_matched", 12),
                ("accuracy", "validation_mismatched", 15),
            ],
        ),
    ],
)
def test_results_of_glue_are_of_the_hubs_validation_split(name, expected, tmp_path, published):
    write_glue(tmp_path, name)
    _, folder = published(load_glue_task(name, tiny_tokenizer(), data_dir=str(tmp_path), max_length=16))
    card = ModelCard.load(folder / "README.md")
    values = [0.7, 0.5, 0.6] if name == "stsb" else [0.5, 0.6, 0.7]
    results = card.data.eval_results
    found = [(r.dataset_type, r.dataset_config, r.metric_type, r.dataset_split, r.metric_value) for r in results]
    wanted = [("nyu-mll/glue", name, metric, split, v) for (metric, split, _), v in zip(expected, values, strict=False)]
    assert sorted(found) == sorted(wanted)
    assert results[0].metric_type == GLUE_TASKS[name].primary
    assert card.data.datasets == ["nyu-mll/glue"]
    assert {r.dataset_name for r in results} == {f"GLUE {GLUE_TASKS[name].folder}"}
    for (metric, split, examples), value in zip(expected, values, strict=False):
        assert f"| {metric} | {value} | {split} | {examples} |" in card.text
    entries = parse_eval_result_entries(yaml.safe_load((folder / ".eval_results/searchhub.yaml").read_text()))
    assert {(e.dataset_id, e.task_id) for e in entries} == {("nyu-mll/glue", name)}
    classes = {"sst2": " (2 classes)", "mnli": " (3 classes)", "stsb": ""}[name]
    assert f"trained on GLUE {GLUE_TASKS[name].folder}{classes}.\n" in card.text


def test_sizes_are_at_a_number_of_tokens(tmp_path, published):
    write_glue(tmp_path, "sst2")
    report, folder = published(load_glue_task("sst2", tiny_tokenizer(), data_dir=str(tmp_path), max_length=16))
    card = (folder / "README.md").read_text()
    assert "FLOPs (multiply-adds at 12 tokens): " in card
    assert "| multiply-adds at 12 tokens |" in card
    assert list(comparison([report], "accuracy")[0])[1] == "MACs at 12 tokens"


def test_the_card_says_how_the_checkpoint_was_fine_tuned_and_ordered(tmp_path, published):
    write_glue(tmp_path, "sst2")
    training = {"epochs": 3, "learning_rate": 5e-5, "optimizer": "adamw"}
    file = tmp_path / "run" / "original" / "original.json"
    for then, order in [({"order": "first_order", "order_examples": 512}, "first_order"), (None, "none")]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"identity": {"training": training, "then": then}, "metrics": {"accuracy": 0.9}}))
        # Another seed of the same network: it is trained anew.
        task = load_glue_task("sst2", tiny_tokenizer(), data_dir=str(tmp_path), max_length=16, seed=1 + (then is None))
        card = (published(task)[1] / "README.md").read_text().partition("## Training")[2]
        assert "- `original.epochs`: 3\n- `original.learning_rate`: 5e-05\n" in card
        assert f"- `original.order`: {order}\n" in card


def test_splits_that_were_drawn_from_train_are_called_so(tmp_path, published):
    lines = [f"{text(i)},{('ham', 'spam')[i % 2]}" for i in range(40)]
    (tmp_path / "mails.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    _, folder = published(load_text_task(str(tmp_path / "mails.csv"), tiny_tokenizer(), max_length=16))
    (result,) = ModelCard.load(folder / "README.md").data.eval_results
    assert (result.dataset_type, result.dataset_config, result.dataset_split) == ("mails.csv", None, "a part of train")
    own = tmp_path / "own"
    own.mkdir()
    for name in ("train", "dev"):
        (own / f"{name}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    task = load_text_task(str(own), tiny_tokenizer(), max_length=16)
    assert task.published.splits == {"test": "validation", "validation": "a part of train"}
