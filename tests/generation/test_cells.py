import itertools
import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from searchhub.costs.structure import HeightCost, cells_of, non_parameter_table
from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.generation import Limit, generate, knapsack, nodes, pareto
from searchhub.generation.architecture import sums
from searchhub.generation.cells import derive, reachable_mean, reachable_range
from searchhub.generation.solve import UndecidedError
from searchhub.result import SearchResult
from searchhub.space import Choice, SearchSpace
from searchhub.spaces.darts import cell_edges, cell_inputs, darts_space, edge_name
from searchhub.trial import Trial, TrialResult

OPERATIONS = ("skip_connect", "none", "sep_conv_3x3", "dil_conv_5x5")
GROUPS = ("non-parameter", "non-parameter", "parameter", "parameter")


def cell_space(kinds=("normal",), num_nodes=3, operations=OPERATIONS, groups=GROUPS):
    return SearchSpace(
        "cells",
        tuple(Choice(edge_name(kind, *edge), operations, groups) for kind in kinds for edge in cell_edges(num_nodes)),
    )


class Search:
    """A random small search of cells; `rows` are the codes of everything in reach, by trying everything."""

    def __init__(self, seed, space, *, costs=(), candidates="all", theta="random"):
        self.rng = np.random.default_rng(seed)
        self.space, self.cells, self.candidates = space, cells_of(space), candidates
        sizes = [len(choice.candidates) for choice in space.choices]
        if theta == "ties":
            self.theta = tuple(self.rng.integers(1, 4, size=n) / 8.0 for n in sizes)
        else:
            self.theta = tuple(self.rng.dirichlet(np.ones(n)) for n in sizes)
        alive = tuple(self._alive(choice) for choice in space.choices)
        self.tables = {f"cost {i}": self._table(f"cost {i}", kind) for i, kind in enumerate(costs)}
        distribution = ArchitectureDistribution(space, self.theta, self.theta, alive)
        self.result = SearchResult(space, (), distribution, costs=self.tables)
        self.costs = {
            **self.tables,
            "height": HeightCost(self.cells),
            "non_parameter": non_parameter_table(space),
            **{f"{kind}.height": HeightCost(self.cells, kind) for kind in self.cells.kinds},
        }
        self.rows = np.array(list(self._rows(alive if candidates == "survivors" else None)), dtype=np.uint8)
        self.values = {name: self._prices(cost) for name, cost in self.costs.items()}
        self.expectations = np.sum([t[k] for t, k in zip(self._kept(), self.rows.T, strict=True)], axis=0)

    def _prices(self, cost):
        """Correctly rounded, as `of_row` gives them."""
        return (
            cost.of_codes(self.rows)
            if isinstance(cost, HeightCost)
            else np.array(sums(cost.entries, self.rows, cost.fixed))
        )

    def _kept(self):
        return [
            np.where(np.arange(len(t)) == none, 0.0, t) for t, none in zip(self.theta, self.cells.none, strict=True)
        ]

    def _alive(self, choice):
        """One of each group, as a pruned search leaves them."""
        alive = np.zeros(len(choice.candidates), dtype=bool)
        for label in dict.fromkeys(choice.groups):
            alive[self.rng.choice([k for k, own in enumerate(choice.groups) if own == label])] = True
        return alive

    def _table(self, name, kind):
        draw = {
            "real": lambda n: self.rng.lognormal(0.0, 1.0, size=n),
            "integer": lambda n: self.rng.integers(0, 50, size=n).astype(float),
        }[kind]
        return CostTable(name, self.space, float(self.rng.normal()), tuple(draw(len(t)) for t in self.theta))

    def _rows(self, alive):
        of_node = []
        for node in self.cells.nodes:
            own = []
            for pair in itertools.combinations(node.choices, 2):
                offers = [
                    [k for k in range(len(self.theta[i])) if k != self.cells.none[i] and (alive is None or alive[i][k])]
                    for i in pair
                ]
                own += [dict(zip(pair, codes, strict=True)) for codes in itertools.product(*offers)]
            of_node.append(own)
        for chosen in itertools.product(*of_node):
            row = np.array(self.cells.none)
            for own in chosen:
                for i, k in own.items():
                    row[i] = k
            yield row

    def exact(self, row):
        kept = [Fraction(float(t[k])) for t, k, none in zip(self.theta, row, self.cells.none, strict=True) if k != none]
        return sum(kept) / len(kept)

    def rounded(self, row):
        kept = [float(t[k]) for t, k, none in zip(self.theta, row, self.cells.none, strict=True) if k != none]
        return math.fsum(kept) / len(kept)

    def limit(self, name):
        """A limit of a random kind, with bounds among the costs that there are."""
        low, high = sorted(float(self.rng.choice(self.values[name])) for _ in range(2))
        kinds = ({"max": low}, {"max": high}, {"min": high}, {"equal": low}, {"min": low, "max": high})
        return Limit(name, **kinds[self.rng.integers(len(kinds))])

    def within(self, limits):
        held = [(limit.low <= self.values[limit.name]) & (self.values[limit.name] <= limit.high) for limit in limits]
        return np.flatnonzero(np.all(held, axis=0)) if held else np.arange(len(self.rows))

    def check(self, limits):
        """`generate` against trying everything; whether there was an answer."""
        within = self.within(limits)
        if not len(within):
            with pytest.raises(InfeasibleLimitError) as caught:
                generate(self.result, *limits, candidates=self.candidates)
            assert caught.value.smallest == {limit.name: min(self.values[limit.name]) for limit in limits}
            return False
        answer = generate(self.result, *limits, candidates=self.candidates)
        row = self.space.encode(answer)
        # Those that may be the best by sums that round, then exactly.
        near = within[self.expectations[within] >= self.expectations[within].max() - 1e-12]
        expectation = [self.exact(self.rows[i]) for i in near]
        best = max(expectation)
        assert self.exact(row) == best
        assert answer.certificate.optimal
        assert answer.certificate.expectation == self.rounded(row)
        for limit in limits:
            assert limit.low <= self.costs[limit.name].of_row(row) <= limit.high
            assert answer.certificate.costs[limit.name] == self.costs[limit.name].of_row(row)
        additive = [limit.name for limit in limits if "height" not in limit.name]
        if additive:
            equal = [i for i, e in zip(near, expectation, strict=True) if e == best]
            assert self.costs[additive[0]].of_row(row) == min(self.values[additive[0]][i] for i in equal)
        return True


LIMITS = (
    (),
    ("non_parameter",),
    ("height",),
    ("cost 0",),
    ("height", "non_parameter"),
    ("cost 0", "cost 1"),
    ("non_parameter", "cost 1", "height"),
    ("cost 1", "cost 0", "non_parameter", "height"),
)


@pytest.mark.parametrize("theta", ["random", "ties"])
@pytest.mark.parametrize("candidates", ["all", "survivors"])
def test_generates_the_best_cell_within_the_limits(theta, candidates):
    answered = 0
    for seed in range(12):
        space = cell_space(operations=OPERATIONS[: 3 + seed % 2], groups=GROUPS[: 3 + seed % 2])
        costs = ("real", "integer") if seed % 3 else ("integer", "integer")
        search = Search(seed, space, costs=costs, candidates=candidates, theta=theta)
        answered += sum(search.check([search.limit(name) for name in names]) for names in LIMITS)
    assert answered > 50


def test_two_kinds_together():
    """The cells of both kinds share N and costs; each has its own height."""
    for seed in range(4):
        search = Search(
            seed, cell_space(("normal", "reduction"), 2, OPERATIONS[:3], GROUPS[:3]), costs=("real", "integer")
        )
        for names in (*LIMITS, ("normal.height", "reduction.height", "cost 0"), ("reduction.height",)):
            search.check([search.limit(name) for name in names])


def test_survivors_of_a_whole_cell():
    """180 topologies of 2^8 operations: all 46,080 cells of a kind that a search leaves (DDPNAS Sec. 3.3)."""
    space = cell_space(num_nodes=4, groups=("non-parameter", "left out", "parameter", "parameter"))
    search = Search(0, space, candidates="survivors")
    assert len(search.rows) == 46_080
    for names in ((), ("non_parameter",), ("height", "non_parameter")):
        assert search.check([search.limit(name) for name in names])


def test_answers_where_the_list_grows_too_long(monkeypatch):
    """Then HiGHS solves; what it says is as good."""
    monkeypatch.setattr(knapsack, "MAX_STATES", {1: 1, 2: 1, 3: 1})
    search = Search(1, cell_space(("normal", "reduction"), 2, OPERATIONS[:3], GROUPS[:3]), costs=("integer", "integer"))
    limits = [Limit(name, max=float(np.quantile(search.values[name], 0.4))) for name in ("cost 0", "cost 1")]
    answer = generate(search.result, *limits, Limit("height", max=1))
    assert answer.certificate.method == "MILP (HiGHS)"
    assert search.rounded(search.space.encode(answer)) == pytest.approx(
        search.expectations[search.within([*limits, Limit("height", max=1)])].max() / 8, rel=1e-12
    )


@pytest.mark.parametrize("stopped", ["with an answer", "without one"])
def test_an_answer_is_no_proved_optimum_where_another_layout_was_not_solved_to_the_end(monkeypatch, stopped):
    """The first layout's bound is the highest: had HiGHS had more time, its answer could have been the best."""
    solve, given = nodes._solve_one, []

    def first_is_stopped(problem, windows, seconds):
        given.append(seconds)
        if len(given) > 1:
            return solve(problem, windows, seconds)
        if stopped == "without one":
            raise UndecidedError("stopped")
        return [int(np.argmin(values)) for values in problem.values], "MILP (HiGHS)", False, "HiGHS was stopped."

    search = Search(0, cell_space())
    limit = Limit("height", max=2)
    assert generate(search.result, limit).certificate.optimal
    monkeypatch.setattr(nodes, "_solve_one", first_is_stopped)
    monkeypatch.setattr(nodes, "time", SimpleNamespace(monotonic=itertools.count(0.0, 40.0).__next__))
    certificate = generate(search.result, limit).certificate
    assert certificate.method == nodes.METHOD
    assert not certificate.optimal
    assert "Another layout of the cells was not solved" in certificate.note
    # All layouts share a minute; what is left of it when it is over is a second for each.
    assert given[:2] == [20.0, 1.0]


@pytest.mark.parametrize("cost", ["cost 0", "cost 1", "non_parameter", "height"])
@pytest.mark.parametrize("candidates", ["all", "survivors"])
def test_front_is_the_whole_front(cost, candidates):
    for seed in range(3):
        search = Search(seed, cell_space(), costs=("real", "integer"), candidates=candidates)
        expected = []
        for value in np.unique(search.values[cost]):
            own = np.flatnonzero(search.values[cost] == value)
            best = max(search.rounded(search.rows[i]) for i in own[np.argsort(-search.expectations[own])[:20]])
            if not expected or best > expected[-1][1]:
                expected.append((value, best))
        front = pareto(search.result, cost, candidates)
        found = [(p.certificate.costs[cost], p.certificate.expectation) for p in front]
        assert found == expected
        assert all(p.certificate.optimal for p in front)
        middle = front[len(front) // 2]
        assert generate(search.result, Limit(cost, max=middle.certificate.costs[cost]), candidates=candidates) == middle


def test_table_4_from_one_search():
    """The paper's six limits, on the space of the paper, after a file."""
    result = SearchResult.from_dict(paper_search().to_dict())
    found = {}
    for height, n in ((None, 2), (None, 4), (None, 6), (1, 4), (2, 4), (3, 4)):
        limits = [Limit("non_parameter", equal=n)]
        limits += [] if height is None else [Limit("height", equal=height)]
        answer = generate(result, *limits)
        costs = answer.certificate.costs
        assert answer.certificate.optimal
        assert costs["non_parameter"] == n
        assert height is None or costs["height"] == height
        cells = [cell_inputs(answer, kind) for kind in ("normal", "reduction")]
        assert [len(node) for cell in cells for node in cell.values()] == [2] * 8
        chosen = [operation for cell in cells for node in cell.values() for operation, _ in node]
        assert sum(operation in ("max_pool_3x3", "avg_pool_3x3", "skip_connect") for operation in chosen) == n
        found[height, n] = answer.certificate.expectation
    assert found[None, 4] == max(found[h, 4] for h in (None, 1, 2, 3))


def paper_search(seed=0):
    space = darts_space()
    rng = np.random.default_rng(seed)
    theta = tuple(rng.dirichlet(np.full(8, 3.0)) for _ in space.choices)
    alive = tuple(np.isin(np.arange(8), [int(np.argmax(t[:4])), 4 + int(np.argmax(t[4:]))]) for t in theta)
    return SearchResult(space, (), ArchitectureDistribution(space, theta, theta, alive))


@pytest.mark.parametrize("kind", ["real", "integer"])
def test_what_costs_can_be_is_of_cells_with_two_inputs_a_node(kind):
    """Range and mean of all that can come out, by trying everything."""
    for kinds, operations in ((("normal",), OPERATIONS), (("normal", "reduction"), OPERATIONS[:3])):
        search = Search(0, cell_space(kinds, 4 - len(kinds), operations, GROUPS[: len(operations)]), costs=(kind,))
        table, values = search.tables["cost 0"], search.values["cost 0"]
        assert reachable_range(table) == (values.min(), values.max())
        assert reachable_range(table) != table.bounds()
        assert reachable_mean(table) == pytest.approx(values.mean())


def test_what_costs_of_other_spaces_can_be():
    space = SearchSpace("two", (Choice("a", ("x", "y")), Choice("b", ("x", "y", "z"))))
    table = CostTable("macs", space, 1.0, (np.array([0.0, 2.0]), np.array([1.0, 2.0, 6.0])))
    assert reachable_range(table) == table.bounds() == (2.0, 9.0)
    assert reachable_mean(table) == table.mean() == 5.0


# -- derivation --------------------------------------------------------------------------------------------------------


def test_derives_the_two_strongest_edges_of_each_node():
    space = cell_space(num_nodes=2, operations=("none", "skip_connect", "sep_conv_3x3"), groups=("a", "a", "b"))
    theta = tuple(
        np.array(t) for t in ((0.8, 0.1, 0.1), (0.1, 0.5, 0.4), (0.2, 0.3, 0.5), (0.9, 0.06, 0.04), (0.3, 0.3, 0.4))
    )
    alive = tuple(np.array(a) for a in ((1, 0, 1), (0, 1, 1), (0, 1, 1), (1, 0, 1), (0, 1, 1)))
    distribution = ArchitectureDistribution(space, theta, theta, tuple(a.astype(bool) for a in alive))
    result = SearchResult(space, (), distribution)
    derived = derive(result)
    assert list(derived.values()) == ["sep_conv_3x3", "skip_connect", "sep_conv_3x3", "none", "sep_conv_3x3"]
    assert derive(result, candidates="all")["normal.node2.from0"] == "skip_connect"
    assert derived.certificate.expectation == pytest.approx((0.1 + 0.5 + 0.5 + 0.4) / 4)
    # `none` of θ 0.8 and 0.9 takes an edge each and leaves its node one input.
    with_none = derive(result, exclude_none=False)
    assert list(with_none.values()) == ["none", "skip_connect", "sep_conv_3x3", "none", "none"]
    assert not with_none.certificate.optimal


def test_derivation_is_generation_without_limits():
    for seed in range(5):
        result = paper_search(seed)
        assert derive(result) == generate(result, candidates="survivors")
        assert derive(result, candidates="all") == generate(result)


def test_derivation_refuses_a_node_without_input():
    space = cell_space(num_nodes=1, operations=("none", "skip_connect", "sep_conv_3x3"), groups=("a", "a", "b"))
    theta = tuple(np.array([0.8, 0.1, 0.1]) for _ in range(2))
    alive = tuple(np.array([True, False, True]) for _ in range(2))
    result = SearchResult(space, (), ArchitectureDistribution(space, theta, theta, alive))
    with pytest.raises(InvalidInputError, match="node 2 of the normal cell"):
        derive(result, exclude_none=False)
    with pytest.raises(InvalidInputError, match="has no θ"):
        derive(SearchResult(space, ()))


# -- what cannot be met ------------------------------------------------------------------------------------------------


def test_a_limit_that_nothing_meets_names_the_smallest():
    result = paper_search()
    with pytest.raises(InfeasibleLimitError, match="`max height >= 1` must hold for this space, but got 0") as caught:
        generate(result, Limit("height", max=0))
    assert caught.value.smallest == {"height": 1.0}
    with pytest.raises(InfeasibleLimitError, match=r"`min normal.height <= 2` .*where `non_parameter = 4`") as caught:
        one_deep = paper_search()
        generate(
            one_deep,
            Limit("non_parameter", equal=4),
            Limit("reduction.height", equal=1),
            Limit("height", max=2),
            Limit("normal.height", min=3),
        )
    assert caught.value.smallest["normal.height"] == 1.0
    with pytest.raises(InfeasibleLimitError, match="the nearest: 16 below"):
        generate(result, Limit("non_parameter", equal=17))


def test_a_node_needs_two_edges_in_reach():
    space = cell_space(num_nodes=1, groups=())
    theta = tuple(np.full(4, 0.25) for _ in space.choices)
    alive = tuple(np.array([False, k == 0, True, False]) for k in range(2))
    result = SearchResult(space, (), ArchitectureDistribution(space, theta, theta, alive))
    assert generate(result, candidates="survivors")
    alive = tuple(np.array([False, True, k == 0, False]) for k in range(2))
    result = SearchResult(space, (), ArchitectureDistribution(space, theta, theta, alive))
    with pytest.raises(InvalidInputError, match=r'has 1 in reach\. Pass `candidates="all"`'):
        generate(result, candidates="survivors")


def test_a_result_without_theta_gives_the_best_evaluated():
    space = cell_space(num_nodes=2)
    rows = space.sample(20, np.random.default_rng(0))
    history = tuple(TrialResult(Trial(i, space.decode(row)), i / 20) for i, row in enumerate(rows))
    answer = generate(SearchResult(space, history), Limit("height", max=1))
    heights = HeightCost(cells_of(space)).of_codes(rows)
    assert answer.certificate.score == max(i / 20 for i in range(20) if heights[i] <= 1)


def test_costs_that_couple_choices_are_refused():
    result = paper_search()
    sizes = [np.zeros((8, 8)) for _ in range(27)]
    coupled = CostTable("coupled", result.space, 0.0, tuple(np.zeros(8) for _ in range(28)), pairs=tuple(sizes))
    with pytest.raises(InvalidInputError, match="must add up over the edges"):
        generate(result, Limit(coupled, max=1))
