"""The settings of a `SearchTrainer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from searchhub.data.splits import check_seed
from searchhub.data.task import Split
from searchhub.errors import InvalidInputError
from searchhub.searchers.base import Searcher
from searchhub.training.settings import TrainingSettings
from searchhub.trial import Budget
from searchhub.workflows.compression import CompressionArguments


@dataclass(frozen=True, kw_only=True)
class SearchArguments:
    """Settings by which a `SearchTrainer` searches and trains.

    Args:
        output_dir: The run's folder. The same run, started again, goes on from what the folder holds.
        searcher: The searcher, or its name (also `package.module:Class`). A name is built with `budget`, `seed` and
            `searcher_options`.
        searcher_options: Further arguments of a searcher that is given by name, e.g. {"estimation_epochs": 3}.
        scored: S, number of architectures that are scored after the search, by forward passes alone on its weights. 0:
            none. None: 200, if the evaluator can. Their effects are what networks are chosen by.
        even_sizes: Name of the cost over whose logarithm the paths to train, and the architectures to score, are spread
            evenly, so that small networks count as much as large ones (`searchhub.generation.size_sampling`). None:
            each candidate of a choice is drawn alike.
        refine: How many architectures near the optimum of each limit are scored, too, before its network is generated
            (`searchhub.scoring.refine`). 0: none.
        budget: Budget of each trial, if the searcher is given by name.
        training: Training settings of the search's trials. None: the defaults of `TrainingSettings`, or those of
            `searchhub.workflows.compression` if a checkpoint is compressed.
        final_training: Settings of the final training. None: those of the trials, on a cosine to 0.
        epochs: Epochs of the final training of each network. None: 15, or 3 if a checkpoint is compressed.
        train_on: Split of the final training. "full" (train and validation) for final numbers; "train" if you rank
            networks on validation.
        inherit_weights: Whether the final training starts from the supernet's weights. False: from scratch, as in
            DDPNAS. None: True if a checkpoint is compressed, else False.
        stages: Shares of the largest network on offer, which fall, like (0.5, 0.2, 0.1): networks that inherit weights
            are cut step by step, see `NetworkTrainer`. Empty: at once.
        stage_epochs: Epochs of each stage.
        compression: How a checkpoint is prepared before the search. None: the supernet is not a checkpoint to compress.
        publish_as: Function that turns a trained model into the one that is published, e.g. of a stock class. None:
            the trained model itself is published.
        replace: Whether a network takes the place of a finished one of its name that was trained otherwise. False: that
            one stays, and the new one gets a folder of its own.
        seed: The seed of everything random, from 0 to 4,294,967,295.
        mixed_precision: "no", "fp16" or "bf16", if the trainer is given no accelerator.
        report_to: Tracker that Accelerate supports, if the trainer is given no accelerator. None: no tracker.
    """

    output_dir: str | Path
    searcher: Searcher | str = "ddp"
    searcher_options: Mapping[str, Any] = field(default_factory=dict)
    scored: int | None = None
    even_sizes: str | None = None
    refine: int = 0
    budget: Budget = Budget()
    training: TrainingSettings | None = None
    final_training: TrainingSettings | None = None
    epochs: int | None = None
    train_on: Split = "full"
    inherit_weights: bool | None = None
    stages: Sequence[float] = ()
    stage_epochs: int = 1
    compression: CompressionArguments | None = None
    publish_as: Callable[[PreTrainedModel], PreTrainedModel] | None = None
    replace: bool = False
    seed: int = 0
    mixed_precision: str = "no"
    report_to: str | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.refine < 0:
            raise InvalidInputError(f"`refine >= 0` must hold, but is {self.refine}.")
