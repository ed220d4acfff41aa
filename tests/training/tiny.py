"""A task and a supernet that train in milliseconds, for tests of what surrounds them."""

import hashlib

import torch
from transformers import ViTImageProcessorPil

from searchhub.data.task import Task
from searchhub.models.mobile.supernet_mobile import MobileSupernetConfig, MobileSupernetForImageClassification


class TinyTask(Task):
    """Pictures whose class is the quadrant that is bright."""

    pipeline_tag = "image-classification"
    auto_class = "AutoModelForImageClassification"
    processor_class = "AutoImageProcessor"
    augmented = True

    def __init__(self, sizes=(32, 16, 16), seed=0):
        super().__init__("tiny", ["0", "1", "2", "3"], "accuracy")
        generator = torch.Generator().manual_seed(seed)
        self.data = {}
        for split, n in zip(("train", "validation", "test"), sizes, strict=True):
            labels = torch.randint(0, 4, (n,), generator=generator)
            pictures = torch.randn(n, 3, 8, 8, generator=generator)
            for i, label in enumerate(labels.tolist()):
                row, column = divmod(label, 2)
                pictures[i, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 2.0
            self.data[split] = (pictures, labels)
        pairs = zip(self.data["train"], self.data["validation"], strict=True)
        self.data["full"] = tuple(torch.cat(pair) for pair in pairs)
        self.poisoned = False

    def size(self, split):
        return len(self.data[split][1])

    def batch(self, split, indices, *, device, seed=None):
        pictures, labels = self.data[split]
        values = pictures[indices].clone()
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            values += 0.1 * torch.randn(self.size(split), 1, 1, 1, generator=generator)[indices]
        if self.poisoned:
            values.fill_(float("nan"))
        return {"pixel_values": values.to(device), "labels": labels[indices].to(device)}

    def score(self, predictions, references):
        return {"accuracy": (predictions == references).double().mean().item()}

    def processor(self):
        return ViTImageProcessorPil(size={"height": 8, "width": 8}, do_convert_rgb=True)

    def fingerprint(self):
        return hashlib.sha256(self.data["full"][0].numpy().tobytes()).hexdigest()[:16]


def tiny_supernet(seed=0, dropout=0.0):
    torch.manual_seed(seed)
    config = MobileSupernetConfig(
        num_labels=4,
        image_size=8,
        stem_width=8,
        stem_stride=1,
        first_width=8,
        stage_widths=[8, 16],
        stage_depths=[1, 2],
        stage_strides=[2, 2],
        head_width=16,
        classifier_dropout=dropout,
    )
    return MobileSupernetForImageClassification(config)
