"""Saves how a search trains its networks, with the supernet, and loads it later to train more networks alike.

A finished run's folder holds:

result.json                  θ, history and costs
supernet/                    shared weights after the search, Hub-ready
original/                    the fine-tuned checkpoint, if networks start from it and not from the supernet
training.json                task, settings, epochs, seed, and the compute that the search used
teacher_logits.safetensors   the teacher's outputs, if the task is distilled
teacher/                     all that the parent of a compression said, if it was asked
reconstruction.safetensors   what output matrices are solved from, if networks start with such
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from transformers import PreTrainedConfig

from searchhub._public import public
from searchhub.data.distilled import TEACHER_LOGITS, DistilledTask
from searchhub.data.sources import is_function_of, load_recorded_task
from searchhub.data.task import Task
from searchhub.data.unlabelled import UnlabelledTexts, teachable
from searchhub.errors import InvalidInputError
from searchhub.files import read_json_object, replacing, write_json
from searchhub.hub.card import ComputeUsed
from searchhub.hub.contents import MODEL_CONFIG
from searchhub.hub.folder import save_supernet
from searchhub.models.bert.reconstruction_bert import BertReconstruction
from searchhub.models.supernet import Supernet
from searchhub.networks.card_facts import Provenance
from searchhub.networks.network import TRAINING
from searchhub.networks.trainer import NetworkTrainer
from searchhub.result import SearchResult
from searchhub.run_folder import ORIGINAL, RECONSTRUCTION, RESULT, TEACHER
from searchhub.training.accelerator import make_accelerator
from searchhub.training.distillation import read_outputs, with_outputs
from searchhub.training.settings import TrainingSettings

FORMAT_VERSION = 1
SUPERNET = "supernet"
LOGITS = f"{TEACHER_LOGITS}.safetensors"

_KEPT = ("epochs", "seed", "inherit_weights", "train_on")
"""Fields of a trainer that are saved as they are, as plain JSON."""

_STAGES = ("stages", "stage_epochs")
"""Fields of a trainer that are saved where there are stages."""

_TOLD = ("start", "base_model", "search_settings")
"""Fields of the trainer's provenance that are saved as they are."""


def save_trainer(
    trainer: NetworkTrainer, searched: Supernet | None = None, scoring: Mapping[str, Any] | None = None
) -> None:
    """Writes a trainer into the run's folder, from which `load_trainer` makes the same trainer.

    Each file appears whole or not at all. Every process makes this call, once after the search; the main one writes.

    Args:
        trainer: The trainer of the run's networks.
        searched: Supernet after the search. Pass it when networks start from the fine-tuned checkpoint (`original/`),
            so that `trainer.supernet` is not the searched one. None: both are the same.
        scoring: How networks are scored on the weights after the search, as plain JSON. None: nothing says so.

    Raises:
        InvalidInputError: The task was put together by hand, so that it cannot be loaded again; or `publish_as` is not
            a function of a module.
        RunFolderError: The place cannot be written to.
    """
    task = trainer.task
    if not task.source:
        raise InvalidInputError(
            f"A task must have a `source` for networks to be trained on it later, but `{task.name}` has none. Load it "
            "with the loader of its kind; a task of your own with `load_task`, which takes a function that makes it: "
            '`load_task({"kind": "package.module:function"})`.'
        )
    publish_as = None if trainer.publish_as is None else name_of(trainer.publish_as)
    if trainer.accelerator.is_main_process:
        save_supernet(trainer.supernet if searched is None else searched, trainer.folder / SUPERNET)
        if isinstance(task, DistilledTask):
            with replacing(trainer.folder / LOGITS) as temporary:
                save_file({TEACHER_LOGITS: task.logits}, temporary)
        if trainer.reconstruction is not None and not (trainer.folder / RECONSTRUCTION).exists():
            trainer.reconstruction.save(trainer.folder / RECONSTRUCTION)
        trainer.result.save(trainer.folder / RESULT)
        kind = type(trainer.supernet)
        data = {
            "format_version": FORMAT_VERSION,
            "supernet": f"{kind.__module__}.{kind.__qualname__}",
            "weights": SUPERNET if searched is None else ORIGINAL,
            "publish_as": publish_as,
            "task": task.source,
            "task_fingerprint": task.fingerprint(),
            "distilled": isinstance(task, DistilledTask),
            **({"unlabelled": True} if _on_unlabelled(task) else {}),
            "training": trainer.settings.to_dict(),
            "mixed_precision": str(trainer.accelerator.mixed_precision),
            "search_cost": dataclasses.asdict(trainer.provenance.search_cost),
            **({} if scoring is None else {"scoring": dict(scoring)}),
            **({"reconstruction": trainer.reconstruction.settings} if trainer.reconstruction else {}),
            **{name: getattr(trainer, name) for name in _KEPT},
            **({"stages": list(trainer.stages), "stage_epochs": trainer.stage_epochs} if trainer.stages else {}),
            **{name: getattr(trainer.provenance, name) for name in _TOLD},
        }
        write_json(trainer.folder / TRAINING, data)  # last: it says that the others are there
    trainer.accelerator.wait_for_everyone()


def load_trainer(
    folder: str | Path,
    accelerator: Accelerator | None = None,
    *,
    data: Mapping[str, Any] | None = None,
    trust_code: bool = False,
) -> NetworkTrainer:
    """Returns the trainer of a finished run. Networks that it trains compare with those that the run trained.

    Args:
        folder: The run's folder.
        accelerator: The accelerator of this process. None: one with the run's mixed precision.
        data: Other arguments for the task's loader, e.g. {"dataset": where it is on this machine}. Its "kind" may name
            your own loader, {"kind": "package.module:function"}.
        trust_code: Whether code outside of searchhub is imported that the run's folder names: the loader of its data,
            the class of its supernet, its `publish_as`. Read the folder and that code first.

    Raises:
        InvalidInputError: The run holds no trainer, its data cannot be loaded or are not those that it searched with,
            or it names code to import and nobody consented.
    """
    folder, data = Path(folder), data or {}
    saved = _read(folder)
    try:
        task = load_recorded_task(saved["task"], trusted=trust_code or "kind" in data, **data)
        if saved["distilled"]:
            hidden = None
            if saved["training"].get("hidden_weight"):
                logits, hidden = read_outputs(teachable(task), folder / TEACHER, hidden=True)
                task = with_outputs(task, logits, hidden, labels="unlabelled" not in saved)
            else:
                view = teachable(task) if "unlabelled" in saved else task
                task = DistilledTask(view, load_file(folder / LOGITS)[TEACHER_LOGITS])
        _check_same(task, saved["task_fingerprint"], folder)
        weights = folder / saved.get("weights", SUPERNET)
        supernet = supernet_class(folder / SUPERNET, trust_code=trust_code).from_pretrained(weights)
        supernet.config._name_or_path = ""  # a path of this machine, which configurations of networks would pass on
        solved = BertReconstruction.load(folder / RECONSTRUCTION, supernet) if "reconstruction" in saved else None
        accelerator = accelerator or make_accelerator(mixed_precision=saved["mixed_precision"], seed=saved["seed"])
        return NetworkTrainer(
            supernet,
            SearchResult.load(folder),
            task,
            TrainingSettings(**saved["training"]),
            accelerator,
            folder=folder,
            reconstruction=solved,
            provenance=Provenance(
                search_cost=ComputeUsed(**saved["search_cost"]),
                **{name: saved[name] for name in _TOLD if name in saved},
            ),
            publish_as=_publish_as(saved["publish_as"], folder, trust_code) if saved.get("publish_as") else None,
            **{name: saved[name] for name in (*_KEPT, *_STAGES) if name in saved},
        )
    except InvalidInputError:
        raise
    except (OSError, KeyError, TypeError, ValueError, ImportError, AttributeError) as error:
        raise InvalidInputError(f"`{folder}` must hold what `save_trainer` wrote, but: {error!r}.") from error


# -- supernets --------------------------------------------------------------------------------------------------------


def supernet_class(folder: Path, *, trust_code: bool = False) -> type[Supernet]:
    """Returns the class of the supernet in a folder.

    A run names the class in full. A published supernet names a class of searchhub, without its module.

    Args:
        folder: The supernet's folder.
        trust_code: Whether a class outside of searchhub, which the run names, is imported.

    Raises:
        InvalidInputError: The folder holds no supernet, its class is not found, or the class is outside of searchhub
            and nobody consented.
    """
    config, saved = read_json_object(folder / MODEL_CONFIG), read_json_object(folder.parent / TRAINING)
    if config is None:
        raise InvalidInputError(
            f"`{folder}` must hold a supernet, but has no {MODEL_CONFIG} that can be read. `save_trainer` writes one "
            "into a run's folder, as the recipes do; `publish(supernet, …)` onto the Hub."
        )
    own = str(saved["supernet"]) if folder.name == SUPERNET and saved and "supernet" in saved else ""
    named = config.get("architectures")
    name = own or (str(named[0]) if isinstance(named, list) and named else "")
    try:
        found = _imported(name, folder, trust_code) if own else public(name)
    except (ImportError, AttributeError):
        found = None
    if not (isinstance(found, type) and issubclass(found, Supernet)):
        way_out = (
            f"Put its module on PYTHONPATH, or mend `supernet` in `{folder.parent / TRAINING}`."
            if own
            else f"Mend `architectures` in its {MODEL_CONFIG}, or load a supernet outside of searchhub yourself."
        )
        where = "that can be imported" if own else "that searchhub has"
        raise InvalidInputError(
            f"The supernet in `{folder}` must be of a class {where}, but `{name}` is none. {way_out}"
        )
    return found


def supernet_config(folder: Path) -> PreTrainedConfig:
    """Returns the configuration of the supernet in a folder.

    Raises:
        InvalidInputError: The folder holds no supernet, its class is not found, or its configuration does not fit the
            class.
    """
    kind = supernet_class(folder)
    assert kind.config_class is not None, "every supernet names its configuration"
    try:
        return kind.config_class.from_pretrained(folder)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInputError(f"`{folder}` must hold a `{kind.config_class.__name__}`, but: {error}") from error


# -- inside -----------------------------------------------------------------------------------------------------------


def _on_unlabelled(task: Task) -> bool:
    """Whether a distilled task is of texts without labels, too."""
    return isinstance(task, DistilledTask) and isinstance(task.task, UnlabelledTexts)


def name_of(function: Callable[..., Any]) -> str:
    """Returns the dotted name that a function of a module is found again by.

    Raises:
        InvalidInputError: It is not a function of a module.
    """
    name = f"{function.__module__}.{getattr(function, '__qualname__', '<object>')}"
    if "<" in name:
        raise InvalidInputError(
            f"`publish_as` must be a function of a module, to be found again when networks are trained later, but is "
            f"`{name}`. Define it in a module."
        )
    return name


def _imported(name: str, folder: Path, trust_code: bool) -> Any:
    """Returns the object that a run's folder names, with its module. Outside of searchhub that takes consent."""
    module, _, attribute = name.rpartition(".")
    if module and not (trust_code or f"{module}.".startswith("searchhub.")):
        raise InvalidInputError(
            f"A folder must not choose what code is imported, but `{folder}` needs `{name}`. If that is your own code, "
            "or you have read it, consent to it: `searchhub train --trust-code`; in Python "
            "`load_trainer(…, trust_code=True)` or `SearchTrainer.from_run(…, trust_code=True)`."
        )
    return getattr(importlib.import_module(module), attribute) if module else public(name)


def _publish_as(name: str, folder: Path, trust_code: bool) -> Any:
    found, module = _imported(name, folder, trust_code), name.rpartition(".")[0]
    if not is_function_of(found, module):
        raise InvalidInputError(
            f"`publish_as` in `{folder / TRAINING}` must be a function that `{module}` itself defines, but `{name}` is "
            f"a {type(found).__name__}. Mend it."
        )
    return found


def _read(folder: Path) -> dict[str, Any]:
    saved = read_json_object(folder / TRAINING)
    if saved is None:
        raise InvalidInputError(
            f"`{folder}` must hold a {TRAINING} for networks to be trained from it, but has none that can be read. Run "
            "its recipe again with the limits, or call `save_trainer` after the search."
        )
    if saved.get("format_version") != FORMAT_VERSION:
        raise InvalidInputError(
            f"`{folder / TRAINING}` must have format version {FORMAT_VERSION}, but has "
            f"{saved.get('format_version')!r}. Read it with the searchhub that wrote it."
        )
    return saved


def _check_same(task: Task, fingerprint: str, folder: Path) -> None:
    if task.fingerprint() != fingerprint:
        raise InvalidInputError(
            f"Networks of `{folder}` must be trained on the data that it searched with, or they do not compare, but "
            f"`{task.name}` has changed since (fingerprint {task.fingerprint()}, then {fingerprint}). Give the data "
            "that it was, or search again."
        )
