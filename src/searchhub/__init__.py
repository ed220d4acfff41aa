"""searchhub: search neural architectures once, ship them for every device.

Importing it is cheap: names below are imported when first used, and torch comes with the first that needs it. It also
makes transformers' Auto classes load searched models.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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
    "SearchResult": "searchhub.result",
    "SearchCallback": "searchhub.callbacks.base",
    "Searcher": "searchhub.searchers.base",
    "Clusters": "searchhub.searchers.lloyd",
    "best_of": "searchhub.searchers.clustering",
    "cluster_codes": "searchhub.searchers.clustering",
    "cluster_features": "searchhub.searchers.clustering",
    "most_probable": "searchhub.searchers.clustering",
    "over_k": "searchhub.searchers.clustering",
    "over_k_features": "searchhub.searchers.clustering",
    "DCSearcher": "searchhub.searchers.dc",
    "DCSupernetSearcher": "searchhub.searchers.dc",
    "winners_in_order": "searchhub.searchers.division",
    "DDPSearcher": "searchhub.searchers.ddp",
    "pruning_confidence": "searchhub.searchers.confidence",
    "EvolutionSearcher": "searchhub.searchers.evolution",
    "RandomSearcher": "searchhub.searchers.random",
    "WarmupSearcher": "searchhub.searchers.warmup",
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
    "Limit": "searchhub.generation",
    "derive": "searchhub.generation",
    "generate": "searchhub.generation",
    "pareto": "searchhub.generation",
    "sample_within": "searchhub.generation",
    "bert_space": "searchhub.spaces.bert",
    "channels_space": "searchhub.spaces.channels",
    "Genotype": "searchhub.spaces.genotype",
    "darts_space": "searchhub.spaces.darts",
    "fbnet_space": "searchhub.spaces.fbnet",
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
    "ChannelCnnSupernet": "searchhub.models.channel_cnn.supernet_channel_cnn",
    "ChannelCnnSupernetConfig": "searchhub.models.channel_cnn.supernet_channel_cnn",
    "SearchedChannelCnnConfig": "searchhub.models.channel_cnn.configuration_channel_cnn",
    "SearchedChannelCnnForImageClassification": "searchhub.models.channel_cnn.modeling_channel_cnn",
    "SearchedChannelCnnModel": "searchhub.models.channel_cnn.modeling_channel_cnn",
    "FBNetSupernetConfig": "searchhub.models.fbnet.supernet_fbnet",
    "FBNetSupernetForImageClassification": "searchhub.models.fbnet.supernet_fbnet",
    "SearchedFBNetConfig": "searchhub.models.fbnet.configuration_fbnet",
    "SearchedFBNetBackbone": "searchhub.models.fbnet.modeling_fbnet",
    "SearchedFBNetForImageClassification": "searchhub.models.fbnet.modeling_fbnet",
    "SearchedFBNetModel": "searchhub.models.fbnet.modeling_fbnet",
    "DartsSupernetConfig": "searchhub.models.darts.supernet_darts",
    "DartsSupernetForImageClassification": "searchhub.models.darts.supernet_darts",
    "SearchedDartsConfig": "searchhub.models.darts.configuration_darts",
    "SearchedDartsBackbone": "searchhub.models.darts.modeling_darts",
    "SearchedDartsForImageClassification": "searchhub.models.darts.modeling_darts",
    "SearchedDartsModel": "searchhub.models.darts.modeling_darts",
    "NasBench201SupernetConfig": "searchhub.models.nasbench201.supernet_nasbench201",
    "NasBench201SupernetForImageClassification": "searchhub.models.nasbench201.supernet_nasbench201",
    "SearchedNasBench201Config": "searchhub.models.nasbench201.configuration_nasbench201",
    "SearchedNasBench201Backbone": "searchhub.models.nasbench201.modeling_nasbench201",
    "SearchedNasBench201ForImageClassification": "searchhub.models.nasbench201.modeling_nasbench201",
    "SearchedNasBench201Model": "searchhub.models.nasbench201.modeling_nasbench201",
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
    "MixtureSettings": "searchhub.training.gumbel",
    "MixtureTrainer": "searchhub.training.mixture",
    "write_report": "searchhub.reports.html",
    "make_accelerator": "searchhub.training.accelerator",
    "SearchArguments": "searchhub.workflows.search_arguments",
    "SearchTrainer": "searchhub.workflows.trainer",
    "CompressionArguments": "searchhub.workflows.compression",
    "UniformSearcher": "searchhub.searchers.uniform",
    "build_searcher": "searchhub.searchers.named",
    "fit": "searchhub.training.fit",
    "load_trainer": "searchhub.networks.saved_trainer",
    "save_trainer": "searchhub.networks.saved_trainer",
    "save_model_folder": "searchhub.hub.folder",
    "save_result_folder": "searchhub.hub.search_folder",
    "ExportReport": "searchhub.export.onnx",
    "export_onnx": "searchhub.export.onnx",
    "PublishedRevision": "searchhub.hub.publish",
    "publish": "searchhub.hub.publish",
}

__all__ = sorted([*_HOMES, "search"])

if TYPE_CHECKING:
    from searchhub.callbacks.base import SearchCallback
    from searchhub.costs.latency import measure_latency
    from searchhub.costs.latency_table import LatencyTable
    from searchhub.costs.macs import macs_table
    from searchhub.costs.params import params_table
    from searchhub.costs.phone import read_proxyless_table
    from searchhub.costs.structure import non_parameter_table
    from searchhub.costs.table import CostTable
    from searchhub.data.glue import GlueTask, glue_average, load_glue_task
    from searchhub.data.images import ImageTask
    from searchhub.data.loading import load_image_task
    from searchhub.data.task import Task
    from searchhub.data.text import TextTask
    from searchhub.data.text_loading import load_text_task
    from searchhub.distribution import ArchitectureDistribution
    from searchhub.evaluators.base import Evaluator
    from searchhub.evaluators.candidate_features import CandidateFeatures
    from searchhub.evaluators.networks import NetworkEvaluator
    from searchhub.evaluators.scratch import ScratchEvaluator
    from searchhub.evaluators.supernet import SupernetEvaluator
    from searchhub.evaluators.tabular import TabularEvaluator
    from searchhub.export.onnx import ExportReport, export_onnx
    from searchhub.generation import Limit, derive, generate, pareto, sample_within
    from searchhub.generation.measured import generate_measured
    from searchhub.hub.folder import save_model_folder
    from searchhub.hub.publish import PublishedRevision, publish
    from searchhub.hub.search_folder import save_result_folder
    from searchhub.models.bert.configuration_bert import SearchedBertConfig
    from searchhub.models.bert.importance_bert import order_by_importance
    from searchhub.models.bert.modeling_bert import SearchedBertForSequenceClassification, SearchedBertModel
    from searchhub.models.bert.plain_bert import as_plain_bert
    from searchhub.models.bert.supernet_bert import BertSupernetConfig, BertSupernetForSequenceClassification
    from searchhub.models.channel_cnn.configuration_channel_cnn import SearchedChannelCnnConfig
    from searchhub.models.channel_cnn.modeling_channel_cnn import (
        SearchedChannelCnnForImageClassification,
        SearchedChannelCnnModel,
    )
    from searchhub.models.channel_cnn.supernet_channel_cnn import ChannelCnnSupernet, ChannelCnnSupernetConfig
    from searchhub.models.darts.configuration_darts import SearchedDartsConfig
    from searchhub.models.darts.modeling_darts import (
        SearchedDartsBackbone,
        SearchedDartsForImageClassification,
        SearchedDartsModel,
    )
    from searchhub.models.darts.supernet_darts import DartsSupernetConfig, DartsSupernetForImageClassification
    from searchhub.models.fbnet.configuration_fbnet import SearchedFBNetConfig
    from searchhub.models.fbnet.modeling_fbnet import (
        SearchedFBNetBackbone,
        SearchedFBNetForImageClassification,
        SearchedFBNetModel,
    )
    from searchhub.models.fbnet.supernet_fbnet import FBNetSupernetConfig, FBNetSupernetForImageClassification
    from searchhub.models.mobile.configuration_mobile import SearchedMobileConfig
    from searchhub.models.mobile.modeling_mobile import (
        SearchedMobileBackbone,
        SearchedMobileForImageClassification,
        SearchedMobileModel,
    )
    from searchhub.models.mobile.supernet_mobile import MobileSupernetConfig, MobileSupernetForImageClassification
    from searchhub.models.nasbench201.configuration_nasbench201 import SearchedNasBench201Config
    from searchhub.models.nasbench201.modeling_nasbench201 import (
        SearchedNasBench201Backbone,
        SearchedNasBench201ForImageClassification,
        SearchedNasBench201Model,
    )
    from searchhub.models.nasbench201.supernet_nasbench201 import (
        NasBench201SupernetConfig,
        NasBench201SupernetForImageClassification,
    )
    from searchhub.models.supernet import Supernet
    from searchhub.networks.saved_trainer import load_trainer, save_trainer
    from searchhub.reports.html import write_report
    from searchhub.result import SearchResult
    from searchhub.searchers.base import Searcher
    from searchhub.searchers.clustering import (
        best_of,
        cluster_codes,
        cluster_features,
        most_probable,
        over_k,
        over_k_features,
    )
    from searchhub.searchers.confidence import pruning_confidence
    from searchhub.searchers.dc import DCSearcher, DCSupernetSearcher
    from searchhub.searchers.ddp import DDPSearcher
    from searchhub.searchers.division import winners_in_order
    from searchhub.searchers.evolution import EvolutionSearcher
    from searchhub.searchers.lloyd import Clusters
    from searchhub.searchers.random import RandomSearcher
    from searchhub.searchers.warmup import WarmupSearcher
    from searchhub.space import Architecture, Choice, Condition, SearchSpace
    from searchhub.spaces.bert import bert_space
    from searchhub.spaces.channels import channels_space
    from searchhub.spaces.darts import darts_space
    from searchhub.spaces.fbnet import fbnet_space
    from searchhub.spaces.genotype import Genotype
    from searchhub.spaces.mobile import mobile_space
    from searchhub.spaces.nasbench201 import nasbench201_space
    from searchhub.training.accelerator import make_accelerator
    from searchhub.training.fit import fit
    from searchhub.training.gumbel import MixtureSettings
    from searchhub.training.mixture import MixtureTrainer
    from searchhub.training.settings import TrainingSettings
    from searchhub.trial import Budget, Trial, TrialResult
    from searchhub.workflows.compression import CompressionArguments
    from searchhub.workflows.search_arguments import SearchArguments
    from searchhub.workflows.trainer import SearchTrainer


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module `searchhub` has no attribute `{name}`")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


_auto_classes.install()
