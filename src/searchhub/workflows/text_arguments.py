"""Settings of recipes on text: data, checkpoint and space, search, training, limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase

from searchhub.costs.latency import measure_latency
from searchhub.costs.latency_table import LatencyTable
from searchhub.costs.macs import macs_table
from searchhub.costs.params import params_table
from searchhub.costs.table import CostTable
from searchhub.data.glue import GLUE_TASKS, load_glue_task
from searchhub.data.text import TextTask
from searchhub.data.text_loading import load_text_task
from searchhub.errors import InvalidInputError
from searchhub.generation import Limit
from searchhub.models.bert.supernet_bert import BertSupernetForSequenceClassification
from searchhub.networks.choose import Finder, LimitSet, between, first_within
from searchhub.searchers.base import Searcher
from searchhub.space import SearchSpace
from searchhub.spaces.bert import SHARES
from searchhub.training.settings import TrainingSettings
from searchhub.workflows.arguments import (
    SEARCHED_BY,
    LimitArguments,
    RecipeTrainingArguments,
    RunArguments,
    SearcherArguments,
    option,
)
from searchhub.workflows.compression import JUDGES, ORDERS, CompressionArguments, Original, load_original
from searchhub.workflows.limits import check_words
from searchhub.workflows.search_arguments import SearchArguments

UNIFORM = "uniform"


_OF_DATASETS = (
    "dataset_config_name",
    "text_column",
    "pair_column",
    "label_column",
    "group_column",
    "validation_file",
    "test_file",
)
"""Options of data that are no GLUE task."""


@dataclass
class TextDataArguments:
    """The texts, and how they are split and cut."""

    task_name: str | None = option(None, f"GLUE task: {', '.join(GLUE_TASKS)}.")
    data_dir: str | None = option(None, "Folder with the GLUE task's train and dev files (tsv or parquet).")
    dataset: str | None = option(None, "Other data: a Hub id, or a csv, tsv, json or parquet file or folder.")
    dataset_config_name: str | None = option(None, "Configuration of a data set on the Hub.")
    text_column: str | None = option(None, "Column of texts. Default: the only one there is.")
    pair_column: str | None = option(None, "Column of second texts, for pairs.")
    label_column: str | None = option(None, "Column of classes. Default: the only one there is.")
    group_column: str | None = option(
        None, "Column, e.g. of authors: where parts are drawn, rows with one value stay together."
    )
    contained_together: bool = option(
        False, "Draw parts so that no text that is held out stands in one that is trained on, as SST-2's phrases do."
    )
    max_length: int = option(128, "Largest number of tokens; longer inputs are cut.")
    pad_to_multiple_of: int = option(1, "Pad batches to a multiple of this length, for GPUs with tensor cores.")
    validation_size: float = option(0.1, "Share, or number, of training examples that form the validation split.")
    test_size: float | None = option(
        None, "Share, or number, that forms the test split, if other data have none. Default: 0.1."
    )
    validation_file: str | None = option(
        None,
        "File (csv, tsv, json, parquet) to validate on, where `--dataset` is a file or folder without such a part.",
    )
    test_file: str | None = option(
        None, "File to test on, likewise: give one that the checkpoint has not seen, if it is fine-tuned already."
    )
    unlabelled: str | None = option(
        None,
        "File of further texts without labels, a table with the same columns or a .txt with a text a line: what learns "
        "from the original alone learns from them, too.",
    )
    max_train_samples: int | None = option(None, "Largest number of training examples to use.")
    max_eval_samples: int | None = option(None, "Largest number of validation examples, and of test examples, to use.")

    def task(self, tokenizer: str | PreTrainedTokenizerBase, seed: int) -> TextTask:
        """Returns the task of the data set, tokenised.

        Raises:
            InvalidInputError: Not exactly one of a GLUE task and other data is named, or it cannot be loaded.
        """
        if (self.task_name is None) == (self.dataset is None):
            raise InvalidInputError(
                f"Either `--task_name` (one of {', '.join(GLUE_TASKS)}) or `--dataset` (other texts, by columns) must "
                f"be given, but got {self.task_name!r} and {self.dataset!r}."
            )
        common: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("max_length", "pad_to_multiple_of", "validation_size", "max_train_samples", "max_eval_samples")
        }
        common["contained_together"] = self.contained_together
        common["unlabelled"] = self.unlabelled
        if self.dataset is None:
            assert self.task_name is not None
            self._refuse_columns()
            return load_glue_task(self.task_name, tokenizer, data_dir=self.data_dir, seed=seed, **common)
        if self.data_dir is not None:
            raise InvalidInputError("`--data_dir` is for GLUE tasks; give the folder as `--dataset`.")
        if self.dataset_config_name is not None and Path(self.dataset).exists():
            raise InvalidInputError(
                f"`--dataset_config_name` is for a Hub id, but `--dataset {self.dataset}` is a file or folder. Drop it."
            )
        common |= {name: getattr(self, name) for name in _OF_DATASETS}
        common["test_size"] = 0.1 if self.test_size is None else self.test_size
        return load_text_task(self.dataset, tokenizer, seed=seed, **common)

    def _refuse_columns(self) -> None:
        given = [name for name in (*_OF_DATASETS, "test_size") if getattr(self, name) is not None]
        if given:
            of_splits = given[0].endswith(("_size", "_file"))
            known = "test split is the official dev set" if of_splits else "columns are known"
            raise InvalidInputError(f"`--{given[0]}` is for `--dataset`; of `{self.task_name}` the {known}. Drop it.")


@dataclass
class BertArguments:
    """The checkpoint to compress, what may vary in it, and how it is prepared."""

    model_name_or_path: str = option("google-bert/bert-base-uncased", "BERT checkpoint: a Hub id or a folder.")
    ignore_mismatched_sizes: bool = option(
        False, "Draw a new classifier if the checkpoint's has another number of labels."
    )
    sizes: str = option(
        "paper",
        "What is on offer where the next three name nothing: `paper`, their defaults, or `small`, for 5 to 25 %% of "
        "the encoder: 1/3 to all of the layers, and dense lists of widths and heads from 0.",
        choices=list(SHARES),
    )
    depths: list[int] | None = option(None, "Numbers of layers on offer. Default of `paper`: 1/2, 2/3, 5/6 and all.")
    intermediate_sizes: list[int] | None = option(
        None, "Feed-forward widths on offer; 0: no such part. Default of `paper`: 1/6, 1/4, 1/3 and all."
    )
    num_heads: list[int] | None = option(
        None, "Numbers of heads on offer; 0: no attention. Default of `paper`: 1/3, 2/3 and all."
    )
    sequence_length: int | None = option(
        None,
        "Tokens of the example on which multiply-adds and latency are counted. Default: `max_length`, at most 128.",
    )
    order: str = option(
        "first_order",
        "Measure of importance that orders heads and neurons.",
        choices=list(ORDERS),
    )
    order_examples: int = option(
        512, "Number of training examples on which importance is measured, and activations for `--reconstruct`."
    )
    original_epochs: int | None = option(
        None,
        "Epochs of fine-tuning the checkpoint before the search. Default: 0 if its classifier has the data's labels by "
        "name, so that it is taken as it is; 3 if it has no classifier.",
    )
    checkpoint_labels: list[str] | None = option(
        None, "Names of the labels of the checkpoint's classifier, in its order. Default: those of its config.json."
    )
    original_learning_rate: float = option(5e-5, "Peak of the cosine of that fine-tuning, to 0.")

    def __post_init__(self) -> None:
        _check_at_least(self, order_examples=1, **({} if self.original_epochs is None else {"original_epochs": 0}))

    def original(self, task: TextTask, seed: int, accelerator: Accelerator) -> Original:
        """Returns the checkpoint as a supernet on the accelerator's device; a missing classifier is drawn."""
        torch.manual_seed(seed)
        return load_original(
            self.model_name_or_path,
            task,
            accelerator,
            epochs=self.original_epochs,
            labels=self.checkpoint_labels,
            ignore_mismatched_sizes=self.ignore_mismatched_sizes,
            depths=self.depths,
            intermediate_sizes=self.intermediate_sizes,
            num_heads=self.num_heads,
            sizes=self.sizes,
            sequence_length=min(128, task.max_length) if self.sequence_length is None else self.sequence_length,
        )


@dataclass
class BertSearcherArguments(SearcherArguments):
    """Settings of the searcher, and of distillation in its trials."""

    searcher: str = option(
        "ddp", f"Searcher: {', '.join(SEARCHED_BY)}, or a class as `package.module:Class`; `uniform`: no search."
    )
    estimation_epochs: int = option(3, "T of DDPNAS: how often each round repeats its draw.")
    search_distillation: bool = option(False, "Distil from the original inside the search, too.")
    judge: str = option(
        "labels",
        "What trains and scores the search: the `labels`, or the outputs of the fine-tuned original, its `parent`.",
        choices=list(JUDGES),
    )
    judged: int = option(512, "Validation texts on which the parent judges, at most.")
    library: int = option(
        0,
        "Validation texts on which the parent judges each single change of itself before the search, as a picture in "
        "the report. 0: none.",
    )
    spread: str | None = option(
        None,
        "What is spread evenly over the paths to train and the architectures to score: `sizes` (the logarithm of the "
        "encoder's parameters), or `candidates`. Default: sizes if the parent judges.",
        choices=["sizes", "candidates"],
    )
    search_hidden_weight: float = option(
        0.0, "Weight of the distance to the original's last hidden states, token by token, in the search's loss."
    )

    def build(self, space: SearchSpace, seed: int) -> Searcher:
        """Returns the searcher of that name.

        Raises:
            InvalidInputError: There is no such searcher, or a setting belongs to another one.
        """
        if self.searcher == UNIFORM:
            for name in ("evaluations", "warmup_trials", "search_distillation", "search_hidden_weight", "library"):
                if getattr(self, name) not in (None, 0):
                    raise InvalidInputError(
                        f"`--{name}` is for a search, which `--searcher uniform` does without. Drop it."
                    )
            for name, default in (("judge", "labels"), ("refine", 0), ("spread", None)):
                if getattr(self, name) != default:
                    raise InvalidInputError(
                        f"`--{name}` is for a search, which `--searcher uniform` does without. Drop it."
                    )
        return super().build(space, seed)

    @property
    def even_sizes(self) -> str | None:
        """Name of the cost over whose logarithm architectures are spread evenly; None if candidates are drawn alike."""
        spread = self.spread or ("sizes" if self.judge == "parent" and self.paths == "fresh" else "candidates")
        return "encoder_params" if spread == "sizes" else None

    def find(self, supernet: BertSupernetForSequenceClassification) -> Finder:
        """Returns the function that finds the network for some limits: the search's, or evenly spread whole layers."""
        return uniform_layers(supernet) if self.searcher == UNIFORM else self.finder(supernet.search_space)


def uniform_layers(supernet: BertSupernetForSequenceClassification) -> Finder:
    """Returns a function that finds evenly spread whole layers within limits, as many as keep to them.

    Raises:
        InvalidInputError: The sizes on offer leave no layer whole.
    """
    if not supernet.whole_layers:
        raise InvalidInputError(
            "`--searcher uniform` keeps whole layers, so `--intermediate_sizes` and `--num_heads` must offer the "
            f"checkpoint's {supernet.config.intermediate_size} and {supernet.config.num_attention_heads}, but do not. "
            "Add them."
        )
    return first_within(supernet.whole_layers)


@dataclass
class BertTrainingArguments(RecipeTrainingArguments):
    """Settings by which the original, search trials and final networks are trained."""

    optimizer: str = option("adamw", "Optimizer of search and final training.", choices=["sgd", "adam", "adamw"])
    learning_rate: float = option(5e-5, "Peak of the cosine learning rate in the search.")
    min_learning_rate: float = option(2e-5, "End of that cosine.")
    weight_decay: float = option(0.01, "Weight decay of all training.")
    max_grad_norm: float | None = option(1.0, "Largest norm of gradients; larger ones are clipped.")
    epochs: int = option(3, "Epochs of the final fine-tuning of each network.")
    inherit_weights: bool = option(True, "Start the final fine-tuning from `start`, not from scratch.")
    start: str = option(
        "original",
        "Weights to start from: the fine-tuned original's or the search's (docs/results/bert.md compares them).",
        choices=["original", "supernet"],
    )
    reconstruct: bool = option(
        False, "Start with output matrices that least squares fit to the original's activations, not only cut."
    )
    stages: list[float] | None = option(
        None,
        "Shares of the encoder, falling, like 0.5 0.2 0.1: each network is cut step by step and trained at each share "
        "above its own size, before its own training. Default: at once.",
    )
    stage_epochs: int = option(1, "Epochs of each of these stages.")
    warmup_steps: int = option(20, "Steps of linear warm-up at the start of each training and of the search.")
    distillation_weight: float = option(0.0, "Weight of the original's outputs in the loss of the final fine-tuning.")
    distillation_temperature: float = option(2.0, "Divisor of logits in that part of the loss.")
    hidden_weight: float = option(
        0.0, "Weight of the distance to the original's last hidden states, token by token, in that loss."
    )

    def __post_init__(self) -> None:
        _check_at_least(self, epochs=1)

    def _settings(self, peak: float, end: float, label_smoothing: float) -> TrainingSettings:
        settings = super()._settings(peak, end, label_smoothing)
        return dataclasses.replace(settings, warmup_steps=self.warmup_steps)

    def check(self, searching: BertSearcherArguments) -> None:
        """Checks that a search that is to learn from a teacher has a loss that asks one.

        Raises:
            InvalidInputError: It has none.
        """
        if searching.search_distillation and not self.distillation_weight:
            raise InvalidInputError(
                "`--search_distillation` needs a teacher's part in the loss, but `--distillation_weight` is 0. "
                "Raise it."
            )

    def bert_arguments(
        self,
        run: RunArguments,
        searcher: Searcher,
        sizes: BertArguments,
        searching: BertSearcherArguments,
        original: Original,
    ) -> SearchArguments:
        """Returns these settings as the arguments of a `SearchTrainer`.

        Args:
            run: Folder and seed of the run.
            searcher: The searcher.
            sizes: The checkpoint, and how it is fine-tuned before the search.
            searching: Whether trials learn from the original, too.
            original: The checkpoint that was loaded.
        """
        search = self.bert_search_settings(searching)
        return self.search_arguments(
            run,
            searcher,
            scored=searching.scored,
            refine=searching.refine,
            even_sizes=searching.even_sizes,
            training=self.distilling(search) if searching.search_distillation else search,
            final_training=self.bert_final_settings(),
            stages=tuple(self.stages or ()),
            stage_epochs=self.stage_epochs,
            compression=CompressionArguments(
                base_model=sizes.model_name_or_path,
                epochs=original.epochs,
                note=original.note,
                training=self.original_settings(sizes.original_learning_rate),
                order=sizes.order,  # type: ignore[arg-type]
                order_examples=sizes.order_examples,
                start=self.start,  # type: ignore[arg-type]
                reconstruct=self.reconstruct,
                distil_search=searching.search_distillation,
                judge=searching.judge,  # type: ignore[arg-type]
                judged=searching.judged,
                library=searching.library,
            ),
        )

    def bert_search_settings(self, searching: BertSearcherArguments) -> TrainingSettings:
        """Returns the settings of the search's trials, but for what they learn from the original's logits."""
        return dataclasses.replace(
            self.search_settings(),
            hidden_weight=searching.search_hidden_weight,
            distillation_temperature=self.distillation_temperature,
        )

    def bert_final_settings(self) -> TrainingSettings:
        """Returns the settings of the final training, with the teacher's part in the loss."""
        return dataclasses.replace(self.distilling(self.final_settings()), hidden_weight=self.hidden_weight)

    def original_settings(self, learning_rate: float) -> TrainingSettings:
        """Returns the settings of the checkpoint's fine-tuning."""
        return self._settings(learning_rate, 0.0, 0.0)

    def distilling(self, settings: TrainingSettings) -> TrainingSettings:
        """Returns the settings with the teacher's part in the loss."""
        return dataclasses.replace(
            settings,
            distillation_weight=self.distillation_weight,
            distillation_temperature=self.distillation_temperature,
        )


@dataclass
class BertNetworkArguments(LimitArguments):
    """Limits of the networks that come out of the search: one network per word; commas join limits of one network.

    Costs are `params`, `encoder_params` (without embeddings), `macs` of an example of `sequence_length`, and
    `latency_ms`. Without limits there is one at 60 % of the way through the encoder's parameters.
    """

    max_params: list[str] | None = option(
        None, "Short for `--max params=…`: most parameters, embeddings included, which are never cut."
    )
    latency_batch_size: int = option(1, "Examples of `sequence_length` in the forward pass of `latency_ms`.")
    plain_bert: bool = option(False, "Publish networks that stock BERT can express as stock `bert`.")
    random_networks: int = option(3, "Random architectures in (0.95 ν, ν] to train beside each network.")
    uniform_network: bool = option(True, "Also train evenly spread whole layers within each limit.")
    train_largest: bool = option(True, "Also train the largest network of the space on, like the others.")

    def words(self) -> tuple[list[str], list[str], list[str]]:
        """Returns the words of upper limits, of lower ones, and of exact values."""
        upper, lower, exact = super().words()
        return [*upper, *(f"params={value}" for value in self.max_params or ())], lower, exact

    def limits_within(self, costs: Sequence[CostTable]) -> list[LimitSet]:
        """Returns the limits of each network; without any, one at 60 % of the way through the encoder's parameters."""
        encoder = next(cost for cost in costs if cost.name == "encoder_params")
        return self.limits(costs) or [Limit(encoder.name, max=between(encoder, 0.6))]

    def costs(
        self, supernet: BertSupernetForSequenceClassification, file: Path | None, accelerator: Accelerator
    ) -> list[CostTable]:
        """Returns tables of multiply-adds, of parameters with and without embeddings, and of a limited latency.

        Args:
            supernet: The supernet of the checkpoint.
            file: File that keeps the latency, so that a run measures it once. None: it is not kept.
            accelerator: The accelerator of this process.
        """
        tables = [macs_table(supernet), params_table(supernet), params_table(supernet, embeddings=False)]
        if not self.latency and "latency_ms" in check_words(*self.words()):
            tables.append(_latency(supernet, self.latency_batch_size, file, accelerator))
            accelerator.print(f"Latency: {tables[-1].unit}")
        return tables


def _latency(
    supernet: BertSupernetForSequenceClassification, batch_size: int, file: Path | None, accelerator: Accelerator
) -> LatencyTable:
    """Returns the latency, which one process measures once per run while others wait; it is kept if there is a file."""
    if file is None:
        return measure_latency(supernet, batch_size=batch_size)
    if accelerator.is_main_process and not file.exists():
        table = measure_latency(supernet, batch_size=batch_size)
        file.parent.mkdir(parents=True, exist_ok=True)
        table.save(file)
    accelerator.wait_for_everyone()
    table = LatencyTable.load(file, supernet.search_space)
    if table.batch_size != batch_size:
        raise InvalidInputError(
            f"`--latency_batch_size` must be the {table.batch_size} that `{file}` was measured with, but is "
            f"{batch_size}. Give that, or another `--output_dir`."
        )
    return table


def _check_at_least(settings: object, **least: int) -> None:
    for name, bound in least.items():
        if getattr(settings, name) < bound:
            raise InvalidInputError(f"`--{name}` must be at least {bound}, but is {getattr(settings, name)}.")
