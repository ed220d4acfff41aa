"""The commands `info` and `report`: they show what a run, a published result or a model's folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searchhub.cli.options import AsJson, Revision, Run

if TYPE_CHECKING:
    from searchhub.reports.run import Run as ReadRun
    from searchhub.result import SearchResult

TRAINED = "Networks trained so far"
"""Title of their table, if all were trained alike."""

MOST_CHOICES = 5
"""How many of the most decided, and of the least decided, choices are shown."""


def info(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_MODEL", help="Folder of a run, of a published result or of a model; or Hub id."),
    ],
    as_json: AsJson = False,
    revision: Revision = None,
) -> None:
    """Say what is in a run, finished or not, in a published result, or in a model's folder.

    Example: searchhub info runs/mine
    """
    from searchhub.cli.output import print_json
    from searchhub.cli.source import locate
    from searchhub.files import read_json_object
    from searchhub.hub.contents import FACTS, MODEL_CONFIG
    from searchhub.networks.network import read_facts
    from searchhub.reports.run import read_run
    from searchhub.run_folder import RESULT

    folder = locate(run, RESULT, FACTS, MODEL_CONFIG, revision=revision)
    config = read_json_object(folder / MODEL_CONFIG)
    if config is not None:
        data = _model(config, read_facts(folder) or {})
        print_json(data) if as_json else _show_model(data)
        return
    read = read_run(folder)
    data = _run(read)
    print_json(data) if as_json else _show_run(read, data)


def report(
    run: Run,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Default: report/report.html in the run.", show_default=False),
    ] = None,
    revision: Revision = None,
) -> None:
    """Write a run as one HTML file that opens in any browser, offline and on a phone.

    Example: searchhub report runs/mine
    """
    from searchhub.cli.output import print_line
    from searchhub.cli.source import locate
    from searchhub.reports.html import write_report
    from searchhub.run_folder import RESULT

    folder = locate(run, RESULT, revision=revision)
    if output is None and not Path(run).exists():
        output = Path("report.html")  # for a repository, the folder is a cache
    print_line(f"Written: {write_report(folder, output)}")


# -- a run ------------------------------------------------------------------------------------------------------------


def _run(run: ReadRun) -> dict[str, Any]:
    from searchhub.generation.cells import reachable_range
    from searchhub.generation.undecided import undecided
    from searchhub.networks.alike import training_of

    result = run.result
    data: dict[str, Any] = {
        "kind": "run",
        "finished": result is not None,
        "space": run.part("space").get("name"),
        "searcher": _without_secrets(run.part("searcher")),
        "trials": len(run.trials),
        "planned_trials": run.planned,
        "metric": run.metric,
        "best": None,
        "networks": [
            {
                "name": r.network.name,
                "published": r.network.published,
                "limits": [str(limit) for limit in r.network.limits],
                **({"also_limits": [[str(x) for x in limits] for limits in r.network.also]} if r.network.also else {}),
                "training": training_of(r.facts),
                "costs": dict(r.costs),
                "metrics": dict(r.metrics),
            }
            for r in run.reports
        ],
    }
    if run.best is not None:
        data["best"] = {
            "trial": run.best.number,
            "score": run.best.score,
            "architecture": dict(run.best.architecture),
        }
    if result is not None:
        data["space"] = result.space.name
        data["choices"] = len(result.space.choices)
        data["architectures"] = result.space.size
        data["objective"] = result.objective
        data["costs"] = [
            {"name": table.name, "unit": table.unit, "smallest": low, "largest": high}
            for table in result.costs.values()
            for low, high in [reachable_range(table)]
        ]
        data["undecided"] = undecided(result) or None
        data["theta"] = theta_by_entropy(result)
        data["clusters"] = winners(result) if result.division else None
    return data


def winners(result: SearchResult) -> list[dict[str, Any]]:
    """Returns one row for each cluster's winner of a DC-NAS search, best first."""
    from searchhub.searchers.division import winners_in_order

    return [
        {
            "order": order,
            "cluster": winner.cluster,
            "architectures": winner.size,
            "won_by": winner.won_by,
            "score": winner.score,
            "architecture": dict(winner.architecture),
        }
        for order, winner in enumerate(winners_in_order(result), 1)
    ]


def theta_by_entropy(result: SearchResult) -> list[dict[str, Any]] | None:
    """Lists each choice's likeliest candidate and how decided θ is, the most decided first; None if there is no θ.

    The entropy is a share of the largest possible: 0 means that one candidate is certain, 1 that all are alike. Choices
    of one candidate are left out.
    """
    import numpy as np

    if result.distribution is None:
        return None
    rows = []
    for choice, theta in zip(result.space.choices, result.distribution.theta, strict=True):
        if len(theta) > 1:
            likeliest = int(np.argmax(theta))
            positive = theta[theta > 0]
            entropy = float(-(positive * np.log(positive)).sum() / np.log(len(theta)))
            rows.append(
                {
                    "choice": choice.name,
                    "likeliest": choice.candidates[likeliest],
                    "theta": float(theta[likeliest]),
                    "entropy": entropy,
                }
            )
    return sorted(rows, key=lambda row: row["entropy"])


def _show_run(run: ReadRun, data: Mapping[str, Any]) -> None:
    from searchhub.cli.output import print_facts, print_line, print_table
    from searchhub.formatting import human
    from searchhub.generation.limits import number
    from searchhub.networks.alike import trained_alike
    from searchhub.networks.network import comparison, notes_of, read_original

    searcher = {name: value for name, value in data["searcher"].items() if name != "searcher"}
    planned = "" if data["planned_trials"] in (None, data["trials"]) else f" of {data['planned_trials']:,}"
    best = data["best"]
    rows: list[tuple[str, object]] = [
        ("run", run.path.resolve().name),
        ("space", data["space"]),
        ("choices", data.get("choices")),
        ("architectures", human(data["architectures"]) if "architectures" in data else None),
        ("searcher", data["searcher"].get("searcher")),
        ("settings", ", ".join(f"{name}={value}" for name, value in searcher.items())),
        ("trials", f"{data['trials']:,}{planned}"),
        ("finished", data["finished"]),
        ("objective", data.get("objective")),
    ]
    if best is not None:
        rows.append(("best trial", f"{best['trial']}, score {best['score']:.4f}"))
        rows.append(("its architecture", " · ".join(map(str, best["architecture"].values()))))
    print_facts(rows)
    if data.get("undecided"):
        print_line(data["undecided"])
    print_table(
        [
            {**row, "smallest": number(row["smallest"]), "largest": number(row["largest"])}
            for row in data.get("costs", ())
        ],
        title="Costs over the space",
    )
    theta = data.get("theta") or []
    if len(theta) <= 2 * MOST_CHOICES:
        print_table(theta, title="θ, the sharpest choice first")
    else:
        print_table(theta[:MOST_CHOICES], title="θ of the sharpest choices")
        print_table(theta[-MOST_CHOICES:], title="θ of the flattest choices")
    rows_of_winners = [
        {**row, "architecture": " · ".join(map(str, row["architecture"].values()))}
        for row in data.get("clusters") or ()
    ]
    print_table(rows_of_winners, title="Winners of the clusters, best first")
    if not run.metric:
        return
    for words, own in trained_alike(run.reports):
        title = f"Networks trained with {words}: not to be compared with the others" if words else TRAINED
        print_table(comparison(own, run.metric, read_original(run.path)), title=title)
        for note in notes_of(own):
            print_line(note)


def _without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    from searchhub.redact import REDACTED, is_secret

    return {name: REDACTED if is_secret(name) else value for name, value in settings.items()}


# -- a model ----------------------------------------------------------------------------------------------------------


def _model(config: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    identity = facts.get("identity", {})
    return {
        "kind": "model",
        "name": facts.get("name"),
        "model_type": config.get("model_type"),
        "model_class": (config.get("architectures") or [None])[0],
        "num_labels": len(config.get("id2label") or "01"),
        "architecture": identity.get("architecture"),
        "limits": facts.get("limits"),
        "costs": facts.get("costs"),
        "metrics": facts.get("metrics"),
        "split": facts.get("split"),
        "examples": facts.get("examples"),
        "training": identity.get("training"),
        "seed": identity.get("seed"),
        "certificate": facts.get("certificate"),
    }


def _show_model(data: Mapping[str, Any]) -> None:
    from searchhub.cli.output import print_facts, print_table
    from searchhub.generation.architecture import objective_facts, optimality
    from searchhub.generation.limits import number

    measured = f"{data['split']}, {data['examples']:,} examples" if data["examples"] else ""
    certificate = data["certificate"] or {}
    optimal = f"{optimality(certificate)} ({certificate.get('method')})" if certificate else None
    print_facts(
        [
            *((name.replace("_", " "), data[name]) for name in ("name", "model_type", "model_class", "num_labels")),
            *((name, number(value)) for name, value in (data["costs"] or {}).items()),
            *((f"{name} ({measured})", value) for name, value in (data["metrics"] or {}).items()),
            *(objective_facts(certificate) if certificate else ()),
            ("expectation E[α]", certificate.get("expectation")),
            ("chosen as", optimal),
            ("training", ", ".join(f"{name}={value}" for name, value in (data["training"] or {}).items())),
            ("seed", data["seed"]),
        ]
    )
    chosen = data["architecture"] or {}
    print_table([{"choice": name, "candidate": str(candidate)} for name, candidate in chosen.items()])
