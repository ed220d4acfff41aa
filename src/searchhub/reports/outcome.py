"""Says in two sentences and a few pictures what a run came to, for a reader who does not know how it searched."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from searchhub.generation import Limit
from searchhub.networks.alike import trained_alike
from searchhub.networks.network import AT_COST, LARGEST, RANDOM, TrainedNetwork, read_original, role_of
from searchhub.reports.inline_svg import inline_svg
from searchhub.reports.markup import Child, Markup, joined, tag
from searchhub.reports.run import Run
from searchhub.visualization.outcome import CHOSEN, Measured, plot_outcome

_SHARES = ("accuracy", "matched_accuracy", "mismatched_accuracy")
"""Metrics that are a share of the examples, so that the size of the test says how sure they are."""

_MOST_LIMITS = 6
_COSTS = {"macs": "multiply-adds", "params": "parameters", "encoder_params": "parameters of the encoder"}
_ROLES = {
    RANDOM: "random, within the same limits",
    AT_COST: "random, at the cost of a chosen one",
    LARGEST: "the largest",
}


def standard_error(report: TrainedNetwork, metric: str) -> float | None:
    """Returns the binomial standard error √(p (1 − p) / n) of a share p of n test examples; None for other metrics.

    A network that is right, or wrong, on all examples counts as one that is so on all but half of one.
    """
    examples, share = report.facts.get("examples"), report.metrics.get(metric)
    if metric not in _SHARES or not examples or share is None:
        return None
    p = min(max(share, 0.5 / examples), 1 - 0.5 / examples)
    return math.sqrt(p * (1 - p) / examples)


def outcome_section(run: Run, size: tuple[float, float]) -> Markup:
    """Returns the opening of a report: what was searched for, what came out, and both in pictures.

    Args:
        run: The run.
        size: Width and height of a picture in inches.
    """
    metric = run.metric
    groups = trained_alike(run.reports)
    reports = groups[0][1] if groups else []
    published = [r for r in reports if r.network.published and metric in r.metrics]
    if run.result is None or metric is None or not published:
        return joined([])
    best = max(published, key=lambda r: r.metrics[metric])
    parts: list[Child] = [
        tag("p", _searched_for(run, published), class_="lead"),
        tag("p", _came_out(reports, published, best, metric), class_="lead"),
        tag("div", *_pictures(run, reports, metric, size), class_="figures"),
    ]
    error = standard_error(best, metric)
    if error is not None:
        parts.append(
            tag(
                "p",
                f"Bars are one standard error of a share of {best.facts['examples']:,} test examples (binomial). "
                f"Networks that lie less than {_shown(metric, 2 * math.sqrt(2) * error, points=True)} apart cannot be "
                "told apart by this test.",
                class_="caption",
            )
        )
    return tag("section", *parts, class_="outcome")


def _searched_for(run: Run, published: Sequence[TrainedNetwork]) -> str:
    assert run.result is not None
    sets = dict.fromkeys(limits for r in published for limits in r.network.limit_sets if limits)
    listed = [" and ".join(map(_in_words, limits)) for limits in sets]
    words = "; ".join(listed[:_MOST_LIMITS]) + ("; and more" if len(sets) > _MOST_LIMITS else "")
    limits = {0: "", 1: f" with {words}"}.get(len(sets), f" under each of {len(sets)} limits: {words}")
    evaluator = run.part("evaluator").get("task")
    task = evaluator.get("name") if isinstance(evaluator, Mapping) else None
    size = run.result.space.size
    many = f"{size:,}" if size < 1e12 else f"{size:.1e}"
    return f"This run searched {many} possible networks for the best{f' on {task}' if task else ''}{limits}."


def _in_words(limit: Limit) -> str:
    """Returns a limit for a reader who does not know the names of costs, e.g. "at most 300,000 multiply-adds"."""
    cost = "ms" if limit.name.endswith("_ms") else _COSTS.get(limit.name, limit.name)
    ends = (("at most", limit.max), ("at least", limit.min), ("exactly", limit.equal))
    return " and ".join(f"{word} {_amount(value)} {cost}" for word, value in _full(ends))


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _full(ends: Sequence[tuple[str, float | None]]) -> list[tuple[str, float]]:
    return [(word, value) for word, value in ends if value is not None]


def _came_out(
    reports: Sequence[TrainedNetwork], published: Sequence[TrainedNetwork], best: TrainedNetwork, metric: str
) -> str:
    error, examples = standard_error(best, metric), best.facts.get("examples")
    of = (
        f"The best of the {len(published)} networks that came out"
        if len(published) > 1
        else "The network that came out"
    )
    sure = "" if error is None else f" ± {_shown(metric, error, points=True)}"
    words = (
        f"{of}, {best.network.name}, has a test {metric} of {_shown(metric, best.metrics[metric])}{sure}"
        f"{f' on {examples:,} examples' if examples else ''}"
    )
    largest = next((r for r in reports if r.network.name == LARGEST and metric in r.metrics), None)
    if largest is not None:
        macs, of_best = largest.costs.get("macs"), best.costs.get("macs")
        times = f", with {macs / of_best:.2g} times its multiply-adds" if macs and of_best else ""
        words += f"; the largest network has {_shown(metric, largest.metrics[metric])}{times}"
    ahead = _ahead_of_random(reports, metric)
    if ahead:
        mean = float(np.mean(ahead))
        over = f" over {len(ahead)} limits" if len(ahead) > 1 else ""
        words += (
            f"; random networks within the same limits are {_shown(metric, abs(mean), points=True)} "
            f"{'better' if mean < 0 else 'worse'} on average{over}"
        )
    return f"{words}."


def _ahead_of_random(reports: Sequence[TrainedNetwork], metric: str) -> list[float]:
    """Returns, for each chosen network with random ones beside it, how much better it is than their mean."""
    measured = [r for r in reports if metric in r.metrics]
    ahead = []
    for report in measured:
        name, sets = f"{report.network.name}-{RANDOM}", report.network.limit_sets
        beside = [
            r.metrics[metric]
            for r in measured
            if not r.network.published
            and role_of(r) == RANDOM
            and (r.network.limits in sets if r.network.limits else r.network.name.startswith(name))
        ]
        if report.network.published and beside:
            ahead.append(report.metrics[metric] - float(np.mean(beside)))
    return ahead


def _pictures(run: Run, reports: Sequence[TrainedNetwork], metric: str, size: tuple[float, float]) -> list[Markup]:
    measured = [r for r in reports if metric in r.metrics]
    names = dict.fromkeys(name for r in measured for name in r.costs)
    found = []
    for i, name in enumerate(names):
        points = [
            Measured(r.network.name, _role(r), r.costs[name], _scaled(metric, r.metrics[metric]), _error(r, metric))
            for r in measured
            if name in r.costs
        ]
        points += _original(run, metric, name)
        wanted = [(r, x) for r in measured for limits in r.network.limit_sets for x in limits if x.name == name]
        named = {r.network.name for r, _ in wanted}
        ends = {end for _, x in wanted for end in (x.low, x.high)}
        limits = filter(math.isfinite, ends)
        unit = next((r.facts["units"][name] for r in measured if name in r.facts.get("units", {})), "")
        found.append(_picture(points, named, name, unit, metric, sorted(limits), size, f"outcome{i}"))
    return found


def _picture(
    points: Sequence[Measured],
    named: Collection[str],
    cost: str,
    unit: str,
    metric: str,
    limits: Sequence[float],
    size: tuple[float, float],
    prefix: str,
) -> Markup:
    axis = _COSTS.get(cost, cost) if not unit.startswith("ms, ") else f"milliseconds ({unit.removeprefix('ms, ')})"
    up = f"test {metric} in %" if metric in _SHARES else f"test {metric}"
    svg = inline_svg(
        lambda path: plot_outcome(points, path, cost=axis, metric=up, limits=limits, named=named, size=size),
        label=f"Test {metric} of {len(points)} trained networks against their {axis}",
        prefix=prefix,
    )
    return tag("figure", svg)


def _role(report: TrainedNetwork) -> str:
    if report.network.published:
        return CHOSEN
    role = role_of(report)
    return _ROLES.get(role, role)


def _error(report: TrainedNetwork, metric: str) -> float | None:
    error = standard_error(report, metric)
    return None if error is None else _scaled(metric, error)


def _original(run: Run, metric: str, cost: str) -> list[Measured]:
    """Returns the point of the checkpoint as it was before the search, if there was one."""
    original: Mapping[str, Any] = read_original(run.path) or {}
    value, costs = (original.get("metrics") or {}).get(metric), original.get("costs") or {}
    if value is None or cost not in costs:
        return []
    return [Measured("original", "before the search", float(costs[cost]), _scaled(metric, float(value)))]


def _scaled(metric: str, value: float) -> float:
    return 100 * value if metric in _SHARES else value


def _shown(metric: str, value: float, *, points: bool = False) -> str:
    """Returns a value of the metric for a sentence: a share in percent, a difference of shares in points."""
    if metric not in _SHARES:
        return f"{value:.4f}"
    return f"{100 * value:.1f} {'points' if points else '%'}"
