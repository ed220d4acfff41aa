"""The commands `generate` and `pareto`: they turn a finished search into architectures, without torch."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from searchhub.cli.options import (
    AllowOtherDevice,
    AsJson,
    By,
    Candidates,
    Equal,
    From,
    Latency,
    Maximum,
    Minimum,
    Missing,
    Objective,
    Revision,
    Run,
    UseBudget,
)

if TYPE_CHECKING:
    from searchhub.generation import Limit
    from searchhub.generation.architecture import Certificate, GeneratedArchitecture
    from searchhub.result import SearchResult

MOST_POINTS = 30
"""Number of rows of a front that a person sees; files and pictures hold all."""


def generate(
    run: Run,
    maximum: Maximum = None,
    minimum: Minimum = None,
    equal: Equal = None,
    candidates: From = Candidates.all,
    objective: By = None,
    use_budget: UseBudget = True,
    latency: Latency = None,
    allow_other_device: AllowOtherDevice = False,
    missing: Missing = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write the JSON to a file.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    revision: Revision = None,
) -> None:
    """Generate the best architecture within limits, with its costs, its objective and a certificate.

    Example: searchhub generate runs/mine --max macs=300M --min params=2M
    """
    from searchhub.cli.output import print_json, print_line, print_note
    from searchhub.cli.source import load_result
    from searchhub.files import write_json
    from searchhub.generation import generate as best_within
    from searchhub.workflows.latency import with_latency
    from searchhub.workflows.limits import check_words, largest_of, read_limits
    from searchhub.workflows.refining import as_refined

    check_words(maximum, minimum, equal)
    result, folder = load_result(run, revision)
    result = with_latency(result, folder, latency, allow_other_device=allow_other_device, missing=missing)
    limits = read_limits(maximum, minimum, equal, largest_of(result.costs.values()))
    result, missing_scores = as_refined(result, limits, folder)
    if missing_scores:
        print_note(
            "The run scores architectures near the optimum of each limit (`--refine`), but has not yet for these: "
            "`searchhub train` does, and may choose another network."
        )
    architecture = best_within(
        result, *limits, candidates=candidates.value, objective=_value(objective), use_budget=use_budget
    )
    data = {
        "space": {"name": result.space.name, "fingerprint": result.space.fingerprint()},
        "limits": [str(limit) for limit in limits],
        **_plain(architecture),
    }
    if output is not None:
        write_json(output, data)
    if as_json:
        print_json(data)
        return
    show_generated(result, architecture, limits)
    if output is not None:
        print_line(f"Written: {output}")


def show_generated(result: SearchResult, architecture: GeneratedArchitecture, limits: Sequence[Limit]) -> None:
    """Prints an architecture, what it costs, and what the certificate says."""
    from searchhub.cli.output import print_facts, print_table
    from searchhub.generation.architecture import objective_facts, optimality
    from searchhub.generation.cells import known_costs
    from searchhub.generation.limits import within

    certificate, costs = architecture.certificate, known_costs(result)
    print_table([{"choice": name, "candidate": str(chosen)} for name, chosen in architecture.items()])
    print_table(
        [
            {
                "cost": name,
                "value": within(value, up=True),
                "unit": costs[name].unit,
                "limit": " and ".join(str(limit) for limit in limits if limit.name == name),
            }
            for name, value in certificate.costs.items()
        ]
    )
    print_facts(
        [
            *objective_facts(asdict(certificate)),
            ("expectation E[α]", certificate.expectation),
            ("score", certificate.score),
            ("chosen as", f"{optimality(certificate.to_dict())} ({certificate.method})"),
            ("note", certificate.note),
        ]
    )


def pareto(
    run: Run,
    cost: Annotated[str, typer.Option("--cost", help="Cost on the horizontal axis.")] = "macs",
    candidates: From = Candidates.all,
    objective: By = None,
    latency: Latency = None,
    allow_other_device: AllowOtherDevice = False,
    missing: Missing = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="PICTURE", help="Draw it: .png, .svg or .pdf.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV and nothing else.")] = False,
    revision: Revision = None,
) -> None:
    """List the best architectures for every limit on one cost: the whole exact front.

    Example: searchhub pareto runs/mine --cost macs --output front.png
    """
    from searchhub.cli.output import print_json, print_line
    from searchhub.cli.source import load_result
    from searchhub.errors import InvalidInputError
    from searchhub.generation import pareto as front_of
    from searchhub.workflows.latency import with_latency

    if as_json and as_csv:
        raise InvalidInputError("Only one of `--json` and `--csv` can be printed, but both came. Drop one.")
    result, folder = load_result(run, revision)
    result = with_latency(result, folder, latency, allow_other_device=allow_other_device, missing=missing)
    front = front_of(result, cost, candidates.value, _value(objective))
    if output is not None:
        from searchhub.generation.cells import known_costs
        from searchhub.visualization.figures import plot_pareto

        # The picture shows what the result maximises by default.
        drawn = replace(result, prediction=None) if objective is Objective.expectation else result
        plot_pareto(drawn, known_costs(result)[cost], {}, output)
    if as_json:
        print_json({"space": result.space.name, "cost": cost, "front": [_plain(point) for point in front]})
    elif as_csv:
        _print_csv(result, front)
    else:
        _show_front(result, cost, front)
        if output is not None:
            print_line(f"Drawn: {output}")


def _value(objective: Objective | None) -> Literal["expectation", "predicted"] | None:
    return None if objective is None else objective.value


def _plain(architecture: GeneratedArchitecture) -> dict[str, Any]:
    return {"architecture": architecture.to_dict(), "certificate": architecture.certificate.to_dict()}


def _print_csv(result: SearchResult, front: Sequence[GeneratedArchitecture]) -> None:
    """Prints one row per architecture; a choice that it does not have is empty."""
    names = [choice.name for choice in result.space.choices]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    predicted = ("predicted", "loss", "deviation") if any(p.certificate.predicted is not None for p in front) else ()
    writer.writerow([*result.costs, "expectation", "score", *predicted, *names])
    for point in front:
        certificate = point.certificate
        writer.writerow(
            [
                *(certificate.costs[name] for name in result.costs),
                certificate.expectation,
                certificate.score,
                *(getattr(certificate, name) for name in predicted),
                *(point.get(name) for name in names),
            ]
        )


def _reached(certificate: Certificate) -> dict[str, object]:
    """Returns the columns of the objective."""
    from searchhub.generation.architecture import predicted_loss

    if certificate.loss is not None:
        return {"predicted loss": predicted_loss(certificate.loss, certificate.deviation)}
    if certificate.predicted is not None:
        return {"predicted quality": certificate.predicted}
    return {"score": certificate.score} if certificate.expectation is None else {"E[α]": certificate.expectation}


def _show_front(result: SearchResult, cost: str, front: Sequence[GeneratedArchitecture]) -> None:
    from searchhub.cli.output import print_line, print_table
    from searchhub.generation.limits import within

    last = len(front) - 1
    shown = (
        range(len(front)) if last < MOST_POINTS else [round(i * last / (MOST_POINTS - 1)) for i in range(MOST_POINTS)]
    )
    others = [name for name in result.costs if name != cost]
    rows: list[dict[str, object]] = []
    for i in shown:
        certificate = front[i].certificate
        rows.append(
            {
                **{name: within(certificate.costs[name], up=True) for name in (cost, *others)},
                **_reached(certificate),
            }
        )
    print_table(rows, title=f"Best of {result.space.name} by {cost}")
    if len(rows) < len(front):
        print_line(f"{len(rows)} of {len(front):,} points are shown; --csv and --json print all.")
