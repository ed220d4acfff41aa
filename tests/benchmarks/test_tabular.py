import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from searchhub.evaluators.tabular import TabularEvaluator
from searchhub.search import search
from searchhub.searchers.random import RandomSearcher

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "tabular.py"
SEARCHERS = {"random", "evolution", "ddp", "noprune", "regression", "pairs", "ours"}


def test_ends_with_its_result(ran, tmp_path):
    picture = tmp_path / "regret.svg"
    lines = ran("tabular", "--evaluations", "50", "--seeds", "5", "--momentum", "0.8", "0.5", "--curves", picture)
    name, line = lines[-1].split(" ", 1)
    result = json.loads(line)
    assert name == "RESULT"
    # T · (3 + 2) within 50.
    assert (result["evaluations"], result["estimation_epochs"], result["seeds"]) == (50, 10, 5)
    assert result["best"] == {"artificial": 90.0}
    assert set(result["stderr"]) == SEARCHERS | {"γ = 0.8", "γ = 0.5"}
    assert result["γ = 0.8"] == result["ddp"]  # the default
    # Scores are accuracies here, so that the best by score is the best of all once they are trained.
    assert result["all_trained"]["random"] == result["random"]
    assert set(result["all_trained"]) == set(result["stderr"])
    found = {searcher: result[searcher]["artificial"] for searcher in SEARCHERS}
    # What random search answers with is the best score of as many draws: on this table its accuracy too.
    assert found["random"] == round(float(np.mean([best_of_random(seed) for seed in range(5)])), 3)
    # Whoever searches finds better than an architecture at random, whose mean the last line of the table tells. The
    # table has main effects and pairs: whoever credits those to their candidates finds the best.
    mean = float(re.search(r"\(any\) +([\d.]+)", "\n".join(lines))[1])
    assert min(found.values()) > mean + 1.0
    assert found["ours"] == max(found.values()) <= 90.0
    assert picture.read_text().lstrip().startswith("<?xml")


def best_of_random(seed):
    table = runpy.run_path(str(SCRIPT))["artificial_table"]()
    result = search(RandomSearcher(table.space, num_trials=50, seed=seed), TabularEvaluator(table.space, table.scores))
    return 100.0 * result.best_trial.score


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--evaluations", "4"], "--evaluations must be at least 5"),
        (["--table", "/nonexistent"], "--table must be one of"),
    ],
)
def test_says_what_it_needs(words, said, ran, capsys):
    with pytest.raises(SystemExit):
        ran("tabular", *words)
    assert said in capsys.readouterr().err
