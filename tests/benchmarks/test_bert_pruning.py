import copy
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from searchhub import Limit, params_table
from searchhub.costs.macs import macs_table
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.hub.folder import save_supernet
from searchhub.models.bert.plain_bert import as_plain_bert
from searchhub.networks.network import Network, TrainedNetwork, comparison, read_reports
from searchhub.run_folder import ORIGINAL
from searchhub.spaces.bert import full_width

from ..data.tiny_text import tiny_tokenizer, write_glue
from ..models.tiny_bert import SIZES, text_batch, tiny_bert_supernet

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bert_pruning.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("bert_pruning", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bert_pruning"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["bert_pruning"]


def whole(supernet):
    return full_width(supernet.search_space)[0]


def stock(supernet):
    return as_plain_bert(supernet.extract(whole(supernet))).eval()


def kept(before, after):
    """Which rows of a matrix are left in another: bool [rows of the first]."""
    return (before[:, None] == after[None]).all(2).any(1)


def layers(*models):
    return zip(*(model.bert.encoder.layer for model in models), strict=True)


def logits(model):
    batch = text_batch()
    batch.pop("labels")
    with torch.no_grad():
        return model.eval()(**batch).logits


@pytest.mark.parametrize("ratios", [(0.4, 0.3), (0.0, 0.5), (0.5, 0.0)])
def test_prunes_whole_heads_and_neurons_and_nothing_else(script, ratios):
    supernet = tiny_bert_supernet()
    original = stock(supernet)
    pruned = script.prune(original, *ratios)
    size = SIZES["hidden_size"] // SIZES["num_attention_heads"]
    masked = copy.deepcopy(original)
    neurons = heads = 0
    for full, small, mask in layers(original, pruned, masked):
        left = kept(full.attention.self.query.weight, small.attention.self.query.weight)
        assert (left.view(-1, size).all(1) | ~left.view(-1, size).any(1)).all()
        assert small.attention.self.num_attention_heads * size == small.attention.self.all_head_size == left.sum()
        mask.attention.output.dense.weight.data[:, ~left] = 0
        heads += int(left.sum()) // size
        left = kept(full.intermediate.dense.weight, small.intermediate.dense.weight)
        mask.output.dense.weight.data[:, ~left] = 0
        neurons += int(left.sum())
    assert (neurons, heads) == (int(4 * 32 * (1 - ratios[0])), int(4 * 4 * (1 - ratios[1])))
    torch.testing.assert_close(logits(pruned), logits(masked))
    assert not torch.allclose(logits(pruned), logits(original))

    architecture = script.architecture_of(pruned, 4)
    assert sum(n for name, n in architecture.items() if name.endswith("heads")) == heads
    network = script.as_searched(supernet, script.Pruned(pruned, architecture, *ratios))
    assert torch.equal(logits(network), logits(pruned))
    costs = script.costs_of(supernet, architecture)
    assert costs["params"] == sum(p.numel() for p in network.parameters())
    assert costs["encoder_params"] == costs["params"] - sum(p.numel() for p in network.bert.embeddings.parameters())


def test_the_smallest_go(script):
    """Squared L2 norms of a neuron's row and column, relative to their mean in the layer, over all layers."""
    original = stock(tiny_bert_supernet())
    with torch.no_grad():
        for i, layer in enumerate(original.bert.encoder.layer):
            layer.output.dense.weight *= 1 + i  # which the mean in the layer takes away
    pruned = script.prune(original, 0.3, 0.0)
    importance, left = [], []
    for full, small in layers(original, pruned):
        norms = full.intermediate.dense.weight.square().sum(1) + full.output.dense.weight.square().sum(0)
        importance.append(norms / norms.mean())
        left.append(kept(full.intermediate.dense.weight, small.intermediate.dense.weight))
    importance, left = torch.cat(importance), torch.cat(left)
    assert importance[left].min() > importance[~left].max()


@pytest.mark.parametrize("share", [0.45, 0.6, 0.8])
def test_comes_within_a_neuron_of_the_limit(script, share):
    supernet = tiny_bert_supernet()
    table = params_table(supernet, embeddings=False)
    limit = Limit("encoder_params", max=share * table(whole(supernet)))
    pruned = script.prune_to(supernet, stock(supernet), [limit])
    neuron = 2 * SIZES["hidden_size"] + 1
    assert limit.max - neuron < script.cost_of(supernet, pruned.architecture, "encoder_params") <= limit.max


def test_keeps_to_limits_together(script):
    supernet = tiny_bert_supernet(num_hidden_layers=2)
    costs = script.costs_of(supernet, whole(supernet))
    assert costs == {
        table.name: table(whole(supernet))
        for table in (macs_table(supernet), params_table(supernet), params_table(supernet, embeddings=False))
    }
    limits = [Limit("encoder_params", max=0.9 * costs["encoder_params"]), Limit("macs", max=0.6 * costs["macs"])]
    left = script.costs_of(supernet, script.prune_to(supernet, stock(supernet), limits).architecture)
    assert 0.58 * costs["macs"] < left["macs"] <= limits[1].max
    assert left["encoder_params"] <= limits[0].max


def test_says_what_pruning_cannot_reach(script):
    supernet = tiny_bert_supernet()
    with pytest.raises(InfeasibleLimitError, match=r"[\d,]+ encoder_params\. Raise the limit"):
        script.prune_to(supernet, stock(supernet), [Limit("encoder_params", max=100)])


def words(tmp_path, *more):
    checkpoint, run = tmp_path / "checkpoint", tmp_path / "run"
    tiny_tokenizer(checkpoint)
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "bert"}))
    write_glue(tmp_path / "glue", "sst2")
    return [
        f"--model_name_or_path={checkpoint}",
        f"--data_dir={tmp_path / 'glue'}",
        f"--output_dir={run}",
        *("--task_name=sst2", "--epochs=1", "--batch_size=8", "--validation_size=12", *more),
    ]


def test_is_a_column_of_the_run(script, tmp_path, capsys, monkeypatch):
    supernet = tiny_bert_supernet(num_hidden_layers=2)
    limit = round(0.6 * params_table(supernet, embeddings=False)(whole(supernet)))
    argv = words(tmp_path, f"--max=encoder_params={limit}")
    save_supernet(supernet, tmp_path / "run" / ORIGINAL)
    script.main(argv)
    name, line = capsys.readouterr().out.splitlines()[-1].split(" ", 1)
    result = json.loads(line)
    assert name == "RESULT"
    assert limit - 49 < result["encoder_params"] <= limit
    (report,) = read_reports(tmp_path / "run")
    assert report.costs == {key: result[key] for key in ("macs", "params", "encoder_params")}
    assert report.metrics == result["metrics"]
    assert (report.facts["split"], report.facts["examples"], report.facts["steps"]) == ("test", 12, 60 // 8)

    searched = TrainedNetwork(
        Network("searched", whole(supernet), (Limit("encoder_params", max=limit),)), {}, {"accuracy": 0.5}
    )
    (row,) = comparison([searched, report], "accuracy")
    assert row["pruned"] == f"{result['metrics']['accuracy']:.4f}"

    with monkeypatch.context() as patch:
        patch.delattr(script, "fit")  # a finished one is not trained again
        script.main(argv)
    assert json.loads(capsys.readouterr().out.splitlines()[-1].split(" ", 1)[1]) == result
    script.main([*argv, "--epochs=2"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1].split(" ", 1)[1])["epochs"] == 2


def test_dry_run_trains_nothing(script, tmp_path, capsys):
    supernet = tiny_bert_supernet(num_hidden_layers=2)
    save_supernet(supernet, tmp_path / "run" / ORIGINAL)
    script.main(words(tmp_path, "--max", "encoder_params=6000", "encoder_params=7000", "--dry_run"))
    table = capsys.readouterr().out
    assert "6,000" in table
    assert "7,000" in table
    assert not (tmp_path / "run" / "baselines").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--max_params=9000"], "ddp_bert_glue.py"),
        ([], "there are none"),
        (["--max=latency_ms=1"], "there are `latency_ms`"),
    ],
)
def test_says_what_it_needs(script, tmp_path, more, said):
    with pytest.raises(InvalidInputError, match=said):
        script.main(words(tmp_path, *more))
