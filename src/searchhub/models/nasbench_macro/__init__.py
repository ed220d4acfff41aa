"""Networks of NAS-Bench-Macro."""

AUTO_CLASSES = {
    "AutoConfig": "configuration_nasbench_macro.SearchedNasBenchMacroConfig",
    "AutoModel": "modeling_nasbench_macro.SearchedNasBenchMacroModel",
    "AutoModelForImageClassification": "modeling_nasbench_macro.SearchedNasBenchMacroForImageClassification",
    "AutoBackbone": "modeling_nasbench_macro.SearchedNasBenchMacroBackbone",
}
"""What transformers' Auto classes load, as "module.Class" of this folder; also the `auto_map` of published models."""

PUBLIC = (
    "supernet_nasbench_macro.NasBenchMacroSupernetConfig",
    "supernet_nasbench_macro.NasBenchMacroSupernetForImageClassification",
)
"""What `searchhub` offers of this folder beside these classes, in the same form."""
