import math
import pickle
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from searchhub.errors import InvalidInputError
from searchhub.evaluators.features import (
    FeatureRecorder,
    _double,
    cosines,
    layer_outputs,
    layer_parameters,
    pooled_mean,
)


class Net(nn.Module):
    """A layer without parameters behind one with some, and BatchNorm and dropout that training would move."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 2, 1)
        self.skip = nn.Identity()
        self.norm = nn.BatchNorm2d(2)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.norm(self.skip(self.first(x))))


def batches(*sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [{"x": torch.randn(n, 1, 3, 3, generator=generator), "labels": torch.zeros(n)} for n in sizes]


def test_pooled_mean_averages_over_the_batch_and_space():
    output = torch.arange(24.0).reshape(2, 3, 2, 2)
    expected = [output[:, c].sum().item() / 8 for c in range(3)]
    assert pooled_mean(output).tolist() == expected
    assert pooled_mean(output.contiguous(memory_format=torch.channels_last)).tolist() == expected
    assert pooled_mean(output.to(torch.bfloat16)).dtype == torch.float32
    assert pooled_mean(output[:, :, 0, 0]).tolist() == output[:, :, 0, 0].mean(0).tolist()


def test_cosines_are_to_the_first_epoch():
    vectors = [torch.tensor(v) for v in ([3.0, 4.0], [4.0, 3.0], [-3.0, -4.0], [4.0, -3.0])]
    assert cosines(vectors) == pytest.approx([1.0, 24 / 25, -1.0, 0.0])
    scaled = [vectors[0], 7 * vectors[1]]
    assert cosines(scaled) == pytest.approx([1.0, 24 / 25])


def test_cosines_of_zero_and_of_nothing_finite():
    zero, one = torch.zeros(2), torch.ones(2)
    assert cosines([zero, zero, one]) == [1.0, 1.0, 0.0]
    assert cosines([one, zero]) == [1.0, 0.0]
    assert math.isnan(cosines([one, torch.tensor([math.nan, 1.0])])[1])
    endless = torch.full((2,), math.inf)
    assert all(map(math.isnan, cosines([endless, endless]))), "though the same twice"


def test_a_layers_output_is_averaged_over_all_examples_whatever_the_batches():
    net = Net()
    whole = batches(6)
    parts = [{k: v[a:b] for k, v in whole[0].items()} for a, b in ((0, 4), (4, 6))]
    one, two = (layer_outputs(net, ["first", "skip"], given) for given in (whole, parts))
    expected = net.first(whole[0]["x"]).mean(dim=(0, 2, 3))
    for vector in (*one, *two):
        torch.testing.assert_close(vector.float(), expected)


def test_recording_leaves_the_model_as_it_is():
    net = Net().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    outputs = [layer_outputs(net, ["drop"], batches(5)) for _ in range(2)]
    assert torch.equal(*(o[0] for o in outputs)), "no dropout, no moving statistics"
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_features_of_epochs():
    net = Net()
    with torch.no_grad():
        net.first.weight.copy_(torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1))
        net.first.bias.zero_()
    ones = [{"x": torch.ones(4, 1, 3, 3)}]
    outputs, parameters = FeatureRecorder(["first", "skip"]), FeatureRecorder(["first"], kind="parameters")
    for epoch in range(2):
        with torch.no_grad():
            net.first.weight[1] = float(epoch)
        outputs.record(net, ones)
        parameters.record(net, ones)
    for row in outputs.features():
        assert row == pytest.approx([1, 0.5**0.5])
    assert parameters.features()[0] == pytest.approx([1, 0.5**0.5])


class OnAppleGPU:
    """A tensor of a device that this machine lacks."""

    device = SimpleNamespace(type="mps")

    def cpu(self):
        return torch.tensor([1.5, 2.5])

    def double(self):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")


def test_apple_gpus_have_no_float64():
    double = _double(OnAppleGPU())
    assert double.dtype == torch.float64
    assert double.tolist() == [1.5, 2.5]


def test_what_cannot_be_recorded_is_named():
    with pytest.raises(InvalidInputError, match="`skip` has none"):
        layer_parameters(Net(), ["skip"])
    with pytest.raises(InvalidInputError, match="`second` must be a module of `Net`"):
        layer_outputs(Net(), ["second"], batches(2))
    with pytest.raises(InvalidInputError, match="at least one example"):
        layer_outputs(Net(), ["first"], [])


class Pair(nn.Module):
    """Layers whose outputs are no tensors [batch, channels, *space]."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 2)
        self.mean = nn.Flatten(0)

    def forward(self, x):
        return self.mean(self.lstm(x[:, 0])[0])


def test_an_output_that_is_no_picture_is_named():
    with pytest.raises(InvalidInputError, match="`lstm` is a tuple"):
        layer_outputs(Pair(), ["lstm"], batches(2))
    with pytest.raises(InvalidInputError, match=r"`mean` is one of \[12\]"):
        layer_outputs(Pair(), ["mean"], batches(2))


def test_a_layer_that_is_left_out_has_a_row_of_its_own():
    recorder = FeatureRecorder([None, "first", None])
    for seed in range(2):
        torch.manual_seed(seed)
        recorder.record(Net(), batches(4))
    left_out, first, again = recorder.features()
    assert left_out == again == [1.0, 1.0]
    assert first[1] < 1
    with pytest.raises(InvalidInputError, match="layer 0 is left out"):
        FeatureRecorder([None, "first"], kind="parameters")


def test_nothing_but_the_first_epoch_is_kept():
    recorder, sizes = FeatureRecorder(["0"], kind="parameters"), []
    for _ in range(5):
        recorder.record(nn.Sequential(nn.Linear(100, 100)), [])
        sizes.append(len(pickle.dumps(recorder)))
    assert sizes[-1] - sizes[0] < 1000 < 4 * 100 * 100 < sizes[0]
    assert recorder.epochs == 5
