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
from searchhub.evaluators.base import Evaluator
from searchhub.evaluators.supernet import SupernetEvaluator
from searchhub.files import read_json_object, write_json
from searchhub.library import single_changes
from searchhub.models.identity import weights_digest
from searchhub.models.supernet import Supernet
from searchhub.run_folder import LIBRARY, TEACHER
from searchhub.space import Architecture
from searchhub.training.accelerator import Processes
from searchhub.training.distillation import distilled, kept_outputs, with_outputs
from searchhub.trial import SCORED, SCORING, Trial

if TYPE_CHECKING:
    from searchhub.workflows.trainer import SearchTrainer


def asks_parent(trainer: SearchTrainer) -> bool:
    """Whether the fine-tuned checkpoint's outputs are needed: by the search, or by the final training."""
    final, args = trainer.final_training, trainer.compression
    teaches = bool(final.distillation_weight or final.hidden_weight)
    return args is not None and (teaches or args.judge == "parent" or args.library > 0)


def check_teaching(trainer: SearchTrainer) -> None:
    """Checks, before anything expensive, that what is to be learnt from the parent can be.

    Raises:
        InvalidInputError: An option has no effect, or needs another one.
    """
    args, search, final = trainer.compression, trainer.training, trainer.final_training
    unlabelled = getattr(trainer.task, "unlabelled", None) is not None
    if args is None:
        if unlabelled:
            raise InvalidInputError("Unlabelled texts are learnt from a checkpoint's outputs, but there is none.")
        return
    alone = final.distillation_weight == 1
    if unlabelled and not (args.judge == "parent" or alone):
        raise InvalidInputError(
            "`--unlabelled` is for what learns from the original alone, but nothing does. Give `--judge parent`, or "
            "`--distillation_weight 1`; or drop it."
        )
    if search.hidden_weight and not (args.judge == "parent" or (args.distil_search and final.hidden_weight)):
        raise InvalidInputError(
            "`--search_hidden_weight` is for a search that learns from the original, but it does not. Give "
            "`--judge parent`, or `--search_distillation` with `--hidden_weight`."
        )
    if args.distil_search and unlabelled and alone and search.distillation_weight != 1:
        raise InvalidInputError(
            "`distil_search` on unlabelled texts needs a search that learns from the original alone, but the search's "
            f'`distillation_weight` is {search.distillation_weight:g}. Make it 1, or give `judge="parent"`.'
        )
    if asks_parent(trainer) and trainer.final_task is not trainer.task:
        raise InvalidInputError("A parent teaches on one task, but `final_task` is another than `task`. Leave it out.")
    if args.judge == "parent" and isinstance(trainer._evaluator, Evaluator):
        raise InvalidInputError(
            '`judge="parent"` is for an evaluator that is made here, but a '
            f"`{type(trainer._evaluator).__name__}` was given. Give it the task that the parent judges (`JudgedTask`)."
        )
    if args.library:
        _whole(trainer.supernet)


def taught(
    trainer: SearchTrainer, supernet: Supernet, full: Architecture, progress: ProgressDisplay
) -> tuple[Task, Task]:
    """Returns the tasks of the final training and of the search, with the parent's outputs where they are used."""
    args, task, final = trainer.compression, trainer.task, trainer.final_training
    assert args is not None
    if not asks_parent(trainer):
        return trainer.final_task, task
    view, of_search = teachable(task), trainer.training.hidden_weight
    if view is task and args.judge != "parent" and not (args.library or final.hidden_weight or of_search):
        teacher = supernet.extract(supernet.subnet_of_any_size(full))
        learnt = distilled(task, teacher, trainer.accelerator)
        return learnt, learnt if args.distil_search else task
    with progress.stage("ask the original", 1) as stage:
        stage.begin(f"{view.size('full'):,} texts")
        logits, hidden = kept_outputs(
            view,
            supernet.subnet_of_any_size(full),
            trainer.accelerator,
            trainer.folder / TEACHER,
            {"teacher": weights_digest(supernet), "mixed_precision": str(trainer.accelerator.mixed_precision)},
            hidden=bool(final.hidden_weight or of_search),
            batch_size=min(final.eval_batch_size, 64),
            on_step=stage.step,
            say=progress.message,
        )
        stage.advance()
        if args.library:
            _look_at_changes(trainer, supernet, JudgedTask(view, logits, judged=args.library), stage)
    learns, labels = bool(final.distillation_weight or final.hidden_weight), final.distillation_weight < 1
    final_task: Task = trainer.final_task
    if learns:
        final_task = with_outputs(task, logits, hidden if final.hidden_weight else None, labels=labels)
    search_task: Task = task
    if args.judge == "parent":
        search_task = JudgedTask(view, logits, hidden if of_search else None, judged=args.judged)
    elif args.distil_search:
        search_task = with_outputs(task, logits, hidden if of_search else None, labels=labels)
    return final_task, search_task


def _whole(supernet: Supernet) -> Architecture:
    """Returns the architecture of the largest candidates, which must be the original.

    Raises:
        InvalidInputError: The lists do not offer the original's sizes, or the deepest networks lack a layer of others.
    """
    space = supernet.search_space
    whole = Architecture({choice.name: max(choice.candidates) for choice in space.choices})  # type: ignore[type-var]
    if whole != getattr(supernet, "full_architecture", None):
        raise InvalidInputError(
            "`--library` changes the original in one choice at a time, so `--depths`, `--intermediate_sizes` and "
            "`--num_heads` must offer its own sizes, and no others do. Add them, or drop it."
        )
    return whole


def _look_at_changes(trainer: SearchTrainer, supernet: Supernet, task: JudgedTask, stage: Stage) -> None:
    """Scores the original with each single change, untrained, and writes the scores into the run's folder."""
    file, space = trainer.folder / LIBRARY, supernet.search_space
    wanted = {"teacher": weights_digest(supernet), "task": task.fingerprint(), "space": space.fingerprint()}
    main = OnMain(Processes(trainer.accelerator))
    kept = main(lambda: read_json_object(file)) or {}
    if {name: kept.get(name) for name in wanted} == wanted:
        return
    changes = single_changes(space, _whole(supernet))
    settings = replace(trainer.training, distillation_weight=1.0)
    evaluator = SupernetEvaluator(supernet, task, settings, trainer.accelerator, num_trials=1, seed=trainer.args.seed)
    scored = []
    stage.begin(f"{len(changes)} single changes")
    for result in evaluator([Trial(i, change, SCORED, SCORING) for i, change in enumerate(changes)]):
        scored.append({"architecture": result.trial.architecture.to_dict(), "score": result.score})
        stage.step(len(scored), len(changes))
    main(lambda: write_json(file, {**wanted, "texts": task.size("validation"), "changes": scored}))
