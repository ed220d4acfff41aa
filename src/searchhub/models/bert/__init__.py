"""Compressed BERT: fewer layers, and in each of them fewer heads and a narrower feed-forward part."""

AUTO_CLASSES = {
    "AutoConfig": "configuration_bert.SearchedBertConfig",
    "AutoModel": "modeling_bert.SearchedBertModel",
    "AutoModelForSequenceClassification": "modeling_bert.SearchedBertForSequenceClassification",
}
"""What transformers' Auto classes load, as "module.Class" of this folder; also the `auto_map` of published models."""
