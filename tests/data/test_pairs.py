import numpy as np
import pytest
from PIL import Image as PILImage

from searchhub.data.pairs import OUTSIDE, PairAugmentation, cut, draw_part, label_table
from searchhub.errors import InvalidInputError


def drawn(seed, size=(40, 64), image_size=None, **options):
    augmentation = PairAugmentation(**{"crop_size": (24, 32), **options})
    return draw_part(size, image_size or size, augmentation, np.random.default_rng(seed)), augmentation


def test_picture_and_mask_are_cut_alike():
    """Each block of a label has a colour of its own, so in a crop a pixel amid one label must have its colour."""
    labels = np.kron(np.arange(20, dtype=np.uint8).reshape(4, 5), np.ones((16, 16), dtype=np.uint8))
    picture = PILImage.fromarray(np.repeat(12 * labels[..., None], 3, axis=-1))
    compared, mirrored = 0, 0
    for seed in range(40):
        part, augmentation = drawn(seed, labels.shape)
        pixels, cropped = cut(picture, labels, part, augmentation.crop_size)
        assert pixels.shape == (24, 32, 3)
        assert (pixels[cropped == OUTSIDE] == 0).all()
        around = np.stack([np.roll(cropped, (y, x), (0, 1)) for y in (-2, 0, 2) for x in (-2, 0, 2)])
        amid = (around == cropped).all(0) & (cropped != OUTSIDE)
        amid[[0, 1, -2, -1]] = amid[:, [0, 1, -2, -1]] = False
        assert (pixels[amid][:, 0] == 12 * cropped[amid]).all()
        compared += amid.sum()
        inside = cropped[cropped != OUTSIDE]
        mirrored += bool(len(inside)) and part.mirrored
    assert compared > 5000
    assert 10 < mirrored < 30


def test_scale_is_of_the_picture_as_evaluation_sees_it():
    (part, _), (double, _) = (drawn(3, size, (40, 64), flip=False, scale=(1, 1)) for size in ((40, 64), (80, 128)))
    assert np.allclose(np.array(part.source) * 2, double.source)
    assert part.target == double.target == (0, 0, 32, 24)
    left, top, right, bottom = part.source
    assert (right - left, bottom - top) == (32, 24)


def test_a_crop_larger_than_the_picture_holds_all_of_it():
    places = set()
    for seed in range(30):
        part, _ = drawn(seed, (10, 12), crop_size=(16, 12), scale=(1, 1), flip=False)
        assert part.source == (0, 0, 12, 10)
        left, top, right, bottom = part.target
        assert (left, right, bottom - top) == (0, 12, 10)
        places.add(top)
    assert places == set(range(7))


def test_scales_span_their_range():
    widths = [64 * (p.target[2] - p.target[0]) / (p.source[2] - p.source[0]) for p, _ in map(drawn, range(200))]
    assert 32 <= min(widths) < 36
    assert 120 < max(widths) <= 128


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_size": (0, 4)}, "`crop_size` must be a height and a width of at least 1, but is"),
        ({"crop_size": (4,)}, "`crop_size` must be a height and a width"),
        ({"crop_size": (4, 4), "scale": (0, 1)}, "`scale` must be two factors, 0 < least <= most, but is"),
        ({"crop_size": (4, 4), "scale": (2, 1)}, "`scale` must be two factors"),
    ],
)
def test_impossible_changes_are_refused(options, message):
    with pytest.raises(InvalidInputError, match=message):
        PairAugmentation(**options)


def test_values_of_no_class_are_refused_but_void():
    table = label_table(11, 11)
    assert table[:11] == list(range(11))
    assert table[11] == table[255] == 255
    assert set(table[12:255]) == {-1}
