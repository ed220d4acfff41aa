import pytest


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a finished run with one network; not to be changed."""
    from searchhub.generation import Limit, generate
    from searchhub.networks.network import Network, network_name
    from searchhub.networks.saved_trainer import save_trainer

    from ..networks.tiny_run import tiny_trainer

    trainer = tiny_trainer(tmp_path_factory.mktemp("runs") / "tiny")
    save_trainer(trainer)
    limit = Limit("macs", max=100_000)
    trainer.train(Network(network_name([limit]), generate(trainer.result, limit), (limit,)))
    return trainer.folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it, to be changed."""
    import shutil

    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def cli():
    """Runs a command in this process."""
    from typer.testing import CliRunner

    from searchhub.cli.main import app

    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], prog_name="searchhub")
