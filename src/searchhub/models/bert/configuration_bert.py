"""Configuration of a compressed BERT. Self-contained: it travels to the Hub beside its modeling file."""

from huggingface_hub.dataclasses import strict
from transformers import BertConfig


@strict
class SearchedBertConfig(BertConfig):
    r"""
    A BERT encoder whose layers differ in feed-forward width and number of heads.

    The fields are those of `BertConfig`. `intermediate_size` and `num_attention_heads` are those of the layers that
    `per_layer_config` does not name; it holds the others by their index, e.g. `{1: {"num_attention_heads": 4}}`. Where
    it holds any, they are read from `config.per_layer_config[i]` alone. A layer with 0 heads has no attention, one with
    width 0 no feed-forward part; the LayerNorm after it stays.

    Args:
        attention_head_size: Size of every head, whatever their number; None: `hidden_size` / `num_attention_heads`.
    """

    model_type = "searched_bert"

    attention_head_size: int | None = None

    def __post_init__(self, **kwargs):
        if self.attention_head_size is None:
            if self.hidden_size % self.num_attention_heads:
                raise ValueError(
                    "`hidden_size` must be a multiple of `num_attention_heads` where no `attention_head_size` is "
                    f"given, but they are {self.hidden_size} and {self.num_attention_heads}."
                )
            self.attention_head_size = self.hidden_size // self.num_attention_heads
        super().__post_init__(**kwargs)

    def validate_encoder(self):
        """Part of the `@strict` validation: an encoder alone."""
        if self.is_decoder or self.add_cross_attention:
            raise ValueError("`is_decoder` and `add_cross_attention` must be False: only the encoder is here.")

    def validate_layers(self):
        """Part of the `@strict` validation: heads and width of a layer are not negative, and all that is its own."""
        for i, layer in enumerate(self.per_layer_config):
            if layer.num_attention_heads < 0 or layer.intermediate_size < 0:
                raise ValueError(
                    f"Layer {i} must have at least 0 heads and a width of at least 0, but has "
                    f"{layer.num_attention_heads} and {layer.intermediate_size}."
                )
            if getattr(layer, "skip", None):
                raise ValueError(f"Nothing of a layer can be skipped, but layer {i} has `skip={layer.skip}`.")
        unknown = (self.per_layer_attributes or set()) - {"num_attention_heads", "intermediate_size"}
        if unknown:
            raise ValueError(
                "Layers may differ in `num_attention_heads` and `intermediate_size`, but `per_layer_config` holds "
                f"{sorted(unknown)}."
            )


__all__ = ["SearchedBertConfig"]
