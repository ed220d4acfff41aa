import dataclasses

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.generation import GeneratedArchitecture, Limit, generate
from searchhub.networks.alike import trained_alike
from searchhub.networks.choose import (
    check_limits,
    choose_networks,
    default_limits,
    first_within,
    uniform_architectures,
    uniform_within,
)
from searchhub.networks.network import Network, TrainedNetwork, comparison
from searchhub.result import SearchResult
from searchhub.space import Architecture, Choice, Condition, SearchSpace
from searchhub.trial import Trial, TrialResult
from searchhub.workflows.stages import draw_run

RNG = np.random.default_rng(0)
SPACE = SearchSpace("s", tuple(Choice(f"layer.{i}", ("a", "b", "c", "d")) for i in range(6)))
MACS = CostTable(
    "macs", SPACE, 1e6, tuple(np.sort(RNG.uniform(1e5, 1e6, 4)).round() for _ in range(6)), "multiply-adds"
)
PARAMS = CostTable("params", SPACE, 2e4, tuple(RNG.uniform(1e3, 2e4, 4).round() for _ in range(6)), "parameters")
COSTS = (MACS, PARAMS)


def result(seed=1):
    theta = tuple(np.random.default_rng(seed).dirichlet(np.ones(4)) for _ in range(6))
    velocity, alive = tuple(np.zeros(4) for _ in range(6)), tuple(np.ones(4, dtype=bool) for _ in range(6))
    return SearchResult(SPACE, (), ArchitectureDistribution(SPACE, theta, velocity, alive)).with_costs(*COSTS)


def choose(*limits, **changes):
    options = {"random_networks": 2, "with_largest": True, "seed": 0, **changes}
    return choose_networks(options.pop("result", result()), limits, **options)


# -- which networks ---------------------------------------------------------------------------------------------------


def test_a_search_without_theta_says_which_limit_it_tried_nothing_for():
    tried = SPACE.decode([3] * 6)
    random = SearchResult(SPACE, (TrialResult(Trial(0, tried), 0.5),)).with_costs(*COSTS)
    tight, wide = Limit("macs", max=0.9 * MACS(tried)), Limit("macs", max=MACS(tried))
    said = []
    networks = choose(tight, wide, result=random, on_unmet=said.append)
    assert [n.architecture for n in networks if n.published] == [tried]
    assert len([n for n in networks if "random" in n.name]) == 4, "the random ones stand beside both limits"
    assert len(said) == 1
    assert "were evaluated" in said[0]
    with pytest.raises(InfeasibleLimitError):
        choose(tight, wide, result=random)
    with pytest.raises(InfeasibleLimitError):
        choose(Limit("macs", max=1.0), on_unmet=said.append)


LIMITS = (Limit("macs", max=3_000_000), Limit("macs", max=4_250_000), Limit("params", max=70_000))


def test_a_network_for_each_limit_with_random_ones_beside_it():
    networks = [n for n in choose(*LIMITS) if "at_cost" not in n.name]
    assert [(n.name, n.published) for n in networks] == [
        ("macs-3M", True),
        ("macs-3M-random0", False),
        ("macs-3M-random1", False),
        ("macs-4.25M", True),
        ("macs-4.25M-random0", False),
        ("macs-4.25M-random1", False),
        ("params-70K", True),
        ("params-70K-random0", False),
        ("params-70K-random1", False),
        ("largest", False),
    ]
    for i, limit in enumerate(LIMITS):
        generated, *random = networks[3 * i : 3 * i + 3]
        assert isinstance(generated.architecture, GeneratedArchitecture)
        assert generated.architecture == generate(result(), limit)
        table = {"macs": MACS, "params": PARAMS}[limit.name]
        assert table(generated.architecture) <= limit.max
        for network in random:
            assert network.limits == (limit,)
            assert 0.95 * limit.max < table(network.architecture) <= limit.max
        assert random[0].architecture != random[1].architecture
    assert MACS(networks[-1].architecture) == MACS.bounds()[1]
    assert networks[-1].limits == ()


def test_random_networks_at_its_cost_stand_beside_one_that_leaves_a_part_of_its_limit():
    """Under truthful names; two limits with one network have the same ones."""
    best = MACS(generate(result()))
    limits = [Limit("macs", max=round(factor * best)) for factor in (1.02, 1.1, 1.15)]
    networks = choose(*limits, with_largest=False)
    at_cost = [n for n in networks if "random_at_cost" in n.name]
    assert len(at_cost) == 4, "the first limit is used up"
    assert all(0.95 * best < MACS(n.architecture) <= best for n in at_cost)
    assert [n.architecture for n in at_cost[:2]] == [n.architecture for n in at_cost[2:]]
    for n in networks:
        if n.name.endswith(("-random0", "-random1")):
            assert 0.95 * n.limits[0].max < MACS(n.architecture) <= n.limits[0].max
    reports = [TrainedNetwork(n, {}, {"accuracy": 0.5 + 0.3 * ("at_cost" in n.name)}) for n in networks]
    rows = comparison(reports, "accuracy")
    assert [row["random at its cost"] for row in rows] == ["", *["0.8000 ± 0.0000 (n=2)"] * 2]
    assert {row["random within 5 %"] for row in rows} == {"0.5000 ± 0.0000 (n=2)"}
    # Where there are fewer, there are none, and it is said.
    space = SearchSpace("one", (Choice("layer", ("x", "y", "z")),))
    macs, params = (CostTable(name, space, 0.0, (np.array([50.0, 96.0, 100.0]),)) for name in ("macs", "params"))
    theta = (np.array([0.8, 0.1, 0.1]),)
    alive = (np.ones(3, dtype=bool),)
    few = SearchResult(space, (), ArchitectureDistribution(space, theta, theta, alive)).with_costs(macs, params)
    said = []
    networks = choose(Limit("macs", max=100), result=few, with_largest=False, on_unmet=said.append)
    assert [n.name for n in networks] == ["macs-100", "macs-100-random0", "macs-100-random1"]
    assert said[0].startswith("No random networks at the cost of the network for macs <= 100: ")


def test_networks_of_other_training_stand_in_a_table_of_their_own(tmp_path):
    def report(name, epochs, accuracy, data="3b5c0de0aa11"):
        identity = {"architecture": {}, "model": {"width": accuracy}, "task": data, "training": {"epochs": epochs}}
        return TrainedNetwork(
            Network(name, Architecture({}), (LIMITS[0],)), {}, {"accuracy": accuracy}, {"identity": identity}
        )

    alike = [report("a", 15, 0.9), report("b", 15, 0.8)]
    assert [(words, len(own)) for words, own in trained_alike(alike)] == [("", 2)]
    groups = trained_alike([report("c", 30, 0.95), *alike, report("d", 15, 0.7, data="00ff00ff00ff")])
    assert [(words, [r.network.name for r in own]) for words, own in groups] == [
        ("data 3b5c0de0, epochs 15", ["a", "b"]),
        ("data 3b5c0de0, epochs 30", ["c"]),
        ("data 00ff00ff, epochs 15", ["d"]),
    ]
    assert trained_alike([]) == []


def test_the_window_is_open_below():
    """Of three architectures one costs exactly 0.95 ν; only the other two may be drawn."""
    space = SearchSpace("one", (Choice("layer", ("x", "y", "z", "w")),))
    macs = CostTable("macs", space, 0.0, (np.array([95.0, 96.0, 100.0, 101.0]),))
    params = CostTable("params", space, 0.0, (np.ones(4),))
    small = SearchResult(space, (), ArchitectureDistribution.uniform(space)).with_costs(macs, params)
    networks = choose(Limit("macs", max=100), result=small, with_largest=False)
    assert {n.architecture["layer"] for n in networks[1:]} == {"y", "z"}
    with pytest.raises(InvalidInputError, match=r"`random_networks` must be at most .* of `macs <= 100`, but is 3: At"):
        choose(Limit("macs", max=100), result=small, random_networks=3)


def test_random_networks_depend_on_the_seed_and_their_limit_alone():
    """So that another limit, or another search, leaves the trained ones as they are."""

    def drawn(*limits, **changes):
        networks = choose(*limits, **changes)
        return {n.name: n.architecture for n in networks if "random" in n.name and "at_cost" not in n.name}

    all_three = drawn(*LIMITS)
    assert drawn(LIMITS[2]).items() <= all_three.items()
    assert drawn(*reversed(LIMITS)) == all_three
    assert drawn(*LIMITS, result=result(seed=5)) == all_three
    assert drawn(*LIMITS, random_networks=1).items() <= all_three.items()
    assert drawn(*LIMITS, seed=1) != all_three


def test_without_random_networks_and_the_largest():
    assert [n.name for n in choose(*LIMITS, random_networks=0, with_largest=False)] == [
        "macs-3M",
        "macs-4.25M",
        "params-70K",
    ]


def test_limits_that_cannot_be_compared():
    with pytest.raises(InvalidInputError, match=r"Limits must be distinct, but \['macs-3M', 'macs-3M-random0'"):
        choose(LIMITS[0], LIMITS[0])
    with pytest.raises(InvalidInputError, match="A limit must have an upper end for random networks"):
        choose(Limit("macs", min=3_000_000))


def test_a_limit_that_does_not_bind():
    """It has a network, but nothing in the window beside it."""
    beyond = Limit("macs", max=2 * MACS.bounds()[1])
    (network,) = choose(beyond, random_networks=0, with_largest=False)
    assert network.architecture == generate(result())
    with pytest.raises(InvalidInputError, match="`random_networks` must be at most the number of architectures"):
        choose(beyond, random_networks=1)


# -- limits -----------------------------------------------------------------------------------------------------------


def test_default_limits_have_two_digits_and_spread_over_the_space():
    limits = default_limits(COSTS)
    assert [x.name for x in limits] == ["macs", "macs", "macs", "params"]
    low, high = MACS.bounds()
    shares = [(x.max - low) / (high - low) for x in limits[:3]]
    assert shares == pytest.approx([0.1, 0.2, 0.35], abs=0.05)
    assert all(float(f"{x.max:.1e}") == x.max for x in limits)


@pytest.mark.parametrize("spread", [1.0, 37.0, 5e3, 2e5, 1e9])
@pytest.mark.parametrize("fixed", [0.0, 1e3, 104_960.0, 9.999e7])
def test_default_limits_are_feasible_and_distinct_in_every_space(fixed, spread):
    """Also where all costs have the same first digits."""
    costs = [
        CostTable(name, SPACE, fixed + 1.0, tuple(spread * np.array([0.0, 0.2, 0.5, 1.0]) for _ in range(6)))
        for name in ("macs", "params")
    ]
    limits = default_limits(costs)
    low, high = costs[0].bounds()
    assert all(low <= x.max < high for x in limits)
    assert len(set(map(str, limits))) == 4
    check_limits(costs, limits)


def test_a_space_of_equal_costs_has_one_default_limit():
    costs = [CostTable(name, SPACE, 0.0, (np.full(4, 7.0),) * 6) for name in ("macs", "params")]
    assert default_limits(costs) == [Limit("macs", max=42), Limit("params", max=42)]


def test_limits_are_checked_before_a_search():
    check_limits(COSTS, LIMITS, random_networks=3)
    smallest = MACS.bounds()[0]
    with pytest.raises(InfeasibleLimitError, match=rf"`max macs >= {smallest:,.0f}` must hold .* got 1,000") as caught:
        check_limits(COSTS, [LIMITS[0], Limit("macs", max=1000)])
    assert caught.value.smallest == {"macs": smallest}
    with pytest.raises(InvalidInputError, match="Limits must be distinct"):
        check_limits(COSTS, [LIMITS[0], LIMITS[0]])
    with pytest.raises(InvalidInputError, match="`random_networks` must be at most the number of architectures"):
        check_limits(COSTS, [Limit("macs", max=smallest)], random_networks=5)


def test_too_many_random_networks_are_told_in_numbers_that_people_write():
    costs = CostTable("macs", SPACE, 286_000.0, tuple(np.array([0.0, 4e3, 4e4, 4e4]) for _ in range(6)))
    with pytest.raises(InvalidInputError, match=r"285,000 < macs <= 300,000") as caught:
        check_limits([costs], [Limit("macs", max=300_000)], random_networks=500)
    assert "00000" not in str(caught.value)


# -- side by side -----------------------------------------------------------------------------------------------------


def reports():
    limit, other = LIMITS[:2]
    nothing = Architecture({})
    accuracies = {"macs-3M": 0.9, "macs-3M-random0": 0.8, "macs-3M-random1": 0.6, "macs-4.25M": 0.95, "largest": 0.97}
    limits = {"macs-3M": limit, "macs-3M-random0": limit, "macs-3M-random1": limit, "macs-4.25M": other}
    for name, accuracy in accuracies.items():
        own = (limits[name],) if name in limits else ()
        network = Network(name, nothing, own, published="random" not in name and name != "largest")
        yield TrainedNetwork(network, {"macs": 2_999_000.0, "params": 1234.0}, {"accuracy": accuracy})


def test_networks_beside_random_ones():
    rows = comparison(list(reports()), "accuracy")
    assert rows == [
        {
            "limit": "macs <= 3,000,000",
            "MACs": "2,999,000",
            "parameters": "1,234",
            "test accuracy": "0.9000",
            # Sample standard deviation of 0.8 and 0.6.
            "random within 5 %": "0.7000 ± 0.1414 (n=2)",
        },
        {
            "limit": "macs <= 4,250,000",
            "MACs": "2,999,000",
            "parameters": "1,234",
            "test accuracy": "0.9500",
            "random within 5 %": "",
        },
        {
            "limit": "none: the largest",
            "MACs": "2,999,000",
            "parameters": "1,234",
            "test accuracy": "0.9700",
            "random within 5 %": "",
        },
    ]


def test_headings_say_what_costs_are_of():
    units = {"macs": "multiply-adds at 128 tokens", "latency_ms": "ms, A CPU, batch 1 of 128 tokens", "params": "p"}
    report = dataclasses.replace(next(reports()), facts={"units": units})
    report = dataclasses.replace(report, costs={**report.costs, "latency_ms": 2.5})
    headings = list(comparison([report], "accuracy")[0])
    assert headings[1:4] == ["MACs at 128 tokens", "parameters", "latency_ms (A CPU, batch 1 of 128 tokens)"]


def test_other_baselines_have_a_column_each():
    limit = Limit("macs", max=3_000_000)
    network = Network("macs-3M-uniform", Architecture({}), (limit,), published=False)
    rows = comparison([*reports(), TrainedNetwork(network, {}, {"accuracy": 0.85})], "accuracy")
    assert [row["uniform"] for row in rows] == ["0.8500", "", ""]
    assert rows[0]["random within 5 %"] == "0.7000 ± 0.1414 (n=2)"


def test_the_original_has_a_row_and_the_largest_is_told_from_it():
    original = {"metrics": {"accuracy": 0.99}, "costs": {"macs": 2_999_000, "params": 1234}}
    *_, largest, last = comparison(list(reports()), "accuracy", original)
    assert (largest["limit"], largest["test accuracy"]) == ("none: full size, trained on alike", "0.9700")
    assert last == {
        "limit": "none: the original, before the search",
        "MACs": "2,999,000",
        "parameters": "1,234",
        "test accuracy": "0.9900",
        "random within 5 %": "",
    }
    # A space that does not offer all of it; and a run of an earlier version.
    for costs in ({"macs": 4_000_000, "params": 5000}, {}):
        *_, largest, last = comparison(list(reports()), "accuracy", {**original, "costs": costs})
        assert largest["limit"] == "none: the largest, trained on alike"
    assert (last["parameters"], last["test accuracy"]) == ("", "0.9900")


def test_one_random_network_has_no_spread():
    rows = comparison([r for r in reports() if r.network.name != "macs-3M-random1"], "accuracy")
    assert rows[0]["random within 5 %"] == "0.8000 (n=1)"


# -- several limits at once -------------------------------------------------------------------------------------------


def test_a_network_for_limits_at_once_with_random_ones_of_what_binds():
    together = (Limit("macs", max=4e6), Limit("params", max=80_000))
    network, *random, _ = choose(together)
    assert network.name == "macs-4M-params-80K"
    assert network.architecture == generate(result(), *together)
    shares = {"macs": MACS(network.architecture) / 4e6, "params": PARAMS(network.architecture) / 80_000}
    binding = {"macs": MACS, "params": PARAMS}[max(shares, key=shares.get)]
    top = binding(network.architecture)
    assert len(random) == 2
    for other in random:
        assert other.limits == together
        assert 0.95 * top < binding(other.architecture) <= top
        assert MACS(other.architecture) <= 4e6
        assert PARAMS(other.architecture) <= 80_000
    check_limits(COSTS, [together], random_networks=2)
    with pytest.raises(InfeasibleLimitError):
        check_limits(COSTS, [(Limit("macs", max=4e6), Limit("params", max=100))])


def test_baselines_that_are_found_stand_beside_and_others_stay_away():
    cheap, dear = SPACE.decode([0] * 6), SPACE.decode([3] * 6)
    find = first_within([dear, cheap])
    networks = choose(LIMITS[0], Limit("macs", max=MACS(dear)), baselines={"plain": find}, random_networks=0)
    beside = {n.name: n for n in networks if n.name.endswith("plain")}
    assert [n.architecture for n in beside.values()] == [cheap, dear]
    assert not any(n.published for n in beside.values())
    assert beside["macs-3M-plain"].limits == (LIMITS[0],)
    tight = Limit("macs", max=MACS(cheap) + 1)
    assert [n.name for n in choose(tight, baselines={"plain": first_within([dear])}, random_networks=0)][1:] == [
        "largest"
    ]
    said = []
    choose(tight, baselines={"plain": first_within([dear])}, random_networks=0, on_unmet=said.append)
    assert said == [
        f"No plain network for {tight}: One of 1 architectures must keep to {tight}, but they have at least "
        f"{MACS(dear):,.6g} macs. Raise the limit."
    ]
    with pytest.raises(InfeasibleLimitError, match="have at least") as caught:
        first_within([dear])(result(), tight)
    assert caught.value.smallest == {"macs": MACS(dear)}
    found = choose(tight, find=find, random_networks=0)
    assert found[0].architecture == cheap
    assert found[0].published


def test_the_largest_of_a_space_with_conditions_is_of_the_dearest_branch():
    depth = Choice("depth", (1, 2))
    inner = Choice("b", ("x", "y"), condition=Condition("depth", (2,)))
    space = SearchSpace("c", (depth, Choice("a", ("x", "y")), inner))
    # What a depth costs stands with the choices that it switches on.
    cost = CostTable("macs", space, 1.0, (np.zeros(2), np.array([1.0, 2.0]), np.array([3.0, 5.0])), "multiply-adds")
    networks = choose_networks(
        SearchResult(space, (), ArchitectureDistribution.uniform(space)).with_costs(cost),
        [],
        random_networks=0,
        with_largest=True,
        seed=0,
    )
    assert networks[0].architecture == Architecture({"depth": 2, "a": "y", "b": "y"})


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_pictures_of_a_run(tmp_path):
    networks = choose(*LIMITS)
    paths = draw_run(dataclasses.replace(result(), trajectory=(result().distribution,) * 3), networks, tmp_path / "r")
    assert [p.name for p in paths] == ["theta.png", "pareto_macs.png", "pareto_params.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in paths)
    # A cost without a limit has no picture, and neither has a θ that no round has moved.
    assert [p.name for p in draw_run(result(), choose(LIMITS[2]), tmp_path / "s")] == ["pareto_params.png"]


# -- as a hand would make them ----------------------------------------------------------------------------------------

OPTIONAL = SearchSpace(
    "o", tuple(Choice(f"c{i}", ("small", "large", *(["left out"] if i % 2 else []))) for i in range(6))
)
COST = CostTable(
    "macs", OPTIONAL, 10.0, tuple(np.array([1.0, 3.0, 0.0][: len(c.candidates)]) for c in OPTIONAL.choices)
)


def uniform(**limit):
    plain = ArchitectureDistribution.uniform(OPTIONAL)
    return list(uniform_within(SearchResult(OPTIONAL, (), plain).with_costs(COST), Limit("macs", **limit)).values())


def test_a_uniform_network_has_one_block_in_all_its_layers_and_uses_most_of_the_limit():
    assert uniform(max=28) == ["large"] * 6
    assert uniform(max=27) == ["large", "large", "large", "left out", "large", "large"]
    assert uniform(max=24) == ["large", "left out", "large", "large", "large", "left out"], "spread evenly"
    assert uniform(max=18) == ["small"] * 6
    assert uniform(max=13) == ["small", "left out"] * 3
    with pytest.raises(InfeasibleLimitError, match="at least 13 macs"):
        uniform(max=12)
    with pytest.raises(InvalidInputError, match="must have an upper end for a uniform network"):
        uniform(min=12)


def test_a_uniform_network_needs_a_candidate_that_all_layers_offer():
    unlike = SearchSpace("u", (Choice("a", (1, 2)), Choice("b", (3, 4))))
    with pytest.raises(InvalidInputError, match=r"`u` does not\. Drop `--uniform`"):
        uniform_architectures(unlike)
    assert uniform_architectures(SPACE) == [SPACE.decode([code] * 6) for code in range(4)]
