"""searchhub: search neural architectures once, ship them for every device.

Importing it is cheap: names below are imported when first used, and torch comes with the first that needs it. It also
makes transformers' Auto classes load searched models. Type checkers read the public names in `__init__.pyi`, which
`python tests/public_names.py` writes.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

from searchhub import _auto_classes
from searchhub._version import __version__
from searchhub.search import search  # now, so that the name is the function and not the module

_HOMES = {
    "Architecture": "searchhub.space",
    "Choice": "searchhub.space",
    "Condition": "searchhub.space",
    "SearchSpace": "searchhub.space",
    "ArchitectureDistribution": "searchhub.distribution",
    "Budget": "searchhub.trial",
    "Trial": "searchhub.trial",
    "TrialResult": "searchhub.trial",
    "PredictedQuality": "searchhub.effects",
    "SearchResult": "searchhub.result",
    "SearchCallback": "searchhub.callbacks.base",
    "Evaluator": "searchhub.evaluators.base",
    "ScratchEvaluator": "searchhub.evaluators.scratch",
    "SupernetEvaluator": "searchhub.evaluators.supernet",
    "CandidateFeatures": "searchhub.evaluators.candidate_features",
    "NetworkEvaluator": "searchhub.evaluators.networks",
    "TabularEvaluator": "searchhub.evaluators.tabular",
    "CostTable": "searchhub.costs.table",
    "LatencyTable": "searchhub.costs.latency_table",
    "generate_measured": "searchhub.generation.measured",
    "macs_table": "searchhub.costs.macs",
    "measure_latency": "searchhub.costs.latency",
    "non_parameter_table": "searchhub.costs.structure",
    "params_table": "searchhub.costs.params",
    "read_proxyless_table": "searchhub.costs.phone",
    "GeneratedArchitecture": "searchhub.generation",
    "Limit": "searchhub.generation",
    "derive": "searchhub.generation",
    "generate": "searchhub.generation",
    "pareto": "searchhub.generation",
    "sample_within": "searchhub.generation",
    "Supernet": "searchhub.models.supernet",
    "Window": "searchhub.models.supernet",
    "Task": "searchhub.data.task",
    "ImageTask": "searchhub.data.images",
    "load_image_task": "searchhub.data.loading",
    "load_task": "searchhub.data.sources",
    "SegmentationTask": "searchhub.data.segmentation",
    "load_segmentation_task": "searchhub.data.segmentation_loading",
    "TextTask": "searchhub.data.text",
    "load_text_task": "searchhub.data.text_loading",
    "GlueTask": "searchhub.data.glue",
    "glue_average": "searchhub.data.glue",
    "load_glue_task": "searchhub.data.glue",
    "TrainingSettings": "searchhub.training.settings",
    "MixtureSettings": "searchhub.training.gumbel",
    "MixtureTrainer": "searchhub.training.mixture",
    "write_report": "searchhub.reports.html",
    "make_accelerator": "searchhub.training.accelerator",
    "Provenance": "searchhub.networks.card_facts",
    "SearchArguments": "searchhub.workflows.search_arguments",
    "first_within": "searchhub.networks.choose",
    "load_checkpoint": "searchhub.workflows.compression",
    "SearchTrainer": "searchhub.workflows.trainer",
    "CompressionArguments": "searchhub.workflows.compression",
    "fit": "searchhub.training.fit",
    "Network": "searchhub.networks.network",
    "TrainedNetwork": "searchhub.networks.network",
    "NetworkTrainer": "searchhub.networks.trainer",
    "OriginalTrainer": "searchhub.networks.original",
    "load_trainer": "searchhub.networks.saved_trainer",
    "save_trainer": "searchhub.networks.saved_trainer",
    "save_model_folder": "searchhub.hub.folder",
    "save_result_folder": "searchhub.hub.search_folder",
    "ExportReport": "searchhub.export.onnx",
    "export_onnx": "searchhub.export.onnx",
    "PublishedRevision": "searchhub.hub.publish",
    "publish": "searchhub.hub.publish",
}
"""The modules of public names that do not say so themselves, as families, spaces and searchers do."""

_SELF_DECLARED = ("searchhub.spaces", "searchhub.searchers")
"""Packages whose modules name in `__all__` what is public of them. None of these modules imports torch."""


def _declared() -> Iterator[tuple[str, str]]:
    """The public names of all families, spaces and searchers, each with its module."""
    for family in _auto_classes.families():
        for path in (*family.AUTO_CLASSES.values(), *family.PUBLIC):
            module, _, name = path.partition(".")
            yield name, f"{family.__name__}.{module}"
    for package in _SELF_DECLARED:
        for info in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            for name in getattr(importlib.import_module(info.name), "__all__", ()):
                yield name, info.name


@functools.cache
def _all_homes() -> dict[str, str]:
    """The module of every public name."""
    return {**_HOMES, "search": "searchhub.search", **dict(_declared())}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        value: Any = sorted(_all_homes())
    else:
        home = _HOMES.get(name) or _all_homes().get(name)
        if home is None:
            raise AttributeError(f"module `searchhub` has no attribute `{name}`")
        value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_all_homes()})


_auto_classes.install()
