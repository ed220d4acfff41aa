"""Scores generated networks again on the weights that a search left: a maximum of predictions flatters itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from searchhub.data.distilled import DistilledTask
from searchhub.data.unlabelled import UnlabelledTexts
from searchhub.evaluators.base import Evaluator
from searchhub.evaluators.score import SCORES
from searchhub.evaluators.supernet import SupernetEvaluator
from searchhub.files import read_json_object
from searchhub.generation.architecture import predicts
from searchhub.networks.network import TRAINING, Network
from searchhub.networks.saved_trainer import SUPERNET
from searchhub.networks.trainer import NetworkTrainer
from searchhub.run_folder import TEACHER
from searchhub.training.distillation import judged_again
from searchhub.trial import SCORED, SCORING, Trial


def score_again(networks: Sequence[Network], evaluator: Evaluator | None, first: int = 0) -> list[Network]:
    """Returns networks whose certificates also say what those of largest predicted quality score.

    Every process makes this call.

    Args:
        networks: The networks; those that were chosen otherwise are returned as they are.
        evaluator: The evaluator with the search's final weights. None: nothing is scored.
        first: Number of the first trial.
    """
    chosen = [network.architecture for network in networks if predicts(network.architecture)]
    if evaluator is None or not chosen:
        return list(networks)
    trials = [Trial(first + i, architecture, SCORED, SCORING) for i, architecture in enumerate(chosen)]
    scores = {result.trial.architecture: result.score for result in evaluator(trials)}
    return [
        replace(network, architecture=network.architecture.with_score(scores[network.architecture]))
        if predicts(network.architecture)
        else network
        for network in networks
    ]


def load_evaluator(trainer: NetworkTrainer) -> SupernetEvaluator | None:
    """Returns the evaluator of a finished run, with the weights that its search left.

    Args:
        trainer: The trainer of the run's networks.

    Returns:
        None if the run does not say how it scored: earlier versions did not, and other evaluators do not.
    """
    folder = Path(trainer.folder)
    scoring = (read_json_object(folder / TRAINING) or {}).get("scoring")
    if not scoring or scoring["score"] not in SCORES:
        return None
    settings = replace(trainer.settings, **{name: scoring[name] for name in ("batch_size", "eval_batch_size")})
    settings = replace(settings, gradient_accumulation_steps=1, auxiliary_weight=0.0, drop_path=0.0)
    supernet = type(trainer.supernet).from_pretrained(folder / SUPERNET)
    options = {name: scoring[name] for name in ("batch_norm_batches", "seed", "score")}
    task = trainer.task
    if scoring.get("judge") == "parent":
        if isinstance(task, DistilledTask):
            task = task.task
        if isinstance(task, UnlabelledTexts):
            task = task.task
        task = judged_again(task, folder / TEACHER, scoring["judged"])
        settings = replace(settings, distillation_weight=1.0)
    if "reconstruction" in scoring:
        options["reconstruction"] = trainer.reconstruction
    return SupernetEvaluator(supernet, task, settings, trainer.accelerator, num_trials=1, **options)
