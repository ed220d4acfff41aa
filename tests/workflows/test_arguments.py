import dataclasses
import sys

import pytest
import torch

from searchhub.data.images import Augmentation
from searchhub.data.loading import load_image_task
from searchhub.errors import InvalidInputError
from searchhub.generation import Limit, generate
from searchhub.searchers.ddp import DDPSearcher
from searchhub.searchers.evolution import EvolutionSearcher
from searchhub.searchers.named import SEARCHERS
from searchhub.searchers.random import RandomSearcher
from searchhub.space import Choice, SearchSpace
from searchhub.training.accelerator import make_accelerator
from searchhub.training.settings import TrainingSettings
from searchhub.trial import WARMUP
from searchhub.workflows.arguments import (
    ImageDataArguments,
    NetworkArguments,
    RecipeTrainingArguments,
    RunArguments,
    SearcherArguments,
    option,
    parse,
)
from searchhub.workflows.search_arguments import SearchArguments

KINDS = (ImageDataArguments, SearcherArguments, RecipeTrainingArguments, NetworkArguments, RunArguments)
SPACE = SearchSpace("s", (Choice("a", ("x", "y", "z")), Choice("b", (1, 2, 3))))


def settings(*argv):
    """All settings by name."""
    return {name: value for group in parse(KINDS, argv, None) for name, value in dataclasses.asdict(group).items()}


@pytest.fixture
def config(tmp_path):
    def write(text):
        (tmp_path / "x.yaml").write_text(text)
        return f"--config={tmp_path / 'x.yaml'}"

    return write


# -- where a setting comes from ---------------------------------------------------------------------------------------


def test_defaults():
    found = settings()
    assert (found["dataset"], found["searcher"], found["epochs"], found["seed"]) == ("digits", "ddp", 15, 0)
    assert (found["max"], found["flip"], found["train_largest"], found["config"]) == (None, None, True, None)


def test_the_command_line_wins_over_the_file_over_the_default(config):
    file = config("epochs: 3\nlearning_rate: 0.5\nmax: [macs=1K, macs=2K]\ndataset: birds\n")
    found = settings(file, "--epochs", "7", "--max", "macs=5K")
    assert (found["epochs"], found["max"]) == (7, ["macs=5K"])
    assert (found["learning_rate"], found["dataset"]) == (0.5, "birds")
    assert found["batch_size"] == RecipeTrainingArguments().batch_size
    # Wherever on the line the file is named.
    assert settings("--epochs", "7", file)["epochs"] == 7


def test_what_a_file_can_say(config):
    found = settings(
        config(
            "learning_rate: 1e-2\n"  # which YAML takes for a string
            "max_grad_norm: null\n"
            "flip: false\n"
            "train_largest: no\n"
            "dry_run: true\n"
            "max: macs=300K\n"  # one limit, not in a list
            "min: []\n"
            "validation_size: 100\n"
            "image_column: '-x'\n"
        )
    )
    assert (found["learning_rate"], found["max_grad_norm"]) == (0.01, None)
    assert (found["flip"], found["train_largest"], found["dry_run"]) == (False, False, True)
    assert (found["max"], found["min"], found["validation_size"]) == (["macs=300K"], [], 100.0)
    assert found["image_column"] == "-x"


def test_values_are_what_their_options_are(config):
    """YAML itself takes `no` for False, `2024_06_01` and 0123 for numbers, and 12:30 for 750."""
    found = settings(
        config(
            "mixed_precision: no\noutput_dir: 2024_06_01\nlabel_column: on\nimage_column: 0123\nreport_to: 12:30\n"
            "max_grad_norm: .inf\nlearning_rate: 1e-2\nepochs: 0_10\nseed: 7\nflip: off\ntrain_largest: On\n"
            "center_crop: ~\ndecode: \nmax: [macs=1_000, 'params=2']\n"
        )
    )
    assert (found["mixed_precision"], found["output_dir"]) == ("no", "2024_06_01")
    assert (found["label_column"], found["image_column"], found["report_to"]) == ("on", "0123", "12:30")
    assert (found["max_grad_norm"], found["learning_rate"]) == (float("inf"), 0.01)
    assert (found["epochs"], found["seed"], found["flip"], found["train_largest"]) == (10, 7, False, True)
    assert (found["center_crop"], found["decode"], found["max"]) == (None, None, ["macs=1_000", "params=2"])


@pytest.mark.parametrize("text", ["epochs:", "epochs: null", "epochs: {a: 1}", "max: [[a]]", "max: [a, ~]"])
def test_values_that_are_none(config, text):
    with pytest.raises(InvalidInputError, match=r"`\w+` in `.*x\.yaml` must (be a value, or a list of|have a) value"):
        settings(config(text + "\n"))


@pytest.mark.parametrize("seed", [-1, 2**32, -(2**63), 2**70])
def test_seeds_out_of_bounds(config, seed):
    for words in ([f"--seed={seed}"], ["--seed", str(seed)], [config(f"seed: {seed}\n")]):
        with pytest.raises(InvalidInputError, match=f"`0 <= seed < 4,294,967,296` must hold, but got {seed}"):
            settings(*words)
    assert settings("--seed", str(2**32 - 1))["seed"] == 2**32 - 1
    with pytest.raises(InvalidInputError, match="`0 <= seed"):
        SearchArguments(output_dir="runs/x", seed=seed)
    with pytest.raises(InvalidInputError, match="`0 <= seed"):
        load_image_task(seed=seed)
    with pytest.raises(InvalidInputError, match="`0 <= seed"):
        make_accelerator(seed=seed)


def test_switches(config):
    assert settings("--flip")["flip"] is True
    assert settings("--flip", "no")["flip"] is False
    assert settings("--no_train_largest")["train_largest"] is False
    file = config("dry_run: true\nflip: false\n")
    assert settings(file, "--dry_run", "false", "--flip")["dry_run"] is False
    assert settings(file, "--flip")["flip"] is True


def test_required_settings_may_stand_in_the_file(config):
    @dataclasses.dataclass
    class Arguments:
        models: list[str] = dataclasses.field(metadata={"help": "Which."})
        config: str | None = option(None, "File.")

    assert parse((Arguments,), [config("models: [a, b]\n")], None)[0].models == ["a", "b"]


def test_lists_are_each_instances_own():
    @dataclasses.dataclass
    class Arguments:
        depths: list[int] = option([1, 2], "Depths.")

    Arguments().depths.append(3)
    assert Arguments().depths == [1, 2]


# -- what is refused --------------------------------------------------------------------------------------------------


def test_unknown_settings(config):
    with pytest.raises(
        InvalidInputError, match=r"x\.yaml` must hold settings of this recipe .*, but holds \['epoch'\]"
    ):
        settings(config("epochs: 3\nepoch: 4\n"))
    with pytest.raises(InvalidInputError, match=r"holds \['config'\]"):
        settings(config("config: other.yaml\n"))
    with pytest.raises(InvalidInputError, match=r"The command line must hold settings .*, but holds --epoch 4 stray"):
        settings("--seed", "1", "--epoch", "4", "stray")


def test_a_list_comes_once():
    """The parser would keep the last one, where `searchhub generate` keeps both."""
    with pytest.raises(InvalidInputError, match="`--max` must come once, with all its words, but comes 2 times"):
        settings("--max", "macs=3M", "--max=params=5M")


def test_names_of_earlier_versions(config):
    with pytest.raises(InvalidInputError, match=r"`max_macs` is written --max macs=… now\."):
        settings("--max_macs", "300000")
    with pytest.raises(InvalidInputError, match=r"`limits` is written --max, --min and --equal, .* now\."):
        settings(config("limits: [height=2]\n"))


def test_wrong_words_are_said_at_once():
    with pytest.raises(InvalidInputError, match="`searcher` must be one of"):
        settings("--searcher=dpp")
    with pytest.raises(InvalidInputError, match="`--max` must be a cost and a number"):
        settings("--max", "300M")


def test_no_abbreviations():
    """`--max_t` would become another setting as soon as there is a second that begins so."""
    with pytest.raises(InvalidInputError, match="holds --max_train 5"):
        settings("--max_train", "5")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "3"])
def test_files_that_hold_no_settings(config, text):
    with pytest.raises(InvalidInputError, match="must hold settings of this recipe"):
        settings(config(text))


def test_files_that_cannot_be_read(config, tmp_path):
    for text in ("a: [1", "a: b: c", "\tx: 1"):
        with pytest.raises(InvalidInputError, match="`--config` must name a readable YAML file, but"):
            settings(config(text))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in ("nowhere.yaml", "binary", ""):
        with pytest.raises(InvalidInputError, match="`--config` must name a readable YAML file, but"):
            settings(f"--config={tmp_path / path}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("estimator: median", "invalid choice: 'median'"),
        ("epochs: many", "invalid int value: 'many'"),
        ("epochs: 1.5", "invalid int value: '1.5'"),
        ("flip: perhaps", "Truthy value expected: got perhaps"),
    ],
)
def test_wrong_values_are_refused_from_the_file_as_from_the_command_line(config, capsys, text, words):
    name, _, value = text.partition(": ")
    for argv in ([config(text + "\n")], [f"--{name}", value]):
        with pytest.raises(SystemExit, match="2"):
            settings(*argv)
        said = capsys.readouterr().err
        assert f"argument --{name}" in said
        assert words in said


def test_help_names_every_setting(capsys):
    with pytest.raises(SystemExit, match="0"):
        parse(KINDS, ["--help"], "What it does.")
    said = capsys.readouterr().out
    assert "What it does." in said
    for kind in KINDS:
        for field in dataclasses.fields(kind):
            assert f"--{field.name}" in said
            assert field.metadata["help"].split()[0] in said


# -- what becomes of them ---------------------------------------------------------------------------------------------


def test_help_of_an_option_that_switches_off_is_not_that_of_its_opposite(capsys):
    with pytest.raises(SystemExit):
        parse(KINDS, ["--help"], "What it does.")
    said = " ".join(capsys.readouterr().out.split())
    assert "--no_use_budget, --no-use-budget The opposite of --use_budget." in said


def test_near_ties_are_left_to_the_optimum_where_that_is_asked_for():
    space = SearchSpace("s", (Choice("a", ("x", "y")),))
    _, default, *_ = parse(KINDS, [], None)
    _, asked, *_ = parse(KINDS, ["--no_use_budget"], None)
    assert default.finder(space) is generate
    assert asked.finder(space).keywords == {"use_budget": False}


def test_searchers_of_each_name():
    ddp = SearcherArguments(estimation_epochs=3, momentum=0.5, epochs_per_trial=2, steps_per_trial=7).build(
        SPACE, seed=4
    )
    assert isinstance(ddp, DDPSearcher)
    assert (ddp.config["estimation_epochs"], ddp.config["momentum"], ddp.config["seed"]) == (3, 0.5, 4)
    assert (ddp.budget.epochs, ddp.budget.max_steps) == (2, 7)
    assert ddp.config["prune"] is True

    unpruned = SearcherArguments(searcher="ddp-noprune", estimation_epochs=3).build(SPACE, seed=4)
    assert isinstance(unpruned, DDPSearcher)
    assert unpruned.config["prune"] is False
    random = SearcherArguments(searcher="random", estimation_epochs=3).build(SPACE, seed=4)
    assert isinstance(random, RandomSearcher)
    # Alike in cost, unless said otherwise.
    assert unpruned.num_trials == random.num_trials == ddp.num_trials == (3 + 2) * 3
    evolution = SearcherArguments(searcher="evolution", estimation_epochs=3).build(SPACE, seed=4)
    assert isinstance(evolution, EvolutionSearcher)
    assert evolution.num_trials == ddp.num_trials
    for name in ("ddp-noprune", "random", "evolution"):
        assert SearcherArguments(searcher=name, evaluations=5).build(SPACE, seed=4).num_trials == 5


def test_estimators_have_a_momentum_of_their_own():
    assert SearcherArguments().build(SPACE, seed=0).config["momentum"] == 0.8
    for name in ("regression", "pairs"):
        config = SearcherArguments(estimator=name).build(SPACE, seed=0).config
        assert (config["estimator"], config["momentum"]) == (name, 0.0)


def test_what_ddp_makes_of_scores_can_be_set():
    given = SearcherArguments(score_scale=100.0, theta_normalization="sum")
    for searcher in ("ddp", "ddp-noprune"):
        config = dataclasses.replace(given, searcher=searcher).build(SPACE, seed=0).config
        assert (config["score_scale"], config["normalization"]) == (100.0, "sum")


@pytest.mark.parametrize(
    "changed", [{"estimator": "pairs"}, {"momentum": 0.5}, {"score_scale": 100.0}, {"theta_normalization": "sum"}]
)
def test_others_have_none_of_it(changed):
    for searcher in ("random", "evolution"):
        with pytest.raises(
            InvalidInputError, match=rf"`--{next(iter(changed))}` is for `--searcher` `ddp` and `ddp-noprune`"
        ):
            SearcherArguments(searcher=searcher, **changed).build(SPACE, seed=0)


class MySearcher(RandomSearcher):
    """A third party's: named by its dotted path, or put into the table."""


def test_a_searcher_of_ones_own(monkeypatch):
    name = f"{MySearcher.__module__}:MySearcher"
    monkeypatch.setitem(sys.modules, MySearcher.__module__, sys.modules[__name__])
    built = SearcherArguments(searcher=name, estimation_epochs=3).build(SPACE, seed=4)
    assert isinstance(built, MySearcher)
    assert (built.num_trials, built.seed) == ((3 + 2) * 3, 4)
    monkeypatch.setitem(SEARCHERS, "none", lambda space, seed, budget: {})
    with pytest.raises(InvalidInputError, match=r"`none` must make a `searchhub\.Searcher`, but makes a dict"):
        SearcherArguments(searcher="none").build(SPACE, seed=4)
    monkeypatch.setitem(SEARCHERS, "mine", MySearcher)
    assert isinstance(SearcherArguments(searcher="mine", evaluations=2).build(SPACE, seed=4), MySearcher)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "annealing",
            r"must be one of \['ddp', .*\], or a class as `package.module:Class`, but is 'annealing'",
        ),
        ("nowhere:Searcher", "must name a class that can be imported, but `nowhere:Searcher` cannot"),
        ("searchhub:Nothing", "must name a class that can be imported"),
        ("searchhub:__version__", "must name a subclass of `searchhub.Searcher`, but `searchhub:__version__` is"),
        ("builtins:dict", "must name a subclass of `searchhub.Searcher`, but `builtins:dict` is"),
        ("builtins:print", "must name a subclass of `searchhub.Searcher`, but `builtins:print` is"),
    ],
)
def test_names_of_no_searcher(name, message):
    with pytest.raises(InvalidInputError, match=message):
        SearcherArguments(searcher=name).build(SPACE, seed=0)


def test_warmup_comes_before_any_searcher():
    for searcher in ("ddp", "ddp-noprune", "random", "evolution"):
        alone = SearcherArguments(searcher=searcher, steps_per_trial=7).build(SPACE, seed=4)
        warmed = SearcherArguments(searcher=searcher, steps_per_trial=7, warmup_trials=2).build(SPACE, seed=4)
        assert warmed.num_trials == alone.num_trials + 2
        assert warmed.config == {**alone.config, "warmup_trials": 2}
        assert {(t.round, t.budget.max_steps) for t in warmed.ask()} == {(WARMUP, 7)}
    with pytest.raises(InvalidInputError, match="`warmup_trials >= 1` must hold, but got -1"):
        SearcherArguments(warmup_trials=-1).build(SPACE, seed=4)


def test_ddp_takes_as_many_trials_as_it_takes():
    message = r"`--evaluations` is for all searchers but `ddp`, which takes 10 trials here\. .*`--estimation_epochs`"
    with pytest.raises(InvalidInputError, match=message):
        SearcherArguments(evaluations=5).build(SPACE, seed=0)


def test_training_settings():
    arguments = RecipeTrainingArguments(
        batch_size=16, learning_rate=0.4, min_learning_rate=0.1, final_label_smoothing=0.2
    )
    assert arguments.search_settings() == TrainingSettings(
        batch_size=16, learning_rate=0.4, min_learning_rate=0.1, max_grad_norm=5.0
    )
    assert arguments.final_settings() == TrainingSettings(
        batch_size=16, learning_rate=0.4, label_smoothing=0.2, max_grad_norm=5.0
    )
    assert dataclasses.replace(arguments, final_learning_rate=0.3).final_settings().learning_rate == 0.3


def test_data_settings():
    arguments = ImageDataArguments(
        validation_size=100, test_size=200, max_train_samples=50, max_eval_samples=60, crop_padding=2, image_size=6
    )
    task = arguments.task(seed=0)
    assert [task.size(split) for split in ("train", "validation", "test")] == [50, 60, 60]
    assert task.batch("train", torch.arange(2), device=torch.device("cpu"))["pixel_values"].shape[-1] == 6
    assert task.augmentation == Augmentation(crop_padding=2, flip=False)
    assert dataclasses.replace(arguments, flip=True).task(seed=0).augmentation.flip
    assert dataclasses.replace(arguments, crop_padding=None).task(seed=0).augmentation.crop_padding == 1
    data = arguments.splits(seed=0)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 50, "validation": 60, "test": 60}
    assert data.splits["test"]["label"][:] == task._labels["test"].tolist()
    assert arguments.splits(seed=1).splits["test"]["label"][:] != task._labels["test"].tolist()


def test_limits_are_read_as_the_command_line_reads_them():
    wanted = NetworkArguments(max=["macs=3M", "macs=4M,params=70K"], min=["params=2K"])
    assert wanted.limits() == [
        (Limit("macs", max=3_000_000), Limit("params", min=2_000)),
        (Limit("macs", max=4_000_000), Limit("params", max=70_000), Limit("params", min=2_000)),
    ]
    assert NetworkArguments(equal=["non_parameter=4"]).limits() == [Limit("non_parameter", equal=4)]
    assert NetworkArguments().limits() == []
