"""Two CPU processes against one that accumulates the same halves."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ..recipes.harness import finish_scripts, two_processes

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def folder(context, tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    finish_scripts(context, folder, SCRIPT, folder, 1, envs=two_processes())
    finish_scripts(context, folder, SCRIPT, folder, 2, envs=[{}])
    return folder


def facts(folder, ranks, rank):
    return json.loads((folder / f"facts-{ranks}-{rank}.json").read_text())


def test_two_processes_really_ran(folder):
    assert facts(folder, 2, 0)["processes"] == 2
    assert facts(folder, 1, 0)["processes"] == 1


def test_processes_wait_for_hours_for_the_slowest(folder):
    assert facts(folder, 2, 0)["patience"] == 12 * 3600


def test_every_rank_finds_the_same(folder):
    assert facts(folder, 2, 0) == facts(folder, 2, 1)


def test_every_rank_has_the_same_weights_to_the_bit(folder):
    for name in ("trial", "fresh", "fitted"):
        one, other = (load_file(folder / f"{name}-2-{rank}") for rank in range(2))
        assert all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("paths", ["trial", "fresh"])
def test_steps_equal_one_process_that_accumulates_the_halves(folder, paths):
    """Three paths in turn, BatchNorm and momentum included; what differs is the order of a sum."""
    two, one = load_file(folder / f"{paths}-2-0"), load_file(folder / f"{paths}-1-0")
    for name in two:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    assert facts(folder, 2, 0)["architectures"] == facts(folder, 1, 0)["architectures"]
    assert facts(folder, 2, 0)["scores"] == pytest.approx(facts(folder, 1, 0)["scores"], abs=1.5 / 17)
