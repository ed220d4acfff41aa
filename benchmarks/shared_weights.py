r"""How well a search tells good networks from bad ones: scores on shared weights beside scores after training.

    python benchmarks/shared_weights.py runs/sst2 --max encoder_params=6480000 --networks 30 --output_dir runs/ranks

RUN is a finished run of a recipe. Random architectures within (0.95 ν, ν], as many of each branch (depth) that has any,
are validated on the run's shared weights, as they are after the search, and then trained like the run's networks.
Kendall's τ says how far two orders agree.

Two things are predicted: `with_shared`, the scores on shared weights, which the search itself could see, and
`with_test`, the test scores after training. `--epochs 0` leaves out the second, and all training. Predicted from:

- `shared`: the score on shared weights. The search can be no better than this.
- `expectation`: E[α] under the run's θ (DDPNAS Eq. 9), which generation maximises.
- `mean`, `regression`, `pairs`: what each way of crediting makes of all trials of this search: of `mean` (Eq. 3) the
  average over the architecture's candidates, of the others the architecture's value. Only the trials are the same:
  a search by another `--estimator` would have pruned, and with `pairs` sampled, others.
- `cost`: the limited cost; what a search that knows nothing but size would reach.

`generated` is the score on shared weights of the network that θ generates for the limit, beside `shared_mean` and
`shared_sd` of the random ones; `branches` has their means and deviations by branch. `evenly` is the share of each
branch among all architectures of such a cost, from which recipes draw the random networks that they compare with.

Intervals are of 95 %, from 2,000 bootstrap draws of the networks. Training is noisy itself, which pulls every τ towards
0: `--retrain 5` trains one of the networks with five more seeds (of order and dropout), and their standard deviation,
`retrained_sd`, stands beside that of the networks, `test_sd`. Where both are alike there is nothing to find in between.
A killed run goes on with the same command. Ends with one line `RESULT {json}`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau
from transformers.utils import logging as transformers_logging

from searchhub.callbacks.progress import ProgressDisplay
from searchhub.cli.networks import read_settings
from searchhub.distribution import FloatArray
from searchhub.effects import EffectsModel
from searchhub.errors import InvalidInputError, SearchhubError
from searchhub.generation import Limit, generate, sample_within
from searchhub.networks.network import Network, network_name
from searchhub.networks.saved_trainer import load_trainer
from searchhub.networks.trainer import NetworkTrainer
from searchhub.result import SearchResult
from searchhub.searchers.credit import mean_credit
from searchhub.space import INACTIVE, Architecture, Codes, SearchSpace
from searchhub.training.loop import evaluate, reestimate_batch_norm
from searchhub.trial import WARMUP
from searchhub.workflows.limits import read_limits


def window_of(result: SearchResult, limit: Limit) -> Limit:
    """(0.95 ν, ν], as recipes draw random networks from."""
    assert limit.max is not None
    return Limit(result.costs[limit.name], min=math.nextafter(0.95 * limit.max, math.inf), max=limit.max)


def drawn(result: SearchResult, limit: Limit, n: int, seed: int) -> list[Network]:
    """Random networks of a cost in (0.95 ν, ν], as many of each branch."""
    found = sample_within(result.space, [window_of(result, limit)], n, np.random.default_rng(seed), by_branch=True)
    name = network_name([limit])
    return [Network(f"{name}-even{i}", architecture, (limit,), published=False) for i, architecture in enumerate(found)]


def branch_names(space: SearchSpace, architectures: Sequence[Architecture]) -> list[str]:
    """The branch that each lies on; empty where the space has only one."""
    parents = sorted({choice.condition.choice for choice in space.choices if choice.condition is not None})
    return [", ".join(f"{parent}={architecture[parent]}" for parent in parents) for architecture in architectures]


def within_branches(
    space: SearchSpace, networks: Sequence[Network], columns: Mapping[str, FloatArray]
) -> dict[str, dict[str, float | None]]:
    """Per branch of a space, the number of networks, and mean and deviation of columns [n]; for one branch nothing."""
    names = branch_names(space, [network.architecture for network in networks])
    found: dict[str, dict[str, float | None]] = {}
    for name in sorted(set(names) - {""}):
        on = np.array(names) == name
        found[name] = {"networks": int(on.sum())}
        for key, column in columns.items():
            found[name][key] = round(float(column[on].mean()), 4)
            found[name][f"{key}_sd"] = round(float(column[on].std(ddof=1)), 4) if on.sum() > 1 else None
    return found


def evenly(result: SearchResult, limit: Limit, seed: int, draws: int = 500) -> dict[str, float]:
    """The share of each branch among all architectures of a cost in (0.95 ν, ν], from as many draws."""
    rng, window = np.random.default_rng(seed), window_of(result, limit)
    one_by_one = [sample_within(result.space, [window], 1, rng)[0] for _ in range(draws)]
    names = branch_names(result.space, one_by_one)
    return {name: names.count(name) / draws for name in sorted(set(names) - {""})}


def shared_score(trainer: NetworkTrainer, architecture: Architecture) -> float:
    """The validation score of an architecture on the supernet's weights, as the search scores trials."""
    subnet = trainer.supernet.subnet(architecture)
    reestimate_batch_norm(subnet, trainer.task, "train", trainer.settings, trainer.accelerator, batches=8)
    measured = evaluate(subnet, trainer.task, "validation", trainer.settings.eval_batch_size, trainer.accelerator)
    return trainer.task.search_score(measured.metrics)


def credited(result: SearchResult, codes: Codes) -> dict[str, FloatArray]:
    """What each estimator makes of the run's trials, for the architectures `codes` [n, choices]: float64 [n] each."""
    space = result.space
    trials = [r for r in result.history if r.trial.round != WARMUP]
    tried = np.stack([space.encode(r.trial.architecture) for r in trials])
    scores = np.array([r.score for r in trials])
    mean = mean_credit(space, tried, scores)
    columns = np.stack([np.append(c, np.nan)[np.minimum(k, len(c))] for c, k in zip(mean, codes.T, strict=True)])
    found = {"mean": np.nanmean(np.where(codes.T == INACTIVE, np.nan, columns), axis=0)}
    for name in ("regression", "pairs"):
        model = EffectsModel(space, tried, scores, pairs=name == "pairs")
        found[name] = model.value(model.mean(), codes)
    return found


def agreement(one: FloatArray, other: FloatArray, seed: int = 0, draws: int = 2000) -> dict[str, float | None]:
    """Kendall's τ_b of two columns [n], with a bootstrap interval of 95 % over the rows; None where one is constant."""
    if len(np.unique(one)) == 1 or len(np.unique(other)) == 1:
        return {"tau": None, "low": None, "high": None}
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(len(one), size=len(one)) for _ in range(draws)]
    found = np.array([kendalltau(one[rows], other[rows]).statistic for rows in drawn])
    low, high = np.nanquantile(found, [0.025, 0.975])  # a draw in which nothing differs has none
    tau = float(kendalltau(one, other).statistic)
    return {"tau": round(tau, 3), "low": round(float(low), 3), "high": round(float(high), 3)}


def train(
    trainer: NetworkTrainer, networks: Sequence[Network], retrain: int
) -> tuple[FloatArray, dict[str, float | None]]:
    """Test scores of networks, and how much they differ, beside one of them trained with other seeds."""
    metric = trainer.task.metric_name
    with ProgressDisplay(1 + (retrain > 0)) as progress:
        tested = np.array([report.metrics[metric] for report in trainer.train_all(networks, progress)])
        again = [tested[0]]
        if retrain:
            with progress.stage(f"train {networks[0].name} again", retrain) as stage:
                for i in range(1, retrain + 1):
                    stage.begin(f"seed {trainer.seed + i}")
                    other = dataclasses.replace(trainer, seed=trainer.seed + i, folder=trainer.folder / f"seed{i}")
                    again.append(other.train(networks[0], stage.step).metrics[metric])
                    stage.advance()
    return tested, {
        "test_mean": round(float(tested.mean()), 4),
        "test_sd": round(float(tested.std(ddof=1)), 4),
        "retrained_sd": round(float(np.std(again, ddof=1)), 4) if retrain else None,
    }


def main(argv: list[str]) -> None:
    """Score, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--max", required=True, metavar="COST=VALUE", help="the limit that the networks lie within")
    parser.add_argument("--networks", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=None, help="of training each; default: the run's; 0: none")
    parser.add_argument(
        "--retrain", type=int, default=0, help="other seeds that the first of them is also trained with"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw of architectures")
    parser.add_argument("--data", action="append", metavar="NAME=VALUE", help="other argument of the data's loader")
    parser.add_argument("--output_dir", type=Path, required=True, help="for what is trained; not the run's own")
    args = parser.parse_args(argv)
    transformers_logging.disable_progress_bar()
    if args.output_dir.resolve() == args.run.resolve():
        raise InvalidInputError("`--output_dir` must not be the run's own folder, whose baselines it would replace.")
    [limit] = read_limits([args.max], None, None)
    trainer = load_trainer(args.run, data=read_settings(args.data))
    if trainer.result.distribution is None:
        raise InvalidInputError("The run's search must leave a θ, but left none. Give a run of DDPNAS.")
    trainer = dataclasses.replace(
        trainer, folder=args.output_dir, epochs=trainer.epochs if args.epochs is None else args.epochs
    )
    networks = drawn(trainer.result, limit, args.networks, args.seed)
    shared = np.array([shared_score(trainer, network.architecture) for network in networks])
    codes = np.stack([trainer.result.space.encode(network.architecture) for network in networks])
    expected = trainer.result.distribution.expectation(codes)
    cost = np.array([trainer.result.costs[limit.name](network.architecture) for network in networks])
    tested, columns = train(trainer, networks, args.retrain) if trainer.epochs else (np.full(len(shared), np.nan), {})
    print(f"{'network':>28} {limit.name:>16} {'E[α]':>8} {'shared':>8} {'test':>8}")
    for row in sorted(zip(tested, shared, expected, cost, networks, strict=True), key=lambda r: -r[1]):
        print(f"{row[4].name:>28} {row[3]:16,.0f} {row[2]:8.4f} {row[1]:8.4f} {row[0]:8.4f}")
    measured = {"shared": shared, "test": tested} if trainer.epochs else {"shared": shared}
    predictors = {"expectation": expected, **credited(trainer.result, codes), "cost": cost}
    result: dict[str, object] = {
        "networks": len(networks),
        "epochs": trainer.epochs,
        "metric": trainer.task.metric_name,
        "generated": round(shared_score(trainer, generate(trainer.result, limit)), 4),
        "shared_mean": round(float(shared.mean()), 4),
        "shared_sd": round(float(shared.std(ddof=1)), 4),
        "branches": within_branches(trainer.result.space, networks, measured),
        "evenly": evenly(trainer.result, limit, args.seed),
        "with_shared": {name: agreement(column, shared) for name, column in predictors.items()},
    }
    if trainer.epochs:
        known = {"shared": shared, **predictors}
        result["with_test"] = {name: agreement(column, tested) for name, column in known.items()}
        result |= columns
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
