"""Scores networks again on the weights that a search left.

Generated ones, because a maximum of predictions flatters itself; trained ones, to see whether scores agree with what
networks reach.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from searchhub.data.distilled import DistilledTask
from searchhub.data.unlabelled import UnlabelledTexts
from searchhub.errors import InvalidInputError
from searchhub.evaluators.base import Evaluator
from searchhub.evaluators.score import SCORES
from searchhub.evaluators.supernet import SupernetEvaluator
from searchhub.files import read_json_object
from searchhub.generation.architecture import predicts
from searchhub.networks.alike import trained_alike
from searchhub.networks.network import TRAINING, Network, TrainedNetwork, read_reports
from searchhub.networks.saved_trainer import SUPERNET
from searchhub.networks.trainer import NetworkTrainer
from searchhub.run_folder import TEACHER
from searchhub.space import Architecture
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


@dataclass(frozen=True)
class Ranking:
    """Networks that were trained alike, and what each scores on the weights that the search left.

    Args:
        training: What sets their training apart from that of the run's other networks, in words; "" if nothing does.
        networks: The networks, the best first; of several with one architecture there is one.
        scores: The score of each.
        metric: Metric of the test split that says which is the best.
    """

    training: str
    networks: tuple[TrainedNetwork, ...]
    scores: tuple[float, ...]
    metric: str

    @property
    def tau(self) -> float | None:
        """Kendall's τ of scores and metric. None: all networks are alike in one of the two, as a single one is."""
        return self._kendall[0]

    @property
    def p_value(self) -> float | None:
        """How probable so large a τ, of either sign, is where the two have nothing to do with each other."""
        return self._kendall[1]

    @cached_property
    def _kendall(self) -> tuple[float | None, float | None]:
        from scipy.stats import kendalltau  # slow to import

        reached = [network.metrics[self.metric] for network in self.networks]
        if len(set(reached)) < 2 or len(set(self.scores)) < 2:
            return None, None
        found = kendalltau(self.scores, reached)
        return float(found.statistic), float(found.pvalue)

    @property
    def at_zero(self) -> dict[str, dict[str, int]]:
        """By metric of single classes, the classes at which networks reach 0, and how many do."""
        counts: dict[str, Counter[str]] = {}
        for network in self.networks:
            for metric, values in (network.facts.get("by_class") or {}).items():
                counts.setdefault(metric, Counter()).update(name for name, value in values.items() if not value)
        return {metric: dict(found.most_common()) for metric, found in counts.items() if found}

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON."""
        pairs = zip(self.networks, self.scores, strict=True)
        return {
            "training": self.training,
            "tau": self.tau,
            "p_value": self.p_value,
            "networks": [
                {"name": n.network.name, "published": n.network.published, "score": score, **n.metrics}
                for n, score in pairs
            ],
            "classes_at_zero": self.at_zero,
        }


def rank_trained(trainer: NetworkTrainer) -> list[Ranking]:
    """Scores all networks that a finished run has trained, baselines too, on the weights that its search left.

    Args:
        trainer: The trainer of the run's networks.

    Returns:
        Networks that were trained alike stand together, the largest group first.

    Raises:
        InvalidInputError: The run trained nothing, or does not say how it scored.
    """
    evaluator, metric = load_evaluator(trainer), trainer.task.metric_name
    if evaluator is None:
        raise InvalidInputError(
            f"`{trainer.folder}` must say how its search scored for networks to be scored again, but does not: nothing "
            "was searched on shared weights, or an earlier version wrote it. Search again."
        )
    reports = [report for report in read_reports(trainer.folder) if metric in report.metrics]
    if not reports:
        raise InvalidInputError(f"`{trainer.folder}` must hold networks that it trained, but holds none. Train one.")
    each = list(dict.fromkeys(report.network.architecture for report in reports))
    trials = [Trial(i, architecture, SCORED, SCORING) for i, architecture in enumerate(each)]
    scores = {result.trial.architecture: result.score for result in evaluator(trials)}
    rankings = []
    for training, own in trained_alike(reports):
        once: dict[Architecture, TrainedNetwork] = {}
        for report in own:
            once.setdefault(report.network.architecture, report)
        best_first = tuple(sorted(once.values(), key=lambda report: -report.metrics[metric]))
        found = tuple(scores[report.network.architecture] for report in best_first)
        rankings.append(Ranking(training, best_first, found, metric))
    return rankings
