"""Lets the fine-tuned checkpoint, the parent, train and judge a search, and teach the networks that come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from searchhub.callbacks.progress import ProgressDisplay
from searchhub.data.distilled import JudgedTask
from searchhub.data.task import Task
from searchhub.data.unlabelled import teachable
from searchhub.errors import InvalidInputError
from searchhub.models.identity import weights_digest
from searchhub.models.supernet import Supernet
from searchhub.run_folder import TEACHER
from searchhub.space import Architecture
from searchhub.training.distillation import kept_outputs, with_outputs

if TYPE_CHECKING:
    from searchhub.workflows.trainer import SearchTrainer


def asks_parent(trainer: SearchTrainer) -> bool:
    """Whether the fine-tuned checkpoint's outputs are needed: by the search, or by the final training."""
    final, args = trainer.final_training, trainer.compression
    return args is not None and (bool(final.distillation_weight or final.hidden_weight) or args.judge == "parent")


def taught(
    trainer: SearchTrainer, supernet: Supernet, full: Architecture, progress: ProgressDisplay
) -> tuple[Task, Task]:
    """Returns the tasks of the final training and of the search, with the parent's outputs where they are used."""
    args, task, final = trainer.compression, trainer.task, trainer.final_training
    assert args is not None
    if not asks_parent(trainer):
        return trainer.final_task, task
    if trainer.final_task is not task:
        raise InvalidInputError("A parent teaches on one task, but `final_task` is another than `task`. Leave it out.")
    view = teachable(task)
    with progress.stage("ask the original", 1) as stage:
        stage.begin(f"{view.size('full'):,} texts")
        logits, hidden = kept_outputs(
            view,
            supernet.subnet_of_any_size(full),
            trainer.accelerator,
            trainer.folder / TEACHER,
            {"teacher": weights_digest(supernet)},
            hidden=bool(final.hidden_weight or trainer.training.hidden_weight),
            on_step=stage.step,
            say=progress.message,
        )
        stage.advance()
    final_task: Task = trainer.final_task
    if final.distillation_weight or final.hidden_weight:
        final_task = with_outputs(task, logits, hidden, labels=final.distillation_weight < 1)
    search_task: Task = final_task if args.distil_search else task
    if args.judge == "parent":
        search_task = JudgedTask(view, logits, hidden, judged=args.judged)
    return final_task, search_task
