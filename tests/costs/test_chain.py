"""Costs of networks in which what a layer costs also depends on the layer before it."""

import itertools

import numpy as np
import pytest
import torch

from searchhub.costs.counting import covering_pairs
from searchhub.costs.latency import measure_latency
from searchhub.costs.latency_table import LatencyTable
from searchhub.costs.macs import macs_table
from searchhub.costs.params import params_table
from searchhub.models.channel_cnn.modeling_channel_cnn import SearchedChannelCnnForImageClassification
from searchhub.models.channel_cnn.supernet_channel_cnn import ChannelCnnSupernet, ChannelCnnSupernetConfig
from searchhub.space import Choice, SearchSpace


def small_supernet():
    torch.manual_seed(0)
    config = ChannelCnnSupernetConfig(
        num_labels=3, image_size=8, channels=[4, 4, 8], pool_after=[2], ratios=[0.5, 1, 2, 4]
    )
    return ChannelCnnSupernet(config)


def test_every_pair_stands_in_some_row():
    sizes = (3, 5, 1, 2)
    space = SearchSpace("s", tuple(Choice(f"c{i}", tuple(range(n))) for i, n in enumerate(sizes)))
    rows = covering_pairs(space)
    for i, (one, other) in enumerate(itertools.pairwise(sizes)):
        assert {(int(r[i]), int(r[i + 1])) for r in rows} == set(itertools.product(range(one), range(other)))
    assert len(rows) <= 25


def test_what_is_coupled_must_be_declared():
    supernet = small_supernet()
    supernet.chain_coupled = False
    for count in (params_table, macs_table):
        with pytest.raises(ValueError, match="does not add up"):
            count(supernet)


def test_what_depends_on_more_than_the_layer_before_is_an_error(monkeypatch):
    supernet = small_supernet()
    build = supernet.subnet_config

    def skipping(architecture):
        config = build(architecture)
        config.channels[1] = config.channels[0]
        return config

    monkeypatch.setattr(supernet, "subnet_config", skipping)
    with pytest.raises(ValueError, match="does not add up"):
        params_table(supernet)


class Machine:
    """A block takes a microsecond a weight, within a network two, a network 5 ms besides."""

    def __init__(self):
        self.blocks = 0

    def __call__(self, block, reference):
        self.blocks += not isinstance(block[0], SearchedChannelCnnForImageClassification)
        return np.full((3, 1), 2.0) * [[self.ms(block[0]), self.ms(reference[0])]]

    def ms(self, module):
        weights = sum(p.numel() for p in module.parameters()) / 1000
        return 5.0 + 2.0 * weights if isinstance(module, SearchedChannelCnnForImageClassification) else weights


def test_latency_is_measured_after_every_candidate_before(tmp_path):
    supernet, machine = small_supernet(), Machine()
    space = supernet.search_space
    table = measure_latency(supernet, rounds=1, time=machine)
    for row in space.sample(10, np.random.default_rng(1)):
        assert table.of_row(row) == pytest.approx(2.0 * machine.ms(supernet.subnet(space.decode(row))))
    assert table.accuracy.mape == pytest.approx(0.0, abs=1e-9)
    # 4 first layers; 16 second and 16 third ones; 4 classifiers.
    assert machine.blocks == 4 + 16 + 16 + 4
    for name in ("table.yaml", "table.json"):
        table.save(tmp_path / name)
        assert LatencyTable.load(tmp_path / name, space) == table
