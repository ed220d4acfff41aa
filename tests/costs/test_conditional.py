"""Costs where choices depend on others: a depth leaves layers out, and a choice decides several modules."""

import functools

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from searchhub.costs.counting import count_architecture
from searchhub.costs.latency import measure_latency
from searchhub.costs.macs import macs_per_module, macs_table
from searchhub.costs.params import params_table
from searchhub.costs.timing import _signature
from searchhub.errors import InvalidInputError
from searchhub.models.bert.supernet_bert import BertSupernetConfig, BertSupernetForSequenceClassification
from searchhub.space import Architecture
from searchhub.spaces.bert import heads_choice, intermediate_choice, kept_layers

from ..models.tiny_bert import tiny_bert_supernet
from ..training.tiny import tiny_supernet

VARIANTS = {
    "proportions": {},
    "own lists": {"depths": [4, 1, 2], "intermediate_sizes": [32, 9], "num_heads": [2]},
    "one depth": {"depths": [3], "sequence_length": 5},
    "zeros": {"sizes": "small", "depths": [2, 4], "num_heads": [0, 3]},
    "regression": {"num_labels": 1, "type_vocab_size": 3},
}


@functools.cache
def bert_base():
    """Nothing is counted on weights, so they stay on the meta device."""
    with torch.device("meta"):
        return BertSupernetForSequenceClassification(BertSupernetConfig(num_labels=2))


def architecture(depth, intermediate_size=3072, num_heads=12, layers=12):
    chosen = {"depth": depth}
    for layer in kept_layers(depth, layers):
        chosen |= {intermediate_choice(layer): intermediate_size, heads_choice(layer): num_heads}
    return Architecture(chosen)


# -- BERT-base by hand ------------------------------------------------------------------------------------------------


def test_params_of_bert_base():
    params = params_table(bert_base())
    assert (params.name, params.unit) == ("params", "parameters")
    assert params(architecture(12)) == 109_483_778
    assert params(architecture(6)) == 66_956_546  # as large as DistilBERT, 67.0M
    hidden = 768
    layer = 4 * hidden * (hidden + 1) + hidden * 3072 + 3072 + 3072 * hidden + hidden + 2 * 2 * hidden
    assert params(architecture(12)) - params(architecture(10)) == 2 * layer
    assert params(architecture(12)) - params(architecture(12, num_heads=8)) == 12 * 4 * 64 * (4 * hidden + 3)
    assert params(architecture(12)) - params(architecture(12, 1024)) == 12 * 2048 * (2 * hidden + 1)


def test_costs_of_parts_that_are_left_out():
    """By hand: of each part of 24 hidden units the LayerNorm stays, which multiplies nothing."""
    net = tiny_bert_supernet(intermediate_sizes=[0, 8], num_heads=[0, 2], depths=[4])
    encoder, macs = params_table(net, embeddings=False), macs_table(net)
    head, norms, none = 24 * 25 + 2 * 25, 4 * 4 * 24, architecture(4, 0, 0, layers=4)
    assert encoder(none) == encoder.bounds()[0] == head + norms
    assert macs(none) == macs.bounds()[0] == 24 * 24 + 24 * 2
    heads = Architecture(none.to_dict() | {heads_choice(0): 2})
    assert encoder(heads) == head + norms + 3 * 12 * 25 + 24 * 12 + 24
    assert macs(heads) - macs(none) == 4 * 12 * 24 * 12 + 2 * 12 * 12 * 12
    width = Architecture(none.to_dict() | {intermediate_choice(3): 8})
    assert encoder(width) == head + norms + 8 * 25 + 24 * 8 + 24
    assert macs(width) - macs(none) == 2 * 12 * 24 * 8


def test_small_sizes_reach_a_twentieth_of_minilm():
    fields = {"num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536}
    with torch.device("meta"):
        net = BertSupernetForSequenceClassification(BertSupernetConfig(num_labels=2, sizes="small", **fields))
    encoder = params_table(net, embeddings=False)
    low, high = encoder.bounds()
    assert low < 0.05 * high
    for depth in net.search_space.choices[0].candidates:
        assert encoder(architecture(depth, 0, 1, 6)) < 0.15 * high < encoder(architecture(depth, 1536, 12, 6))


def test_params_without_embeddings():
    encoder = params_table(bert_base(), embeddings=False)
    assert (encoder.name, encoder.unit) == ("encoder_params", "parameters without embeddings")
    embeddings = (30522 + 512 + 2) * 768 + 2 * 768
    assert encoder(architecture(12)) == 109_483_778 - embeddings == 85_646_594
    assert encoder.bounds()[1] == 85_646_594
    with pytest.raises(InvalidInputError, match="`embeddings=False` needs a supernet that embeds tokens"):
        params_table(tiny_supernet(), embeddings=False)


def layer_macs(length, intermediate_size, num_heads):
    """Query, key, value and output matrices; scores and their weighted sum of values; two feed-forward matrices."""
    width = 64 * num_heads
    return 4 * length * 768 * width + 2 * length * length * width + 2 * length * 768 * intermediate_size


def test_the_mean_is_that_of_architectures_as_they_are_drawn():
    """A layer that the depth leaves out costs nothing."""
    macs = macs_table(bert_base())
    drawn = macs.of_codes(macs.space.sample(100_000, np.random.default_rng(0)))
    assert macs.mean() == pytest.approx(drawn.mean(), abs=4 * drawn.std() / 100_000**0.5)
    assert macs.unit == "multiply-adds at 128 tokens"


@pytest.mark.parametrize(
    ("depth", "intermediate_size", "num_heads"), [(12, 3072, 12), (6, 3072, 12), (10, 768, 4), (8, 512, 8)]
)
def test_macs_of_bert_base(depth, intermediate_size, num_heads):
    one = architecture(depth, intermediate_size, num_heads)
    pooler_and_classifier = 768 * 768 + 768 * 2
    expected = depth * layer_macs(128, intermediate_size, num_heads) + pooler_and_classifier
    assert count_architecture(bert_base(), one, macs_per_module)[""] == expected
    if depth == 12:
        assert expected == 11_174_217_216


# -- tables against models --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_tables_are_exact_on_random_architectures(name):
    net = tiny_bert_supernet(**VARIANTS[name])
    macs, params, encoder = macs_table(net), params_table(net), params_table(net, embeddings=False)
    net.set_attn_implementation("eager")  # whose matrix products are counted on the CPU too
    for row in net.search_space.sample(6, np.random.default_rng(1)):
        one = net.search_space.decode(row)
        model = net.extract(one).eval()
        assert params(one) == sum(p.numel() for p in model.parameters())
        embeddings = sum(p.numel() for p in model.bert.embeddings.parameters())
        assert encoder(one) == params(one) - embeddings
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            model(torch.ones(1, net.config.sequence_length, dtype=torch.int64))
        assert macs(one) == counter.get_total_flops() / 2


def test_macs_follow_the_sequence_length():
    short, long = (macs_table(tiny_bert_supernet(sequence_length=n)).bounds()[1] for n in (10, 20))
    layers, hidden, width = 4, 24, 32
    head = hidden * hidden + hidden * 2

    def by_hand(n):
        return layers * (4 * n * hidden**2 + 2 * n * n * hidden + 2 * n * hidden * width) + head

    assert (short, long) == (by_hand(10), by_hand(20))


def test_layers_that_are_left_out_cost_nothing():
    table = params_table(tiny_bert_supernet())
    assert not table.entries[0].any(), "a depth costs what its layers cost"
    space = table.space
    rows = [space.encode(architecture(depth, 32, 4, layers=4)) for depth in (2, 3, 4)]
    assert set(np.diff([table.of_row(row) for row in rows])) == {4 * 24 * 25 + 32 * 25 + 24 * 33 + 4 * 24}
    np.testing.assert_array_equal(table.of_codes(np.stack(rows)), [table.of_row(row) for row in rows])


def test_layers_of_the_same_sizes_are_timed_once():
    """So latency of BERT-base takes 11 measurements (three numbers of heads, two modules of four widths), not 132."""
    net = tiny_bert_supernet()
    chosen = architecture(4, 32, 4, layers=4).to_dict() | {heads_choice(3): 1, intermediate_choice(3): 8}
    first, second, _, other = net.extract(Architecture(chosen)).bert.encoder.layer
    for name in ("attention", "intermediate", "output"):
        one, same, different = (_signature(getattr(each, name), (), {}) for each in (first, second, other))
        assert one == same
        assert one != different


def test_latency_where_parts_are_left_out():
    """On a machine that takes a microsecond a weight, a network without parts takes what remains of it."""

    def time(block, reference):
        return np.array([[sum(p.numel() for p in module.parameters()) / 1000 for module, *_ in (block, reference)]])

    net = tiny_bert_supernet(intermediate_sizes=[0, 8], num_heads=[0, 2])
    table, params = measure_latency(net, rounds=1, time=time), params_table(net)
    for row in net.search_space.sample(4, np.random.default_rng(2)):
        assert table.of_row(row) == pytest.approx(params.of_row(row) / 1000)
