"""Searched FBNets. Self-contained: this file and its configuration travel to the Hub."""

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

from .configuration_fbnet import SearchedFBNetConfig


# Copied from searchhub.models.mobile.modeling_mobile.SearchedMobileConvLayer with Mobile->FBNet, ReLU6->ReLU
class SearchedFBNetConvLayer(nn.Module):
    """Convolution without bias, BatchNorm and, unless it is a linear bottleneck, ReLU."""

    def __init__(self, config, in_width, out_width, kernel_size=1, stride=1, groups=1, activation=True):
        super().__init__()
        self.convolution = nn.Conv2d(
            in_width, out_width, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False
        )
        self.normalization = nn.BatchNorm2d(out_width, eps=config.batch_norm_eps, momentum=config.batch_norm_momentum)
        self.activation = nn.ReLU() if activation else nn.Identity()

    def forward(self, hidden_states):
        return self.activation(self.normalization(self.convolution(hidden_states)))


class SearchedFBNetBlock(nn.Module):
    """Inverted residual: 1x1 expansion, depthwise k x k, linear 1x1 projection.

    With groups both 1x1 convolutions are grouped, and channels are shuffled after the first.
    """

    def __init__(self, config, in_width, out_width, stride, kernel_size, expansion, groups):
        super().__init__()
        width = in_width * expansion
        if expansion > 1 or config.always_expand:
            strides = (stride, 1) if config.stride_at == "expansion" else (1, stride)
            self.expansion = SearchedFBNetConvLayer(config, in_width, width, stride=strides[0], groups=groups)
        else:
            strides = (1, stride)
            self.expansion = nn.Identity()
        self.shuffle = nn.ChannelShuffle(groups) if groups > 1 else nn.Identity()
        self.depthwise = SearchedFBNetConvLayer(config, width, width, kernel_size, strides[1], groups=width)
        self.projection = SearchedFBNetConvLayer(config, width, out_width, groups=groups, activation=False)
        self.residual = stride == 1 and in_width == out_width

    def forward(self, hidden_states):
        output = self.projection(self.depthwise(self.shuffle(self.expansion(hidden_states))))
        return hidden_states + output if self.residual else output


def build_layer(config, block, in_width, out_width, stride):
    """The module of one entry of `config.blocks`."""
    if block == "skip":
        if stride == 1 and in_width == out_width:
            return nn.Identity()
        return SearchedFBNetConvLayer(config, in_width, out_width, stride=stride)
    kernel_size, expansion, *groups = (int(n) for n in re.findall(r"\d+", block))
    return SearchedFBNetBlock(config, in_width, out_width, stride, kernel_size, expansion, *(groups or [1]))


# Copied from searchhub.models.mobile.modeling_mobile.find_publishing
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


class SearchedFBNetPreTrainedModel(PreTrainedModel):
    config: SearchedFBNetConfig
    config_class = SearchedFBNetConfig
    base_model_prefix = "fbnet"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ["SearchedFBNetBlock"]

    # Copied from searchhub.models.mobile.modeling_mobile.SearchedMobilePreTrainedModel._init_weights
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

    # Copied from searchhub.models.mobile.modeling_mobile.SearchedMobilePreTrainedModel.push_to_hub
    def push_to_hub(self, repo_id, **options):
        """Does what `searchhub.publish` does; where searchhub is not installed, what transformers does."""
        ours = find_publishing()
        return ours.push_to_hub(self, repo_id, **options) if ours else super().push_to_hub(repo_id, **options)

    # Copied from searchhub.models.mobile.modeling_mobile.SearchedMobilePreTrainedModel.save_pretrained
    def save_pretrained(self, save_directory, is_main_process=True, state_dict=None, push_to_hub=False, **options):
        """Saves as transformers does; where searchhub is installed, `push_to_hub=True` is an error."""
        if push_to_hub and (ours := find_publishing()):
            ours.refuse_to_push(self)
        super().save_pretrained(save_directory, is_main_process, state_dict, push_to_hub, **options)


class SearchedFBNetFeatures(nn.Module):
    """Stem and searched layers: everything up to the last feature map."""

    def __init__(self, config):
        super().__init__()
        self.stem = SearchedFBNetConvLayer(config, config.num_channels, config.stem_width, 3, config.stem_stride)
        self.layers = nn.ModuleList(
            build_layer(config, block, *shape) for block, shape in zip(config.blocks, config.layer_shapes)
        )
        ends, end = [], 0
        for depth in config.stage_depths:
            end += depth
            ends.append(end)
        self.stage_ends = ends

    def forward(self, pixel_values):
        """The outputs of the stem and of each stage."""
        hidden_states = self.stem(pixel_values)
        outputs, start = [hidden_states], 0
        for end in self.stage_ends:
            for layer in self.layers[start:end]:
                hidden_states = layer(hidden_states)
            outputs.append(hidden_states)
            start = end
        return outputs


# Copied from searchhub.models.mobile.modeling_mobile.SearchedMobileModel with Mobile->FBNet
class SearchedFBNetModel(SearchedFBNetPreTrainedModel):
    """The network without its classifier: last feature map and its global average."""

    def __init__(self, config):
        super().__init__(config)
        self.features = SearchedFBNetFeatures(config)
        self.head = SearchedFBNetConvLayer(config, config.stage_widths[-1], config.head_width)
        self.pooler = nn.AdaptiveAvgPool2d(1)
        self.post_init()

    def forward(self, pixel_values, output_hidden_states=None, return_dict=None, **kwargs):
        r"""
        Args:
            pixel_values: float [batch, num_channels, height, width], normalized as the image processor does.
            output_hidden_states: Also return the outputs of the stem and of each stage.
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


# Copied from searchhub.models.mobile.modeling_mobile.SearchedMobileForImageClassification with
# Mobile->FBNet, mobile->fbnet
class SearchedFBNetForImageClassification(SearchedFBNetPreTrainedModel):
    """A searched FBNet with its classifier."""

    def __init__(self, config):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.fbnet = SearchedFBNetModel(config)
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
        outputs = self.fbnet(pixel_values, output_hidden_states=output_hidden_states, return_dict=True)
        logits = self.classifier(self.dropout(outputs.pooler_output))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        if not return_dict:
            return tuple(v for v in (loss, logits, outputs.hidden_states) if v is not None)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


# Copied from searchhub.models.mobile.modeling_mobile.SearchedMobileBackbone with Mobile->FBNet, first_width->stem_width
class SearchedFBNetBackbone(BackboneMixin, SearchedFBNetPreTrainedModel):
    """A searched FBNet as a backbone: feature maps "stem", "stage1", … for detection and segmentation."""

    has_attentions = False

    def __init__(self, config):
        super().__init__(config)
        self.num_features = [config.stem_width, *config.stage_widths]
        self.features = SearchedFBNetFeatures(config)
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
    "SearchedFBNetBackbone",
    "SearchedFBNetForImageClassification",
    "SearchedFBNetModel",
    "SearchedFBNetPreTrainedModel",
]
