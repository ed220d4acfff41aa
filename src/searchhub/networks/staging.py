"""Trains shared weights through larger networks, each cut from the one before, so that a small one is not cut at once.

A finished stage stays in the run's folder, where other networks that have the same stage find it:

stages/<digest>/model.safetensors   the weights of the stage's network
stages/<digest>/stage.json          all that decides them, and how long they took; it is written last
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from searchhub.costs.table import CostTable
from searchhub.distributed import OnMain
from searchhub.errors import InvalidInputError, RunFolderError
from searchhub.files import cannot_write, read_json_object, replacing, system_error, write_json
from searchhub.generation import Limit
from searchhub.generation.containing import check_numbers, containing
from searchhub.models.identity import name_labels, weights_digest
from searchhub.models.supernet import Supernet
from searchhub.networks.identity import training_identity
from searchhub.result import SearchResult
from searchhub.space import Architecture, SearchSpace
from searchhub.training.accelerator import Processes
from searchhub.training.batches import derive_seed
from searchhub.training.fit import fit
from searchhub.training.loop import StepCallback

if TYPE_CHECKING:
    from searchhub.networks.trainer import NetworkTrainer

STAGES, WEIGHTS, STAGE_FACTS = "stages", "model.safetensors", "stage.json"


@dataclass(frozen=True)
class Stage:
    """A larger network, through which shared weights are trained before a smaller one is cut from them.

    Args:
        share: The most that it may keep, as a share of the largest network on offer.
        architecture: Its architecture.
        epochs: Passes of its training.
    """

    share: float
    architecture: Architecture
    epochs: int

    def to_list(self) -> list[Any]:
        """Returns it as facts keep it."""
        return [self.share, self.architecture.to_dict(), self.epochs]


def check_stages(
    stages: Sequence[float], epochs: int, space: SearchSpace, *, inherit_weights: bool, reconstruct: bool
) -> None:
    """Checks, before any work, that networks can be trained in stages.

    Raises:
        InvalidInputError: Shares do not fall, or lie outside of (0, 1); there are no epochs; networks do not inherit
            weights, or complete them by reconstruction; or choices have no sizes.
    """
    if not stages:
        return
    if not all(0 < share < 1 for share in stages) or any(a <= b for a, b in pairwise(stages)):
        raise InvalidInputError(
            f"`stages` must be shares that fall strictly, between 0 and 1, like 0.5 0.2 0.1, but got {list(stages)}."
        )
    if epochs < 1:
        raise InvalidInputError(f"`stage_epochs` must be at least 1, but is {epochs}. Leave out `stages` for none.")
    if not inherit_weights:
        raise InvalidInputError(
            "`inherit_weights` must be True for `stages`, because a stage hands its weights on to the next smaller "
            "network. Leave out `stages` for networks that are trained from scratch."
        )
    if reconstruct:
        raise InvalidInputError(
            "`stages` must be left out with reconstruction (`reconstruct`): its output matrices are solved for the "
            "weights before the stages. Drop one of them."
        )
    check_numbers(space)


def sized_by(result: SearchResult) -> CostTable:
    """Returns the cost that shares of stages refer to: parameters, without embeddings where these are told apart."""
    return result.costs["encoder_params" if "encoder_params" in result.costs else "params"]


def stages_of(result: SearchResult, architecture: Architecture, shares: Sequence[float], epochs: int) -> list[Stage]:
    """Returns the stages before a network's own training, the largest first.

    Each contains the next smaller one, and the last one the network (`searchhub.generation.containing`). Shares that
    are not above the network's own size have no stage.
    """
    table, found = sized_by(result), []
    whole, own, smaller = table.bounds()[1], table(architecture), architecture
    for share in reversed(shares):
        if share * whole > own:
            smaller = containing(result, smaller, Limit(table, max=share * whole))
            found.append(Stage(share, smaller, epochs))
    return found[::-1]


def train_stages(
    trainer: NetworkTrainer, stages: Sequence[Stage], on_step: StepCallback | None, say: Callable[[str], None]
) -> tuple[Supernet, float]:
    """Returns a copy of the trainer's supernet that was trained through the stages, and their seconds.

    Finished stages are read. As each contains the next, what the last finished one holds is all that later ones need.

    Args:
        trainer: The trainer of the network that comes after the stages.
        stages: The stages, the largest first.
        on_step: Called after each optimizer step of a stage.
        say: Function that receives a line on each stage, when it begins and when it is read.

    Raises:
        RunFolderError: The weights of a finished stage are damaged, or the disk is full.
    """
    supernet, inherited, seconds = copy.deepcopy(trainer.supernet), weights_digest(trainer.supernet), 0.0
    table = sized_by(trainer.result)
    for i, stage in enumerate(stages):
        identity = _identity(trainer, stages[: i + 1], inherited)
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        folder = trainer.folder / STAGES / digest
        facts = _finished(trainer, folder, identity)
        size = f"stage {stage.share:g}: {table(stage.architecture):,.0f} {table.name}"
        if facts is not None:
            weights = _read(folder)
            say(f"{size}, trained before (`{folder}`)")
        else:
            say(f"{size}, {stage.epochs} epochs, to be kept in `{folder}`")
            model = supernet.extract(stage.architecture)
            name_labels(model, trainer.task)
            fitted = fit(
                model,
                trainer.task,
                trainer.settings,
                trainer.accelerator,
                epochs=stage.epochs,
                seed=_seed(trainer, stage),
                train_on=trainer.train_on,
                evaluate_on="validation",  # nobody looks at the test split before the network itself is trained
                on_step=on_step,
            )
            weights = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
            facts = {"identity": identity, "steps": fitted.steps, "loss": fitted.loss, "seconds": fitted.seconds}
            if trainer.accelerator.is_main_process:
                _write(folder, weights, facts)
                mib = (folder / WEIGHTS).stat().st_size / 2**20
                say(f"stage {stage.share:g} takes {mib:.1f} MiB of disk; delete `{folder.parent}` to free it")
            trainer.accelerator.wait_for_everyone()
        _write_through(supernet, stage.architecture, weights)
        seconds += facts["seconds"]
    return supernet, seconds


# -- inside -----------------------------------------------------------------------------------------------------------


def _seed(trainer: NetworkTrainer, stage: Stage) -> int:
    return derive_seed(trainer.seed, "stage", f"{stage.share!r}")


def _identity(trainer: NetworkTrainer, stages: Sequence[Stage], inherited: str) -> dict[str, Any]:
    """Returns all that decides the weights after the last of these stages."""
    *before, stage = stages
    return training_identity(
        trainer.supernet.subnet_config(stage.architecture),
        trainer.task,
        trainer.settings,
        trainer.accelerator,
        epochs=stage.epochs,
        seed=_seed(trainer, stage),
        architecture=stage.architecture.to_dict(),
        inherited=inherited,
        train_on=trainer.train_on,
        stages=[earlier.to_list() for earlier in before],
    )


def _finished(trainer: NetworkTrainer, folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the facts of a finished stage; None if it is not finished, or is another one."""
    facts = OnMain(Processes(trainer.accelerator))(lambda: read_json_object(folder / STAGE_FACTS))
    return facts if facts is not None and facts.get("identity") == identity else None


def _read(folder: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise RunFolderError(
            f"`{folder / WEIGHTS}` must hold the weights of a finished stage, but cannot be read: {error}. Delete "
            f"`{folder}`, and the stage is trained again."
        ) from error


def _write(folder: Path, weights: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    try:
        with replacing(folder / WEIGHTS) as temporary:
            save_file(weights, temporary)
    except SafetensorError as error:
        cause = system_error(error)
        if cause is None:
            raise
        raise cannot_write(folder / WEIGHTS, cause) from error
    write_json(folder / STAGE_FACTS, facts)  # last: it says that the weights are whole


@torch.no_grad()
def _write_through(supernet: Supernet, architecture: Architecture, weights: dict[str, torch.Tensor]) -> None:
    """Copies the weights of a network to where they lie in a supernet."""
    shared = dict(supernet.named_parameters())
    for name, tensor in weights.items():
        window = supernet.window(name, architecture)
        shared[window.source].data[window.index].copy_(tensor)
