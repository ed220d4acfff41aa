"""Ranks the winners of a DC-NAS search: in a table, and on the card of each."""

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
    """Ranks the winners, and writes on the card of each the clusters' sizes, their winners and this order.

    The validation split decides the order; its first winner is the answer of DC-NAS Eq. 10. The test split has no part
    in it.

    Args:
        result: The result of the search, whose trials were scored on the validation split.
        reports: The winners, trained and published.
        trainer: The trainer of the winners.

    Returns:
        Rows of a table, the best first.
    """
    winners = winners_in_order(result)
    won_by = _PROBABLE if result.division["labels"] is None else _EARLY
    rows = [_row(winner, won_by, reports[winner.architecture], trainer.task.metric_name) for winner in winners]
    # The counts are left out, because they are in the order of the clustering.
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
    """Returns rows for the 80 columns of a terminal: names are shorter, and the network's name tells the cluster."""
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
