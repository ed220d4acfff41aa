"""Shows as a table how certain a search may be of what it pruned (DDPNAS Theorems 2 and 3)."""

from __future__ import annotations

from searchhub.reports.markup import Markup, details, joined, table, tag
from searchhub.result import SearchResult
from searchhub.searchers.confidence import PruningConfidence, pruning_confidence

CAPTION = (
    "Estimated from the trials of each round, under the assumptions of DDPNAS Theorems 2 and 3: what a choice's "
    "candidates score is normal and independent, of one deviation σ, and lies evenly over ζ. ζ holds noise too, so "
    "these figures are too sure; and the theorems look at one choice, while a round prunes many. Means over choices."
)


def confidence_section(result: SearchResult) -> Markup:
    """Returns a folded table with one row per round; empty if no round tells anything.

    The theorems are about means of a round's trials. If another estimator pruned, by the whole history, there is no
    table.
    """
    if result.searcher.get("estimator", "mean") != "mean":
        return joined([])
    rounds = [confidence for confidence in pruning_confidence(result) if confidence.pruned]
    if not rounds:
        return joined([])
    rows = table([_row(confidence) for confidence in rounds], class_="cards")
    return details("How sure the pruning was", rows, tag("p", CAPTION, class_="caption"))


def _row(confidence: PruningConfidence) -> dict[str, object]:
    return {
        "round": confidence.round,
        "pruned": confidence.pruned,
        "candidates": f"{confidence.candidates:.3g}",
        "trials of each": f"{confidence.trials:.3g}",
        "σ": f"{confidence.sigma:.4f}",
        "ζ": f"{confidence.zeta:.4f}",
        "worst two in the wrong order (Th. 2)": _percent(confidence.error),
        "bound on any error (Th. 3)": _percent(confidence.bound),
        "the best below the worst": _percent(confidence.best_lost),
    }


def _percent(probability: float) -> str:
    return f"{100.0 * probability:.3g} %"
