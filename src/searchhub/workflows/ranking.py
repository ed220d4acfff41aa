"""The winners of a DC-NAS search in their order: as a table, and on the card of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from searchhub.formatting import human
from searchhub.networks.network import TrainedNetwork
from searchhub.networks.trainer import NetworkTrainer
from searchhub.result import SearchResult
from searchhub.searchers.division import Winner, winners_in_order
from searchhub.space import Architecture

_SIZE, _PROBABLE, _EARLY, _MACS = "architectures in it", "log-probability", "early-stopped", "FLOPs (multiply-adds)"


def rank_winners(
    result: SearchResult, reports: Mapping[Architecture, TrainedNetwork], trainer: NetworkTrainer
) -> list[dict[str, Any]]:
    """Say on the card of every winner how large the clusters were, who won them, and in which order they came out.

    The order is that of the validation split; the first is DC-NAS Eq. 10's answer. The test split has no part in it.

    Args:
        result: Of the search, whose trials were scored on the validation split.
        reports: Of every winner, trained and published.
        trainer: That trained them.

    Returns:
        Rows of a table, the best first.
    """
    winners = winners_in_order(result)
    won_by = _PROBABLE if result.division["labels"] is None else _EARLY
    rows = [_row(winner, won_by, reports[winner.architecture], trainer.task.metric_name) for winner in winners]
    # Not the counts, which are in the order of the clustering.
    summary = {k: v for k, v in (result.division["summary"] or {}).items() if v is not None and k != "counts"}
    for rank, winner in enumerate(winners, 1):
        trainer.rewrite_card(
            reports[winner.architecture],
            comparison=tuple(rows),
            selection=(
                f"winner of cluster {winner.cluster} of {len(winners)}, which holds {winner.size:,} architectures; no. "
                f"{rank} of {len(winners)} winners on the validation split (DC-NAS Eq. 10)"
            ),
            search_settings={
                **trainer.provenance.search_settings,
                "division": {"sizes": result.division["sizes"], **summary},
            },
        )
    return rows


def narrow(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same rows in the 80 columns of a terminal: shorter names, and no cluster, which the network's name tells."""
    return [{_short(name): value for name, value in row.items() if name != "cluster"} for row in rows]


def _short(name: str) -> str:
    short = {_SIZE: "cluster of", _EARLY: "early", _PROBABLE: "log p", _MACS: "MACs"}
    return short.get(name) or next((split for split in ("validation", "test") if name.endswith(f"({split})")), name)


def _row(winner: Winner, won_by: str, report: TrainedNetwork, metric: str) -> dict[str, Any]:
    return {
        "network": report.network.name,
        "cluster": winner.cluster,
        _SIZE: f"{winner.size:,}",
        won_by: f"{winner.won_by:.4f}",
        _MACS: human(report.costs["macs"]),
        "params": human(report.costs["params"]),
        f"{metric} (validation)": f"{winner.score:.4f}",
        f"{metric} (test)": f"{report.metrics[metric]:.4f}",
    }
