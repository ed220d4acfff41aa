"""Networks of NAS-Bench-201 cells."""

AUTO_CLASSES = {
    "AutoConfig": "configuration_nasbench201.SearchedNasBench201Config",
    "AutoModel": "modeling_nasbench201.SearchedNasBench201Model",
    "AutoModelForImageClassification": "modeling_nasbench201.SearchedNasBench201ForImageClassification",
    "AutoBackbone": "modeling_nasbench201.SearchedNasBench201Backbone",
}
"""What transformers' Auto classes load, as "module.Class" of this folder; also the `auto_map` of published models."""

PUBLIC = (
    "supernet_nasbench201.NasBench201SupernetConfig",
    "supernet_nasbench201.NasBench201SupernetForImageClassification",
)
"""What `searchhub` offers of this folder beside these classes, in the same form."""
