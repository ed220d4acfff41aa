"""Tells networks that were trained alike from others: only those compare. It does not need torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from searchhub.networks.network import TrainedNetwork

_OF_ONE = ("model", "architecture")
"""Keys of an identity that differ between networks that are trained alike."""

_IN_WORDS = {"task": "data", "inherited": "weights to start from", "mixed_precision": "precision", "then": "order"}
"""How what a reader would not know by its key is called."""


def training_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how a network was trained, by the facts that its folder holds: its identity without what it is.

    >>> training_of({"identity": {"architecture": {"a": 1}, "seed": 3, "training": {"epochs": 15}}})
    {'seed': 3, 'epochs': 15}
    """
    identity = {key: value for key, value in (facts.get("identity") or {}).items() if key not in _OF_ONE}
    settings = identity.pop("training", None) or {}
    if "stages" in identity:
        identity["stages"] = [[share, epochs] for share, _, epochs in identity["stages"]]
    return {_IN_WORDS.get(key, key): value for key, value in {**identity, **settings}.items()}


def differences(trainings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the names of what is not the same in all of these trainings."""
    names = dict.fromkeys(name for training in trainings for name in training)
    return [name for name in names if any(t.get(name) != trainings[0].get(name) for t in trainings)]


def in_words(training: Mapping[str, Any], names: Sequence[str]) -> str:
    """Returns some settings of a training as text.

    >>> in_words({"epochs": 15, "data": "3b5c0de0aa11"}, ["data", "epochs"])
    'data 3b5c0de0, epochs 15'
    """
    return ", ".join(f"{name} {_short(training.get(name))}" for name in names)


def trained_alike(reports: Sequence[TrainedNetwork]) -> list[tuple[str, list[TrainedNetwork]]]:
    """Returns groups of networks that were trained alike, each with what sets its training apart in words.

    A single group has no words. The largest group comes first.
    """
    groups: list[tuple[dict[str, Any], list[TrainedNetwork]]] = []
    for report in reports:
        training = training_of(report.facts)
        own = next((group for other, group in groups if other == training), None)
        if own is None:
            own = []
            groups.append((training, own))
        own.append(report)
    names = differences([training for training, _ in groups]) if groups else []
    groups.sort(key=lambda group: -len(group[1]))
    return [(in_words(training, names), own) for training, own in groups]


def _short(value: Any) -> str:
    text = str(value)
    return text[:8] if len(text) >= 12 and all(c in "0123456789abcdef" for c in text) else text
