"""What the recipe for BERT says before any work: what it would cost, and what cannot be."""

import dataclasses
import json
import os
import re
import runpy
import shutil
import time
from types import SimpleNamespace

import pytest
import torch
import yaml
from transformers import BertConfig

import searchhub
from searchhub.errors import InvalidInputError
from searchhub.formatting import read_amount
from searchhub.models.bert.supernet_bert import BertSupernetConfig, BertSupernetForSequenceClassification
from searchhub.workflows.arguments import parse
from searchhub.workflows.text_arguments import BertArguments, BertNetworkArguments, TextDataArguments

from ..data.tiny_text import write_glue
from .bert_cases import RECIPE, SHALLOW, SMALLEST, TRIALS, write_checkpoint
from .harness import RECIPES, content, started_by_a_user, words


@pytest.mark.slow
def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(run, tmp_path):
    limits = ["--max", "encoder_params=9000", "encoder_params=1000", "latency_ms=1"]
    dry = run(tmp_path / "run", "--dry_run", "--epochs=7", "--warmup_trials=4", *limits)
    code, said = dry.end()
    assert code == 0, said
    assert f"Search: {TRIALS + 4} trials of 1 steps of 16, the first 4 of them warm-up" in said
    assert re.search(r"Latency: ms, .*, batch 1 of 12 tokens", said)
    assert re.search(r"multiply-adds: about [\d.]+M \(forward and backward", said)
    assert re.search(r"memory: [\d.]+KB weights, [\d.]+KB optimizer state, at most [\d.]+[MK]B activations", said)
    assert re.search(r"time: about \d+:\d\d in one process", said)
    assert "One final network: 7 epochs" in said
    # Of each of the three limits the network, a random and a uniform one; and the largest.
    assert "Before the search: the original, 1 epochs. After it: at most 10 networks." in said, said
    assert "encoder_params <= 9,000: feasible (" in said
    assert "encoder_params <= 1,000: NOT feasible (" in said
    assert "latency_ms <= 1: NOT feasible (" in said
    assert os.listdir(tmp_path) == [dry.log.name]


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(p.name for p in RECIPES.glob("ddp_bert*.yaml")))
def test_settings_in_files(file, run, tmp_path):
    kinds = runpy.run_path(str(RECIPE))["KINDS"]
    read = parse(kinds, [f"--config={RECIPES / file}"], None)
    known = {name: value for group in read for name, value in dataclasses.asdict(group).items()}
    for name, value in yaml.safe_load((RECIPES / file).read_text()).items():
        assert known[name] == value
    small = ["--max_length=16", "--sequence_length=12", "--validation_size=10", "--batch_size=16"]
    argv = [f"--config={RECIPES / file}", *small, "--task_name=sst2", "--dry_run"]
    code, said = run(tmp_path / "run", *argv).end()
    assert code == 0, said


def test_the_papers_settings_are_of_bert_base():
    """DDPNAS Sec. 4.4.1 on 12 layers; the limit of Table 5 lies within what the space spans."""
    settings = yaml.safe_load((RECIPES / "ddp_bert_glue.yaml").read_text())
    with torch.device("meta"):
        supernet = BertSupernetForSequenceClassification(BertSupernetConfig(**BertConfig().to_diff_dict()))
    low, high = searchhub.params_table(supernet).bounds()
    assert low < read_amount(settings["max_params"][0]) < high
    assert round(high / 1e6) == 109


def test_costs_are_taken_on_the_device_that_trains(bert_once):
    """Here there is one device; "meta" stands for another."""
    checkpoint = str(bert_once[0] / "checkpoint")
    sizes = BertArguments(model_name_or_path=checkpoint, original_epochs=1, sequence_length=12)
    data = TextDataArguments(task_name="sst2", data_dir=str(bert_once[0] / "glue"), max_length=16)
    accelerator = SimpleNamespace(device=torch.device("meta"), print=print)
    supernet = sizes.original(data.task(sizes.model_name_or_path, 0), 0, accelerator).supernet
    assert {p.device.type for p in supernet.parameters()} == {"meta"}
    tables = BertNetworkArguments().costs(supernet, None, accelerator)
    assert [table.name for table in tables] == ["macs", "params", "encoder_params"]
    with pytest.raises(InvalidInputError, match="meta"):
        BertNetworkArguments(max=["latency_ms=1"]).costs(supernet, None, accelerator)


# -- what cannot be ---------------------------------------------------------------------------------------------------

WHOLE_NUMBERS = "must be distinct whole numbers from 1 to 4"
BAD = {
    "a depth beyond the checkpoint's": (["--depths", "4", "8"], f"`depths` {WHOLE_NUMBERS}, the layers of"),
    "more heads than the checkpoint's": (["--num_heads", "0", "8"], "whole numbers from 0 to 4, the heads of"),
    "wider than the checkpoint": (["--intermediate_sizes=33"], "`intermediate_sizes` must be distinct whole numbers"),
    "unknown task": (["--task_name=wnli"], "`--task_name` must be one of cola, sst2"),
    "both kinds of data": (["--dataset=x.csv"], "Either `--task_name` (one of cola, sst2, "),
    "columns of a GLUE task": (["--text_column=sentence"], "`--text_column` is for `--dataset`"),
    "nothing in data_dir": (["--data_dir=empty"], "`--data_dir` must hold sst2: `train.tsv`, `dev.tsv`"),
    "infeasible limit": (["--max=encoder_params=1000"], "must hold for this space, but got 1,000. Raise the limit"),
    "infeasible where nobody searches": (
        ["--searcher=uniform", f"--max=encoder_params={SHALLOW - 1}"],
        f"they have at least {SHALLOW:,} encoder_params. Raise the limit",
    ),
    "limits of different numbers": (
        ["--max", "macs=1e5", "macs=2e5", "--min", "macs=1", "macs=2", "macs=3"],
        "one word of each option for all networks, or one for each network",
    ),
    "a batch beyond the split": (["--batch_size=128"], "must hold at least one batch of 128, but holds 86 examples"),
    "longer than the positions": (["--max_length=65"], "`--max_length` must be at most the checkpoint's 64 positions"),
    "sequences longer than the positions": (["--sequence_length=65"], "`sequence_length` must be from 1 to 64"),
    "no epochs": (["--epochs=0"], "`--epochs` must be at least 1, but is 0"),
    "no learning rate of final training": (["--final_learning_rate=-1"], "`learning_rate > 0`"),
    "learning more than all from a teacher": (["--distillation_weight=1.5"], "`distillation_weight` must be in [0, 1]"),
    "a search that learns from no teacher": (["--search_distillation"], "but `--distillation_weight` is 0. Raise it"),
    "a final batch beyond the data": (["--final_batch_size=128"], "must hold at least one batch of 128, but holds 96"),
    "smoothing of a number": (
        ["--task_name=stsb", "--ignore_mismatched_sizes", "--final_label_smoothing=0.1"],
        "`--final_label_smoothing` must be 0 for `stsb`",
    ),
    "more labels than the classifier has": (["--task_name=mnli"], "has 2, ['LABEL_0', 'LABEL_1']. Give a checkpoint"),
    "a new classifier that is not fine-tuned": (
        ["--task_name=mnli", "--ignore_mismatched_sizes", "--original_epochs=0"],
        "`--original_epochs 0` is for a checkpoint that is fine-tuned for the task, but of",
    ),
    "statistics of no BatchNorm": (["--batch_norm_batches=2"], "must hold settings of this recipe (see --help)"),
    "uniform networks of no whole layers": (
        ["--searcher=uniform", "--num_heads=2"],
        "must offer the checkpoint's 32 and 4, but do not. Add them",
    ),
    "credit where nobody assigns it": (
        ["--searcher=random", "--estimator=pairs"],
        "`--estimator` is for `--searcher` `ddp`",
    ),
    "distillation of a search without a teacher": (["--search_distillation", "--dry_run"], "needs a teacher's part"),
    "a batch beyond the split in a dry run": (["--batch_size=128", "--dry_run"], "must hold at least one batch of 128"),
    "trials of no search": (["--searcher=uniform", "--evaluations=3"], "`--evaluations` is for a search"),
    "no such checkpoint": (["--model_name_or_path=nobody/nothing"], "Without a network, give the path of a local copy"),
}
"""Why it stops: what was given, and what is said."""


def refused(bad, *messages):
    """It says so and ends, and has written nothing."""
    code, said = bad.end()
    assert code == 1, said
    assert said.rstrip().rpartition("\n")[2].startswith("error: "), said
    for message in messages:
        assert message in said
    assert "Traceback" not in said
    assert not list(bad.log.parent.glob("run*/**/*"))


@pytest.mark.slow
@pytest.mark.parametrize("why", BAD)
def test_what_cannot_be_is_said_before_any_work(why, run, tmp_path):
    argv, message = BAD[why]
    (tmp_path / "empty").mkdir()
    refused(run(tmp_path / "run", *(word.replace("=empty", f"={tmp_path / 'empty'}") for word in argv)), message)


@pytest.mark.slow
def test_no_data_at_all(run, tmp_path):
    refused(run(tmp_path / "run", without=["task_name"]), "Either `--task_name`", "but got None and None")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "distilbert"}, "The checkpoint must be BERT (`model_type` `bert`), but"),
        ({"num_attention_heads": 5}, "multiple of"),
        ({"max_position_embeddings": 80}, "must hold every weight of the encoder in the shape"),
        ({"vocab_size": 12}, "must hold every weight of the encoder in the shape"),
    ],
)
def test_checkpoints_that_are_not_bert(changes, message, run, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, **changes}))
    refused(run(tmp_path / "run", f"--model_name_or_path={checkpoint}"), message)


@pytest.mark.slow
def test_a_tokenizer_with_more_tokens_than_the_checkpoint(run, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "checkpoint", vocab_size=12)
    refused(run(tmp_path / "run", f"--model_name_or_path={checkpoint}"), "tokenizer have at most its 12 tokens")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("sentence\t", "words\t"), "must have the columns ['sentence', 'label'] of sst2"),
        (lambda text: text.replace("\t1\n", "\tgood\n"), "of `sst2` must be ['negative', 'positive'] or 0 … 1, but"),
    ],
)
def test_files_of_glue_that_are_something_else(change, message, run, tmp_path):
    file = write_glue(tmp_path / "glue", "sst2") / "train.tsv"
    file.write_text(change(file.read_text()))
    refused(run(tmp_path / "run", f"--data_dir={tmp_path / 'glue'}"), message)


@pytest.mark.slow
def test_other_data_without_such_a_column(run, tmp_path):
    (tmp_path / "x.csv").write_text("first,opinion\n" + "good,yes\nbad,no\n" * 40)
    argv = [f"--dataset={tmp_path / 'x.csv'}", "--label_column=verdict"]
    bad = run(tmp_path / "run", *argv, without=["task_name", "data_dir"])
    refused(bad, "`--label_column` must name a column of", "It has: ['first', 'opinion']")


@pytest.mark.slow
def test_settings_of_another_run(bert_once, run, finish, tmp_path):
    """Nothing of a run is lost to one with other settings in the same folder."""
    folder = shutil.copytree(bert_once[0] / "run", tmp_path / "other")
    before = content(folder)
    for changed, message in {
        "--original_learning_rate=0.01": "must be of the same settings to go on from, but these changed: `training`",
        "--learning_rate=0.01": "`evaluator.training.learning_rate` was 0.001, now 0.01",
        "--searcher=uniform": "must not hold a search where nobody searches",
    }.items():
        code, said = run(folder, changed).end()
        assert code == 1, said
        assert message in said
        assert "Traceback" not in said
    assert {k: v for k, v in content(folder).items() if k.name != ".lock"} == {
        k: v for k, v in before.items() if k.name != ".lock"
    }


# -- without a network ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_offline_the_way_out_is_named(run, tmp_path):
    """`HF_HUB_OFFLINE=1`, as all forked runs have it."""
    bad = run(tmp_path / "run", without=["data_dir"])
    refused(bad, "`sst2` must be loadable from `nyu-mll/glue` on the Hub", "`--data_dir`")


IN_TURN = """
import json, runpy, sys
for sys.argv in json.loads(sys.argv[1]):
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as stop:
        print(stop.code, "-- end", sep="\\n", file=sys.stderr)  # Python says a code that is a text so, and ends with 1
"""


@pytest.mark.slow
def test_where_nothing_answers_it_is_said_at_once(tmp_path):
    """In one process that has no network: without the data, then without the checkpoint."""
    closed = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    rest = [*words(SMALLEST), f"--output_dir={tmp_path / 'run'}"]
    checkpoints = (write_checkpoint(tmp_path / "checkpoint"), "nobody/nothing")
    argvs = [[str(RECIPE), f"--model_name_or_path={checkpoint}", *rest] for checkpoint in checkpoints]
    started = time.perf_counter()
    done = started_by_a_user(["-c", IN_TURN, json.dumps(argvs)], tmp_path, **closed)
    assert time.perf_counter() - started < 60  # about 8, nearly all of it imports, when nothing else runs
    data, checkpoint, after = done.stderr.split("-- end\n")
    for said, way_out in ((data, "`--data_dir`"), (checkpoint, "Without a network, give the path of a local copy")):
        assert "error: " in said
        assert way_out in said
    assert after == ""
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
