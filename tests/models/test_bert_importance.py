from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from searchhub.errors import InvalidInputError
from searchhub.models.bert.importance_bert import importance, order_by_importance
from searchhub.models.bert.supernet_bert import BertSupernetForSequenceClassification
from searchhub.space import Architecture

from ..recipes.harness import finish_scripts, two_processes
from .tiny_bert import text_batch, tiny_bert_supernet

HEAD, HEADS, NEURONS, LAYERS = 6, 4, 32, 4
BATCHES = [text_batch(seed=1), text_batch(n=3, length=12, seed=2)]


def full_size(supernet):
    space = supernet.search_space
    return supernet.subnet(Architecture({c.name: c.candidates[-1] for c in space.choices})).eval()


def logits(model, **batch):
    with torch.no_grad():
        return model(**{k: v for k, v in batch.items() if k != "labels"}).logits


def scale_head(layer, head, factor):
    """What a head adds to the hidden states."""
    layer.attention.output.dense.weight.data[:, head * HEAD : (head + 1) * HEAD] *= factor


# -- scores -----------------------------------------------------------------------------------------------------------


def test_first_order_is_how_the_loss_changes():
    """|∂loss/∂g| of a gate g = 1 on each head's and neuron's output, one example at a time, by finite differences."""
    supernet = tiny_bert_supernet().double()
    heads, neurons = importance(supernet, BATCHES)
    assert heads.shape == (LAYERS, HEADS)
    assert neurons.shape == (LAYERS, NEURONS)
    model, eps = full_size(supernet), 1e-5

    def losses():
        with torch.no_grad():
            examples = [{k: v[i : i + 1] for k, v in b.items()} for b in BATCHES for i in range(len(b["labels"]))]
            return torch.stack([model(**example).loss for example in examples])

    def slope(columns):
        kept = columns.clone()
        columns.data.mul_(1 + eps)
        above = losses()
        columns.data.copy_(kept).mul_(1 - eps)
        below = losses()
        columns.data.copy_(kept)
        return ((above - below) / (2 * eps)).abs().mean().item()

    for i in (0, 3):
        layer = model.bert.encoder.layer[i]
        for h in range(HEADS):
            columns = layer.attention.output.dense.weight.data[:, h * HEAD : (h + 1) * HEAD]
            assert heads[i, h].item() == pytest.approx(slope(columns), rel=1e-5, abs=1e-8)
        for j in (0, 17):
            columns = layer.output.dense.weight.data[:, j : j + 1]
            assert neurons[i, j].item() == pytest.approx(slope(columns), rel=1e-5, abs=1e-8)


def test_magnitude_is_the_norm_of_the_weights():
    supernet = tiny_bert_supernet()
    heads, neurons = importance(supernet, order="magnitude")
    layer = supernet.bert.encoder.layer[2]
    part = slice(1 * HEAD, 2 * HEAD)
    rows = [getattr(layer.attention.self, name).weight[part] for name in ("query", "key", "value")]
    rows.append(layer.attention.output.dense.weight[:, part].T)
    assert heads[2, 1].item() == pytest.approx(torch.cat(rows).norm().item(), rel=1e-6)
    both = torch.cat([layer.intermediate.dense.weight[5], layer.output.dense.weight[:, 5]])
    assert neurons[2, 5].item() == pytest.approx(both.norm().item(), rel=1e-6)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_padding_does_not_count(implementation):
    supernet = tiny_bert_supernet().double()
    supernet.set_attn_implementation(implementation)
    batch = text_batch(n=4)
    expected = importance(supernet, [batch])
    longer = {k: torch.nn.functional.pad(v, (0, 7)) if v.ndim == 2 else v for k, v in batch.items()}
    longer["input_ids"][:, -7:] = 13  # whatever stands there
    for a, b in zip(importance(supernet, [longer]), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_how_examples_are_batched_does_not_matter():
    supernet = tiny_bert_supernet().double()
    batch = text_batch()
    pieces = [{k: v[part] for k, v in batch.items()} for part in (slice(0, 1), slice(1, 3), slice(3, 5))]
    for a, b in zip(importance(supernet, pieces), importance(supernet, [batch]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("num_labels", [1, 3])
def test_any_number_of_labels(num_labels):
    supernet = tiny_bert_supernet(num_labels=num_labels)
    heads, neurons = importance(supernet, [text_batch(num_labels=num_labels)])
    assert (heads > 0).all()
    assert (neurons > 0).any(dim=1).all()


def test_measuring_leaves_the_supernet_as_it_was():
    supernet = tiny_bert_supernet(hidden_dropout_prob=0.5).train()
    before = {n: t.clone() for n, t in supernet.state_dict().items()}
    random, config = torch.get_rng_state(), supernet.config.to_dict()
    once, again = (importance(supernet, BATCHES) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True)), "dropout must be off"
    assert supernet.training
    assert supernet.config.to_dict() == config
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(t, before[n]) for n, t in supernet.state_dict().items())
    assert all(p.grad is None for p in supernet.parameters())
    assert not any(module._forward_hooks for module in supernet.modules())


# -- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["first_order", "magnitude"])
def test_the_network_at_full_size_stays_the_same(order):
    supernet = tiny_bert_supernet()
    before = logits(full_size(supernet), **text_batch())
    order_by_importance(supernet, BATCHES, order)
    assert not torch.equal(supernet.neuron_order[0], torch.arange(NEURONS))
    torch.testing.assert_close(logits(full_size(supernet), **text_batch()), before, rtol=0, atol=1e-5)


def test_no_order_is_nothing_done():
    supernet = tiny_bert_supernet()
    before = {n: t.clone() for n, t in supernet.state_dict().items()}
    order_by_importance(supernet, BATCHES, None)
    assert all(torch.equal(t, before[n]) for n, t in supernet.state_dict().items())


@pytest.mark.parametrize("order", ["first_order", "magnitude"])
def test_the_most_important_come_first(order):
    supernet = tiny_bert_supernet()
    order_by_importance(supernet, BATCHES, order)
    for scores in importance(supernet, BATCHES, order):
        # What is equally important to the last bits may come in any order.
        assert (scores[:, :-1] >= scores[:, 1:] * (1 - 1e-4) - 1e-9).all()


@pytest.mark.parametrize("order", ["first_order", "magnitude"])
def test_what_does_nothing_comes_last(order):
    """Planted: heads and neurons whose output goes nowhere (and, for magnitude, that have hardly any weight)."""
    supernet = tiny_bert_supernet()
    idle_heads, idle_neurons = [[0], [2], [1, 3], [0, 1]], [[0, 5], [31], [7, 8, 9], [2]]
    for layer, heads, neurons in zip(supernet.bert.encoder.layer, idle_heads, idle_neurons, strict=True):
        for head in heads:
            scale_head(layer, head, 0.0)
            if order == "magnitude":
                for name in ("query", "key", "value"):
                    getattr(layer.attention.self, name).weight.data[head * HEAD : (head + 1) * HEAD] *= 1e-3
        layer.output.dense.weight.data[:, neurons] = 0
        if order == "magnitude":
            layer.intermediate.dense.weight.data[neurons] *= 1e-3
    before = {n: p.detach().clone() for n, p in supernet.named_parameters()}
    order_by_importance(supernet, BATCHES, order)
    for i in range(LAYERS):
        assert set(supernet.head_order[i, -len(idle_heads[i]) :].tolist()) == set(idle_heads[i])
        assert set(supernet.neuron_order[i, -len(idle_neurons[i]) :].tolist()) == set(idle_neurons[i])
    # The order says where every weight came from.
    layer, prefix = supernet.bert.encoder.layer[2], "bert.encoder.layer.2"
    rows = (supernet.head_order[2][:, None] * HEAD + torch.arange(HEAD)).flatten()
    for name in ("query", "key", "value"):
        assert torch.equal(
            getattr(layer.attention.self, name).weight, before[f"{prefix}.attention.self.{name}.weight"][rows]
        )
        assert torch.equal(
            getattr(layer.attention.self, name).bias, before[f"{prefix}.attention.self.{name}.bias"][rows]
        )
    columns = before[f"{prefix}.attention.output.dense.weight"][:, rows]
    assert torch.equal(layer.attention.output.dense.weight, columns)
    neurons = supernet.neuron_order[2]
    assert torch.equal(layer.intermediate.dense.bias, before[f"{prefix}.intermediate.dense.bias"][neurons])
    assert torch.equal(layer.output.dense.weight, before[f"{prefix}.output.dense.weight"][:, neurons])
    assert torch.equal(layer.output.dense.bias, before[f"{prefix}.output.dense.bias"])


def test_equally_important_ones_keep_their_order():
    supernet = tiny_bert_supernet()
    for layer in supernet.bert.encoder.layer:
        layer.output.dense.weight.data.zero_()
        layer.attention.output.dense.weight.data.zero_()
    order_by_importance(supernet, BATCHES)
    assert torch.equal(supernet.neuron_order, torch.arange(NEURONS).expand(LAYERS, -1))
    assert torch.equal(supernet.head_order, torch.arange(HEADS).expand(LAYERS, -1))


def test_ordering_twice_composes(tmp_path):
    """Weights are where the order says, by whatever way they came, and a saved supernet knows it."""
    start, supernet = tiny_bert_supernet(), tiny_bert_supernet()
    order_by_importance(supernet, BATCHES, "magnitude")
    between = supernet.neuron_order.clone()
    order_by_importance(supernet, BATCHES, "first_order")
    assert not torch.equal(between, supernet.neuron_order)
    supernet.save_pretrained(tmp_path)
    again = BertSupernetForSequenceClassification.from_pretrained(tmp_path)
    for i, (ours, theirs) in enumerate(zip(again.bert.encoder.layer, start.bert.encoder.layer, strict=True)):
        assert torch.equal(ours.intermediate.dense.weight, theirs.intermediate.dense.weight[again.neuron_order[i]])
        blocks = theirs.attention.self.value.weight.unflatten(0, (HEADS, HEAD))
        assert torch.equal(ours.attention.self.value.weight, blocks[again.head_order[i]].flatten(0, 1))


def test_parameters_stay_in_place():
    """Subnets made before an ordering, and optimizers, still hold the supernet's memory."""
    supernet = tiny_bert_supernet()
    subnet = full_size(supernet)
    places = {n: p.data_ptr() for n, p in supernet.named_parameters()}
    order_by_importance(supernet, BATCHES)
    assert {n: p.data_ptr() for n, p in supernet.named_parameters()} == places
    assert all(p is dict(supernet.named_parameters())[n] for n, p in subnet.named_parameters())


TWO_PROCESSES = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
tests, folder, shared = sys.argv[1:]
sys.path.insert(0, tests)
from models.tiny_bert import text_batch, tiny_bert_supernet
from searchhub.models.bert.importance_bert import importance
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
batches = [text_batch(seed=1), text_batch(n=3, length=12, seed=2)]
heads, neurons = importance(tiny_bert_supernet(), batches if shared == "True" else batches[rank : rank + 1])
save_file({"heads": heads.contiguous(), "neurons": neurons.contiguous()}, Path(folder) / str(rank))
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False], ids=["the same batches", "each its own"])
def test_two_processes_find_the_same(context, tmp_path, shared):
    script = tmp_path / "script.py"
    script.write_text(TWO_PROCESSES)
    finish_scripts(context, tmp_path, script, Path(__file__).parents[1], tmp_path, shared, envs=two_processes())
    one, other = (load_file(tmp_path / str(rank)) for rank in range(2))
    heads, neurons = importance(tiny_bert_supernet(), BATCHES)
    for name, alone in (("heads", heads), ("neurons", neurons)):
        assert torch.equal(one[name], other[name])
        torch.testing.assert_close(one[name], alone, rtol=1e-6, atol=1e-12)


# -- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "at least one batch"),
        ([{k: v for k, v in text_batch().items() if k != "labels"}], "must have `labels`"),
    ],
)
def test_batches_that_say_nothing(batches, message):
    with pytest.raises(InvalidInputError, match=message):
        order_by_importance(tiny_bert_supernet(), batches)


def test_a_broken_checkpoint():
    supernet = tiny_bert_supernet()
    supernet.classifier.bias.data.fill_(float("nan"))
    before = {n: t.clone() for n, t in supernet.state_dict().items()}
    with pytest.raises(InvalidInputError, match="must be finite"):
        order_by_importance(supernet, BATCHES)
    assert all(torch.equal(t, before[n]) for n, t in supernet.state_dict().items() if n != "classifier.bias")


def test_an_unknown_order():
    with pytest.raises(InvalidInputError, match="`order` must be"):
        order_by_importance(tiny_bert_supernet(), BATCHES, "random")
