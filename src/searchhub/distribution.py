"""θ: how likely each candidate of each choice is to make a good architecture, and which candidates are still alive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from searchhub.errors import InvalidInputError
from searchhub.space import INACTIVE, Choice, Codes, SearchSpace

FloatArray = NDArray[np.float64]
Normalization = Literal["softmax", "sum"]


def softmax(x: FloatArray) -> FloatArray:
    """exp(x) / Σ exp(x), without overflow."""
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())


@dataclass(frozen=True, eq=False)
class ArchitectureDistribution:
    """An immutable joint categorical distribution p(α | θ) = Π Cat(α_e | θ_e) with the momentum of its updates.

    Args:
        space: What it is a distribution over.
        theta: Per choice, one probability a candidate; pruned candidates keep theirs (DDPNAS Fig. 4).
        velocity: Per choice, V of DDPNAS Eq. 4, one number a candidate.
        alive: Per choice, which candidates the search still samples.
    """

    space: SearchSpace
    theta: tuple[FloatArray, ...]
    velocity: tuple[FloatArray, ...]
    alive: tuple[NDArray[np.bool_], ...]

    def __post_init__(self) -> None:
        for arrays in (self.theta, self.velocity, self.alive):
            for choice, array in zip(self.space.choices, arrays, strict=True):
                if array.shape != (len(choice.candidates),):
                    raise InvalidInputError(
                        f"`{choice.name}` must have {len(choice.candidates)} numbers, but got shape {array.shape}."
                    )
                array.setflags(write=False)

    def __eq__(self, other: object) -> bool:
        """Whether every number is the same, to the bit."""
        return (
            isinstance(other, ArchitectureDistribution)
            and self.space == other.space
            and all(
                np.array_equal(mine, theirs)
                for mine, theirs in zip(
                    self.theta + self.velocity + self.alive, other.theta + other.velocity + other.alive, strict=True
                )
            )
        )

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def uniform(cls, space: SearchSpace) -> ArchitectureDistribution:
        """Every candidate alike, all alive, V_0 = 0."""
        sizes = [len(choice.candidates) for choice in space.choices]
        return cls(
            space,
            tuple(np.full(n, 1.0 / n) for n in sizes),
            tuple(np.zeros(n) for n in sizes),
            tuple(np.ones(n, dtype=bool) for n in sizes),
        )

    @property
    def survivors(self) -> tuple[tuple[int, ...], ...]:
        """Per choice, the codes of the candidates that are alive."""
        return tuple(tuple(int(k) for k in np.flatnonzero(a)) for a in self.alive)

    def expectation(self, codes: Codes) -> FloatArray:
        """E[α] of DDPNAS Eq. 9, float64 [n], for codes [n, choices]: the mean of θ over the *active* choices.

        Over all choices it would favour architectures with fewer active ones. Where none is active it is 0.
        """
        total = np.zeros(len(codes))
        active = codes != INACTIVE
        for i, theta in enumerate(self.theta):
            on = active[:, i]
            total[on] += theta[codes[on, i]]
        return np.asarray(total / np.maximum(active.sum(axis=1), 1))

    # -- sampling -----------------------------------------------------------------------------------------------------

    def sample_disjoint(self, rng: np.random.Generator) -> Codes:
        """K architectures that share no candidate, k the most candidates alive in any choice (DDPNAS Sec. 3.2).

        Each choice gets a permutation of its alive candidates, drawn without replacement according to θ. A choice with
        fewer than k alive repeats its candidates evenly: it takes whole permutations, and as much of the last one as is
        needed.

        Returns:
            uint8 [k, choices].
        """
        k = max(int(alive.sum()) for alive in self.alive)
        codes = np.empty((k, len(self.alive)), dtype=np.uint8)
        for i, (theta, alive) in enumerate(zip(self.theta, self.alive, strict=True)):
            column: list[int] = []
            while len(column) < k:
                column.extend(_permutation(theta, alive, rng))
            codes[:, i] = column[:k]
        return self.space.mask_inactive(codes)

    # -- one update ---------------------------------------------------------------------------------------------------

    def updated(
        self,
        utility: Sequence[FloatArray],
        *,
        momentum: float,
        score_scale: float = 1.0,
        normalization: Normalization = "softmax",
    ) -> ArchitectureDistribution:
        """One step of DDPNAS Eqs. 4 and 5.

        V ← γ V + (1 − γ) softmax(P̄) over the alive candidates, then θ ← softmax(θ + V) over all candidates. The paper
        leaves open what a pruned candidate's V does: it takes no part in the softmax of Eq. 4, so that V ← γ V.

        1. A candidate without credit (NaN) counts as the mean of its choice.
        2. A choice in which no candidate has credit keeps its θ and V.

        Args:
            utility: Per choice, P̄ of Eq. 3 for each candidate, scores in [0, 1]; NaN where no trial gave credit.
            momentum: γ in [0, 1).
            score_scale: Factor on P̄ before the softmax; the published code uses percent (100), the paper 1.
            normalization: How Eq. 5 is normalised: "softmax" (the paper's words) or "sum" (the published code).
        """
        theta, velocity = list(self.theta), list(self.velocity)
        for i, alive in enumerate(self.alive):
            credit = np.asarray(utility[i], dtype=np.float64)[alive]
            known = ~np.isnan(credit)
            if not known.any():
                continue
            credit = np.where(known, credit, credit[known].mean())
            gain = np.zeros(len(alive))
            gain[alive] = softmax(score_scale * credit)
            velocity[i] = momentum * self.velocity[i] + (1.0 - momentum) * gain
            raised = self.theta[i] + velocity[i]
            theta[i] = softmax(raised) if normalization == "softmax" else raised / raised.sum()
        return ArchitectureDistribution(self.space, tuple(theta), tuple(velocity), self.alive)

    # -- pruning ------------------------------------------------------------------------------------------------------

    def prunable(self, choice: int) -> NDArray[np.bool_]:
        """Which candidates of a choice may go: the alive ones that are not the last of their group."""
        spec, alive = self.space.choices[choice], self.alive[choice]
        left = _alive_per_group(spec, alive)
        return np.array([bool(alive[k]) and left[spec.group_of(k)] > 1 for k in range(len(alive))])

    def pruned(self, credited: Sequence[NDArray[np.bool_]]) -> ArchitectureDistribution:
        """Drop argmin θ (DDPNAS Alg. 1, lines 12-13) in the choices that hold the most candidates.

        1. The last candidate of a group stays (Sec. 3.2: one parameter and one non-parameter operation).
        2. A choice with fewer candidates alive than the fullest prunable one waits for it.
        3. A candidate without credit is pruned only when none with credit can be.
        4. Of equal ones the first in the order of candidates goes.

        Args:
            credited: Per choice, which candidates received credit in this round.
        """
        open_choices = [i for i in range(len(self.alive)) if self.prunable(i).any()]
        fullest = max((int(self.alive[i].sum()) for i in open_choices), default=0)
        alive = list(self.alive)
        for i in open_choices:
            if int(alive[i].sum()) < fullest:
                continue
            may_go = self.prunable(i)
            may_go = may_go & credited[i] if (may_go & credited[i]).any() else may_go
            worst = int(np.argmin(np.where(may_go, self.theta[i], np.inf)))
            alive[i] = alive[i].copy()
            alive[i][worst] = False
        return ArchitectureDistribution(self.space, self.theta, self.velocity, tuple(alive))

    # -- files --------------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON without the space; floats are written so that they read back to the same bits."""
        return {
            "theta": [t.tolist() for t in self.theta],
            "velocity": [v.tolist() for v in self.velocity],
            "alive": [a.tolist() for a in self.alive],
        }

    @classmethod
    def from_dict(cls, space: SearchSpace, data: Mapping[str, Any]) -> ArchitectureDistribution:
        """The distribution that `to_dict` wrote."""
        return cls(
            space,
            tuple(np.array(t, dtype=np.float64) for t in data["theta"]),
            tuple(np.array(v, dtype=np.float64) for v in data["velocity"]),
            tuple(np.array(a, dtype=bool) for a in data["alive"]),
        )


def _alive_per_group(choice: Choice, alive: NDArray[np.bool_]) -> dict[str, int]:
    left: dict[str, int] = {}
    for k in np.flatnonzero(alive):
        label = choice.group_of(int(k))
        left[label] = left.get(label, 0) + 1
    return left


def _permutation(theta: FloatArray, alive: NDArray[np.bool_], rng: np.random.Generator) -> list[int]:
    candidates = np.flatnonzero(alive)
    p = theta[candidates] / theta[candidates].sum()
    return [int(c) for c in rng.choice(candidates, size=len(candidates), replace=False, p=p)]
