"""Settings of recipes on text: data, checkpoint and space, search, training, limits."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from searchhub.data.glue import GLUE_TASKS, load_glue_task
from searchhub.data.text import TextTask
from searchhub.data.text_loading import load_text_task
from searchhub.errors import InvalidInputError
from searchhub.searchers.base import Searcher
from searchhub.space import SearchSpace
from searchhub.training.settings import TrainingSettings
from searchhub.workflows.arguments import SEARCHERS, RecipeTrainingArguments, SearchArguments, option

UNIFORM = "uniform"


@dataclass
class TextDataArguments:
    """Which texts, and how they are split and cut."""

    task_name: str | None = option(None, f"A GLUE task: {', '.join(GLUE_TASKS)}.")
    data_dir: str | None = option(None, "Folder with the GLUE task's train and dev files (tsv or parquet).")
    dataset: str | None = option(None, "Other data: a Hub id, or a csv, tsv, json or parquet file or folder.")
    dataset_config_name: str | None = option(None, "Of a Hub id.")
    text_column: str | None = option(None, "Column of texts; found where there is one.")
    pair_column: str | None = option(None, "Column of second texts, for pairs.")
    label_column: str | None = option(None, "Column of classes; found where there is one.")
    max_length: int = option(128, "Longer inputs are cut to so many tokens.")
    pad_to_multiple_of: int = option(1, "Pad batches to such a length, for GPUs with tensor cores.")
    validation_size: float = option(0.1, "Share, or number, of training examples that score the search.")
    test_size: float | None = option(None, "The same for the test, where other data have no such split. Default: 0.1.")
    max_train_samples: int | None = option(None, "Use so many training examples.")
    max_eval_samples: int | None = option(None, "Use so many validation and so many test examples.")

    def task(self, tokenizer: str | PreTrainedTokenizerBase, seed: int) -> TextTask:
        """The data set, tokenised.

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
        columns = ("dataset_config_name", "text_column", "pair_column", "label_column")
        common |= {name: getattr(self, name) for name in columns}
        common["test_size"] = 0.1 if self.test_size is None else self.test_size
        return load_text_task(self.dataset, tokenizer, seed=seed, **common)

    def _refuse_columns(self) -> None:
        names = ("dataset_config_name", "text_column", "pair_column", "label_column", "test_size")
        given = [name for name in names if getattr(self, name) is not None]
        if given:
            known = "test split is the official dev set" if given[0] == "test_size" else "columns are known"
            raise InvalidInputError(f"`--{given[0]}` is for `--dataset`; of `{self.task_name}` the {known}. Drop it.")


@dataclass
class BertArguments:
    """Which checkpoint becomes smaller, and what may vary."""

    model_name_or_path: str = option("google-bert/bert-base-uncased", "Any BERT checkpoint: a Hub id or a folder.")
    ignore_mismatched_sizes: bool = option(
        False, "Draw a new classifier where the checkpoint's is of another number of labels."
    )
    depths: list[int] | None = option(None, "Numbers of layers on offer. Default: 1/2, 2/3, 5/6 and all.")
    intermediate_sizes: list[int] | None = option(None, "Widths on offer. Default: 1/6, 1/4, 1/3 and all.")
    num_heads: list[int] | None = option(None, "Numbers of heads on offer. Default: 1/3, 2/3 and all.")
    sequence_length: int = option(128, "Tokens of the example that multiply-adds and latency are of.")
    order: str = option(
        "first_order", "By what heads and neurons are ordered.", choices=["first_order", "magnitude", "none"]
    )
    order_examples: int = option(512, "Training examples that importance is measured on.")
    original_epochs: int = option(3, "Epochs of fine-tuning the checkpoint before the search; 0: it is fine-tuned.")
    original_learning_rate: float = option(5e-5, "Peak of that fine-tuning's cosine, to 0.")

    def __post_init__(self) -> None:
        _check_at_least(self, original_epochs=0, order_examples=1)


@dataclass
class BertSearchArguments(SearchArguments):
    """How the space is searched."""

    searcher: str = option("ddp", "Who searches; `uniform`: nobody.", choices=[*SEARCHERS, UNIFORM])
    estimation_epochs: int = option(3, "T of DDPNAS: how often each round repeats its draw.")
    search_distillation: bool = option(False, "Distil from the original inside the search, too.")

    def build(self, space: SearchSpace, seed: int) -> Searcher | None:
        """The searcher of that name; None: nobody searches."""
        if self.searcher != UNIFORM:
            return super().build(space, seed)
        self._refuse_settings_of_ddp()
        for name in ("evaluations", "warmup_trials", "search_distillation"):
            if getattr(self, name) not in (None, 0):
                raise InvalidInputError(
                    f"`--{name}` is for a search, which `--searcher uniform` does without. Drop it."
                )
        return None


@dataclass
class BertTrainingArguments(RecipeTrainingArguments):
    """How the original, search trials and final networks are trained."""

    optimizer: str = option("adamw", "Of search and final training.", choices=["sgd", "adam", "adamw"])
    learning_rate: float = option(5e-5, "Peak of the search's cosine.")
    min_learning_rate: float = option(2e-5, "Its end.")
    weight_decay: float = option(0.01, "Of all training.")
    max_grad_norm: float | None = option(1.0, "Clip gradients to this norm.")
    epochs: int = option(3, "Epochs of the final fine-tuning of each network.")
    inherit_weights: bool = option(True, "Start the final fine-tuning from `start`, not from scratch.")
    start: str = option(
        "original",
        "Whose weights: the fine-tuned original's or the search's; docs/results/bert.md compares them.",
        choices=["original", "supernet"],
    )
    warmup_steps: int = option(20, "Steps of linear warm-up of each training, and of the search's first.")
    distillation_weight: float = option(0.0, "Of the original's outputs in the loss of the final fine-tuning.")
    distillation_temperature: float = option(2.0, "Divides logits in it.")

    def __post_init__(self) -> None:
        _check_at_least(self, epochs=1)

    def _settings(self, peak: float, end: float, label_smoothing: float) -> TrainingSettings:
        settings = super()._settings(peak, end, label_smoothing)
        return dataclasses.replace(settings, warmup_steps=self.warmup_steps)

    def original_settings(self, learning_rate: float) -> TrainingSettings:
        """Settings of the checkpoint's fine-tuning."""
        return self._settings(learning_rate, 0.0, 0.0)

    def distilling(self, settings: TrainingSettings) -> TrainingSettings:
        """The settings with the teacher's part in the loss."""
        return dataclasses.replace(
            settings,
            distillation_weight=self.distillation_weight,
            distillation_temperature=self.distillation_temperature,
        )


@dataclass
class BertNetworkArguments:
    """Which networks come out of the search."""

    max_params: list[float] | None = option(None, "Limits on parameters, embeddings included, a network each.")
    max_encoder_params: list[float] | None = option(None, "Limits on parameters without embeddings.")
    max_macs: list[float] | None = option(None, "Limits on multiply-adds of an example of `sequence_length`.")
    max_latency_ms: list[float] | None = option(None, "Limits on measured latency, a network each.")
    latency_batch_size: int = option(1, "Examples, of `sequence_length`, whose latency is limited.")
    together: bool = option(False, "One network for the first number of all limits at once, one for all second ones ….")
    plain_bert: bool = option(False, "Publish as stock `bert` what stock BERT can express.")
    random_networks: int = option(3, "Random architectures in (0.95 ν, ν] to train beside each network.")
    uniform_network: bool = option(True, "Also train evenly spread whole layers within each limit.")
    train_largest: bool = option(True, "Also train the largest network of the space on, like the others.")

    def limits(self) -> dict[str, list[float] | None]:
        """What was asked for, by the name of the cost."""
        return {
            "params": self.max_params,
            "encoder_params": self.max_encoder_params,
            "macs": self.max_macs,
            "latency_ms": self.max_latency_ms,
        }


def _check_at_least(settings: object, **least: int) -> None:
    for name, bound in least.items():
        if getattr(settings, name) < bound:
            raise InvalidInputError(f"`--{name}` must be at least {bound}, but is {getattr(settings, name)}.")
