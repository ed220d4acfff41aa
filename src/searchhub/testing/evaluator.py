"""An evaluator for tests: no training, but a state on which every later score depends."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from searchhub.distribution import ArchitectureDistribution
from searchhub.evaluators.base import Evaluator
from searchhub.trial import Trial, TrialResult


class ChainEvaluator(Evaluator):
    """Scores from a chain of hashes: as with shared weights, a trial changes the scores of all that follow.

    A search that repeats, drops or reorders a trial, or resumes from the wrong state, ends with other scores.

    Args:
        seed: Start of the chain.
        whole: Whether proposals are whole: the chain moves on once for all trials of a proposal, as when they train
            shared weights together, and by what paths would be drawn from.
    """

    def __init__(self, *, seed: int = 0, whole: bool = False) -> None:
        self.seed = seed
        self.whole = whole
        self._sampled = ""
        self.state = hashlib.sha256(str(seed).encode()).hexdigest()

    def __call__(self, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        if self.whole:
            told = [self.state, self._sampled, *(json.dumps(trial.to_dict()) for trial in trials)]
            self.state = hashlib.sha256("".join(told).encode()).hexdigest()
            for trial in trials:
                score = hashlib.sha256(f"{self.state}{trial.number}".encode()).hexdigest()
                yield TrialResult(trial, int(score[:13], 16) / 16**13, weights_step=trials[-1].number + 1)
            return
        for trial in trials:
            self.state = hashlib.sha256((self.state + json.dumps(trial.to_dict())).encode()).hexdigest()
            yield TrialResult(trial, int(self.state[:13], 16) / 16**13, {"loss": int(self.state[13:20], 16) / 16**7})

    @property
    def whole_proposals(self) -> bool:
        return self.whole

    def sample_from(self, distribution: ArchitectureDistribution) -> None:
        self._sampled = json.dumps(distribution.to_dict())

    @property
    def config(self) -> dict[str, Any]:
        return {**super().config, "seed": self.seed}

    def save(self, folder: Path) -> None:
        (folder / "chain.json").write_text(json.dumps(self.state), encoding="utf-8")
        (folder / "large").mkdir()
        # As a second, larger file in a folder of its own, to be damaged.
        (folder / "large" / "chain.bin").write_bytes(self.state.encode() * 64)

    def load(self, folder: Path) -> None:
        self.state = json.loads((folder / "chain.json").read_text(encoding="utf-8"))
        assert (folder / "large" / "chain.bin").read_bytes() == self.state.encode() * 64
