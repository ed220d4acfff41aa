import numpy as np
import pytest
import torch

from searchhub.costs.onnx_session import open_session
from searchhub.costs.timing import Stopwatch
from searchhub.errors import ExportError, InvalidInputError
from searchhub.export.check import compare, time_both
from searchhub.export.inputs import PlainNetwork

from .test_inputs import bert


class Session:
    """Stands for onnxruntime: what torch gives, changed."""

    def __init__(self, network, change=lambda value, feed: value):
        self.network, self.change, self.feeds = network, change, []

    def run(self, outputs, feed):
        self.feeds.append(feed)
        with torch.inference_mode():
            values = self.network(*(torch.from_numpy(array) for array in feed.values()))
        return [self.change(value.numpy(), feed) for value in values]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return PlainNetwork.of(bert(), None)


def judged(network, change, rtol=0.0, atol=1e-4):
    return compare(network, Session(network, change), 2, 8, rtol, atol)


def test_many_shapes_with_and_without_padding(network):
    session = Session(network)
    shapes, worst = compare(network, session, 4, 8, 0.0, 0.0)
    assert shapes == ((4, 8), (2, 4), (3, 7), (1, 1))
    assert worst == 0
    masks = [feed["attention_mask"] for feed in session.feeds]
    assert [mask.shape for mask in masks] == [shape for shape in shapes for _ in range(2)]
    assert [bool(mask.all()) for mask in masks] == [True, False, True, False, True, False, True, True]


def test_the_largest_difference_is_told(network):
    _, worst = judged(network, lambda value, feed: value + np.float32(5e-5) * (len(value) == 3))
    assert worst == pytest.approx(5e-5, rel=0.01)


@pytest.mark.parametrize(
    "change",
    [
        lambda value, feed: value + 1e-3,
        lambda value, feed: np.where(np.arange(len(value))[:, None] == len(value) - 1, value + 1e-3, value),
        lambda value, feed: value * np.nan,
        # Only where there is padding, or only at another length.
        lambda value, feed: value if feed["attention_mask"].all() else value + 1e-3,
        lambda value, feed: value + 1e-3 * (feed["input_ids"].shape[1] == 7),
    ],
)
def test_what_is_off_is_refused(network, change):
    with pytest.raises(ExportError, match=r"`logits` is off by (0\.001|nan), .* Nothing was written"):
        judged(network, change)


def test_a_share_of_the_value_is_allowed(network):
    judged(network, lambda value, feed: value * 1.001, rtol=2e-3, atol=0)
    with pytest.raises(ExportError, match="is off by"):
        judged(network, lambda value, feed: value * 1.001, rtol=5e-4, atol=0)


def test_another_shape_is_refused(network):
    with pytest.raises(ExportError, match=r"must return `logits` of shape \(2, 2\).*but it is of \(1, 2\)"):
        judged(network, lambda value, feed: value[:1])


def test_a_network_that_gives_no_numbers():
    model = bert()
    torch.nn.init.constant_(model.classifier.bias, float("nan"))
    with pytest.raises(InvalidInputError, match="on noise its `logits` is not"):
        judged(PlainNetwork.of(model, None), lambda value, feed: value)


def test_what_onnxruntime_says(network, tmp_path):
    def refuse(value, feed):
        raise RuntimeError("Got invalid dimensions.")

    with pytest.raises(ExportError, match=r"must run, on inputs of shape \(2, 8\),.*Got invalid dimensions"):
        judged(network, refuse)
    (tmp_path / "x.onnx").write_bytes(b"no protobuf")
    with pytest.raises(ExportError, match="onnxruntime must load what torch exported"):
        open_session(tmp_path / "x.onnx", 1)


def test_times_are_medians_of_turns(network):
    """The slower side of a round is the one that is called first; medians do not mind one slow round."""
    order = []

    class Clock(Stopwatch):
        def __call__(self, call, args, kwargs):
            side = "torch" if call is network.model else "onnxruntime"
            call(*args, **kwargs)
            order.append(side)
            return {"torch": 2.0, "onnxruntime": 1.0}[side] + 100 * (len(order) == 1)

    times = time_both(network, Session(network), network.inputs.batch(1, 4), Clock(), 3)
    assert times == (2.0, 1.0)
    assert order == ["torch", "onnxruntime", "onnxruntime", "torch", "torch", "onnxruntime"]
