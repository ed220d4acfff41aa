"""Lets the fine-tuned checkpoint, the parent, train and judge a search, and teach the networks that come of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from searchhub.callbacks.progress import ProgressDisplay, Stage
from searchhub.data.distilled import JudgedTask
from searchhub.data.task import Task
from searchhub.data.unlabelled import teachable
from searchhub.distributed import OnMain
from searchhub.errors import InvalidInputError
from searchhub.evaluators.supernet import SupernetEvaluator
from searchhub.files import read_json_object, write_json
from searchhub.library import single_changes
from searchhub.models.identity import weights_digest
from searchhub.models.supernet import Supernet
from searchhub.run_folder import LIBRARY, TEACHER
from searchhub.space import Architecture
from searchhub.training.accelerator import Processes
from searchhub.training.distillation import kept_outputs, with_outputs
from searchhub.trial import SCORED, SCORING, Trial

if TYPE_CHECKING:
    from searchhub.workflows.trainer import SearchTrainer


def asks_parent(trainer: SearchTrainer) -> bool:
    """Whether the fine-tuned checkpoint's outputs are needed: by the search, or by the final training."""
    final, args = trainer.final_training, trainer.compression
    teaches = bool(final.distillation_weight or final.hidden_weight)
    return args is not None and (teaches or args.judge == "parent" or args.library > 0)


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
        if args.library:
            _look_at_changes(trainer, supernet, JudgedTask(view, logits, judged=args.library), stage)
    final_task: Task = trainer.final_task
    if final.distillation_weight or final.hidden_weight:
        final_task = with_outputs(task, logits, hidden, labels=final.distillation_weight < 1)
    search_task: Task = final_task if args.distil_search else task
    if args.judge == "parent":
        search_task = JudgedTask(view, logits, hidden, judged=args.judged)
    return final_task, search_task


def _look_at_changes(trainer: SearchTrainer, supernet: Supernet, task: JudgedTask, stage: Stage) -> None:
    """Scores the original with each single change, untrained, and writes the scores into the run's folder."""
    file, space = trainer.folder / LIBRARY, supernet.search_space
    wanted = {"teacher": weights_digest(supernet), "task": task.fingerprint(), "space": space.fingerprint()}
    main = OnMain(Processes(trainer.accelerator))
    kept = main(lambda: read_json_object(file)) or {}
    if {name: kept.get(name) for name in wanted} == wanted:
        return
    whole = Architecture({choice.name: max(choice.candidates) for choice in space.choices})  # type: ignore[type-var]
    changes = single_changes(space, whole)
    settings = replace(trainer.training, distillation_weight=1.0)
    evaluator = SupernetEvaluator(supernet, task, settings, trainer.accelerator, num_trials=1, seed=trainer.args.seed)
    scored = []
    stage.begin(f"{len(changes)} single changes")
    for result in evaluator([Trial(i, change, SCORED, SCORING) for i, change in enumerate(changes)]):
        scored.append({"architecture": result.trial.architecture.to_dict(), "score": result.score})
        stage.step(len(scored), len(changes))
    main(lambda: write_json(file, {**wanted, "texts": task.size("validation"), "changes": scored}))
