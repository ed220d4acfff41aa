"""A picture seen through windows."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers.modeling_outputs import SemanticSegmenterOutput

from searchhub.errors import InvalidInputError
from searchhub.workflows.sliding import SlidingWindows

from ..models.tiny_segmentation import model_of


class Means(nn.Module):
    """Logits of a quarter of the size that are means of the pixels, and how many pictures of which size it saw."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, pixel_values):
        self.seen.append(tuple(pixel_values.shape))
        return SemanticSegmenterOutput(logits=functional.avg_pool2d(pixel_values, 4, ceil_mode=True))


def logits(model, pictures, **options):
    with torch.no_grad():
        return SlidingWindows(model, **options)(pictures).logits


@pytest.mark.parametrize("size", [(32, 48), (40, 100)])
def test_one_window_as_large_as_the_picture_is_the_whole_picture(size):
    model, pictures = model_of("mobile"), torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        whole = model(pixel_values=pictures).logits
    assert torch.equal(logits(model, pictures, size=size), whole)


def test_windows_cover_the_picture_and_are_averaged_where_they_overlap():
    pictures = torch.randn(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    model = Means()
    found = logits(model, pictures, size=(8, 16), overlap=0.5)
    assert found.shape == (2, 3, 12, 20)
    assert model.seen == [(2, 3, 8, 16)] * 4
    total, count = torch.zeros(2, 3, 12, 20), torch.zeros(12, 20)
    for top in (0, 4):
        for left in (0, 4):
            part = functional.avg_pool2d(pictures[..., top : top + 8, left : left + 16], 4)
            part = functional.interpolate(part, (8, 16), mode="bilinear", align_corners=False)
            total[..., top : top + 8, left : left + 16] += part
            count[top : top + 8, left : left + 16] += 1
    assert sorted(count.unique().tolist()) == [1, 2, 4]
    torch.testing.assert_close(found, total / count)


def test_a_window_wider_than_the_picture_is_as_wide_as_it():
    model = Means()
    assert logits(model, torch.randn(1, 3, 24, 10), size=(16, 64), overlap=0.0).shape == (1, 3, 24, 10)
    assert model.seen == [(1, 3, 16, 10)] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 4)}, "--window"),
        ({"size": (4,)}, "--window"),
        ({"size": (4, 4), "overlap": 1.0}, "--overlap"),
        ({"size": (4, 4), "overlap": -0.1}, "--overlap"),
    ],
)
def test_what_is_no_window(options, message):
    with pytest.raises(InvalidInputError, match=message):
        SlidingWindows(Means(), **options)
