from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Image
from PIL import Image as PILImage

from searchhub.data.images import Augmentation, ImageTask, cutout, random_crop
from searchhub.errors import InvalidInputError
from searchhub.training.batches import training_batches
from searchhub.training.settings import TrainingSettings

CPU = torch.device("cpu")
FEATURES = datasets.Features({"image": Image(), "label": ClassLabel(names=["a", "b"])})


def task_of(pictures, labels=None, **options):
    """A task whose three splits hold the same pictures, in turn of class a and b."""
    labels = [i % 2 for i in range(len(pictures))] if labels is None else labels
    split = datasets.Dataset.from_dict({"image": pictures, "label": labels}, features=FEATURES)
    options.setdefault("image_size", pictures[0].width if pictures else 1)
    splits = dict.fromkeys(("train", "validation", "test"), split)
    options.setdefault("label_names", ["a", "b"])
    return ImageTask("some", splits, image_column="image", label_column="label", **options)


def batch(task, indices, split="train", seed=None):
    return task.batch(split, torch.tensor(indices), device=CPU, seed=seed)


# -- values -----------------------------------------------------------------------------------------------------------


def test_values_of_a_batch(pictures):
    task = task_of(pictures(5), image_mean=(0.1, 0.2, 0.3), image_std=(0.5, 0.25, 1.0))
    got = batch(task, [3, 0])
    assert got["labels"].tolist() == [1, 0]
    for row, i in enumerate([3, 0]):
        channels = np.asarray(pictures(5)[i]).transpose(2, 0, 1) / 255
        expected = (channels - np.array([0.1, 0.2, 0.3])[:, None, None]) / np.array([0.5, 0.25, 1.0])[:, None, None]
        np.testing.assert_allclose(got["pixel_values"][row].numpy(), expected, atol=1e-6)


def test_a_batch_leaves_the_pictures_as_they_are(pictures):
    task = task_of(pictures(4))
    first = batch(task, [0, 1, 2, 3])["pixel_values"].clone()
    batch(task, [0, 1, 2, 3])["pixel_values"].fill_(7)
    assert torch.equal(batch(task, [0, 1, 2, 3])["pixel_values"], first)


def test_full_is_train_and_validation(pictures):
    task = task_of(pictures(3))
    assert [task.size(s) for s in ("train", "validation", "test", "full")] == [3, 3, 3, 6]
    both = torch.cat([batch(task, [0, 1, 2], s)["pixel_values"] for s in ("train", "validation")])
    assert torch.equal(batch(task, list(range(6)), "full")["pixel_values"], both)


@pytest.mark.parametrize("size", [(6, 6), (13, 9), (4, 31)], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA", "CMYK"])
def test_the_published_processor_makes_the_same_values(pictures, mode, size):
    """Resized or not, in colour or not, transparent or not: what is deployed sees what was trained on."""
    made = pictures(3, size=size, mode=mode)
    task = task_of(made, image_size=6)
    processed = task.processor()(made, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(batch(task, [0, 1, 2])["pixel_values"], processed, atol=1e-6, rtol=0)


def test_transparent_palettes(tmp_path, pictures):
    picture = pictures(1)[0].quantize(4)
    picture.save(tmp_path / "x.png", transparency=2)
    read = PILImage.open(tmp_path / "x.png")
    assert read.mode == "P"
    assert "transparency" in read.info
    task = task_of([read, read])
    processed = task.processor()(read, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(batch(task, [0])["pixel_values"], processed, atol=1e-6, rtol=0)
    white = torch.from_numpy(np.asarray(picture) == 2)
    assert white.any()
    assert torch.equal(batch(task, [0])["pixel_values"][0][:, white], torch.ones(3, int(white.sum())))


# -- augmentation -----------------------------------------------------------------------------------------------------


def test_random_crop_is_what_a_loop_over_pictures_does():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (20, 3, 5, 7), dtype=torch.uint8, generator=generator)
    offsets = torch.randint(0, 5, (20, 2), generator=generator)
    offsets[:2] = torch.tensor([[0, 4], [4, 0]])
    cropped = random_crop(images, 2, offsets)
    for image, got, (row, column) in zip(images, cropped, offsets.tolist(), strict=True):
        padded = torch.zeros(3, 9, 11, dtype=torch.uint8)
        padded[:, 2:7, 2:9] = image
        assert torch.equal(got, padded[:, row : row + 5, column : column + 7])


def test_crops_reach_every_place_and_no_other(pictures):
    """Padding 1: nine places, each as likely; each picture at one of them."""
    task = task_of(pictures(1) * 2, augmentation=Augmentation(crop_padding=1))
    image = batch(task, [0])["pixel_values"][0]
    padded = torch.full((3, 8, 8), -1.0)  # black, normalized
    padded[:, 1:7, 1:7] = image
    places = {(r, c): padded[:, r : r + 6, c : c + 6] for r in range(3) for c in range(3)}
    seen = dict.fromkeys(places, 0)
    for seed in range(300):
        got = batch(task, [1], seed=seed)["pixel_values"][0]
        (place,) = [p for p, expected in places.items() if torch.equal(got, expected)]
        seen[place] += 1
    # 300 draws of 9: a count below 15 or above 55 has a chance of about 1 in 10,000.
    assert all(15 <= count <= 55 for count in seen.values()), seen


def test_half_of_the_pictures_are_mirrored(pictures):
    task = task_of(pictures(200), augmentation=Augmentation(flip=True))
    plain = batch(task, list(range(200)))["pixel_values"]
    got = batch(task, list(range(200)), seed=3)["pixel_values"]
    mirrored = [torch.equal(g, p.flip(-1)) for g, p in zip(got, plain, strict=True)]
    assert all(m or torch.equal(g, p) for m, g, p in zip(mirrored, got, plain, strict=True))
    assert 70 < sum(mirrored) < 130


def test_without_augmentation_a_seed_changes_nothing(pictures):
    task = task_of(pictures(4))
    assert torch.equal(batch(task, [1, 2], seed=5)["pixel_values"], batch(task, [1, 2])["pixel_values"])


@pytest.fixture
def augmented(pictures):
    return task_of(pictures(24), augmentation=Augmentation(crop_padding=2, flip=True))


def test_augmentation_depends_on_the_seed_and_the_example_alone(augmented):
    whole = batch(augmented, list(range(24)), seed=1)["pixel_values"]
    assert torch.equal(batch(augmented, [7], seed=1)["pixel_values"][0], whole[7])
    assert torch.equal(batch(augmented, [9, 23, 0], seed=1)["pixel_values"], whole[[9, 23, 0]])
    assert not torch.equal(batch(augmented, list(range(24)), seed=2)["pixel_values"], whole)
    assert not torch.equal(batch(augmented, list(range(24)))["pixel_values"], whole)


@pytest.mark.parametrize(("processes", "parts"), [(2, 1), (1, 2), (2, 3), (3, 2)])
def test_a_step_is_the_same_however_it_is_shared_out(augmented, processes, parts):
    def steps(number, of, gradient_accumulation_steps):
        settings = TrainingSettings(batch_size=12, gradient_accumulation_steps=gradient_accumulation_steps)
        accelerator = SimpleNamespace(num_processes=of, process_index=number, device=CPU)
        return list(training_batches(augmented, "train", settings, accelerator, seed=4))

    alone = [step[0] for step in steps(0, 1, 1)]
    shared = [steps(number, processes, parts) for number in range(processes)]
    assert len(alone) == 2
    for i, expected in enumerate(alone):
        pieces = [part for process in shared for part in process[i]]
        assert len(pieces) == processes * parts
        for key in ("pixel_values", "labels"):
            assert torch.equal(torch.cat([piece[key] for piece in pieces]), expected[key])


def test_negative_padding():
    with pytest.raises(InvalidInputError, match="`crop_padding >= 0` must hold, but got -1"):
        Augmentation(crop_padding=-1)


# -- the task ---------------------------------------------------------------------------------------------------------


def test_fingerprint_changes_with_whatever_decides_a_training(pictures):
    made = pictures(4)
    same = {task_of(made).fingerprint() for _ in range(2)}
    assert len(same) == 1
    changed = np.asarray(made[2]).copy()
    changed[5, 5, 2] ^= 1
    others = {
        "pixel": task_of([*made[:2], PILImage.fromarray(changed), made[3]]),
        "label": task_of(made, labels=[0, 1, 0, 0]),
        "order": task_of([made[i] for i in (2, 1, 0, 3)]),
        "augmentation": task_of(made, augmentation=Augmentation(flip=True)),
        "names of classes": task_of(made, label_names=["a", "c"]),
        "normalization": task_of(made, image_std=(0.5, 0.5, 0.4)),
        "size": task_of(made, image_size=5),
    }
    fingerprints = {name: task.fingerprint() for name, task in others.items()}
    assert len(same | set(fingerprints.values())) == 8, fingerprints


def test_fingerprint_follows_an_augmentation_set_later(pictures):
    """As `cli.arguments` sets it, maybe after someone asked for the fingerprint."""
    task = task_of(pictures(4))
    before = task.fingerprint()
    task.augmentation = Augmentation(crop_padding=1)
    assert task.fingerprint() != before
    task.augmentation = Augmentation()
    assert task.fingerprint() == before


def test_score_is_the_share_of_right_predictions(pictures):
    score = task_of(pictures(2)).score(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0]))
    assert score == {"accuracy": 0.75}


def test_order_of_an_epoch(pictures):
    task = task_of(pictures(9))
    order = task.order("train", batch_size=2, seed=1)
    assert sorted(order.tolist()) == list(range(9))
    assert torch.equal(order, task.order("train", batch_size=2, seed=1))
    assert not torch.equal(order, task.order("train", batch_size=2, seed=2))


def test_pictures_that_do_not_fit_in_memory_are_refused_before_they_are_read(monkeypatch, pictures):
    """Twelve pictures of 1,000 x 1,000: 36 MB of 40."""
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 4000, "SC_PHYS_PAGES": 10_000}[name])
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    message = r"must fit in it, but 12 of `some` at 1000 x 1000, in each process, take 0.9 times.*`--image_size`"
    with pytest.raises(InvalidInputError, match=message):
        task_of(pictures(4), image_size=1000, decode="memory")
    assert task_of(pictures(4), image_size=100, decode="memory").size("full") == 8


def test_wrong_sizes_and_labels(pictures):
    with pytest.raises(InvalidInputError, match="`image_size >= 1` must hold, but got 0"):
        task_of(pictures(2), image_size=0)
    message = r"Labels of the split `train` of `some` must be 0 … 0, but span 0 … 1"
    with pytest.raises(InvalidInputError, match=message):
        task_of(pictures(2), label_names=["a"])
    with pytest.raises(InvalidInputError, match="The split `train` of `some` must hold examples, but is empty"):
        task_of([], labels=[], image_size=6)


# -- cutout -----------------------------------------------------------------------------------------------------------


def test_cutout_sets_a_square_to_the_mean_as_far_as_it_lies_in_the_picture():
    images = torch.ones(3, 2, 6, 6)
    cut = cutout(images, 4, torch.tensor([[3, 3], [0, 0], [5, 1]]))
    assert (images == 1).all()
    for picture, rows, columns in zip(
        cut, (slice(1, 5), slice(0, 2), slice(3, 6)), (slice(1, 5), slice(0, 2), slice(0, 3)), strict=True
    ):
        expected = torch.ones(2, 6, 6)
        expected[:, rows, columns] = 0
        assert torch.equal(picture, expected)


def test_cutout_is_for_training_and_moves_no_crop(pictures):
    task = task_of(pictures(24), augmentation=Augmentation(crop_padding=2, flip=True))
    other = task.with_augmentation(cutout=3)
    every = list(range(24))
    assert torch.equal(batch(other, every)["pixel_values"], batch(task, every)["pixel_values"])
    plain, cut = (batch(t, every, seed=1)["pixel_values"] for t in (task, other))
    changed = (plain != cut).any(dim=1)
    assert 4 <= changed.flatten(1).sum(1).min() <= changed.flatten(1).sum(1).max() <= 9
    assert (cut[changed.unsqueeze(1).expand_as(cut)] == 0).all()
    assert torch.equal(batch(other, [7], seed=1)["pixel_values"][0], cut[7])


def test_the_fingerprint_follows_cutout_and_is_as_before_without(pictures):
    task = task_of(pictures(4), source={"kind": "image"})
    other = task.with_augmentation(cutout=2)
    assert "cutout" not in repr(task.augmentation)
    assert other.fingerprint() != task.fingerprint()
    assert other.with_augmentation(cutout=0).fingerprint() == task.fingerprint()
    assert (task.source["augmentation"]["cutout"], other.source["augmentation"]["cutout"]) == (0, 2)
    with pytest.raises(InvalidInputError, match="cutout"):
        task.with_augmentation(cutout=-1)
