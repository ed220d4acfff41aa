"""Small networks that tell the class of each pixel, of every family that has some, for tests of what all must do."""

import torch

import searchhub

SIZE = [32, 48]
COMMON = {"num_labels": 3, "image_size": SIZE, "aspp_width": 8}

FAMILIES = {
    "mobile": (
        "SearchedMobile",
        {
            "stem_width": 8,
            "first_width": 8,
            "stage_widths": [8, 16, 16],
            "stage_depths": [1, 2, 2],
            "stage_strides": [2, 2, 2],
            "head_width": 16,
            "output_stride": 8,
        },
    ),
    "darts": (
        "SearchedDarts",
        {"stem": "imagenet", "width": 8, "num_cells": 3, "num_nodes": 2, "output_stride": 16},
    ),
}
"""Prefix of the classes, and settings."""


def settings_of(family, **changes):
    return {**COMMON, **FAMILIES[family][1], **changes}


def config_of(family, **changes):
    return getattr(searchhub, f"{FAMILIES[family][0]}Config")(**settings_of(family, **changes))


def model_of(family, *, seed=0, **changes):
    """A network with random weights, and statistics that no batch was measured for."""
    torch.manual_seed(seed)
    model = getattr(searchhub, f"{FAMILIES[family][0]}ForSemanticSegmentation")(config_of(family, **changes)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def supernet_of(family, *, seed=0, **changes):
    torch.manual_seed(seed)
    prefix = FAMILIES[family][0].removeprefix("Searched")
    config = getattr(searchhub, f"{prefix}SupernetConfig")(**settings_of(family, **changes))
    return getattr(searchhub, f"{prefix}SupernetForSemanticSegmentation")(config)


def batch_of(n=2, size=SIZE, labels=3):
    """Pictures, and masks whose first rows are to be ignored."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, labels, (n, *size), generator=generator)
    masks[:, :3] = 255
    return {"pixel_values": torch.randn(n, 3, *size, generator=generator), "labels": masks}
