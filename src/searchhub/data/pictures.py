"""Turns an encoded picture into RGB pixels: the whole picture as evaluation sees it, or a random part of it."""

from __future__ import annotations

import math
from typing import BinaryIO

import numpy as np
from PIL import ExifTags
from PIL import Image as PILImage

from searchhub.errors import InvalidInputError

BILINEAR = PILImage.Resampling.BILINEAR

RATIOS = (3 / 4, 4 / 3)
"""Smallest and largest ratio of width to height of random parts."""

UPRIGHT = {
    2: PILImage.Transpose.FLIP_LEFT_RIGHT,
    3: PILImage.Transpose.ROTATE_180,
    4: PILImage.Transpose.FLIP_TOP_BOTTOM,
    5: PILImage.Transpose.TRANSPOSE,
    6: PILImage.Transpose.ROTATE_270,
    7: PILImage.Transpose.TRANSVERSE,
    8: PILImage.Transpose.ROTATE_90,
}
"""How a picture is turned upright, by the orientation that its EXIF names."""


def unreadable(
    image_column: str,
    split: str,
    name: str,
    number: int,
    where: str,
    error: Exception,
    kind: str = "a picture that can be read",
) -> InvalidInputError:
    """Returns the error for a picture that cannot be read, whatever PIL raised: its plug-ins raise all kinds.

    Args:
        image_column: Name of the image column.
        split: Name of the split.
        name: Name of the data set.
        number: Number of the picture in the split.
        where: Path of the picture's file, or words for the place where it lies.
        error: What was raised.
        kind: Words for what it must be.
    """
    what = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return InvalidInputError(
        f"Every `{image_column}` of the split `{split}` of `{name}` must be {kind}, but number {number} is not: "
        f"{what}. It is {where}. Mend or drop it."
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
    rgb = rgb_picture(file, mode)
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


def rgb_picture(file: BinaryIO, mode: str | None = None) -> PILImage.Image:
    """Decodes a picture to RGB, upright.

    Args:
        file: File of the encoded picture.
        mode: PIL's mode of the picture, see `whole_picture`.
    """
    with PILImage.open(file) as picture:
        return _rgb(upright(picture, mode))


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
        lying = _orientation(picture) >= 5  # stored with width and height exchanged
        left, top, right, bottom = random_box(*(full[::-1] if lying else full), crop_area, rng)
        shrink = min(right - left, bottom - top) / size
        if shrink >= 2:
            picture.draft(None, (math.ceil(full[0] / shrink), math.ceil(full[1] / shrink)))
        x, y = picture.width / full[0], picture.height / full[1]
        if lying:
            x, y = y, x
        rgb = _rgb(upright(picture, mode))
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


def upright(picture: PILImage.Image, mode: str | None = None) -> PILImage.Image:
    """Decodes a picture that was opened, as `datasets` does, and turns it upright.

    Args:
        picture: The picture.
        mode: PIL's mode that the data set declares for its pictures. None: it declares none.

    Raises:
        InvalidInputError: Its values do not fit in 8 bits: those of users would be cut off at 255 by the processor
            that is published with a model.
    """
    picture.load()
    _check_depth(picture)
    if (turn := UPRIGHT.get(_orientation(picture))) is not None:
        picture = picture.transpose(turn)
        picture.info.pop("exif", None)  # or it would be turned again
    return picture if mode in (None, picture.mode) else picture.convert(mode)


def _orientation(picture: PILImage.Image) -> int:
    """Returns the orientation that a picture's EXIF names: 1, as it lies, where there is none or it is damaged."""
    try:
        found = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF raises all kinds, and the pixels are sound
        return 1
    return found if isinstance(found, int) else 1


def _check_depth(picture: PILImage.Image) -> None:
    if not picture.mode.startswith(("I", "F")):
        return
    values = np.asarray(picture)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 255 and (values == values.round()).all()):
        raise InvalidInputError(
            f"pixels must be 8-bit values, 0 … 255, but those of its mode `{picture.mode}` span {low:,g} … {high:,g}, "
            "and would become white or black. Scale all pictures alike, e.g. 16 bits by "
            "`Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))`, and those that are classified later, too"
        )


def _rgb(picture: PILImage.Image) -> PILImage.Image:
    """Converts to RGB; what is transparent becomes white, as transformers' image processors make it."""
    if "A" not in picture.getbands() and picture.info.get("transparency") is None:
        return picture.convert("RGB")
    rgba = picture.convert("RGBA")
    return PILImage.alpha_composite(PILImage.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
