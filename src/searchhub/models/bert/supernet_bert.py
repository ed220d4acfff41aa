"""The supernet of a BERT checkpoint: the checkpoint itself. Subnets leave out some of its layers, heads and widths."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from safetensors import SafetensorError
from torch import nn
from transformers import BertConfig, BertForSequenceClassification
from transformers import initialization as init

from searchhub.errors import InvalidInputError
from searchhub.models.bert.configuration_bert import SearchedBertConfig
from searchhub.models.bert.modeling_bert import SearchedBertForSequenceClassification
from searchhub.models.supernet import Supernet, Window
from searchhub.space import Architecture, SearchSpace
from searchhub.spaces.bert import DEPTH, bert_space, full_width, heads_choice, intermediate_choice, kept_layers

PAPER = """@inproceedings{devlin2019bert,
  title={{BERT}: Pre-training of Deep Bidirectional Transformers for Language Understanding},
  author={Devlin, Jacob and Chang, Ming-Wei and Lee, Kenton and Toutanova, Kristina},
  booktitle={Proceedings of NAACL-HLT},
  year={2019}
}"""


@strict
class BertSupernetConfig(BertConfig):
    r"""
    Configuration of a BERT supernet: the fields of the checkpoint's `BertConfig`, and what a search may choose.

    Args:
        depths: Numbers of layers on offer. None: those of `sizes`. This holds for the next two arguments, too.
        intermediate_sizes: Feed-forward widths on offer in every layer. 0: no feed-forward part.
        num_heads: Numbers of heads on offer in every layer. 0: no attention.
        sizes: "paper" or "small", the latter for networks that keep 5 to 25 % of the encoder; see
            `searchhub.bert_space`.
        sequence_length: Number of tokens of the example on which multiply-adds and latency are counted. None: 128, or
            fewer if the checkpoint has fewer positions.
    """

    model_type = "bert_supernet"

    depths: list[int] | tuple[int, ...] | None = None
    intermediate_sizes: list[int] | tuple[int, ...] | None = None
    num_heads: list[int] | tuple[int, ...] | None = None
    sequence_length: int | None = None
    sizes: str = "paper"

    def __post_init__(self, **kwargs: Any) -> None:
        if self.sequence_length is None:
            self.sequence_length = min(128, self.max_position_embeddings)
        super().__post_init__(**kwargs)

    @property
    def attention_head_size(self) -> int:
        """Size of a head of the checkpoint; heads keep it in every subnet."""
        return self.hidden_size // self.num_attention_heads

    def space(self) -> SearchSpace:
        """Returns the search space of these sizes."""
        return bert_space(
            self.num_hidden_layers,
            self.intermediate_size,
            self.num_attention_heads,
            depths=self.depths,
            intermediate_sizes=self.intermediate_sizes,
            num_heads=self.num_heads,
            sizes=self.sizes,  # type: ignore[arg-type]
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields; without `sizes` at its default, as in runs from before it was a field."""
        fields = super().to_dict()
        return {name: value for name, value in fields.items() if (name, value) != ("sizes", "paper")}

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the fields of a supernet; those of a stock BERT checkpoint become those of a supernet.

        Raises:
            InvalidInputError: The checkpoint is not a BERT encoder.
        """
        fields, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if fields.get("model_type") != cls.model_type:
            _check_stock_bert(fields, str(pretrained_model_name_or_path))
        return {**fields, "model_type": cls.model_type}, kwargs


def _check_stock_bert(fields: Mapping[str, Any], checkpoint: str) -> None:
    found = fields.get("model_type", BertConfig.model_type if _is_early_bert(fields) else None)
    if found is None:
        raise InvalidInputError(
            f"The config.json of `{checkpoint}` must be there and name a `model_type`, but does not. Write "
            f'`"model_type": "{BertConfig.model_type}"` into it if it is BERT, or give a BERT checkpoint.'
        )
    if found != BertConfig.model_type:
        raise InvalidInputError(
            f"The checkpoint must be BERT (`model_type` `{BertConfig.model_type}`), but `{checkpoint}` is "
            f"`{found}`. Give a BERT checkpoint or a saved supernet."
        )
    if fields.get("is_decoder") or fields.get("add_cross_attention"):
        raise InvalidInputError(
            f"The checkpoint must be an encoder, but `{checkpoint}` has `is_decoder` or `add_cross_attention`."
        )
    positions = fields.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise InvalidInputError(
            f"The checkpoint must have absolute position embeddings, but those of `{checkpoint}` are `{positions}`."
        )


def _is_early_bert(fields: Mapping[str, Any]) -> bool:
    """Whether a configuration that names no model type is BERT's, as in the first uploads."""
    sizes = {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "type_vocab_size"}
    return sizes <= fields.keys() and all(name.startswith("Bert") for name in fields.get("architectures") or ())


class BertSupernetForSequenceClassification(Supernet, BertForSequenceClassification):
    """A BERT classifier at full size, whose parameters are named and shaped as in transformers.

    A subnet keeps some layers (`kept_layers`), and in each layer the first heads and the first feed-forward neurons, or
    none; `order_by_importance` brings the best ones to the front. All subnets share the whole embeddings, pooler and
    classifier. Dropout is the checkpoint's.

    Args:
        config: Sizes of the checkpoint, and candidates.
    """

    config: BertSupernetConfig
    config_class = BertSupernetConfig
    subnet_class = SearchedBertForSequenceClassification
    papers = ("ddpnas", PAPER)
    embedding_modules = ("bert.embeddings",)
    _keys_to_ignore_on_load_missing = ["head_order", "neuron_order"]

    head_order: torch.Tensor
    """For each layer, the indices of the checkpoint's heads in their order now: int64 [layers, heads]."""

    neuron_order: torch.Tensor
    """For each layer, the indices of the checkpoint's neurons in their order now: int64 [layers, intermediate size]."""

    def __init__(self, config: BertSupernetConfig) -> None:
        if config.hidden_size % config.num_attention_heads:
            raise InvalidInputError(
                "`hidden_size` must be a multiple of `num_attention_heads`, but they are "
                f"{config.hidden_size} and {config.num_attention_heads}."
            )
        if not 1 <= config.sequence_length <= config.max_position_embeddings:
            raise InvalidInputError(
                f"`sequence_length` must be from 1 to {config.max_position_embeddings}, the positions of the "
                f"checkpoint, but got {config.sequence_length}."
            )
        config.space()  # a wrong configuration is reported before any weight is made
        super().__init__(config)
        for name, count in (("head_order", config.num_attention_heads), ("neuron_order", config.intermediate_size)):
            self.register_buffer(name, torch.arange(count).repeat(config.num_hidden_layers, 1))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self and hasattr(self, "head_order"):
            for order in (self.head_order, self.neuron_order):
                init.copy_(order, torch.arange(order.shape[1]).expand_as(order))

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **kwargs: Any
    ) -> BertSupernetForSequenceClassification:
        """Loads a stock BERT checkpoint, with any head or none, or a supernet that `save_pretrained` saved.

        The classifier is kept if it fits the number of labels. Otherwise a new one is drawn from torch's global random
        numbers, as is a pooler that the checkpoint lacks, so seed them.

        Args:
            pretrained_model_name_or_path: A folder, or a repository on the Hub.
            *args: Positional arguments of transformers' `from_pretrained`.
            **kwargs: Fields of the configuration (`num_labels`, `depths`, `intermediate_sizes`, `num_heads`, `sizes`,
                `sequence_length`), and keyword arguments of transformers' `from_pretrained`.

        Raises:
            InvalidInputError: The checkpoint is no BERT encoder, cannot be found or read, or its weights do not match
                its configuration.
        """
        asked = kwargs.pop("output_loading_info", False)
        kwargs |= {"ignore_mismatched_sizes": True, "output_loading_info": True}
        try:
            supernet, info = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        except _UNREADABLE as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise InvalidInputError(
                "The checkpoint must be a folder or a Hub id that holds config.json and whole weights, best as "
                f"model.safetensors, but `{pretrained_model_name_or_path}` could not be loaded: {said}. Check the "
                "path, or fetch its files again."
            ) from error
        lacking = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
        wrong = sorted(key for key in lacking if not key.startswith(_MAY_BE_NEW))
        if wrong:
            raise InvalidInputError(
                f"`{pretrained_model_name_or_path}` must hold every weight of the encoder in the shape that its "
                f"configuration says, but {len(wrong)} are missing or of another shape, `{wrong[0]}` first."
            )
        return (supernet, info) if asked else supernet

    @cached_property
    def search_space(self) -> SearchSpace:
        return self.config.space()

    @property
    def full_architecture(self) -> Architecture:
        """The architecture of the whole checkpoint, for `subnet_of_any_size`. The space need not offer its sizes."""
        config = self.config
        return full_width(bert_space(config.num_hidden_layers, config.intermediate_size, config.num_attention_heads))[0]

    @property
    def whole_layers(self) -> list[Architecture]:
        """Architectures of evenly spread layers at full width, most layers first; empty if none has full width."""
        config = self.config
        sizes = {config.intermediate_size, config.num_attention_heads}
        found = full_width(self.search_space)
        return found if sizes == {found[0][intermediate_choice(0)], found[0][heads_choice(0)]} else []

    def subnet_config(self, architecture: Architecture) -> SearchedBertConfig:
        layers = {
            i: {
                "intermediate_size": architecture[intermediate_choice(layer)],
                "num_attention_heads": architecture[heads_choice(layer)],
            }
            for i, layer in enumerate(self._kept(architecture))
        }
        fields = {k: v for k, v in self.config.to_dict().items() if k not in _SUPERNET_ONLY}
        fields |= {
            "num_hidden_layers": len(layers),
            "per_layer_config": layers,
            "attention_head_size": self.config.attention_head_size,
            "attn_implementation": self.config._attn_implementation,
        }
        return SearchedBertConfig(**fields)

    def window(self, name: str, architecture: Architecture) -> Window:
        parts = re.fullmatch(r"bert\.encoder\.layer\.(\d+)\.(.+)\.(weight|bias)", name)
        if parts is None:
            return Window(name)
        layer = self._kept(architecture)[int(parts[1])]
        source = f"bert.encoder.layer.{layer}.{parts[2]}.{parts[3]}"
        shape = self.get_parameter(source).shape
        if parts[2] in HEADS_DIM:
            dim, kept = HEADS_DIM[parts[2]], architecture[heads_choice(layer)] * self.config.attention_head_size
        elif parts[2] in NEURONS_DIM:
            dim, kept = NEURONS_DIM[parts[2]], architecture[intermediate_choice(layer)]
        else:
            return Window(source)
        if dim >= len(shape) or kept == shape[dim]:
            return Window(source)
        return Window(source, tuple(slice(kept) if d == dim else slice(None) for d in range(len(shape))))

    def choice_modules(self, architecture: Architecture) -> Mapping[str, Sequence[str]]:
        modules: dict[str, tuple[str, ...]] = {}
        for i, layer in enumerate(self._kept(architecture)):
            prefix = f"bert.encoder.layer.{i}"
            modules[intermediate_choice(layer)] = (f"{prefix}.intermediate", f"{prefix}.output")
            modules[heads_choice(layer)] = (f"{prefix}.attention",)
        return modules

    def example_inputs(self) -> dict[str, torch.Tensor]:
        # There is no mask: nothing is padded, and transformers looks into masks, which cannot be done on the meta
        # device.
        return {"input_ids": torch.ones(1, self.config.sequence_length, dtype=torch.int64, device="meta")}

    def _kept(self, architecture: Architecture) -> tuple[int, ...]:
        return kept_layers(int(architecture[DEPTH]), self.config.num_hidden_layers)


HEADS_DIM = {"attention.self.query": 0, "attention.self.key": 0, "attention.self.value": 0, "attention.output.dense": 1}
NEURONS_DIM = {"intermediate.dense": 0, "output.dense": 1}
"""For each linear layer, the dimension of its weight along which heads, or feed-forward neurons, lie."""

_MAY_BE_NEW = ("classifier.", "bert.pooler.")
"""Parameters that a checkpoint may lack, or have for another number of labels."""

_UNREADABLE = (OSError, SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError)
"""Errors that transformers, safetensors and torch raise for files that are missing, cut short or something else."""

_SUPERNET_ONLY = {
    "architectures",
    "depths",
    "intermediate_sizes",
    "model_type",
    "num_heads",
    "position_embedding_type",
    "sequence_length",
    "sizes",
    "transformers_version",
}
