import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.generation import GeneratedArchitecture, Limit, generate, knapsack, milp, pareto, problem, solve
from searchhub.result import SearchResult
from searchhub.space import Architecture, Choice, Condition, SearchSpace

KINDS = (("real",), ("integer",), ("real", "real"), ("integer", "count"), ("real", "count", "integer"), ("signed",) * 3)


def check(search, limits):
    """`generate` against trying everything; the method, or "infeasible"."""
    within = search.within(limits)
    try:
        answer = generate(search.result, *limits, candidates=search.candidates, use_budget=False)
    except InfeasibleLimitError as error:
        smallest = error.smallest
    else:
        check_answer(search, limits, within, answer)
        return answer.certificate.method
    assert not within
    assert smallest == {limit.name: min(limit.cost.of_row(row) for row in search.rows) for limit in limits}
    return "infeasible"


def check_answer(search, limits, within, answer):
    row = search.space.encode(answer)
    best = max(search.exact(r) for r in within)
    assert search.exact(row) == best
    assert answer.certificate.optimal
    assert answer.certificate.expectation == search.rounded(row)
    for limit in limits:
        assert limit.low <= limit.cost(answer) <= limit.high
        assert answer.certificate.costs[limit.name] == limit.cost(answer)
    if limits:
        cheapest = min(limits[0].cost.of_row(r) for r in within if search.exact(r) == best)
        assert limits[0].cost(answer) == cheapest


@pytest.mark.parametrize("theta", ["random", "nearly uniform", "peaked", "ties"])
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("candidates", ["all", "survivors"])
def test_generates_the_best_within_the_limits(make_search, theta, conditional, candidates):
    methods = Counter()
    for seed in range(36):
        kinds = KINDS[seed % len(KINDS)]
        search = make_search(seed, theta=theta, costs=kinds, conditional=conditional, candidates=candidates)
        methods[check(search, [search.limit(table) for table in search.tables])] += 1
    # Every way to an answer was compared with the truth; survivors leave little to search.
    assert set(methods) >= {"argmax", "list-DP", "infeasible"}
    if candidates == "all":
        assert set(methods) >= {"two-cost list-DP", "MILP (HiGHS)"}


@pytest.mark.parametrize("theta", ["random", "nearly uniform"])
def test_larger_spaces(make_search, theta):
    """8 layers of up to 4: too many for fractions, enough for the bounds to prune."""
    for seed in range(4):
        search = make_search(seed, theta=theta, costs=("real", "real", "integer"), layers=8)
        codes = np.array(search.rows)
        expectation = search.distribution.expectation(codes)
        for used in (search.tables[:1], search.tables[:2], search.tables):
            limits = [Limit(t, max=float(np.quantile(t.of_codes(codes), 0.3))) for t in used]
            ok = np.all([t.of_codes(codes) <= m.high for t, m in zip(used, limits, strict=True)], axis=0)
            if ok.any():
                answer = generate(search.result, *limits)
                assert answer.certificate.expectation == pytest.approx(expectation[ok].max(), rel=1e-15)


@pytest.mark.parametrize("theta", ["random", "nearly uniform", "peaked", "ties"])
def test_front_is_the_whole_front(make_search, theta):
    for seed in range(12):
        search = make_search(
            seed,
            theta=theta,
            costs=(("real", "integer", "signed", "count")[seed % 4],),
            conditional=seed % 2 == 0,
            candidates=("all", "survivors")[seed % 3 == 0],
        )
        (table,) = search.tables
        front = pareto(search.result, table.name, search.candidates)
        assert [(p.certificate.costs[table.name], p.certificate.expectation) for p in front] == search.front(table)
        for point in front:
            row = search.space.encode(point)
            assert (table.of_row(row), search.rounded(row)) == (
                point.certificate.costs[table.name],
                point.certificate.expectation,
            )
            assert point.certificate.optimal


def test_front_agrees_with_generate(make_search):
    search = make_search(5, costs=("real",), layers=8)
    front = pareto(search.result, search.tables[0])
    assert len(front) > 5
    for point in front:
        assert generate(search.result, Limit("cost 0", max=point.certificate.costs["cost 0"])) == point


# -- what an answer says -----------------------------------------------------------------------------------------------


def two_layers(theta=((0.4, 0.6), (0.1, 0.9)), alive=((True, True), (True, True)), groups=()):
    space = SearchSpace("s", (Choice("a", ("s", "l"), groups), Choice("b", ("s", "l"), groups)))
    theta = tuple(np.array(t) for t in theta)
    distribution = ArchitectureDistribution(space, theta, theta, tuple(np.array(a) for a in alive))
    macs = CostTable("macs", space, 10.0, (np.array([1.0, 4.0]), np.array([2.0, 8.0])))
    return SearchResult(space, (), distribution, costs={"macs": macs}), macs


def test_without_limits_argmax():
    answer = generate(two_layers()[0])
    assert answer == Architecture({"a": "l", "b": "l"})
    assert answer.certificate.method == "argmax"
    assert answer.certificate.expectation == 0.75
    # The costs that the result knows are told, limited or not.
    assert answer.certificate.costs == {"macs": 22.0}


def test_equals_and_hashes_as_the_architecture_does():
    answer = generate(two_layers()[0], Limit("macs", max=20))
    assert isinstance(answer, GeneratedArchitecture)
    plain = Architecture({"a": "s", "b": "l"})
    assert answer == plain
    assert plain == answer
    assert {plain: 1}[answer] == 1
    assert answer.to_dict() == {"a": "s", "b": "l"}
    assert answer.certificate.to_dict() == {
        "optimal": True,
        "method": "list-DP",
        "expectation": 0.65,
        "score": None,
        "costs": {"macs": 19.0},
        "note": "",
    }


def test_a_limit_may_be_met_exactly():
    result, macs = two_layers()
    assert macs(generate(result, Limit(macs, max=19))) == 19.0
    assert macs(generate(result, Limit(macs, max=math.nextafter(19.0, 0.0)))) == 16.0
    assert macs(generate(result, Limit(macs, min=13, max=16))) == 16.0
    assert macs(generate(result, Limit(macs, equal=13))) == 13.0


def test_survivors():
    result, _ = two_layers(alive=((True, False), (True, True)))
    assert generate(result) == Architecture({"a": "l", "b": "l"})
    assert generate(result, candidates="survivors") == Architecture({"a": "s", "b": "l"})


def test_survivors_of_groups_leave_a_choice(make_search):
    """One survivor a group, as DDPNAS prunes cells: 2^choices architectures, of which the limit picks."""
    groups = ("parameter", "parameter", "other", "other")
    space = SearchSpace("cells", tuple(Choice(f"e{i}", ("c3", "c5", "pool", "skip"), groups) for i in range(6)))
    rng = np.random.default_rng(0)
    distribution = ArchitectureDistribution(
        space,
        tuple(rng.dirichlet(np.ones(4)) for _ in range(6)),
        tuple(np.zeros(4) for _ in range(6)),
        tuple(np.ones(4, dtype=bool) for _ in range(6)),
    )
    credited = tuple(np.ones(4, dtype=bool) for _ in range(6))
    distribution = distribution.pruned(credited).pruned(credited)
    assert all(len(alive) == 2 for alive in distribution.survivors)
    parameters = CostTable("n", space, 0.0, (np.array([1.0, 1.0, 0.0, 0.0]),) * 6)
    answer = generate(SearchResult(space, (), distribution), Limit(parameters, equal=2), candidates="survivors")
    assert sum(op.startswith("c") for op in answer.values()) == 2
    assert all(k in alive for k, alive in zip(space.encode(answer), distribution.survivors, strict=True))


def test_a_deep_branch_is_not_judged_by_its_length(make_search):
    """E is the mean over active choices: a deeper network with better candidates beats a shallow one."""
    search = make_search(1, conditional=True)
    theta = (np.array([0.5, 0.5, 0.5]), *(np.full(len(c.candidates), 0.7) for c in search.space.choices[1:]))
    distribution = ArchitectureDistribution(search.space, theta, theta, search.distribution.alive)
    answer = generate(SearchResult(search.space, (), distribution))
    assert answer["depth"] == 3
    assert answer.certificate.expectation == pytest.approx((0.5 + 0.7 * (len(answer) - 1)) / len(answer))


def test_a_branch_with_a_pruned_condition_drops_out(make_search):
    search = make_search(1, conditional=True)
    alive = (np.array([True, False, False]), *search.distribution.alive[1:])
    result = replace(search.result, distribution=replace(search.distribution, alive=alive))
    assert generate(result, candidates="survivors")["depth"] == 1


# -- limits that take nothing away, and units --------------------------------------------------------------------------


def test_a_limit_that_does_not_bind_is_said():
    result, macs = two_layers()
    assert generate(result, Limit(macs, max=19)).certificate.note == ""
    answer = generate(result, Limit(macs, max=22))
    assert answer.certificate.note == "`macs <= 22` does not bind: nothing in this space costs more than 22."
    answer = generate(result, Limit(macs, max=22_000))
    assert answer.certificate.note.endswith("nothing in this space costs more than 22. Did you mean 22?")
    cheap, macs = two_layers(theta=((0.6, 0.4), (0.1, 0.9)))
    answer = generate(cheap, Limit(macs, max=20))
    assert answer.certificate.note == "`macs <= 20` does not bind: the best of this space costs 19."
    # It must be 19: what an `equal` asks for is not called superfluous, nor is a `min`.
    assert generate(cheap, Limit(macs, equal=19)).certificate.note == ""
    assert generate(cheap, Limit(macs, min=13)).certificate.note == ""


def test_only_the_limits_that_do_not_bind_are_named():
    result, macs = two_layers()
    params = CostTable("params", macs.space, 0.0, (np.array([1.0, 2.0]), np.array([1.0, 2.0])))
    note = generate(result, Limit(macs, max=19), Limit(params, max=4)).certificate.note
    assert note == "`params <= 4` does not bind: nothing in this space costs more than 4."


def test_of_two_branches_the_better_one_may_be_cut_off():
    """In the answer's own branch nothing was given up; another branch would have been better, so the limit binds."""
    space = SearchSpace("s", (Choice("depth", (1, 2)), Choice("b", ("x",), condition=Condition("depth", (2,)))))
    theta = (np.array([0.4, 0.6]), np.array([0.9]))
    distribution = ArchitectureDistribution(space, theta, theta, (np.ones(2, bool), np.ones(1, bool)))
    table = CostTable("macs", space, 0.0, (np.array([1.0, 2.0]), np.array([5.0])))
    result = SearchResult(space, (), distribution)
    answer = generate(result, Limit(table, max=6))
    assert (answer["depth"], answer.certificate.method, answer.certificate.note) == (1, "argmax", "")
    assert "does not bind" in generate(result, Limit(table, max=7)).certificate.note


def test_a_slip_of_units_is_asked_about():
    result, macs = two_layers()
    millions = CostTable("macs", macs.space, macs.fixed * 1e6, tuple(entry * 1e6 for entry in macs.entries))
    with pytest.raises(InfeasibleLimitError, match=r"but got 19. .* reach it. Did you mean 19,000,000\?$"):
        generate(result, Limit(millions, max=19))
    with pytest.raises(InfeasibleLimitError, match=r"reach it\.$"):
        generate(result, Limit(millions, max=12_000_000))


# -- ties --------------------------------------------------------------------------------------------------------------


def uniform(costs, layers=6):
    space = SearchSpace("s", tuple(Choice(f"c{i}", (0, 1, 2)) for i in range(layers)))
    rng = np.random.default_rng(0)
    tables = tuple(CostTable(f"f{i}", space, 0.0, tuple(rng.random(3) for _ in range(layers))) for i in range(costs))
    return SearchResult(space, (), ArchitectureDistribution.uniform(space)), tables


def test_of_equal_expectation_the_cheapest():
    result, (table,) = uniform(1)
    smallest = math.fsum(entry.min() for entry in table.entries)
    assert table(generate(result, Limit(table, max=3.0))) == smallest
    assert table(generate(result, Limit(table, max=100.0))) == smallest
    assert [p.certificate.costs["f0"] for p in pareto(result, table)] == [smallest]


def test_of_equal_expectation_the_cheapest_above_a_minimum():
    result, (table,) = uniform(1)
    every = [table.of_row(row) for row in np.ndindex(*[3] * 6)]
    answer = generate(result, Limit(table, min=3.0))
    assert table(answer) == min(cost for cost in every if cost >= 3.0)


def test_answers_are_the_same_every_time(make_search):
    search = make_search(7, theta="ties", costs=("integer", "count", "count"), layers=7)
    limits = [search.limit(table) for table in search.tables]
    limits = [Limit(t, max=t.of_row(search.rows[len(search.rows) // 2])) for t in search.tables]
    first = generate(search.result, *limits)
    assert all(list(generate(search.result, *limits).items()) == list(first.items()) for _ in range(3))


# -- rounding ----------------------------------------------------------------------------------------------------------


def test_coarse_integers_never_let_a_limit_be_exceeded(make_search, monkeypatch):
    """With 9 bits nearly every cost rounds: what slips through must be caught, and solved again exactly."""
    monkeypatch.setattr(problem, "BITS", 9)
    exact = []
    build = solve.build
    monkeypatch.setattr(solve, "build", lambda *a, **k: exact.append(k["exact"]) or build(*a, **k))
    for seed in range(60):
        search = make_search(seed, theta="ties", costs=KINDS[seed % len(KINDS)], conditional=seed % 2 == 0)
        check(search, [search.limit(table) for table in search.tables])
    assert sum(exact) > 5


def test_a_limit_between_two_sums_that_round_alike():
    """Of two sums that round to neighbouring floats only the lower one is within."""
    space = SearchSpace("s", (Choice("a", (0, 1)), Choice("b", (0,))))
    tiny = 2.0**-53
    table = CostTable("f", space, 1.0, (np.array([tiny, 1.5 * tiny]), np.array([0.0])))
    theta = (np.array([0.2, 0.8]), np.array([1.0]))
    result = SearchResult(
        space, (), ArchitectureDistribution(space, theta, theta, (np.ones(2, bool), np.ones(1, bool)))
    )
    assert table({"a": 0, "b": 0}) == 1.0
    assert table({"a": 1, "b": 0}) > 1.0
    assert generate(result, Limit(table, max=1.0))["a"] == 0
    assert generate(result, Limit(table, max=math.nextafter(1.0, 2.0)))["a"] == 1


# -- when lists grow too long ------------------------------------------------------------------------------------------


def two_limits(make_search):
    for seed in range(12):
        search = make_search(seed, costs=("real", "real"), layers=6)
        rows = np.array(search.rows)
        limits = [Limit(t, max=float(np.quantile(t.of_codes(rows), 0.4))) for t in search.tables]
        if search.within(limits):
            yield search, limits


def test_milp_takes_over_from_a_long_list(make_search, monkeypatch):
    monkeypatch.setitem(knapsack.MAX_STATES, 2, 1)
    taken = 0
    for search, limits in two_limits(make_search):
        answer = generate(search.result, *limits)
        best = max(search.exact(row) for row in search.within(limits))
        assert float(best - search.exact(search.space.encode(answer))) < 1e-11
        if answer.certificate.method == "MILP (HiGHS)":
            assert answer.certificate.note
            taken += 1
    assert taken > 3


def test_what_was_not_decided_is_an_error_or_says_so(make_search, monkeypatch):
    monkeypatch.setitem(knapsack.MAX_STATES, 2, 1)
    search, limits = next(
        (s, m) for s, m in two_limits(make_search) if generate(s.result, *m).certificate.method == "MILP (HiGHS)"
    )
    monkeypatch.setattr(milp, "solve", lambda *_, **__: milp.Found(None, decided=False))
    with pytest.raises(InvalidInputError, match=r"must leave something that can be found in 60 s"):
        generate(search.result, *limits)
    feasible = search.within(limits)[0]

    def stopped(problem, **_):
        picks = [list(own).index(feasible[i]) for i, own in zip(problem.layers, problem.codes, strict=True)]
        return milp.Found(picks, decided=False)

    monkeypatch.setattr(milp, "solve", stopped)
    certificate = generate(search.result, *limits).certificate
    assert not certificate.optimal
    assert "there may be a better one" in certificate.note


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_infeasible_names_the_smallest():
    result, macs = two_layers()
    with pytest.raises(InfeasibleLimitError) as caught:
        generate(result, Limit(macs, max=12.5))
    assert str(caught.value) == (
        "`max macs >= 13` must hold for this space, but got 12.5. Raise the limit, or add candidates to the space that "
        "reach it."
    )
    assert caught.value.smallest == {"macs": 13.0}
    generate(result, Limit(macs, max=caught.value.smallest["macs"]))


def test_infeasible_minimum_and_hole():
    result, macs = two_layers()
    with pytest.raises(InfeasibleLimitError, match=r"`min macs <= 22` must hold for this space, but got 23. Lower the"):
        generate(result, Limit(macs, min=23))
    with pytest.raises(InfeasibleLimitError, match=r"`macs = 17` must hold .* the nearest: 16 below and 19 above"):
        generate(result, Limit(macs, equal=17))
    with pytest.raises(InfeasibleLimitError, match=r"`16.5 <= macs <= 18` must hold .* the nearest: 16 below and 19"):
        generate(result, Limit(macs, min=16.5, max=18))
    with pytest.raises(InfeasibleLimitError, match=r"`macs = 9` must hold .* the nearest: 13 above"):
        generate(result, Limit(macs, equal=9))


def test_infeasible_only_together():
    """Each limit can be met; with the first kept, the second needs more."""
    result, macs = two_layers()
    params = CostTable("params", macs.space, 0.0, (np.array([7.0, 1.0]), np.array([9.0, 1.0])))
    with pytest.raises(
        InfeasibleLimitError, match=r"`max params >= 8` must hold for this space where `macs <= 19`"
    ) as e:
        generate(result, Limit(macs, max=19), Limit(params, max=4))
    assert e.value.smallest == {"macs": 13.0, "params": 2.0}
    generate(result, Limit(macs, max=19), Limit(params, max=8))


def test_infeasible_survivors_point_to_all_candidates():
    result, _ = two_layers(alive=((False, True), (False, True)))
    message = (
        r'`max macs >= 22` must hold for the survivors of this search, .* pass `candidates="all"`, which may reach'
    )
    with pytest.raises(InfeasibleLimitError, match=message):
        generate(result, Limit("macs", max=19), candidates="survivors")
    generate(result, Limit("macs", max=19))


def test_refuses():
    result, _ = two_layers()
    with pytest.raises(InvalidInputError, match=r"must be one of \['macs'\], but got 'latency'"):
        generate(result, Limit("latency", max=1))
    with pytest.raises(InvalidInputError, match=r"must be one of"):
        pareto(result, "latency")
    with pytest.raises(InvalidInputError, match='must be "all" or "survivors", but got \'alive\''):
        generate(result, candidates="alive")
    broken = two_layers(theta=((math.nan, 0.6), (0.1, 0.9)))[0]
    with pytest.raises(InvalidInputError, match=r"θ must be finite, but `a`"):
        generate(broken)


def test_a_front_that_is_too_long_is_refused(make_search, monkeypatch):
    monkeypatch.setitem(knapsack.MAX_STATES, 1, 2)
    search = make_search(5, costs=("real",), layers=8)
    with pytest.raises(InvalidInputError, match=r"must have at most 2 points"):
        pareto(search.result, "cost 0")
