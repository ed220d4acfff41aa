"""What is said of a search of cells before it starts, and of its costs afterwards."""

import re

import pytest
import torch

from searchhub.cli.information import _run
from searchhub.costs.macs import macs_table
from searchhub.costs.memory import activation_bytes
from searchhub.costs.params import params_table
from searchhub.distribution import ArchitectureDistribution
from searchhub.formatting import human
from searchhub.generation import Limit
from searchhub.generation.cells import reachable_mean, reachable_range
from searchhub.hub.search_folder import result_card
from searchhub.models.darts.supernet_darts import DartsSupernetConfig, DartsSupernetForImageClassification
from searchhub.reports.html import write_report
from searchhub.reports.run import read_run
from searchhub.result import SearchResult
from searchhub.searchers.uniform import UniformSearcher
from searchhub.training.settings import TrainingSettings
from searchhub.workflows import dry_run

from ..models.tiny_segmentation import supernet_of
from ..training.tiny import TinyTask

SETTINGS = TrainingSettings(batch_size=8)


@pytest.fixture(scope="module")
def supernet():
    torch.manual_seed(0)
    sizes = {"width": 4, "num_cells": 3, "num_nodes": 2, "image_size": 8, "num_labels": 4}
    config = DartsSupernetConfig(**sizes, operations=["none", "skip_connect", "sep_conv_3x3"], final={"width": 8})
    return DartsSupernetForImageClassification(config)


@pytest.fixture(scope="module")
def costs(supernet):
    return macs_table(supernet.final), params_table(supernet.final)


def test_a_limit_is_compared_with_what_cells_can_cost(supernet, costs):
    low, high = reachable_range(costs[1])
    assert high < costs[1].bounds()[1]
    limits = [Limit("params", min=high), Limit("params", min=high + 1), Limit("params", min=low)]
    said = dry_run.estimate(supernet, TinyTask(), SETTINGS, UniformSearcher(supernet.search_space), costs, limits, 1)
    spans = f"(the space spans {low:,.0f} to {high:,.0f})"
    assert f"params >= {high:,.0f}: feasible {spans}" in said
    assert f"params >= {high + 1:,.0f}: NOT feasible {spans}" in said
    assert f"params >= {low:,.0f}: feasible; it does not bind {spans}" in said


@pytest.mark.parametrize(("macs", "share"), [(1e12, 1), (1.0, 4)])
def test_a_final_network_of_its_own_size_is_timed(supernet, costs, monkeypatch, macs, share):
    timed = []

    def seconds(networks, architecture, task, settings, batch_size, *, final=False):
        if final:
            timed.append((costs[0](architecture), batch_size))
        return 5.0 if final else 1.0

    monkeypatch.setattr(dry_run, "_seconds_per_step", seconds)
    monkeypatch.setattr(dry_run, "TIMED_MACS", macs)
    final = TrainingSettings(batch_size=8)
    said = dry_run.estimate(
        supernet,
        TinyTask(),
        TrainingSettings(batch_size=16),
        UniformSearcher(supernet.search_space),
        costs,
        [],
        2,
        final,
    )
    # 48 pictures to train on: 2 epochs of 6 steps; where 2 of 8 examples are timed, of four times 5 seconds.
    assert f"2 epochs, about {dry_run.duration(2 * 6 * 5.0 * share)} of" in said
    [(cost, size)] = timed
    assert size == 8 // share
    assert cost == pytest.approx(reachable_mean(costs[0]), rel=0.1)


def test_a_final_network_is_timed_for_real(supernet, costs):
    said = dry_run.estimate(supernet, TinyTask(), SETTINGS, UniformSearcher(supernet.search_space), costs, [], 1)
    assert re.search(r"One final network: 1 epochs, about \S+ of an average", said)


def test_report_card_and_info_say_what_cells_can_cost(supernet, costs, tmp_path):
    space = supernet.search_space
    result = SearchResult(space, (), ArchitectureDistribution.uniform(space)).with_costs(*costs)
    result.save(tmp_path / "result.json")
    low, high = reachable_range(costs[1])
    card = result_card(result)
    assert f"- `params`: {human(low)} to {human(high)} parameters" in card
    middle = sum(reachable_range(costs[0])) / 2
    assert f'Limit("macs", max={middle:.4g})' in card
    row = next(row for row in _run(read_run(tmp_path))["costs"] if row["name"] == "params")
    assert (row["smallest"], row["largest"]) == (low, high)
    page = write_report(tmp_path, tmp_path / "report.html").read_text()
    assert f"{high:,.0f}" in page
    assert f"{costs[1].bounds()[1]:,.0f}" not in page


def test_memory_is_of_the_pictures_that_are_trained_on():
    """Costs may refer to larger ones. Those of the task are 8 x 8."""
    supernet = supernet_of("mobile", cost_size=[64, 96])
    macs = macs_table(supernet)
    found = dry_run._largest_activations(supernet, macs, TinyTask())
    assert found == dry_run._largest_activations(supernet_of("mobile", image_size=8), macs, TinyTask()) > 0
    larger = supernet.example_inputs()["pixel_values"]
    with torch.device("meta"):
        model = supernet.subnet_class(supernet.subnet_config(supernet.search_space.decode(macs.extreme_row(1))))
    assert found < activation_bytes(model, {"pixel_values": larger}) / 10
