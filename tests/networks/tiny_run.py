"""A real run in seconds: a search of a tiny space on a few digits, with all that it leaves for later."""

import torch

from searchhub.costs.macs import macs_table
from searchhub.costs.params import params_table
from searchhub.data.sources import load_task
from searchhub.evaluators.supernet import SupernetEvaluator
from searchhub.hub.card import ComputeUsed
from searchhub.models.mobile.supernet_mobile import MobileSupernetConfig, MobileSupernetForImageClassification
from searchhub.networks.card_facts import Provenance
from searchhub.networks.trainer import NetworkTrainer
from searchhub.search import search
from searchhub.searchers.ddp import DDPSearcher
from searchhub.training.accelerator import make_accelerator
from searchhub.training.settings import TrainingSettings
from searchhub.trial import Budget

DIGITS = {"kind": "image", "dataset": "digits", "max_train_samples": 96, "max_eval_samples": 40}


def tiny_trainer(folder, **changes):
    """Search in a folder; the trainer of the networks that come out of it."""
    torch.manual_seed(0)
    sizes = {"stem_width": 8, "first_width": 8, "head_width": 16, "stage_widths": [8, 16], "stage_depths": [1, 1]}
    strides = {"stem_stride": 1, "stage_strides": [1, 2]}
    config = MobileSupernetConfig(**sizes, **strides, kernel_sizes=[3, 5], num_labels=10, image_size=8)
    supernet = MobileSupernetForImageClassification(config)
    task, accelerator = load_task(DIGITS), make_accelerator()
    searcher = DDPSearcher(supernet.search_space, estimation_epochs=1, budget=Budget(max_steps=1))
    settings = TrainingSettings(batch_size=32)
    evaluator = SupernetEvaluator(
        supernet, task, settings, accelerator, num_trials=searcher.num_trials, paths="trial", score="metric"
    )
    result = search(searcher, evaluator, run_dir=folder).with_costs(macs_table(supernet), params_table(supernet))
    told = Provenance(search_cost=ComputeUsed(trials=len(result.history), device="cpu"))
    options = {"epochs": 1, "seed": 3, "provenance": told, **changes}
    return NetworkTrainer(supernet, result, task, settings, accelerator, folder=folder, **options)
