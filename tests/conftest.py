import pytest


@pytest.fixture
def fresh_accelerate_state():
    """Accelerate keeps its settings for the whole process; a test of others starts and leaves anew."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)
