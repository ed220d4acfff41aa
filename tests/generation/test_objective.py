"""Predicted quality as objective, against trying everything; what holds for E[α] is tested beside each solver."""

import itertools
import json
import math
import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.effects import PredictedQuality
from searchhub.errors import InvalidInputError
from searchhub.generation import Limit, derive, generate, knapsack, pareto
from searchhub.generation.architecture import optimality
from searchhub.generation.generate import NEAR
from searchhub.generation.limits import within
from searchhub.result import SearchResult
from searchhub.space import INACTIVE, Choice, Condition, SearchSpace
from searchhub.trial import Trial, TrialResult

from . import test_cells, test_chain, test_generate
from .conftest import Search

DRAWS = {
    "real": lambda rng, shape: rng.normal(size=shape),
    "ties": lambda rng, shape: rng.integers(-2, 3, size=shape) / 8.0,
    "nearly equal": lambda rng, shape: 1.0 + 1e-9 * rng.normal(size=shape),
}


def random_prediction(rng, space, kind):
    """Effects, deviations and intercepts at random, with a posterior of a few trials."""
    draw, sizes = DRAWS[kind], [len(choice.candidates) for choice in space.choices]
    branches = len(list(space.branches()))
    return PredictedQuality(
        space,
        space.sample(6, rng),
        draw(rng, branches),
        tuple(draw(rng, n) for n in sizes),
        draw(rng, (branches, sum(sizes))) if rng.random() < 0.7 else np.zeros((0, sum(sizes))),
        variance=0.1,
        noise=0.5,
        branch_variance=0.1,
        quantity="loss",
        offset=2.0,
        slope=-0.5,
    )


def terms(prediction, row):
    """The intercept and the effects of a row, spelled out."""
    fits = [
        all(k in own if own else k == INACTIVE for k, own in zip(row.tolist(), branch.codes, strict=True))
        for branch in prediction.space.branches()
    ]
    number, at = fits.index(True), 0
    found = [float(prediction.intercepts[number])]
    for k, effect in zip(row.tolist(), prediction.effects, strict=True):
        if k != INACTIVE:
            own = prediction.deviations[number][at + k] if len(prediction.deviations) else 0.0
            found.append(float(effect[k] + own))
        at += len(effect)
    return found


class Predicts:
    """Makes a search one whose result predicts quality: `exact` is what its answers must be the largest of."""

    def predict(self, kind):
        self.prediction = random_prediction(self.rng, self.space, kind)
        self.result = replace(self.result, prediction=self.prediction)
        return self

    def exact(self, row):
        return sum(map(Fraction, terms(self.prediction, row)))

    def predicted(self, row):
        return math.fsum(terms(self.prediction, row))

    def front(self, table):
        front = []
        for cost, minus in sorted((table.of_row(row), -self.predicted(row)) for row in self.rows):
            if not front or -minus > front[-1][1]:
                front.append((cost, -minus))
        return front


class PredictedSearch(Predicts, Search):
    pass


class PredictedChain(Predicts, test_chain.Chain):
    pass


class PredictedCells(Predicts, test_cells.Search):
    def predict(self, kind):
        super().predict(kind)
        effects = [prediction.tolist() for prediction in self.prediction.entries(0)]
        self.expectations = np.sum([np.array(e)[k] for e, k in zip(effects, self.rows.T, strict=True)], axis=0)
        return self


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("candidates", ["all", "survivors"])
def test_generates_the_best_within_the_limits(conditional, candidates):
    methods, named = Counter(), 0
    for seed in range(36):
        kinds = test_generate.KINDS[seed % len(test_generate.KINDS)]
        search = PredictedSearch(seed, costs=kinds, conditional=conditional, candidates=candidates)
        search.predict([*DRAWS][seed % 3])
        limits = [search.limit(table) for table in search.tables]
        method = test_generate.check(search, limits)  # E[α] is told beside it
        methods[method] += 1
        if method != "infeasible":
            named += check_certificate(
                search, limits, generate(search.result, *limits, candidates=candidates, use_budget=False)
            )
    assert set(methods) >= {"argmax", "list-DP", "infeasible"}
    if candidates == "all":
        assert set(methods) >= {"two-cost list-DP", "MILP (HiGHS)"}
        assert named > 3


def check_certificate(search, limits, answer):
    """Checks what is said of the prediction; returns whether a cheaper network is named."""
    row, certificate = search.space.encode(answer), answer.certificate
    loss, deviation = search.prediction.loss(row[None])
    assert certificate.objective == "predicted quality"
    assert certificate.predicted == search.predicted(row)
    assert (certificate.loss, certificate.deviation) == (float(loss[0]), float(deviation[0]))
    assert json.loads(json.dumps(certificate.to_dict())) == certificate.to_dict()
    match = re.search(r"A network of (\S+) cost 0 cannot be told apart from it \(difference (\S+) of", certificate.note)
    if match is None:
        return False
    cost, ratio = float(match[1].replace(",", "")), float(match[2])
    # It is on the front: the best within the other limits of what costs no more.
    cheaper = [r for r in search.within(limits) if search.tables[0].of_row(r) <= cost]
    best = max(cheaper, key=lambda r: (search.exact(r), -search.tables[0].of_row(r)))
    assert within(search.tables[0].of_row(best), up=True) == match[1]
    assert search.tables[0].of_row(best) <= 0.98 * certificate.costs["cost 0"]
    difference, spread = search.prediction.difference(row, best)
    assert difference < 2 * spread
    assert ratio == pytest.approx(difference / spread, abs=0.051)
    return True


@pytest.mark.parametrize("kind", [*DRAWS])
def test_front_is_the_whole_front(kind):
    for seed in range(8):
        costs = (("real", "integer", "signed", "count")[seed % 4],)
        candidates = ("all", "survivors")[seed % 3 == 0]
        search = PredictedSearch(seed, costs=costs, conditional=seed % 2 == 0, candidates=candidates).predict(kind)
        (table,) = search.tables
        front = pareto(search.result, table, candidates)
        assert [(p.certificate.costs[table.name], p.certificate.predicted) for p in front] == search.front(table)
        for point in front:
            assert point.certificate.expectation == search.rounded(search.space.encode(point))
            assert point.certificate.optimal
        for point in front[:: max(1, len(front) // 2)]:
            cost = point.certificate.costs[table.name]
            assert generate(search.result, Limit(table, max=cost), candidates=candidates) == point


def test_costs_along_the_chain():
    methods = Counter()
    for seed in range(60):
        search = PredictedChain(seed).predict([*DRAWS][seed % 3])
        methods[test_chain.check(search, [search.limit(table) for table in search.tables])] += 1
    assert methods["list-DP along the chain"] > 10
    for seed in range(12):
        search = PredictedChain(seed, costs=[("real", True)]).predict([*DRAWS][seed % 3])
        front = pareto(search.result, "cost 0", search.candidates)
        found = [(p.certificate.costs["cost 0"], p.certificate.predicted) for p in front]
        assert found == search.front(search.tables[0])


def test_milp_takes_over_from_a_long_list(monkeypatch):
    monkeypatch.setitem(knapsack.MAX_STATES, 2, 1)
    methods = Counter()
    for seed in range(8):
        search = PredictedSearch(seed, costs=("real", "real"), layers=6).predict("real")
        rows = np.array(search.rows)
        limits = [Limit(t, max=float(np.quantile(t.of_codes(rows), 0.4))) for t in search.tables]
        if search.within(limits):
            answer = generate(search.result, *limits)
            best = max(search.exact(row) for row in search.within(limits))
            assert float(best - search.exact(search.space.encode(answer))) < 1e-10
            methods[answer.certificate.method] += 1
            if answer.certificate.method == "MILP (HiGHS)":
                assert "expectation" not in answer.certificate.note
                assert "told apart" not in answer.certificate.note  # HiGHS may take long
    assert methods["MILP (HiGHS)"] >= 3


@pytest.mark.parametrize("candidates", ["all", "survivors"])
def test_generates_the_best_cells(candidates):
    """Two inputs a node, N and H, an effect of `none` on the edges that are left out."""
    answered = 0
    for seed in range(6):
        kinds = ("normal",) if seed % 3 else ("normal", "reduction")
        space = test_cells.cell_space(
            kinds, 4 - len(kinds), test_cells.OPERATIONS[: 3 + seed % 2], test_cells.GROUPS[: 3 + seed % 2]
        )
        search = PredictedCells(seed, space, costs=("real", "integer"), candidates=candidates)
        search.predict(("real", "ties")[seed % 2])
        for names in test_cells.LIMITS:
            limits = [search.limit(name) for name in names]
            if search.check(limits):
                answered += 1
                answer = generate(search.result, *limits, candidates=candidates)
                assert answer.certificate.predicted == search.predicted(search.space.encode(answer))
    assert answered > 25


@pytest.mark.parametrize("cost", ["cost 0", "non_parameter", "height"])
def test_fronts_of_cells(cost):
    for seed in range(2):
        search = PredictedCells(seed, test_cells.cell_space(), costs=("real",)).predict("real")
        expected = []
        for value in np.unique(search.values[cost]):
            own = np.flatnonzero(search.values[cost] == value)
            best = max(search.predicted(search.rows[i]) for i in own[np.argsort(-search.expectations[own])[:20]])
            if not expected or best > expected[-1][1]:
                expected.append((value, best))
        front = pareto(search.result, cost)
        assert [(p.certificate.costs[cost], p.certificate.predicted) for p in front] == expected


# -- which objective ---------------------------------------------------------------------------------------------------


def test_the_objective_is_the_prediction_if_there_is_one_else_theta():
    search = PredictedSearch(3, costs=("real",)).predict("real")
    limit = Limit("cost 0", max=float(np.median([search.tables[0].of_row(row) for row in search.rows])))
    by_theta = generate(replace(search.result, prediction=None), limit)
    predicted = generate(search.result, limit)
    assert by_theta != predicted
    asked = generate(search.result, limit, objective="expectation")
    assert asked == by_theta
    assert asked.certificate == by_theta.certificate
    assert asked.certificate.objective == "expectation"
    assert asked.certificate.predicted is None
    assert "objective" not in asked.certificate.to_dict()  # as in all files before
    assert search.result.generate(limit, objective="predicted").certificate == predicted.certificate
    assert search.result.generate(limit, objective="expectation") == by_theta
    by_method = search.result.pareto("cost 0", objective="expectation")
    assert by_method == pareto(replace(search.result, prediction=None), "cost 0") != pareto(search.result, "cost 0")


def test_a_prediction_needs_no_theta():
    search = PredictedSearch(3, costs=("real",), conditional=True).predict("real")
    result = replace(search.result, distribution=None)
    answer = generate(result)
    assert answer == generate(search.result)
    assert answer.certificate.expectation is None
    assert pareto(result, "cost 0")[0].certificate.expectation is None
    with pytest.raises(InvalidInputError, match=r"must come with a θ, .* to get the best predicted architecture"):
        generate(result, candidates="survivors")
    with pytest.raises(InvalidInputError, match=r'`objective="expectation"` must come with a θ'):
        generate(result, objective="expectation")
    with pytest.raises(InvalidInputError, match=r"must come with predicted quality, but .*PredictedQuality.fit"):
        generate(replace(search.result, prediction=None), objective="predicted")
    with pytest.raises(InvalidInputError, match=r'must be "expectation", "predicted" or None, but got \'score\''):
        pareto(result, "cost 0", objective="score")


def test_evaluated_architectures_go_by_their_score():
    space = SearchSpace("s", (Choice("a", (0, 1)),))
    history = tuple(TrialResult(Trial(k, space.decode([k])), 0.5 + 0.1 * k) for k in (0, 1))
    answer = generate(SearchResult(space, history))
    assert (answer["a"], answer.certificate.objective, answer.certificate.score) == (1, "score", 0.6)


def test_cells_are_derived_from_theta():
    search = PredictedCells(0, test_cells.cell_space()).predict("real")
    derived = derive(search.result, candidates="all")
    assert derived == generate(search.result, objective="expectation")
    assert derived.certificate.objective == "expectation"
    assert derived != generate(search.result)


# -- a search whose scores are known -----------------------------------------------------------------------------------


GAINS = 0.5 ** np.arange(6)


def scored_search(noise, n=120, gains=GAINS, seed=0):
    """Six layers whose larger candidate is better, by less and less, and costs twice as much."""
    space = SearchSpace("six", tuple(Choice(f"c{i}", ("small", "large")) for i in range(6)))
    rng = np.random.default_rng(seed)
    codes = space.sample(n, rng)
    loss = 4.0 - codes @ gains + noise * rng.normal(size=n)
    history = tuple(
        TrialResult(Trial(i, space.decode(row)), float(np.exp(-x)))
        for i, (row, x) in enumerate(zip(codes, loss, strict=True))
    )
    macs = CostTable("macs", space, 0.0, (np.array([1000.0, 2000.0]),) * 6)
    theta = ArchitectureDistribution.uniform(space)
    prediction = PredictedQuality.fit(space, history)
    return SearchResult(space, history, theta, costs={"macs": macs}, prediction=prediction)


def test_limits_bind_where_effects_add_up():
    result = scored_search(noise=0.01)
    for large in range(7):
        answer = generate(result, Limit("macs", max=6000 + 1000 * large))
        assert list(answer.values()) == ["large"] * large + ["small"] * (6 - large)
        expected = 4.0 - (0.5 ** np.arange(6))[:large].sum()
        assert answer.certificate.loss == pytest.approx(expected, abs=0.2)
    assert "does not bind" in generate(result, Limit("macs", max=13_000)).certificate.note


def test_networks_that_cannot_be_told_apart_are_named():
    sure, unsure = (generate(scored_search(noise), Limit("macs", max=11_000)) for noise in (0.01, 0.4))
    assert sure.certificate.note == ""
    found = re.fullmatch(
        r"A network of ([\d,]+) macs cannot be told apart from it \(difference \d\.\d of its deviation\)\.",
        unsure.certificate.note,
    )
    assert int(found[1].replace(",", "")) in (8000, 9000, 10_000)
    # Nothing is said without a limit from above on the first cost, or by another objective.
    result = scored_search(0.4)
    for limits in ((), (Limit("macs", min=9000),), (Limit("macs", equal=11_000),)):
        assert "told apart" not in generate(result, *limits).certificate.note
    assert "told apart" not in generate(result, Limit("macs", max=11_000), objective="expectation").certificate.note


def near_tie(noise=0.4, maximum=12_000, last=-0.04):
    """The optimum and what stands in for it, of a search in which the last layers hardly matter."""
    gains = np.array([1.0, 0.5, 0.25, 0.125, last, last])
    result, limit = scored_search(noise, gains=gains, seed=2), Limit("macs", max=maximum)
    return result, generate(result, limit, use_budget=False), generate(result, limit)


def test_near_ties_go_towards_the_budget():
    """Scores of much noise say that "large" is a little worse where it hardly matters."""
    result, optimum, taken = near_tie()
    cheap, dear = (answer.certificate.costs["macs"] for answer in (optimum, taken))
    assert cheap < dear <= 12_000
    assert optimum.certificate.optimum is None
    assert "optimum" not in optimum.certificate.to_dict()
    assert taken.certificate.optimal
    assert taken.certificate.optimum == optimum.certificate.predicted >= taken.certificate.predicted
    assert optimality(taken.certificate.to_dict()) == "not told apart from the exact optimum"
    difference, deviation = result.prediction.difference(*(result.space.encode(a) for a in (optimum, taken)))
    assert 0.0 <= difference < NEAR * deviation
    assert taken.certificate.note.endswith(
        f"The optimum costs {cheap:,.0f} macs. This uses more of the limit, and is predicted only "
        f"{difference / deviation:.1g} deviations of their difference below it."
    )
    # No other network of at least its cost is predicted better.
    rows = np.array(list(itertools.product(range(2), repeat=6)), dtype=np.uint8)
    costs, values = result.costs["macs"].of_codes(rows), result.prediction.value(rows)
    within = (costs >= dear) & (costs <= 12_000)
    assert taken.certificate.predicted == pytest.approx(values[within].max(), abs=1e-12)
    # Fronts, other objectives, and limits on several costs show the optimum.
    assert optimum in pareto(result, "macs")
    limits = Limit("macs", max=12_000), Limit("macs", min=0)
    assert generate(result, limits[0], objective="expectation").certificate.optimum is None
    assert generate(result, *limits) == taken
    other = CostTable("params", result.space, 0.0, (np.ones(2),) * 6)
    assert generate(result, limits[0], Limit(other, max=99)) == optimum
    assert result.generate(limits[0], use_budget=False) == optimum


@pytest.mark.parametrize(("noise", "maximum"), [(0.01, 12_000), (0.4, 8_000)])
def test_where_the_prediction_is_sure_or_the_budget_is_used_the_optimum_stays(noise, maximum):
    _, optimum, taken = near_tie(noise, maximum)
    assert taken == optimum
    assert taken.certificate == optimum.certificate


def test_what_branches_are_worth_decides_between_them():
    """One layer more is worth less than what it costs the others, until the limit allows both."""
    space = SearchSpace(
        "depth", (Choice("depth", (1, 2)), Choice("a", ("x", "y")), Choice("b", ("x",), (), Condition("depth", (2,))))
    )
    table = CostTable("macs", space, 0.0, (np.array([1.0, 2.0]), np.array([1.0, 3.0]), np.array([1.0])))
    rows = np.array([[0, 0, INACTIVE], [0, 1, INACTIVE], [1, 0, 0], [1, 1, 0]], dtype=np.uint8)
    losses = np.array([1.0, 0.5, 0.8, 0.2])
    prediction = PredictedQuality.of_scores(space, np.repeat(rows, 5, axis=0), np.exp(-np.repeat(losses, 5)))
    result = SearchResult(space, (), prediction=prediction)
    found = [generate(result, Limit(table, max=limit)) for limit in (2, 4, 5, 6)]
    assert [(a["depth"], a["a"]) for a in found] == [(1, "x"), (1, "y"), (1, "y"), (2, "y")]


def test_scores_of_another_scale_are_told_in_words():
    result = scored_search(0.4)
    codes = np.array([result.space.encode(r.trial.architecture) for r in result.history])
    prediction = PredictedQuality.of_scores(result.space, codes, np.array([100 * r.score for r in result.history]))
    certificate = generate(replace(result, prediction=prediction)).certificate
    assert (certificate.loss, certificate.deviation) == (None, None)
    score, deviation = prediction.loss(result.space.encode(generate(result))[None])
    assert certificate.note == f"Its predicted score is {score[0]:.4g} ± {deviation[0]:.1g}."
