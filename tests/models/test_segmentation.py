"""What the networks that tell the class of each pixel do, in every family."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional

import searchhub
from searchhub.costs.macs import count_macs, macs_table
from searchhub.costs.params import params_table
from searchhub.costs.timing import Bench
from searchhub.models.darts.modeling_darts import SearchedDartsReduction
from searchhub.models.mobile.modeling_mobile_segmentation import LrAsppHead
from searchhub.testing.supernet import SupernetContract
from searchhub.training.loop import _loss, cross_entropy
from searchhub.training.settings import TrainingSettings

from .tiny_segmentation import FAMILIES, SIZE, batch_of, config_of, model_of, supernet_of

each_family = pytest.mark.parametrize("family", FAMILIES)
SETTINGS = {"output_stride", "segmentation_head", "aspp_width", "aspp_rates", "aspp_separable", "aspp_dropout"}


class TestSupernets(SupernetContract):
    @pytest.fixture(params=FAMILIES)
    def supernet(self, request):
        return supernet_of(request.param).to(memory_format=torch.channels_last)

    @pytest.fixture
    def batch(self):
        return batch_of()


# -- what comes out ---------------------------------------------------------------------------------------------------


@each_family
@pytest.mark.parametrize("head", ["aspp", "lraspp"])
def test_any_height_and_width(family, head):
    """Logits are as large as the head makes them, and not as the picture."""
    model = model_of(family, segmentation_head=head)
    strides = {"aspp": model.config.output_stride, "lraspp": {"mobile": 8, "darts": 4}[family]}
    with torch.inference_mode():
        for height, width in ((32, 48), (45, 61), (1, 1)):
            output = model(torch.randn(2, 3, height, width), output_hidden_states=True)
            assert output.logits.shape == (2, 3, -(-height // strides[head]), -(-width // strides[head]))
            assert torch.isfinite(output.logits).all()
            assert [m.shape[1] for m in output.hidden_states] == model.config.map_widths
    logits, states = model(torch.randn(1, 3, 32, 48), output_hidden_states=True, return_dict=False)
    assert (logits.shape[1], len(states)) == (3, len(model.config.map_widths))


@each_family
def test_the_loss_is_that_of_valid_pixels_at_the_masks_size(family):
    model, batch = model_of(family), batch_of()
    output = model(**batch)
    logits = functional.interpolate(output.logits, SIZE, mode="bilinear", align_corners=False)
    assert output.loss.item() == pytest.approx(
        functional.cross_entropy(logits, batch["labels"], ignore_index=255).item()
    )
    # Class 0 is a class.
    zeros = torch.where(batch["labels"] == 0, 255, batch["labels"])
    assert model(batch["pixel_values"], zeros).loss.item() != pytest.approx(output.loss.item())
    # So is a mask of another size than the picture.
    assert model(batch["pixel_values"], batch["labels"][:, ::2, ::3]).loss > 0


@each_family
def test_a_batch_without_a_valid_pixel_has_no_loss(family):
    model, batch = model_of(family), batch_of()
    loss = model.train()(batch["pixel_values"], torch.full_like(batch["labels"], 255)).loss
    assert loss.item() == 0
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@each_family
def test_an_auxiliary_head_is_there_in_training_alone(family):
    """Its loss is of the masks' size, it trains the stages before it, and nothing of it is left."""
    model, batch = model_of(family), batch_of()
    names = list(model.state_dict())
    model.attach_auxiliary_head()
    assert "auxiliary_logits" not in model.eval()(**batch)
    settings = TrainingSettings(auxiliary_weight=0.4)
    output = model.train()(**batch)
    head = model.auxiliary_head
    assert output.auxiliary_logits.shape[:2] == (2, 3)
    with torch.no_grad():
        for module in (head, model.segmentation_head):
            module.eval()  # no dropout
        main, together = model(**batch), _loss(model, batch, settings)
        of_both = main.loss + 0.4 * cross_entropy(main.auxiliary_logits, batch["labels"], 0.0)
    assert together.item() == pytest.approx(of_both.item(), rel=1e-5)
    model.train().zero_grad()
    cross_entropy(model(**batch).auxiliary_logits, batch["labels"], 0.0).backward()
    assert all(p.grad.any() for p in head.parameters())
    assert next(model.base_model.features.stem.parameters()).grad.any()
    assert all(p.grad is None for p in model.segmentation_head.parameters())
    model.detach_auxiliary_head()
    assert list(model.state_dict()) == names


@each_family
def test_weights_start_alike_on_meta_and_for_real(family, tmp_path):
    """A head that a checkpoint lacks is initialized, and its classifiers begin without a preference."""
    model = model_of(family, segmentation_head="lraspp")
    model.segmentation_head = torch.nn.Identity()
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    for name, tensor in again.state_dict().items():
        assert torch.isfinite(tensor.float()).all(), name
        assert tensor.float().abs().max() < 10, name
    classifier = again.segmentation_head.low_classifier
    assert not classifier.bias.any()
    assert 0 < classifier.weight.abs().max() < 0.1


# -- settings ---------------------------------------------------------------------------------------------------------


@each_family
def test_settings_are_left_out_where_they_are_as_they_always_were(family):
    """So that configurations of classifiers stay what they were, to the byte."""
    kind = type(config_of(family))
    for use_diff in (True, False):
        assert not SETTINGS & set(json.loads(kind().to_json_string(use_diff=use_diff)))
    supernet = getattr(searchhub, f"{FAMILIES[family][0].removeprefix('Searched')}SupernetConfig")
    assert not (SETTINGS | {"cost_size"}) & set(supernet().to_dict())
    changed = config_of(family, aspp_rates=[1, 2], aspp_separable=True, aspp_dropout=0.1, segmentation_head="lraspp")
    assert set(changed.to_dict()) >= SETTINGS
    assert kind.from_dict(json.loads(changed.to_json_string())).to_dict() == changed.to_dict()
    assert set(supernet(cost_size=[4, 6]).to_dict()) >= {"cost_size"}


@each_family
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": [8, 8, 8]}, r"a number or \[height, width\]"),
        ({"image_size": 0}, r"a number or \[height, width\]"),
        ({"output_stride": 12}, r"`output_stride` must be among \[.*16.*\] for this network, but is 12"),
        ({"segmentation_head": "fcn"}, '"aspp" or "lraspp"'),
        ({"aspp_width": 0}, "`aspp_width >= 1` must hold, but got 0"),
        ({"aspp_rates": []}, r"`aspp_rates >= 1` must hold, but got \[\]"),
        ({"aspp_rates": [6, 0]}, r"`aspp_rates >= 1` must hold"),
    ],
)
def test_impossible_settings_are_refused(family, changes, message):
    with pytest.raises(Exception, match=message):
        config_of(family, **changes)


@each_family
def test_costs_need_a_size_that_there_is(family):
    for size in (0, [512], [0, 8]):
        with pytest.raises(Exception, match=r"`cost_size` must be a number or \[height, width\], 1 or more, but is"):
            supernet_of(family, cost_size=size)


@each_family
@pytest.mark.parametrize("labels", [1, 256])
def test_labels_that_cannot_be_told_from_ignored_pixels(family, labels):
    with pytest.raises(ValueError, match=f"2 to 255 labels must be there to segment, but `num_labels` is {labels}"):
        model_of(family, num_labels=labels)


@each_family
def test_parameters_are_the_same_at_any_output_stride(family):
    config = config_of(family)
    for head in ("aspp", "lraspp"):
        shapes = [
            {name: p.shape for name, p in model_of(family, output_stride=o, segmentation_head=head).named_parameters()}
            for o in (None, *config.output_strides)
        ]
        assert all(s == shapes[0] for s in shapes)


def test_rates_follow_the_output_stride():
    def rates(**changes):
        branches = model_of("mobile", **changes).segmentation_head.branches
        return [b[0].dilation[0] for b in branches[1:]]

    assert rates(output_stride=8) == [12, 24, 36]
    assert rates(output_stride=None) == [6, 12, 18]  # the strides themselves give 16
    assert rates(aspp_rates=[2, 5]) == [2, 5]
    separable = model_of("mobile", aspp_separable=True).segmentation_head.branches[1]
    assert [(layer[0].groups, layer[0].dilation, layer[0].kernel_size) for layer in separable] == [
        (16, (12, 12), (3, 3)),
        (1, (1, 1), (1, 1)),
    ]


def test_dilated_maps_are_the_maps_of_the_network_with_more_places_between():
    """The map of stride 16 is found again, to rounding, at every second place of that of stride 8."""
    networks = {stride: model_of("mobile", output_stride=stride) for stride in (4, 8, 16)}
    for network in networks.values():
        network.load_state_dict(networks[16].state_dict())
    pixels = torch.randn(1, 3, 45, 61)
    with torch.inference_mode():
        coarse, fine, finest = (networks[s].mobile.features(pixels)[-1] for s in (16, 8, 4))
    torch.testing.assert_close(fine[..., ::2, ::2], coarse, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(finest[..., ::4, ::4], coarse, atol=1e-5, rtol=1e-4)
    assert fine.shape[-1] > coarse.shape[-1]


# -- what it costs ----------------------------------------------------------------------------------------------------

MOBILE = [
    ({"output_stride": 16}, 4_210_083, 9_438_429_184),
    ({"output_stride": 8, "aspp_separable": True}, 2_254_563, 18_233_835_520),
    ({"aspp_width": 128}, 2_772_515, 3_097_141_248),
    ({"output_stride": 16, "segmentation_head": "lraspp"}, 1_584_174, 4_154_810_368),
]


@pytest.mark.parametrize(("changes", "params", "macs"), MOBILE)
def test_full_size_networks_have_their_known_sizes(changes, params, macs):
    """Every block e3 k3, 19 classes, at 512 x 1024, counted by another implementation before this one was there."""
    with torch.device("meta"):
        config = searchhub.SearchedMobileConfig(num_labels=19, **changes)
        model = searchhub.SearchedMobileForSemanticSegmentation(config).eval()
        assert sum(p.numel() for p in model.parameters()) == params
        assert sum(p.numel() for p in model.mobile.parameters()) == 1_498_768
        assert count_macs(model, {"pixel_values": torch.empty(1, 3, 512, 1024)}) == macs


DARTS = {"stem": "imagenet", "width": 24, "num_cells": 14, "aspp_width": 128, "num_labels": 19}


@pytest.mark.parametrize(("output_stride", "macs"), [(None, 2_736_766_976), (16, 10_819_518_464)])
def test_full_size_cells_have_their_known_sizes(output_stride, macs):
    """Separable 3x3 convolutions from both inputs, C = 24, L = 14, at 512 x 1024."""
    with torch.device("meta"):
        config = searchhub.SearchedDartsConfig(**DARTS, output_stride=output_stride)
        model = searchhub.SearchedDartsForSemanticSegmentation(config).eval()
        assert sum(p.numel() for p in model.parameters()) == 3_029_807
        assert sum(p.numel() for p in model.darts.parameters()) == 1_518_492
        assert count_macs(model, {"pixel_values": torch.empty(1, 3, 512, 1024)}) == macs


def test_the_head_of_mobilenetv3_has_its_known_size():
    """LR-ASPP on 960 and 40 channels, 21 classes: 3,221,538 of torchvision's less the trunk's 2,971,952."""
    config = searchhub.SearchedMobileConfig(num_labels=21, stage_widths=[24, 40, 80, 112, 160, 960])
    head = LrAsppHead(config)
    assert sum(p.numel() for p in head.parameters()) == 3_221_538 - 2_971_952


@each_family
def test_costs_refer_to_a_size_of_their_own(family):
    supernet = supernet_of(family, cost_size=[40, 64])
    final = supernet.final
    assert final.example_inputs()["pixel_values"].shape == (1, 3, 40, 64)
    assert supernet_of(family).example_inputs()["pixel_values"].shape == (1, 3, *SIZE)
    macs, params = macs_table(final), params_table(final)
    row = final.search_space.sample(1, np.random.default_rng(0))[0]
    architecture = final.search_space.decode(row)
    with torch.device("meta"):
        model = final.subnet_class(final.subnet_config(architecture)).eval()
        assert not hasattr(model.config, "cost_size")
        assert macs(architecture) == count_macs(model, {"pixel_values": torch.empty(1, 3, 40, 64)})
    assert params(architecture) == sum(p.numel() for p in model.parameters())


def test_latency_is_of_the_size_that_costs_refer_to():
    supernet = supernet_of("mobile", cost_size=[40, 64])
    row = supernet.search_space.encode(supernet.search_space.decode([0] * 5))
    sizes = []

    def time(block, reference):
        module, args, kwargs = block
        module.register_forward_pre_hook(
            lambda _, __, given: sizes.append(given["pixel_values"].shape), with_kwargs=True
        )
        with torch.inference_mode():
            module(*args, **kwargs)
        return torch.ones(3, 2).numpy()

    Bench(supernet, torch.device("cpu"), 2, row, 1, time).networks([row])
    assert sizes == [(2, 3, 40, 64)]


# -- from a classifier ------------------------------------------------------------------------------------------------


def test_a_classifiers_network_with_its_weights(tmp_path):
    """The blocks and weights of a network that was found and trained on classification, below a new head."""
    blocks = ["mbconv_e6_k5", "mbconv_e3_k7", "zero", "mbconv_e3_k3", "zero"]
    config = config_of("mobile", output_stride=None, image_size=32, num_labels=7, blocks=blocks)
    classifier = searchhub.SearchedMobileForImageClassification(config).eval()
    classifier.save_pretrained(tmp_path)
    kind = searchhub.SearchedMobileForSemanticSegmentation
    model = kind.from_pretrained(tmp_path, num_labels=3, output_stride=8, image_size=SIZE).eval()
    assert (model.config.blocks, model.config.output_stride, model.num_labels) == (blocks, 8, 3)
    pixels = torch.randn(1, 3, *SIZE)
    with torch.inference_mode():
        expected = classifier.mobile.features(pixels)[-1]
        torch.testing.assert_close(model.mobile.features(pixels)[-1][..., ::2, ::2], expected, atol=1e-5, rtol=1e-4)
        assert model(pixels).logits.shape == (1, 3, 4, 6)
    # And an architecture alone: both supernets have the same space, at any output stride.
    supernet = supernet_of("mobile")
    classifiers = searchhub.MobileSupernetForImageClassification(searchhub.MobileSupernetConfig(**config_sizes(config)))
    assert supernet.search_space == classifiers.search_space
    architecture = classifiers.search_space.decode([0] * 5)
    assert supernet.extract(architecture).config.blocks == classifiers.subnet_config(architecture).blocks


def test_a_classifiers_cells_with_their_weights(tmp_path):
    settings = {"num_labels": 7, "output_stride": None, "image_size": 32}
    config = config_of("darts", **settings, normal=["sep_conv_5x5", "none", "none", "skip_connect", "dil_conv_3x3"])
    classifier = searchhub.SearchedDartsForImageClassification(config).eval()
    classifier.save_pretrained(tmp_path)
    kind = searchhub.SearchedDartsForSemanticSegmentation
    model = kind.from_pretrained(tmp_path, num_labels=3, output_stride=16, image_size=SIZE).eval()
    own, theirs = model.state_dict(), classifier.state_dict()
    assert all(torch.equal(own[name], t) for name, t in theirs.items() if name.startswith("darts."))
    assert model(torch.randn(1, 3, *SIZE)).logits.shape == (1, 3, 2, 3)
    # And cells alone, which were found with another stem.
    cells = searchhub.DartsSupernetConfig(num_nodes=2).space().decode([4, 3, 4, 0, 5] * 2)
    network = supernet_of("darts", final={"width": 16, "num_cells": 6}).final.subnet_config(cells)
    assert network.normal == ["sep_conv_3x3", "skip_connect", "sep_conv_3x3", "none", "sep_conv_5x5"]
    assert (network.width, network.num_cells, network.output_stride) == (16, 6, 16)


def test_cells_keep_their_stride_where_it_cannot_be_halved():
    with pytest.raises(Exception, match=r"`output_stride` must be among \[4\] for this network, but is 16"):
        searchhub.SearchedDartsConfig(output_stride=16)
    with pytest.raises(Exception, match=r"`output_stride` must be among \[16, 32\] for this network, but is 8"):
        config_of("darts", output_stride=8)


def test_a_reduction_does_the_same_where_sizes_are_not_known(monkeypatch):
    """As in an export: zeros beyond an even height or width are never read."""
    torch.manual_seed(0)
    reduction = SearchedDartsReduction(config_of("darts"), 8, 8).eval()
    for size in ((6, 8), (6, 7), (7, 6), (7, 7), (1, 2)):
        pixels = torch.randn(1, 8, *size)
        expected = reduction(pixels)
        with monkeypatch.context() as patch:
            patch.setattr(torch.compiler, "is_compiling", lambda: True)
            assert torch.equal(reduction(pixels), expected)


def config_sizes(config):
    return {name: getattr(config, name) for name in ("first_width", "stage_widths", "stage_depths", "stage_strides")}
