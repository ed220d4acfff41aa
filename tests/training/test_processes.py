"""Two CPU processes against one that accumulates the same halves."""

import json
from pathlib import Path

import pytest
import torch
from accelerate.commands import launch
from safetensors.torch import load_file

from searchhub.training.accelerator import missing_processes

from ..recipes.harness import finish_scripts, started_by_a_user, two_processes

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


# -- launchers ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_torchrun_starts_two_cpu_processes(tmp_path):
    """The command of README and docs."""
    script = tmp_path / "script.py"
    script.write_text(
        "from searchhub.training.accelerator import make_accelerator\n"
        "accelerator = make_accelerator()\n"
        "rank = f'{accelerator.process_index} of {accelerator.num_processes} on {accelerator.device.type}'\n"
        "print(f'<{rank}>', flush=True)\n"
        "accelerator.end_training()\n"
    )
    launcher = [
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--master_port",
        two_processes()[0]["MASTER_PORT"],
    ]
    done = started_by_a_user([*launcher, script], tmp_path, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert {f"<{rank} of 2 on cpu>" for rank in range(2)} <= set(done.stdout.replace("><", ">\n<").split("\n"))
    assert "asked for" not in done.stderr


def environment_of(*words):
    """What the installed `accelerate launch` tells the one process that it starts on a CPU."""
    found = launch._validate_launch_command(launch.launch_command_parser().parse_args([*words, "recipe.py"]))[0]
    assert not found.multi_gpu
    environment = launch.prepare_simple_launcher_cmd_env(found)[1]
    return {name: value for name, value in environment.items() if name.startswith(("ACCELERATE", "MASTER", "WORLD"))}


def test_processes_that_do_not_start_are_missed(tmp_path, monkeypatch):
    for name in ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    several = tmp_path / "two.yaml"
    several.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nuse_cpu: true\nnum_processes: 2\n"
        "num_machines: 1\nmachine_rank: 0\nmixed_precision: 'no'\n"
    )
    for words in (["--cpu", "--num_processes", "2"], ["--config_file", str(several)]):
        assert "Several processes were asked for, but one runs" in missing_processes(1, environment_of(*words))
    assert "torchrun --nproc_per_node 4" in missing_processes(1, {"WORLD_SIZE": "4"})
    assert missing_processes(2, two_processes()[0]) is None
    assert missing_processes(1, environment_of("--cpu", "--num_processes", "1")) is None
    assert missing_processes(1, {"MASTER_ADDR": "somewhere"}) is None
