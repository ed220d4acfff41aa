import numpy as np
import pytest
import torch
from transformers import AutoBackbone, AutoConfig, AutoModel, AutoModelForImageClassification

from searchhub import Limit, SearchArguments, SearchTrainer, TrainingSettings
from searchhub.costs.macs import count_macs, macs_table
from searchhub.costs.params import params_table
from searchhub.data.sources import load_task
from searchhub.models.nasbench_macro.configuration_nasbench_macro import BLOCKS, SearchedNasBenchMacroConfig
from searchhub.models.nasbench_macro.modeling_nasbench_macro import SearchedNasBenchMacroForImageClassification
from searchhub.models.nasbench_macro.supernet_nasbench_macro import (
    NasBenchMacroSupernetConfig,
    NasBenchMacroSupernetForImageClassification,
)
from searchhub.networks import trainer as networks_module
from searchhub.spaces.nasbench_macro import nasbench_macro_space
from searchhub.testing.supernet import SupernetContract
from searchhub.trial import Budget

from ..networks.tiny_run import DIGITS

# Eight channels at least: on processors without AVX-512, oneDNN writes outside of its memory in the backward pass of
# strided 1x1 convolutions of fewer (torch 2.13).
SMALL = {
    "num_labels": 3,
    "image_size": 8,
    "stem_width": 8,
    "stage_widths": [8, 16],
    "stage_depths": [2, 3],
    "stage_strides": [2, 2],
    "head_width": 16,
}

# NAS-Bench-Macro's table for CIFAR-10: parameters and FLOPs, which are multiply-adds of convolutions and the classifier
# without its bias. All 6,561: benchmarks/nasbench_macro_costs.py.
PUBLISHED = {
    "00000000": (387_882, 7_713_280),
    "02012100": (890_666, 47_327_744),
    "00012000": (710_570, 28_037_632),
    "11111111": (1_588_874, 53_246_464),
    "22222222": (2_932_586, 105_660_928),
    "10000000": (396_298, 12_128_768),
    "20020020": (1_460_458, 44_864_000),
    "00100100": (538_730, 16_267_776),
    "22212220": (1_985_514, 85_164_544),
    "12021012": (2_014_602, 67_092_992),
    "01202120": (1_662_058, 55_233_024),
    "21110002": (1_403_242, 48_603_648),
}


def small_supernet(**changes):
    torch.manual_seed(0)
    return NasBenchMacroSupernetForImageClassification(NasBenchMacroSupernetConfig(**{**SMALL, **changes}))


def digits_of(key):
    return np.array([int(digit) for digit in key], dtype=np.uint8)


def blocks_of(key):
    return [BLOCKS[digit] for digit in digits_of(key)]


class TestNasBenchMacroSupernet(SupernetContract):
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


# -- the benchmark ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full_size():
    with torch.device("meta"):
        return NasBenchMacroSupernetForImageClassification(NasBenchMacroSupernetConfig(num_labels=10))


def test_the_defaults_are_the_benchmark(full_size):
    assert full_size.search_space == nasbench_macro_space()
    assert full_size.search_space.choices[0].candidates == BLOCKS
    assert NasBenchMacroSupernetConfig(groups=True).space() == nasbench_macro_space(groups=True)


def test_costs_of_the_benchmark(full_size):
    params, macs = params_table(full_size), macs_table(full_size)
    counted = {key: (params.of_row(digits_of(key)), macs.of_row(digits_of(key))) for key in PUBLISHED}
    assert counted == PUBLISHED
    assert macs.bounds() == (PUBLISHED["00000000"][1], PUBLISHED["22222222"][1])


@pytest.mark.parametrize("key", ["02012100", "20020020", "22212220"])
def test_costs_of_one_network_alone(full_size, key):
    """Counted from the network itself, without the tables that add up its layers."""
    with torch.device("meta"):
        config = SearchedNasBenchMacroConfig(num_labels=10, blocks=blocks_of(key))
        model = SearchedNasBenchMacroForImageClassification(config).eval()
    counted = sum(p.numel() for p in model.parameters()), count_macs(model, full_size.example_inputs())
    assert counted == PUBLISHED[key]


# -- its networks -----------------------------------------------------------------------------------------------------


def test_an_identity_that_changes_the_shape_is_a_linear_convolution():
    config = SearchedNasBenchMacroConfig(**SMALL, blocks=blocks_of("00000"))
    first, second, third, *rest = SearchedNasBenchMacroForImageClassification(config).nasbench_macro.features.layers
    for layer, (width, out) in ((first, (8, 8)), (third, (8, 16))):  # by its stride alone, too
        assert layer.convolution.weight.shape == (out, width, 1, 1)
        assert layer.convolution.stride == (2, 2)
        assert layer.convolution.bias is None
        layer.eval()
        x = torch.randn(2, width, 8, 8)
        normalized = layer.normalization(torch.nn.functional.conv2d(x, layer.convolution.weight, stride=2))
        assert torch.equal(layer(x), normalized)
        assert (normalized < 0).any()
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(second(x), x)
    assert not [p for layer in (second, *rest) for p in layer.parameters()]


def test_a_block_expands_its_input_and_is_no_relu6():
    config = SearchedNasBenchMacroConfig(**SMALL, blocks=blocks_of("21211"))
    layers = SearchedNasBenchMacroForImageClassification(config).nasbench_macro.features.layers
    assert [layer.expansion.convolution.out_channels for layer in layers] == [48, 24, 48, 48, 48]
    assert [layer.depthwise.convolution.kernel_size[0] for layer in layers] == [5, 3, 5, 3, 3]
    assert [layer.depthwise.convolution.stride[0] for layer in layers] == [2, 1, 2, 1, 1]
    assert [layer.residual for layer in layers] == [False, True, False, True, True]
    kinds = {type(m) for m in layers.modules() if not list(m.children())}
    assert kinds == {torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.ReLU, torch.nn.Identity}


def test_where_identities_stand_in_a_stage_changes_nothing():
    """What `canonical_codes` says: "21210" and "21201" are one network."""
    one, other = (
        SearchedNasBenchMacroForImageClassification(SearchedNasBenchMacroConfig(**SMALL, blocks=blocks_of(key))).eval()
        for key in ("21210", "21201")
    )
    moved = {name.replace("layers.3.", "layers.4."): value for name, value in one.state_dict().items()}
    other.load_state_dict(moved)
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(one(x).logits, other(x).logits)


def test_a_quarter_of_the_width_on_small_pictures():
    supernet = small_supernet(
        num_labels=10,
        image_size=16,
        stem_width=8,
        stage_widths=[16, 32, 64],
        stage_depths=[2, 3, 3],
        stage_strides=[2, 2, 2],
        head_width=320,
    )
    assert supernet.search_space == nasbench_macro_space()
    model = supernet.subnet(supernet.search_space.decode(digits_of("02012100"))).eval()
    with torch.no_grad():
        output = model(torch.randn(2, 3, 16, 16), output_hidden_states=True)
    assert output.logits.shape == (2, 10)
    assert [tuple(h.shape[1:]) for h in output.hidden_states] == [(8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2)]
    assert not hasattr(model.config, "groups")


def test_strides_can_keep_small_pictures_from_shrinking():
    supernet = small_supernet(stem_stride=2, stage_strides=[1, 1])
    model = supernet.subnet(supernet.search_space.decode(digits_of("00000"))).eval()
    layers = model.nasbench_macro.features.layers
    assert isinstance(layers[0], torch.nn.Identity)  # it keeps eight channels too
    assert layers[2].convolution.stride == (1, 1)
    assert model.nasbench_macro.features(torch.randn(1, 3, 8, 8))[-1].shape == (1, 16, 4, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": ["mb3_k3"]}, "each of the 5 layers"),
        ({"blocks": ["mb3_k5"] * 5}, "each of the 5 layers"),
        ({"stage_depths": [5]}, "same length"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(Exception, match=message):
        SearchedNasBenchMacroConfig(**{**SMALL, **changes})


# -- transformers -----------------------------------------------------------------------------------------------------


def test_auto_classes_build_and_reload(tmp_path):
    config = AutoConfig.for_model("searched_nasbench_macro", **SMALL, blocks=blocks_of("02012"))
    model = AutoModelForImageClassification.from_config(config).eval()
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    backbone = AutoBackbone.from_config(AutoConfig.from_pretrained(tmp_path, out_features=["stem", "stage2"])).eval()
    backbone = type(backbone).from_pretrained(tmp_path, out_features=["stem", "stage2"]).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(model(x).logits, again(x).logits)
        base = AutoModel.from_pretrained(tmp_path).eval()
        assert torch.equal(base(x).pooler_output, model.nasbench_macro(x).pooler_output)
        maps = backbone(x).feature_maps
        assert torch.equal(maps[1], model.nasbench_macro.features(x)[-1])
    assert [tuple(m.shape) for m in maps] == [(2, 8, 8, 8), (2, 16, 2, 2)]
    assert backbone.channels == [8, 16]
    assert again.config.blocks == blocks_of("02012")


def test_weights_start_as_torch_has_them():
    model = SearchedNasBenchMacroForImageClassification(
        SearchedNasBenchMacroConfig(num_labels=10, stage_depths=[1] * 3)
    )
    head, classifier = model.nasbench_macro.head, model.classifier
    assert head.convolution.weight.abs().max().item() == pytest.approx(256**-0.5, rel=1e-3)
    assert classifier.weight.abs().max().item() == pytest.approx(1280**-0.5, rel=1e-2)
    assert torch.equal(head.normalization.weight, torch.ones(1280))


# -- a search ---------------------------------------------------------------------------------------------------------


def test_a_search_of_digits_ends_in_a_network_that_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(networks_module, "_picture", lambda *_: b"")
    supernet = small_supernet(num_labels=10, groups=True)
    trainer = SearchTrainer(
        supernet,
        load_task(DIGITS),
        SearchArguments(
            output_dir=tmp_path / "run",
            training=TrainingSettings(batch_size=32),
            searcher_options={"estimation_epochs": 1},
            scored=4,
            budget=Budget(max_steps=1),
            epochs=1,
        ),
    )
    middle = sum(macs_table(supernet).bounds()) / 2
    [network] = trainer.train(Limit("macs", max=middle))
    loaded = AutoModelForImageClassification.from_pretrained(network.folder)
    assert type(loaded) is SearchedNasBenchMacroForImageClassification
    assert network.costs["macs"] == count_macs(loaded.to("meta").eval(), supernet.example_inputs()) <= middle
    assert "su2021prioritized" in (network.folder / "README.md").read_text(encoding="utf-8")
