from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from searchhub.costs.structure import cells_of
from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.effects import PredictedQuality
from searchhub.errors import InvalidInputError, RunMismatchError
from searchhub.evaluators.base import Evaluator
from searchhub.evaluators.supernet import SupernetEvaluator
from searchhub.generation import Limit
from searchhub.scoring import ScoringSearcher, refine
from searchhub.search import search
from searchhub.searchers.ddp import DDPSearcher
from searchhub.searchers.random import RandomSearcher
from searchhub.searchers.warmup import WarmupSearcher
from searchhub.space import Choice, Condition, SearchSpace
from searchhub.spaces.darts import darts_space
from searchhub.testing import SearcherContract
from searchhub.training.accelerator import make_accelerator
from searchhub.training.settings import TrainingSettings
from searchhub.trial import SCORED, SCORING, WARMUP, Budget, TrialResult

from .training.tiny import TinyTask, tiny_supernet

PLAIN = SearchSpace("plain", tuple(Choice(f"c{i}", (0, 1, 2)) for i in range(4)))
DEPTH = SearchSpace(
    "depth",
    (
        Choice("depth", (1, 2, 3)),
        Choice("layer.1", tuple(range(4))),
        Choice("layer.2", tuple(range(4)), condition=Condition("depth", (2, 3))),
        Choice("layer.3", tuple(range(4)), condition=Condition("depth", (3,))),
    ),
)
CELLS = darts_space(num_nodes=2, operations=("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3"))
SMALL = SearchSpace("small", (Choice("a", (0, 1)), Choice("b", (0, 1))))


def scoring(searcher, scored=12):
    return ScoringSearcher(searcher, scored=scored)


def outcome(trial, quality=None):
    """On shared weights that take a step per trained trial; what is scored at the end has them all."""
    taken = 99 if trial.round == SCORING else trial.number
    score = 0.5 if quality is None else quality(trial.architecture)
    return TrialResult(trial, score, weights_step=taken)


def run(searcher, quality=None):
    """Tells the searcher all that it asks for, and returns the proposals."""
    proposals = []
    while trials := searcher.ask():
        proposals.append(trials)
        searcher.tell([outcome(trial, quality) for trial in trials])
    return proposals


def scored_of(searcher):
    return [r for r in searcher.history if r.trial.round == SCORING]


MADE = {
    "ddp": lambda seed: scoring(DDPSearcher(PLAIN, estimation_epochs=1, seed=seed, budget=Budget(max_steps=3))),
    "warmup": lambda seed: scoring(WarmupSearcher(RandomSearcher(PLAIN, num_trials=3, seed=seed), 2), 5),
    "conditional": lambda seed: scoring(RandomSearcher(DEPTH, num_trials=2, seed=seed), 6),
    "cells": lambda seed: scoring(DDPSearcher(CELLS, estimation_epochs=1, prune=False, evaluations=4, seed=seed), 4),
    "one": lambda seed: scoring(RandomSearcher(SMALL, num_trials=1, seed=seed), 1),
}


class TestContract(SearcherContract):
    @pytest.fixture(params=MADE.values(), ids=MADE.keys())
    def make_searcher(self, request):
        return request.param

    def outcome(self, trial):
        return TrialResult(trial, self.score(trial), weights_step=outcome(trial).weights_step)

    def test_rounds_never_run_back(self, make_searcher):
        searcher = make_searcher(0)
        rounds = [result.trial.round for result in self.run(searcher).history]
        assert rounds[-searcher.scored :] == [SCORING] * searcher.scored
        before = rounds[: -searcher.scored]
        assert SCORING not in before
        assert before == sorted(before)


def test_the_searcher_searches_as_without_and_then_nothing_is_trained():
    made = lambda: DDPSearcher(PLAIN, estimation_epochs=1, seed=3, budget=Budget(2, max_steps=5))  # noqa: E731
    alone, wrapped = made(), scoring(made(), 9)
    quality = lambda architecture: sum(architecture.values()) / 8  # noqa: E731
    run(alone, quality)
    proposals = run(wrapped, quality)
    assert (wrapped.num_trials, wrapped.trained_trials) == (alone.num_trials + 9, alone.num_trials)
    assert [r.trial for r in wrapped.history[: alone.num_trials]] == [r.trial for r in alone.history]
    scored = scored_of(wrapped)
    assert [r.trial.number for r in scored] == list(range(alone.num_trials, alone.num_trials + 9))
    assert {r.trial.budget for r in scored} == {SCORED}
    assert [len(p) for p in proposals if p[0].round == SCORING] == [9]
    found, expected = wrapped.result(), alone.result()
    assert (found.distribution, found.trajectory) == (expected.distribution, expected.trajectory)
    assert dict(found.searcher) == {**expected.searcher, "scored": 9}


def test_a_warmup_stays_what_it_is():
    searcher = scoring(WarmupSearcher(RandomSearcher(PLAIN, num_trials=3), 2), 4)
    assert (searcher.num_trials, searcher.trained_trials) == (9, 5)
    run(searcher)
    rounds = [r.trial.round for r in searcher.history]
    assert (rounds[:2], rounds[5:]) == ([WARMUP] * 2, [SCORING] * 4)
    assert min(rounds[2:5]) == 0


def test_paths_are_drawn_uniformly_from_all_that_is_scored():
    """What the searcher prunes is scored, and may be generated. So it is trained, too."""
    searcher = MADE["ddp"](0)
    run(searcher)
    assert searcher.searcher.sampling != ArchitectureDistribution.uniform(PLAIN)
    assert searcher.sampling == ArchitectureDistribution.uniform(PLAIN)


@pytest.mark.parametrize("space", [PLAIN, DEPTH], ids=["plain", "conditional"])
def test_what_is_scored_is_drawn_uniformly_and_once(space):
    drawn = Counter()
    for seed in range(8):
        searcher = scoring(RandomSearcher(space, num_trials=1, seed=seed), 30)
        run(searcher)
        architectures = [r.trial.architecture for r in scored_of(searcher)]
        assert len(set(architectures)) == 30
        drawn.update((name, candidate) for a in architectures for name, candidate in a.items())
    for choice in space.choices[:2]:  # they are always active
        counts = [drawn[choice.name, candidate] for candidate in choice.candidates]
        assert sum(counts) == 240
        if space is PLAIN:
            assert min(counts) > 240 / 3 - 5 * (240 * 2 / 9) ** 0.5
        else:
            assert min(counts) > 0


@pytest.mark.parametrize("scored", [4, 9])
def test_of_a_space_with_fewer_architectures_some_are_scored_again(scored):
    searcher = scoring(RandomSearcher(SMALL, num_trials=1), scored)
    run(searcher)
    counted = Counter(r.trial.architecture for r in scored_of(searcher))
    assert sum(counted.values()) == scored
    assert len(counted) == 4
    assert max(counted.values()) <= -(-scored // 4)


def test_cells_are_drawn_as_they_are_generated():
    searcher = MADE["cells"](0)
    run(searcher)
    cells = cells_of(CELLS)
    for result in scored_of(searcher):
        row = CELLS.encode(result.trial.architecture)
        for node in cells.nodes:
            assert sum(row[choice] != cells.none[choice] for choice in node.choices) == 2


def test_few_cells_are_scored_once_each():
    space = darts_space(num_nodes=1, operations=("none", "skip_connect", "sep_conv_3x3"))
    searcher = scoring(RandomSearcher(space, num_trials=1), 14)
    run(searcher)
    # Two operations on each of both edges of both kinds of cell: 16 architectures.
    assert len({r.trial.architecture for r in scored_of(searcher)}) == 14


def test_the_result_predicts_from_scores_that_compare():
    quality = lambda architecture: 0.1 + 0.1 * sum(architecture.values())  # noqa: E731
    searcher = scoring(DDPSearcher(PLAIN, estimation_epochs=1), 12)
    while searcher.ask()[0].round != SCORING:
        searcher.tell([outcome(trial, lambda _: 0.9) for trial in searcher.ask()])
    assert searcher.result().prediction is None
    run(searcher, quality)
    prediction = searcher.result().prediction
    expected = PredictedQuality.fit(PLAIN, scored_of(searcher))
    assert prediction == expected
    best, worst = (np.full((1, 4), code, dtype=np.uint8) for code in (2, 0))
    assert prediction.value(best) > prediction.value(worst)


def test_nothing_to_score_is_refused():
    with pytest.raises(InvalidInputError, match="`scored >= 1` must hold, but"):
        scoring(RandomSearcher(PLAIN, num_trials=1), 0)


# -- on shared weights ------------------------------------------------------------------------------------------------


class Mortal(SupernetEvaluator):
    """Is killed when it comes to a trial."""

    def __init__(self, last=None, paths="fresh"):
        settings = TrainingSettings(batch_size=16)
        super().__init__(tiny_supernet(), TinyTask(), settings, make_accelerator(), num_trials=2, paths=paths)
        self.last = last

    def __call__(self, trials):
        for result in super().__call__(trials):
            if result.trial.number == self.last:
                raise KeyboardInterrupt
            yield result


def searched(folder, evaluator, scored=6):
    space = evaluator.supernet.search_space
    return search(scoring(RandomSearcher(space, num_trials=2), scored), evaluator, run_dir=folder)


@pytest.mark.parametrize("paths", ["fresh", "trial"])
def test_killed_while_it_scores_it_goes_on_to_the_same_bits(tmp_path, paths):
    def plain(result):
        data = result.to_dict()
        for trial in data["history"]:
            del trial["seconds"]
        return data

    expected = searched(tmp_path / "whole", Mortal(paths=paths))
    assert [r.trial.budget.epochs for r in expected.history] == [1, 1] + [0] * 6
    # No gradient moves the weights any more: all scores are of one moment.
    assert {r.weights_step for r in expected.history[2:]} == {4}
    folder = tmp_path / "killed"
    for last in (2, 3, 7):  # before the first score, after it, and before the last
        with pytest.raises(KeyboardInterrupt):
            searched(folder, Mortal(last, paths))
    with pytest.raises(RunMismatchError, match=r"`searcher\.scored` was 6, now 5"):
        searched(folder, Mortal(paths=paths), scored=5)
    assert plain(searched(folder, Mortal(paths=paths))) == plain(expected)


# -- near the optimum -------------------------------------------------------------------------------------------------


class Quality(Evaluator):
    """Scores by a known quality, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, trials):
        for trial in trials:
            self.asked.append(trial)
            yield TrialResult(trial, quality_of(trial.architecture), weights_step=99)


def quality_of(architecture):
    values = list(architecture.values())
    return 0.1 + 0.1 * sum(values) - (0.25 if values[0] == values[1] == 2 else 0.0)  # two that do not go together


def test_near_optimal_architectures_are_scored_whole():
    searcher = scoring(RandomSearcher(PLAIN, num_trials=2), scored=15)
    run(searcher, quality_of)
    size = CostTable("size", PLAIN, 0.0, (np.arange(3.0),) * 4)
    result = searcher.result().with_costs(size)
    limit, evaluator = Limit("size", max=7), Quality()
    refined = refine(result, [limit], evaluator, 20, first=17, seed=1)
    new = refined.history[17:]
    assert [r.trial.number for r in new] == [t.number for t in evaluator.asked] == list(range(17, 17 + len(new)))
    assert 0 < len(new) <= 20
    assert all(size(r.trial.architecture) <= 7 for r in new)
    architectures = [r.trial.architecture for r in refined.history if r.trial.round == SCORING]
    assert len(set(architectures)) == len(architectures)
    assert refined.prediction == PredictedQuality.fit(PLAIN, refined.history)
    again = refine(result, [limit], Quality(), 20, first=17, seed=1)
    assert again.history == refined.history
    best = max(quality_of(r.trial.architecture) for r in new)
    assert best >= max(quality_of(r.trial.architecture) for r in result.history if size(r.trial.architecture) <= 7)
    with pytest.raises(InvalidInputError, match="Only a search with predicted quality can be refined"):
        refine(replace(result, prediction=None), [limit], evaluator, 1, first=0)


def test_what_is_scored_may_be_spread_by_size():
    space = SearchSpace("wide", tuple(Choice(f"c{i}", (1, 2, 4, 8, 16, 32, 64)) for i in range(6)))
    table = CostTable("size", space, 0.0, (np.array([1.0, 2, 4, 8, 16, 32, 64]),) * 6)
    searcher = ScoringSearcher(RandomSearcher(space, num_trials=1), scored=60, sizes=table)
    run(searcher)
    sizes = np.array([table(r.trial.architecture) for r in scored_of(searcher)])
    alike = table.of_codes(space.sample(60, np.random.default_rng(0)))
    assert np.quantile(sizes, 0.25) < 0.5 * np.quantile(alike, 0.25)
    assert searcher.config["scored_sizes"] == "size"
    assert "scored_sizes" not in scoring(RandomSearcher(space, num_trials=1)).config
