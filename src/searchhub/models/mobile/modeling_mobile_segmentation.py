"""Searched mobile networks for segmentation. Self-contained: it travels to the Hub beside its family's files."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init
from transformers.modeling_outputs import SemanticSegmenterOutput

from .configuration_mobile import SearchedMobileConfig
from .modeling_mobile import SearchedMobileBackbone, SearchedMobilePreTrainedModel

IGNORED = 255
"""The label of pixels that count nowhere."""


class SegmentationConvLayer(nn.Sequential):
    """Convolution without bias, BatchNorm, ReLU."""

    def __init__(self, config, in_width, out_width, kernel_size=1, dilation=1, groups=1):
        padding = dilation * (kernel_size // 2)
        super().__init__(
            nn.Conv2d(in_width, out_width, kernel_size, padding=padding, dilation=dilation, groups=groups, bias=False),
            nn.BatchNorm2d(out_width, eps=config.batch_norm_eps, momentum=config.batch_norm_momentum),
            nn.ReLU(),
        )


def build_branch(config, in_width, out_width, rate):
    """A 3x3 branch of ASPP: one dilated convolution, or a depthwise one and then 1x1."""
    if not config.aspp_separable:
        return SegmentationConvLayer(config, in_width, out_width, 3, rate)
    return nn.Sequential(
        SegmentationConvLayer(config, in_width, in_width, 3, rate, groups=in_width),
        SegmentationConvLayer(config, in_width, out_width),
    )


class AsppHead(nn.Module):
    """The head of DeepLabV3: the last map through 1x1, dilated 3x3 and a global average, side by side; then 1x1."""

    def __init__(self, config):
        super().__init__()
        in_width, width = config.map_widths[-1], config.aspp_width or 256
        stride = config.output_stride or config.map_strides[-1]
        rates = config.aspp_rates or [max(1, 96 * i // stride) for i in (1, 2, 3)]
        self.branches = nn.ModuleList([SegmentationConvLayer(config, in_width, width)])
        self.branches.extend(build_branch(config, in_width, width, rate) for rate in rates)
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), SegmentationConvLayer(config, in_width, width))
        self.projection = SegmentationConvLayer(config, (len(rates) + 2) * width, width)
        self.dropout = nn.Dropout(config.aspp_dropout)
        self.classifier = nn.Conv2d(width, config.num_labels, 1)

    def forward(self, maps):
        """The logits [batch, labels, height, width] of the last map's height and width."""
        last = maps[-1]
        # What is one pixel high and wide is the same everywhere once it is as large as the others, bilinear or not.
        pooled = self.pooled(last).expand(-1, -1, *last.shape[-2:])
        features = torch.cat([*(branch(last) for branch in self.branches), pooled], dim=1)
        return self.classifier(self.dropout(self.projection(features)))


class LrAsppHead(nn.Module):
    """The head of MobileNetV3 (LR-ASPP): the last map, weighted by its average, on top of one of stride 8."""

    def __init__(self, config):
        super().__init__()
        in_width, width = config.map_widths[-1], config.aspp_width or 128
        # Told by strides before any dilation, so that weights are the same at any output stride.
        finest = min(8, config.map_strides[-1] // 2)
        self.low = max((i for i, stride in enumerate(config.map_strides) if stride <= finest), default=0)
        self.features = SegmentationConvLayer(config, in_width, width)
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_width, width, 1, bias=False), nn.Sigmoid())
        self.low_classifier = nn.Conv2d(config.map_widths[self.low], config.num_labels, 1)
        self.high_classifier = nn.Conv2d(width, config.num_labels, 1)

    def forward(self, maps):
        """The logits [batch, labels, height, width] of the finer map's height and width."""
        low, last = maps[self.low], maps[-1]
        # Upsampling and a 1x1 convolution take turns freely, and there are fewer labels than channels.
        high = self.high_classifier(self.features(last) * self.scale(last))
        return self.low_classifier(low) + resized(high, low.shape[-2:])


def build_segmentation_head(config):
    """The head that `config.segmentation_head` names.

    Raises:
        ValueError: There are too few labels to tell apart, or so many that one would be that of ignored pixels.
    """
    if not 2 <= config.num_labels <= IGNORED:
        raise ValueError(
            f"2 to {IGNORED} labels must be there to segment, but `num_labels` is {config.num_labels}. Label {IGNORED} "
            "is that of pixels that count nowhere."
        )
    return (AsppHead if config.segmentation_head == "aspp" else LrAsppHead)(config)


class AuxiliaryHead(nn.Sequential):
    """The FCN of DeepLabV3's training, on the map before the last: a 3x3 convolution and a classifier."""

    def __init__(self, config):
        in_width = config.map_widths[-2]
        width = max(8, in_width // 4)
        super().__init__(
            SegmentationConvLayer(config, in_width, width, 3), nn.Dropout(0.1), nn.Conv2d(width, config.num_labels, 1)
        )


def resized(logits, size):
    """Logits of another height and width, bilinear, corners not aligned."""
    return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def segmentation_loss(logits, labels):
    """The mean cross-entropy of all pixels that are not to be ignored; 0 where there are none."""
    logits = resized(logits.float(), labels.shape[-2:])
    total = functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)


@dataclass
class SegmentationOutput(SemanticSegmenterOutput):
    """
    Args:
        auxiliary_logits: The logits of the auxiliary head; in training, where it is attached.
    """

    auxiliary_logits: torch.FloatTensor | None = None


class SegmentationMixin:
    """What all networks with such a head have, and their supernets."""

    takes_any_size = True
    """Whether an exported network takes pictures of any height and width."""

    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, nn.Conv2d) and module.bias is not None:  # a classifier
            init.normal_(module.weight, mean=0.0, std=0.01)
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)


class SearchedMobileForSemanticSegmentation(SegmentationMixin, SearchedMobilePreTrainedModel):
    """A searched mobile network with a head for segmentation.

    `from_pretrained` takes the folder of a classifier too, whose weights it has all but those of the classifier itself.
    """

    config: SearchedMobileConfig

    def __init__(self, config):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.mobile = SearchedMobileBackbone(config)
        self.segmentation_head = build_segmentation_head(config)
        self.auxiliary_head = None
        self.post_init()

    def forward(self, pixel_values, labels=None, output_hidden_states=None, return_dict=None, **kwargs):
        r"""
        The logits are as large as the head makes them, and not as the picture: as the last map, which is
        `output_stride` times smaller, or with "lraspp" as the finer map. `post_process_semantic_segmentation` of the
        image processor makes them as large as wanted.

        Args:
            pixel_values: float [batch, num_channels, height, width], normalized as the image processor does.
            labels: int64 [batch, height, width], 255 for pixels to ignore; with them the output holds the
                cross-entropy at their size.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return_dict = self.config.return_dict if return_dict is None else return_dict
        maps = self.mobile.features(pixel_values)
        logits = self.segmentation_head(maps)
        loss = None if labels is None else segmentation_loss(logits, labels)
        hidden_states = tuple(maps) if output_hidden_states else None
        auxiliary = None
        if self.training and self.auxiliary_head is not None:
            auxiliary = self.auxiliary_head(maps[-2])
        if not return_dict:
            return tuple(v for v in (loss, logits, hidden_states, auxiliary) if v is not None)
        return SegmentationOutput(loss=loss, logits=logits, hidden_states=hidden_states, auxiliary_logits=auxiliary)

    def attach_auxiliary_head(self):
        """Give the training a second head, on the map before the last; it is no part of the network, nor published."""
        self.auxiliary_head = AuxiliaryHead(self.config).to(device=self.device, dtype=self.dtype)

    def detach_auxiliary_head(self):
        """The network alone again."""
        self.auxiliary_head = None


__all__ = ["SearchedMobileForSemanticSegmentation"]
