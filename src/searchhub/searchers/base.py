"""Defines what every searcher shares: ask/tell, numbering, history, and a state that is plain JSON."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InvalidInputError
from searchhub.result import SearchResult
from searchhub.space import Codes, SearchSpace
from searchhub.trial import Budget, Trial, TrialResult

__all__ = ["Searcher"]


class Searcher(ABC):
    """Decides which architectures to try next.

    A subclass implements `propose` (the next architectures), `observe` (their results) and, if it has state beyond that
    of this class, `extra_state` / `load_extra_state`. It does not override `ask` and `tell`.

    Args:
        space: Space to search.
        seed: Seed of all randomness, at least 0.
        budget: Training that each trial is given.
    """

    def __init__(self, space: SearchSpace, *, seed: int = 0, budget: Budget | None = None) -> None:
        self.space = space
        self.seed = seed
        self.budget = budget or Budget()
        self.rng = np.random.default_rng(seed)
        self.history: list[TrialResult] = []
        self.round = 0
        self._pending: list[Trial] = []
        self._proposal: list[TrialResult] = []
        self._asked = 0

    # -- to implement -------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def num_trials(self) -> int:
        """Number of trials of the whole search."""

    @abstractmethod
    def propose(self) -> Codes:
        """Returns the next architectures, uint8 [n, choices], once the last are observed; n = 0 ends the search."""

    @abstractmethod
    def observe(self, results: Sequence[TrialResult]) -> None:
        """Takes in the results of one whole proposal, in the order proposed."""

    @abstractmethod
    def result(self) -> SearchResult:
        """Returns what the search has found so far."""

    @property
    def trained_trials(self) -> int:
        """Number of trials that train something: the length of the training schedule. All of them, unless some only
        score.
        """
        return self.num_trials

    @property
    def sampling(self) -> ArchitectureDistribution:
        """The distribution from which an evaluator may draw paths to train: θ, or a uniform one if there is none."""
        return ArchitectureDistribution.uniform(self.space)

    def budget_in(self, round: int) -> Budget:
        """Returns the training that each trial of a round is given."""
        return self.budget

    @property
    def config(self) -> dict[str, Any]:
        """Every setting that decides what the searcher does, as plain JSON."""
        return {
            "searcher": type(self).__name__,
            "seed": self.seed,
            "budget": self.budget.to_dict(),
        }

    def extra_state(self) -> dict[str, Any]:
        """Returns state beyond numbering, randomness and history, as plain JSON."""
        return {}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `extra_state` returned."""

    # -- ask/tell -----------------------------------------------------------------------------------------------------

    def ask(self) -> Sequence[Trial]:
        """Returns the trials to run now: those asked for and not yet told, else the next proposal; none: the end."""
        if not self._pending:
            for row in self.propose():
                self._pending.append(Trial(self._asked, self.space.decode(row), self.budget_in(self.round), self.round))
                self._asked += 1
        return tuple(self._pending)

    def tell(self, results: Sequence[TrialResult]) -> None:
        """Takes in results of pending trials, in the order in which `ask` returned them.

        Raises:
            InvalidInputError: A result does not belong to the next pending trial.
        """
        for result in results:
            if not self._pending or result.trial != self._pending[0]:
                expected = self._pending[0].number if self._pending else "none"
                raise InvalidInputError(
                    f"Results must come in the order asked; expected trial {expected}, got {result.trial.number}."
                )
            self._pending.pop(0)
            self._proposal.append(result)
            self.history.append(result)
            if not self._pending:
                done, self._proposal = self._proposal, []
                self.observe(done)

    # -- resume -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that is needed to go on, as plain JSON."""
        return {
            "rng": self.rng.bit_generator.state,
            "history": [r.to_dict() for r in self.history],
            "pending": [self.space.encode(t.architecture).tobytes().hex() for t in self._pending],
            "proposal": len(self._proposal),
            "asked": self._asked,
            "round": self.round,
            "extra": self.extra_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state_dict` of a searcher with the same space and settings."""
        self.rng.bit_generator.state = state["rng"]
        self.history = [TrialResult.from_dict(r) for r in state["history"]]
        self._proposal = self.history[len(self.history) - state["proposal"] :]
        self._asked = state["asked"]
        self.round = state["round"]
        self._pending = [self._read_pending(i, t, len(state["pending"])) for i, t in enumerate(state["pending"])]
        self.load_extra_state(state["extra"])

    def _read_pending(self, i: int, pending: str | Mapping[str, Any], n: int) -> Trial:
        """Reads the i-th of n pending trials from its codes in hex. Earlier versions wrote whole trials."""
        if not isinstance(pending, str):
            return Trial.from_dict(pending)
        architecture = self.space.decode(np.frombuffer(bytes.fromhex(pending), dtype=np.uint8))
        return Trial(self._asked - n + i, architecture, self.budget_in(self.round), self.round)
