"""What a `SearchTrainer` checks before anything expensive: what would stop a search, or the training after it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchhub.costs.structure import cells_of
from searchhub.errors import InvalidInputError
from searchhub.evaluators.base import Evaluator
from searchhub.evaluators.score import LIKELIHOOD, find_score
from searchhub.networks.saved_trainer import name_of
from searchhub.networks.staging import check_stages
from searchhub.networks.trainer import check_inheritable
from searchhub.run_folder import RUN_CONFIG
from searchhub.searchers.base import Searcher
from searchhub.training.batch_norm import check_batch_norm_of
from searchhub.training.batches import check_batch_size
from searchhub.trial import Budget
from searchhub.workflows.teaching import check_teaching

if TYPE_CHECKING:
    from searchhub.workflows.trainer import SearchTrainer


def check_given(trainer: SearchTrainer, evaluator: Any, options: Mapping[str, Any]) -> None:
    """Checks that no argument goes without effect, and that parts belong together."""
    args, space = trainer.args, trainer.supernet.search_space
    find_score(trainer.score)
    if isinstance(args.searcher, Searcher):
        if args.searcher_options or args.budget != Budget():
            raise InvalidInputError(
                "`searcher_options` and `budget` are for a searcher that is named, but a "
                f"`{type(args.searcher).__name__}` was given. Give them to it."
            )
        if args.searcher.space.fingerprint() != space.fingerprint():
            raise InvalidInputError(
                f"The searcher must search the supernet's space `{space.name}`, but searches "
                f"`{args.searcher.space.name}`. Make it of `supernet.search_space`."
            )
    if isinstance(evaluator, Evaluator):
        if options or trainer.score != LIKELIHOOD:
            raise InvalidInputError(
                "`evaluator_options` and `score` are for an evaluator that is made here, but a "
                f"`{type(evaluator).__name__}` was given. Give them to it."
            )
        if getattr(evaluator, "supernet", trainer.supernet) is not trainer.supernet:
            raise InvalidInputError("The evaluator must evaluate on the trainer's supernet, but has another one.")


def check_search(trainer: SearchTrainer) -> None:
    """Checks what the search needs, the fine-tuning before it included."""
    searcher = trainer.searcher
    if not searcher.num_trials:
        check_no_search(trainer.folder)
    else:
        check_batch_size(trainer.task, "train", trainer.training, trainer.accelerator)
        if searcher.result().distribution is None and trainer.compares_nothing:
            raise InvalidInputError(
                f"A `{type(searcher).__name__}` leaves no θ, and scores of other moments of shared weights do not "
                "compare, so that only its last trial would count. Score architectures after the search (`scored`), or "
                'let each trial train its own path (`paths` "trial").'
            )
        check_batch_norm_of(trainer.supernet, trainer.task, trainer.training, trainer.accelerator)
        if cells_of(searcher.space) is not None and searcher.result().distribution is None:
            raise InvalidInputError(
                f"A search of cells must give a θ to derive cells from, but a `{type(searcher).__name__}` gives "
                "none. Name another searcher."
            )
    check_teaching(trainer)
    paths = trainer._evaluator_options.get("paths", "fresh")
    if trainer.args.even_sizes is not None and paths != "fresh":
        raise InvalidInputError(
            f'Sizes are spread evenly (`--spread sizes`) over paths that are drawn anew, but `paths` is "{paths}". '
            "Drop one of them."
        )
    if trainer.args.refine and not trainer._scored:
        raise InvalidInputError("`refine` needs scores to begin with, but `scored` is 0. Raise it.")
    if trainer.compression and trainer.compression.distil_search:
        weights = trainer.training.distillation_weight, trainer.final_training.distillation_weight
        if not all(weights):
            raise InvalidInputError(
                "`distil_search` needs a teacher's part in the loss of trials and of the final training, but "
                f"`distillation_weight` is {weights[0]:g} and {weights[1]:g}. Raise it."
            )


def check_training(trainer: SearchTrainer) -> None:
    """Checks what the final training needs."""
    check_batch_size(trainer.final_task, trainer.args.train_on, trainer.final_training, trainer.accelerator)
    check_batch_norm_of(trainer.supernet.final, trainer.final_task, trainer.final_training, trainer.accelerator)
    if trainer.inherit_weights:
        check_inheritable(trainer.supernet)
    elif trainer.compression and trainer.compression.reconstruct:
        raise InvalidInputError(
            "`reconstruct` must be False for networks that are trained from scratch: it completes weights that they "
            "inherit. Have them inherit: `inherit_weights`."
        )
    check_stages(
        trainer.args.stages,
        trainer.args.stage_epochs,
        trainer.supernet.search_space,
        inherit_weights=trainer.inherit_weights,
        reconstruct=trainer.compression is not None and trainer.compression.reconstruct,
    )
    if trainer.args.publish_as is not None and trainer.final_task.source:
        name_of(trainer.args.publish_as)


def check_no_search(folder: Path) -> None:
    """Checks that a run in which nobody searches does not go into the folder of a search.

    Raises:
        InvalidInputError: The folder holds one.
    """
    if (folder / RUN_CONFIG).exists():
        raise InvalidInputError(f"`{folder}` must not hold a search where nobody searches. Choose another folder.")
