"""Pictures of a rectangle and a stripe on a ground, with their masks: what segmentation is tested on."""

import io

import numpy as np
from datasets import Dataset, Features, Image
from PIL import Image as PILImage

from searchhub.metrics.segmentation import VOID

NAMES = ["ground", "box", "stripe"]
COLOURS = np.array([[60, 120, 60], [220, 40, 40], [40, 40, 220]], dtype=np.uint8)


def pair(seed, size=(32, 48), void=VOID):
    """A picture and its mask, whose first row is void."""
    rng = np.random.default_rng(seed)
    height, width = size
    labels = np.zeros(size, dtype=np.uint8)
    top, left = rng.integers(1, height // 2), rng.integers(width // 2)
    labels[top : top + height // 3, left : left + width // 3] = 1
    labels[-height // 8 :] = 2
    noise = rng.integers(-20, 20, (*size, 3))
    picture = (COLOURS[labels].astype(int) + noise).clip(0, 255).astype(np.uint8)
    labels[0] = void
    return PILImage.fromarray(picture), PILImage.fromarray(labels)


def encoded(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def split(n, seed=0, names=None, **options):
    """A split of n pairs, their files called so."""
    made = [pair(seed + i, **options) for i in range(n)]
    return rows([picture for picture, _ in made], [mask for _, mask in made], names)


def rows(pictures, masks, names=None):
    names = names or [None] * len(pictures)
    columns = {
        "image": [{"bytes": encoded(p), "path": n} for p, n in zip(pictures, names, strict=True)],
        "mask": [{"bytes": encoded(m), "path": n} for m, n in zip(masks, names, strict=True)],
    }
    return Dataset.from_dict(columns, features=Features({"image": Image(), "mask": Image()}))
