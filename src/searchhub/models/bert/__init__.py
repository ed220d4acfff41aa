"""Compressed BERT: it has fewer layers, and in each of them fewer heads and a narrower feed-forward part."""

AUTO_CLASSES = {
    "AutoConfig": "configuration_bert.SearchedBertConfig",
    "AutoModel": "modeling_bert.SearchedBertModel",
    "AutoModelForSequenceClassification": "modeling_bert.SearchedBertForSequenceClassification",
}
"""What transformers' Auto classes load, as "module.Class" of this folder; also the `auto_map` of published models."""

PUBLIC = (
    "importance_bert.order_by_importance",
    "plain_bert.as_plain_bert",
    "reconstruction_bert.BertReconstruction",
    "reconstruction_bert.gather_reconstruction",
    "supernet_bert.BertSupernetConfig",
    "supernet_bert.BertSupernetForSequenceClassification",
)
"""What `searchhub` offers of this folder beside these classes, in the same form."""
