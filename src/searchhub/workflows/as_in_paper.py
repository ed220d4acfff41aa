"""What `--as_in_paper` means: the settings of DDPNAS and DC-NAS as their papers have them, in every recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from searchhub.errors import InvalidInputError
from searchhub.generation import generate
from searchhub.networks.choose import Finder
from searchhub.space import SearchSpace

OPTION = "as_in_paper"

AS_IN_PAPER: dict[str, Any] = {
    "searcher": "ddp",
    "paths": "trial",
    "score": "metric",
    "scored": 0,
    "refine": 0,
    "judge": "labels",
    "objective": "expectation",
    "estimator": "mean",
    "estimation_epochs": 3,
    "momentum": 0.8,
    "score_scale": 1.0,
    "theta_normalization": "softmax",
    "warmup_trials": 0,
    "epochs_per_trial": 1,
    "steps_per_trial": None,
    "min_learning_rate": 0.0,
}
"""Values of settings, by name. A recipe has those of them that it needs: DC-NAS on networks trained apart the score."""


def apply(groups: Sequence[Any], given: Collection[str]) -> tuple[Any, ...]:
    """Returns a recipe's settings with the papers' values if `--as_in_paper` asks for them, else as they are.

    Args:
        groups: The settings, dataclasses.
        given: Names of the settings that the command line or a file gives.

    Raises:
        InvalidInputError: A setting was given another value.
    """
    if not any(getattr(group, OPTION, False) for group in groups):
        return tuple(groups)
    applied = []
    for group in groups:
        own = {field.name for field in dataclasses.fields(group)} & set(AS_IN_PAPER)
        for name in sorted(own & set(given)):
            if getattr(group, name) != AS_IN_PAPER[name]:
                raise InvalidInputError(
                    f"`--{name}` must be {AS_IN_PAPER[name]} with `--{OPTION}`, as the paper has it, but is "
                    f"{getattr(group, name)}. Drop one of them."
                )
        applied.append(dataclasses.replace(group, **{name: AS_IN_PAPER[name] for name in own}))
    return tuple(applied)


def finder(space: SearchSpace, objective: str | None, *, as_in_paper: bool, use_budget: bool = True) -> Finder:
    """Returns what finds the network for some limits.

    DDPNAS generates from the survivors. In a space without groups they leave one architecture and nothing to choose,
    so there all candidates take part.

    Args:
        space: The space.
        objective: Objective of `generate`. None: predicted quality where there is a prediction, else E[α].
        as_in_paper: Whether networks are generated as in the paper.
        use_budget: Whether near-ties of predicted quality go towards the budget.
    """
    if as_in_paper and any(choice.groups for choice in space.choices):
        return partial(generate, objective="expectation", candidates="survivors")
    given = {} if objective is None else {"objective": objective}
    given |= {} if use_budget else {"use_budget": False}
    return partial(generate, **given) if given else generate
