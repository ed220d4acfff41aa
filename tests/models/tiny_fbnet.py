"""An FBNet supernet that trains in milliseconds."""

import torch

from searchhub.models.fbnet.supernet_fbnet import FBNetSupernetConfig, FBNetSupernetForImageClassification

SMALL = {
    "num_labels": 4,
    "image_size": 8,
    "stem_width": 8,
    "stem_stride": 1,
    "stage_widths": [8, 16],
    "stage_depths": [1, 2],
    "stage_strides": [1, 2],
    "head_width": 16,
}


def tiny_fbnet(seed=0, **changes):
    torch.manual_seed(seed)
    return FBNetSupernetForImageClassification(FBNetSupernetConfig(**{**SMALL, **changes}))
