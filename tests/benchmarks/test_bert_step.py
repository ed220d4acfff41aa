import json

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from searchhub.models.bert.configuration_bert import SearchedBertConfig
from searchhub.models.bert.modeling_bert import SearchedBertForSequenceClassification

TINY = ["--size=tiny", "--sequence_length=16"]
QUICK = ["--latency", "--clock=cpu", "--rounds=1", "--min_run_time=0.01", "--batch_sizes", "1", "3"]
SIZES = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "vocab_size": 30,
    "max_position_embeddings": 16,
}


@pytest.fixture
def result_of(ran):
    def result(*arguments):
        name, line = ran("bert_step", *arguments)[-1].split(" ", 1)
        assert name == "RESULT"
        return json.loads(line)

    return result


def macs_of(hidden, layers, length):
    """By hand, of layers (width of all heads, feed-forward width): linear layers, attention, pooler, two classes."""
    each = [length * (4 * hidden * heads + 2 * hidden * wide) + 2 * length**2 * heads for heads, wide in layers]
    return sum(each) + hidden**2 + 2 * hidden


@pytest.mark.slow
def test_training_ends_with_its_result(result_of):
    """How good the figures are depends on the machine; that they are there does not."""
    result = result_of(*TINY, "--architectures=2", "--steps=1", "--steps_per_epoch=2", "--batch_size=4")
    # The full one and the narrowest besides.
    assert (result["architectures"], result["steps_per_epoch"], result["batch_size"]) == (4, 2, 4)
    assert result["ratio"] > 0
    assert result["trial_ratio"] > 0


@pytest.mark.slow
def test_latency_ends_with_its_result(result_of):
    result = result_of(*TINY, *QUICK, "--networks=2")
    rows = result["networks"]
    assert result["clock"] == "cpu"
    assert [(row["batch_size"], row["name"]) for row in rows] == [
        (batch, name) for batch in (1, 3) for name in ("full", "random 0", "random 1", "narrowest")
    ]
    full, *random, narrowest = rows[:4]
    assert full["macs"] == macs_of(24, [(24, 32)] * 4, 16)
    # Half the layers, a third of 4 heads of 6 and a sixth of 32.
    assert narrowest["macs"] == macs_of(24, [(6, 5)] * 2, 16)
    for row in random:
        assert 0.57 <= row["encoder_params"] / full["encoder_params"] <= 0.6
    for row in rows:
        assert row["params"] - row["encoder_params"] == 24 * (50 + 64 + 2 + 2)
        assert row["speedup_per_macs"] == pytest.approx(row["speedup"] / row["macs_ratio"], abs=0.01)
        assert row["linear_share"] > 0
    assert full["macs_ratio"] == 1
    assert result["lowest_speedup_per_macs"] == min(row["speedup_per_macs"] for row in rows if row["name"] != "full")


@pytest.mark.slow
def test_saved_networks_are_timed_beside_the_original(result_of, tmp_path):
    torch.manual_seed(0)
    paths = small_path, original_path = str(tmp_path / "small" / "network"), str(tmp_path / "original" / "network")
    BertForSequenceClassification(BertConfig(**SIZES)).save_pretrained(original_path)
    layers = {0: {"num_attention_heads": 1}, 1: {"intermediate_size": 7}}
    config = SearchedBertConfig(**SIZES, per_layer_config=layers)
    SearchedBertForSequenceClassification(config).save_pretrained(small_path)
    folders = ["--models", *paths, "--original", original_path]
    small, original = result_of(*QUICK[:-2], 2, "--sequence_length=8", *folders)["networks"]
    assert (small["name"], original["name"]) == paths
    assert small["macs"] == macs_of(12, [(6, 20), (12, 7)], 8)
    assert original["macs"] == macs_of(12, [(12, 20)] * 2, 8)
    assert small["macs_ratio"] == pytest.approx(original["macs"] / small["macs"], abs=1e-3)


def test_says_what_it_needs(ran, capsys):
    with pytest.raises(SystemExit):
        ran("bert_step", "--latency", "--models", "x")
    assert "--models and --original go together" in capsys.readouterr().err
