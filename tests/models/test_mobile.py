import pytest
import torch
from transformers import AutoBackbone, AutoConfig, AutoModel, AutoModelForImageClassification

from searchhub.errors import InvalidInputError
from searchhub.models.mobile.configuration_mobile import SearchedMobileConfig
from searchhub.models.mobile.modeling_mobile import SearchedMobileForImageClassification
from searchhub.models.mobile.supernet_mobile import (
    MobileSupernetConfig,
    MobileSupernetForImageClassification,
    make_divisible,
)
from searchhub.space import Architecture
from searchhub.testing.supernet import SupernetContract

SMALL = {
    "num_labels": 3,
    "image_size": 8,
    "stem_width": 8,
    "stem_stride": 1,
    "first_width": 8,
    "stage_widths": [8, 16],
    "stage_depths": [1, 2],
    "stage_strides": [1, 2],
    "head_width": 16,
}


def small_supernet(**changes):
    torch.manual_seed(0)
    return MobileSupernetForImageClassification(MobileSupernetConfig(**{**SMALL, **changes}))


class TestMobileSupernet(SupernetContract):
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


def test_full_size_space_is_proxylessnas():
    space = MobileSupernetConfig().space()
    assert len(space.choices) == 21
    assert space.size == 6**6 * 7**15
    assert sum("zero" in choice.candidates for choice in space.choices) == 15
    assert space.choices[0].name == "stage1.layer1"
    assert set(space.choices[1].groups) == {"parameter", "non-parameter"}


def test_zero_is_offered_where_a_first_layer_keeps_its_shape():
    # Stage 1 keeps 8 channels at stride 1, so that even its first layer may be left out.
    candidates = [c.candidates for c in small_supernet().search_space.choices]
    assert ["zero" in c for c in candidates] == [True, False, True]


def test_a_zero_layer_is_an_identity_without_parameters():
    supernet = small_supernet()
    blocks = {"stage1.layer1": "zero", "stage2.layer1": "mbconv_e3_k3", "stage2.layer2": "zero"}
    model = supernet.subnet(Architecture(blocks)).eval()
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(model.mobile.features.layers[0](x), x)
    assert not list(model.mobile.features.layers[2].parameters())


def test_weights_start_alike_on_meta_and_for_real():
    """`from_pretrained` builds on meta and initializes what a checkpoint lacks; nothing may come out as garbage."""
    torch.manual_seed(0)
    model = SearchedMobileForImageClassification(SearchedMobileConfig(**SMALL))
    for name, tensor in model.state_dict().items():
        assert torch.isfinite(tensor.float()).all(), name
        assert tensor.float().abs().max() < 10, name
    assert model.mobile.features.stem.convolution.weight.std().item() == pytest.approx((2 / (9 * 8)) ** 0.5, rel=0.2)
    assert torch.equal(model.mobile.features.stem.normalization.weight, torch.ones(8))


def test_an_architecture_of_another_space_is_refused():
    with pytest.raises(InvalidInputError, match="no choices"):
        small_supernet().subnet(Architecture({"stage9.layer1": "zero"}))


def test_subnets_keep_the_supernets_labels_and_sizes():
    supernet = small_supernet(id2label={0: "cat", 1: "dog", 2: "cow"}, label2id={"cat": 0, "dog": 1, "cow": 2})
    architecture = supernet.search_space.decode([0, 0, 0])
    config = supernet.subnet_config(architecture)
    assert config.id2label == {0: "cat", 1: "dog", 2: "cow"}
    assert config.blocks == ["mbconv_e3_k3"] * 3
    assert config.model_type == "searched_mobile"
    assert not hasattr(config, "expansions")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": ["mbconv_e3_k3"]}, "one entry a layer"),
        ({"blocks": ["mbconv_e3_k4", "mbconv_e3_k3", "zero"]}, "odd kernel"),
        ({"blocks": ["mbconv_e3_k3", "zero", "zero"]}, "changes the shape"),
        ({"stage_depths": [1]}, "same length"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(Exception, match=message):
        SearchedMobileConfig(**{**SMALL, **changes})


def test_width_multiplier_rounds_as_mobilenet_does():
    assert [make_divisible(w) for w in (3, 11.2, 12, 24, 33.6, 40.1)] == [8, 16, 16, 24, 32, 40]
    config = MobileSupernetConfig.with_multiplier(0.5, **SMALL)
    assert config.stage_widths == [8, 8]
    assert config.head_width == 16, "the head keeps its width below 1"
    assert MobileSupernetConfig.with_multiplier(2.0, **SMALL).head_width == 32
    with pytest.raises(InvalidInputError, match="width_multiplier"):
        MobileSupernetConfig.with_multiplier(0.0)


def test_auto_classes_build_and_reload(tmp_path):
    config = AutoConfig.for_model("searched_mobile", **SMALL)
    model = AutoModelForImageClassification.from_config(config).eval()
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(model(x).logits, again(x).logits)
        base = AutoModel.from_pretrained(tmp_path).eval()
        assert torch.equal(base(x).pooler_output, model.mobile(x).pooler_output)
    assert again.config.blocks == config.blocks


def test_backbone_gives_the_selected_stages(tmp_path):
    config = AutoConfig.for_model("searched_mobile", **SMALL, out_features=["stem", "stage2"])
    backbone = AutoBackbone.from_config(config).eval()
    maps = backbone(torch.randn(2, 3, 8, 8)).feature_maps
    assert [tuple(m.shape) for m in maps] == [(2, 8, 8, 8), (2, 16, 4, 4)]
    assert backbone.channels == [8, 16]


def test_backbone_takes_a_classifiers_weights(tmp_path):
    model = SearchedMobileForImageClassification(SearchedMobileConfig(**SMALL)).eval()
    model.save_pretrained(tmp_path)
    backbone = AutoBackbone.from_config(AutoConfig.from_pretrained(tmp_path, out_indices=[-1])).eval()
    loaded = type(backbone).from_pretrained(tmp_path, out_indices=[-1]).eval()
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded(x).feature_maps[-1], model.mobile.features(x)[-1])


def test_outputs_follow_transformers_conventions():
    model = SearchedMobileForImageClassification(SearchedMobileConfig(**SMALL)).eval()
    x, labels = torch.randn(2, 3, 8, 8), torch.tensor([0, 2])
    output = model(x, labels=labels, output_hidden_states=True)
    assert output.loss.item() == pytest.approx(torch.nn.functional.cross_entropy(output.logits, labels).item())
    assert len(output.hidden_states) == 3
    loss, logits = model(x, labels=labels, return_dict=False)
    assert torch.equal(logits, output.logits)
    assert loss == output.loss
