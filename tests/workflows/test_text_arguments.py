import dataclasses
import types

import pytest

from searchhub.data.glue import GlueTask
from searchhub.errors import InvalidInputError
from searchhub.generation import Limit
from searchhub.searchers.ddp import DDPSearcher
from searchhub.searchers.random import RandomSearcher
from searchhub.searchers.uniform import UniformSearcher
from searchhub.spaces.bert import bert_space
from searchhub.workflows.arguments import RunArguments, parse
from searchhub.workflows.text_arguments import (
    UNIFORM,
    BertArguments,
    BertNetworkArguments,
    BertSearcherArguments,
    BertTrainingArguments,
    TextDataArguments,
)

from ..data.tiny_text import tiny_tokenizer, write_glue

KINDS = (
    TextDataArguments,
    BertArguments,
    BertSearcherArguments,
    BertTrainingArguments,
    BertNetworkArguments,
    RunArguments,
)


def settings(*argv):
    """All settings by name."""
    return {name: value for group in parse(KINDS, argv, None) for name, value in dataclasses.asdict(group).items()}


def test_multiply_adds_are_those_of_the_longest_text(monkeypatch):
    """128 tokens, as in the papers, unless texts are cut before or another length is given."""
    monkeypatch.setattr("searchhub.workflows.text_arguments.load_original", lambda *_, **options: options)
    for length, given, counted in ((32, None, 32), (256, None, 128), (32, 64, 64)):
        task = types.SimpleNamespace(max_length=length)
        assert BertArguments(sequence_length=given).original(task, 0, None)["sequence_length"] == counted


def test_no_name_comes_twice():
    names = [field.name for kind in KINDS for field in dataclasses.fields(kind)]
    assert len(names) == len(set(names))


def test_the_missions_command():
    found = settings("--model_name_or_path", "X", "--task_name", "sst2", "--max_params", "67e6", "--output_dir", "o")
    assert (found["model_name_or_path"], found["task_name"], found["output_dir"]) == ("X", "sst2", "o")
    assert found["max_params"] == ["67e6"]
    assert (found["searcher"], found["order"], found["start"]) == ("ddp", "first_order", "original")
    assert found["inherit_weights"] is True
    assert found["stages"] is None
    assert settings("--stages", "0.5", "0.2", "--stage_epochs", "2")["stages"] == [0.5, 0.2]


# -- data -------------------------------------------------------------------------------------------------------------


def test_a_glue_task(tmp_path):
    write_glue(tmp_path, "mrpc", train=40, dev=9)
    task = TextDataArguments(task_name="mrpc", data_dir=str(tmp_path), max_length=16, validation_size=8).task(
        tiny_tokenizer(), seed=0
    )
    assert isinstance(task, GlueTask)
    assert [task.size(split) for split in ("train", "validation", "test")] == [32, 8, 9]
    assert task.max_length == 16


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Either `--task_name` .* but got None and None"),
        ({"task_name": "rte", "dataset": "x"}, "Either `--task_name` .* but got 'rte' and 'x'"),
        ({"dataset": "x", "data_dir": "y"}, "`--data_dir` is for GLUE tasks; give the folder as `--dataset`"),
        ({"task_name": "rte", "dataset_config_name": "x"}, "`--dataset_config_name` is for `--dataset`"),
        (
            {"task_name": "rte", "pair_column": "x"},
            "`--pair_column` is for `--dataset`; of `rte` the columns are known",
        ),
        ({"task_name": "rte", "label_column": "x"}, "`--label_column` is for `--dataset`"),
        ({"task_name": "rte", "test_size": 0.1}, "`--test_size` is for `--dataset`; of `rte` the test split is the"),
        ({"task_name": "rte", "test_file": "x"}, "`--test_file` is for `--dataset`; of `rte` the test split is the"),
        ({"dataset": __file__, "dataset_config_name": "x"}, "`--dataset_config_name` is for a Hub id, but"),
    ],
)
def test_data_that_contradict(given, message):
    with pytest.raises(InvalidInputError, match=message):
        TextDataArguments(**given).task(tiny_tokenizer(), seed=0)


# -- search -----------------------------------------------------------------------------------------------------------


def test_who_searches():
    space = bert_space(4, 32, 4)
    built = {name: BertSearcherArguments(searcher=name).build(space, 5) for name in ("ddp", "ddp-noprune", "random")}
    assert [type(s) for s in built.values()] == [DDPSearcher, DDPSearcher, RandomSearcher]
    assert len({s.num_trials for s in built.values()}) == 1  # the same number of evaluations
    nobody = BertSearcherArguments(searcher=UNIFORM).build(space, 5)
    assert (type(nobody), nobody.num_trials, nobody.ask()) == (UniformSearcher, 0, ())
    assert nobody.result().searcher == {"searcher": "uniform"}
    with pytest.raises(InvalidInputError, match=r"`--evaluations` is for a search"):
        BertSearcherArguments(searcher=UNIFORM, evaluations=3).build(space, 5)
    for changed in ({"warmup_trials": 2}, {"search_distillation": True}, {"estimator": "pairs"}, {"momentum": 0.5}):
        with pytest.raises(InvalidInputError, match=rf"`--{next(iter(changed))}` is for .* Drop it"):
            BertSearcherArguments(searcher=UNIFORM, **changed).build(space, 5)
    with pytest.raises(InvalidInputError, match=r"`ddp`, which takes \d+ trials"):
        BertSearcherArguments(evaluations=3).build(space, 5)


# -- training ---------------------------------------------------------------------------------------------------------


def test_settings_of_training():
    training = BertTrainingArguments(
        learning_rate=3e-4,
        min_learning_rate=1e-4,
        final_learning_rate=2e-4,
        final_label_smoothing=0.1,
        warmup_steps=7,
        weight_decay=0.05,
        distillation_weight=0.4,
        distillation_temperature=3.0,
    )
    search, final, original = training.search_settings(), training.final_settings(), training.original_settings(9e-5)
    assert [(s.learning_rate, s.min_learning_rate) for s in (search, final, original)] == [
        (3e-4, 1e-4),
        (2e-4, 0.0),
        (9e-5, 0.0),
    ]
    assert [s.label_smoothing for s in (search, final, original)] == [0.0, 0.1, 0.0]
    for one in (search, final, original):
        assert (one.optimizer, one.warmup_steps, one.weight_decay) == ("adamw", 7, 0.05)
        assert one.distillation_weight == 0.0
    taught = training.distilling(final)
    assert (taught.distillation_weight, taught.distillation_temperature) == (0.4, 3.0)
    assert dataclasses.replace(taught, distillation_weight=0.0, distillation_temperature=2.0) == final


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--epochs=0", "`--epochs` must be at least 1, but is 0"),
        ("--original_epochs=-1", "`--original_epochs` must be at least 0, but is -1"),
        ("--order_examples=0", "`--order_examples` must be at least 1, but is 0"),
    ],
)
def test_numbers_that_are_too_small(argument, message):
    with pytest.raises(InvalidInputError, match=message):
        settings(argument)


def test_words_that_are_none(capsys):
    for argument in ("--estimator=median", "--order=taylor", "--start=scratch"):
        with pytest.raises(SystemExit):
            settings(argument)
        assert "invalid choice" in capsys.readouterr().err


def test_max_params_is_short_for_a_limit():
    wanted = BertNetworkArguments(max_params=["67e6", "5"], max=["macs=3M"])
    assert wanted.limits() == [
        Limit("macs", max=3_000_000),
        Limit("params", max=67_000_000),
        Limit("params", max=5),
    ]
    assert dataclasses.replace(wanted).limits() == wanted.limits()
