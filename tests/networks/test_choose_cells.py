from dataclasses import replace

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.generation import Limit
from searchhub.generation.cell_sampling import random_cells
from searchhub.networks.choose_cells import choose_cells
from searchhub.networks.network import TrainedNetwork, comparison
from searchhub.result import SearchResult
from searchhub.spaces.darts import cell_inputs, darts_space

SPACE = darts_space(num_nodes=3)
RNG = np.random.default_rng(0)
# Operations with parameters cost from 1 to 4, others nothing.
PARAMS = CostTable("params", SPACE, 10.0, tuple(np.array([0, 0, 0, 0, 1, 2, 3, 4.0]) for _ in SPACE.choices))


@pytest.fixture
def result():
    theta = tuple(np.random.default_rng(i).dirichlet(np.ones(8)) for i in range(len(SPACE.choices)))
    uniform = ArchitectureDistribution.uniform(SPACE)
    return SearchResult(SPACE, (), replace(uniform, theta=theta)).with_costs(PARAMS)


def is_derived(architecture):
    return all(
        len(inputs) == 2 for kind in ("normal", "reduction") for inputs in cell_inputs(architecture, kind).values()
    )


def test_the_derived_network_one_a_limit_and_random_ones_of_their_sizes(result):
    limits = [[Limit("non_parameter", equal=4)], [Limit("non_parameter", equal=4), Limit("height", equal=2)]]
    networks = choose_cells(result, limits, random_networks=2, seed=0)
    names = ["derived", "non_parameter-equal-4"]
    assert networks[3].also == (tuple(limits[1]),), "both limits have the same network"
    assert [n.name for n in networks] == [n for name in names for n in (name, f"{name}-random0", f"{name}-random1")]
    assert all(is_derived(n.architecture) for n in networks)
    for published in (n for n in networks if n.published):
        top = PARAMS(published.architecture)
        beside = [n for n in networks if n.name.startswith(f"{published.name}-random")]
        assert len({n.architecture for n in beside}) == 2
        assert all(0.95 * top < PARAMS(n.architecture) <= top for n in beside)
        assert not any(n.published or n.limits for n in beside)
    # They depend on the seed and the name, not on other limits.
    alone = choose_cells(result, limits[:1], random_networks=2, seed=0)
    assert [n.architecture for n in alone] == [n.architecture for n in networks[:6]]


def test_random_ones_stand_beside_their_network_in_the_table(result):
    networks = choose_cells(result, [[Limit("non_parameter", equal=4)]], random_networks=2, seed=0)
    reports = [TrainedNetwork(n, {"params": 1.0}, {"accuracy": i / 10}) for i, n in enumerate(networks)]
    rows = comparison(reports, "accuracy")
    assert [row["limit"] for row in rows] == ["none: derived", "non_parameter = 4"]
    assert [row["random within 5 %"] for row in rows] == ["0.1500 ± 0.0707 (n=2)", "0.4500 ± 0.0707 (n=2)"]


def test_random_cells_use_every_edge_and_operation():
    found = random_cells(SPACE, PARAMS, 34.0, 200, RNG)
    operations = {op for a in found for op in a.values()}
    assert operations == set(SPACE.choices[0].candidates)
    assert all(any(a[choice.name] != "none" for a in found) for choice in SPACE.choices)


def test_what_cannot_be_met_is_said(result):
    with pytest.raises(InfeasibleLimitError):
        choose_cells(result, [[Limit("non_parameter", equal=99)]], random_networks=0, seed=0)
    with pytest.raises(InvalidInputError, match="distinct"):
        choose_cells(result, [[Limit("height", max=2)], [Limit("height", max=2)]], random_networks=0, seed=0)


def test_where_few_random_cells_are_found_they_are_taken_and_it_is_said(result, monkeypatch):
    monkeypatch.setattr("searchhub.generation.cell_sampling.MOST_DRAWN", 20_000)
    assert random_cells(SPACE, PARAMS, 9.0, 1, RNG) == []
    few = random_cells(SPACE, PARAMS, 34.0, 3, RNG)
    monkeypatch.setattr("searchhub.networks.choose_cells.random_cells", lambda space, cost, top, n, rng: few[:n])
    said = []
    networks = choose_cells(result, [], random_networks=5, seed=0, on_unmet=said.append)
    assert [n.name for n in networks] == ["derived", *(f"derived-random{i}" for i in range(3))]
    [message] = said
    assert message.startswith("3 random networks beside derived: ")
    assert "of 5 only 3 were found" in message
    # Whoever hears nothing gets an error; enough is no news.
    with pytest.raises(InvalidInputError, match="only 3 were found"):
        choose_cells(result, [], random_networks=5, seed=0)
    choose_cells(result, [], random_networks=3, seed=0, on_unmet=said.append)
    assert len(said) == 1
