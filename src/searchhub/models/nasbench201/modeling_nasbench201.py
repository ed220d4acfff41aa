"""NAS-Bench-201 networks. Self-contained: this file and its configuration travel to the Hub."""

import importlib
import itertools
import math

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.backbone_utils import BackboneMixin
from transformers.modeling_outputs import (
    BackboneOutput,
    BaseModelOutputWithPoolingAndNoAttention,
    ImageClassifierOutputWithNoAttention,
)

from .configuration_nasbench201 import EDGES, SearchedNasBench201Config


# Copied from searchhub.models.darts.modeling_darts.batch_norm
def batch_norm(config, width, affine=True):
    """BatchNorm; `affine`: whether it scales and shifts."""
    return nn.BatchNorm2d(width, eps=config.batch_norm_eps, momentum=config.batch_norm_momentum, affine=affine)


class SearchedNasBench201ConvLayer(nn.Module):
    """ReLU, convolution without bias, BatchNorm."""

    def __init__(self, config, in_width, out_width, kernel_size, stride=1, affine=True):
        super().__init__()
        self.convolution = nn.Conv2d(in_width, out_width, kernel_size, stride, padding=kernel_size // 2, bias=False)
        self.normalization = batch_norm(config, out_width, affine)

    def forward(self, hidden_states):
        return self.normalization(self.convolution(functional.relu(hidden_states)))


def build_operation(config, operation, width):
    """The module of an entry of `config.operations` that is not "none"."""
    if operation == "skip_connect":
        return nn.Identity()
    if operation == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    kernel_size = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}[operation]
    return SearchedNasBench201ConvLayer(config, width, width, kernel_size, affine=not config.search_network)


# Copied from searchhub.models.darts.modeling_darts.edge_key
def edge_key(source, target):
    """The name of an edge's module."""
    return f"node{target}_from{source}"


class SearchedNasBench201Cell(nn.Module):
    """Four nodes: the input, and three sums over the edges from the nodes before; the last is the output."""

    def __init__(self, config, width):
        super().__init__()
        self.edges = nn.ModuleDict()
        for (source, target), operation in zip(EDGES, config.operations):
            if operation != "none":
                self.edges[edge_key(source, target)] = build_operation(config, operation, width)

    def forward(self, hidden_states):
        states = [hidden_states]
        for target in range(1, 4):
            inputs = [
                self.edges[edge_key(source, target)](states[source])
                for source in range(target)
                if edge_key(source, target) in self.edges
            ]
            states.append(sum(inputs[1:], inputs[0]) if inputs else torch.zeros_like(hidden_states))
        unused = [source for source in range(3) if not any(key.endswith(f"_from{source}") for key in self.edges)]
        if self.training and unused:
            # A node that no edge leaves adds nothing, but its weights belong to the step: they get gradients of zero,
            # as weights whose edge is multiplied by zero do, and several processes wait for no missing ones.
            states[3] = states[3] + sum(states[source][:1, :1, :1, :1] * 0 for source in unused)
        return states[3]


class SearchedNasBench201Reduction(nn.Module):
    """The residual block of stride 2 between two stages; its BatchNorm scales and shifts in search networks too."""

    def __init__(self, config, in_width, out_width):
        super().__init__()
        self.first = SearchedNasBench201ConvLayer(config, in_width, out_width, 3, stride=2)
        self.second = SearchedNasBench201ConvLayer(config, out_width, out_width, 3)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(in_width, out_width, 1, bias=False),
        )

    def forward(self, hidden_states):
        return self.shortcut(hidden_states) + self.second(self.first(hidden_states))


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


class SearchedNasBench201PreTrainedModel(PreTrainedModel):
    config: SearchedNasBench201Config
    config_class = SearchedNasBench201Config
    base_model_prefix = "nasbench201"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ["SearchedNasBench201Cell", "SearchedNasBench201Reduction"]

    # Copied from searchhub.models.darts.modeling_darts.SearchedDartsPreTrainedModel._init_weights
    @torch.no_grad()
    def _init_weights(self, module):
        """As torch does."""
        if isinstance(module, nn.Conv2d):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        elif isinstance(module, nn.BatchNorm2d):
            if module.affine:
                init.ones_(module.weight)
                init.zeros_(module.bias)
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)
            init.zeros_(module.num_batches_tracked)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)

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


class SearchedNasBench201Features(nn.Module):
    """Stem, cells and the blocks between: everything up to the last cell's output."""

    def __init__(self, config):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(config.num_channels, config.width, 3, padding=1, bias=False), batch_norm(config, config.width)
        )
        widths = config.stage_widths
        self.stages = nn.ModuleList(
            nn.ModuleList(SearchedNasBench201Cell(config, width) for _ in range(config.cells_per_stage))
            for width in widths
        )
        self.reductions = nn.ModuleList(
            SearchedNasBench201Reduction(config, one, other) for one, other in itertools.pairwise(widths)
        )

    def forward(self, pixel_values):
        """The outputs of the stem and of each stage."""
        hidden_states = self.stem(pixel_values)
        outputs = [hidden_states]
        for i, stage in enumerate(self.stages):
            if i > 0:
                hidden_states = self.reductions[i - 1](hidden_states)
            for cell in stage:
                hidden_states = cell(hidden_states)
            outputs.append(hidden_states)
        return outputs


class SearchedNasBench201Model(SearchedNasBench201PreTrainedModel):
    """The network without its classifier: last feature map and its global average."""

    def __init__(self, config):
        super().__init__(config)
        self.features = SearchedNasBench201Features(config)
        self.normalization = batch_norm(config, config.stage_widths[-1])
        self.pooler = nn.AdaptiveAvgPool2d(1)
        self.post_init()

    # Copied from searchhub.models.mobile.modeling_mobile.SearchedMobileModel.forward with
    # self.head(hidden_states[-1])->functional.relu(self.normalization(hidden_states[-1]))
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
        last_hidden_state = functional.relu(self.normalization(hidden_states[-1]))
        pooled = self.pooler(last_hidden_state).flatten(1)
        hidden_states = tuple(hidden_states) if output_hidden_states else None
        if not return_dict:
            return tuple(v for v in (last_hidden_state, pooled, hidden_states) if v is not None)
        return BaseModelOutputWithPoolingAndNoAttention(
            last_hidden_state=last_hidden_state, pooler_output=pooled, hidden_states=hidden_states
        )


class SearchedNasBench201ForImageClassification(SearchedNasBench201PreTrainedModel):
    """A NAS-Bench-201 network with its classifier."""

    def __init__(self, config):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.nasbench201 = SearchedNasBench201Model(config)
        self.classifier = nn.Linear(config.stage_widths[-1], config.num_labels)
        self.post_init()

    # Copied from searchhub.models.mobile.modeling_mobile.SearchedMobileForImageClassification.forward with
    # mobile->nasbench201, self.dropout(outputs.pooler_output)->outputs.pooler_output
    def forward(self, pixel_values, labels=None, output_hidden_states=None, return_dict=None, **kwargs):
        r"""
        Args:
            pixel_values: float [batch, num_channels, height, width], normalized as the image processor does.
            labels: int64 [batch]; with them the output holds the cross-entropy.
        """
        return_dict = self.config.return_dict if return_dict is None else return_dict
        outputs = self.nasbench201(pixel_values, output_hidden_states=output_hidden_states, return_dict=True)
        logits = self.classifier(outputs.pooler_output)
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        if not return_dict:
            return tuple(v for v in (loss, logits, outputs.hidden_states) if v is not None)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


class SearchedNasBench201Backbone(BackboneMixin, SearchedNasBench201PreTrainedModel):
    """A NAS-Bench-201 network as a backbone: feature maps "stem", "stage1", … for detection and segmentation."""

    has_attentions = False

    def __init__(self, config):
        super().__init__(config)
        self.num_features = [config.width, *config.stage_widths]
        self.features = SearchedNasBench201Features(config)
        self.post_init()

    # Copied from searchhub.models.mobile.modeling_mobile.SearchedMobileBackbone.forward
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
    "SearchedNasBench201Backbone",
    "SearchedNasBench201ForImageClassification",
    "SearchedNasBench201Model",
    "SearchedNasBench201PreTrainedModel",
]
