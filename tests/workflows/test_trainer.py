import dataclasses
import json

import pytest
import torch
from accelerate import Accelerator

from searchhub import (
    CompressionArguments,
    Limit,
    MobileSupernetConfig,
    MobileSupernetForImageClassification,
    RandomSearcher,
    SearchArguments,
    SearchCallback,
    SearchTrainer,
    TrainingSettings,
    UniformSearcher,
    macs_table,
    nasbench201_space,
)
from searchhub.data.sources import load_task
from searchhub.errors import InfeasibleLimitError, InvalidInputError, SearchhubError
from searchhub.evaluators.supernet import SupernetEvaluator
from searchhub.networks import network as network_module
from searchhub.networks import trainer as networks_module
from searchhub.networks.choose import first_within
from searchhub.networks.network import read_facts
from searchhub.trial import Budget

from ..networks.tiny_run import DIGITS

SIZES = {"stem_width": 8, "first_width": 8, "head_width": 16, "stage_widths": [8, 16], "stage_depths": [1, 1]}
STRIDES = {"stem_stride": 1, "stage_strides": [1, 2]}


def small_supernet():
    torch.manual_seed(0)
    config = MobileSupernetConfig(**SIZES, **STRIDES, kernel_sizes=[3, 5], num_labels=10, image_size=8)
    return MobileSupernetForImageClassification(config)


def arguments(folder, **changes):
    options = {"searcher_options": {"estimation_epochs": 1}, "budget": Budget(max_steps=1), "epochs": 1, "scored": 2}
    return SearchArguments(output_dir=folder, training=TrainingSettings(batch_size=32), **{**options, **changes})


def make(folder, changes=None, **options):
    return SearchTrainer(small_supernet(), load_task(DIGITS), arguments(folder, **(changes or {})), **options)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(networks_module, "_picture", lambda *_: b"")


class Heard(SearchCallback):
    def __init__(self):
        self.trials = []

    def on_trial_end(self, result, done, total, best):
        self.trials.append((result.trial.number, total))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run from its start to trained networks, with what was heard of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks_module, "_picture", lambda *_: b"")
        heard = Heard()
        trainer = make(tmp_path_factory.mktemp("run") / "run", callbacks=[heard])
        middle = sum(trainer.costs[0].bounds()) / 2
        networks = trainer.train(Limit("macs", max=middle), random_networks=1, largest=True)
    return trainer, networks, heard, middle


def test_train_searches_first_and_trains_all_alike(run):
    trainer, networks, heard, middle = run
    name, *beside = [n.network.name for n in networks]
    assert beside == [f"{name}-random0", "largest"]
    assert heard.trials == [(i, trainer.searcher.num_trials) for i in range(trainer.searcher.num_trials)]
    generated = networks[0]
    assert generated.costs["macs"] <= middle
    assert generated.folder == trainer.folder / "models" / name
    assert [n.folder for n in networks[1:]] == [None, None]
    assert {n.facts["epochs"] for n in networks} == {1}
    assert trainer.search() is trainer.search()
    command = (generated.folder / "README.md").read_text()
    assert "| DDPSearcher" in command or "DDPSearcher" in command


def test_the_same_program_goes_on(run, monkeypatch):
    trainer, networks, _, middle = run
    monkeypatch.setattr(networks_module, "fit", lambda *_, **__: pytest.fail("trained again"))
    again = make(trainer.folder)
    found = again.train(Limit("macs", max=middle), random_networks=1, largest=True)
    assert [n.metrics for n in found] == [n.metrics for n in networks]


def test_from_run_trains_more_networks_as_the_run_did(run, monkeypatch):
    trainer, networks, _, middle = run
    saved = SearchTrainer.from_run(trainer.folder, progress=False)
    files = {path: path.read_bytes() for path in trainer.folder.glob("supernet/*")}
    saved.save()
    assert files == {path: path.read_bytes() for path in trainer.folder.glob("supernet/*")}
    assert saved.search().distribution.to_dict() == trainer.search().distribution.to_dict()
    (more,) = saved.train((Limit("macs", max=middle), Limit("params", min=trainer.costs[1].bounds()[0])))
    same = {"training", "seed", "task", "inherited", "mixed_precision", "processes"}
    identity, first = more.facts["identity"], networks[0].facts["identity"]
    assert {key: identity[key] for key in same} == {key: first[key] for key in same}
    monkeypatch.setattr(networks_module, "fit", lambda *_, **__: pytest.fail("trained again"))
    (known,) = saved.train(Limit("macs", max=middle))
    assert known.metrics == networks[0].metrics
    # What was predicted is scored again on the weights that the search left, later to the same figure.
    certificate = networks[0].network.architecture.certificate
    assert certificate.objective == "predicted quality"
    assert certificate.measured > 0
    assert known.network.architecture.certificate == certificate
    card = (networks[0].folder / "README.md").read_text()
    assert any("Loss on the search's weights" in x and f"{certificate.measured:.4f}" in x for x in card.splitlines())


@pytest.mark.slow
def test_evaluate_loads_in_a_fresh_process_and_fails_where_a_card_says_more(run, capfd):
    trainer, networks, _, _ = run
    name = networks[0].network.name
    trainer.evaluate(name)
    assert name in capfd.readouterr().out
    file = networks[0].folder / "searchhub.json"
    facts = json.loads(file.read_text())
    try:
        file.write_text(json.dumps({**facts, "metrics": {"accuracy": 1.0}}))
        with pytest.raises(SearchhubError, match="must load in a fresh process and reach its score there"):
            trainer.evaluate(name)
    finally:
        file.write_text(json.dumps(facts))
    with pytest.raises(InvalidInputError, match="`nothing` must be one of"):
        trainer.evaluate("nothing")


def test_networks_are_published_by_name(run, monkeypatch):
    trainer, networks, _, _ = run
    pushed = []
    monkeypatch.setattr(network_module, "publish", lambda *given, **options: pushed.append((given, options)))
    networks[0].push_to_hub("me/small", private=True)
    trainer.push_to_hub("me/small", networks[0].network.name)
    assert pushed == [((networks[0].folder, "me/small"), {"private": True}), ((networks[0].folder, "me/small"), {})]
    with pytest.raises(InvalidInputError, match="is a baseline, of which only numbers are kept"):
        networks[1].push_to_hub("me/other")
    with pytest.raises(InvalidInputError, match="`network` must be one of the networks in"):
        trainer.push_to_hub("me/other", "largest")


# -- another way of scoring, choosing or searching is an argument -----------------------------------------------------


def opposite(task, metrics):
    return 1.0 - metrics[task.metric_name]


class Counting(SupernetEvaluator):
    made = ()

    def __init__(self, *given, **options):
        type(self).made = (*type(self).made, options)
        super().__init__(*given, **options)


def test_evaluator_score_and_objective_are_arguments(tmp_path):
    plain = make(tmp_path / "plain", score="metric")
    other = make(tmp_path / "other", score=opposite, evaluator=Counting)
    scores = [[r.score for r in t.search().history] for t in (plain, other)]
    assert scores[0][0] == pytest.approx(1.0 - scores[1][0])
    (options,) = Counting.made
    searcher = other.searcher
    assert (
        (options["num_trials"], options["max_steps_per_trial"])
        == (searcher.trained_trials, 1)
        == (searcher.num_trials - 2, 1)
    )
    assert "score: " not in (tmp_path / "plain" / "config.yaml").read_text()
    assert f"score: {__name__}:opposite" in (tmp_path / "other" / "config.yaml").read_text()

    smallest = plain.costs[0].space.decode(plain.costs[0].extreme_row(-1))
    chooses = make(tmp_path / "plain", score="metric", objective=first_within([smallest]))
    (network,) = chooses.choose(Limit("macs", max=plain.costs[0].bounds()[1]))
    assert network.architecture == smallest


def test_scores_that_no_run_could_go_on_with_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"`score` must be one of \['likelihood', 'metric'\]"):
        make(tmp_path / "run", score="loss").search()
    with pytest.raises(InvalidInputError, match=r"must be a function of a module, but is .*<lambda>"):
        make(tmp_path / "run", score=lambda task, metrics: 0.0).search()


def test_a_searcher_may_be_given_or_named(tmp_path):
    space = small_supernet().search_space
    searcher, trial = RandomSearcher(space, num_trials=2, budget=Budget(max_steps=1)), {"paths": "trial"}
    changes = {"searcher": searcher, "searcher_options": {}, "budget": Budget(), "scored": 0}
    given = make(tmp_path / "a", changes, evaluator_options=trial)
    changes = {"searcher": "random", "searcher_options": {"num_trials": 3}, "scored": 0}
    named = make(tmp_path / "b", changes, evaluator_options=trial)
    assert (len(given.search().history), named.searcher.num_trials) == (2, 3)
    assert named.searcher.budget == Budget(max_steps=1)


def test_a_rule_needs_no_search(tmp_path):
    space = small_supernet().search_space
    changes = {"searcher": UniformSearcher(space, rule="mine"), "searcher_options": {}, "budget": Budget()}
    nobody = make(tmp_path / "run", changes)
    limit = Limit("macs", max=nobody.costs[0].bounds()[1])
    with pytest.raises(InvalidInputError, match=r"`UniformSearcher` takes no trials\. Name another searcher"):
        nobody.check(limit)
    chosen = space.decode([0] * len(space.choices))
    by_rule = make(tmp_path / "run", changes, objective=first_within([chosen]))
    by_rule.check(limit)
    (network,) = by_rule.train(limit)
    assert network.network.architecture == chosen
    assert by_rule.search().searcher == {"searcher": "mine"}
    assert not (tmp_path / "run" / "config.yaml").exists()


# -- what would stop it is said before --------------------------------------------------------------------------------


def test_what_would_stop_it_is_said_before_the_search(tmp_path):
    trainer = make(tmp_path / "run")
    with pytest.raises(InfeasibleLimitError):
        trainer.check(Limit("macs", max=1.0))
    with pytest.raises(InvalidInputError, match="Limits must be distinct"):
        trainer.check(Limit("macs", max=1e9), Limit("macs", max=1e9))
    large = dataclasses.replace(arguments(tmp_path / "run"), training=TrainingSettings(batch_size=512))
    with pytest.raises(InvalidInputError, match="at least one batch of 512"):
        SearchTrainer(small_supernet(), load_task(DIGITS), large).check()
    with pytest.raises(InvalidInputError, match="at least one batch of 512"):
        SearchTrainer(small_supernet(), load_task(DIGITS), large).estimate()
    assert not (tmp_path / "run").exists()


def test_train_checks_its_limits_before_it_searches(tmp_path):
    trainer = make(tmp_path / "run")
    for limits, error, message in (
        ((Limit("macs", max=1.0),), InfeasibleLimitError, "must hold for this space"),
        ((Limit("mac", max=1e9),), InvalidInputError, "mac"),
        ((), InvalidInputError, "At least one network must be asked for"),
    ):
        with pytest.raises(error, match=message):
            trainer.train(*limits)
    with pytest.raises(InvalidInputError, match="At least one network must be asked for"):
        trainer.train_networks([])
    assert not (tmp_path / "run").exists()


def published(model):
    return model


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"publish_as": lambda model: model}, {}, "`publish_as` must be a function of a module"),
        ({"mixed_precision": "bf16"}, {"accelerator": Accelerator()}, "`mixed_precision` must be the given accel"),
        ({}, {"costs": []}, None),
        ({}, {"costs": [macs_table(small_supernet())]}, r"`costs` must hold `macs` and `params`, .* \['macs'\]"),
        (
            {"searcher": RandomSearcher(small_supernet().search_space, num_trials=1)},
            {},
            "`searcher_options` and `budget` are for a searcher that is named",
        ),
        (
            {
                "searcher": RandomSearcher(nasbench201_space(), num_trials=1),
                "searcher_options": {},
                "budget": Budget(),
            },
            {},
            "The searcher must search the supernet's space",
        ),
    ],
)
def test_settings_without_effect_or_out_of_place_are_refused_at_once(tmp_path, changes, options, message):
    def start():
        make(tmp_path / "run", changes, **options).check(Limit("macs", max=1e9))

    if message is None:
        start()
    else:
        with pytest.raises(InvalidInputError, match=message):
            start()
    assert not (tmp_path / "run").exists()


def test_an_evaluator_that_is_given_has_settings_of_its_own(tmp_path):
    supernet, task = small_supernet(), load_task(DIGITS)
    evaluator = SupernetEvaluator(supernet, task, TrainingSettings(batch_size=16), Accelerator(), num_trials=9)
    with pytest.raises(InvalidInputError, match="`evaluator_options` and `score` are for an evaluator that is made"):
        SearchTrainer(supernet, task, arguments(tmp_path / "run"), evaluator=evaluator, score=opposite)
    with pytest.raises(InvalidInputError, match="must evaluate on the trainer's supernet"):
        SearchTrainer(small_supernet(), task, arguments(tmp_path / "run"), evaluator=evaluator)


def test_after_an_interruption_a_new_trainer_goes_on(tmp_path):
    class Stop(SearchCallback):
        def on_trial_end(self, result, done, total, best):
            if done == 2:
                raise KeyboardInterrupt

    stopped = make(tmp_path / "run", callbacks=[Stop()])
    with pytest.raises(KeyboardInterrupt):
        stopped.search()
    with pytest.raises(InvalidInputError, match="goes on with a new `SearchTrainer` and a new supernet"):
        stopped.search()
    resumed, whole = make(tmp_path / "run").search(), make(tmp_path / "whole").search()
    assert resumed.distribution.to_dict() == whole.distribution.to_dict()


def test_nothing_to_evaluate(tmp_path):
    with pytest.raises(InvalidInputError, match="must hold a network to evaluate, but holds none"):
        make(tmp_path / "run").evaluate()


def test_stages_are_counted_for_each_call(tmp_path, capsys):
    trainer = make(tmp_path / "run")
    low, high = trainer.costs[0].bounds()
    trainer.train(Limit("macs", max=high))
    trainer.train(Limit("macs", max=(low + high) / 2))
    said = capsys.readouterr().out
    assert [line[:5] for line in said.splitlines() if "to do" in line] == ["[1/3]", "[2/3]", "[3/3]", "[1/1]"]


def test_compression_is_for_texts_and_checkpoints(tmp_path):
    with pytest.raises(InvalidInputError, match="must be compressed on a task of texts, but `digits` is a ImageTask"):
        SearchTrainer("google-bert/bert-base-uncased", load_task(DIGITS), arguments(tmp_path / "run"))


@pytest.mark.slow
def test_a_checkpoint_by_its_name(tmp_path):
    from ..data.tiny_text import write_glue
    from ..recipes.bert_cases import write_checkpoint

    write_checkpoint(tmp_path / "checkpoint")
    write_glue(tmp_path / "glue", "sst2", train=96, dev=24)
    name = str(tmp_path / "checkpoint")
    source = {"kind": "glue", "task_name": "sst2", "tokenizer": name, "data_dir": str(tmp_path / "glue")}
    task = load_task({**source, "max_length": 12, "validation_size": 24})
    changes = {"training": TrainingSettings(optimizer="adamw", learning_rate=1e-3, batch_size=16), "epochs": 1}
    options = {"searcher_options": {"estimation_epochs": 1}, "budget": Budget(max_steps=1), "scored": 2}
    args = SearchArguments(
        output_dir=tmp_path / "run", compression=CompressionArguments(epochs=1), **changes, **options
    )
    trainer = SearchTrainer(name, task, args)
    assert [cost.name for cost in trainer.costs] == ["macs", "params", "encoder_params"]
    low, high = trainer.costs[2].bounds()
    (network,) = trainer.train(Limit("encoder_params", max=(low + high) / 2))
    assert network.facts["identity"]["inherited"], "networks start from the fine-tuned checkpoint"
    assert (tmp_path / "run" / "original" / "original.json").exists()
    assert read_facts(network.folder)["limits"][0]["cost"] == "encoder_params"
    # The searched weights are not those that networks start from; a trainer of the run leaves both as they are.
    searched = (tmp_path / "run" / "supernet" / "model.safetensors").read_bytes()
    again = SearchTrainer.from_run(tmp_path / "run")
    assert again.train(Limit("encoder_params", max=(low + high) / 2))[0].metrics == network.metrics
    again.save()
    assert (tmp_path / "run" / "supernet" / "model.safetensors").read_bytes() == searched
    saved = json.loads((tmp_path / "run" / "training.json").read_text())
    assert (saved["weights"], saved["base_model"]) == ("original", name)


def test_random_search_without_scores_on_the_final_weights_is_refused(tmp_path):
    space = small_supernet().search_space
    changes = {"searcher": RandomSearcher(space, num_trials=2), "scored": 0, "searcher_options": {}, "budget": Budget()}
    with pytest.raises(InvalidInputError, match=r"only its last trial would count. Score architectures .*`scored`"):
        make(tmp_path / "run", changes).check()
    make(tmp_path / "run", changes, evaluator_options={"paths": "trial"}).check()
    make(tmp_path / "run", {**changes, "scored": 1}).check()
