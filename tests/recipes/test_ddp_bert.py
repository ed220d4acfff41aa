"""The recipe for BERT from end to end at its smallest. One run is started as a user does; the others are forked."""

import json
import re
import shutil
import signal

import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification, pipeline

from searchhub import Limit, SearchTrainer
from searchhub.costs.macs import count_macs
from searchhub.models.bert.importance_bert import importance
from searchhub.models.bert.plain_bert import plain_where_possible
from searchhub.models.bert.supernet_bert import BertSupernetForSequenceClassification
from searchhub.networks.network import Network, read_facts
from searchhub.networks.saved_trainer import load_trainer
from searchhub.result import SearchResult
from searchhub.space import Architecture
from searchhub.spaces.bert import full_width

from ..data.tiny_text import text
from .bert_cases import ALONE, NAME, SCORED, SHALLOW, TRIALS, write_fine_tuned
from .harness import content, outcome, trials_done, two_processes

MODEL_FILES = {
    ".eval_results",
    "README.md",
    "architecture.png",
    "config.json",
    "configuration_bert.py",
    "model.safetensors",
    "modeling_bert.py",
    "searchhub.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


# -- running it -------------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(bert_once, tmp_path):
    """A copy of the finished run, to go on with."""
    shutil.copytree(bert_once[0] / "run", tmp_path / "run")
    return tmp_path / "run"


def supernet_in(folder):
    return BertSupernetForSequenceClassification.from_pretrained(folder / "original")


def sizes(model):
    """Parameters with and without embeddings, as anyone would count them."""
    return (
        sum(p.numel() for p in model.parameters()),
        sum(p.numel() for name, p in model.named_parameters() if ".embeddings." not in name),
    )


def weights(folder, name=NAME):
    return (folder / "models" / name / "model.safetensors").read_bytes()


def card(folder, name=NAME):
    return (folder / "models" / name / "README.md").read_text()


# -- from end to end --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_checkpoint_becomes_smaller(bert_once):
    root, said = bert_once
    folder, model = root / "run", root / "run" / "models" / NAME
    assert "Processes: 1 on cpu, 1 threads each" in said
    assert "Data: sst2: 86 train, 10 validation, 24 test" in said
    assert f"Space: {6**2 + 6**4:,} architectures of checkpoint" in said
    assert "fine-tune the original: 1/1 done" in said
    assert f"search: {TRIALS}/{TRIALS} done" in said
    assert f"score architectures: {SCORED}/{SCORED} done" in said
    assert "train 4 networks: 4/4 done" in said
    assert {p.name for p in (folder / "models").iterdir()} == {NAME}
    assert {p.name for p in model.iterdir()} == MODEL_FILES
    names = {f"{NAME}-random0.json", f"{NAME}-uniform.json", "largest.json"}
    assert {p.name for p in (folder / "baselines").iterdir()} == names
    assert not list(folder.rglob("*.pt")) + list(folder.rglob("*.bin")) + list(folder.rglob("*.pkl"))

    # The original was trained, and its heads and neurons were ordered.
    original, stock = supernet_in(folder), AutoModelForSequenceClassification.from_pretrained(root / "checkpoint")
    assert not torch.equal(original.classifier.weight, stock.classifier.weight)
    assert not torch.equal(original.neuron_order[0], torch.arange(32))
    assert set(json.loads((folder / "original" / "original.json").read_text())["metrics"]) == {"accuracy"}

    result, facts = SearchResult.load(folder), read_facts(model)
    assert len(result.history) == TRIALS + SCORED == trials_done(folder)
    assert result.distribution is not None
    assert set(result.costs) == {"macs", "params", "encoder_params"}
    assert (facts["epochs"], facts["examples"], facts["split"]) == (1, 24, "test")

    # Reloaded and measured in a fresh process, and found as good as on its card.
    measured = json.loads(re.search(r"^\{.*\}$", said, re.MULTILINE)[0])
    assert (measured["model"], measured["task"], measured["examples"]) == (NAME, "sst2", 24)
    assert measured["accuracy"] == pytest.approx(facts["metrics"]["accuracy"], abs=1e-4)

    for words_ in ("base_model: checkpoint\n", "pipeline_tag: text-classification\n"):
        assert words_ in card(folder)
    for words_ in ("AutoModelForSequenceClassification", "AutoTokenizer", "weights of the fine-tuned checkpoint"):
        assert words_ in card(folder)
    table = (folder / "report" / "networks.md").read_text()
    uniform, other = (json.loads((folder / f"baselines/{NAME}-{n}.json").read_text()) for n in ("uniform", "random0"))
    row = f"| {facts['costs']['encoder_params']:,.0f} | {facts['metrics']['accuracy']:.4f} "
    row += f"| {other['metrics']['accuracy']:.4f} (n=1) | {uniform['metrics']['accuracy']:.4f} |"
    assert row in table
    assert 0.95 * 9000 < other["costs"]["encoder_params"] <= 9000
    assert uniform["identity"]["architecture"]["depth"] == 2
    assert uniform["costs"]["encoder_params"] == SHALLOW <= 9000
    largest = json.loads((folder / "baselines" / "largest.json").read_text())
    assert largest["costs"]["params"] == sizes(stock)[0]
    before = json.loads((folder / "original" / "original.json").read_text())
    assert before["costs"] == {name: largest["costs"][name] for name in ("macs", "params")}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    at = rows[0].index("test accuracy")
    known = {row[0]: (row[2], row[at]) for row in rows}
    both = {"full size, trained on alike": largest, "the original, before the search": before}
    for name, facts_ in both.items():
        assert known[f"none: {name}"] == (f"{sizes(stock)[0]:,}", f"{facts_['metrics']['accuracy']:.4f}")
    assert (folder / "report" / "theta.png").exists()
    assert (folder / "report" / "report.html").exists()


@pytest.mark.slow
def test_a_published_network_is_a_model_as_any_other(bert_once):
    model_dir = bert_once[0] / "run" / "models" / NAME
    model, facts = AutoModelForSequenceClassification.from_pretrained(model_dir), read_facts(model_dir)
    assert type(model).__name__ == "SearchedBertForSequenceClassification"
    assert sizes(model) == (facts["costs"]["params"], facts["costs"]["encoder_params"])
    assert sizes(model)[1] <= 9000
    (answer,) = pipeline("text-classification", model=str(model_dir), top_k=None)(["good a b"])
    assert {row["label"] for row in answer} == {"negative", "positive"}
    assert sum(row["score"] for row in answer) == pytest.approx(1)


@pytest.mark.slow
def test_again_nothing_is_done_again(finished, finish):
    kept = [finished / name for name in ("models", "baselines", "checkpoints", "original")]
    before, result = content(*kept), (finished / "result.json").read_bytes()
    said = finish(finished)
    assert f"search: {TRIALS} to do, {TRIALS} of them done before" in said
    assert content(*kept) == before
    assert (finished / "result.json").read_bytes() == result


@pytest.mark.slow
def test_other_limits_train_only_what_is_new(finished, finish):
    before = content(finished / "models", finished / "baselines", finished / "original")
    result = (finished / "result.json").read_bytes()
    said = finish(finished, "--max", "encoder_params=7000", "encoder_params=9000")
    assert "No uniform network for encoder_params <= 7,000: " in said
    after = content(finished / "models", finished / "baselines", finished / "original")
    assert before.items() <= after.items()
    new = {path.relative_to(finished).parts[:2] for path in set(after) - set(before)}
    # No uniform network is as small: two whole layers are the fewest.
    assert new == {("models", "encoder_params-7K"), ("baselines", "encoder_params-7K-random0.json")}

    # One network for two limits at once.
    finish(finished, "--max", "encoder_params=12K,macs=80K", *ALONE)
    (made,) = {path.name for path in (finished / "models").iterdir()} - {NAME, "encoder_params-7K"}
    assert made == "encoder_params-12K-macs-80K"
    model = AutoModelForSequenceClassification.from_pretrained(finished / "models" / made)
    costs = read_facts(finished / "models" / made)["costs"]
    assert sizes(model) == (costs["params"], costs["encoder_params"])
    assert sizes(model)[1] <= 12_000
    inputs = {"input_ids": torch.ones(1, 12, dtype=torch.int64, device="meta")}
    assert costs["macs"] == count_macs(model.to("meta"), inputs) <= 80_000
    assert (finished / "result.json").read_bytes() == result


@pytest.mark.slow
def test_latency_is_measured_once(finished, finish, run):
    words_ = ["--max=latency_ms=15", *ALONE]
    assert "latency is measured" in finish(finished, *words_)
    table = (finished / "latency.json").read_bytes()
    facts = read_facts(finished / "models" / "latency_ms-15")
    assert 0 < facts["costs"]["latency_ms"] <= 15
    assert "| latency_ms ≤ 15 |" in card(finished, "latency_ms-15")
    assert "latency is measured" not in finish(finished, *words_)
    assert (finished / "latency.json").read_bytes() == table
    code, said = run(finished, *words_, "--latency_batch_size=4").end()
    assert code == 1
    assert "error: `--latency_batch_size` must be the 1 that" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "metrics", "labels"),
    [
        ("stsb", ["combined_score", "pearson", "spearmanr"], ["score"]),
        ("mrpc", ["accuracy", "combined_score", "f1"], ["not_equivalent", "equivalent"]),
        ("mnli", ["accuracy", "accuracy_m", "accuracy_mm"], ["entailment", "neutral", "contradiction"]),
    ],
)
def test_other_tasks(task, metrics, labels, finish, tmp_path):
    # The checkpoint's classifier is of two labels.
    other = ["--ignore_mismatched_sizes"] if len(labels) != 2 else []
    said = finish(tmp_path / "run", f"--task_name={task}", *other, *ALONE)
    assert ("Newly drawn, to be fine-tuned before the search: classifier" in said) == bool(other)
    model = tmp_path / "run" / "models" / NAME
    facts, config = read_facts(model), json.loads((model / "config.json").read_text())
    assert sorted(facts["metrics"]) == metrics
    first, *parts = (facts["metrics"][name] for name in (GLUE_MEAN[task], *(set(metrics) - {GLUE_MEAN[task]})))
    assert first == pytest.approx(sum(parts) / 2)
    assert list(config["id2label"].values()) == labels
    assert config["problem_type"] == ("regression" if task == "stsb" else "single_label_classification")
    assert facts["examples"] == (24 + 27 if task == "mnli" else 24)
    assert f"test {GLUE_MEAN[task]}" in (tmp_path / "run" / "report" / "networks.md").read_text()
    assert f"Data: {task}: 86 train, 10 validation, {facts['examples']} test" in said


GLUE_MEAN = {"stsb": "combined_score", "mrpc": "combined_score", "mnli": "accuracy"}
"""The primary metric, which is the mean of the two others."""


@pytest.mark.slow
def test_other_data_by_columns(finish, tmp_path):
    rows = [f"{'a good b' if i % 3 else 'bad c'},d {'e ' * (i % 4)},{('no', 'yes', 'so')[i % 3]}" for i in range(90)]
    (tmp_path / "opinions.csv").write_text("\n".join(["first,second,opinion", *rows]))
    argv = [f"--dataset={tmp_path / 'opinions.csv'}", "--text_column=first", "--pair_column=second"]
    argv += ["--label_column=opinion", "--ignore_mismatched_sizes", *ALONE]
    said = finish(tmp_path / "run", *argv, without=["task_name", "data_dir"])
    assert "Data: opinions.csv: 72 train, 9 validation, 9 test" in said
    config = json.loads((tmp_path / "run" / "models" / NAME / "config.json").read_text())
    # The checkpoint's classifier is of two labels: a new one takes its place.
    assert list(config["id2label"].values()) == ["no", "so", "yes"]
    assert supernet_in(tmp_path / "run").classifier.weight.shape == (3, 24)


# -- options have their effects ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("order", ["none", "magnitude"])
def test_without_a_search_the_network_is_evenly_spread_whole_layers(order, finish, tmp_path):
    said = finish(tmp_path / "run", "--searcher=uniform", f"--order={order}", "--random_networks=0")
    folder = tmp_path / "run"
    assert "] search: " not in said
    assert not (folder / "journal.jsonl").exists()
    assert not (folder / "report" / "theta.png").exists()
    result = SearchResult.load(folder)
    assert (result.distribution, result.history) == (None, ())
    facts = read_facts(folder / "models" / NAME)
    assert facts["identity"]["architecture"] == full_width(result.space)[1].to_dict()
    assert {p.name for p in (folder / "baselines").iterdir()} == {"largest.json"}
    model = AutoModelForSequenceClassification.from_pretrained(folder / "models" / NAME)
    assert sizes(model)[1] == SHALLOW
    assert "weights of the fine-tuned checkpoint" in card(folder)

    # What orders heads and neurons shows in the original.
    supernet = supernet_in(folder)
    heads, neurons = importance(supernet, order="magnitude")
    if order == "none":
        assert torch.equal(supernet.neuron_order, torch.arange(32).expand(4, -1))
        assert not (neurons.diff() <= 0).all()
    else:
        assert (heads.diff() <= 0).all()
        assert (neurons.diff() <= 0).all()
        assert not torch.equal(supernet.neuron_order, torch.arange(32).expand(4, -1))

    before = content(folder / "models", folder / "original")
    finish(folder, "--searcher=uniform", f"--order={order}", "--random_networks=0")
    assert content(folder / "models", folder / "original") == before


@pytest.mark.slow
def test_what_stock_bert_can_express_is_published_as_stock_bert(finish, tmp_path):
    both = ["--plain_bert", "--max", "encoder_params=9000", "encoder_params=12000", *ALONE]
    said = finish(tmp_path / "run", "--searcher=uniform", *both)
    model_dir = tmp_path / "run" / "models" / NAME
    model = AutoModelForSequenceClassification.from_pretrained(model_dir)
    assert type(model) is BertForSequenceClassification
    assert sizes(model)[1] == SHALLOW == read_facts(model_dir)["costs"]["encoder_params"]
    assert {p.name for p in model_dir.iterdir()} == MODEL_FILES - {"modeling_bert.py", "configuration_bert.py"}
    assert "Published as it is" not in said
    assert "trust_remote_code" not in card(tmp_path / "run")

    said = finish(tmp_path / "searched", "--plain_bert", "--num_heads", "2", *ALONE)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "searched" / "models" / NAME)
    assert type(model).__name__ == "SearchedBertForSequenceClassification"
    assert "Published as it is: Stock BERT must have one feed-forward width and 4 heads in every layer" in said
    assert "No uniform networks" not in said  # they were not asked for
    for folder in (tmp_path / "run", tmp_path / "searched"):
        assert load_trainer(folder).publish_as is plain_where_possible


@pytest.mark.slow
def test_random_search_generates_the_best_that_it_tried(finish, tmp_path):
    trial = ("--scored=0", "--paths=trial")
    finish(tmp_path / "run", "--searcher=random", "--evaluations=4", *trial, "--max=encoder_params=14K", *ALONE)
    result = SearchResult.load(tmp_path / "run")
    assert (result.distribution, len(result.history)) == (None, 4)
    cost = result.costs["encoder_params"]
    within = [r for r in result.history if cost(r.trial.architecture) <= 14_000]
    best = max(within, key=lambda r: r.score)
    facts = read_facts(tmp_path / "run" / "models" / "encoder_params-14K")
    same = [r.trial.architecture.to_dict() for r in within if r.score == best.score]
    assert facts["identity"]["architecture"] in same
    assert "not an optimum of the score (best evaluated)" in card(tmp_path / "run", "encoder_params-14K")


@pytest.mark.slow
def test_without_pruning_all_candidates_stay(finish, tmp_path):
    finish(tmp_path / "run", "--searcher=ddp-noprune", "--evaluations=4", "--scored=0", *ALONE)
    result = SearchResult.load(tmp_path / "run")
    assert len(result.history) == 4
    for choice, codes in zip(result.space.choices, result.distribution.survivors, strict=True):
        assert len(codes) == len(choice.candidates)
    assert "`searcher.prune`: False" in card(tmp_path / "run")


@pytest.mark.slow
def test_networks_may_start_from_the_search_and_learn_from_the_original(finished, finish):
    before, result = weights(finished), (finished / "result.json").read_bytes()
    architecture = read_facts(finished / "models" / NAME)["identity"]["architecture"]
    searched = (finished / "supernet" / "model.safetensors").read_bytes()
    # What is trained otherwise gets a folder of its own beside what is finished.
    started, taught = f"{NAME}.2", f"{NAME}.3"
    finish(finished, "--start=supernet", *ALONE)
    assert "`start`: weights of the supernet" in card(finished, started)
    # What is published as the supernet, and looked at as shared weights, is what was searched.
    assert (finished / "supernet" / "model.safetensors").read_bytes() == searched
    # A network trained later starts as the others did: the same one is found to be done.
    later, name = load_trainer(finished), Network(NAME, Architecture(architecture))
    assert later._identity(name) == read_facts(finished / "models" / started)["identity"]
    finish(finished, "--distillation_weight=0.5", *ALONE)
    assert "`distillation_weight`: 0.5" in card(finished, taught)
    assert "`start`: weights of the fine-tuned checkpoint" in card(finished, taught)
    assert weights(finished) == before
    assert len({before, weights(finished, started), weights(finished, taught)}) == 3
    # The search is the same one, and so is what came out of it.
    assert (finished / "result.json").read_bytes() == result
    assert read_facts(finished / "models" / NAME)["identity"]["architecture"] == architecture


@pytest.mark.slow
def test_networks_may_be_scored_and_start_with_solved_matrices(finish, tmp_path):
    folder = tmp_path / "run"
    untrained = ("--searcher=random", "--evaluations=2", "--epochs_per_trial=0")
    finish(folder, "--reconstruct", *untrained, *ALONE)
    assert (folder / "reconstruction.safetensors").exists()
    assert "`start`: weights of the fine-tuned checkpoint, output matrices solved anew" in card(folder)
    facts = read_facts(folder / "models" / NAME)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["evaluator"]["reconstruction"] == facts["identity"]["reconstruction"]
    # Later the same network is found, and what it was predicted from is scored as it was.
    again = SearchTrainer.from_run(folder, progress=False)
    (network,) = again.train(Limit("encoder_params", max=9000))
    assert network.facts["identity"] == facts["identity"]
    assert network.network.architecture.certificate.measured == facts["certificate"]["measured"]


@pytest.mark.slow
def test_the_search_may_learn_from_the_original_too(bert_once, finish, tmp_path):
    folder = tmp_path / "run"
    finish(folder, "--distillation_weight=0.5", "--search_distillation", *ALONE)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["evaluator"]["training"]["distillation_weight"] == 0.5
    # The same trials on the same batches, but another loss.
    losses = [[r.metrics["loss"] for r in SearchResult.load(f).history[:3]] for f in (folder, bert_once[0] / "run")]
    assert all(a != b for a, b in zip(*losses, strict=True))
    assert "`training.distillation_weight`: 0.5" in card(folder)


@pytest.mark.slow
def test_what_is_fine_tuned_already_is_taken_as_it_is(finish, tmp_path):
    """From a csv, whose test examples it may have seen, which the log, the tables and the card say."""
    names = {0: "POSITIVE", 1: "Negative"}
    checkpoint = write_fine_tuned(tmp_path / "mine", id2label=names, label2id={"positive": 0, "negative": 1})
    rows = [f"{text(i)},{('negative', 'positive')[i % 2]}" for i in range(96)]
    (tmp_path / "mails.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    folder, given = tmp_path / "run", [f"--model_name_or_path={checkpoint}", f"--dataset={tmp_path / 'mails.csv'}"]
    fast = ["--searcher=uniform", "--order=none", "--max=encoder_params=60%", *ALONE]
    data = {"without": ["original_epochs", "task_name", "data_dir"]}
    said = finish(folder, *given, *fast, **data)
    assert (
        "The checkpoint's labels ['POSITIVE', 'Negative'] are brought into the order ['negative', 'positive']" in said
    )
    assert "has the task's labels: it is taken as it is, fine-tuned already" in said
    assert "measure the original: 1/1 done" in said
    assert "The original, taken as it is: {'accuracy': " in said
    original = supernet_in(folder)
    stock = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    for name, parameter in stock.named_parameters():
        ours = original.get_parameter(name)
        assert torch.equal(parameter, ours.flip(0) if name.startswith("classifier") else ours), name

    seen = "drawn from mails.csv. If the checkpoint `mine`, which came with a classifier, was fine-tuned on some"
    table = (folder / "report" / "networks.md").read_text()
    (made,) = (folder / "models").iterdir()
    assert "none: the original, before the search (may have seen the test)" in table
    for place in (said, table, card(folder, made.name), (folder / "report" / "report.html").read_text()):
        assert seen in place.replace("<code>", "`").replace("</code>", "`")
    assert str(tmp_path) not in card(folder, made.name)

    # Examples that it has not seen are a test.
    (tmp_path / "new.csv").write_text("\n".join(["text,label", *rows[:20]]) + "\n")
    dry = finish(tmp_path / "dry", *given, *fast, f"--test_file={tmp_path / 'new.csv'}", "--dry_run", **data)
    assert "20 test examples" in dry
    assert "may have seen" not in dry
    assert "which came with a classifier" not in dry


@pytest.mark.slow
def test_sizes_that_leave_no_layer_whole_are_offered(finish, tmp_path):
    sizes_ = ["--num_heads", "2", "--intermediate_sizes", "8", "16", "--max", "encoder_params=7000"]
    said = finish(tmp_path / "run", *sizes_, "--random_networks=0")
    assert "No uniform networks: the sizes on offer leave no layer whole" in said
    assert {p.name for p in (tmp_path / "run" / "baselines").iterdir()} == {"largest.json"}
    table = (tmp_path / "run" / "report" / "networks.md").read_text()
    assert "none: the largest, trained on alike" in table
    assert "none: the original, before the search" in table


# -- stopped and started ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_bits(bert_once, run, finish, tmp_path):
    folder, once = tmp_path / "run", bert_once[0] / "run"
    # While the original is fine-tuned; for so long that it cannot be too late.
    going = run(folder, "--original_epochs=300")
    going.wait_for(lambda: "fine-tune the original: 1 to do" in going.said)
    assert going.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert not (folder / "original").exists()

    going = run(folder).wait_for(lambda: trials_done(folder) > 3)  # the first proposal is saved
    assert going.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert not (folder / "result.json").exists()
    original = content(folder / "original")

    said = finish(folder)
    assert re.search(rf"search: {TRIALS} to do, [3-{TRIALS}] of them done before", said)
    assert content(folder / "original") == original
    assert outcome(folder) == outcome(once)
    assert weights(folder) == weights(once)


@pytest.mark.slow
def test_warmup_is_done_once_and_goes_on_to_the_same_bits(bert_once, run, finish, tmp_path):
    once, killed = tmp_path / "once", tmp_path / "killed"
    warm = ["--warmup_trials=2", "--estimation_epochs=1", *ALONE]
    said = finish(once, *warm)
    assert f"search: {TRIALS + 2}/{TRIALS + 2} done" in said
    going = run(killed, *warm).wait_for(lambda: trials_done(killed) > 2)  # the warm-up is saved
    assert going.end(signal.SIGKILL)[0] == -signal.SIGKILL
    said = finish(killed, *warm)
    assert re.search(rf"search: {TRIALS + 2} to do, [2-{TRIALS + 2}] of them done before", said)
    assert outcome(killed) == outcome(once)
    assert weights(killed) == weights(once)

    result = SearchResult.load(once)
    assert [r.trial.round for r in result.history] == [-1, -1, 0, 0, 0, 1, 1] + [-2] * SCORED
    lines = [json.loads(line) for line in (once / "journal.jsonl").read_text().splitlines()]
    assert [line["trial"] for line in lines] == list(range(TRIALS + 2 + SCORED))
    assert "warmup_trials: 2" in (once / "config.yaml").read_text()
    # The same paths as without, on other weights.
    alone = SearchResult.load(bert_once[0] / "run").history[:3]
    assert [r.trial.architecture for r in result.history[2:5]] == [r.trial.architecture for r in alone]
    assert all(a.metrics["loss"] != b.metrics["loss"] for a, b in zip(alone, result.history[2:5], strict=True))
    code, said = run(once, "--estimation_epochs=1", *ALONE).end()
    assert code == 1
    assert "`searcher.warmup_trials` was 2, now not set" in said


# -- several processes ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_find_the_same(run, tmp_path):
    folder = tmp_path / "run"
    options = ["--max", "encoder_params=9000", "latency_ms=15", *ALONE]
    runs = [
        # With what `accelerate launch` sets: the fresh process that measures networks again must not inherit it.
        run(folder, *options, env={**env, "ACCELERATE_USE_CPU": "true"}, tell=tmp_path / f"{r}.json", reload=True)
        for r, env in enumerate(two_processes())
    ]
    ends = [each.end() for each in runs]
    assert [code for code, _ in ends] == [0, 0], ends
    main, other = (said for _, said in ends)
    assert "Processes: 2 on cpu, 1 threads each" in main
    assert "latency is measured" in main
    assert other == ""
    results = [json.loads((tmp_path / f"{r}.json").read_text()) for r in range(2)]
    assert results[0] == results[1]
    assert len(results[0]["history"]) == TRIALS + SCORED
    assert SearchResult.from_dict(results[1]).distribution == SearchResult.load(folder).distribution
    assert "processes: 2" in (folder / "config.yaml").read_text()
    assert json.loads(re.search(r"^\{.*\}$", main, re.MULTILINE)[0])["model"] == NAME
