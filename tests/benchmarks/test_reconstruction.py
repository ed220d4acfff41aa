import json

import pytest
from transformers import BertConfig, BertModel

from ..data.tiny_text import text, tiny_tokenizer
from ..recipes.bert_cases import SIZES

QUICK = ["--texts=24", "--held_out=8", "--networks=3", "--shares", "0.6", "0.2"]


@pytest.fixture
def result_of(ran):
    def result(*arguments):
        name, line = ran("reconstruction", *arguments)[-1].split(" ", 1)
        assert name == "RESULT"
        return json.loads(line)

    return result


@pytest.mark.slow
def test_a_tiny_network_comes_closer(result_of):
    result = result_of(*QUICK, "--steps=2")
    assert (result["distance"], result["texts"], result["held_out"]) == ("kl", 24, 8)
    assert [row["share"] for row in result["rows"]] == [0.6, 0.2]
    assert all(row["networks"] == 3 and row["cut"] > 0 for row in result["rows"])
    assert result["rows"][0]["left"] < 1
    assert all(row[f"{start}_trained"] > 0 for row in result["rows"] for start in ("cut", "solved"))
    assert result["left"] == result["rows"][-1]["left"]


@pytest.mark.slow
def test_a_checkpoint_without_a_classifier_on_its_own_texts(result_of, tmp_path):
    model = tmp_path / "model"
    BertModel(BertConfig(**SIZES)).save_pretrained(model)
    tiny_tokenizer().save_pretrained(model)
    rows = [f"{text(i)},{i % 2}" for i in range(48)]
    (tmp_path / "texts.csv").write_text("\n".join(["words,label", *rows]))
    result = result_of(
        f"--model_name_or_path={model}", f"--dataset={tmp_path / 'texts.csv'}", "--max_length=16", *QUICK
    )
    assert (result["distance"], result["texts"], result["held_out"]) == ("hidden", 24, 8)
    assert all(row["solved"] < row["cut"] for row in result["rows"])


def test_says_what_it_needs(ran, capsys):
    with pytest.raises(SystemExit):
        ran("reconstruction", "--dataset", "x")
    assert "--model_name_or_path and --dataset go together" in capsys.readouterr().err
