import json

import numpy as np
import pytest

from ..data.tiny_text import text
from ..recipes.bert_cases import write_fine_tuned

SMALLEST = [
    *("--original_epochs=0", "--max_length=16", "--batch_size=8", "--epochs=1"),
    *("--depths", "2", "4", "--intermediate_sizes", "8", "16", "32", "--num_heads", "1", "2", "4"),
    *(
        "--judged=8",
        "--steps=6",
        "--scored=6",
        "--refined=2",
        "--shares",
        "0.5",
        "--random_networks=2",
        "--measure_latency",
    ),
    *("--start=supernet", "--distillation_weight=0.5", "--hidden_weight=1", "--trivial=0.4"),
]


@pytest.mark.slow
def test_networks_are_trained_alike_and_compared(ran, tmp_path):
    write_fine_tuned(
        tmp_path / "checkpoint", label2id={"negative": 0, "positive": 1}, id2label={0: "negative", 1: "positive"}
    )
    (tmp_path / "data.csv").write_text(
        "\n".join(["text,label", *(f"{text(i)},{['negative', 'positive'][i % 2]}" for i in range(80))])
    )
    argv = [
        *SMALLEST,
        *("--model_name_or_path", tmp_path / "checkpoint", "--dataset", tmp_path / "data.csv"),
        *("--output_dir", tmp_path / "out", "--rows", "this", "random", "library", "fisher"),
    ]
    lines = ran("encoder_pays", *argv)
    result = json.loads(lines[-1].removeprefix("RESULT "))
    of_share = result["by_share"]["0.5"]
    assert result["kept"] == of_share["kept"] == pytest.approx(of_share["score"] / result["original"], abs=1e-3)
    networks = [json.loads(file.read_text()) for file in (tmp_path / "out" / "seed0").glob("network-*.json")]
    assert 3 <= len(networks) <= 5  # equal architectures are trained once
    assert all(len(n["right"]) == 8 and n["score"] == np.mean([c == "1" for c in n["right"]]) for n in networks)
    limit = 0.5 * 4 * (4 * (24 * 24 + 24) + 24 * 32 * 2 + 32 + 24 + 4 * 24) + 0.5 * (24 * 24 + 24 + 24 * 2 + 2)
    assert all(n["encoder_params"] <= limit for n in networks)
    table = "\n".join(lines)
    for row in ("this", "random", "library", "fisher", "judged on shared weights", "onnxruntime | 32"):
        assert f"| {row} |" in table
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "seed0").rglob("*.json")}
    assert json.loads(ran("encoder_pays", *argv)[-1].removeprefix("RESULT ")) == result
    assert {file: file.stat().st_mtime_ns for file in times if "seconds" not in file.name} == {
        file: time for file, time in times.items() if "seconds" not in file.name
    }


def test_a_lead_is_paired_by_items(ran, monkeypatch):
    import runpy

    from .conftest import BENCHMARKS

    monkeypatch.syspath_prepend(BENCHMARKS)
    ahead = runpy.run_path(str(BENCHMARKS / "encoder_pays.py"))["ahead"]
    rng = np.random.default_rng(0)
    hard = rng.random(2000)  # items on which both fail or succeed together

    def network(skill):
        return {"score": float((hard < skill).mean()), "right": "".join(str(int(h < skill)) for h in hard)}

    lead, low, high = ahead([{"this": network(0.72), "random0": network(0.70), "random1": network(0.70)}], "random")
    assert lead == pytest.approx(0.02, abs=0.01)
    assert 0 < low < lead < high < 0.04  # unpaired, the standard error would be 0.014
    assert ahead([{"this": network(0.7)}], "random") == (0.0, 0.0, 0.0)
