"""Says in words where a search cannot tell candidates apart."""

from __future__ import annotations

import numpy as np

from searchhub.result import SearchResult

EXPLAINED = 0.1
"""Share of the differences between scores that effects must explain to tell candidates apart."""
FLAT = 0.05
"""How far, as a share, θ may lie from equal probabilities to be called flat."""


def undecided(result: SearchResult) -> str:
    """Returns a sentence if what a result generates by cannot tell candidates apart; else "".

    1. Predicted quality: by the likeliest noise, effects explain less than `EXPLAINED` of the differences between
       scores, or the scores are all the same.
    2. E[α]: the likeliest candidate of every choice has a θ of at most 1 + `FLAT` times that of a uniform draw.
    3. Results without either generate what was evaluated, and tell that.
    """
    if result.prediction is not None:
        share = 1.0 / (1.0 + result.prediction.noise)
        if share >= EXPLAINED and result.prediction.slope != 0.0:
            return ""
        return (
            f"This search cannot tell candidates apart: they explain less than {EXPLAINED:.0%} of the differences "
            "between scores. What it generates is hardly better than a random network of the same cost. Train longer, "
            "or score more architectures (`scored`)."
        )
    if result.distribution is None:
        return ""
    largest = [float(np.max(theta)) * len(theta) for theta in result.distribution.theta if len(theta) > 1]
    if largest and max(largest) <= 1.0 + FLAT:
        return (
            "This search cannot tell candidates apart: its θ is flat. What it generates is hardly better than a random "
            "network of the same cost. Search longer, or score architectures (`scored`)."
        )
    return ""
