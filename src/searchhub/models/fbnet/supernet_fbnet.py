"""The supernet of FBNet's space: every candidate block of every layer, for one path or for all at once (a mixture)."""

from __future__ import annotations

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

from searchhub.models.fbnet.configuration_fbnet import SearchedFBNetConfig
from searchhub.models.fbnet.modeling_fbnet import (
    SearchedFBNetConvLayer,
    SearchedFBNetForImageClassification,
    SearchedFBNetPreTrainedModel,
    build_layer,
)
from searchhub.models.layered import LayeredSupernet
from searchhub.space import SearchSpace
from searchhub.spaces.fbnet import FBNET_CANDIDATES, fbnet_space

PAPER = """@inproceedings{wu2019fbnet,
  title={{FBNet}: Hardware-Aware Efficient {ConvNet} Design via Differentiable Neural Architecture Search},
  author={Wu, Bichen and others},
  booktitle={Conference on Computer Vision and Pattern Recognition},
  year={2019}
}"""


@strict
class FBNetSupernetConfig(SearchedFBNetConfig):
    r"""
    Configuration of the supernet: the sizes of `SearchedFBNetConfig` and the candidates of its layers.

    Args:
        candidates: Blocks on offer in every layer.
    """

    model_type = "fbnet_supernet"

    candidates: list[str] | tuple[str, ...] = FBNET_CANDIDATES

    def __post_init__(self, **kwargs: Any) -> None:
        self.candidates = list(self.candidates)
        super().__post_init__(**kwargs)

    def space(self) -> SearchSpace:
        """Returns the search space of these sizes."""
        return fbnet_space(
            stem_width=self.stem_width,
            stage_widths=self.stage_widths,
            stage_depths=self.stage_depths,
            stage_strides=self.stage_strides,
            candidates=self.candidates,
        )


class FBNetSupernetForImageClassification(LayeredSupernet, SearchedFBNetPreTrainedModel):
    """The weights of every candidate block of every layer. All architectures share stem, head and classifier.

    Args:
        config: Sizes and candidates.
    """

    config: FBNetSupernetConfig
    config_class = FBNetSupernetConfig
    subnet_class = SearchedFBNetForImageClassification
    papers = ("dcnas", PAPER)

    def __init__(self, config: FBNetSupernetConfig) -> None:
        super().__init__(config)
        self.stem = SearchedFBNetConvLayer(config, config.num_channels, config.stem_width, 3, config.stem_stride)
        self.layers = nn.ModuleList(
            nn.ModuleDict({c: build_layer(config, c, *shape) for c in config.candidates})
            for shape in config.layer_shapes
        )
        self.head = SearchedFBNetConvLayer(config, config.stage_widths[-1], config.head_width)
        self.classifier = nn.Linear(config.head_width, config.num_labels)
        self.post_init()

    def mixture(self) -> FBNetMixture:
        """Returns the network of all candidates at once, on these very weights and BatchNorm statistics."""
        return FBNetMixture(self)


class FBNetMixture(nn.Module):
    """The mixed network of a supernet: every layer outputs Σ_k m_k o_k(x) over its candidates (FBNet Sec. 3.3).

    Its modules are the supernet's own, so that training it trains the supernet. Their BatchNorm statistics describe
    what a mixture hands from layer to layer. They are of no use to a subnet, which has its own.

    Args:
        supernet: The supernet that holds the weights.
    """

    main_input_name = "pixel_values"

    def __init__(self, supernet: FBNetSupernetForImageClassification) -> None:
        super().__init__()
        self.stem, self.layers, self.head = supernet.stem, supernet.layers, supernet.head
        self.dropout = nn.Dropout(supernet.config.classifier_dropout)
        self.classifier = supernet.classifier

    def forward(
        self,
        pixel_values: torch.Tensor,
        weights: torch.Tensor,
        labels: torch.Tensor | None = None,
    ) -> ImageClassifierOutputWithNoAttention:
        """Returns logits, and with labels also the cross-entropy.

        Args:
            pixel_values: float [batch, channels, height, width].
            weights: m, float [layers, candidates], e.g. a draw of the Gumbel-softmax; each row sums to 1.
            labels: int64 [batch].
        """
        hidden_states = self.stem(pixel_values)
        for candidates, m in zip(self.layers, weights, strict=True):
            outputs = (candidate(hidden_states) for candidate in candidates.values())
            hidden_states = sum(m_k.to(o_k.dtype) * o_k for m_k, o_k in zip(m, outputs, strict=True))
        logits = self.classifier(self.dropout(self.head(hidden_states).mean((2, 3))))
        loss = None if labels is None else nn.functional.cross_entropy(logits.float(), labels)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)
