"""Searched plain networks. Self-contained: this file and its configuration travel to the Hub."""

import importlib
import math

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithNoAttention, ImageClassifierOutputWithNoAttention

from .configuration_channel_cnn import SearchedChannelCnnConfig


class SearchedChannelCnnLayer(nn.Module):
    """3x3 convolution without bias, BatchNorm, ReLU and, where the picture is halved, 2x2 max-pooling."""

    def __init__(self, config, in_channels, out_channels, pool):
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.normalization = nn.BatchNorm2d(
            out_channels, eps=config.batch_norm_eps, momentum=config.batch_norm_momentum
        )
        self.activation = nn.ReLU()
        self.pooling = nn.MaxPool2d(2) if pool else nn.Identity()

    def forward(self, hidden_states):
        return self.pooling(self.activation(self.normalization(self.convolution(hidden_states))))


def build_layers(config):
    """The layers of a configuration."""
    in_channels = [config.num_channels, *config.channels[:-1]]
    return nn.ModuleList(
        SearchedChannelCnnLayer(config, *shape, pool=i in config.pool_after)
        for i, shape in enumerate(zip(in_channels, config.channels), start=1)
    )


def build_classifier(config):
    """The classifier on the flattened last feature map."""
    return nn.Linear(config.channels[-1] * config.last_size**2, config.num_labels)


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


class SearchedChannelCnnPreTrainedModel(PreTrainedModel):
    config: SearchedChannelCnnConfig
    config_class = SearchedChannelCnnConfig
    base_model_prefix = "channel_cnn"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ["SearchedChannelCnnLayer"]

    # Copied from searchhub.models.mobile.modeling_mobile.SearchedMobilePreTrainedModel._init_weights with
    # module.out_channels // module.groups->module.out_channels
    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
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


class SearchedChannelCnnModel(SearchedChannelCnnPreTrainedModel):
    """The network without its classifier."""

    def __init__(self, config):
        super().__init__(config)
        self.layers = build_layers(config)
        self.post_init()

    def forward(self, pixel_values, output_hidden_states=None, return_dict=None, **kwargs):
        r"""
        Args:
            pixel_values: float [batch, num_channels, image_size, image_size], normalized as the image processor does.
            output_hidden_states: Also return the outputs of all layers.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return_dict = self.config.return_dict if return_dict is None else return_dict
        hidden_states, outputs = pixel_values, ()
        for layer in self.layers:
            hidden_states = layer(hidden_states)
            outputs += (hidden_states,) if output_hidden_states else ()
        if not return_dict:
            return (hidden_states, outputs) if output_hidden_states else (hidden_states,)
        return BaseModelOutputWithNoAttention(last_hidden_state=hidden_states, hidden_states=outputs or None)


class SearchedChannelCnnForImageClassification(SearchedChannelCnnPreTrainedModel):
    """A searched plain network with its classifier."""

    def __init__(self, config):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.channel_cnn = SearchedChannelCnnModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = build_classifier(config)
        self.post_init()

    def forward(self, pixel_values, labels=None, output_hidden_states=None, return_dict=None, **kwargs):
        r"""
        Args:
            pixel_values: float [batch, num_channels, image_size, image_size], normalized as the image processor does.
            labels: int64 [batch]; with them the output holds the cross-entropy.
            output_hidden_states: Also return the outputs of all layers.
        """
        return_dict = self.config.return_dict if return_dict is None else return_dict
        outputs = self.channel_cnn(pixel_values, output_hidden_states=output_hidden_states, return_dict=True)
        logits = self.classifier(self.dropout(outputs.last_hidden_state.flatten(1)))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        if not return_dict:
            return tuple(v for v in (loss, logits, outputs.hidden_states) if v is not None)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


__all__ = [
    "SearchedChannelCnnForImageClassification",
    "SearchedChannelCnnModel",
    "SearchedChannelCnnPreTrainedModel",
]
