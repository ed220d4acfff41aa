"""Costs that add up: a fixed part, plus one number for each candidate that an architecture has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.space import INACTIVE, Candidate, Codes, SearchSpace


@dataclass(frozen=True, eq=False)
class CostTable:
    """f(α) = fixed + Σ over the active choices of entries[choice][candidate].

    Args:
        name: What limits call it, e.g. "macs", "params", "latency_ms".
        space: Whose architectures it prices.
        fixed: What every architecture pays (stem, classifier).
        entries: Per choice, one finite number a candidate.
        unit: For tables and cards, e.g. "multiply-adds".
    """

    name: str
    space: SearchSpace
    fixed: float
    entries: tuple[FloatArray, ...]
    unit: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", tuple(np.asarray(e, dtype=np.float64) for e in self.entries))
        for choice, entry in zip(self.space.choices, self.entries, strict=True):
            if entry.shape != (len(choice.candidates),) or not np.isfinite(entry).all():
                raise InvalidInputError(
                    f"`{self.name}` must hold {len(choice.candidates)} finite numbers for `{choice.name}`, "
                    f"but holds {entry.tolist()}."
                )
            entry.setflags(write=False)

    def __eq__(self, other: object) -> bool:
        """Whether name, unit, space and every number are the same, to the bit."""
        return (
            isinstance(other, CostTable)
            and (self.name, self.unit, self.fixed, self.space) == (other.name, other.unit, other.fixed, other.space)
            and all(np.array_equal(mine, theirs) for mine, theirs in zip(self.entries, other.entries, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, architecture: Mapping[str, Candidate]) -> float:
        """The cost of one architecture, correctly rounded (`math.fsum`)."""
        return self.of_row(self.space.encode(architecture))

    def of_row(self, row: NDArray[np.integer[Any]]) -> float:
        """The cost of one row [choices] of codes, correctly rounded."""
        return math.fsum([self.fixed, *(float(e[c]) for e, c in zip(self.entries, row, strict=True) if c != INACTIVE)])

    def of_codes(self, codes: Codes) -> FloatArray:
        """The costs, float64 [n], of codes [n, choices]."""
        total = np.full(len(codes), self.fixed)
        for i, entry in enumerate(self.entries):
            padded = np.zeros(INACTIVE + 1)
            padded[: len(entry)] = entry
            total += padded[codes[:, i]]
        return total

    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest cost that an architecture of the space can have, correctly rounded."""
        low, high = math.inf, -math.inf
        for branch in self.space.branches():
            parts = [entry[list(codes)] for entry, codes in zip(self.entries, branch.codes, strict=True) if codes]
            low = min(low, math.fsum([self.fixed, *(float(p.min()) for p in parts)]))
            high = max(high, math.fsum([self.fixed, *(float(p.max()) for p in parts)]))
        return low, high

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON without the space; `from_dict` reads it."""
        return {
            "name": self.name,
            "unit": self.unit,
            "fixed": self.fixed,
            "entries": [e.tolist() for e in self.entries],
        }

    @classmethod
    def from_dict(cls, space: SearchSpace, data: Mapping[str, Any]) -> CostTable:
        """The table that `to_dict` wrote."""
        return cls(
            data["name"],
            space,
            float(data["fixed"]),
            tuple(np.array(e, dtype=np.float64) for e in data["entries"]),
            data["unit"],
        )
