"""Turns an encoded picture into RGB pixels: the whole picture as evaluation sees it, or a random part of it."""

from __future__ import annotations

import math
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, ImageOps
from PIL import Image as PILImage

from searchhub.errors import InvalidInputError

BILINEAR = PILImage.Resampling.BILINEAR

RATIOS = (3 / 4, 4 / 3)
"""Smallest and largest ratio of width to height of random parts."""

UNREADABLE = (OSError, ValueError, AttributeError, SyntaxError)
"""What PIL raises for files that are broken or no pictures, and for a missing picture (None) when it is used."""


def unreadable(image_column: str, split: str, name: str, number: int, error: Exception) -> InvalidInputError:
    """Returns the error for a picture that cannot be read."""
    return InvalidInputError(
        f"Every `{image_column}` of the split `{split}` of `{name}` must be a picture that can be read, but number "
        f"{number} is not: {error}. Mend or drop it."
    )


def whole_picture(file: BinaryIO, size: int, center_crop: float | None = None, mode: str | None = None) -> np.ndarray:
    """Decodes a picture as evaluation sees it, uint8 [size, size, 3], to the bit as the published image processor does.

    Args:
        file: File of the encoded picture.
        size: Height and width of the result.
        center_crop: Resize the shorter side to `size / center_crop` and take the middle. None: resize the whole picture
            to a square.
        mode: PIL's mode that the data set declares for its pictures. None: it declares none.
    """
    with PILImage.open(file) as picture:
        rgb = _upright_rgb(picture, mode)
    width = height = size
    if center_crop is not None:
        shorter = shorter_side(size, center_crop)
        width = shorter if rgb.width <= rgb.height else int(shorter * rgb.width / rgb.height)
        height = shorter if rgb.height <= rgb.width else int(shorter * rgb.height / rgb.width)
    if rgb.size != (width, height):
        rgb = rgb.resize((width, height), BILINEAR)
    if center_crop is not None:
        left, top = (width - size) // 2, (height - size) // 2
        rgb = rgb.crop((left, top, left + size, top + size))
    return np.asarray(rgb)


def shorter_side(size: int, center_crop: float) -> int:
    """Returns the number of pixels to which the shorter side is resized before the middle is cut out."""
    return round(size / center_crop)


def random_part(
    file: BinaryIO, size: int, crop_area: float, rng: np.random.Generator, mode: str | None = None
) -> np.ndarray:
    """Decodes a random part of a picture, resized to uint8 [size, size, 3].

    JPEG files are decoded at 1/2, 1/4 or 1/8 of their size if the part still has enough pixels.

    Args:
        file: File of the encoded picture.
        size: Height and width of the result.
        crop_area: Least share of the picture's area, see `random_box`.
        rng: Generator that draws the part.
        mode: PIL's mode of the picture, see `whole_picture`.
    """
    with PILImage.open(file) as picture:
        full = picture.size
        lying = picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5  # stored with width and height exchanged
        left, top, right, bottom = random_box(*(full[::-1] if lying else full), crop_area, rng)
        shrink = min(right - left, bottom - top) / size
        if shrink >= 2:
            picture.draft(None, (math.ceil(full[0] / shrink), math.ceil(full[1] / shrink)))
        x, y = picture.width / full[0], picture.height / full[1]
        if lying:
            x, y = y, x
        rgb = _upright_rgb(picture, mode)
    return np.asarray(rgb.resize((size, size), BILINEAR, box=(left * x, top * y, right * x, bottom * y)))


def random_box(width: int, height: int, crop_area: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draws a random part as torchvision's RandomResizedCrop does; returns its left, top, right and bottom.

    The area is uniform in [crop_area, 1] of the picture's, the logarithm of width / height is uniform between those of
    3/4 and 4/3, and the place is uniform. If ten draws do not fit, the largest middle part of an allowed ratio is
    taken.
    """
    for _ in range(10):
        area = width * height * rng.uniform(crop_area, 1.0)
        ratio = math.exp(rng.uniform(math.log(RATIOS[0]), math.log(RATIOS[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
            return left, top, left + w, top + h
    w, h = width, height
    if width / height < RATIOS[0]:
        h = round(width / RATIOS[0])
    elif width / height > RATIOS[1]:
        w = round(height * RATIOS[1])
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _upright_rgb(picture: PILImage.Image, mode: str | None) -> PILImage.Image:
    """Decodes as `datasets` does; then what is transparent becomes white, as transformers' image processors make it."""
    picture.load()
    if picture.getexif().get(ExifTags.Base.Orientation) is not None:
        picture = ImageOps.exif_transpose(picture)
    if mode is not None:
        picture = picture.convert(mode)
    if "A" not in picture.getbands() and picture.info.get("transparency") is None:
        return picture.convert("RGB")
    rgba = picture.convert("RGBA")
    return PILImage.alpha_composite(PILImage.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
