import pytest

from .recipes.harness import forkserver


@pytest.fixture(scope="session")
def context(tmp_path_factory):
    """A context whose processes are forked from one that has imported torch and transformers."""
    return forkserver(tmp_path_factory.mktemp("home"))


@pytest.fixture
def fresh_accelerate_state():
    """Accelerate keeps its settings for the whole process; a test of others starts and leaves anew."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)
