"""A segmentation network that trains in milliseconds, with a pooled branch, and the task that it is trained on."""

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SemanticSegmenterOutput

from searchhub.data.pairs import PairAugmentation
from searchhub.data.segmentation import SegmentationTask
from searchhub.training.loop import cross_entropy

from ..data.shapes import NAMES, split


class TinySegmenterConfig(PreTrainedConfig):
    model_type = "tiny_segmenter"


class TinySegmenter(PreTrainedModel):
    """A convolution of stride 4 and a pooled branch, as an ASPP has, whose BatchNorm sees one value a picture."""

    config_class = TinySegmenterConfig
    main_input_name = "pixel_values"

    def __init__(self, config):
        super().__init__(config)
        self.convolution = nn.Conv2d(3, 16, 5, stride=4, padding=2)
        self.normalization = nn.BatchNorm2d(16)
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 8, 1), nn.BatchNorm2d(8))
        self.classifier = nn.Conv2d(24, config.num_labels, 1)
        self.post_init()

    def forward(self, pixel_values, labels=None):
        features = functional.relu(self.normalization(self.convolution(pixel_values)))
        pooled = self.pooled(features).expand(-1, -1, *features.shape[-2:])
        logits = self.classifier(torch.cat([features, pooled], 1))
        return SemanticSegmenterOutput(None if labels is None else cross_entropy(logits, labels), logits)


def tiny_segmenter(seed=0):
    torch.manual_seed(seed)
    return TinySegmenter(TinySegmenterConfig(num_labels=3))


def tiny_task(train=16, **options):
    options = {"augmentation": PairAugmentation((24, 40)), **options}
    splits = {"train": split(train), "validation": split(5, 50), "test": split(6, 60)}
    names = {"image_column": "image", "mask_column": "mask", "label_names": NAMES, "image_size": (32, 48)}
    return SegmentationTask("shapes", splits, **{**names, "workers": 1, **options})
