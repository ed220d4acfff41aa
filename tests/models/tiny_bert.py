"""BERT that trains in milliseconds, and batches for it."""

import torch
from transformers import BertConfig

from searchhub.models.bert.supernet_bert import BertSupernetConfig, BertSupernetForSequenceClassification

SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "vocab_size": 50,
    "max_position_embeddings": 40,
    # Larger than BERT's, so that every weight matters for what is tested.
    "initializer_range": 0.3,
}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SUPERNET = {**SIZES, **NO_DROPOUT, "sequence_length": 12}


def stock_config(**changes):
    return BertConfig(**{**SIZES, **NO_DROPOUT, **changes})


def tiny_bert_supernet(seed=0, **changes):
    torch.manual_seed(seed)
    supernet = BertSupernetForSequenceClassification(BertSupernetConfig(**{**SUPERNET, **changes}))
    with torch.no_grad():
        for name, parameter in supernet.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)  # BERT starts with zeros, which would hide one that is sliced wrongly
    return supernet


def text_batch(n=5, length=9, seed=0, num_labels=2):
    """Pairs of different lengths: the second of tokens of type 1, then padding."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, SIZES["vocab_size"], (n, length), generator=generator)
    mask = (torch.arange(length) < torch.arange(length, 0, -1)[:n, None]).long()
    types = (torch.arange(length) > length // 3).long().expand(n, -1) * mask
    if num_labels == 1:
        labels = torch.randn(n, generator=generator)
    else:
        labels = torch.randint(0, num_labels, (n,), generator=generator)
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": types, "labels": labels}
