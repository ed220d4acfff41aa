import functools

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from searchhub.costs.counting import count_architecture, count_table
from searchhub.costs.macs import count_macs, macs_per_module, macs_table
from searchhub.costs.params import params_per_module, params_table
from searchhub.models.mobile.supernet_mobile import MobileSupernetConfig, MobileSupernetForImageClassification
from searchhub.space import Architecture

SMALL = {
    "image_size": 12,
    "num_labels": 5,
    "stem_width": 8,
    "first_width": 8,
    "stage_widths": [8, 16, 24],
    "stage_depths": [2, 1, 3],
    "stage_strides": [1, 2, 2],
    "head_width": 24,
}

VARIANTS = {
    "as it is": SMALL,
    "wider": {**SMALL, "width_multiplier": 1.7},
    "narrower": {**SMALL, "width_multiplier": 0.4},
    "deeper": {**SMALL, "stage_depths": [3, 4, 2]},
    "odd resolution": {**SMALL, "image_size": 27},
    "strides": {**SMALL, "stem_stride": 1, "stage_strides": [2, 1, 1], "image_size": 9},
    "candidates": {**SMALL, "expansions": [1, 4], "kernel_sizes": [3, 9]},
    "grey": {**SMALL, "num_channels": 1},
}


def supernet(sizes, seed=0):
    torch.manual_seed(seed)
    sizes = dict(sizes)
    config = MobileSupernetConfig.with_multiplier(sizes.pop("width_multiplier", 1.0), **sizes)
    return MobileSupernetForImageClassification(config)


@functools.cache
def full_size(num_labels=1000):
    """ProxylessNAS at 224 x 224. Nothing is counted on weights, so they stay on the meta device."""
    with torch.device("meta"):
        return MobileSupernetForImageClassification(MobileSupernetConfig(num_labels=num_labels))


# -- the papers' numbers ----------------------------------------------------------------------------------------------


def every(block, other=None):
    """That block in every layer; in layers that can be left out, the other."""
    choices = full_size().search_space.choices
    return Architecture({c.name: other if other in c.candidates else block for c in choices})


GOLDEN = [
    (every("mbconv_e3_k3", "zero"), 102.5),
    (every("mbconv_e3_k3"), 257.4),
    (every("mbconv_e6_k3"), 472.6),
    (every("mbconv_e6_k7"), 606.6),
]


@pytest.fixture(scope="module")
def full_macs():
    return macs_table(full_size())


@pytest.mark.parametrize(("architecture", "millions"), GOLDEN, ids=["all skips", "e3 k3", "e6 k3", "largest"])
def test_macs_of_the_full_space(full_macs, architecture, millions):
    assert round(full_macs(architecture) / 1e6, 1) == millions


def test_bounds_of_the_full_space(full_macs):
    assert tuple(round(bound / 1e6, 1) for bound in full_macs.bounds()) == (102.5, 606.6)


def test_torch_counts_twice_as_many_operations(full_macs):
    architecture = every("mbconv_e6_k3")
    with torch.device("meta"):
        model = full_size().subnet_class(full_size().subnet_config(architecture))
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            model(torch.empty(1, 3, 224, 224))
    assert counter.get_total_flops() == 2 * full_macs(architecture)


def test_macs_of_single_layers():
    """By hand: a convolution has pixels x kernel x channels in x channels out / groups of them."""
    model = supernet(SMALL).subnet(Architecture({c.name: "mbconv_e3_k5" for c in supernet(SMALL).search_space.choices}))
    with torch.device("meta"):
        meta = type(model)(model.config)
        counts = macs_per_module(meta, {"pixel_values": torch.empty(1, 3, 12, 12)})
    assert counts["mobile.features.stem"] == 6 * 6 * 9 * 3 * 8
    # The first layer of stage 2: 8 to 16 channels, stride 2, expansion 3, kernel 5, from 6 x 6 to 3 x 3.
    layer = "mobile.features.layers.2"
    assert counts[f"{layer}.expansion"] == 6 * 6 * 8 * 24
    assert counts[f"{layer}.depthwise"] == 3 * 3 * 25 * 24
    assert counts[f"{layer}.projection"] == 3 * 3 * 24 * 16
    assert counts["classifier"] == 24 * 5
    assert counts[""] == count_macs(meta, {"pixel_values": torch.empty(1, 3, 12, 12, device="meta")})


# -- tables against models --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_tables_are_exact_on_random_architectures(name):
    net = supernet(VARIANTS[name])
    macs, params = macs_table(net), params_table(net)
    for row in net.search_space.sample(4, np.random.default_rng(1)):
        architecture = net.search_space.decode(row)
        model = net.extract(architecture)
        assert params(architecture) == sum(p.numel() for p in model.parameters())
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            model(torch.zeros(1, model.config.num_channels, model.config.image_size, model.config.image_size))
        assert macs(architecture) == counter.get_total_flops() / 2


def test_tables_name_what_they_count():
    net = supernet(SMALL)
    macs, params = macs_table(net), params_table(net)
    assert (macs.name, macs.unit) == ("macs", "multiply-adds")
    assert (params.name, params.unit) == ("params", "parameters")
    assert macs.space == params.space == net.search_space
    left_out = [i for i, choice in enumerate(net.search_space.choices) if "zero" in choice.candidates]
    assert len(left_out) == 4
    assert all(cost.entries[i][-1] == 0 for cost in (macs, params) for i in left_out)


def test_counting_leaves_the_supernet_and_the_random_numbers_alone():
    net = supernet(SMALL).train()
    before = {name: p.clone() for name, p in net.named_parameters()}
    state = torch.get_rng_state()
    macs_table(net)
    params_table(net)
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())


# -- costs that do not add up -----------------------------------------------------------------------------------------


def interacting(model, inputs):
    """Parameters, but kernels of 7 cost one more for each other kernel of 7."""
    counts = params_per_module(model)
    sevens = sum(block.endswith("k7") for block in model.config.blocks)
    return {**counts, "": counts[""] + sevens * (sevens - 1)}


def outside(model, inputs):
    """Parameters, with what a block decides charged to the whole instead of to its layer."""
    counts = params_per_module(model)
    return {**counts, "": counts[""] + sum(10 * block.endswith("k5") for block in model.config.blocks)}


@pytest.mark.parametrize("count", [interacting, outside])
def test_costs_that_do_not_add_up_are_an_error(count):
    with pytest.raises(ValueError, match=r"`odd` of `mobile` does not add up over its choices \(\d+ counted, "):
        count_table(supernet(SMALL), "odd", "", count)


def test_counts_of_one_architecture():
    net = supernet(SMALL)
    architecture = net.search_space.decode([0] * 6)
    counts = count_architecture(net, architecture, params_per_module)
    model = net.extract(architecture)
    assert counts[""] == model.num_parameters()
    assert counts["classifier"] == 24 * 5 + 5
