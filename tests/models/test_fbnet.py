import pytest
import torch
from torch.nn import functional
from transformers import AutoBackbone, AutoConfig, AutoModel, AutoModelForImageClassification

from searchhub.costs.macs import count_macs, macs_table
from searchhub.costs.params import params_table
from searchhub.models.fbnet.configuration_fbnet import SearchedFBNetConfig
from searchhub.models.fbnet.modeling_fbnet import SearchedFBNetForImageClassification, build_layer
from searchhub.models.fbnet.supernet_fbnet import FBNetSupernetConfig
from searchhub.space import Architecture
from searchhub.testing.supernet import SupernetContract

from .tiny_fbnet import SMALL, tiny_fbnet


class TestFBNetSupernet(SupernetContract):
    @pytest.fixture(params=[torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
    def supernet(self, request):
        return tiny_fbnet().to(memory_format=request.param)

    @pytest.fixture
    def batch(self):
        return batch()


def batch():
    generator = torch.Generator().manual_seed(0)
    return {
        "pixel_values": torch.randn(6, 3, 8, 8, generator=generator),
        "labels": torch.randint(0, 4, (6,), generator=generator),
    }


# -- sizes ------------------------------------------------------------------------------------------------------------

# Kernel/expansion of the published networks, layer by layer; g: two groups, -: skip.
PUBLISHED = {
    "A": "- 3/3 3/1 - - 5/6 3/3 5/1 3/3 5/6 5/3 5/1g 5/6 3/6 5/1g 5/3 3/1g 5/6 5/6 5/3 5/6 5/6",
    "B": "3/1 3/6 5/1 3/1 3/1 5/6 5/3 3/6 5/6 5/6 5/6 - 5/3 5/6 3/1 5/1 5/3 5/6 5/1 5/6 5/6 3/6",
    "C": "3/1 3/6 - 3/1 3/1 5/6 5/3 5/6 3/6 5/6 5/3 5/6 5/6 5/6 5/6 5/6 5/3 5/6 5/6 5/6 5/6 3/6",
}
HEADS = {"A": 1504, "B": 1984, "C": 1984}


def block(word):
    if word == "-":
        return "skip"
    kernel, expansion = word.removesuffix("g").split("/")
    return f"k{kernel}_e{expansion}" + ("_g2" if word.endswith("g") else "")


@pytest.mark.parametrize(
    ("always_expand", "stride_at", "millions"),
    [
        (False, "depthwise", {"A": 244.5, "B": 291.0, "C": 378.1}),  # the published code
        (True, "depthwise", {"A": 249.9, "B": 306.2, "C": 385.0}),
        (True, "expansion", {"A": 219.9, "B": 269.0, "C": 347.7}),  # DC-NAS's words; not published anywhere
        (False, "expansion", {"A": 214.4, "B": 253.7, "C": 340.9}),
    ],
)
def test_multiply_adds_of_the_published_networks(always_expand, stride_at, millions):
    for name, words in PUBLISHED.items():
        blocks = [block(word) for word in words.split()]
        config = SearchedFBNetConfig(
            blocks=blocks, head_width=HEADS[name], always_expand=always_expand, stride_at=stride_at, num_labels=1000
        )
        with torch.device("meta"):
            model = SearchedFBNetForImageClassification(config)
            macs = count_macs(model, {"pixel_values": torch.empty(1, 3, 224, 224)})
        assert round(macs / 1e6, 1) == millions[name], name


@pytest.mark.parametrize("changes", [{}, {"always_expand": False, "stride_at": "depthwise"}])
def test_costs_add_up(changes):
    """`count_table` compares whole random networks with the sum of their parts."""
    supernet = tiny_fbnet(**changes)
    macs, params = macs_table(supernet), params_table(supernet)
    model = supernet.extract(supernet.search_space.decode([0, 1, 8]))
    assert params.of_row(torch.tensor([0, 1, 8]).numpy()) == sum(p.numel() for p in model.parameters())
    assert macs.entries[2][8] == 0, "an identity"
    assert macs.entries[1][8] > 0, "a strided 1x1 convolution"


# -- blocks -----------------------------------------------------------------------------------------------------------


def test_a_skip_is_an_identity_or_a_strided_convolution():
    model = tiny_fbnet().subnet(Architecture({f"stage{s}": "skip" for s in ("1.layer1", "2.layer1", "2.layer2")}))
    layers = model.eval().fbnet.features.layers
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(layers[0](x), x)
    y = layers[1](x)
    assert y.shape == (2, 16, 2, 2)
    assert (y >= 0).all(), "ReLU"
    assert not list(layers[0].parameters()) + list(layers[2].parameters())


def test_channels_are_shuffled_between_groups():
    """Without a shuffle the second half of the outputs would depend on the second half of the inputs alone."""
    config = SearchedFBNetConfig(**SMALL)
    torch.manual_seed(0)
    grouped = build_layer(config, "k3_e1_g2", 8, 16, 2).eval()
    assert (grouped.expansion.convolution.groups, grouped.projection.convolution.groups) == (2, 2)
    x = torch.randn(1, 8, 4, 4, requires_grad=True)
    grouped(x)[:, 8:].sum().backward()
    reached = x.grad.abs().sum((0, 2, 3)) > 0
    assert reached[:4].any()
    assert reached[4:].any()
    expected = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])
    assert torch.equal(grouped.shuffle(torch.arange(8.0).view(1, 8, 1, 1)).flatten().long(), expected)


@pytest.mark.parametrize(
    ("changes", "strides"),
    [
        ({}, (2, 1)),
        ({"stride_at": "depthwise"}, (1, 2)),
        ({"always_expand": False}, (None, 2)),
    ],
)
def test_where_a_block_of_expansion_1_strides(changes, strides):
    layer = build_layer(SearchedFBNetConfig(**SMALL, **changes), "k5_e1", 8, 16, 2)
    expansion = None if isinstance(layer.expansion, torch.nn.Identity) else layer.expansion.convolution.stride[0]
    assert (expansion, layer.depthwise.convolution.stride[0]) == strides
    assert layer(torch.randn(2, 8, 8, 8)).shape == (2, 16, 4, 4)


def test_a_block_that_keeps_the_shape_adds_its_input():
    layer = build_layer(SearchedFBNetConfig(**SMALL), "k3_e3", 8, 8, 1).eval()
    x = torch.randn(2, 8, 4, 4)
    torch.nn.init.zeros_(layer.projection.normalization.weight)
    assert torch.equal(layer(x), x)
    assert not build_layer(SearchedFBNetConfig(**SMALL), "k3_e3", 8, 16, 1).residual


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": ["k3_e1"]}, "one entry a layer"),
        ({"blocks": ["k4_e1", "skip", "skip"]}, "odd kernel"),
        ({"blocks": ["k3_e1_g3", "skip", "skip"]}, "divide by its groups"),
        ({"stage_depths": [1]}, "same length"),
        ({"stride_at": "projection"}, "stride_at"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(Exception, match=message):
        SearchedFBNetConfig(**{**SMALL, **changes})


# -- the mixture ------------------------------------------------------------------------------------------------------


def test_one_candidate_with_all_the_weight_is_its_subnet():
    supernet = tiny_fbnet()
    row, inputs = [3, 1, 8], batch()
    weights = functional.one_hot(torch.tensor(row), 9).float()
    subnet = supernet.subnet(supernet.search_space.decode(row)).train()
    mixed, alone = supernet.mixture().train()(weights=weights, **inputs), subnet(**inputs)
    torch.testing.assert_close(mixed.logits, alone.logits)
    torch.testing.assert_close(mixed.loss, alone.loss)


def test_every_layer_outputs_the_weighted_sum_of_its_candidates():
    supernet = tiny_fbnet(stage_widths=[8], stage_depths=[1], stage_strides=[1]).eval()
    x, weights = batch()["pixel_values"], torch.rand(1, 9).softmax(-1)
    mixture = supernet.mixture().eval()
    hidden = supernet.stem(x)
    total = sum(m * candidate(hidden) for m, candidate in zip(weights[0], supernet.layers[0].values(), strict=True))
    expected = supernet.classifier(supernet.head(total).mean((2, 3)))
    torch.testing.assert_close(mixture(x, weights).logits, expected)


def test_a_mixture_is_the_supernets_own_weights():
    supernet = tiny_fbnet()
    mixture = supernet.mixture()
    theirs, mine = dict(supernet.named_parameters()), dict(mixture.named_parameters())
    assert list(theirs) == list(mine)
    assert all(theirs[name] is mine[name] for name in theirs)
    weights = torch.full((3, 9), 1 / 9, requires_grad=True)
    mixture(weights=weights, **batch()).loss.backward()
    assert all(p.grad is not None for p in supernet.parameters())
    assert (weights.grad != 0).all()


# -- with transformers ------------------------------------------------------------------------------------------------


def test_subnets_keep_the_supernets_labels_and_sizes():
    supernet = tiny_fbnet(always_expand=False, stride_at="depthwise")
    config = supernet.subnet_config(supernet.search_space.decode([0, 1, 8]))
    assert config.blocks == ["k3_e1", "k3_e1_g2", "skip"]
    assert (config.model_type, config.always_expand, config.stride_at) == ("searched_fbnet", False, "depthwise")
    assert not hasattr(config, "candidates")
    assert FBNetSupernetConfig().space().size == 9**22


def test_auto_classes_build_and_reload(tmp_path):
    config = AutoConfig.for_model("searched_fbnet", **SMALL, blocks=["k5_e3", "k3_e1_g2", "skip"])
    model = AutoModelForImageClassification.from_config(config).eval()
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(model(x).logits, again(x).logits)
        base = AutoModel.from_pretrained(tmp_path).eval()
        assert torch.equal(base(x).pooler_output, model.fbnet(x).pooler_output)
        loaded = AutoBackbone.from_config(AutoConfig.from_pretrained(tmp_path, out_features=["stem", "stage2"]))
        backbone = type(loaded).from_pretrained(tmp_path, out_features=["stem", "stage2"]).eval()
        maps = backbone(x).feature_maps
    assert torch.equal(maps[-1], model.fbnet.features(x)[-1])
    assert [tuple(m.shape) for m in maps] == [(2, 8, 8, 8), (2, 16, 4, 4)]
    assert backbone.channels == [8, 16]
    assert again.config.blocks == config.blocks


def test_outputs_follow_transformers_conventions():
    model = SearchedFBNetForImageClassification(SearchedFBNetConfig(**SMALL)).eval()
    inputs = batch()
    output = model(**inputs, output_hidden_states=True)
    assert output.loss.item() == pytest.approx(functional.cross_entropy(output.logits, inputs["labels"]).item())
    assert len(output.hidden_states) == 3
    loss, logits = model(**inputs, return_dict=False)
    assert torch.equal(logits, output.logits)
    assert loss == output.loss
