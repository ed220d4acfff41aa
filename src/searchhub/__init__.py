"""searchhub: search neural architectures once, ship them for every device.

Importing it is cheap: names below are imported when first used, and torch comes with the first that needs it. It also
makes transformers' Auto classes load searched models.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from searchhub import _auto_classes
from searchhub.search import search  # now, so that the name is the function and not the module

__version__ = "0.1.0"

_HOMES = {
    "Architecture": "searchhub.space",
    "Choice": "searchhub.space",
    "Condition": "searchhub.space",
    "SearchSpace": "searchhub.space",
    "ArchitectureDistribution": "searchhub.distribution",
    "Budget": "searchhub.trial",
    "Trial": "searchhub.trial",
    "TrialResult": "searchhub.trial",
    "SearchResult": "searchhub.result",
    "SearchCallback": "searchhub.callbacks",
    "Searcher": "searchhub.searchers.base",
    "Clusters": "searchhub.searchers.lloyd",
    "best_of": "searchhub.searchers.clustering",
    "cluster_codes": "searchhub.searchers.clustering",
    "cluster_features": "searchhub.searchers.clustering",
    "most_probable": "searchhub.searchers.clustering",
    "over_k": "searchhub.searchers.clustering",
    "DDPSearcher": "searchhub.searchers.ddp",
    "EvolutionSearcher": "searchhub.searchers.evolution",
    "RandomSearcher": "searchhub.searchers.random",
    "Evaluator": "searchhub.evaluators.base",
    "SupernetEvaluator": "searchhub.evaluators.supernet",
    "TabularEvaluator": "searchhub.evaluators.tabular",
    "CostTable": "searchhub.costs.table",
    "LatencyTable": "searchhub.costs.latency_table",
    "generate_measured": "searchhub.costs.measured",
    "macs_table": "searchhub.costs.macs",
    "measure_latency": "searchhub.costs.latency",
    "params_table": "searchhub.costs.params",
    "read_proxyless_table": "searchhub.costs.phone",
    "Limit": "searchhub.generation",
    "generate": "searchhub.generation",
    "pareto": "searchhub.generation",
    "sample_within": "searchhub.generation",
    "bert_space": "searchhub.spaces.bert",
    "mobile_space": "searchhub.spaces.mobile",
    "nasbench201_space": "searchhub.spaces.nasbench201",
    "Supernet": "searchhub.models.supernet",
    "BertSupernetConfig": "searchhub.models.bert.supernet_bert",
    "BertSupernetForSequenceClassification": "searchhub.models.bert.supernet_bert",
    "SearchedBertConfig": "searchhub.models.bert.configuration_bert",
    "SearchedBertForSequenceClassification": "searchhub.models.bert.modeling_bert",
    "SearchedBertModel": "searchhub.models.bert.modeling_bert",
    "as_plain_bert": "searchhub.models.bert.plain_bert",
    "order_by_importance": "searchhub.models.bert.importance_bert",
    "MobileSupernetConfig": "searchhub.models.mobile.supernet_mobile",
    "MobileSupernetForImageClassification": "searchhub.models.mobile.supernet_mobile",
    "SearchedMobileConfig": "searchhub.models.mobile.configuration_mobile",
    "SearchedMobileBackbone": "searchhub.models.mobile.modeling_mobile",
    "SearchedMobileForImageClassification": "searchhub.models.mobile.modeling_mobile",
    "SearchedMobileModel": "searchhub.models.mobile.modeling_mobile",
    "Task": "searchhub.data.task",
    "ImageTask": "searchhub.data.images",
    "load_image_task": "searchhub.data.loading",
    "TextTask": "searchhub.data.text",
    "load_text_task": "searchhub.data.text_loading",
    "GlueTask": "searchhub.data.glue",
    "glue_average": "searchhub.data.glue",
    "load_glue_task": "searchhub.data.glue",
    "TrainingSettings": "searchhub.training.settings",
    "write_report": "searchhub.reports.html",
    "make_accelerator": "searchhub.training.accelerator",
    "fit": "searchhub.training.fit",
    "load_trainer": "searchhub.hub.finished",
    "save_trainer": "searchhub.hub.finished",
    "save_model_folder": "searchhub.hub.folder",
    "ExportReport": "searchhub.hub.export",
    "export_onnx": "searchhub.hub.export",
    "PublishedRevision": "searchhub.hub.publish",
    "publish": "searchhub.hub.publish",
}

__all__ = sorted([*_HOMES, "search"])

if TYPE_CHECKING:
    from searchhub.callbacks import SearchCallback
    from searchhub.costs.latency import measure_latency
    from searchhub.costs.latency_table import LatencyTable
    from searchhub.costs.macs import macs_table
    from searchhub.costs.measured import generate_measured
    from searchhub.costs.params import params_table
    from searchhub.costs.phone import read_proxyless_table
    from searchhub.costs.table import CostTable
    from searchhub.data.glue import GlueTask, glue_average, load_glue_task
    from searchhub.data.images import ImageTask
    from searchhub.data.loading import load_image_task
    from searchhub.data.task import Task
    from searchhub.data.text import TextTask
    from searchhub.data.text_loading import load_text_task
    from searchhub.distribution import ArchitectureDistribution
    from searchhub.evaluators.base import Evaluator
    from searchhub.evaluators.supernet import SupernetEvaluator
    from searchhub.evaluators.tabular import TabularEvaluator
    from searchhub.generation import Limit, generate, pareto, sample_within
    from searchhub.hub.export import ExportReport, export_onnx
    from searchhub.hub.finished import load_trainer, save_trainer
    from searchhub.hub.folder import save_model_folder
    from searchhub.hub.publish import PublishedRevision, publish
    from searchhub.models.bert.configuration_bert import SearchedBertConfig
    from searchhub.models.bert.importance_bert import order_by_importance
    from searchhub.models.bert.modeling_bert import SearchedBertForSequenceClassification, SearchedBertModel
    from searchhub.models.bert.plain_bert import as_plain_bert
    from searchhub.models.bert.supernet_bert import BertSupernetConfig, BertSupernetForSequenceClassification
    from searchhub.models.mobile.configuration_mobile import SearchedMobileConfig
    from searchhub.models.mobile.modeling_mobile import (
        SearchedMobileBackbone,
        SearchedMobileForImageClassification,
        SearchedMobileModel,
    )
    from searchhub.models.mobile.supernet_mobile import MobileSupernetConfig, MobileSupernetForImageClassification
    from searchhub.models.supernet import Supernet
    from searchhub.reports.html import write_report
    from searchhub.result import SearchResult
    from searchhub.searchers.base import Searcher
    from searchhub.searchers.clustering import best_of, cluster_codes, cluster_features, most_probable, over_k
    from searchhub.searchers.ddp import DDPSearcher
    from searchhub.searchers.evolution import EvolutionSearcher
    from searchhub.searchers.lloyd import Clusters
    from searchhub.searchers.random import RandomSearcher
    from searchhub.space import Architecture, Choice, Condition, SearchSpace
    from searchhub.spaces.bert import bert_space
    from searchhub.spaces.mobile import mobile_space
    from searchhub.spaces.nasbench201 import nasbench201_space
    from searchhub.training.accelerator import make_accelerator
    from searchhub.training.fit import fit
    from searchhub.training.settings import TrainingSettings
    from searchhub.trial import Budget, Trial, TrialResult


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module `searchhub` has no attribute `{name}`")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


_auto_classes.install()
