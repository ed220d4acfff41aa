import json


def test_ends_with_its_result(ran, tmp_path):
    result = json.loads(
        ran("pruning_confidence", "--seeds", 2, "--picture", tmp_path / "normal.svg")[-1].removeprefix("RESULT ")
    )
    first = result["calibration"]["3"][0]
    assert first["candidates"] == 3
    assert 0 < first["error"] < 0.5
    assert 0 <= first["the_best"] <= first["another_than_the_worst"] <= 1
    ways = result["when"]["artificial"]
    # 3 · (3 + 2) and 10 · (3 + 2); who waits for more certainty takes more.
    assert (ways["fixed 3"]["evaluations"], ways["fixed 10"]["evaluations"]) == (15, 50)
    assert ways["level 0.1"]["evaluations"] <= ways["level 0.003"]["evaluations"] <= 100
    assert all(80 <= way["accuracy"] <= 90.01 for way in ways.values())
    assert (tmp_path / "normal.svg").stat().st_size > 1000
    # Main effects and weak interactions add up to nearly normal sums, and both columns of the artificial table are one.
    rows = result["gaussian"]["artificial"]
    assert rows["early"] == rows["converged"]
    assert rows["early"]["samples"] == 8 * 3
    assert rows["early"]["rejected"] < 0.5
