import http.server
import io
import json
import threading
import time
from types import SimpleNamespace

import datasets
import huggingface_hub
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from datasets import ClassLabel, Image, Value
from datasets.packaged_modules.parquet.parquet import Parquet
from PIL import Image as PILImage

from searchhub.data.images import Augmentation
from searchhub.data.loading import describe, load_image_splits, load_image_task
from searchhub.data.sources import load_task
from searchhub.errors import InvalidInputError

SPLITS = ("train", "validation", "test")
CPU = torch.device("cpu")
CLASSES = ClassLabel(names=["a", "b"])


def sizes(splits):
    return {name: len(split) for name, split in splits.items()}


def counts(split):
    """How many examples each class has."""
    return np.bincount(split["label"][:]).tolist()


# -- digits -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return load_image_splits()


def test_digits_are_split_in_three(digits):
    assert digits.name == "digits"
    assert sizes(digits.splits) == {"train": 1149, "validation": 288, "test": 360}
    assert digits.splits["train"].features["label"].names == [str(d) for d in range(10)]


def test_parts_share_no_picture(digits):
    # 1,797 different pictures: no two of the digits that scikit-learn ships are the same.
    seen = {np.asarray(picture).tobytes() for split in SPLITS for picture in digits.splits[split]["image"]}
    assert len(seen) == 1797


def test_parts_drawn_from_train_are_not_called_the_data_sets_own(digits, tmp_path, class_folders):
    drawn = "a part of train"
    assert digits.own_splits == {"test": drawn, "validation": drawn}
    two = load_image_task(class_folders(tmp_path / "two", ["train", "val"]), image_size=8)
    assert two.published.splits == {"test": "validation", "validation": drawn}


def test_splits_are_stratified(digits):
    whole = sum(np.bincount(digits.splits[split]["label"][:], minlength=10) for split in SPLITS)
    for split in SPLITS:
        expected = whole * len(digits.splits[split]) / 1797
        # Stratified in two steps, each of which rounds.
        assert np.abs(np.array(counts(digits.splits[split])) - expected).max() < 1.5, split


def test_the_same_seed_gives_the_same_parts(digits):
    labels = {seed: load_image_splits(seed=seed).splits["test"]["label"][:] for seed in (0, 1)}
    assert labels[0] == digits.splits["test"]["label"][:]
    assert labels[0] != labels[1]


def test_sizes_as_shares_and_as_numbers():
    data = load_image_splits(validation_size=100, test_size=0.5)
    assert sizes(data.splits) == {"train": 1797 - 899 - 100, "validation": 100, "test": 899}


def test_limits_on_the_number_of_examples(digits):
    data = load_image_splits(max_train_samples=50, max_eval_samples=30)
    assert sizes(data.splits) == {"train": 50, "validation": 30, "test": 30}
    assert sizes(load_image_splits(max_train_samples=5000).splits) == sizes(digits.splits)
    # Not the first ones: many data sets are sorted by class.
    assert data.splits["train"]["label"][:] != digits.splits["train"]["label"][:50]


def pictures_of(split):
    return {np.asarray(picture).tobytes() for picture in split["image"]}


@pytest.mark.parametrize(("logits_size", "share"), [(0.2, 0.2), (0.1, 0.1), (100, 100 / 573)])
def test_logits_are_trained_on_a_part_of_train(digits, logits_size, share):
    """What chooses among networks later, and what tests them, trains neither weights nor logits."""
    search = load_image_splits(classes=5, logits_size=logits_size).splits
    weights, logits = len(search["train"]), len(search["validation"])
    assert logits == pytest.approx(share * (weights + logits), abs=1)
    kept = {split: pictures_of(digits.splits[split]) for split in SPLITS}
    seen = [pictures_of(search[split]) for split in ("train", "validation")]
    assert seen[0] | seen[1] <= kept["train"]
    assert not seen[0] & seen[1]
    assert pictures_of(search["test"]) <= kept["test"]


# -- folders of pictures ----------------------------------------------------------------------------------------------


def test_folders_as_imagenet_lays_them_out(tmp_path, class_folders):
    """The validation folder ("val") is the test, and the search validates on a part of train."""
    folder = class_folders(tmp_path / "birds", ["train", "val"])
    data = load_image_splits(folder, validation_size=0.4)
    assert (data.name, data.image_column, data.label_column) == ("birds", "image", "label")
    assert sizes(data.splits) == {"train": 6, "validation": 4, "test": 10}
    assert counts(data.splits["train"]) == [3, 3]
    assert data.splits["train"].features["label"].names == ["cat", "dog"]
    on_disk = np.asarray(PILImage.open(tmp_path / "birds" / "val" / "dog" / "3.png"))
    assert any(
        np.array_equal(on_disk, np.asarray(p)) for p in data.splits["test"].filter(lambda x: x["label"])["image"]
    )


def test_folders_of_all_three_splits_stay_as_they_are(tmp_path, class_folders):
    folder = class_folders(tmp_path / "f", ["train", "valid", "test"], n=3)
    assert sizes(load_image_splits(folder).splits) == {"train": 6, "validation": 6, "test": 6}


def test_logits_do_not_train_on_a_validation_split_of_the_data_sets_own(tmp_path, class_folders):
    folder = class_folders(tmp_path / "f", ["train", "valid", "test"], n=10)
    own, search = load_image_splits(folder).splits, load_image_splits(folder, logits_size=0.3).splits
    assert sizes(search) == {"train": 14, "validation": 6, "test": 20}
    assert pictures_of(search["train"]) | pictures_of(search["validation"]) == pictures_of(own["train"])
    assert not pictures_of(own["train"]) & pictures_of(own["validation"])
    with pytest.raises(InvalidInputError, match=r"`--logits_size` must leave every class .* Give a share, e\.g\. 0\.2"):
        load_image_splits(folder, logits_size=20)


def test_class_folders_without_splits(tmp_path, class_folders):
    folder = class_folders(tmp_path, ["flat"], n=10)
    data = load_image_splits(folder + "/flat")
    assert sizes(data.splits) == {"train": 12, "validation": 4, "test": 4}


def test_a_changed_picture_is_seen(tmp_path, class_folders):
    """The cache of `datasets` must not hand back what a folder used to hold."""
    folder = class_folders(tmp_path / "f", ["train"])
    before = load_image_task(folder).fingerprint()
    assert load_image_task(folder).fingerprint() == before
    file = tmp_path / "f" / "train" / "cat" / "0.png"
    PILImage.fromarray(255 - np.asarray(PILImage.open(file))).save(file)
    assert load_image_task(folder).fingerprint() != before


def test_decoded_with_defaults_for_pictures(tmp_path, class_folders):
    task = load_image_task(class_folders(tmp_path / "f", ["train"], size=(16, 16)))
    assert describe(task).splitlines() == [
        "f: 6 train, 2 validation, 2 test pictures of 16 x 16, 2 classes",
        "  Classes (train / validation / test): `cat` 3 / 1 / 1, `dog` 3 / 1 / 1",
    ]
    assert task.augmentation == Augmentation(crop_padding=2, flip=True)
    assert task.label_names == ("cat", "dog")
    # Digits are not mirrored: a mirrored 2 is none.
    assert load_image_task(max_train_samples=10, max_eval_samples=10).augmentation == Augmentation(crop_padding=1)


def test_a_task_is_loaded_again_from_its_source(tmp_path, class_folders):
    folder = class_folders(tmp_path / "f", ["train", "val"], size=(9, 7))
    options = {"center_crop": 0.8, "image_mean": (0.4, 0.5, 0.6), "augmentation": Augmentation(crop_area=0.5)}
    task = load_image_task(folder, image_size=6, validation_size=4, **options)
    task.augmentation = Augmentation(crop_area=0.5, flip=True)
    source = json.loads(json.dumps(task.source))
    again = load_task(source)
    assert again.fingerprint() == task.fingerprint()
    assert (again.augmentation, again.decode) == (task.augmentation, "on_the_fly")
    assert load_task(source, image_mean=(0.5, 0.5, 0.5)).fingerprint() != task.fingerprint()


def test_pictures_that_are_not_square_need_a_size(tmp_path, class_folders):
    folder = class_folders(tmp_path / "f", ["train"], size=(8, 5))
    with pytest.raises(InvalidInputError, match=r"must be square.* is 8 x 5\. Give `--image_size`"):
        load_image_task(folder)
    task = load_image_task(folder, image_size=6)
    assert task.batch("train", torch.arange(2), device=CPU)["pixel_values"].shape == (2, 3, 6, 6)


def test_files_that_are_no_pictures(tmp_path, class_folders):
    folder = class_folders(tmp_path / "f", ["train", "valid", "test"])
    (tmp_path / "f" / "test" / "cat" / "2.png").write_bytes(b"not a picture")
    with pytest.raises(InvalidInputError, match=r"Every `image` of the split `test` of `f`.*number 2 is not.*2\.png"):
        load_image_task(folder)
    (tmp_path / "f" / "train" / "cat" / "0.png").write_bytes(b"")
    with pytest.raises(InvalidInputError, match=r"Every `image` of the split `train` of `f`.*number 0 is not.*0\.png"):
        load_image_task(folder)


@pytest.mark.parametrize("decode", ["memory", "on_the_fly"])
def test_whatever_stops_a_picture_it_is_named_by_its_path(tmp_path, class_folders, monkeypatch, decode):
    """PIL refuses pictures beyond a size as it refuses no others."""
    folder = class_folders(tmp_path / "f", ["train"], n=10)
    PILImage.new("RGB", (60, 60)).save(tmp_path / "f" / "train" / "dog" / "7.png")
    monkeypatch.setattr(PILImage, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(
        InvalidInputError, match=r"Image size \(3600 pixels\) exceeds limit .* It is `.*/train/dog/7\.png`"
    ):
        task = load_image_task(folder, image_size=6, decode=decode)
        for split in SPLITS:
            task.batch(split, torch.arange(task.size(split)), device=CPU)


def test_pictures_are_refused_alike_through_a_published_processor(tmp_path, class_folders):
    folder = class_folders(tmp_path / "f", ["train"], n=10)
    task = load_image_task(folder, image_size=6, decode="on_the_fly")
    task.processor().save_pretrained(tmp_path / "model")
    shown = task.processed_by(tmp_path / "model")
    rows = {split: torch.arange(task.size(split)) for split in SPLITS}
    for split in SPLITS:
        pair = [t.batch(split, rows[split], device=CPU)["pixel_values"] for t in (task, shown)]
        torch.testing.assert_close(*pair)
    for file in (tmp_path / "f" / "train").glob("*/*.png"):
        PILImage.fromarray(np.arange(36, dtype=np.uint16).reshape(6, 6) * 1800).save(file)
    for seen in (task, shown):
        with pytest.raises(InvalidInputError, match=r"mode `I;16` span 0 … 63,000.* It is `.*train/.*\.png`"):
            seen.batch("test", rows["test"], device=CPU)


def test_a_picture_that_is_missing(tmp_path, pictures, parquet):
    column = [None if i == 3 else p for i, p in enumerate(pictures(10))]
    for split in SPLITS:
        file = tmp_path / f"{split}.parquet"
        parquet(file, {"image": Image(), "label": CLASSES}, image=column, label=[i % 2 for i in range(10)])
    with pytest.raises(InvalidInputError, match=r"number 3 is not: it is missing. It is row 3 before shuffling"):
        load_image_task(str(tmp_path))


# -- parquet ----------------------------------------------------------------------------------------------------------


def test_a_parquet_file(tmp_path, pictures, parquet):
    labels = [i % 2 for i in range(20)]
    file = parquet(tmp_path / "x.parquet", {"image": Image(), "label": CLASSES}, image=pictures(20), label=labels)
    data = load_image_splits(file)
    assert data.name == "x.parquet"
    assert sizes(data.splits) == {"train": 12, "validation": 4, "test": 4}
    assert data.splits["test"].features["label"].names == ["a", "b"]


def test_a_folder_of_parquet_files_named_after_their_splits(tmp_path, pictures, parquet):
    for split, n in zip(SPLITS, (6, 4, 2), strict=True):
        parquet(
            tmp_path / "data" / f"{split}-00000-of-00001.parquet",
            {"image": Image(), "label": CLASSES},
            image=pictures(n),
            label=[i % 2 for i in range(n)],
        )
    assert sizes(load_image_splits(str(tmp_path)).splits) == {"train": 6, "validation": 4, "test": 2}


@pytest.mark.parametrize(
    ("kind", "values", "names"),
    [
        (Value("int64"), [0, 1], ("0", "1")),
        (Value("uint8"), [1, 0], ("0", "1")),
        (Value("string"), ["dog", "cat"], ("cat", "dog")),
        (Value("bool"), [True, False], ("False", "True")),
    ],
)
def test_plain_labels_become_classes(tmp_path, pictures, parquet, kind, values, names):
    given = [values[i % 2] for i in range(20)]
    file = parquet(tmp_path / "x.parquet", {"image": Image(), "label": kind}, image=pictures(20), label=given)
    task = load_image_task(file)
    assert task.label_names == names
    # Each picture keeps its class.
    of = {np.asarray(p).tobytes(): str(v) for p, v in zip(pictures(20), given, strict=True)}
    data = load_image_splits(file).splits["train"]
    for picture, label in zip(data["image"], data["label"], strict=True):
        assert of[np.asarray(picture).tobytes()] == names[label]


def test_pictures_that_another_program_stored_as_bytes(tmp_path, pictures):
    """pyarrow, pandas or Spark store bytes, without a word that they are pictures."""
    files = []
    for picture in pictures(10):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        files.append(buffer.getvalue())
    labels = pyarrow.array([i % 2 for i in range(10)])
    for name, column in {"bytes": files, "struct": [{"bytes": f, "path": None} for f in files]}.items():
        file = tmp_path / f"{name}.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"img": pyarrow.array(column), "label": labels}), file)
        assert load_image_task(str(file), validation_size=2, test_size=2).size("train") == 6, name


# -- columns and labels -----------------------------------------------------------------------------------------------


def test_columns_that_must_be_named(tmp_path, pictures, parquet):
    file = parquet(
        tmp_path / "x.parquet",
        {"left": Image(), "right": Image(), "fine": CLASSES, "coarse": CLASSES, "text": Value("string")},
        left=pictures(10),
        right=pictures(10, seed=1),
        fine=[i % 2 for i in range(10)],
        coarse=[i // 5 for i in range(10)],
        text=["x"] * 10,
    )
    has = r"It has: \['coarse', 'fine', 'left', 'right', 'text'\]"
    with pytest.raises(InvalidInputError, match=f"`--image_column` must name a column .* but is None. {has}"):
        load_image_splits(file, label_column="fine")
    with pytest.raises(InvalidInputError, match=f"`--label_column` must name a column .* but is None. {has}"):
        load_image_splits(file, image_column="left")
    with pytest.raises(InvalidInputError, match=f"`--image_column` must name a column .* but is 'up'. {has}"):
        load_image_splits(file, image_column="up", label_column="fine")
    with pytest.raises(InvalidInputError, match=r"`text` .* must hold pictures, but holds .*string"):
        load_image_splits(file, image_column="text", label_column="fine")
    data = load_image_splits(file, image_column="right", label_column="coarse", validation_size=2, test_size=2)
    assert (data.image_column, data.label_column) == ("right", "coarse")


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Value("float32"), [0.5, 1.5], r"`label` .* must be whole to be classes, but one is 0.5"),
        (datasets.List(Value("int64")), [[0], [1]], r"`label` .* must hold classes .*, but holds List"),
        (Image(), [PILImage.new("RGB", (2, 2))] * 2, r"`label` .* must hold classes .*, but holds Image"),
    ],
)
def test_labels_that_are_no_classes(tmp_path, pictures, parquet, kind, values, message):
    column = [values[i % 2] for i in range(10)]
    file = parquet(tmp_path / "x.parquet", {"image": Image(), "label": kind}, image=pictures(10), label=column)
    with pytest.raises(InvalidInputError, match=message):
        load_image_splits(file, image_column="image", label_column="label")


@pytest.mark.parametrize(
    ("kind", "none"), [(CLASSES, -1), (CLASSES, None), (Value("int64"), -1), (Value("string"), None)]
)
def test_examples_without_a_label(tmp_path, pictures, parquet, kind, none):
    good = ["a", "b"] if kind == Value("string") else [0, 1]
    columns = {split: [good[i % 2] for i in range(10)] for split in SPLITS}

    def write():
        for split, labels in columns.items():
            file = tmp_path / "d" / f"{split}.parquet"
            parquet(file, {"image": Image(), "label": kind}, image=pictures(10), label=labels)
        return str(tmp_path / "d")

    # A test split whose labels are kept secret, as ImageNet's on the Hub, is none.
    columns["test"] = [none] * 10
    assert sizes(load_image_splits(write()).splits) == {"train": 8, "validation": 2, "test": 10}
    columns["train"][3] = none
    message = rf"Every example of the split `train` .* must have a label, but `label` holds \[{none}\]"
    with pytest.raises(InvalidInputError, match=message):
        load_image_splits(write())


@pytest.mark.parametrize("name", ["valid", "val", "dev"])
def test_other_names_of_the_validation_split(monkeypatch, pictures, name):
    """Of data sets on the Hub, which name their splits as they like."""
    features = datasets.Features({"image": Image(), "label": CLASSES})
    made = {
        split: datasets.Dataset.from_dict({"image": pictures(n), "label": [0, 1] * (n // 2)}, features=features)
        for split, n in {"train": 6, name: 4, "test": 2}.items()
    }
    monkeypatch.setattr("searchhub.data.loading.from_hub", lambda _: datasets.DatasetDict(made))
    assert sizes(load_image_splits("some/where").splits) == {"train": 6, "validation": 4, "test": 2}


def test_a_data_set_without_train(monkeypatch, pictures):
    features = datasets.Features({"image": Image(), "label": CLASSES})
    made = datasets.Dataset.from_dict({"image": pictures(4), "label": [0, 1, 0, 1]}, features=features)
    monkeypatch.setattr("searchhub.data.loading.from_hub", lambda _: datasets.DatasetDict(test=made))
    with pytest.raises(InvalidInputError, match=r"`some/where` must have a split `train`, but has \['test'\]"):
        load_image_splits("some/where")


@pytest.mark.parametrize(
    ("options", "name"),
    [({"test_size": 0.001}, "test"), ({"test_size": 1796}, "test"), ({"validation_size": 5}, "validation")],
)
def test_parts_too_small_for_every_class(options, name):
    with pytest.raises(InvalidInputError, match=f"`--{name}_size` must leave every class in both parts"):
        load_image_splits(**options)


def test_an_empty_split(monkeypatch, pictures):
    with pytest.raises(InvalidInputError, match="`max_train_samples` and `max_eval_samples` must be at least 1"):
        load_image_task(max_eval_samples=0)
    features = datasets.Features({"image": Image(), "label": CLASSES})
    full = datasets.Dataset.from_dict({"image": pictures(4), "label": [0, 1, 0, 1]}, features=features)
    made = datasets.DatasetDict(train=full, validation=full, test=full.select([]))
    monkeypatch.setattr("searchhub.data.loading.from_hub", lambda _: made)
    with pytest.raises(InvalidInputError, match="The split `test` of `some/where` must hold examples, but is empty"):
        load_image_task("some/where")


# -- what cannot be loaded --------------------------------------------------------------------------------------------

WAY_OUT = r"must be `digits`, a Hub id that can be reached, a folder of class folders, or parquet, but .*local copy"


@pytest.fixture
def unreachable(monkeypatch):
    """A Hub that refuses connections, as a machine without a network has."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")


def test_a_hub_that_cannot_be_reached_is_said_at_once(unreachable):
    started = time.perf_counter()
    with pytest.raises(InvalidInputError, match=rf"{WAY_OUT}") as caught:
        load_image_splits("nobody/nothing")
    # `datasets` alone repeats its first call for 23 seconds.
    assert time.perf_counter() - started < 5
    assert "`nobody/nothing` could not be loaded: ConnectionRefusedError: " in str(caught.value)


def test_without_a_network_the_cache_of_an_earlier_run_is_read(unreachable, tmp_path, pictures, parquet):
    labels = [i % 2 for i in range(20)]
    file = parquet(tmp_path / "x.parquet", {"image": Image(), "label": CLASSES}, image=pictures(20), label=labels)
    builder = Parquet(dataset_name="things", config_name="default", hash="0", data_files={"train": file})
    builder.download_and_prepare()
    # As `load_dataset("nobody/things")` names the folders of its cache.
    cache = datasets.config.HF_DATASETS_CACHE
    (config,) = (cache / "things").glob("default*")
    (cache / "nobody___things").mkdir()
    config.rename(cache / "nobody___things" / "default")
    data = load_image_splits("nobody/things")
    assert data.name == "nobody/things"
    assert sizes(data.splits) == {"train": 12, "validation": 4, "test": 4}


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "too/many/parts", "not a name"])
def test_what_is_neither_a_path_nor_a_hub_id(unreachable, name):
    with pytest.raises(InvalidInputError, match=WAY_OUT):
        load_image_splits(name)


class GatedHub(http.server.BaseHTTPRequestHandler):
    """Tells of its data sets, and gives nothing to a stranger: as the Hub answers for ImageNet."""

    def do_GET(self):
        about = self.path.startswith("/api/datasets/")
        body = json.dumps({"id": "some/gated", "sha": "a" * 40, "gated": "auto"} if about else {}).encode()
        self.send_response(200 if about else 401)
        if not about:
            self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


REFUSED = r"`some/gated` must be open to you on the Hub, .*`hf auth login`.*train/<class>/\*\.JPEG"


def test_a_gated_data_set_is_said_with_the_ways_in(monkeypatch, tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), GatedHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/{filename}")
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    try:
        with pytest.raises(InvalidInputError, match=REFUSED) as caught:
            load_image_splits("some/gated")
        assert "Dataset 'some/gated' is a gated dataset on the Hub" in str(caught.value)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("status", "refused"), [(401, True), (403, True), (500, False)])
def test_pictures_that_the_hub_does_not_give(monkeypatch, status, refused):
    """The data set may be described to everyone, and its files be given to some."""

    def from_hub(dataset):
        response = SimpleNamespace(status_code=status, headers={}, request=None)
        try:
            raise huggingface_hub.errors.HfHubHTTPError("no", response=response)
        except huggingface_hub.errors.HfHubHTTPError as error:
            raise datasets.exceptions.DatasetGenerationError("failed") from error

    monkeypatch.setattr("searchhub.data.loading.from_hub", from_hub)
    with pytest.raises(InvalidInputError, match=REFUSED if refused else WAY_OUT):
        load_image_splits("some/gated")


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"not parquet")
    with pytest.raises(InvalidInputError, match=WAY_OUT):
        load_image_splits(str(tmp_path / "x.parquet"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match=WAY_OUT):
        load_image_splits(str(tmp_path / "empty"))


# -- some classes of it -----------------------------------------------------------------------------------------------


def pixels(split):
    return {
        (np.asarray(picture).tobytes(), label) for picture, label in zip(split["image"], split["label"], strict=True)
    }


def test_some_classes_keep_to_the_splits_of_all():
    """Or a test picture of all classes would train a network of some."""
    whole = load_image_splits().splits
    part = load_image_splits(classes=["7", "3"], validation_size=0.4).splits
    names = part["train"].features["label"].names
    assert names == ["3", "7"], "in the order of the data set"
    for split in SPLITS:
        assert part[split].features == {"image": Image(), "label": ClassLabel(names=names)}
        assert set(part[split]["label"]) == {0, 1}
    number = {0: 3, 1: 7}
    tested = {(picture, number[label]) for picture, label in pixels(part["test"])}
    assert tested == {(picture, label) for picture, label in pixels(whole["test"]) if label in (3, 7)}
    assert len(part["validation"]) == pytest.approx(0.4 * len(part["train"]) / 0.6, abs=2)


def test_some_classes_by_the_seed_reload_alike():
    task = load_image_task(classes=4, seed=5)
    again = load_task(task.source)
    assert (again.label_names, again.fingerprint()) == (task.label_names, task.fingerprint())
    assert task.num_labels == 4
    assert load_image_task(classes=4, seed=6).label_names != task.label_names
    assert load_image_task(classes=10, seed=5).fingerprint() == load_image_task(seed=5).fingerprint()


@pytest.mark.parametrize("classes", [1, 11, ["3"], ["3", "3"], ["3", "three"]])
def test_classes_that_are_not_there_are_refused(classes):
    with pytest.raises(InvalidInputError, match="`classes` must be 2 to 10 distinct ones of `digits`"):
        load_image_splits(classes=classes)
