import itertools

import pytest
import torch
from transformers import AutoBackbone, AutoConfig, AutoModel, AutoModelForImageClassification

from searchhub.costs.macs import count_macs, macs_table
from searchhub.costs.params import params_table
from searchhub.models.nasbench201.configuration_nasbench201 import SearchedNasBench201Config
from searchhub.models.nasbench201.modeling_nasbench201 import SearchedNasBench201ForImageClassification
from searchhub.models.nasbench201.supernet_nasbench201 import (
    NasBench201SupernetConfig,
    NasBench201SupernetForImageClassification,
)
from searchhub.spaces.nasbench201 import nasbench201_space
from searchhub.testing.supernet import SupernetContract

SMALL = {"num_labels": 3, "image_size": 8, "width": 4, "num_stages": 2, "cells_per_stage": 2}


def small_supernet(**changes):
    torch.manual_seed(0)
    return NasBench201SupernetForImageClassification(NasBench201SupernetConfig(**{**SMALL, **changes}))


def architecture_of(*operations):
    space = nasbench201_space()
    return space.decode([space.choices[0].candidates.index(operation) for operation in operations])


class TestNasBench201Supernet(SupernetContract):
    @pytest.fixture(params=[torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
    def supernet(self, request):
        return small_supernet().to(memory_format=request.param)

    @pytest.fixture
    def batch(self):
        generator = torch.Generator().manual_seed(0)
        return {
            "pixel_values": torch.randn(6, 3, 8, 8, generator=generator),
            "labels": torch.randint(0, 3, (6,), generator=generator),
        }


@pytest.fixture(scope="module")
def full_size():
    """Tables of the networks of the benchmark, for CIFAR-10."""
    networks = NasBench201SupernetForImageClassification(NasBench201SupernetConfig(num_labels=10)).final
    return macs_table(networks), params_table(networks)


def test_costs_of_the_benchmark(full_size):
    """Dong and Yang 2020: 7.78M to 220.12M multiply-adds, and 0.073M to 1.531546M parameters."""
    macs, params = full_size
    assert macs.bounds() == (7_783_040, 220_119_680)
    assert params.bounds() == (73_306, 1_531_546)
    # |nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|, number 6111.
    best = architecture_of(
        "nor_conv_3x3", "nor_conv_3x3", "avg_pool_3x3", "skip_connect", "nor_conv_3x3", "skip_connect"
    )
    assert (macs(best), params(best)) == (113_951_360, 802_426)


def test_edges_cost_what_their_operations_do(full_size):
    macs, params = full_size
    # 15 cells: 16, 32 and 64 channels at 32, 16 and 8 pixels.
    convolution = 5 * 3 * 16 * 16 * 32 * 32
    weights = 5 * (16**2 + 32**2 + 64**2)
    norms = 5 * 2 * (16 + 32 + 64)
    for table, expected in (
        (macs, [0, 0, convolution, 9 * convolution, 0]),
        (params, [0, 0, weights + norms, 9 * weights + norms, 0]),
    ):
        for entry in table.entries:
            assert (entry - entry[0]).tolist() == expected


def test_a_search_network_has_batch_norm_without_scale_and_shift_in_its_cells():
    supernet = small_supernet()
    architecture = architecture_of(*["nor_conv_3x3"] * 6)
    model = supernet.subnet(architecture)
    cell = model.nasbench201.features.stages[0][0]
    assert not cell.edges["node1_from0"].normalization.affine
    assert model.nasbench201.features.stem[1].affine
    # As in the benchmark's own search networks, whose blocks between stages are `ResNetBasicblock(C_prev, C_curr, 2)`.
    for layer in (model.nasbench201.features.reductions[0].first, model.nasbench201.features.reductions[0].second):
        assert layer.normalization.affine
    alone = supernet.final.subnet_config(architecture)
    assert not alone.search_network
    assert (
        SearchedNasBench201ForImageClassification(alone)
        .nasbench201.features.stages[0][0]
        .edges["node1_from0"]
        .normalization.affine
    )
    assert supernet.final.search_space == supernet.search_space
    assert supernet.final.final is supernet.final


def test_a_cell_is_the_sum_over_its_edges():
    config = SearchedNasBench201Config(
        **SMALL,
        operations=["skip_connect", "avg_pool_3x3", "skip_connect", "none", "skip_connect", "skip_connect"],
    )
    cell = SearchedNasBench201ForImageClassification(config).nasbench201.features.stages[0][0]
    x = torch.randn(2, 4, 8, 8)
    pooled = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(cell(x), x + (pooled + x))


@pytest.mark.parametrize(
    "operations",
    [
        ["none"] * 6,
        ["nor_conv_3x3", "none", "none", "none", "none", "none"],
        ["none", "none", "nor_conv_1x1", "none", "none", "nor_conv_3x3"],
        ["nor_conv_3x3", "nor_conv_3x3", "none", "skip_connect", "none", "none"],
    ],
)
def test_nodes_without_inputs_are_zeros_and_every_weight_has_a_gradient(operations):
    """Where no edge enters or leaves a node too: several processes would wait for gradients that never come."""
    model = small_supernet().subnet(architecture_of(*operations)).train()
    x, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
    output = model(x, labels=labels)
    output.loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert torch.isfinite(output.logits).all()
    cell = model.nasbench201.features.stages[0][0].eval()
    if operations[3:] == ["none"] * 3:
        assert torch.equal(cell(torch.randn(1, 4, 8, 8)), torch.zeros(1, 4, 8, 8))


def test_costs_add_up_and_nodes_that_lead_nowhere_count():
    networks = small_supernet().final
    macs = macs_table(networks)
    for operations in itertools.islice(itertools.product(("none", "nor_conv_1x1"), repeat=6), 0, None, 3):
        architecture = architecture_of(*operations)
        with torch.device("meta"):
            model = networks.subnet_class(networks.subnet_config(architecture)).eval()
        assert macs(architecture) == count_macs(model, networks.example_inputs())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operations": ["none"]}, "each of the 6 edges"),
        ({"operations": ["conv"] * 6}, "6 edges"),
        ({"width": 0}, "width"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(Exception, match=message):
        SearchedNasBench201Config(**{**SMALL, **changes})


def test_auto_classes_build_and_reload(tmp_path):
    operations = ["nor_conv_3x3", "none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "none"]
    config = AutoConfig.for_model("searched_nasbench201", **SMALL, operations=operations)
    model = AutoModelForImageClassification.from_config(config).eval()
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    backbone = AutoBackbone.from_config(AutoConfig.from_pretrained(tmp_path, out_features=["stem", "stage2"])).eval()
    backbone = type(backbone).from_pretrained(tmp_path, out_features=["stem", "stage2"]).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(model(x).logits, again(x).logits)
        base = AutoModel.from_pretrained(tmp_path).eval()
        assert torch.equal(base(x).pooler_output, model.nasbench201(x).pooler_output)
        maps = backbone(x).feature_maps
        assert torch.equal(maps[1], model.nasbench201.features(x)[-1])
    assert [tuple(m.shape) for m in maps] == [(2, 4, 8, 8), (2, 8, 4, 4)]
    assert backbone.channels == [4, 8]
    assert again.config.operations == operations


def test_outputs_follow_transformers_conventions():
    model = SearchedNasBench201ForImageClassification(SearchedNasBench201Config(**SMALL)).eval()
    x, labels = torch.randn(2, 3, 8, 8), torch.tensor([0, 2])
    output = model(x, labels=labels, output_hidden_states=True)
    assert output.loss.item() == pytest.approx(torch.nn.functional.cross_entropy(output.logits, labels).item())
    assert len(output.hidden_states) == 3
    loss, logits = model(x, labels=labels, return_dict=False)
    assert torch.equal(logits, output.logits)
    assert loss == output.loss
