import pytest
import torch
from torch.nn import functional
from transformers import AutoBackbone, AutoConfig, AutoModel, AutoModelForImageClassification

from searchhub.costs.macs import count_macs, macs_table
from searchhub.costs.params import params_table
from searchhub.models.darts.configuration_darts import OPERATIONS as HUB_OPERATIONS
from searchhub.models.darts.configuration_darts import SearchedDartsConfig
from searchhub.models.darts.configuration_darts import cell_edges as hub_cell_edges
from searchhub.models.darts.modeling_darts import (
    SearchedDartsConvLayer,
    SearchedDartsForImageClassification,
    SearchedDartsPool,
    SearchedDartsReduction,
    build_operation,
)
from searchhub.models.darts.supernet_darts import DartsSupernetConfig, DartsSupernetForImageClassification
from searchhub.spaces.darts import OPERATIONS, cell_edges, darts_space
from searchhub.spaces.genotype import Genotype
from searchhub.testing.supernet import SupernetContract

SMALL = {"num_labels": 3, "image_size": 8, "width": 4, "num_cells": 3, "num_nodes": 2}
# As the authors publish them.
DARTS_V1 = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)], reduce_concat=[2, 3, 4, 5])"
)
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
CIFAR = {"num_labels": 10, "width": 36, "num_cells": 20}
IMAGENET = {"num_labels": 1000, "width": 48, "num_cells": 14, "stem": "imagenet", "image_size": 224}


def small_supernet(**changes):
    torch.manual_seed(0)
    return DartsSupernetForImageClassification(DartsSupernetConfig(**{**SMALL, **changes}))


def small_network(**changes):
    torch.manual_seed(0)
    return SearchedDartsForImageClassification(SearchedDartsConfig(**{**SMALL, **changes}))


def small_batch(n=6):
    generator = torch.Generator().manual_seed(0)
    return {
        "pixel_values": torch.randn(n, 3, 8, 8, generator=generator),
        "labels": torch.randint(0, 3, (n,), generator=generator),
    }


class TestDartsSupernet(SupernetContract):
    @pytest.fixture(params=[torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
    def supernet(self, request):
        return small_supernet().to(memory_format=request.param)

    @pytest.fixture
    def batch(self):
        return small_batch()


# -- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("genotype", "sizes", "params", "macs"),
    [
        (DARTS_V1, CIFAR, 3_169_414, 500_987_520),
        (DARTS_V2, CIFAR, 3_349_342, 528_359_040),
        (DARTS_V1, IMAGENET, 4_510_432, 505_864_704),
        (DARTS_V2, IMAGENET, 4_718_752, 529_911_552),
    ],
)
def test_published_cells_have_their_published_sizes(genotype, sizes, params, macs):
    """3.169M, 501.0M; 3.349M, 528.4M; 4.510M, 505.9M; 4.719M, 529.9M."""
    architecture = Genotype.parse(genotype).architecture()
    cells = {
        kind: [op for name, op in architecture.items() if name.startswith(kind)] for kind in ("normal", "reduction")
    }
    config = SearchedDartsConfig(**sizes, **cells)
    with torch.device("meta"):
        model = SearchedDartsForImageClassification(config).eval()
        inputs = {"pixel_values": torch.empty(1, 3, config.image_size, config.image_size)}
        assert count_macs(model, inputs) == macs
    assert sum(p.numel() for p in model.parameters()) == params


@pytest.mark.parametrize(("num_cells", "expected"), [(8, [2, 5]), (6, [2, 4]), (20, [6, 13]), (14, [4, 9])])
def test_reductions_stand_at_a_third_and_at_two_thirds(num_cells, expected):
    assert SearchedDartsConfig(num_cells=num_cells).reduction_layers == expected


def test_reductions_may_stand_elsewhere():
    """The second and the third of six, as DDPNAS's text has it."""
    supernet = small_supernet(num_cells=6, reduction_layers=[1, 2])
    architecture = supernet.search_space.decode([4] * 10)
    model = supernet.subnet(architecture).eval()
    states = model(**small_batch(2), output_hidden_states=True).hidden_states
    assert [tuple(s.shape[1:]) for s in states] == [(12, 8, 8), (8, 8, 8), (16, 4, 4), (32, 2, 2)]
    assert supernet.final.config.reduction_layers == [1, 2]


def test_networks_trained_from_scratch_have_their_own_sizes():
    supernet = small_supernet(final={"width": 8, "num_cells": 6})
    final = supernet.final
    assert (final.config.width, final.config.num_cells, final.config.reduction_layers) == (8, 6, [2, 4])
    assert (final.config.num_nodes, final.config.num_labels) == (2, 3)
    assert not final.config.search_network
    assert final.search_space == supernet.search_space
    assert all(p.is_meta for p in final.parameters())
    assert final.final is final
    # What limits are of is what is trained.
    architecture = supernet.search_space.decode([5] * 10)
    model = SearchedDartsForImageClassification(final.subnet_config(architecture))
    assert params_table(final)(architecture) == sum(p.numel() for p in model.parameters())


def test_costs_of_the_search_space_add_up():
    final = small_supernet(final={"num_cells": 4, "image_size": 16}).final
    macs = macs_table(final)
    space = final.search_space
    architecture = space.decode([0, 4, 5, 6, 7, 1, 2, 3, 0, 4])
    with torch.device("meta"):
        model = final.subnet_class(final.subnet_config(architecture)).eval()
    assert macs(architecture) == count_macs(model, final.example_inputs())


# -- parts ------------------------------------------------------------------------------------------------------------


def test_flat_files_and_space_name_the_same():
    """The modeling files travel alone, so they repeat what the space says."""
    assert HUB_OPERATIONS == OPERATIONS
    assert tuple(hub_cell_edges(4)) == cell_edges()


def test_separable_convolutions_are_two_and_dilated_ones_are_one():
    config = SearchedDartsConfig(**SMALL)
    separable = build_operation(config, "sep_conv_5x5", 4, 2)
    assert [layer.depthwise.stride for layer in separable] == [(2, 2), (1, 1)]
    assert [layer.depthwise.padding for layer in separable] == [(2, 2), (2, 2)]
    assert all(layer.depthwise.groups == 4 for layer in separable)
    for name, padding in (("dil_conv_3x3", 2), ("dil_conv_5x5", 4)):
        dilated = build_operation(config, name, 4, 1)
        assert isinstance(dilated, SearchedDartsConvLayer)
        assert (dilated.depthwise.dilation, dilated.depthwise.padding) == ((2, 2), (padding, padding))


def test_a_skip_of_stride_two_sees_every_second_pixel_of_both_kinds():
    config = SearchedDartsConfig(**SMALL)
    skip = build_operation(config, "skip_connect", 4, 2)
    assert isinstance(skip, SearchedDartsReduction)
    x = torch.randn(2, 4, 8, 8).relu()
    expected = torch.cat([skip.even(x), skip.odd(x[:, :, 1:, 1:])], dim=1)
    assert torch.equal(skip.eval()(x), skip.normalization(expected))
    assert isinstance(build_operation(config, "skip_connect", 4, 1), torch.nn.Identity)


@pytest.mark.parametrize("size", [7, 9])
def test_odd_sizes_are_rounded_up_everywhere(size):
    config = SearchedDartsConfig(**SMALL)
    x = torch.randn(1, 4, size, size)
    for operation in OPERATIONS[1:]:
        assert build_operation(config, operation, 4, 2).eval()(x).shape[-1] == (size + 1) // 2, operation
    none = small_network(normal=["none"] * 5, reduction=["none"] * 5)
    assert none(torch.randn(2, 3, size, size)).logits.shape == (2, 3)


def test_a_search_has_batch_norm_after_pools_and_without_scale_and_shift():
    for search, kind in ((True, torch.nn.BatchNorm2d), (False, torch.nn.Identity)):
        config = SearchedDartsConfig(**SMALL, search_network=search)
        pool = build_operation(config, "max_pool_3x3", 4, 1)
        assert isinstance(pool, SearchedDartsPool)
        assert isinstance(pool.normalization, kind)
        model = SearchedDartsForImageClassification(config)
        assert model.darts.features.cells[0].last.normalization.affine is not search
        assert model.darts.features.stem.first[1].affine
    assert not build_operation(SearchedDartsConfig(search_network=True), "avg_pool_3x3", 4, 1).normalization.affine


def test_average_pools_do_not_count_the_border():
    pool = build_operation(SearchedDartsConfig(**SMALL), "avg_pool_3x3", 1, 1)
    assert torch.equal(pool(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))


def test_a_cell_is_the_sum_over_its_edges_side_by_side():
    operations = ["skip_connect", "none", "max_pool_3x3", "skip_connect", "skip_connect"]
    cell = small_network(normal=operations).darts.features.cells[0].eval()
    before, last = torch.randn(2, 12, 8, 8), torch.randn(2, 12, 8, 8)
    one, other = cell.before(before), cell.last(last)
    expected = [one, functional.max_pool2d(one, 3, 1, 1) + other + one]
    torch.testing.assert_close(cell(before, last), torch.cat(expected, dim=1))


@pytest.mark.parametrize(
    "operations",
    [["none"] * 5, ["none", "sep_conv_3x3", "none", "none", "none"], ["max_pool_3x3", "none", "none", "none", "none"]],
)
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_nodes_without_inputs_are_zeros_and_every_weight_has_a_gradient(operations, stem):
    """Where no edge leaves an input too: several processes would wait for gradients that never come."""
    model = small_network(normal=operations, reduction=operations, stem=stem, search_network=True).train()
    size = 8 if stem == "cifar" else 32
    output = model(torch.randn(4, 3, size, size), labels=torch.tensor([0, 1, 2, 0]))
    output.loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert torch.isfinite(output.logits).all()


# -- training ---------------------------------------------------------------------------------------------------------


def test_drop_path_drops_whole_outputs_of_single_examples_but_no_identities():
    model = small_network(normal=["skip_connect", "dil_conv_3x3", "none", "none", "skip_connect"])
    model.set_drop_path(0.5)
    cell = model.darts.features.cells[0]
    operation = cell.edges["node2_from1"]
    x = torch.randn(200, 4, 4, 4)
    assert torch.equal(cell._edge(cell.edges["node2_from0"], x), x)
    full, dropped = operation(x), cell._edge(operation, x)
    kept = dropped.flatten(1).abs().sum(1) > 0
    assert 60 < kept.sum() < 140
    torch.testing.assert_close(dropped[kept], 2.0 * full[kept])
    model.eval()
    assert torch.equal(cell._edge(operation, x), operation(x))
    model.train().set_drop_path(0.0)
    assert torch.equal(cell._edge(operation, x), operation(x))


def test_the_auxiliary_head_is_there_in_training_only_and_no_part_of_the_network():
    torch.manual_seed(0)
    model = SearchedDartsForImageClassification(SearchedDartsConfig(**{**SMALL, "image_size": 32}))
    names = [name for name, _ in model.named_parameters()]
    x = torch.randn(2, 3, 32, 32)
    assert model(x).auxiliary_logits is None
    model.attach_auxiliary_head()
    assert model(x).auxiliary_logits.shape == (2, 3)
    # After cell 2 L // 3 = 2, of 2 nodes of 4 · 2 · 2 channels.
    convolutions = [m for m in model.auxiliary_head if isinstance(m, torch.nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size) for m in convolutions] == [
        (32, 128, (1, 1)),
        (128, 768, (2, 2)),
    ]
    model.eval()
    assert model(x).auxiliary_logits is None
    model.detach_auxiliary_head()
    assert [name for name, _ in model.named_parameters()] == names


@pytest.mark.parametrize(
    ("sizes", "fits"),
    [(CIFAR, True), (IMAGENET, True), (SMALL, False), ({**IMAGENET, "reduction_layers": [5, 9]}, True)],
)
def test_the_auxiliary_head_needs_maps_of_its_size(sizes, fits):
    config = SearchedDartsConfig(**sizes)
    assert config.takes_auxiliary_head is fits
    if not fits:
        with pytest.raises(ValueError, match="8 x 8"):
            SearchedDartsForImageClassification(config).attach_auxiliary_head()


# -- loading ----------------------------------------------------------------------------------------------------------


def test_auto_classes_build_and_reload(tmp_path):
    cell = ["sep_conv_3x3", "none", "max_pool_3x3", "none", "dil_conv_5x5"]
    config = AutoConfig.for_model("searched_darts", **SMALL, normal=cell, reduction=["skip_connect"] * 5)
    model = AutoModelForImageClassification.from_config(config).eval()
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(model(x).logits, again(x).logits)
        base = AutoModel.from_pretrained(tmp_path).eval()
        assert torch.equal(base(x).pooler_output, model.darts(x).pooler_output)
    assert again.config.normal == cell


def test_a_network_is_a_backbone(tmp_path):
    model = small_network().eval()
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path, out_features=["stem", "stage1", "stage3"])
    backbone = type(AutoBackbone.from_config(config)).from_pretrained(tmp_path, config=config).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        maps = backbone(x).feature_maps
        assert torch.equal(maps[-1], model.darts.features(x)[0][-1])
    assert [tuple(m.shape) for m in maps] == [(2, 12, 8, 8), (2, 8, 8, 8), (2, 32, 2, 2)]
    assert backbone.channels == [12, 8, 32]


def test_weights_start_as_torch_has_them():
    model = small_network(width=16)
    for name, tensor in model.state_dict().items():
        assert torch.isfinite(tensor.float()).all(), name
        assert tensor.float().abs().max() < 10, name
    weight = model.darts.features.cells[0].last.pointwise.weight
    assert weight.abs().max() <= 1 / 48**0.5
    assert weight.std().item() == pytest.approx((1 / 48 / 3) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normal": ["none"]}, "each of the 5 edges"),
        ({"reduction": ["conv"] * 5}, "5 edges"),
        ({"stem": "cityscapes"}, "stem"),
        ({"reduction_layers": [3]}, "reduction_layers"),
        ({"num_cells": 0}, "num_cells"),
        ({"stem": "imagenet", "width": 5}, "even"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(Exception, match=message):
        SearchedDartsConfig(**{**SMALL, **changes})


def test_outputs_follow_transformers_conventions():
    model = small_network().eval()
    batch = small_batch(2)
    output = model(**batch, output_hidden_states=True)
    assert output.loss.item() == pytest.approx(functional.cross_entropy(output.logits, batch["labels"]).item())
    assert len(output.hidden_states) == 4
    loss, logits = model(**batch, return_dict=False)
    assert torch.equal(logits, output.logits)
    assert loss == output.loss


def test_the_supernets_space_has_its_operations():
    supernet = small_supernet(operations=["none", "skip_connect", "sep_conv_3x3"], groups=False)
    assert supernet.search_space == darts_space(
        num_nodes=2, operations=["none", "skip_connect", "sep_conv_3x3"], groups=False
    )
