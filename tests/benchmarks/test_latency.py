import json


def test_ends_with_its_result(ran):
    """How good the figures are depends on the machine; that they are there does not."""
    small = ["--rounds=2", "--check_rounds=2", "--calibration=8", "--held_out=3", "--limits=2"]
    name, line = ran("latency", *small)[-1].split(" ", 1)
    result = json.loads(line)
    assert name == "RESULT"
    assert result["limits"] == 2
    assert 0 <= result["promised"]["met"] <= 2
    assert 0 <= result["verified"]["met"] <= result["verified"]["found"] <= 2
    assert result["mape"] > 0
    assert result["macs_mape"] > 0
