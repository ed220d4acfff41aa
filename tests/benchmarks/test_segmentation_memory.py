import json

import pytest


@pytest.mark.slow
def test_ends_with_its_result(ran):
    """How much memory it takes depends on the machine; that ten times as many pictures take no more is for its run."""
    *_, last = ran("segmentation_memory", "--pictures=2", "--height=16", "--width=32", "--batch_size=2")
    name, line = last.split(" ", 1)
    result = json.loads(line)
    assert name == "RESULT"
    assert result["pictures"] == [2, 20]
    assert min(result["peak_mb"]) > 50
    assert result["ratio"] > 0
