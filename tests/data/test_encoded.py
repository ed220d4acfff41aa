import io
import threading
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Image
from PIL import Image as PILImage
from transformers import AutoImageProcessor

from searchhub.data.encoded import DIGESTED_BYTES, EncodedPictures
from searchhub.data.images import Augmentation, ImageTask
from searchhub.errors import InvalidInputError
from searchhub.training.batches import evaluation_batches, training_batches
from searchhub.training.settings import TrainingSettings

CPU = torch.device("cpu")
FEATURES = datasets.Features({"image": Image(), "label": ClassLabel(names=["a", "b"])})


def table(files):
    """A split of encoded pictures (bytes, paths or None)."""
    kinds = {bytes: "bytes", str: "path"}
    column = [None if f is None else {"bytes": None, "path": None, kinds[type(f)]: f} for f in files]
    return datasets.Dataset.from_dict({"image": column, "label": [i % 2 for i in range(len(files))]}, features=FEATURES)


def jpeg(picture):
    file = io.BytesIO()
    picture.save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def files(pictures):
    """JPEGs of different shapes and modes, as in ImageNet."""
    shapes = [((40, 30), "RGB"), ((30, 40), "RGB"), ((25, 25), "L"), ((60, 31), "CMYK"), ((12, 90), "RGB")]
    return [jpeg(pictures(1, size=size, mode=mode, seed=i)[0]) for i, (size, mode) in enumerate(shapes * 5)]


def task_of(files, **options):
    """A task whose three splits hold the same pictures."""
    split = files if isinstance(files, datasets.Dataset) else table(files)
    options = {"image_size": 16, "decode": "on_the_fly", "workers": 2, **options}
    splits = dict.fromkeys(("train", "validation", "test"), split)
    return ImageTask("some", splits, image_column="image", label_column="label", label_names=["a", "b"], **options)


def batch(task, indices, split="train", seed=None):
    return task.batch(split, torch.tensor(indices), device=CPU, seed=seed)["pixel_values"]


RANDOM_PARTS = Augmentation(crop_area=0.08, flip=True)


# -- encoded pictures -------------------------------------------------------------------------------------------------


def test_pictures_are_found_wherever_they_are_and_in_the_order_of_the_split(files, tmp_path):
    paths = [tmp_path / f"{i}.JPEG" for i in range(len(files))]
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(content)
    for split in (
        table(files),
        table([str(p) for p in paths]),
        datasets.concatenate_datasets([table(files[:7]), table(files[7:])]),
    ):
        found = EncodedPictures(split, "image")
        assert [found.open(i).read() for i in range(len(found))] == files
        shuffled = split.shuffle(seed=0).select(range(3, 20))
        found = EncodedPictures(shuffled, "image")
        numbers = np.random.default_rng(0)  # as `shuffle` draws them
        expected = [files[i] for i in numbers.permutation(len(files))[3:20]]
        assert [found.open(i).read() for i in range(len(found))] == expected


def test_digests_see_what_changes_without_reading_everything():
    long = bytes(range(256)) * 40
    changed_end, changed_start = long[:-1] + b"!", b"!" + long[1:]
    found = EncodedPictures(table([b"short", b"shorT", long, changed_end, changed_start, long + b"x", long]), "image")
    digests = [found.digest(i) for i in range(len(found))]
    assert digests[2] == digests[6]
    assert len({*digests[:4], digests[5]}) == 5
    assert digests[4] == digests[2]  # as said: only the length and the last 4 KiB count
    assert len(long) > DIGESTED_BYTES


def test_the_fingerprint_does_not_depend_on_where_pictures_are(files, tmp_path):
    made = {task_of(files).fingerprint(), task_of(files, decode="memory").fingerprint()}
    paths = [tmp_path / f"{i}.JPEG" for i in range(len(files))]
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(content)
    assert {*made, task_of([str(p) for p in paths]).fingerprint()} == made
    assert len(made) == 1
    paths[3].write_bytes(files[4])
    others = {
        "picture": task_of([str(p) for p in paths]),
        "order": task_of([files[1], files[0], *files[2:]]),
        "middle": task_of(files, center_crop=0.875),
        "parts": task_of(files, augmentation=Augmentation(crop_area=0.5)),
    }
    assert len(made | {task.fingerprint() for task in others.values()}) == 5


# -- decoded pictures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("center_crop", [None, 0.875])
def test_memory_or_not_changes_nothing(files, center_crop):
    augmentation = Augmentation(crop_padding=2, flip=True)
    memory, fly = (
        task_of(files, decode=decode, center_crop=center_crop, augmentation=augmentation)
        for decode in ("memory", "on_the_fly")
    )
    for split, n in {"train": 25, "validation": 25, "test": 25, "full": 50}.items():
        for seed in (None, 3):
            assert torch.equal(batch(memory, range(n), split, seed), batch(fly, range(n), split, seed)), (split, seed)


@pytest.mark.parametrize("center_crop", [0.875, 1.0, 0.5])
def test_the_published_processor_takes_the_same_middle(files, center_crop, tmp_path):
    task = task_of(files, center_crop=center_crop, image_mean=(0.485, 0.456, 0.406), image_std=(0.229, 0.224, 0.225))
    opened = [PILImage.open(io.BytesIO(f)) for f in files]
    task.processor().save_pretrained(tmp_path)
    processed = AutoImageProcessor.from_pretrained(tmp_path)(opened, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(batch(task, range(25)), processed, atol=1e-6, rtol=0)


def test_a_random_part_depends_on_the_seed_and_the_number_alone(files):
    task = task_of(files, augmentation=RANDOM_PARTS)
    whole = batch(task, range(50), "full", seed=1)
    assert torch.equal(batch(task, [30], "full", seed=1)[0], whole[30])
    assert torch.equal(batch(task, [49, 3, 17], "full", seed=1), whole[[49, 3, 17]])
    assert torch.equal(batch(task_of(files, augmentation=RANDOM_PARTS, workers=5), range(50), "full", seed=1), whole)
    assert not torch.equal(batch(task, range(50), "full", seed=2), whole)
    # Pictures 3 and 28 are the same one, cut at different places.
    assert not torch.equal(whole[3], whole[28])
    # Evaluation does not cut at random.
    assert torch.equal(batch(task, range(25)), batch(task_of(files), range(25)))


@pytest.mark.parametrize("augmentation", [Augmentation(crop_padding=2), RANDOM_PARTS])
@pytest.mark.parametrize(("processes", "parts"), [(1, 1), (2, 1), (1, 3)])
def test_decoding_ahead_changes_nothing(files, augmentation, processes, parts, monkeypatch):
    settings = TrainingSettings(batch_size=12, gradient_accumulation_steps=parts)
    task, plain = (task_of(files, augmentation=augmentation) for _ in range(2))
    monkeypatch.setattr(plain, "prefetch", None)
    for rank in range(processes):
        accelerator = SimpleNamespace(num_processes=processes, process_index=rank, device=CPU)
        ahead, now = (list(training_batches(t, "full", settings, accelerator, seed=4)) for t in (task, plain))
        assert len(ahead) == 4
        for step, expected in zip(ahead, now, strict=True):
            for part, same in zip(step, expected, strict=True):
                assert torch.equal(part["pixel_values"], same["pixel_values"])
                assert torch.equal(part["labels"], same["labels"])
        ahead, now = (list(evaluation_batches(t, "test", 7, accelerator)) for t in (task, plain))
        assert torch.equal(*(torch.cat([b["pixel_values"] for b in found]) for found in (ahead, now)))
    assert not task._decoded._ahead


def test_the_next_batch_is_decoded_while_one_is_used(files, monkeypatch):
    opened = []
    done = threading.Event()

    def watch(self, number):
        opened.append(number)
        if len(opened) == 24:
            done.set()
        return original(self, number)

    original = EncodedPictures.open
    monkeypatch.setattr(EncodedPictures, "open", watch)
    task = task_of(files)
    accelerator = SimpleNamespace(num_processes=1, process_index=0, device=CPU)
    batches = training_batches(task, "train", TrainingSettings(batch_size=12), accelerator, seed=0)
    next(batches)
    assert done.wait(10)  # the second batch was asked of the threads, not of us
    next(batches)
    assert len(opened) == 24
    # A pass that ends early leaves nothing behind for long.
    other = evaluation_batches(task, "test", 5, accelerator)
    next(other)
    assert len(task._decoded._ahead) == 1


def test_what_is_not_asked_for_any_more_is_dropped(files):
    task = task_of(files, workers=1)
    task.prefetch("train", [torch.arange(20), torch.arange(5)])
    task.prefetch("train", [torch.arange(5)])
    assert len(task._decoded._ahead) == 1
    assert torch.equal(batch(task, range(5)), batch(task_of(files), range(5)))


def test_broken_pictures_are_named_when_they_are_met(files):
    task = task_of([*files[:7], b"no picture", None, files[8][:40]])
    assert batch(task, range(7)).shape == (7, 3, 16, 16)
    for split, number in {"train": 7, "full": 17, "test": 7}.items():
        where = "validation" if split == "full" else split
        with pytest.raises(
            InvalidInputError, match=rf"Every `image` of the split `{where}` of `some`.*number 7 is not"
        ):
            batch(task, [2, number], split)
    with pytest.raises(InvalidInputError, match="number 8 is not: it is missing"):
        batch(task, [8])
    with pytest.raises(InvalidInputError, match="number 9 is not"):
        batch(task, [9])


# -- which of the two -------------------------------------------------------------------------------------------------


def test_pictures_are_kept_where_they_fit_and_whole_ones_are_wanted(files, monkeypatch):
    assert task_of(files, decode=None).decode == "memory"
    assert task_of(files, decode=None, augmentation=RANDOM_PARTS).decode == "on_the_fly"
    # 75 pictures take 58 KB; twice that with two processes here.
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 120}[name])
    assert task_of(files, decode=None).decode == "memory"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert task_of(files, decode=None).decode == "on_the_fly"
    with pytest.raises(
        InvalidInputError, match=r"75 of `some` at 16 x 16.*1.0 times as much.*Decode them `on_the_fly`"
    ):
        task_of(files, decode="memory")


def test_what_does_not_go_together(files):
    with pytest.raises(InvalidInputError, match=r'`crop_area` cuts parts .* but `decode` is "memory"'):
        task_of(files, decode="memory", augmentation=RANDOM_PARTS)
    task = task_of(files, decode="memory")
    with pytest.raises(InvalidInputError, match='Let it be "on_the_fly"'):
        task.augmentation = RANDOM_PARTS
    with pytest.raises(InvalidInputError, match="with `crop_padding` or with `crop_area`, but got 2 and"):
        Augmentation(crop_padding=2, crop_area=0.5)
    for area in (0, 1.5):
        with pytest.raises(InvalidInputError, match="`crop_area` must be in"):
            Augmentation(crop_area=area)
    for options, message in (
        ({"center_crop": 1.1}, r"`center_crop` must be in \(0, 1\], but is 1.1"),
        ({"decode": "later"}, "`decode` must be .*, but is 'later'"),
        ({"workers": 0}, "`workers >= 1` must hold, but got 0"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            task_of(files, **options)
