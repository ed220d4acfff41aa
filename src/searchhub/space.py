"""What may vary: choices, the architectures they make, and the space of all of them.

Bulk work is integer arrays: an architecture is a row of candidate numbers (uint8), one column a choice, `INACTIVE`
where the choice does not exist in that architecture. `Architecture` is for one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from searchhub.errors import InvalidInputError

Candidate: TypeAlias = str | int | float
Codes: TypeAlias = NDArray[np.uint8]

INACTIVE = 255
"""The code of a choice that an architecture does not have."""


@dataclass(frozen=True)
class Condition:
    """Makes a choice exist only where an earlier choice holds one of some candidates.

    Args:
        choice: Name of the earlier choice.
        candidates: The candidates of it under which the conditional choice is active.
    """

    choice: str
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Choice:
    """One decision of a space: an edge, a layer, a width.

    Args:
        name: Unique in its space.
        candidates: What can be chosen; 1 to 254 distinct JSON scalars.
        groups: One label a candidate, e.g. "parameter" / "non-parameter" (DDPNAS Sec. 3.2); a search keeps one
            survivor of each. Empty: all candidates are of one group.
        condition: When the choice is active; None: always.
    """

    name: str
    candidates: tuple[Candidate, ...]
    groups: tuple[str, ...] = ()
    condition: Condition | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidates", tuple(self.candidates))
        object.__setattr__(self, "groups", tuple(self.groups))
        if not 1 <= len(self.candidates) <= INACTIVE - 1:
            raise InvalidInputError(
                f"A choice must have 1 to {INACTIVE - 1} candidates, but `{self.name}` has {len(self.candidates)}."
            )
        if len(set(self.candidates)) != len(self.candidates):
            raise InvalidInputError(
                f"Candidates must be distinct, but `{self.name}` has {list(self.candidates)}. Drop the repeated ones."
            )
        if self.groups and len(self.groups) != len(self.candidates):
            raise InvalidInputError(
                f"`groups` must hold one label a candidate, but `{self.name}` has {len(self.candidates)} candidates "
                f"and {len(self.groups)} labels."
            )

    def group_of(self, code: int) -> str:
        """The label of a candidate's group; "" where the choice names none."""
        return self.groups[code] if self.groups else ""


class Architecture(Mapping[str, Candidate]):
    """One architecture: an immutable, hashable mapping from each active choice to its candidate.

    >>> Architecture({"layer.0": "conv3x3"})
    Architecture({'layer.0': 'conv3x3'})
    """

    __slots__ = ("_chosen", "_hash")

    def __init__(self, chosen: Mapping[str, Candidate]) -> None:
        self._chosen: dict[str, Candidate] = dict(chosen)
        self._hash = hash(frozenset(self._chosen.items()))

    def __getitem__(self, choice: str) -> Candidate:
        return self._chosen[choice]

    def __iter__(self) -> Iterator[str]:
        return iter(self._chosen)

    def __len__(self) -> int:
        return len(self._chosen)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and self._chosen == other._chosen

    def __repr__(self) -> str:
        return f"Architecture({self._chosen!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The hash of a string is another in each process, so it must not travel between them.
        return Architecture, (self._chosen,)

    def to_dict(self) -> dict[str, Candidate]:
        """A plain dict, in the order of the choices, ready for JSON."""
        return dict(self._chosen)


@dataclass(frozen=True)
class Branch:
    """A part of a space in which no choice is conditional.

    Args:
        codes: Per choice of the space, the codes in reach: one where the branch fixes it, none where it is inactive.
    """

    codes: tuple[tuple[int, ...], ...]

    @property
    def active(self) -> tuple[int, ...]:
        """Indices of the choices that exist in this branch."""
        return tuple(i for i, codes in enumerate(self.codes) if codes)

    @property
    def size(self) -> int:
        """Number of architectures, exactly."""
        return math.prod(len(codes) for codes in self.codes if codes)


@dataclass(frozen=True)
class SearchSpace:
    """A named, ordered set of choices.

    Args:
        name: What the space is called in files and cards.
        choices: The decisions; a conditional choice comes after the one it depends on.
    """

    name: str
    choices: tuple[Choice, ...]
    _index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(self.choices))
        object.__setattr__(self, "_index", {choice.name: i for i, choice in enumerate(self.choices)})
        if not self.choices:
            raise InvalidInputError(f"A space must have at least one choice, but `{self.name}` has none.")
        if len(self._index) != len(self.choices):
            names = [choice.name for choice in self.choices]
            raise InvalidInputError(f"Names of choices must be distinct, but `{self.name}` has {names}.")
        for i, choice in enumerate(self.choices):
            if choice.condition is not None:
                self._check_condition(i, choice, choice.condition)

    def _check_condition(self, position: int, choice: Choice, condition: Condition) -> None:
        parent = self._index.get(condition.choice, position)
        if parent >= position:
            raise InvalidInputError(
                f"The condition of `{choice.name}` must name an earlier choice, but names `{condition.choice}`."
            )
        unknown = set(condition.candidates) - set(self.choices[parent].candidates)
        if unknown or not condition.candidates:
            raise InvalidInputError(
                f"The condition of `{choice.name}` must name candidates of `{condition.choice}` "
                f"({list(self.choices[parent].candidates)}), but names {list(condition.candidates)}."
            )

    # -- one architecture ---------------------------------------------------------------------------------------------

    def index(self, choice: str) -> int:
        """Position of a choice.

        Raises:
            InvalidInputError: The space has no such choice.
        """
        if choice not in self._index:
            raise InvalidInputError(f"`{choice}` must be a choice of `{self.name}`: {sorted(self._index)}.")
        return self._index[choice]

    def encode(self, architecture: Mapping[str, Candidate]) -> Codes:
        """The uint8 row [choices] of an architecture.

        Raises:
            InvalidInputError: A choice is missing, unknown or inactive, or holds no candidate of its own.
        """
        unknown = set(architecture) - set(self._index)
        if unknown:
            raise InvalidInputError(f"An architecture of `{self.name}` has no choices {sorted(unknown)}.")
        row = np.full(len(self.choices), INACTIVE, dtype=np.uint8)
        for i, choice in enumerate(self.choices):
            active = self._is_active(choice, architecture)
            if active != (choice.name in architecture):
                state = "is active and must be given" if active else "is inactive and must be left out"
                raise InvalidInputError(f"`{choice.name}` {state} in this architecture of `{self.name}`.")
            if active:
                if architecture[choice.name] not in choice.candidates:
                    raise InvalidInputError(
                        f"`{choice.name}` must be one of {list(choice.candidates)}, "
                        f"but got {architecture[choice.name]!r}."
                    )
                row[i] = choice.candidates.index(architecture[choice.name])
        return row

    def decode(self, row: NDArray[np.integer[Any]] | Sequence[int]) -> Architecture:
        """The architecture of a row [choices] of codes."""
        if len(row) != len(self.choices):
            raise InvalidInputError(f"A row of `{self.name}` must have {len(self.choices)} codes, but has {len(row)}.")
        chosen: dict[str, Candidate] = {}
        for choice, code in zip(self.choices, row, strict=True):
            if self._is_active(choice, chosen):
                if int(code) >= len(choice.candidates):
                    raise InvalidInputError(
                        f"The code of `{choice.name}` must be below {len(choice.candidates)}, but is {int(code)}."
                    )
                chosen[choice.name] = choice.candidates[int(code)]
        return Architecture(chosen)

    @staticmethod
    def _is_active(choice: Choice, chosen: Mapping[str, Candidate]) -> bool:
        condition = choice.condition
        return condition is None or chosen.get(condition.choice) in condition.candidates

    # -- many architectures -------------------------------------------------------------------------------------------

    def active(self, codes: Codes) -> NDArray[np.bool_]:
        """Which choices exist, bool [n, choices], for codes [n, choices]; what inactive columns hold is ignored."""
        active = np.ones(codes.shape, dtype=bool)
        for i, choice in enumerate(self.choices):
            if choice.condition is not None:
                parent = self._index[choice.condition.choice]
                allowed = [self.choices[parent].candidates.index(c) for c in choice.condition.candidates]
                active[:, i] = active[:, parent] & np.isin(codes[:, parent], allowed)
        return active

    def mask_inactive(self, codes: Codes) -> Codes:
        """Codes [n, choices] with `INACTIVE` wherever a choice does not exist."""
        if not any(choice.condition for choice in self.choices):
            return codes
        return np.where(self.active(codes), codes, np.uint8(INACTIVE)).astype(np.uint8)

    def sample(
        self, n: int, rng: np.random.Generator, probabilities: Sequence[NDArray[np.float64]] | None = None
    ) -> Codes:
        """Draw architectures, each choice on its own (DDPNAS Eq. 1).

        Args:
            n: How many.
            rng: Source of the randomness.
            probabilities: Per choice, one probability a candidate; None: uniform.

        Returns:
            uint8 [n, choices].
        """
        codes = np.empty((n, len(self.choices)), dtype=np.uint8)
        for i, choice in enumerate(self.choices):
            if probabilities is None:
                codes[:, i] = rng.integers(len(choice.candidates), size=n)
            else:
                edges = np.cumsum(probabilities[i])
                codes[:, i] = np.minimum(
                    np.searchsorted(edges, rng.random(n) * edges[-1], side="right"), len(choice.candidates) - 1
                )
        return self.mask_inactive(codes)

    def branches(self) -> Iterator[Branch]:
        """The sub-spaces in which no choice is conditional: one per assignment of the choices that others depend on."""
        parents = sorted({self._index[c.condition.choice] for c in self.choices if c.condition is not None})
        seen: set[tuple[tuple[int, ...], ...]] = set()
        for assignment in itertools.product(*(range(len(self.choices[p].candidates)) for p in parents)):
            row = np.zeros((1, len(self.choices)), dtype=np.uint8)
            row[0, parents] = assignment
            active = self.active(row)[0]
            codes = tuple(
                () if not active[i] else (int(row[0, i]),) if i in parents else tuple(range(len(choice.candidates)))
                for i, choice in enumerate(self.choices)
            )
            if codes not in seen:
                seen.add(codes)
                yield Branch(codes)

    @cached_property
    def size(self) -> int:
        """Number of architectures, exactly."""
        return sum(branch.size for branch in self.branches())

    # -- files --------------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; `from_dict` reads it."""
        choices = []
        for choice in self.choices:
            entry: dict[str, Any] = {"name": choice.name, "candidates": list(choice.candidates)}
            if choice.groups:
                entry["groups"] = list(choice.groups)
            if choice.condition is not None:
                entry["condition"] = {
                    "choice": choice.condition.choice,
                    "candidates": list(choice.condition.candidates),
                }
            choices.append(entry)
        return {"name": self.name, "choices": choices}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SearchSpace:
        """The space that `to_dict` wrote."""
        return cls(
            data["name"],
            tuple(
                Choice(
                    entry["name"],
                    tuple(entry["candidates"]),
                    tuple(entry.get("groups", ())),
                    Condition(entry["condition"]["choice"], tuple(entry["condition"]["candidates"]))
                    if "condition" in entry
                    else None,
                )
                for entry in data["choices"]
            ),
        )

    def fingerprint(self) -> str:
        """A short hash that changes whenever the space does."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]
