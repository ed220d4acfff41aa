"""Layer-wise (ProxylessNAS) networks."""

AUTO_CLASSES = {
    "AutoConfig": "configuration_mobile.SearchedMobileConfig",
    "AutoModel": "modeling_mobile.SearchedMobileModel",
    "AutoModelForImageClassification": "modeling_mobile.SearchedMobileForImageClassification",
    "AutoModelForSemanticSegmentation": "modeling_mobile_segmentation.SearchedMobileForSemanticSegmentation",
    "AutoBackbone": "modeling_mobile.SearchedMobileBackbone",
}
"""What transformers' Auto classes load, as "module.Class" of this folder; also the `auto_map` of published models."""

PUBLIC = (
    "supernet_mobile.MobileSupernetConfig",
    "supernet_mobile.MobileSupernetForImageClassification",
    "supernet_mobile.MobileSupernetForSemanticSegmentation",
)
"""What `searchhub` offers of this folder beside these classes, in the same form."""
