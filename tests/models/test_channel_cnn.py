import itertools

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification

from searchhub.costs.macs import macs_table
from searchhub.costs.params import params_table
from searchhub.models.channel_cnn.configuration_channel_cnn import SearchedChannelCnnConfig
from searchhub.models.channel_cnn.modeling_channel_cnn import SearchedChannelCnnForImageClassification
from searchhub.models.channel_cnn.supernet_channel_cnn import ChannelCnnSupernet, ChannelCnnSupernetConfig
from searchhub.space import Architecture
from searchhub.testing.supernet import SupernetContract

SMALL = {"num_labels": 3, "image_size": 9, "channels": [4, 8, 12], "pool_after": [1, 3], "ratios": [0.25, 0.5, 1, 2]}


def small_supernet(**changes):
    torch.manual_seed(0)
    return ChannelCnnSupernet(ChannelCnnSupernetConfig(**{**SMALL, **changes}))


def ratios(*chosen):
    return Architecture({f"layer{i}": ratio for i, ratio in enumerate(chosen, start=1)})


class TestChannelCnnSupernet(SupernetContract):
    @pytest.fixture(params=[torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
    def supernet(self, request):
        return small_supernet().to(memory_format=request.param)

    @pytest.fixture
    def batch(self):
        generator = torch.Generator().manual_seed(0)
        return {
            "pixel_values": torch.randn(6, 3, 9, 9, generator=generator),
            "labels": torch.randint(0, 3, (6,), generator=generator),
        }


# -- DC-NAS, Table 2 --------------------------------------------------------------------------------------------------

TABLE_2 = {
    ratios(4, 2, 1, 2, 0.25, 2): (4.30e6, 0.46e9),
    ratios(2, 2, 1, 4, 0.5, 0.5): (4.76e6, 0.61e9),
    ratios(2, 4, 4, 2, 0.25, 1): (5.69e6, 1.14e9),
    ratios(2, 4, 1, 0.5, 4, 0.5): (8.08e6, 0.72e9),
    ratios(2, 4, 4, 2, 4, 1): (23.38e6, 2.27e9),
}


@pytest.fixture(scope="module")
def full_size():
    """Nothing is counted on weights, so they stay on the meta device."""
    with torch.device("meta"):
        return ChannelCnnSupernet(ChannelCnnSupernetConfig(num_labels=100))


def test_sizes_are_those_of_table_2(full_size):
    params, macs = params_table(full_size), macs_table(full_size)
    for architecture, (million_params, billion_macs) in TABLE_2.items():
        assert params(architecture) == pytest.approx(million_params, rel=0.0011)
        assert macs(architecture) == pytest.approx(billion_macs, rel=0.008)


def test_every_cost_of_a_small_space_is_that_of_the_network():
    supernet = small_supernet()
    params, macs = params_table(supernet), macs_table(supernet)
    for row in itertools.product(range(4), repeat=3):
        architecture = supernet.search_space.decode(row)
        model = supernet.subnet(architecture)
        assert params(architecture) == sum(p.numel() for p in model.parameters())
        a, b, c = model.config.channels
        by_hand = 9 * (3 * a * 9**2 + a * b * 4**2 + b * c * 4**2) + c * 2**2 * 3
        assert macs(architecture) == by_hand


# -- configurations ---------------------------------------------------------------------------------------------------


def test_a_subnet_has_the_first_channels():
    supernet = small_supernet()
    model = supernet.subnet(ratios(0.5, 2, 0.25))
    assert model.config.channels == [2, 16, 3]
    assert model.config.model_type == "searched_channel_cnn"
    assert not hasattr(model.config, "ratios")
    second = model.channel_cnn.layers[1].convolution.weight
    assert torch.equal(second, supernet.layers[1].convolution.weight[:16, :2])
    assert torch.equal(model.classifier.weight, supernet.classifier.weight[:, : 3 * 4])


def test_first_channels_are_those_that_the_classifier_reads():
    """Zeroing all that a narrow network leaves out of the widest makes the two the same function."""
    supernet = small_supernet()
    narrow, widest = supernet.subnet(ratios(1, 0.5, 1)).eval(), supernet.extract(ratios(2, 2, 2)).eval()
    for layer, kept in zip(widest.channel_cnn.layers, narrow.config.channels, strict=True):
        layer.normalization.weight.data[kept:] = 0.0
    x = torch.randn(2, 3, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(narrow(x).logits, widest(x).logits)


@pytest.mark.parametrize(("image_size", "last_size"), [(32, 4), (16, 2), (9, 1)])
def test_any_image_size(image_size, last_size):
    config = SearchedChannelCnnConfig(channels=[4, 4, 4], pool_after=[1, 2, 3], image_size=image_size, num_labels=2)
    model = SearchedChannelCnnForImageClassification(config)
    assert model.classifier.in_features == 4 * last_size**2
    assert model(torch.randn(2, 3, image_size, image_size)).logits.shape == (2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": []}, "at least 1 for each layer"),
        ({"channels": [4, 0, 4]}, "at least 1 for each layer"),
        ({"pool_after": [0]}, "layers from 1 to 3"),
        ({"pool_after": [4]}, "layers from 1 to 3"),
        ({"pool_after": [3, 1]}, "increasing"),
        ({"image_size": 3}, "image_size >= 4"),
        ({"channels": [4, 8, 6]}, r"whole numbers of channels, but \[0.25\] of 6"),
        ({"ratios": [1, 1]}, "increasing"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(Exception, match=message):
        ChannelCnnSupernetConfig(**{**SMALL, **changes})


def test_weights_start_as_numbers():
    for name, tensor in small_supernet().state_dict().items():
        assert torch.isfinite(tensor.float()).all(), name
        assert tensor.float().abs().max() < 10, name


def test_auto_classes_build_and_reload(tmp_path):
    config = AutoConfig.for_model("searched_channel_cnn", num_labels=3, image_size=8, channels=[4, 6], pool_after=[2])
    model = AutoModelForImageClassification.from_config(config).eval()
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(model(x).logits, again(x).logits)
        base = AutoModel.from_pretrained(tmp_path).eval()
        assert torch.equal(base(x).last_hidden_state, model.channel_cnn(x).last_hidden_state)
    assert again.config.channels == [4, 6]


def test_outputs_follow_transformers_conventions():
    model = small_supernet().extract(ratios(1, 1, 1)).eval()
    x, labels = torch.randn(2, 3, 9, 9), torch.tensor([0, 2])
    output = model(x, labels=labels, output_hidden_states=True)
    assert output.loss.item() == pytest.approx(torch.nn.functional.cross_entropy(output.logits, labels).item())
    assert [tuple(h.shape[1:]) for h in output.hidden_states] == [(4, 4, 4), (8, 4, 4), (12, 2, 2)]
    loss, logits, hidden = model(x, labels=labels, output_hidden_states=True, return_dict=False)
    assert torch.equal(logits, output.logits)
    assert loss == output.loss
    assert len(hidden) == 3
    assert len(model(x, return_dict=False)) == 1


def test_mean_cost_is_that_of_all_networks():
    macs = macs_table(small_supernet())
    everything = np.array(list(itertools.product(range(4), repeat=3)), dtype=np.uint8)
    costs = macs.of_codes(everything)
    assert macs.mean() == pytest.approx(costs.mean(), rel=1e-12)
    assert macs.bounds() == (costs.min(), costs.max())
