"""Layer-wise (FBNet) networks."""

AUTO_CLASSES = {
    "AutoConfig": "configuration_fbnet.SearchedFBNetConfig",
    "AutoModel": "modeling_fbnet.SearchedFBNetModel",
    "AutoModelForImageClassification": "modeling_fbnet.SearchedFBNetForImageClassification",
    "AutoBackbone": "modeling_fbnet.SearchedFBNetBackbone",
}
"""What transformers' Auto classes load, as "module.Class" of this folder; also the `auto_map` of published models."""

PUBLIC = (
    "supernet_fbnet.FBNetSupernetConfig",
    "supernet_fbnet.FBNetSupernetForImageClassification",
)
"""What `searchhub` offers of this folder beside these classes, in the same form."""
