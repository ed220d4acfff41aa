"""Settings that recipes share. The command line wins over a YAML file, and the file over defaults."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from transformers import HfArgumentParser

from searchhub.costs.latency_table import LatencyTable
from searchhub.costs.table import CostTable
from searchhub.data.images import IMAGENET_MEAN, IMAGENET_STD, Augmentation, ImageTask
from searchhub.data.loading import DIGITS, ImageSplits, load_image_splits, load_image_task
from searchhub.data.splits import check_seed
from searchhub.distribution import FloatArray, Normalization
from searchhub.errors import InvalidInputError
from searchhub.evaluators.score import LIKELIHOOD, METRIC, SCORES
from searchhub.evaluators.supernet import Paths
from searchhub.generation import largest_within
from searchhub.generation.objective import ObjectiveName
from searchhub.models.supernet import Supernet
from searchhub.networks.choose import Finder, LimitSet, uniform_within
from searchhub.searchers.base import Searcher
from searchhub.searchers.dc import DCSearcher
from searchhub.searchers.ddp import Estimator, pruned_search_trials
from searchhub.searchers.named import SEARCHERS, build_searcher, find_searcher, searcher_settings, who_takes
from searchhub.searchers.warmup import WarmupSearcher
from searchhub.space import SearchSpace
from searchhub.training.settings import Schedule, TrainingSettings
from searchhub.trial import Budget
from searchhub.workflows.as_in_paper import apply, finder
from searchhub.workflows.latency import read_tables
from searchhub.workflows.limits import check_words, largest_of, read_limit_sets
from searchhub.workflows.search_arguments import SearchArguments


def option(default: Any, text: str, **more: Any) -> Any:
    """Returns a dataclass field with its help text. A default list is copied for each instance."""
    metadata = {"help": text, **more}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


Training = TypeVar("Training", bound="RecipeTrainingArguments")

SEARCHED_BY = tuple(name for name in SEARCHERS if name != "uniform")
"""Searchers that `--help` lists. `uniform` needs no search; only the recipes that offer it name it."""

ESTIMATORS = get_args(Estimator)
THETA_NORMALIZATIONS = get_args(Normalization)

_OF_SOME_SEARCHERS = {
    "estimator": "estimator",
    "momentum": "momentum",
    "score_scale": "score_scale",
    "theta_normalization": "normalization",
}
"""Options that only some searchers take, with the names of the searchers' arguments."""

BATCH_SIZE = 32
"""Examples of a batch where nobody says how many."""

NORMALIZATIONS = {"half": ((0.5,) * 3, (0.5,) * 3), "imagenet": (IMAGENET_MEAN, IMAGENET_STD)}
"""Mean and standard deviation of the color channels, by name."""


@dataclass
class ImageDataArguments:
    """The pictures, and how they are split and augmented."""

    dataset: str = option("digits", "`digits` (embedded), a Hub id, a folder of class folders, or parquet.")
    image_column: str | None = option(None, "Column of pictures. Default: the only one there is.")
    label_column: str | None = option(None, "Column of labels. Default: the only one there is.")
    group_column: str | None = option(
        None, "Column, e.g. of patients: where parts are drawn, pictures with one value stay together."
    )
    image_size: int | None = option(None, "Resize pictures to this height and width.")
    validation_size: float = option(0.2, "Share, or number, of training pictures that form the validation split.")
    test_size: float = option(0.2, "Share, or number, that forms the test split, if the data set has none.")
    max_train_samples: int | None = option(None, "Largest number of training pictures to use.")
    max_eval_samples: int | None = option(None, "Largest number of validation pictures, and of test pictures, to use.")
    center_crop: float | None = option(
        None, "Evaluate on the center: the shorter side is resized to `image_size` / this. Default: all, as a square."
    )
    normalization: str = option(
        "half", "Mean and deviation that normalize channels: 0.5, or ImageNet's.", choices=list(NORMALIZATIONS)
    )
    crop_padding: int | None = option(None, "Padding of random crops in pixels. Default: an eighth of the size.")
    crop_area: float | None = option(
        None, "Train on random parts of at least this share of the area, instead of padded crops."
    )
    flip: bool | None = option(
        None, "Mirror training pictures. Default: yes, but not for digits.", nargs="?", const=True
    )
    decode: str | None = option(
        None,
        "Keep decoded pictures in memory, or decode on the fly. Default: by size.",
        choices=["memory", "on_the_fly"],
    )
    decode_workers: int | None = option(None, "Threads that decode in each process. Default: one per processor core.")

    def splits(self, seed: int) -> ImageSplits:
        """Returns the splits of the data set, not decoded."""
        return load_image_splits(self.dataset, **self._options(seed))

    def task(self, seed: int, **changes: Any) -> ImageTask:
        """Returns the task of the data set, ready to train on.

        Args:
            seed: Seed of the splits.
            **changes: Arguments of `load_image_splits` that replace these settings, e.g. `classes`.
        """
        parts = None if self.crop_area is None else Augmentation(flip=self.dataset != DIGITS, crop_area=self.crop_area)
        mean, std = NORMALIZATIONS[self.normalization]
        task = load_image_task(
            self.dataset,
            image_size=self.image_size,
            augmentation=parts,
            center_crop=self.center_crop,
            image_mean=mean,
            image_std=std,
            decode=self.decode,  # type: ignore[arg-type]
            workers=self.decode_workers,
            **{**self._options(seed), **changes},
        )
        given = {"crop_padding": self.crop_padding, "flip": self.flip}
        given = {name: value for name, value in given.items() if value is not None}
        task.augmentation = dataclasses.replace(task.augmentation, **given)
        return task

    def _options(self, seed: int) -> dict[str, Any]:
        names = ("image_column", "label_column", "validation_size", "test_size", "max_train_samples")
        options = {**{n: getattr(self, n) for n in names}, "max_eval_samples": self.max_eval_samples, "seed": seed}
        # A run's source says it only where it is used, as those of earlier runs.
        return options if self.group_column is None else {**options, "group_column": self.group_column}


@dataclass
class SearcherArguments:
    """Settings of the searcher."""

    searcher: str = option("ddp", f"Searcher: {', '.join(SEARCHED_BY)}, or a class as `package.module:Class`.")
    estimator: str = option("mean", "How `ddp` credits candidates. The paper takes the mean.", choices=list(ESTIMATORS))
    estimation_epochs: int = option(2, "T of DDPNAS: how often each round repeats its draw.")
    momentum: float | None = option(None, "γ of the update of θ. Default: 0.8 with `mean`, else 0.")
    score_scale: float = option(1.0, "Factor on scores in the update of θ: 1 in the paper, 100 in its code.")
    theta_normalization: str = option(
        "softmax",
        "How the update normalizes θ: `softmax` in the paper, `sum` in its code.",
        choices=list(THETA_NORMALIZATIONS),
    )
    paths: str = option(
        "fresh",
        "How paths through the shared weights take turns. DDPNAS: one a `trial`.",
        choices=list(get_args(Paths)),
    )
    score: str = option(
        LIKELIHOOD, "Score: the `likelihood` exp(-validation loss), or the task's `metric`.", choices=list(SCORES)
    )
    scored: int = option(200, "Architectures to score after the search, by forward passes alone. 0: none.")
    refine: int = option(
        0, "Architectures near the optimum of each limit to score, too, before its network is generated."
    )
    objective: str | None = option(
        None,
        "What networks are chosen by: quality `predicted` from these scores, or the paper's `expectation`. Default: "
        "predicted, if there are scores.",
        choices=list(get_args(ObjectiveName)),
    )
    use_budget: bool = option(
        True,
        "Where the optimum leaves a part of the limit, take a network that uses more of it if the prediction does not "
        "tell the two apart.",
    )
    as_in_paper: bool = option(False, "Search as the paper does; other values of its settings are refused.")
    warmup_trials: int = option(0, "Random paths to train on shared weights before the search, uncredited.")
    evaluations: int | None = option(None, "Trials of any searcher but `ddp`. Default: as many as `ddp` takes.")
    epochs_per_trial: int = option(1, "Epochs of training for each sampled architecture.")
    steps_per_trial: int | None = option(None, "Most optimizer steps of a trial.")

    def __post_init__(self) -> None:
        find_searcher(self.searcher)  # a wrong name is said at once

    def build(self, space: SearchSpace, seed: int) -> Searcher:
        """Returns the searcher of that name, behind a warm-up if there is to be one.

        Raises:
            InvalidInputError: There is no such searcher, or a setting belongs to another one.
        """
        takes = searcher_settings(self.searcher)
        defaults = {f.name: f.default for f in dataclasses.fields(SearcherArguments)}
        for option_name, name in _OF_SOME_SEARCHERS.items():
            if getattr(self, option_name) != defaults[option_name] and name not in takes:
                raise InvalidInputError(
                    f"`--{option_name}` is for `--searcher` {who_takes(name)}, but the searcher is `{self.searcher}`. "
                    "Drop it."
                )
        if self.evaluations is not None and self.searcher == "ddp":
            raise InvalidInputError(
                f"`--evaluations` is for all searchers but `ddp`, which takes "
                f"{pruned_search_trials(space, self.estimation_epochs)} trials here. Change `--estimation_epochs` "
                "instead."
            )
        searcher = build_searcher(
            self.searcher,
            space,
            num_trials=self.evaluations,
            seed=seed,
            budget=Budget(self.epochs_per_trial, self.steps_per_trial),
            estimation_epochs=self.estimation_epochs,
            **{name: getattr(self, option_name) for option_name, name in _OF_SOME_SEARCHERS.items() if name in takes},
        )
        self._check_objective(searcher)
        return WarmupSearcher(searcher, self.warmup_trials) if self.warmup_trials else searcher

    def _check_objective(self, searcher: Searcher) -> None:
        if self.scored < 0:
            raise InvalidInputError(f"`--scored` must be at least 0, but is {self.scored}.")
        if self.refine < 0 or (self.refine and not self.scored):
            raise InvalidInputError(
                f"`--refine` must be at least 0 and needs `--scored`, but they are {self.refine} and {self.scored}."
            )
        if self.refine and self.objective == "expectation":
            raise InvalidInputError(
                "`--refine` is for the objective `predicted`, but `--objective expectation` asks no score. Drop one."
            )
        if self.objective == "predicted" and not self.scored:
            raise InvalidInputError(
                "`--objective predicted` needs scores to predict from, but `--scored` is 0. Raise it."
            )
        if self.objective == "expectation" and searcher.result().distribution is None:
            raise InvalidInputError(
                f"`--objective expectation` needs a θ, but `--searcher {self.searcher}` leaves none. Drop it."
            )

    def finder(self, space: SearchSpace) -> Finder:
        """Returns the function that finds the network for some limits."""
        return finder(space, self.objective, as_in_paper=self.as_in_paper, use_budget=self.use_budget)

    def evaluator_options(self) -> dict[str, Any]:
        """Returns the arguments of `SupernetEvaluator` that are settings of the search."""
        return {"paths": self.paths}


@dataclass
class ImageSearcherArguments(SearcherArguments):
    """Settings of the searcher, and of BatchNorm in its trials."""

    batch_norm_batches: int = option(8, "Batches that measure BatchNorm statistics before validation.")

    def evaluator_options(self) -> dict[str, Any]:
        """Returns the arguments of `SupernetEvaluator` that are settings of the search."""
        return {**super().evaluator_options(), "batch_norm_batches": self.batch_norm_batches}


@dataclass
class DivideArguments:
    """How many networks are early-stopped, and how they are divided (DC-NAS on networks trained apart)."""

    num_samples: int = option(24, "s: number of networks to early-stop.")
    num_clusters: int = option(3, "K: number of clusters. The best of each is fully trained.")
    proxy_epochs: int = option(4, "η: epochs of early-stopped training.")
    proxy_share: float = option(0.25, "Share of each class's training examples for early-stopped training.")
    method: str = option("kmeans", "Clustering method.", choices=["kmeans", "hierarchical"])
    features: str = option(
        "outputs", "Features: of outputs (Eq. 7) or of parameters (Eq. 6).", choices=["outputs", "parameters"]
    )
    feature_examples: int | None = option(1000, "Most examples that layers' mean outputs are taken over.")
    score: str = option(
        METRIC, "Score: the task's `metric`, or the `likelihood` exp(-validation loss).", choices=list(SCORES)
    )
    as_in_paper: bool = option(False, "Score as the paper does, by the task's metric; another score is refused.")
    early_from: str | None = option(None, "Another run's folder, whose early-stopped networks are reused.")

    def searcher(
        self, space: SearchSpace, epochs: int, seed: int, probabilities: Sequence[FloatArray] | None = None
    ) -> DCSearcher:
        """Returns the searcher: it proposes networks to early-stop, then winners to train for `epochs`."""
        return DCSearcher(
            space,
            num_samples=self.num_samples,
            num_clusters=self.num_clusters,
            proxy_epochs=self.proxy_epochs,
            proxy_share=self.proxy_share,
            method=self.method,  # type: ignore[arg-type]
            probabilities=probabilities,
            budget=Budget(epochs),
            seed=seed,
        )

    def recorded(self) -> dict[str, Any]:
        """Returns the settings of early-stopped networks' features and scores, as arguments of `ScratchEvaluator`."""
        return {"features": self.features, "feature_examples": self.feature_examples, "score": self.score}

    def words(self, searcher: DCSearcher) -> str:
        """Returns a sentence for a person that tells what the search will cost."""
        share = searcher.num_samples * searcher.proxy.size[0] / searcher.budget.epochs
        return (
            f"{searcher.num_samples:,} networks of {self.proxy_epochs} epochs on {100 * self.proxy_share:g} % of the "
            f"training data, as much as {share:.4g} full trainings; then {searcher.num_clusters} winners, fully trained"
        )


@dataclass
class RecipeTrainingArguments:
    """Settings by which search trials and final networks are trained."""

    batch_size: int | None = option(
        None,
        "Examples per optimizer step, over all processes and accumulated parts. Default: 32, fewer on few examples.",
    )
    gradient_accumulation_steps: int = option(1, "Parts into which each process divides its share of a batch.")
    optimizer: str = option("sgd", "Optimizer of search and final training.", choices=["sgd", "adam", "adamw"])
    schedule: str = option(
        "cosine",
        "Way in which the learning rate falls: along a cosine, or `poly`, (1 - progress)^0.9, as for segmentation.",
        choices=list(get_args(Schedule)),
    )
    learning_rate: float = option(0.05, "Peak of the learning rate in the search.")
    min_learning_rate: float = option(0.02, "End of it. The paper's 0 stalls late rounds of a short search.")
    weight_decay: float = option(3e-4, "Weight decay of search and final training.")
    max_grad_norm: float | None = option(5.0, "Largest norm of gradients; larger ones are clipped.")
    mixed_precision: str = option("no", "Precision of search and final training.", choices=["no", "fp16", "bf16"])
    epochs: int = option(15, "Epochs of the final training of each network.")
    replace: bool = option(
        False,
        "Replace finished networks of that name that were trained otherwise. They stay beside the new ones, else.",
    )
    final_learning_rate: float | None = option(
        None, "Peak of the final training's learning rate, which falls to 0. Default: `learning_rate`."
    )
    final_batch_size: int | None = option(None, "Batch size of the final training. Default: `batch_size`.")
    final_weight_decay: float | None = option(None, "Weight decay of the final training. Default: `weight_decay`.")
    final_label_smoothing: float = option(0.0, "Label smoothing of the final training.")
    inherit_weights: bool = option(False, "Start the final training from the supernet's weights, not from scratch.")

    def search_arguments(self, run: RunArguments, searcher: Searcher, **changes: Any) -> SearchArguments:
        """Returns these settings as the arguments of a `SearchTrainer`.

        Args:
            run: Folder and seed of the run.
            searcher: The searcher.
            **changes: Other fields of `SearchArguments`.
        """
        fields: dict[str, Any] = {
            "output_dir": run.output_dir,
            "searcher": searcher,
            "training": self.search_settings(),
            "final_training": self.final_settings(),
            "epochs": self.epochs,
            "inherit_weights": self.inherit_weights,
            "replace": self.replace,
            "seed": run.seed,
        }
        return SearchArguments(**{**fields, **changes})

    def fitting(self: Training, examples: int) -> Training:
        """Returns these settings, with a batch of a quarter of the examples at most where no batch size was given.

        It stays a power of 2, so that processes share it.

        Args:
            examples: Number of examples to train on in the search.
        """
        largest = 2 ** int(math.log2(max(examples / 4, 2)))
        return self if self.batch_size is not None else dataclasses.replace(self, batch_size=min(BATCH_SIZE, largest))

    def search_settings(self) -> TrainingSettings:
        """Returns the settings of search trials."""
        return self._settings(self.learning_rate, self.min_learning_rate, 0.0)

    def final_settings(self) -> TrainingSettings:
        """Returns the settings of the final training."""
        peak = self.learning_rate if self.final_learning_rate is None else self.final_learning_rate
        settings = self._settings(peak, 0.0, self.final_label_smoothing)
        own = {"batch_size": self.final_batch_size, "weight_decay": self.final_weight_decay}
        return dataclasses.replace(settings, **{name: value for name, value in own.items() if value is not None})

    def _settings(self, peak: float, end: float, label_smoothing: float) -> TrainingSettings:
        return TrainingSettings(
            optimizer=self.optimizer,  # type: ignore[arg-type]
            learning_rate=peak,
            min_learning_rate=end,
            weight_decay=self.weight_decay,
            batch_size=BATCH_SIZE if self.batch_size is None else self.batch_size,
            gradient_accumulation_steps=self.gradient_accumulation_steps,
            label_smoothing=label_smoothing,
            max_grad_norm=self.max_grad_norm,
            schedule=self.schedule,  # type: ignore[arg-type]
        )


@dataclass
class LimitArguments:
    """Limits of the networks that come out of the search: one network per word; commas join limits of one network."""

    max: list[str] | None = option(
        None,
        "Upper limits like `macs=300M` or `macs=300M,params=5M`, one word per network. `macs=50%%` is half of the "
        "largest network's.",
    )
    min: list[str] | None = option(None, "Lower limits. A single word holds for every network.")
    equal: list[str] | None = option(None, "Exact values, for costs that count something, e.g. `non_parameter=4`.")

    latency: list[str] | None = option(
        None, "Tables of `searchhub profile`: one more cost to limit each, mostly `latency_ms`."
    )
    allow_other_device: bool = option(False, "Take tables of other devices than this one, to generate for those.")

    def __post_init__(self) -> None:
        check_words(*self.words())  # wrong words are said at once

    def latency_tables(self, supernet: Supernet) -> list[LatencyTable]:
        """Returns the tables of `--latency`, which price the supernet's space."""
        return read_tables(
            supernet.search_space,
            self.latency,
            sizes=lambda: supernet.config,
            allow_other_device=self.allow_other_device,
        )

    def words(self) -> tuple[list[str], list[str], list[str]]:
        """Returns the words of upper limits, of lower ones, and of exact values."""
        return list(self.max or ()), list(self.min or ()), list(self.equal or ())

    def limits(self, costs: Sequence[CostTable] = ()) -> list[LimitSet]:
        """Returns the limits of each network; empty if none are given.

        Args:
            costs: The costs of which limits may be shares, like `macs=50%`.
        """
        sets = read_limit_sets(*self.words(), largest_of(costs))
        return [limits[0] if len(limits) == 1 else limits for limits in sets]


@dataclass
class NetworkArguments(LimitArguments):
    """Limits of the networks that come out of the search: one network per word; commas join limits of one network.

    Without limits there are three on multiply-adds and one on parameters.
    """

    random_networks: int = option(3, "Random architectures in (0.95 ν, ν] to train beside each network.")
    train_largest: bool = option(True, "Also train the network with the most multiply-adds.")
    by_size: bool = option(False, "Also train, beside each network, one that uses most of its limit: a rule of size.")
    uniform: bool = option(
        False,
        "Also train, beside each network, the largest within its limit that has one block in all layers, as a hand "
        "would make it.",
    )

    @property
    def baselines(self) -> dict[str, Finder]:
        """What finds the baselines beside each network."""
        found = {"by_size": largest_within, "uniform": uniform_within}
        return {name: finder for name, finder in found.items() if getattr(self, name)}


@dataclass
class RunArguments:
    """The folder of a run, its seed, and how it is watched."""

    config: str | None = option(None, "YAML file of these settings. The command line wins over it.")
    output_dir: str = option("runs/quickstart", "The run's folder.")
    seed: int = option(0, "Seed of everything random.")
    report_to: str | None = option(None, "Tracker that Accelerate supports, e.g. `tensorboard`.")
    dry_run: bool = option(False, "Print what the search would cost and which limits are feasible, and stop.")


def parse(kinds: Sequence[type], argv: Sequence[str], description: str | None) -> tuple[Any, ...]:
    """Parses the command line into dataclasses. It wins over the YAML file that `--config` names, and over defaults.

    Settings of the file are read as if they came first on the command line, so that the same values are refused.

    Raises:
        InvalidInputError: The file cannot be read, or names a setting that the recipe does not have; or a seed is out
            of its bounds.
    """
    _refuse_repeated(kinds, argv)
    parser = HfArgumentParser(kinds, description=description, allow_abbrev=False)
    for action in parser._actions:  # transformers gives `--no_x` the help of `--x`
        if action.option_strings and action.option_strings[0].startswith("--no_"):
            action.help = f"The opposite of --{action.dest}."
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    path = finder.parse_known_args(argv)[0].config
    words: list[str] = []
    if path is not None:
        types = {name: str(hint) for kind in kinds for name, hint in get_type_hints(kind).items()}
        for name, value in _read_settings(path, types).items():
            if value is None or value == []:
                parser.set_defaults(**{name: value})  # the command line has no word for it
            else:
                words += [f"--{name}", *value] if isinstance(value, list) else [f"--{name}={value}"]
    *parsed, unknown = parser.parse_args_into_dataclasses(
        [*words, *argv], return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        raise InvalidInputError(
            f"The command line must hold settings of this recipe (see --help), but holds {' '.join(unknown)}. "
            f"Mend or drop that.{_renamed(unknown)}"
        )
    for found in parsed:
        if getattr(found, "seed", None) is not None:
            check_seed(found.seed)
    given = {word[2:].partition("=")[0].replace("-", "_") for word in [*words, *argv] if word.startswith("--")}
    return apply(parsed, given)


_NOW = {
    **{f"max_{cost}": f"--max {cost}=…" for cost in ("macs", "params", "encoder_params", "latency_ms")},
    "limits": "--max, --min and --equal, e.g. --equal non_parameter=4,height=2",
    "together": "a comma: --max macs=300M,params=5M",
}
"""Options of earlier versions, and how the same is said now."""


def _renamed(names: Any) -> str:
    """Returns how names of earlier versions are written now, as a sentence to append."""
    found = {name.lstrip("-").partition("=")[0] for name in map(str, names if isinstance(names, list) else [])}
    return "".join(f" `{name}` is written {_NOW[name]} now." for name in sorted(found & set(_NOW)))


def _refuse_repeated(kinds: Sequence[type], argv: Sequence[str]) -> None:
    """Refuses an option of several words that comes twice: of two lists the parser would drop the first."""
    lists = {f.name for kind in kinds for f in dataclasses.fields(kind) if "list[" in str(f.type)}
    given = [word[2:].partition("=")[0] for word in argv if word.startswith("--")]
    for name in lists:
        if given.count(name) > 1:
            raise InvalidInputError(
                f"`--{name}` must come once, with all its words, but comes {given.count(name)} times. Write "
                f"`--{name} FIRST SECOND`."
            )


class _AsWritten(yaml.SafeLoader):
    """Reads each value as the text that stands there, so that its option's type decides what it is, and null as none.

    YAML takes an unquoted `no` for False, and `2024_06_01` for a number.
    """


_NULL = "tag:yaml.org,2002:null"
_AsWritten.yaml_implicit_resolvers = {
    first: [resolver for resolver in resolvers if resolver[0] == _NULL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

_SPELLED = {"bool": {"on": "true", "off": "false"}, "float": {".inf": "inf", "+.inf": "inf", "-.inf": "-inf"}}
"""For types of options, what YAML writes and the command line does not."""


def _read_settings(path: str, types: Mapping[str, str]) -> dict[str, Any]:
    """Returns the settings of a file: words, lists of words, or None."""
    try:
        settings = yaml.load(Path(path).read_text(encoding="utf-8"), _AsWritten)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInputError(f"`--config` must name a readable YAML file, but `{path}`: {error}.") from error
    known = set(types) - {"config"}  # a file does not name another
    if not isinstance(settings, dict) or not set(settings) <= known:
        unknown = sorted(map(str, set(settings) - known)) if isinstance(settings, dict) else settings
        raise InvalidInputError(
            f"`{path}` must hold settings of this recipe (see --help), but holds {unknown}. Mend or drop "
            f"them.{_renamed(unknown)}"
        )
    return {name: _value(name, value, types[name], path) for name, value in settings.items()}


def _value(name: str, value: Any, kind: str, path: str) -> Any:
    words = value if isinstance(value, list) else [value]
    if any(isinstance(word, (dict, list)) for word in words) or (None in words and isinstance(value, list)):
        raise InvalidInputError(f"`{name}` in `{path}` must be a value, or a list of values, but is {value}. Mend it.")
    if value is None and "None" not in kind:
        raise InvalidInputError(f"`{name}` in `{path}` must have a value, but has none. Give one, or drop the line.")
    if value is None:
        return None
    spelled = {written: word for part, words in _SPELLED.items() if part in kind for written, word in words.items()}
    words = [spelled.get(str(word).lower(), str(word)) for word in words]
    return words if isinstance(value, list) else words[0]
