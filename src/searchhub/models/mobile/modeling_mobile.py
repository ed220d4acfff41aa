"""Searched mobile networks (ProxylessNAS blocks). Self-contained: this file and its configuration travel to the Hub."""

import importlib
import math
import re

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.backbone_utils import BackboneMixin
from transformers.modeling_outputs import (
    BackboneOutput,
    BaseModelOutputWithPoolingAndNoAttention,
    ImageClassifierOutputWithNoAttention,
)

from .configuration_mobile import SearchedMobileConfig


class SearchedMobileConvLayer(nn.Module):
    """Convolution without bias, BatchNorm and, unless it is a linear bottleneck, ReLU6."""

    def __init__(self, config, in_width, out_width, kernel_size=1, stride=1, groups=1, activation=True):
        super().__init__()
        self.convolution = nn.Conv2d(
            in_width, out_width, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False
        )
        self.normalization = nn.BatchNorm2d(out_width, eps=config.batch_norm_eps, momentum=config.batch_norm_momentum)
        self.activation = nn.ReLU6() if activation else nn.Identity()

    def forward(self, hidden_states):
        return self.activation(self.normalization(self.convolution(hidden_states)))


class SearchedMobileBlock(nn.Module):
    """Inverted residual (MBConv): 1x1 expansion (left out at ratio 1), depthwise k x k, linear 1x1 projection."""

    def __init__(self, config, in_width, out_width, stride, expansion, kernel_size):
        super().__init__()
        width = in_width * expansion
        self.expansion = SearchedMobileConvLayer(config, in_width, width) if expansion > 1 else nn.Identity()
        self.depthwise = SearchedMobileConvLayer(config, width, width, kernel_size, stride, groups=width)
        self.projection = SearchedMobileConvLayer(config, width, out_width, activation=False)
        self.residual = stride == 1 and in_width == out_width

    def forward(self, hidden_states):
        output = self.projection(self.depthwise(self.expansion(hidden_states)))
        return hidden_states + output if self.residual else output


def build_layer(config, block, in_width, out_width, stride):
    """The module of one entry of `config.blocks`."""
    if block == "zero":
        return nn.Identity()
    expansion, kernel_size = (int(n) for n in re.findall(r"\d+", block))
    return SearchedMobileBlock(config, in_width, out_width, stride, expansion, kernel_size)


def dilate(convolution, stride, dilation):
    """Gives a convolution that is built another stride and dilation; weights and what zeros surround stay the same."""
    convolution.stride, convolution.dilation = (stride, stride), (dilation, dilation)
    convolution.padding = tuple(dilation * (size // 2) for size in convolution.kernel_size)


def find_publishing():
    """Returns what searchhub pushes models with, or None where searchhub is not installed."""
    try:
        return importlib.import_module("searchhub.models.publishing")
    except ModuleNotFoundError as error:
        if error.name == "searchhub":
            return None
        raise ImportError(
            f"searchhub must be whole and as new as this file to push a model, but: {error}. Upgrade searchhub; or "
            "write the files with `save_pretrained` and upload them with huggingface_hub."
        ) from error


class SearchedMobilePreTrainedModel(PreTrainedModel):
    config: SearchedMobileConfig
    config_class = SearchedMobileConfig
    base_model_prefix = "mobile"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ["SearchedMobileBlock"]

    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            init.normal_(module.weight, mean=0.0, std=math.sqrt(2.0 / fan_out))
        elif isinstance(module, nn.BatchNorm2d):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)
            init.zeros_(module.num_batches_tracked)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, mean=0.0, std=0.01)
            init.zeros_(module.bias)

    def push_to_hub(self, repo_id, **options):
        """Does what `searchhub.publish` does; where searchhub is not installed, what transformers does."""
        ours = find_publishing()
        return ours.push_to_hub(self, repo_id, **options) if ours else super().push_to_hub(repo_id, **options)

    def save_pretrained(self, save_directory, is_main_process=True, state_dict=None, push_to_hub=False, **options):
        """Saves as transformers does; where searchhub is installed, `push_to_hub=True` is an error."""
        if push_to_hub and (ours := find_publishing()):
            ours.refuse_to_push(self)
        super().save_pretrained(save_directory, is_main_process, state_dict, push_to_hub, **options)


class SearchedMobileFeatures(nn.Module):
    """Stem, fixed block and searched layers: everything up to the last feature map."""

    def __init__(self, config):
        super().__init__()
        self.stem = SearchedMobileConvLayer(config, config.num_channels, config.stem_width, 3, config.stem_stride)
        self.first = SearchedMobileBlock(config, config.stem_width, config.first_width, 1, 1, 3)
        self.layers = nn.ModuleList(
            build_layer(config, block, *shape) for block, shape in zip(config.blocks, config.layer_shapes)
        )
        for layer, built in zip(self.layers, config.built_layers):
            if isinstance(layer, SearchedMobileBlock):
                dilate(layer.depthwise.convolution, *built)
        ends, end = [], 0
        for depth in config.stage_depths:
            end += depth
            ends.append(end)
        self.stage_ends = ends

    def forward(self, pixel_values):
        """The outputs of the fixed block and of each stage."""
        hidden_states = self.first(self.stem(pixel_values))
        outputs, start = [hidden_states], 0
        for end in self.stage_ends:
            for layer in self.layers[start:end]:
                hidden_states = layer(hidden_states)
            outputs.append(hidden_states)
            start = end
        return outputs


class SearchedMobileModel(SearchedMobilePreTrainedModel):
    """The network without its classifier: last feature map and its global average."""

    def __init__(self, config):
        super().__init__(config)
        self.features = SearchedMobileFeatures(config)
        self.head = SearchedMobileConvLayer(config, config.stage_widths[-1], config.head_width)
        self.pooler = nn.AdaptiveAvgPool2d(1)
        self.post_init()

    def forward(self, pixel_values, output_hidden_states=None, return_dict=None, **kwargs):
        r"""
        Args:
            pixel_values: float [batch, num_channels, height, width], normalized as the image processor does.
            output_hidden_states: Also return the outputs of the fixed block and of each stage.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return_dict = self.config.return_dict if return_dict is None else return_dict
        hidden_states = self.features(pixel_values)
        last_hidden_state = self.head(hidden_states[-1])
        pooled = self.pooler(last_hidden_state).flatten(1)
        hidden_states = tuple(hidden_states) if output_hidden_states else None
        if not return_dict:
            return tuple(v for v in (last_hidden_state, pooled, hidden_states) if v is not None)
        return BaseModelOutputWithPoolingAndNoAttention(
            last_hidden_state=last_hidden_state, pooler_output=pooled, hidden_states=hidden_states
        )


class SearchedMobileForImageClassification(SearchedMobilePreTrainedModel):
    """A searched mobile network with its classifier."""

    def __init__(self, config):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.mobile = SearchedMobileModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.head_width, config.num_labels)
        self.post_init()

    def forward(self, pixel_values, labels=None, output_hidden_states=None, return_dict=None, **kwargs):
        r"""
        Args:
            pixel_values: float [batch, num_channels, height, width], normalized as the image processor does.
            labels: int64 [batch]; with them the output holds the cross-entropy.
        """
        return_dict = self.config.return_dict if return_dict is None else return_dict
        outputs = self.mobile(pixel_values, output_hidden_states=output_hidden_states, return_dict=True)
        logits = self.classifier(self.dropout(outputs.pooler_output))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        if not return_dict:
            return tuple(v for v in (loss, logits, outputs.hidden_states) if v is not None)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


class SearchedMobileBackbone(BackboneMixin, SearchedMobilePreTrainedModel):
    """A searched mobile network as a backbone: feature maps "stem", "stage1", … for detection and segmentation."""

    has_attentions = False

    def __init__(self, config):
        super().__init__(config)
        self.num_features = [config.first_width, *config.stage_widths]
        self.features = SearchedMobileFeatures(config)
        self.post_init()

    def forward(self, pixel_values, output_hidden_states=None, return_dict=None, **kwargs):
        r"""
        Args:
            pixel_values: float [batch, num_channels, height, width], normalized as the image processor does.
            output_hidden_states: Also return all stages, whatever `out_features` selects.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return_dict = self.config.return_dict if return_dict is None else return_dict
        outputs = self.features(pixel_values)
        maps = tuple(o for name, o in zip(self.stage_names, outputs) if name in self.out_features)
        hidden_states = tuple(outputs) if output_hidden_states else None
        if not return_dict:
            return (maps, hidden_states) if output_hidden_states else (maps,)
        return BackboneOutput(feature_maps=maps, hidden_states=hidden_states)


__all__ = [
    "SearchedMobileBackbone",
    "SearchedMobileForImageClassification",
    "SearchedMobileModel",
    "SearchedMobilePreTrainedModel",
]
