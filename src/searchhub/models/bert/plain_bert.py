"""Turns compressed BERT into stock BERT, if stock BERT can express it."""

from __future__ import annotations

import logging

from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel

from searchhub.errors import InvalidInputError
from searchhub.models.bert.modeling_bert import SearchedBertForSequenceClassification

logger = logging.getLogger(__name__)


def as_plain_bert(model: SearchedBertForSequenceClassification) -> BertForSequenceClassification:
    """Returns the same network as a stock model, which loads without searchhub's code. Outputs are equal to the bit.

    Args:
        model: A model whose layers all have all heads of the checkpoint, and the same feed-forward width.

    Raises:
        InvalidInputError: Layers differ, or heads or the feed-forward part were left out. Stock BERT has one width,
            above 0, and its heads together are as wide as the hidden states.
    """
    config = model.config
    sizes = {(layer.intermediate_size, layer.num_attention_heads) for layer in config.per_layer_config}
    widths, heads = ({size[i] for size in sizes} for i in (0, 1))
    if len(sizes) != 1 or 0 in widths or max(heads) * config.attention_head_size != config.hidden_size:
        raise InvalidInputError(
            "Stock BERT must have one feed-forward width and "
            f"{config.hidden_size // config.attention_head_size} heads in every layer, and no part left out, but these "
            f"layers have widths {sorted(widths)} and {sorted(heads)} heads. Publish it as `{config.model_type}`."
        )
    fields = {name: value for name, value in config.to_dict().items() if name not in _OURS}
    fields |= {"intermediate_size": widths.pop(), "num_attention_heads": heads.pop()}
    plain = BertForSequenceClassification(BertConfig(**fields, attn_implementation=config._attn_implementation))
    plain.load_state_dict(model.state_dict())
    return plain.to(device=model.device, dtype=model.dtype).train(model.training)


def plain_where_possible(model: SearchedBertForSequenceClassification) -> PreTrainedModel:
    """Returns stock BERT if that can express the network; else the network itself, with a warning that says why."""
    try:
        return as_plain_bert(model)
    except InvalidInputError as error:
        logger.warning("Published as it is: %s", error)
        return model


_OURS = {"model_type", "architectures", "transformers_version", "attention_head_size", "per_layer_config", "auto_map"}
