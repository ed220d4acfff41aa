import io
import math

import numpy as np
import pytest
from PIL import ExifTags, ImageOps
from PIL import Image as PILImage

from searchhub.data.pictures import RATIOS, random_box, random_part, whole_picture
from searchhub.errors import InvalidInputError


def rng(seed=0):
    return np.random.default_rng(seed)


def encoded(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return io.BytesIO(file.getvalue())


def slopes(width, height):
    """Red grows from left to right, green from top to bottom: where a pixel was can be read from it."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return PILImage.fromarray(np.stack([across, down, np.full_like(down, 128)], -1).round().astype(np.uint8))


# -- which part -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (64, 64), (7, 9)], ids=str)
def test_parts_are_within_the_picture_of_allowed_shape_and_area(size):
    width, height = size
    boxes = np.array([random_box(width, height, 0.08, rng(i)) for i in range(500)])
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() == 0
    assert boxes[:, 2].max() == width
    assert boxes[:, 3].max() == height
    assert (w > 0).all()
    # Sides are rounded to pixels.
    assert ((w + 0.5) / (h - 0.5) >= RATIOS[0]).all()
    assert ((w - 0.5) / (h + 0.5) <= RATIOS[1]).all()
    assert ((w + 0.5) * (h + 0.5) >= 0.08 * width * height).all()
    area = w * h / (width * height)
    assert area.min() < 0.15
    assert area.max() > 0.8
    assert len(np.unique(boxes, axis=0)) > 400 or width < 10


def test_the_whole_area_of_a_square_is_the_square_where_its_shape_is_drawn():
    """Of area 1 only ratio 1 fits; other draws fail ten times and leave the middle: here all of it."""
    assert {random_box(50, 50, 1.0, rng(i)) for i in range(50)} == {(0, 0, 50, 50)}


@pytest.mark.parametrize(
    ("size", "box"), [((900, 90), (390, 0, 510, 90)), ((90, 900), (0, 390, 90, 510)), ((100, 100), (0, 0, 100, 100))]
)
def test_pictures_that_no_part_fits_give_their_middle(size, box):
    assert random_box(*size, 1.0, rng()) == box


# -- its pixels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(300, 200), (1600, 1300)], ids=str)  # the second is decoded smaller
def test_a_part_shows_what_its_box_holds(kind, size):
    options = {"quality": 95} if kind == "JPEG" else {}
    file = encoded(slopes(*size), kind, **options)
    for seed in range(10):
        left, top, right, bottom = random_box(*size, 0.08, rng(seed))
        got = random_part(file, 32, 0.08, rng(seed)).astype(float)
        assert got.shape == (32, 32, 3)
        across = 255 * (left + (np.arange(32) + 0.5) / 32 * (right - left) - 0.5) / (size[0] - 1)
        down = 255 * (top + (np.arange(32) + 0.5) / 32 * (bottom - top) - 0.5) / (size[1] - 1)
        inner = slice(1, -1)  # a filter is cut off at the edge of a picture
        np.testing.assert_allclose(got[:, inner, 0].mean(0), across[inner], atol=2)
        np.testing.assert_allclose(got[inner, :, 1].mean(1), down[inner], atol=2)


def test_large_jpegs_are_decoded_smaller(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "PIL.JpegImagePlugin.JpegImageFile.draft", lambda self, mode, size: asked.append((self.size, size))
    )
    random_part(encoded(slopes(1600, 1300), "JPEG"), 32, 0.5, rng())
    random_part(encoded(slopes(60, 60), "JPEG"), 32, 0.5, rng())
    ((full, small),) = asked
    assert full == (1600, 1300)
    part = random_box(1600, 1300, 0.5, rng())
    assert math.isclose(min(part[2] - part[0], part[3] - part[1]) * small[0] / 1600, 32, rel_tol=0.05)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(120, 80), (1600, 1000)], ids=str)
def test_pictures_that_lie_on_their_side_are_cut_upright(orientation, size):
    """As a camera held sideways stores them; the part is that of the picture stored upright."""
    stored = slopes(*size)
    exif = PILImage.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = encoded(stored, "JPEG", exif=exif, quality=95)
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # to PIL's Transpose
    upright = stored.transpose(PILImage.Transpose(turns[orientation])) if orientation > 1 else stored
    for seed in range(3):
        expected = random_part(encoded(upright), 24, 0.3, rng(seed)).astype(float)
        np.testing.assert_allclose(random_part(file, 24, 0.3, rng(seed)), expected, atol=6)
    np.testing.assert_allclose(whole_picture(file, 24).astype(float), whole_picture(encoded(upright), 24), atol=6)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_part_of_everything_is_the_picture(mode):
    picture = slopes(40, 40).convert(mode)
    file = encoded(picture, "JPEG", quality=95)
    assert np.array_equal(random_part(file, 40, 1.0, rng()), whole_picture(file, 40))


@pytest.mark.parametrize(("size", "wide"), [((300, 200), True), ((200, 300), False)])
def test_the_middle_of_a_picture(size, wide):
    """The shorter side of 200 becomes 32 / 0.8 = 40; the middle 32 of 60 and of 40 remain."""
    got = whole_picture(encoded(slopes(*size)), 32, 0.8).astype(float)
    longer, shorter = (14 + np.arange(32) + 0.5) / 60, (4 + np.arange(32) + 0.5) / 40
    np.testing.assert_allclose(got[16, :, 0], 255 * (longer if wide else shorter), atol=2)
    np.testing.assert_allclose(got[:, 16, 1], 255 * (shorter if wide else longer), atol=2)


# -- what is read wrongly, or not at all ------------------------------------------------------------------------------


def deep(values, mode):
    return PILImage.fromarray(np.asarray(values).astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_pixels_of_more_than_8_bits_are_refused(mode):
    """PIL would cut them off at 255, and so would the image processor that is published with a model."""
    gradient = np.arange(64).reshape(8, 8)
    wide = encoded(deep(gradient * 900, mode), "TIFF")
    for read in (lambda: whole_picture(wide, 8), lambda: random_part(wide, 8, 0.5, rng())):
        with pytest.raises(
            InvalidInputError, match=r"must be 8-bit values, 0 … 255, but those of its mode .* span 0 … 56,700"
        ):
            read()
    narrow = whole_picture(encoded(deep(gradient, mode), "TIFF"), 8)
    np.testing.assert_array_equal(narrow, np.repeat(gradient[..., None], 3, axis=2))


def test_pixels_from_0_to_1_are_refused():
    with pytest.raises(InvalidInputError, match=r"its mode `F` span 0 … 0.984375"):
        whole_picture(encoded(deep(np.arange(64).reshape(8, 8) / 64, "F"), "TIFF"), 8)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:.*EXIF")
@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_damaged_exif_turns_no_picture_and_stops_none(orientation):
    picture = slopes(40, 30)
    exif = PILImage.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    raw = exif.tobytes()
    right = encoded(picture, "JPEG", exif=raw, quality=95)
    np.testing.assert_array_equal(
        whole_picture(right, 30), whole_picture(encoded(ImageOps.exif_transpose(PILImage.open(right)), "PNG"), 30)
    )
    for damaged in (b"Exif\x00\x00nonsense", raw[:9], raw[:12] + b"\xff" * 6):
        broken = encoded(picture, "JPEG", exif=damaged, quality=95)
        np.testing.assert_array_equal(
            whole_picture(broken, 30), whole_picture(encoded(picture, "JPEG", quality=95), 30)
        )
        assert random_part(broken, 8, 0.5, rng()).shape == (8, 8, 3)
