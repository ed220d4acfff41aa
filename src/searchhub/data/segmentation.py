"""Semantic segmentation tasks: a picture and the class of each of its pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from PIL import Image as PILImage
from torch.nn import functional
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

from searchhub.data.encoded import EncodedPictures
from searchhub.data.images import IMAGENET_MEAN, IMAGENET_STD, normalized
from searchhub.data.pairs import MAX_LABELS, OUTSIDE, DecodedPairs, PairAugmentation, label_table
from searchhub.data.processed import ProcessedPictures
from searchhub.data.task import Batch, Measured, Split, Tally, Task
from searchhub.errors import InvalidInputError
from searchhub.metrics.segmentation import VOID, class_ious, confusion_matrix, segmentation_metrics


class SegmentationTask(Task):
    """Semantic segmentation, scored by the mean intersection over union.

    Training batches are random parts of pictures and masks, evaluation takes whole pictures, resized to `image_size`,
    and scores them at the masks' own size: a network's outputs are resized to it before the most likely class is taken.
    Void pixels (255) are in no loss and no metric, and no class is taken for background.

    Where masks of an evaluation batch differ in size, smaller ones are filled up with `OUTSIDE`, below and on the
    right.

    Args:
        name: Name of the task for files and cards.
        splits: "train", "validation" and "test" with a picture and a mask column.
        image_column: Name of the picture column.
        mask_column: Name of the mask column.
        label_names: Class names.
        image_size: Height and width of whole pictures; others are resized (bilinear).
        augmentation: How training pictures and their masks are changed.
        image_mean: Mean of each channel, for values in [0, 1].
        image_std: Deviation of each channel, for values in [0, 1].
        table: Label of each of the 256 values that masks may hold, see `label_table`. None: values are labels.
        palette: Colour of each class, for pictures of masks. None: the data set has none.
        workers: Number of threads that decode. None: as many as this process has cores.
        source: What loads the task again, see `Task`.
        own_splits: The data set's own names of the splits, see `Task`.
        notes: What was decided about the data, see `Task`.

    Raises:
        InvalidInputError: There are too many classes, or a mask has colours, more than 8 bits, or another size than its
            picture.
    """

    pipeline_tag = "image-segmentation"
    auto_class = "AutoModelForSemanticSegmentation"
    processor_class = "AutoImageProcessor"
    augmented = True
    dense = True

    def __init__(
        self,
        name: str,
        splits: Mapping[str, datasets.Dataset],
        *,
        image_column: str,
        mask_column: str,
        label_names: Sequence[str],
        image_size: tuple[int, int],
        augmentation: PairAugmentation | None = None,
        image_mean: Sequence[float] = IMAGENET_MEAN,
        image_std: Sequence[float] = IMAGENET_STD,
        table: Sequence[int] | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        workers: int | None = None,
        source: Mapping[str, Any] | None = None,
        own_splits: Mapping[str, str] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(name, label_names, "mean_iou", source, own_splits)
        self.notes = tuple(notes)
        if not 2 <= self.num_labels <= MAX_LABELS:
            raise InvalidInputError(
                f"There must be 2 to {MAX_LABELS} classes to tell apart, but `{name}` has {self.num_labels}. {VOID} is "
                f"void and no class: where masks hold 0 and {VOID}, write 1 for {VOID}."
            )
        if len(set(self.label_names)) < self.num_labels:
            raise InvalidInputError(f"Classes of `{name}` must have different names, but are {list(self.label_names)}.")
        if palette is not None and len(palette) != self.num_labels:
            raise InvalidInputError(
                f"`palette` must hold a colour for each of the {self.num_labels} classes, but has {len(palette)}."
            )
        self.image_size = (int(image_size[0]), int(image_size[1]))
        if min(self.image_size) < 1:
            raise InvalidInputError(f"`image_size` must be a height and a width, at least 1, but is {image_size}.")
        self.augmentation = augmentation or PairAugmentation(self.image_size)
        self.image_mean, self.image_std = tuple(image_mean), tuple(image_std)
        self.palette = None if palette is None else tuple(tuple(map(int, colour)) for colour in palette)
        names: tuple[Split, ...] = ("train", "validation", "test")
        self._files = {split: EncodedPictures(splits[split], image_column) for split in names}
        self._pairs = DecodedPairs(
            name,
            self._files,
            {split: EncodedPictures(splits[split], mask_column) for split in names},
            image_size=self.image_size,
            table=label_table(self.num_labels) if table is None else table,
            workers=workers,
        )
        for split in names:
            if not len(self._files[split]):
                raise InvalidInputError(f"The split `{split}` of `{name}` must hold examples, but is empty.")
            self._pairs.check(split)

    def size(self, split: Split) -> int:
        if split == "full":
            return self.size("train") + self.size("validation")
        return len(self._files[split])

    def batch(self, split: Split, indices: torch.Tensor, *, device: torch.device, seed: int | None = None) -> Batch:
        pictures, masks = self._pairs.read(split, indices, augmentation=self.augmentation, seed=seed)
        images = torch.from_numpy(pictures).to(device, non_blocking=True)
        values = normalized(images, self.image_mean, self.image_std)
        labels = _stacked(masks).to(device, non_blocking=True)
        if seed is not None:
            outside = labels == OUTSIDE
            values.masked_fill_(outside.unsqueeze(1), 0.0)
            labels.masked_fill_(outside, VOID)
        return {"pixel_values": values, "labels": labels}

    def prefetch(self, split: Split, batches: Sequence[torch.Tensor], *, seed: int | None = None) -> None:
        """Announces which batches come next, so that they are decoded meanwhile. It replaces earlier announcements."""
        self._pairs.prefetch(split, batches, augmentation=self.augmentation, seed=seed)

    def labels(self, split: Split) -> torch.Tensor:
        raise InvalidInputError(
            f"Labels of `{self.name}` are masks, which are too many to be listed at once. Read them by `batch`, or "
            "count them by `pixel_counts`."
        )

    def pixel_counts(self, split: Split) -> torch.Tensor:
        """Returns how many pixels have each class, and last how many are void, int64 [num_labels + 1].

        This reads every mask of the split, once.

        Raises:
            InvalidInputError: A mask cannot be read, or holds what is no class.
        """
        if split == "full":
            return self.pixel_counts("train") + self.pixel_counts("validation")
        counts = self._pairs.counts(split)
        return torch.from_numpy(np.append(counts[: self.num_labels], counts[VOID]))

    def example(self, split: Split, index: int) -> tuple[PILImage.Image, np.ndarray]:
        """Returns a picture, as it is, and the class of each of its pixels or `VOID`, uint8 [height, width]."""
        return self._files[split].decode(index, split, self.name), self._pairs.labels(split, index)

    def repeated(self, split: Split, others: Sequence[Split]) -> int:
        return self._pairs.repeated(split, others)

    def tally(self, logits: torch.Tensor, labels: torch.Tensor) -> Tally:
        """Returns the confusion matrix, int64 [labels, labels], and the sum of losses of each picture, float64 [n]."""
        matrix = torch.zeros(self.num_labels, self.num_labels, dtype=torch.int64)
        losses = []
        for output, padded in zip(logits, labels, strict=True):  # one by one: outputs of this size take much memory
            own = padded[: int((padded[:, 0] != OUTSIDE).sum()), : int((padded[0] != OUTSIDE).sum())].unsqueeze(0)
            output = output.unsqueeze(0)
            if output.shape[-2:] != own.shape[-2:]:
                output = functional.interpolate(output, own.shape[-2:], mode="bilinear", align_corners=False)
            loss = functional.cross_entropy(output, own, ignore_index=VOID, reduction="none")
            losses.append(loss.cpu().double().sum())
            matrix += confusion_matrix(output.argmax(1), own, self.num_labels).cpu()
        return matrix, torch.stack(losses)

    def join(self, tallies: Iterable[Tally]) -> Tally:
        """Returns the sum of confusion matrices, and the losses of all pictures: their sum depends on the order."""
        matrix = torch.zeros(self.num_labels, self.num_labels, dtype=torch.int64)
        losses: list[float] = []  # small tensors that stay between large ones that go would scatter the free memory
        for own, loss in tallies:
            matrix += own
            losses += loss.tolist()
        return matrix, torch.tensor(losses, dtype=torch.float64)

    def total(self, tally: Tally) -> Measured:
        matrix, losses = tally
        return Measured(
            segmentation_metrics(matrix, self.label_names),
            float(losses.sum()) / max(1, int(matrix.sum())),
            {"iou": class_ious(matrix, self.label_names)},
        )

    def score(self, predictions: torch.Tensor, references: torch.Tensor) -> dict[str, float]:
        """Returns metrics of predicted classes [n, height, width] against labels of the same shape."""
        return segmentation_metrics(confusion_matrix(predictions, references, self.num_labels), self.label_names)

    def predictions(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns the most likely class of each pixel, int64 [n, height, width]."""
        return logits.argmax(1)

    def loss(self, logits: torch.Tensor, references: torch.Tensor) -> float:
        """Returns the mean cross-entropy of all pixels that are not void; 0 where all are."""
        return self.total(self.tally(logits, references)).loss

    def fingerprint(self) -> str:
        """Returns a hash of settings, class names, labels of masks' values, and encoded pictures and masks, in order.

        What it covers of each file is said at `ImageTask.fingerprint`.
        """
        table = self._pairs.table.tolist()
        settings = (self.label_names, self.image_mean, self.image_std, self.image_size, self.augmentation, table)
        return hashlib.sha256(repr((settings, self._digest)).encode()).hexdigest()[:16]

    @cached_property
    def _digest(self) -> str:
        return self._pairs.digest().hex()

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (3, *self.image_size)

    def processor(self) -> SegformerImageProcessorPil:
        """Returns the preprocessor that makes the same inputs from pictures, to publish beside a model.

        It also turns outputs into masks (`post_process_semantic_segmentation`), as `pipeline("image-segmentation")`
        needs.
        """
        height, width = self.image_size
        return SegformerImageProcessorPil(
            size={"height": height, "width": width},
            image_mean=list(self.image_mean),
            image_std=list(self.image_std),
            do_reduce_labels=False,
            do_convert_rgb=True,
        )

    def processed_by(self, folder: Path) -> ProcessedPictures:
        def labels(split: Split, indices: torch.Tensor) -> torch.Tensor:
            return _stacked([self._pairs.labels(split, i) for i in indices.tolist()])

        return ProcessedPictures(self, self._files, folder, labels)


def _stacked(masks: Sequence[np.ndarray]) -> torch.Tensor:
    """Returns labels of several pictures, int64 [n, height, width]; smaller ones are filled up with `OUTSIDE`."""
    height, width = (max(mask.shape[axis] for mask in masks) for axis in (0, 1))
    stacked = torch.full((len(masks), height, width), OUTSIDE)
    for labels, mask in zip(stacked, masks, strict=True):
        labels[: mask.shape[0], : mask.shape[1]] = torch.from_numpy(np.ascontiguousarray(mask))
    return stacked
