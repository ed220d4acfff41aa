import datasets
import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """What `datasets` prepares goes into the test's folder; and nothing is shown."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def pictures():
    """Makes n RGB pictures of random pixels; or, of another mode, what becomes of them."""

    def make(n, size=(6, 6), mode="RGB", seed=0):
        rng = np.random.default_rng(seed)
        width, height = size
        made = [Image.fromarray(rng.integers(0, 256, (height, width, 4), dtype=np.uint8)) for _ in range(n)]
        return [picture if mode == "RGBA" else picture.convert("RGB").convert(mode) for picture in made]

    return make


@pytest.fixture
def class_folders(pictures):
    """Writes root/<split>/<class>/<i>.png, as ImageNet is laid out."""

    def write(root, splits, classes=("cat", "dog"), n=5, **options):
        for s, split in enumerate(splits):
            for c, name in enumerate(classes):
                folder = root / split / name
                folder.mkdir(parents=True)
                for i, picture in enumerate(pictures(n, seed=10 * s + c, **options)):
                    picture.save(folder / f"{i}.png")
        return str(root)

    return write


@pytest.fixture
def parquet(pictures):
    """Writes columns to a parquet file as `datasets` does, with its features."""

    def write(file, features, **columns):
        file.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(str(file))
        return str(file)

    return write
