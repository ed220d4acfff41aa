"""A small network of each family, for tests of what all of them must do."""

import torch

import searchhub

from ..models.tiny_bert import SIZES

_PICTURES = {"image_size": 8, "num_labels": 3}
_MOBILE = {"stem_width": 8, "stem_stride": 1, "stage_widths": [8], "stage_depths": [2], "stage_strides": [1]}

FAMILIES = {
    "mobile": (
        "SearchedMobile",
        "ForImageClassification",
        {**_PICTURES, **_MOBILE, "first_width": 8, "head_width": 16, "blocks": ["mbconv_e3_k3", "zero"]},
        {"blocks": ["mbconv_e3_k3", "mbconv_e6_k5"]},
    ),
    "fbnet": (
        "SearchedFBNet",
        "ForImageClassification",
        {**_PICTURES, **_MOBILE, "head_width": 16, "blocks": ["k3_e1", "skip"]},
        {"blocks": ["k3_e1", "k5_e3"]},
    ),
    "darts": (
        "SearchedDarts",
        "ForImageClassification",
        {**_PICTURES, "width": 4, "num_cells": 3, "num_nodes": 1},
        {"width": 8},
    ),
    "nasbench201": (
        "SearchedNasBench201",
        "ForImageClassification",
        {**_PICTURES, "width": 4, "cells_per_stage": 1},
        {"width": 8},
    ),
    "nasbench_macro": (
        "SearchedNasBenchMacro",
        "ForImageClassification",
        {**_PICTURES, **_MOBILE, "head_width": 16, "blocks": ["mb3_k3", "identity"]},
        {"blocks": ["mb3_k3", "mb6_k5"]},
    ),
    "channel_cnn": (
        "SearchedChannelCnn",
        "ForImageClassification",
        {**_PICTURES, "channels": [4, 4, 4], "pool_after": [1, 2, 3]},
        {"channels": [4, 8, 4]},
    ),
    "bert": (
        "SearchedBert",
        "ForSequenceClassification",
        {**SIZES, "per_layer_config": {0: {"num_attention_heads": 2}, 3: {"num_attention_heads": 0}}},
        {"per_layer_config": {0: {"num_attention_heads": 1}}},
    ),
}
"""Prefix and ending of the class, settings, and changes that make another architecture."""


def model_of(family, *, seed=0, other=False):
    """A network with random weights."""
    prefix, ending, settings, changes = FAMILIES[family]
    torch.manual_seed(seed)
    config = getattr(searchhub, f"{prefix}Config")(**{**settings, **(changes if other else {})})
    return getattr(searchhub, f"{prefix}{ending}")(config).eval()
