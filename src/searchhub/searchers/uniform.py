"""No search: the baseline of a rule that needs none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from searchhub.result import SearchResult
from searchhub.searchers.base import Searcher
from searchhub.space import Codes, SearchSpace
from searchhub.trial import Budget, TrialResult

__all__ = ["UniformSearcher"]


class UniformSearcher(Searcher):
    """Tries nothing, so that its result holds no trial and no θ; a rule then names the architecture for a limit.

    In compression the rule keeps evenly spread whole layers. A run with this searcher trains its networks as any other
    run does, and compares with one.

    Args:
        space: The space that the rule chooses from.
        rule: What the result, and cards, call the rule.
        seed: Not used; every searcher has one.
        budget: Not used.
    """

    def __init__(
        self, space: SearchSpace, *, rule: str = "uniform", seed: int = 0, budget: Budget | None = None
    ) -> None:
        super().__init__(space, seed=seed, budget=budget)
        self.rule = rule

    @property
    def num_trials(self) -> int:
        return 0

    @property
    def config(self) -> dict[str, Any]:
        return {"searcher": self.rule}

    def propose(self) -> Codes:
        return np.empty((0, len(self.space.choices)), dtype=np.uint8)

    def observe(self, results: Sequence[TrialResult]) -> None:
        raise AssertionError("Nothing was proposed.")

    def result(self) -> SearchResult:
        return SearchResult(self.space, (), searcher=self.config)


SEARCHERS = {"uniform": UniformSearcher}
