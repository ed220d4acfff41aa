"""The settings of a `SearchTrainer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from searchhub.data.task import Split
from searchhub.searchers.base import Searcher
from searchhub.training.settings import TrainingSettings
from searchhub.trial import Budget
from searchhub.workflows.compression import CompressionArguments


@dataclass(frozen=True, kw_only=True)
class SearchArguments:
    """How a `SearchTrainer` searches and trains.

    Args:
        output_dir: The run's folder. The same run, started again, goes on from what the folder holds.
        searcher: Who searches: a searcher; or the name of one, `package.module:Class` included, which is then built
            with `budget`, `seed` and `searcher_options`.
        searcher_options: Further arguments of a searcher that is named, e.g. {"estimation_epochs": 3}.
        budget: What each trial of a searcher that is named is given.
        training: How the trials of the search are trained; None: as `TrainingSettings` says, or, where a checkpoint is
            compressed, as `searchhub.workflows.compression` fine-tunes.
        final_training: How the networks are trained in the end; None: as the trials, on a cosine to 0.
        epochs: Passes of the final training of each network; None: 15, or 3 where a checkpoint is compressed.
        train_on: The split of the final training: "full" (train and validation) for final numbers, "train" where
            networks are ranked by validation.
        inherit_weights: Whether the final training starts from the supernet's weights, or, as in DDPNAS, from scratch.
            None: it does where a checkpoint is compressed.
        compression: Where a checkpoint is compressed, what is done with the whole of it before the search.
        publish_as: Makes what is published of a trained model, e.g. a stock class that expresses it; None: itself.
        seed: The seed of everything random.
        mixed_precision: "no", "fp16" or "bf16", where no accelerator is given.
        report_to: A tracker that Accelerate knows, where no accelerator is given; None: none.
    """

    output_dir: str | Path
    searcher: Searcher | str = "ddp"
    searcher_options: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget = Budget()
    training: TrainingSettings | None = None
    final_training: TrainingSettings | None = None
    epochs: int | None = None
    train_on: Split = "full"
    inherit_weights: bool | None = None
    compression: CompressionArguments | None = None
    publish_as: Callable[[PreTrainedModel], PreTrainedModel] | None = None
    seed: int = 0
    mixed_precision: str = "no"
    report_to: str | None = None
