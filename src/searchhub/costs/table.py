"""Costs that add up: a fixed part, plus one number for each candidate that an architecture has.

If a layer's cost also depends on its input (channels), there is also one number for each two consecutive candidates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchhub.distribution import FloatArray
from searchhub.errors import InvalidInputError
from searchhub.space import INACTIVE, Candidate, Codes, SearchSpace


@dataclass(frozen=True, eq=False)
class CostTable:
    """f(α) = `fixed` + Σ over active choices of `entries[choice][candidate]` + Σ of `pairs[choice][candidate, next]`.

    Args:
        name: The name that limits use, e.g. "macs", "params", "latency_ms".
        space: The space whose architectures it prices.
        fixed: The cost that every architecture pays (stem, classifier).
        entries: One finite number per candidate, for each choice.
        unit: Unit for tables and cards, e.g. "multiply-adds".
        pairs: Empty if costs only add up. Otherwise the cost is coupled along the chain of choices: for every choice
            but the last, finite numbers [its candidates, candidates of the next choice]. Then no choice is conditional.
    """

    name: str
    space: SearchSpace
    fixed: float
    entries: tuple[FloatArray, ...]
    unit: str = ""
    pairs: tuple[FloatArray, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", tuple(np.asarray(e, dtype=np.float64) for e in self.entries))
        for choice, entry in zip(self.space.choices, self.entries, strict=True):
            if entry.shape != (len(choice.candidates),) or not np.isfinite(entry).all():
                raise InvalidInputError(
                    f"`{self.name}` must hold {len(choice.candidates)} finite numbers for `{choice.name}`, "
                    f"but holds {entry.tolist()}."
                )
            entry.setflags(write=False)
        object.__setattr__(self, "pairs", tuple(np.asarray(p, dtype=np.float64) for p in self.pairs))
        if self.pairs:
            self._check_pairs()

    def _check_pairs(self) -> None:
        choices = self.space.choices
        conditional = [choice.name for choice in choices if choice.condition is not None]
        if conditional:
            raise InvalidInputError(
                f"`{self.name}` must add up where choices are conditional, but couples them: {conditional}."
            )
        for one, other, pair in zip(choices[:-1], choices[1:], self.pairs, strict=True):
            shape = len(one.candidates), len(other.candidates)
            if pair.shape != shape or not np.isfinite(pair).all():
                raise InvalidInputError(
                    f"`{self.name}` must hold finite numbers {list(shape)} for `{one.name}` and `{other.name}`, but "
                    f"holds {pair.tolist()}."
                )
            pair.setflags(write=False)

    def __eq__(self, other: object) -> bool:
        """Whether name, unit, space and every number are the same, to the bit."""
        return (
            isinstance(other, CostTable)
            and (self.name, self.unit, self.fixed, self.space) == (other.name, other.unit, other.fixed, other.space)
            and len(self.pairs) == len(other.pairs)
            and all(map(np.array_equal, (*self.entries, *self.pairs), (*other.entries, *other.pairs)))
        )

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, architecture: Mapping[str, Candidate]) -> float:
        """Returns the cost of one architecture, correctly rounded (`math.fsum`)."""
        return self.of_row(self.space.encode(architecture))

    def of_row(self, row: NDArray[np.integer[Any]]) -> float:
        """Returns the cost of one row [choices] of codes, correctly rounded."""
        terms = [float(e[c]) for e, c in zip(self.entries, row, strict=True) if c != INACTIVE]
        terms += [float(pair[c, d]) for pair, c, d in zip(self.pairs, row[:-1], row[1:], strict=False)]
        return math.fsum([self.fixed, *terms])

    def of_codes(self, codes: Codes) -> FloatArray:
        """Returns the costs, float64 [n], of codes [n, choices]."""
        total = np.full(len(codes), self.fixed)
        for i, entry in enumerate(self.entries):
            padded = np.zeros(INACTIVE + 1)
            padded[: len(entry)] = entry
            total += padded[codes[:, i]]
        for i, pair in enumerate(self.pairs):
            total += pair[codes[:, i], codes[:, i + 1]]
        return total

    def bounds(self) -> tuple[float, float]:
        """Returns the smallest and the largest cost of an architecture of the space, correctly rounded."""
        return self.of_row(self.extreme_row(-1)), self.of_row(self.extreme_row(1))

    def extreme_row(self, sign: int) -> Codes:
        """Returns the codes [choices] of the architecture with the largest (sign 1) or smallest (-1) cost."""
        rows = [extreme_codes(self.entries, self.pairs, branch.codes, sign) for branch in self.space.branches()]
        return max(rows, key=lambda row: sign * self.of_row(row))

    def mean(self) -> float:
        """Returns the mean cost of architectures that are drawn uniformly, choice by choice (`SearchSpace.sample`).

        A choice that the draw leaves inactive costs nothing.
        """
        total = self.fixed + sum(float(pair.mean()) for pair in self.pairs)
        for branch in self.space.branches():
            active = [(entry, list(codes)) for entry, codes in zip(self.entries, branch.codes, strict=True) if codes]
            probability = math.prod(len(codes) / len(entry) for entry, codes in active)
            total += probability * sum(float(entry[codes].mean()) for entry, codes in active)
        return total

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON without the space; `from_dict` reads it."""
        data = {
            "name": self.name,
            "unit": self.unit,
            "fixed": self.fixed,
            "entries": [e.tolist() for e in self.entries],
        }
        return {**data, "pairs": [p.tolist() for p in self.pairs]} if self.pairs else data

    @classmethod
    def from_dict(cls, space: SearchSpace, data: Mapping[str, Any]) -> CostTable:
        """Reads the table that `to_dict` wrote."""
        return cls(
            data["name"],
            space,
            float(data["fixed"]),
            tuple(np.array(e, dtype=np.float64) for e in data["entries"]),
            data["unit"],
            tuple(np.array(p, dtype=np.float64) for p in data.get("pairs", ())),
        )


def extreme_codes(
    entries: Sequence[FloatArray], pairs: Sequence[FloatArray], branch: Sequence[Sequence[int]], sign: int
) -> Codes:
    """Returns the codes [choices] in reach with the largest (sign 1) or smallest (-1) Σ entries + Σ pairs, exactly.

    Args:
        entries: One finite number per candidate, for each choice.
        pairs: Pairs of a `CostTable`; empty if there are none.
        branch: Codes in reach, for each choice; none if it is inactive.
        sign: 1 or -1.
    """
    row = np.full(len(branch), INACTIVE, dtype=np.uint8)
    if not pairs:
        for i, codes in enumerate(branch):
            if codes:
                row[i] = max(codes, key=lambda k: sign * entries[i][k])
        return row
    # For each candidate of the current choice, this is what the best way to the end adds to it, from the last choice
    # back.
    ahead = {k: sign * Fraction(float(entries[-1][k])) for k in branch[-1]}
    ways: list[dict[int, int]] = []
    for i in reversed(range(len(branch) - 1)):
        further, ahead, way = ahead, {}, {}
        for k in branch[i]:
            reached = {after: sign * Fraction(float(pairs[i][k, after])) + rest for after, rest in further.items()}
            way[k] = max(reached, key=reached.__getitem__)
            ahead[k] = sign * Fraction(float(entries[i][k])) + reached[way[k]]
        ways.append(way)
    row[0] = max(ahead, key=ahead.__getitem__)
    for i, way in enumerate(reversed(ways)):
        row[i + 1] = way[int(row[i])]
    return row
