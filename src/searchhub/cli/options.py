"""Defines options that commands share, each with one name and one meaning everywhere."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer


class Candidates(str, Enum):
    """The candidates that generation chooses from."""

    all = "all"
    survivors = "survivors"


class Objective(str, Enum):
    """What generation maximises."""

    expectation = "expectation"
    predicted = "predicted"


_BOUND = (
    "The cost is one that the run or a latency table carries, e.g. macs=300M, or macs=50% of the largest network's. "
    "Can be repeated; all limits hold."
)

Run: TypeAlias = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder, the folder of a published result, or its Hub id.")
]
Revision: TypeAlias = Annotated[
    str | None, typer.Option("--revision", help="Branch, tag or commit; then RUN is a Hub id.", show_default=False)
]
Maximum: TypeAlias = Annotated[
    list[str] | None, typer.Option("--max", metavar="NAME=VALUE", help=f"Upper limit. {_BOUND}", show_default=False)
]
Minimum: TypeAlias = Annotated[
    list[str] | None, typer.Option("--min", metavar="NAME=VALUE", help="Lower limit, likewise.", show_default=False)
]
Equal: TypeAlias = Annotated[
    list[str] | None, typer.Option("--equal", metavar="NAME=VALUE", help="Exact value, likewise.", show_default=False)
]
From: TypeAlias = Annotated[
    Candidates, typer.Option("--candidates", help="All candidates, or those that the search did not prune.")
]
By: TypeAlias = Annotated[
    Objective | None,
    typer.Option(
        "--objective",
        help="What is maximised: E[α], the mean θ, or the quality predicted from scores. Without it, the latter if the "
        "run has a prediction.",
        show_default=False,
    ),
]
UseBudget: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--use-budget/--optimum",
        help="Where the optimum leaves a part of the limit, take a network that uses more of it if the prediction does "
        "not tell the two apart; or the optimum itself.",
    ),
]
Latency: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--latency",
        metavar="TABLE",
        help="A table of `searchhub profile`, or a phone's that ProxylessNAS published: one more cost to limit, "
        "mostly called latency_ms. Can be repeated.",
        show_default=False,
    ),
]
AllowOtherDevice: TypeAlias = Annotated[
    bool,
    typer.Option("--allow-other-device", help="Take tables of other devices than this one, to generate for those."),
]
Missing: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--missing", metavar="MS", help="Milliseconds of a block that a phone's table lacks.", show_default=False
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
