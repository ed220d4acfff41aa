"""Networks of searched cells (DARTS)."""

AUTO_CLASSES = {
    "AutoConfig": "configuration_darts.SearchedDartsConfig",
    "AutoModel": "modeling_darts.SearchedDartsModel",
    "AutoModelForImageClassification": "modeling_darts.SearchedDartsForImageClassification",
    "AutoModelForSemanticSegmentation": "modeling_darts_segmentation.SearchedDartsForSemanticSegmentation",
    "AutoBackbone": "modeling_darts.SearchedDartsBackbone",
}
"""What transformers' Auto classes load, as "module.Class" of this folder; also the `auto_map` of published models."""

PUBLIC = (
    "supernet_darts.DartsSupernetConfig",
    "supernet_darts.DartsSupernetForImageClassification",
    "supernet_darts.DartsSupernetForSemanticSegmentation",
)
"""What `searchhub` offers of this folder beside these classes, in the same form."""
