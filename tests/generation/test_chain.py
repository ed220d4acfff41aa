"""Costs coupled along the chain of choices, against trying everything."""

import itertools
import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.generation import Limit, chain, generate, knapsack, milp, pareto, sample_within, sampling
from searchhub.generation.chain_problem import build_chain
from searchhub.generation.problem import Row
from searchhub.result import SearchResult
from searchhub.space import Choice, SearchSpace
from searchhub.spaces.channels import channels_space
from searchhub.trial import Budget, Trial, TrialResult

DRAWS = {
    "real": lambda rng, shape: rng.lognormal(0.0, 2.0, size=shape),
    "integer": lambda rng, shape: rng.integers(0, 300, size=shape).astype(float),
    "count": lambda rng, shape: rng.integers(0, 3, size=shape).astype(float),
    "signed": lambda rng, shape: rng.normal(size=shape),
}


class Chain:
    """A random small search with costs of which some are coupled; `rows` are the codes of everything in reach."""

    def __init__(self, seed, *, layers=None, most=4, costs=None, theta=None):
        self.rng = rng = np.random.default_rng(seed)
        sizes = rng.integers(1, most + 1, size=layers or rng.integers(2, 6))
        self.space = SearchSpace("chain", tuple(Choice(f"c{i}", tuple(range(n))) for i, n in enumerate(sizes)))
        self.theta = tuple(self._theta(theta or ("random", "ties", "nearly uniform")[seed % 3], n) for n in sizes)
        self.alive = tuple(rng.random(n) < 0.7 for n in sizes)
        for alive in self.alive:
            alive[rng.integers(len(alive))] = True
        self.candidates = ("all", "all", "survivors")[rng.integers(3)]
        costs = costs or [(str(rng.choice([*DRAWS])), bool(rng.random() < 0.7)) for _ in range(rng.integers(1, 4))]
        self.tables = [self._table(f"cost {i}", *cost) for i, cost in enumerate(costs)]
        distribution = ArchitectureDistribution(self.space, self.theta, self.theta, self.alive)
        self.result = SearchResult(self.space, (), distribution).with_costs(*self.tables)
        reach = [np.flatnonzero(a) if self.candidates == "survivors" else range(len(a)) for a in self.alive]
        self.rows = [np.array(row, dtype=np.uint8) for row in itertools.product(*reach)]

    def _theta(self, kind, n):
        if kind == "nearly uniform":
            return (1.0 / n) * (1.0 + 1e-9 * self.rng.normal(size=n))
        return self.rng.integers(1, 4, size=n) / 8.0 if kind == "ties" else self.rng.dirichlet(np.ones(n))

    def _table(self, name, kind, coupled):
        sizes = [len(choice.candidates) for choice in self.space.choices]
        entries = tuple(DRAWS[kind](self.rng, n) for n in sizes)
        pairs = tuple(DRAWS[kind](self.rng, s) for s in itertools.pairwise(sizes)) if coupled else ()
        return CostTable(name, self.space, float(self.rng.normal()), entries, pairs=pairs)

    def limit(self, table):
        costs = [table.of_row(row) for row in self.rows]
        one, other = (float(self.rng.choice(costs)) for _ in range(2))
        if self.rng.random() < 0.3:
            one = float(self.rng.uniform(min(costs), max(costs)))
        low, high = sorted((one, other))
        kinds = ({"max": one}, {"max": one}, {"min": one}, {"equal": one}, {"min": low, "max": high})
        return Limit(table, **kinds[self.rng.integers(len(kinds))])

    def within(self, limits):
        return [row for row in self.rows if all(m.low <= m.cost.of_row(row) <= m.high for m in limits)]

    def exact(self, row):
        return sum(Fraction(float(t[k])) for t, k in zip(self.theta, row, strict=True)) / len(row)

    def rounded(self, row):
        return math.fsum(float(t[k]) for t, k in zip(self.theta, row, strict=True)) / len(row)

    def front(self, table):
        front = []
        rounded = [
            (table.of_row(r), -math.fsum(float(t[k]) for t, k in zip(self.theta, r, strict=True))) for r in self.rows
        ]
        for cost, minus in sorted(rounded):
            if not front or -minus > front[-1][1]:
                front.append((cost, -minus))
        return [(cost, total / len(self.theta)) for cost, total in front]


def check(search, limits):
    """`generate` against trying everything; the method, or "infeasible"."""
    within, smallest = search.within(limits), None
    try:
        answer = generate(search.result, *limits, candidates=search.candidates, use_budget=False)
    except InfeasibleLimitError as error:
        smallest = error.smallest
    if not within:
        assert smallest == {m.name: min(m.cost.of_row(row) for row in search.rows) for m in limits}
        return "infeasible"
    assert smallest is None
    row = search.space.encode(answer)
    best = max(map(search.exact, within))
    assert search.exact(row) == best
    assert answer.certificate.optimal
    assert answer.certificate.costs == {t.name: t.of_row(row) for t in search.tables}
    assert limits[0].cost(answer) == min(limits[0].cost.of_row(r) for r in within if search.exact(r) == best)
    return answer.certificate.method


@pytest.mark.parametrize("part", range(4))
def test_generates_the_best_within_the_limits(part):
    methods = Counter()
    for seed in range(100 * part, 100 * part + 100):
        search = Chain(seed)
        methods[check(search, [search.limit(table) for table in search.tables])] += 1
    assert {"argmax", "list-DP along the chain", "infeasible"} <= set(methods)
    assert methods["list-DP along the chain"] > 20


def test_front_is_the_whole_front():
    for seed in range(60):
        search = Chain(seed, costs=[(("real", "integer", "signed", "count")[seed % 4], True)])
        front = pareto(search.result, "cost 0", search.candidates)
        found = [(p.certificate.costs["cost 0"], p.certificate.expectation) for p in front]
        assert found == search.front(search.tables[0])
        assert all(p.certificate.optimal for p in front)


@pytest.mark.parametrize("costs", [1, 2, 3])
def test_milp_takes_over_from_long_lists(monkeypatch, costs):
    for rows in knapsack.MAX_STATES:
        monkeypatch.setitem(knapsack.MAX_STATES, rows, 3)
    methods = Counter()
    for seed in range(12):
        search = Chain(seed, layers=6, costs=[("real", True)] * costs, theta="random")
        search.candidates, search.rows = "all", [*itertools.product(*(range(len(t)) for t in search.theta))]
        search.rows = [np.array(row, dtype=np.uint8) for row in search.rows]
        codes = np.array(search.rows)
        limits = [Limit(t, max=float(np.quantile(t.of_codes(codes), 0.4))) for t in search.tables]
        within = search.within(limits)
        if not within:
            with pytest.raises(InfeasibleLimitError):
                generate(search.result, *limits)
            continue
        answer = generate(search.result, *limits)
        best = max(map(search.exact, within))
        assert float(best - search.exact(search.space.encode(answer))) < 1e-11
        methods[answer.certificate.method] += 1
    assert methods["MILP (HiGHS)"] >= 3


def test_multipliers_are_those_of_the_best_paths_bound():
    """λ·b + the best path's Σ v − λ·c is no less than the optimum, and no λ nearby gives less: HiGHS found the dual."""
    search = Chain(4, layers=6, costs=[("real", True), ("integer", False)], theta="random")
    codes = np.array(search.rows)
    limits = [float(np.quantile(t.of_codes(codes) - t.fixed, 0.4)) for t in search.tables]
    rows = [Row(t.entries, Fraction(m), t.pairs) for t, m in zip(search.tables, limits, strict=True)]
    reach = [tuple(range(len(t))) for t in search.theta]
    problem = build_chain(search.theta, (), rows, reach)

    def bound(multipliers):
        reduced = [
            v - np.tensordot(multipliers, c, axes=1)
            for v, c in zip(problem.value_arrays, problem.cost_arrays, strict=True)
        ]
        return chain._losses(reduced)[0] + float(multipliers @ problem.bound_array)

    found = milp.lp_multipliers(problem)
    picks = chain.best(problem)
    assert problem.feasible(picks)
    assert bound(found) >= problem.float_value(picks) - 1e-12
    for direction in itertools.product((-1, 0, 1), repeat=len(found)):
        nearby = np.maximum(0.0, found + 1e-3 * np.array(direction))
        assert bound(nearby) >= bound(found) - 1e-9


# -- the whole space of DC-NAS ----------------------------------------------------------------------------------------

CHANNELS = (32, 64, 128, 256, 512, 512)
SIZES = (32, 32, 16, 16, 8, 8)


@pytest.fixture(scope="module")
def channels():
    """DC-NAS's space with its parameters and multiply-adds of the convolutions; a random θ; and all codes."""
    space = channels_space()
    widths = [np.array(space.choices[i].candidates) * c for i, c in enumerate(CHANNELS)]
    entries = [9.0 * 3 * widths[0], *(np.zeros(5) for _ in range(5))]
    pairs = [9.0 * np.outer(a, b) for a, b in itertools.pairwise(widths)]
    params = CostTable("params", space, 100.0, tuple(entries), "parameters", tuple(pairs))
    macs = CostTable(
        "macs",
        space,
        0.0,
        tuple(e * s**2 for e, s in zip(entries, SIZES, strict=True)),
        "multiply-adds",
        tuple(p * s**2 for p, s in zip(pairs, SIZES[1:], strict=True)),
    )
    rng = np.random.default_rng(3)
    theta = tuple(rng.dirichlet(np.ones(5)) for _ in range(6))
    distribution = ArchitectureDistribution(space, theta, theta, tuple(np.ones(5, bool) for _ in range(6)))
    codes = np.array(list(itertools.product(range(5), repeat=6)), dtype=np.uint8)
    return SearchResult(space, (), distribution).with_costs(params, macs), codes


def test_the_whole_space_under_parameters_and_multiply_adds(channels):
    result, codes = channels
    params, macs = result.costs["params"].of_codes(codes), result.costs["macs"].of_codes(codes)
    expectation = result.distribution.expectation(codes)
    methods = Counter()
    for one, other in itertools.product((0.01, 0.1, 0.4, 0.8), repeat=2):
        most, most_macs = float(np.quantile(params, one)), float(np.quantile(macs, other))
        limits = Limit("params", max=most), Limit("macs", min=0.5 * most_macs, max=most_macs)
        within = (params <= most) & (macs >= 0.5 * most_macs) & (macs <= most_macs)
        if not within.any():
            with pytest.raises(InfeasibleLimitError, match="where `params <="):
                generate(result, *limits)
            continue
        answer = generate(result, *limits)
        assert answer.certificate.expectation == pytest.approx(expectation[within].max(), rel=1e-15)
        assert answer.certificate.optimal
        methods[answer.certificate.method] += 1
    assert methods["list-DP along the chain"] >= 8


def test_front_agrees_with_generate(channels):
    result, _ = channels
    front = pareto(result, "macs")
    assert len(front) > 20
    for point in front[::7]:
        assert generate(result, Limit("macs", max=point.certificate.costs["macs"])) == point


def test_infeasible_names_the_smallest(channels):
    result, codes = channels
    smallest = result.costs["params"].of_codes(codes).min()
    with pytest.raises(InfeasibleLimitError, match=f"`max params >= {int(smallest):,}` must hold for this space") as e:
        generate(result, Limit("params", max=smallest - 1))
    assert e.value.smallest == {"params": smallest}
    assert result.costs["params"](generate(result, Limit("params", max=smallest))) == smallest


def test_a_result_reads_back_and_generates_the_same(channels, tmp_path):
    result, _ = channels
    result.save(tmp_path / "result.json")
    again = SearchResult.load(tmp_path)
    assert again.costs["macs"] == result.costs["macs"]
    assert again.costs["macs"] != replace(result.costs["macs"], pairs=())
    limits = Limit("macs", max=5e8), Limit("params", max=6e6)
    assert generate(again, *limits) == generate(result, *limits)


def test_the_best_evaluated_within_a_coupled_limit(channels):
    result, codes = channels
    rows = codes[np.random.default_rng(0).permutation(len(codes))[:200]]
    trials = [Trial(i, result.space.decode(row), Budget()) for i, row in enumerate(rows)]
    evaluated = replace(result, distribution=None, history=tuple(TrialResult(t, t.number / 200) for t in trials))
    macs = result.costs["macs"].of_codes(rows)
    answer = generate(evaluated, Limit("macs", max=5e8))
    assert answer == trials[np.flatnonzero(macs <= 5e8).max()].architecture


# -- at any length ----------------------------------------------------------------------------------------------------


def test_long_chains():
    """22 layers of 9 under two coupled limits."""
    rng = np.random.default_rng(0)
    space = SearchSpace("long", tuple(Choice(f"c{i}", tuple(range(9))) for i in range(22)))
    widths = [np.sort(rng.uniform(8, 64, size=9)).round() for _ in range(22)]
    pairs = tuple(9.0 * np.outer(a, b) for a, b in itertools.pairwise(widths))
    params = CostTable("params", space, 0.0, tuple(np.zeros(9) for _ in widths), pairs=pairs)
    scaled = tuple(pair * (1.0 if i < 8 else 0.25) for i, pair in enumerate(pairs))
    macs = CostTable("macs", space, 0.0, tuple(27.0 * w for w in widths), pairs=scaled)
    theta = tuple(rng.dirichlet(np.ones(9)) for _ in range(22))
    distribution = ArchitectureDistribution(space, theta, theta, tuple(np.ones(9, bool) for _ in range(22)))
    result = SearchResult(space, (), distribution).with_costs(params, macs)
    (low, high), (least, most) = params.bounds(), macs.bounds()
    one, two = Limit("params", max=low + 0.2 * (high - low)), Limit("macs", max=least + 0.2 * (most - least))
    answer = generate(result, one, two)
    assert answer.certificate.optimal
    alone = generate(result, one)
    assert alone.certificate.method == "list-DP along the chain"
    assert alone.certificate.expectation >= answer.certificate.expectation
    # Nothing that differs from the answer in one or two neighbouring layers is better within the limits.
    row = space.encode(answer)
    for i, k, j in itertools.product(range(21), range(9), range(9)):
        other = row.copy()
        other[[i, i + 1]] = k, j
        if all(
            result.costs[n].of_row(other) <= m
            for n, m in (("params", one.high), ("macs", least + 0.2 * (most - least)))
        ):
            assert sum(t[c] for t, c in zip(theta, other, strict=True)) / 22 <= answer.certificate.expectation + 1e-12


@pytest.mark.parametrize("way", ["laid out", "drawn"])
def test_random_architectures_of_a_coupled_cost(way, monkeypatch):
    if way == "drawn":
        monkeypatch.setattr(sampling, "TAILS", 4)
    search = Chain(5, layers=5, costs=[("real", True), ("integer", False)], theta="random")
    everything = [np.array(r, dtype=np.uint8) for r in itertools.product(*(range(len(t)) for t in search.theta))]
    limits = []
    for table in search.tables:
        costs = [table.of_row(row) for row in everything]
        limits.append(Limit(table, min=float(np.quantile(costs, 0.1)), max=float(np.quantile(costs, 0.8))))
    members = {
        search.space.decode(row) for row in everything if all(m.low <= m.cost.of_row(row) <= m.high for m in limits)
    }
    assert len(members) > 10
    rng = np.random.default_rng(0)
    counts = Counter(a for _ in range(400) for a in sample_within(search.space, limits, 5, rng))
    assert set(counts) <= members
    expected = 2000 / len(members)
    chi_square = sum((counts[m] - expected) ** 2 / expected for m in members)
    assert chi_square < len(members) + 5.0 * np.sqrt(2.0 * len(members))
    with pytest.raises(InvalidInputError, match=r"must keep to"):
        sample_within(search.space, limits, len(members) + 1, rng, max_draws=4096)
