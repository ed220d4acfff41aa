"""Compressed BERT on transformers' own BERT. Self-contained: this file and its configuration travel to the Hub."""

import importlib

from torch import nn
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import (
    BertAttention,
    BertEmbeddings,
    BertEncoder,
    BertForSequenceClassification,
    BertIntermediate,
    BertLayer,
    BertModel,
    BertOutput,
    BertPooler,
    BertPreTrainedModel,
    BertSelfAttention,
    BertSelfOutput,
)

from .configuration_bert import SearchedBertConfig

# Constructors below do not call those of the stock classes, which read one number of heads and derive the size of a
# head from it. Attention keeps the configuration of the whole model, which `set_attn_implementation` changes.


class SearchedBertSelfAttention(BertSelfAttention):
    """Any number of heads, of the size that the configuration names."""

    def __init__(self, config, num_attention_heads):
        nn.Module.__init__(self)
        self.config = config
        self.num_attention_heads = num_attention_heads
        self.attention_head_size = config.attention_head_size
        self.all_head_size = num_attention_heads * config.attention_head_size
        self.scaling = self.attention_head_size**-0.5
        self.query = nn.Linear(config.hidden_size, self.all_head_size)
        self.key = nn.Linear(config.hidden_size, self.all_head_size)
        self.value = nn.Linear(config.hidden_size, self.all_head_size)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)
        self.is_decoder = False
        self.is_causal = False
        self.layer_idx = None  # of use to caches, which an encoder does not have


class SearchedBertSelfOutput(BertSelfOutput):
    """From the heads back to the hidden size."""

    def __init__(self, config, num_attention_heads):
        nn.Module.__init__(self)
        self.dense = nn.Linear(num_attention_heads * config.attention_head_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)


class SearchedBertNoSelfAttention(BertSelfAttention):
    """Stands for attention without heads: it passes on what it receives, with the weights of no head."""

    def __init__(self):
        nn.Module.__init__(self)

    def forward(self, hidden_states, *args, **kwargs):
        examples, tokens, _ = hidden_states.shape
        return hidden_states, hidden_states.new_zeros(examples, 0, tokens, tokens)


class SearchedBertNorm(nn.Module):
    """Stands for the output of a sublayer that is left out: the LayerNorm alone."""

    def __init__(self, config):
        super().__init__()
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states, input_tensor):
        return self.LayerNorm(input_tensor)


class SearchedBertAttention(BertAttention):
    def __init__(self, config, num_attention_heads):
        nn.Module.__init__(self)
        self.is_cross_attention = False
        if num_attention_heads:
            self.self = SearchedBertSelfAttention(config, num_attention_heads)
            self.output = SearchedBertSelfOutput(config, num_attention_heads)
        else:
            self.self = SearchedBertNoSelfAttention()
            self.output = SearchedBertNorm(config)


class SearchedBertLayer(BertLayer):
    """One layer. Without heads it has no attention, with a feed-forward width of 0 no feed-forward part.

    The LayerNorm of a sublayer that is left out stays, without the bias before it: of the ways to leave one out, this
    moves the last hidden states least.

    Args:
        config: The configuration of the whole model.
        sizes: The sizes of this layer, from `config.per_layer_config`.
    """

    def __init__(self, config, sizes):
        nn.Module.__init__(self)
        self.chunk_size_feed_forward = config.chunk_size_feed_forward
        self.seq_len_dim = 1
        self.attention = SearchedBertAttention(config, sizes.num_attention_heads)
        self.is_decoder = False
        self.add_cross_attention = False
        if sizes.intermediate_size:
            self.intermediate = BertIntermediate(sizes)
            self.output = BertOutput(sizes)
        else:
            self.intermediate = nn.Identity()
            self.output = SearchedBertNorm(config)


class SearchedBertEncoder(BertEncoder):
    def __init__(self, config):
        nn.Module.__init__(self)
        self.config = config
        self.layer = nn.ModuleList([SearchedBertLayer(config, sizes) for sizes in config.per_layer_config])


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


class SearchedBertPreTrainedModel(BertPreTrainedModel):
    config: SearchedBertConfig
    config_class = SearchedBertConfig
    base_model_prefix = "bert"
    _no_split_modules = ["BertEmbeddings", "SearchedBertLayer"]

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


class SearchedBertModel(SearchedBertPreTrainedModel, BertModel):
    """The encoder: hidden states of all tokens, and the pooled first one. Called like `BertModel`."""

    def __init__(self, config, add_pooling_layer=True):
        PreTrainedModel.__init__(self, config)
        self.gradient_checkpointing = False
        self.embeddings = BertEmbeddings(config)
        self.encoder = SearchedBertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()


class SearchedBertForSequenceClassification(SearchedBertPreTrainedModel, BertForSequenceClassification):
    """The encoder with a classifier, or with a regression where there is one label. Called like the stock class."""

    def __init__(self, config):
        PreTrainedModel.__init__(self, config)
        self.num_labels = config.num_labels
        self.bert = SearchedBertModel(config)
        dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()


__all__ = ["SearchedBertForSequenceClassification", "SearchedBertModel", "SearchedBertPreTrainedModel"]
