import pytest
import torch
from torch import nn

from searchhub.costs.memory import activation_bytes
from searchhub.models.mobile.supernet_mobile import MobileSupernetConfig, MobileSupernetForImageClassification

FLOAT = 4


class Net(nn.Module):
    def __init__(self, *modules):
        super().__init__()
        self.modules_in_turn = nn.Sequential(*modules)

    def forward(self, x):
        return self.modules_in_turn(x)


def counted(*modules, shape):
    with torch.device("meta"):
        return activation_bytes(Net(*[m.to("meta") for m in modules]), {"x": torch.empty(1, *shape)})


CONV = 3 * 4 * 4  # the picture; backward of the weights needs it


@pytest.mark.parametrize(
    ("modules", "numbers"),
    [
        ([nn.Conv2d(3, 8, 3, padding=1)], CONV),
        # The output of a convolution is kept by the BatchNorm after it.
        ([nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)], CONV + 8 * 16),
        # What ReLU keeps is its output, which the second convolution keeps too: once.
        (
            [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1)],
            CONV + 8 * 16 + 8 * 16,
        ),
        # A flattened map is the same memory; and the transposed weight of the linear layer is the weight.
        (
            [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5)],
            CONV + 8 * 16 + 8 * 16,
        ),
        # An addition keeps nothing.
        ([nn.Flatten(), nn.Linear(48, 7), nn.Linear(7, 5)], 48 + 7),
    ],
    ids=["conv", "batch norm", "relu", "flatten", "linear"],
)
def test_by_hand(modules, numbers):
    assert counted(*modules, shape=(3, 4, 4)) == FLOAT * numbers


def supernet(**changes):
    sizes = {
        "num_labels": 3,
        "image_size": 8,
        "stem_width": 8,
        "stem_stride": 1,
        "first_width": 8,
        "stage_widths": [8, 16],
        "stage_depths": [1, 2],
        "stage_strides": [2, 2],
        "head_width": 16,
    }
    return MobileSupernetForImageClassification(MobileSupernetConfig(**{**sizes, **changes}))


def of(net, codes):
    with torch.device("meta"):
        model = net.subnet_class(net.subnet_config(net.search_space.decode(codes)))
        return activation_bytes(model, net.example_inputs())


def test_what_a_real_step_keeps():
    """On the CPU with real tensors: bytes that autograd holds on to, of 5 examples against 2."""
    net = supernet()
    model = net.extract(net.search_space.decode([1, 2, 3])).train()
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}

    def held(n):
        storages = {}

        def pack(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = model(pixel_values=torch.randn(n, 3, 8, 8))
        total = sum(storage.nbytes() for pointer, storage in storages.items() if pointer not in own)
        assert output.logits.grad_fn is not None
        return total

    assert of(net, [1, 2, 3]) == (held(5) - held(2)) / 3


def test_wider_layers_keep_more_and_left_out_ones_nothing():
    net = supernet()
    narrow, wide = net.search_space.choices[2].candidates.index("mbconv_e3_k3"), 3
    left_out = net.search_space.choices[2].candidates.index("zero")
    assert of(net, [0, 0, left_out]) < of(net, [0, 0, narrow]) < of(net, [0, 0, wide])


def test_maps_of_a_single_pixel():
    """BatchNorm refuses one example whose map is one pixel, which a batch in training never is."""
    assert of(supernet(image_size=4), [0, 0, 0]) > 0
