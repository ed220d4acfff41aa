import itertools
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from searchhub.errors import InvalidInputError
from searchhub.evaluators.tabular import (
    NASBENCH201_FILE,
    NASBENCH_MACRO_FILE,
    BenchmarkTable,
    TabularEvaluator,
    additive_cost,
    read_nasbench201,
    read_nasbench_macro,
)
from searchhub.search import search
from searchhub.searchers.ddp import DDPSearcher
from searchhub.searchers.random import RandomSearcher
from searchhub.space import Architecture, Choice, Condition, SearchSpace
from searchhub.spaces.nasbench_macro import nasbench_macro_space
from searchhub.trial import Trial

SPACE = SearchSpace("s", (Choice("a", ("x", "y")), Choice("b", (1, 2, 3))))
# In the order (x, 1), (x, 2), (x, 3), (y, 1), (y, 2), (y, 3).
SCORES = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 1.0])


def trials(*architectures):
    return [Trial(i, Architecture(a)) for i, a in enumerate(architectures)]


class TestScores:
    def test_the_last_choice_varies_fastest(self):
        asked = trials(*({"a": a, "b": b} for a, b in itertools.product("xy", (1, 2, 3))))
        results = list(TabularEvaluator(SPACE, SCORES)(asked))
        assert [result.score for result in results] == SCORES.tolist()
        assert [result.trial for result in results] == asked
        assert all(type(result.score) is float for result in results)

    def test_many_codes_at_once(self):
        codes = np.array([[1, 2], [0, 1], [1, 0]], dtype=np.uint8)
        np.testing.assert_array_equal(TabularEvaluator(SPACE, SCORES).of_codes(codes), [1.0, 0.1, 0.3])

    def test_no_trials(self):
        assert list(TabularEvaluator(SPACE, SCORES)([])) == []

    def test_a_search_over_it(self):
        result = search(DDPSearcher(SPACE, estimation_epochs=20), TabularEvaluator(SPACE, SCORES))
        assert result.distribution.survivors == ((1,), (2,))
        assert result.best_trial.trial.architecture == Architecture({"a": "y", "b": 3})

    def test_another_table_is_another_search(self, tmp_path):
        search(RandomSearcher(SPACE, num_trials=2), TabularEvaluator(SPACE, SCORES), run_dir=tmp_path)
        with pytest.raises(InvalidInputError, match=r"`evaluator\.scores_sha256` was"):
            search(RandomSearcher(SPACE, num_trials=2), TabularEvaluator(SPACE, SCORES[::-1]), run_dir=tmp_path)

    @pytest.mark.parametrize(
        ("scores", "message"),
        [
            (SCORES[:5], r"must hold 6 scores, but has shape \(5,\)"),
            (SCORES.reshape(2, 3), r"but has shape \(2, 3\)"),
            (SCORES * 100, r"must be in \[0, 1\], but reach from 0\.0 to 100\.0. Divide an accuracy"),
            (SCORES - 0.1, r"must be in \[0, 1\]"),
            (np.where(SCORES == 0.1, np.nan, SCORES), r"must be in \[0, 1\]"),
        ],
    )
    def test_a_wrong_table_is_refused(self, scores, message):
        with pytest.raises(InvalidInputError, match=message):
            TabularEvaluator(SPACE, scores)

    def test_a_conditional_space_is_refused(self):
        space = SearchSpace("s", (Choice("a", (1, 2)), Choice("b", (1, 2), condition=Condition("a", (2,)))))
        with pytest.raises(InvalidInputError, match=r"without conditional choices, but `s` has \['b'\]"):
            TabularEvaluator(space, np.zeros(space.size))

    def test_the_table_is_the_evaluators_own(self):
        scores = SCORES.copy()
        evaluator = TabularEvaluator(SPACE, scores)
        scores[:] = 0.7
        assert evaluator.scores.tolist() == SCORES.tolist()


class TestAdditiveCost:
    def test_is_found(self):
        # fixed 10; a: 0, 5; b: 0, 1, 2.
        cost = additive_cost("macs", SPACE, np.array([10.0, 11.0, 12.0, 15.0, 16.0, 17.0]), "multiply-adds")
        assert cost.fixed == 10.0
        assert [entry.tolist() for entry in cost.entries] == [[0.0, 5.0], [0.0, 1.0, 2.0]]
        assert cost({"a": "y", "b": 3}) == 17.0

    def test_is_refused_where_it_does_not_add_up(self):
        with pytest.raises(InvalidInputError, match=r"`macs` must be a sum .* up to 3\.0 off"):
            additive_cost("macs", SPACE, np.array([10.0, 11.0, 12.0, 15.0, 16.0, 20.0]))


class TestNasBenchMacro:
    """The file is not shipped; one of the same form stands in for it."""

    @pytest.fixture
    def folder(self, tmp_path):
        rows = {}
        for digits in itertools.product("012", repeat=8):
            key = "".join(digits)
            rows[key] = {
                "mean_acc": int(key, 3) / 6560 * 90,
                "params": 1000 + sum((i + 1) * int(d) for i, d in enumerate(key)),
                "flops": 7 + 100 * sum(int(d) ** 2 for d in key),
            }
        # Written in another order than read.
        shuffled = dict(sorted(rows.items(), key=lambda item: item[0][::-1]))
        (tmp_path / NASBENCH_MACRO_FILE).write_text(json.dumps(shuffled))
        return tmp_path

    def test_keys_are_codes(self, folder):
        table = read_nasbench_macro(folder)
        assert table.space.size == 6561
        row = np.array([[2, 2, 2, 1, 2, 2, 2, 0]], dtype=np.uint8)
        score = TabularEvaluator(table.space, table.scores).of_codes(row)[0]
        assert score == pytest.approx(int("22212220", 3) / 6560 * 0.9, rel=1e-15)

    def test_costs_add_up(self, folder):
        table = read_nasbench_macro(folder / NASBENCH_MACRO_FILE)
        row = np.array([2, 2, 2, 1, 2, 2, 2, 0])
        assert table.costs["params"].of_row(row) == 1000 + 2 + 4 + 6 + 4 + 10 + 12 + 14
        assert table.costs["macs"].of_row(row) == 7 + 100 * (6 * 4 + 1)
        assert table.costs["macs"].unit == "multiply-adds"

    def test_space_is_that_of_the_supernet(self, folder):
        assert read_nasbench_macro(folder).space == nasbench_macro_space()

    def test_no_file(self, tmp_path):
        with pytest.raises(
            InvalidInputError, match=r"must be the NAS-Bench-Macro table, but cannot be read: No such file"
        ):
            read_nasbench_macro(tmp_path)

    def test_another_file(self, tmp_path):
        (tmp_path / NASBENCH_MACRO_FILE).write_text('{"00000000": {}}')
        with pytest.raises(InvalidInputError, match=r"must be the NAS-Bench-Macro table, but is not"):
            read_nasbench_macro(tmp_path)


def nasbench201_columns():
    keys = ["".join(digits) for digits in itertools.product("01234", repeat=6)]
    # Written in another order than read.
    keys = sorted(keys, key=lambda key: key[::-1])
    numbers = np.array([int(key, 5) for key in keys], dtype=np.float64)
    table = {"key": keys}
    for i, dataset in enumerate(("cifar10", "cifar100", "ImageNet16-120")):
        table[f"{dataset}/val_acc_12ep"] = numbers / 15624 * (80 - i)
        table[f"{dataset}/test_acc_200ep_mean"] = numbers / 15624 * (90 - i)
        table[f"{dataset}/params_M"] = [(70_000 + sum(28_000 * (d == "2") for d in key)) / 1e6 for key in keys]
        table[f"{dataset}/flops_M"] = [(7_783_050 + sum(35 * (d == "3") for d in key)) / 1e6 for key in keys]
    return table


class TestNasBench201:
    """The file is not shipped; one of the same form stands in for it."""

    @pytest.fixture
    def folder(self, tmp_path):
        pq.write_table(pa.table(nasbench201_columns()), tmp_path / NASBENCH201_FILE)
        return tmp_path

    def test_keys_are_codes(self, folder):
        table = read_nasbench201(folder, "cifar100")
        row = np.array([3, 3, 4, 1, 3, 1], dtype=np.uint8)
        at = int("334131", 5) / 15624
        assert TabularEvaluator(table.space, table.scores).of_codes(row[None])[0] == pytest.approx(0.79 * at)
        assert TabularEvaluator(table.space, table.final).of_codes(row[None])[0] == pytest.approx(0.89 * at)
        assert table.space.decode(row)["node2.from1"] == "avg_pool_3x3"
        assert table.costs["macs"].of_row(row) == 7_783_050 + 3 * 35
        assert table.costs["params"].of_row(np.array([2, 0, 2, 0, 0, 2])) == 70_000 + 3 * 28_000

    def test_groups_on_request(self, folder):
        assert read_nasbench201(folder / NASBENCH201_FILE).space.choices[0].groups == ()
        assert len(set(read_nasbench201(folder, groups=True).space.choices[0].groups)) == 2

    def test_no_file(self, tmp_path):
        with pytest.raises(InvalidInputError, match="must be the table of NAS-Bench-201, but cannot be read"):
            read_nasbench201(tmp_path)

    def test_another_data_set(self, folder):
        with pytest.raises(InvalidInputError, match=r"`dataset` must be one of \['cifar10'.*but got 'mnist'"):
            read_nasbench201(folder, "mnist")

    @pytest.mark.parametrize(
        "damage", ["text", "columns", "rows", "digits", "integers", "null key", "null", "NaN", "share"]
    )
    def test_another_file(self, tmp_path, damage):
        file = tmp_path / NASBENCH201_FILE
        columns = nasbench201_columns()
        if damage == "text":
            file.write_text("not a table")
        else:
            if damage == "columns":
                columns = {"key": columns["key"]}
            elif damage == "rows":
                columns["key"] = [*columns["key"][:-1], columns["key"][0]]
            elif damage == "integers":
                columns["key"] = [int(key) for key in columns["key"]]
            elif damage == "null key":
                columns["key"] = [*columns["key"][:-1], None]
            elif damage in ("null", "NaN", "share"):
                wrong = {"null": None, "NaN": math.nan, "share": 101.0}[damage]
                final = list(columns["cifar10/test_acc_200ep_mean"])
                columns["cifar10/test_acc_200ep_mean"] = [*final[:-1], wrong]
            else:
                columns["key"] = [*columns["key"][:-1], "444449"]
            pq.write_table(pa.table(columns), file)
        with pytest.raises(InvalidInputError, match="must be the table of NAS-Bench-201, but is not"):
            read_nasbench201(tmp_path)


def test_a_table_without_accuracies_is_worth_its_scores():
    assert BenchmarkTable("t", SPACE, SCORES).final is SCORES
    assert BenchmarkTable("t", SPACE, SCORES, accuracies=SCORES / 2).final.tolist() == (SCORES / 2).tolist()
