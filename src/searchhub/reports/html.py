"""Writes one HTML file that shows a run. It loads nothing from elsewhere and contains no script.

The file can be mailed, archived and opened offline, on a phone and in dark mode. Names that come from data are escaped,
absolute paths and tokens are redacted (`searchhub.reports.markup`), and a content security policy forbids the page to
load anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.files import write_text
from searchhub.formatting import ABSENT, duration, human
from searchhub.generation.architecture import objective_facts, optimality
from searchhub.generation.cells import reachable_range
from searchhub.generation.undecided import undecided
from searchhub.networks.alike import trained_alike
from searchhub.networks.network import TrainedNetwork, comparison, read_original
from searchhub.redact import REDACTED, is_secret
from searchhub.reports.architecture_markup import diagram, fits
from searchhub.reports.confidence import confidence_section
from searchhub.reports.division import division_section
from searchhub.reports.inline_svg import inline_svg
from searchhub.reports.library import library_section
from searchhub.reports.markup import Child, Markup, details, facts, joined, table, tag
from searchhub.reports.outcome import outcome_section
from searchhub.reports.run import JournalTrial, Run, read_run
from searchhub.reports.segmentation import classes_section
from searchhub.result import SearchResult
from searchhub.space import Architecture, SearchSpace
from searchhub.trial import SCORING, WARMUP
from searchhub.visualization.figures import plot_distribution, plot_pareto, plot_scores

MOST_TRIALS = 1000
"""Number of trials that are listed at most, the best ones: a phone cannot open a hundred thousand rows.
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_NARROW = (4.6, 3.5)
RANDOM_ONES = (
    "Random networks cost as much as the limit, less at most 5 %; where several limits hold, as much as the network "
    "beside them. Those at its cost stand beside a network that leaves more of its limit."
)
"""Caption of a table with random networks."""
_FOLDED = ("id2label", "label2id")


def write_report(run_dir: str | Path, path: str | Path | None = None) -> Path:
    """Writes the report of a run, finished or not, as one self-contained HTML file, in one step.

    1. Without result.json the search is unfinished: the page says so, and shows its journal and settings.
    2. Without a θ or a prediction (random search), Pareto fronts show the evaluated architectures.
    3. Networks that are trained later appear when the report is written again.

    Args:
        run_dir: Folder of a run of `search()`. It is only read, and not locked.
        path: File to write. None: `report/report.html` in the run's folder.

    Returns:
        Path of the report.

    Raises:
        InvalidInputError: `run_dir` is not the folder of a run, or cannot be read.
        RunFolderError: The file cannot be written.
    """
    run = read_run(run_dir)
    path = run.path / "report" / "report.html" if path is None else Path(path)
    write_text(path, report_page(run))
    return path


def report_page(run: Run) -> str:
    """Returns the whole page."""
    sections = {
        "Networks": _networks(run),
        **({"Classes": classes} if (classes := classes_section(run)) else {}),
        **({"Single changes": library} if (library := library_section(run)) else {}),
        "Pareto fronts": _fronts(run),
        "θ over the rounds": _theta(run),
        **({"Clusters": division_section(run.result)} if run.result is not None and run.result.division else {}),
        "Journal": _journal(run),
        "Costs": _costs(run),
        "Search cost": _spent(run),
        "Settings": _settings(run),
        "Versions": _versions(run),
    }
    title = f"{_space_name(run)}: a search with {run.part('searcher').get('searcher', 'searchhub')}"
    body = [
        joined([tag("h2", name, id=f"s{i}"), tag("section", content)])
        for i, (name, content) in enumerate(sections.items())
    ]
    links = (tag("a", name, href=f"#s{i}") for i, name in enumerate(sections))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(files("searchhub.reports").joinpath("report.css").read_text(encoding="utf-8"))),
    )
    nav = tag("nav", *links)
    main = tag("main", tag("h1", title), outcome_section(run, _NARROW), _headline(run), nav, *body)
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', main), lang='en')}\n"


# -- what it is about -------------------------------------------------------------------------------------------------


def _headline(run: Run) -> Markup:
    best, result = run.best, run.result
    of_planned = f" of {run.planned:,}" if run.planned is not None and run.planned != len(run.trials) else ""
    published = [r for r in run.reports if r.network.published]
    measured = [r.metrics[run.metric] for r in published if run.metric in r.metrics] if run.metric else []
    tiles = {
        "trials": f"{len(run.trials):,}{of_planned}",
        "best score in the search": None if best is None else f"{best.score:.4f}",
        "architectures in the space": None if result is None else _many(result.space.size),
        "networks trained from it": f"{len(published)}" if published else None,
        f"best test {run.metric} of them": f"{max(measured):.4f}" if measured else None,
        "time in trials": duration(sum(t.seconds for t in run.trials)) if run.trials else None,
    }
    boxes = [tag("li", tag("b", value), tag("span", name)) for name, value in tiles.items() if value is not None]
    where = f"Run folder {run.path.resolve().name}"
    task = _of(run, "evaluator", "task", "name")
    last = run.trials[-1].time if run.trials else None
    lines: list[Child] = [
        tag("p", where, f", data {task}" if task else "", f", last trial {last:%Y-%m-%d %H:%M %Z}" if last else "")
    ]
    if result is None:
        lines.append(
            tag(
                "p",
                tag("b", "This search is not finished: "),
                f"{len(run.trials):,}{of_planned} trials are done. θ, Pareto fronts and networks come when it is. "
                "Run the same command again to go on.",
                class_="note",
            )
        )
    elif told := undecided(result):
        lines.append(tag("p", told, class_="note"))
    if run.unreadable:
        lines.append(tag("p", f"Lines of the journal that cannot be read: {run.unreadable}.", class_="note"))
    return joined([*lines, tag("ul", *boxes, class_="tiles")])


def _space_name(run: Run) -> str:
    return run.result.space.name if run.result is not None else str(run.part("space").get("name", "an unnamed space"))


def _of(run: Run, *names: str) -> Any:
    """Returns a setting by its names from the outermost in; None if it is not among the settings."""
    value: Any = run.part(names[0])
    for name in names[1:]:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _many(number: int) -> str:
    return human(number) if number < 1e15 else f"{number:.2e}"


# -- networks ---------------------------------------------------------------------------------------------------------


def _networks(run: Run) -> Markup:
    published = [r for r in run.reports if r.network.published]
    if not run.reports:
        return tag("p", "No network has been trained from this search yet.")
    parts: list[Child] = []
    original = read_original(run.path)
    if run.metric is not None:
        for words, own in trained_alike(run.reports):
            if words:
                parts.append(tag("h3", f"Trained with {words}"))
            parts.append(table(comparison(own, run.metric, original), class_="cards"))
            if words:
                parts.append(tag("p", "Do not compare these with networks that were trained otherwise.", class_="note"))
        if original is not None and "note" in original:
            parts.append(tag("p", original["note"], class_="note"))
        if any(r.network.limits and not r.network.published for r in run.reports):
            parts.append(tag("p", RANDOM_ONES, class_="caption"))
    space = None if run.result is None else run.result.space
    parts.append(tag("div", *(_network(r, space, f"network{i}") for i, r in enumerate(published)), class_="networks"))
    return joined(parts)


def _network(report: TrainedNetwork, space: SearchSpace | None, prefix: str) -> Markup:
    network = report.network
    certificate = report.facts.get("certificate") or {}
    how = None
    if certificate:
        how = f"{optimality(certificate)} ({certificate.get('method')})"
    examples, seconds = report.facts.get("examples"), report.facts.get("seconds")
    on = f" on {report.facts.get('split', 'test')}" + (f" ({examples:,} examples)" if examples else "")
    rows: list[tuple[str, object]] = [
        ("limit", "; ".join(" and ".join(map(str, limits)) for limits in network.limit_sets) or None),
        *((name, f"{value:,.6g}" if value < 1000 else f"{value:,.0f}") for name, value in report.costs.items()),
        *((name + on, value) for name, value in report.metrics.items()),
        ("chosen as", how),
        *(objective_facts(certificate) if certificate else ()),
        ("E[α]", certificate.get("expectation")),
        ("score in the search", certificate.get("score")),
        ("note", certificate.get("note") or None),
        ("training", None if seconds is None else f"{report.facts.get('epochs')} epochs in {duration(seconds)}"),
    ]
    return tag("article", tag("h3", network.name), diagram(network.architecture, space, prefix), facts(rows))


# -- pictures ---------------------------------------------------------------------------------------------------------


def _fronts(run: Run) -> Markup:
    result = run.result
    if result is None:
        return tag("p", "There are none before the search is finished.")
    if not result.costs or not (result.history or result.distribution):
        return tag("p", "There are none: the result holds no cost table. Add one with `SearchResult.with_costs`.")
    pictures = [_front(run, result, cost, i) for i, cost in enumerate(result.costs.values())]
    way = {
        "predicted quality": "quality predicted from scores, as the loss that it amounts to",
        "expectation": "E[α] of DDPNAS Eq. 9",
        "score": "the score in the search, since there is no θ",
    }[result.objective]
    return joined([tag("div", *pictures, class_="figures"), tag("p", f"Up: {way}.", class_="caption")])


def _front(run: Run, result: SearchResult, cost: CostTable, i: int) -> Markup:
    tried = {t.trial.architecture for t in result.history}
    chosen = {
        " and ".join(map(str, limits)): r.network.architecture
        for r in run.reports
        for limits in r.network.limit_sets
        if r.network.published and any(limit.name == cost.name for limit in limits)
        if fits(result.space, r.network.architecture)
        if result.objective != "score" or Architecture(r.network.architecture) in tried
    }
    label = f"The best in reach under every limit on {cost.name}, with the {len(chosen)} chosen networks"
    svg = inline_svg(
        lambda path: plot_pareto(result, cost, chosen, path, size=_NARROW), label=label, prefix=f"pareto{i}"
    )
    return tag("figure", svg)


def _theta(run: Run) -> Markup:
    result = run.result
    if result is None:
        return tag("p", "θ is written down when the search is finished.")
    if result.distribution is None:
        return tag("p", "This searcher has no θ: it learns no distribution over the candidates.")
    parts: list[Child] = []
    if len(result.trajectory) > 1:
        svg = inline_svg(
            lambda path: plot_distribution(result, path), label="θ of every candidate over the rounds", prefix="theta"
        )
        parts.append(tag("div", tag("figure", svg, class_="wide"), class_="scroll", tabindex="0"))
        parts.append(tag("p", "The picture scrolls sideways.", class_="caption narrow"))
    parts.append(details("θ at the end", table(_theta_rows(result.space, result.distribution), class_="cards")))
    parts.append(confidence_section(result))
    return joined(parts)


def _theta_rows(space: SearchSpace, distribution: ArchitectureDistribution) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for choice, theta, alive in zip(space.choices, distribution.theta, distribution.alive, strict=True):
        left = [k for k in range(len(theta)) if alive[k]]
        first = max(left, key=lambda k: float(theta[k]))
        survivors = ", ".join(f"{choice.candidates[k]} ({theta[k]:.4f})" for k in left)
        rows.append(
            {"choice": choice.name, "most probable left": str(choice.candidates[first]), "survivors": survivors}
        )
    return rows


# -- journal ----------------------------------------------------------------------------------------------------------


def _journal(run: Run) -> Markup:
    if run.best is None:
        return tag("p", "No trial is finished yet.")
    scores = [t.score for t in run.trials]
    scored_by = run.part("evaluator").get("score", run.metric)
    name = f"score ({scored_by})" if scored_by else "score"
    svg = inline_svg(
        lambda path: plot_scores(scores, path, size=_NARROW, name=name), label="Score of every trial", prefix="scores"
    )
    listed = run.trials
    summary = f"All {len(listed):,} trials"
    if len(listed) > MOST_TRIALS:

        def rank(trial: JournalTrial) -> tuple[float, tuple[float, float], float]:
            return -1 if trial.weights_step is None else trial.weights_step, trial.budget.size, trial.score

        highest = sorted(run.trials, key=rank, reverse=True)[:MOST_TRIALS]
        listed = tuple(sorted(highest, key=lambda t: t.number))
        summary = f"The {MOST_TRIALS:,} best of {len(run.trials):,} trials; journal.jsonl holds all"
    rows = [_trial_row(t) for t in listed]
    space = None if run.result is None else run.result.space
    best = tag("h3", f"Best: trial {run.best.number} with {run.best.score:.4f}")
    both = tag(
        "div", tag("figure", svg), tag("div", best, diagram(run.best.architecture, space, "best")), class_="figures"
    )
    return joined([both, details(summary, table(rows, marked=listed.index(run.best), class_="trials"))])


def _trial_row(trial: JournalTrial) -> dict[str, object]:
    return {
        "trial": trial.number,
        "round": {WARMUP: "warm-up", SCORING: "after the search"}.get(trial.round, trial.round),
        "score": f"{trial.score:.4f}",
        **{name: f"{value:.4f}" for name, value in trial.metrics.items() if value != trial.score},
        "seconds": f"{trial.seconds:.1f}",
        "architecture": " · ".join(map(str, trial.architecture.values())),
    }


# -- costs and settings -----------------------------------------------------------------------------------------------


def _costs(run: Run) -> Markup:
    if run.result is None or not run.result.costs:
        return tag("p", "No cost table is kept with this search yet.")
    parts: list[Child] = []
    rows = []
    for cost in run.result.costs.values():
        low, high = reachable_range(cost)
        unit = cost.unit or None
        rows.append({"cost": cost.name, "unit": unit, "smallest": low, "largest": high, "fixed part": cost.fixed})
        parts.append(details(f"{cost.name}: what each candidate costs", table(_entries(cost))))
    words = [{k: _amount(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    return joined([table(words, class_="cards"), *parts])


def _entries(cost: CostTable) -> list[dict[str, object]]:
    """Lists one row per choice. If a cost also depends on the previous candidate, the row shows least and most."""
    rows: list[dict[str, object]] = []
    for i, (choice, entry) in enumerate(zip(cost.space.choices, cost.entries, strict=True)):
        after = entry + cost.pairs[i - 1] if i and cost.pairs else entry[None, :]
        spans = [" – ".join(map(_amount, sorted({float(c.min()), float(c.max())}))) for c in after.T]
        rows.append({"choice": choice.name, **dict(zip(map(str, choice.candidates), spans, strict=True))})
    return rows


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.5g}"


def _spent(run: Run) -> Markup:
    seconds = sum(t.seconds for t in run.trials)
    times = [t.time for t in run.trials if t.time is not None]
    trained = [float(r.facts.get("seconds") or 0.0) for r in run.reports]
    environment = run.part("environment")
    rows: list[tuple[str, object]] = [
        ("trials", len(run.trials)),
        ("time in trials", f"{duration(seconds)} ({seconds / len(run.trials):.2f} s each)" if run.trials else None),
        ("first to last trial ended", duration((times[-1] - times[0]).total_seconds()) if times else None),
        ("steps a trial", _of(run, "evaluator", "steps_per_trial")),
        ("networks trained alone", f"{len(trained)} in {duration(sum(trained))}" if trained else None),
        *((name, environment.get(name)) for name in ("device", "processes", "threads")),
    ]
    return facts(rows)


def _settings(run: Run) -> Markup:
    parts = [
        details(name, facts(_leaves(value, "")))
        for name, value in run.config.items()
        if name != "versions" and isinstance(value, Mapping) and value
    ]
    if not parts:
        return tag("p", "config.yaml holds none.")
    return joined([tag("p", "As config.yaml holds them; a run goes on only with the same."), *parts])


def _versions(run: Run) -> Markup:
    versions = run.part("versions")
    if not versions:
        return tag("p", "They were not written down.")
    return facts((str(name), str(version)) for name, version in versions.items())


def _leaves(settings: Mapping[str, Any], prefix: str) -> list[tuple[str, object]]:
    """Lists settings under dotted names. Names of classes are one row: there may be thousands."""
    rows: list[tuple[str, object]] = []
    for name, value in settings.items():
        if is_secret(str(name)) and value:
            rows.append((f"{prefix}{name}", REDACTED))
        elif isinstance(value, Mapping) and value and name not in _FOLDED:
            rows.extend(_leaves(value, f"{prefix}{name}."))
        else:
            rows.append((f"{prefix}{name}", _words(value)))
    return rows


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        value = [f"{k}: {v}" for k, v in value.items()]
    if isinstance(value, list):
        return ", ".join(map(str, value[:30])) + (f", … ({len(value):,} in all)" if len(value) > 30 else "")
    return ABSENT if value is None else str(value)
