"""Networks of searched cells (DARTS). Self-contained: this file and its configuration travel to the Hub."""

import importlib
import math
from dataclasses import dataclass

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

from .configuration_darts import SearchedDartsConfig, cell_edges


def batch_norm(config, width, affine=True):
    """BatchNorm; `affine`: whether it scales and shifts."""
    return nn.BatchNorm2d(width, eps=config.batch_norm_eps, momentum=config.batch_norm_momentum, affine=affine)


class SearchedDartsConvLayer(nn.Module):
    """ReLU, convolution without bias (1x1, or depthwise k x k and then 1x1), BatchNorm."""

    def __init__(self, config, in_width, out_width, kernel_size=1, stride=1, dilation=1):
        super().__init__()
        self.depthwise = None
        if kernel_size > 1:
            padding = dilation * (kernel_size // 2)
            self.depthwise = nn.Conv2d(
                in_width, in_width, kernel_size, stride, padding, dilation, groups=in_width, bias=False
            )
        self.pointwise = nn.Conv2d(in_width, out_width, 1, bias=False)
        self.normalization = batch_norm(config, out_width, affine=not config.search_network)

    def forward(self, hidden_states):
        hidden_states = functional.relu(hidden_states)
        if self.depthwise is not None:
            hidden_states = self.depthwise(hidden_states)
        return self.normalization(self.pointwise(hidden_states))


class SearchedDartsReduction(nn.Module):
    """Half the resolution (DARTS's FactorizedReduce): two strided 1x1 convolutions, one of them a pixel further on."""

    def __init__(self, config, in_width, out_width):
        super().__init__()
        self.even = nn.Conv2d(in_width, out_width // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(in_width, out_width - out_width // 2, 1, stride=2, bias=False)
        self.normalization = batch_norm(config, out_width, affine=not config.search_network)

    def forward(self, hidden_states):
        hidden_states = functional.relu(hidden_states)
        height, width = hidden_states.shape[-2:]
        further = hidden_states
        # Zeros beyond an even height or width are never read, so what is exported for any size always has them.
        if torch.compiler.is_compiling() or height % 2 or width % 2:
            further = functional.pad(further, (0, 1, 0, 1))
        halves = [self.even(hidden_states), self.odd(further[:, :, 1:, 1:])]
        return self.normalization(torch.cat(halves, dim=1))


class SearchedDartsPool(nn.Module):
    """3x3 pooling; followed by BatchNorm in networks of a search."""

    def __init__(self, config, width, kind, stride):
        super().__init__()
        average = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
        self.pool = average if kind == "avg" else nn.MaxPool2d(3, stride, padding=1)
        self.normalization = batch_norm(config, width, affine=False) if config.search_network else nn.Identity()

    def forward(self, hidden_states):
        return self.normalization(self.pool(hidden_states))


def build_operation(config, operation, width, stride):
    """The module of an entry of `config.normal` or `config.reduction` that is not "none"."""
    if operation == "skip_connect":
        return nn.Identity() if stride == 1 else SearchedDartsReduction(config, width, width)
    kind, _, size = operation.split("_")
    if size not in ("3x3", "5x5") or kind not in ("max", "avg", "sep", "dil"):
        raise ValueError(f"There is no operation {operation!r}.")
    if kind in ("max", "avg"):
        return SearchedDartsPool(config, width, kind, stride)
    kernel_size = int(size[0])
    if kind == "dil":
        return SearchedDartsConvLayer(config, width, width, kernel_size, stride, dilation=2)
    return nn.Sequential(
        SearchedDartsConvLayer(config, width, width, kernel_size, stride),
        SearchedDartsConvLayer(config, width, width, kernel_size),
    )


def edge_key(source, target):
    """The name of an edge's module."""
    return f"node{target}_from{source}"


class SearchedDartsCell(nn.Module):
    """A cell on the outputs of the two cells before it."""

    def __init__(self, config, index):
        super().__init__()
        before, last, width = config.cell_shapes[index]
        reduces = index in config.reduction_layers
        # The cell before the last (or the first of ImageNet's two stems) is then at twice the resolution of the last.
        twice = index - 1 in config.reduction_layers or (index == 0 and config.stem == "imagenet")
        self.stride = 2 if reduces else 1
        self.before = (SearchedDartsReduction if twice else SearchedDartsConvLayer)(config, before, width)
        self.last = SearchedDartsConvLayer(config, last, width)
        self.edges = nn.ModuleDict()
        self.num_nodes = config.num_nodes
        operations = config.reduction if reduces else config.normal
        for (source, target), operation in zip(cell_edges(config.num_nodes), operations):
            if operation != "none":
                stride = self.stride if source < 2 else 1
                self.edges[edge_key(source, target)] = build_operation(config, operation, width, stride)
        self.drop_path = 0.0

    def forward(self, before, last):
        """The nodes side by side, [batch, num_nodes * width, height, width], from the outputs of two cells."""
        states = [self.before(before), self.last(last)]
        for target in range(2, 2 + self.num_nodes):
            inputs = [
                self._edge(self.edges[edge_key(source, target)], states[source])
                for source in range(target)
                if edge_key(source, target) in self.edges
            ]
            states.append(sum(inputs[1:], inputs[0]) if inputs else self._zeros(states[0]))
        unused = [source for source in (0, 1) if not any(key.endswith(f"_from{source}") for key in self.edges)]
        if self.training and unused:
            # An input that no edge takes adds nothing, but its weights belong to the step: they get gradients of zero,
            # as weights whose edge is multiplied by zero do, and several processes wait for no missing ones.
            states[2] = states[2] + sum(states[source][:1, :1, :1, :1] * 0 for source in unused)
        return torch.cat(states[2:], dim=1)

    def _edge(self, operation, hidden_states):
        output = operation(hidden_states)
        if not (self.training and self.drop_path) or isinstance(operation, nn.Identity):
            return output
        keep = 1.0 - self.drop_path
        kept = torch.empty(output.shape[0], 1, 1, 1, dtype=output.dtype, device=output.device).bernoulli_(keep)
        return output * (kept / keep)

    def _zeros(self, state):
        """What a node without inputs is."""
        height, width = (-(-size // self.stride) for size in state.shape[-2:])
        return state.new_zeros(*state.shape[:2], height, width)


class SearchedDartsStem(nn.Module):
    """What makes the first two cell inputs from a picture."""

    def __init__(self, config):
        super().__init__()
        if config.stem == "cifar":
            width = config.width * config.stem_multiplier
            self.first = nn.Sequential(
                nn.Conv2d(config.num_channels, width, 3, padding=1, bias=False), batch_norm(config, width)
            )
            self.second = nn.Identity()
            return
        half, width = config.width // 2, config.width
        halved = config.output_stride is not None and config.output_stride < config.map_strides[-1]
        self.first = nn.Sequential(
            nn.Conv2d(config.num_channels, half, 3, stride=2, padding=1, bias=False),
            batch_norm(config, half),
            nn.ReLU(),
            nn.Conv2d(half, width, 3, stride=1 if halved else 2, padding=1, bias=False),
            batch_norm(config, width),
        )
        self.second = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False), batch_norm(config, width)
        )

    def forward(self, pixel_values):
        before = self.first(pixel_values)
        return before, self.second(before)


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


class SearchedDartsPreTrainedModel(PreTrainedModel):
    config: SearchedDartsConfig
    config_class = SearchedDartsConfig
    base_model_prefix = "darts"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ["SearchedDartsCell"]

    @torch.no_grad()
    def _init_weights(self, module):
        """As torch does, and so the authors."""
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


class SearchedDartsFeatures(nn.Module):
    """Stem and cells."""

    def __init__(self, config):
        super().__init__()
        self.stem = SearchedDartsStem(config)
        self.cells = nn.ModuleList(SearchedDartsCell(config, i) for i in range(config.num_cells))
        self.stage_ends = config.stage_ends
        self.auxiliary_cell = config.auxiliary_cell

    def forward(self, pixel_values):
        """The outputs of the stem and of each resolution's last cell; and that of cell 2 L // 3."""
        before, last = self.stem(pixel_values)
        outputs, auxiliary = [last], None
        for i, cell in enumerate(self.cells):
            before, last = last, cell(before, last)
            if i in self.stage_ends:
                outputs.append(last)
            if i == self.auxiliary_cell:
                auxiliary = last
        return outputs, auxiliary


class SearchedDartsModel(SearchedDartsPreTrainedModel):
    """The network without its classifier: last feature map and its global average."""

    def __init__(self, config):
        super().__init__(config)
        self.features = SearchedDartsFeatures(config)
        self.pooler = nn.AdaptiveAvgPool2d(1)
        self.post_init()

    def forward(self, pixel_values, output_hidden_states=None, return_dict=None, **kwargs):
        r"""
        Args:
            pixel_values: float [batch, num_channels, height, width], normalized as the image processor does.
            output_hidden_states: Also return the outputs of the stem and of each resolution.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return_dict = self.config.return_dict if return_dict is None else return_dict
        hidden_states, _ = self.features(pixel_values)
        pooled = self.pooler(hidden_states[-1]).flatten(1)
        all_states = tuple(hidden_states) if output_hidden_states else None
        if not return_dict:
            return tuple(v for v in (hidden_states[-1], pooled, all_states) if v is not None)
        return BaseModelOutputWithPoolingAndNoAttention(
            last_hidden_state=hidden_states[-1], pooler_output=pooled, hidden_states=all_states
        )


@dataclass
class SearchedDartsOutput(ImageClassifierOutputWithNoAttention):
    """
    Args:
        auxiliary_logits: The logits of the auxiliary head, [batch, num_labels]; in training, where it is attached.
    """

    auxiliary_logits: torch.FloatTensor | None = None


class SearchedDartsForImageClassification(SearchedDartsPreTrainedModel):
    """A network of searched cells with its classifier."""

    def __init__(self, config):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.darts = SearchedDartsModel(config)
        self.classifier = nn.Linear(config.stage_widths[-1], config.num_labels)
        self.auxiliary_head = None
        self.post_init()

    def forward(self, pixel_values, labels=None, output_hidden_states=None, return_dict=None, **kwargs):
        r"""
        Args:
            pixel_values: float [batch, num_channels, height, width], normalized as the image processor does.
            labels: int64 [batch]; with them the output holds the cross-entropy.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return_dict = self.config.return_dict if return_dict is None else return_dict
        hidden_states, auxiliary = self.darts.features(pixel_values)
        logits = self.classifier(self.darts.pooler(hidden_states[-1]).flatten(1))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        all_states = tuple(hidden_states) if output_hidden_states else None
        auxiliary_logits = None
        if self.training and self.auxiliary_head is not None:
            auxiliary_logits = self.auxiliary_head(auxiliary)
        if not return_dict:
            return tuple(v for v in (loss, logits, all_states, auxiliary_logits) if v is not None)
        return SearchedDartsOutput(
            loss=loss, logits=logits, hidden_states=all_states, auxiliary_logits=auxiliary_logits
        )

    def attach_auxiliary_head(self):
        """Give the training a second classifier, after cell 2 L // 3; it is no part of the network, nor published."""
        if not self.config.takes_auxiliary_head:
            raise ValueError(
                "An auxiliary head needs maps of 8 x 8 to 10 x 10 (7 x 7 or 8 x 8 after ImageNet's stem) in cell "
                f"{self.config.auxiliary_cell}, which pictures of {self.config.image_size} x {self.config.image_size} "
                "do not give. Train without."
            )
        width = self.config.cell_shapes[self.config.auxiliary_cell][2] * self.config.num_nodes
        head = SearchedDartsAuxiliaryHead(self.config, width)
        self.auxiliary_head = head.to(device=self.device, dtype=self.dtype)

    def detach_auxiliary_head(self):
        """The network alone again."""
        self.auxiliary_head = None

    def set_drop_path(self, probability):
        """In training, drop the output of every operation but identities with this probability, for each example."""
        for cell in self.darts.features.cells:
            cell.drop_path = probability


class SearchedDartsAuxiliaryHead(nn.Sequential):
    """The auxiliary classifier of DARTS, for maps of 8 x 8 (CIFAR) or 7 x 7 (ImageNet)."""

    def __init__(self, config, width):
        super().__init__(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=3 if config.stem == "cifar" else 2, padding=0, count_include_pad=False),
            nn.Conv2d(width, 128, 1, bias=False),
            batch_norm(config, 128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            batch_norm(config, 768),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(768, config.num_labels),
        )


class SearchedDartsBackbone(BackboneMixin, SearchedDartsPreTrainedModel):
    """A network of searched cells as a backbone: feature maps "stem", "stage1", … for detection and segmentation."""

    has_attentions = False

    def __init__(self, config):
        super().__init__(config)
        first = config.cell_shapes[0][1]
        self.num_features = [first, *config.stage_widths]
        self.features = SearchedDartsFeatures(config)
        self.post_init()

    # Copied from searchhub.models.mobile.modeling_mobile.SearchedMobileBackbone.forward with
    # outputs = self->outputs, _ = self
    def forward(self, pixel_values, output_hidden_states=None, return_dict=None, **kwargs):
        r"""
        Args:
            pixel_values: float [batch, num_channels, height, width], normalized as the image processor does.
            output_hidden_states: Also return all stages, whatever `out_features` selects.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return_dict = self.config.return_dict if return_dict is None else return_dict
        outputs, _ = self.features(pixel_values)
        maps = tuple(o for name, o in zip(self.stage_names, outputs) if name in self.out_features)
        hidden_states = tuple(outputs) if output_hidden_states else None
        if not return_dict:
            return (maps, hidden_states) if output_hidden_states else (maps,)
        return BackboneOutput(feature_maps=maps, hidden_states=hidden_states)


__all__ = [
    "SearchedDartsBackbone",
    "SearchedDartsForImageClassification",
    "SearchedDartsModel",
    "SearchedDartsPreTrainedModel",
]
