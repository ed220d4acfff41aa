"""Draws a search from its result alone: θ over the rounds, the Pareto front, the scores.

Every picture is drawn on a `Figure` of its own, without pyplot: this chooses no backend and changes no global state, so
it works in a script, a notebook and a test alike. The suffix of the path decides the format (PNG, SVG, PDF); a binary
file in its place gets PNG.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from searchhub.costs.structure import cells_of
from searchhub.costs.table import CostTable
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InvalidInputError
from searchhub.formatting import magnitude
from searchhub.generation import pareto
from searchhub.result import SearchResult
from searchhub.space import Architecture, Candidate, SearchSpace
from searchhub.trial import TrialResult, most_trained
from searchhub.visualization.diagram import stages_of
from searchhub.visualization.labels import place_labels
from searchhub.visualization.palette import space_colors
from searchhub.visualization.style import FAINT, INK, MOST_COLUMNS, STYLE, save_figure

# More dots than this become one picture inside an SVG or PDF; drawn one by one they would make the file long.
_MOST_DOTS = 1000


def plot_distribution(result: SearchResult, path: str | Path | IO[bytes]) -> None:
    """Draws θ of every choice over the rounds, one panel per choice and one line per candidate (DDPNAS Fig. 4).

    A candidate's line is solid while the search samples it. Where it is pruned the line gets a cross and goes on dashed
    and faint, since pruned candidates keep a θ. A dot marks the most probable candidate left at the end. Choices named
    like "stage2.layer1" stand in one row per stage.

    Args:
        result: Result of a searcher that has a θ.
        path: File to write, e.g. "theta.png".

    Raises:
        InvalidInputError: The result has no θ, or the search has not completed a round.
    """
    if len(result.trajectory) < 2:
        raise InvalidInputError(
            f"A picture of θ needs a search with a θ and at least one finished round, but this result holds "
            f"{len(result.trajectory)} states of θ. Random search has none; draw its Pareto front instead."
        )
    space, colors = result.space, space_colors(result.space)
    grid = _grid(space)
    with matplotlib.rc_context(STYLE):
        size = (max(0.6 + 2.15 * len(grid[0]), 5.6), 1.5 + 1.55 * len(grid))
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        panels = figure.subplots(len(grid), len(grid[0]), sharex=True, squeeze=False).tolist()
        limits = _theta_limits(result.trajectory)
        for row, axes_row in zip(grid, panels, strict=True):
            for column, (i, axes) in enumerate(zip(row, axes_row, strict=True)):
                if i is None:
                    axes.set_axis_off()
                    continue
                _draw_theta(axes, result.trajectory, i, colors)
                axes.set_ylim(limits[i])
                axes.tick_params(labelleft=column == 0 or len(set(limits)) > 1)
        _label_grid(grid, panels)
        settings = f"{result.searcher.get('searcher', 'search')}, {len(result.history)} trials"
        figure.suptitle(
            f"θ of every choice of {space.name} over the rounds ({settings})", x=0.01, ha="left", fontsize=10
        )
        pruned = any(not alive.all() for alive in result.trajectory[-1].alive)
        handles = _candidate_handles(colors, pruned=pruned)
        fits = max(1, int(figure.get_figwidth() / 1.45))
        rows = math.ceil(len(handles) / fits)
        figure.legend(
            handles=handles, loc="outside lower left", ncols=math.ceil(len(handles) / rows), frameon=False, fontsize=8.5
        )
        save_figure(figure, path)


def plot_pareto(
    result: SearchResult,
    cost: CostTable,
    chosen: Mapping[str, Mapping[str, Candidate]],
    path: str | Path | IO[bytes],
    *,
    trials: bool = True,
    size: tuple[float, float] = (7.2, 4.4),
) -> None:
    """Draws the best that each limit on a cost allows, and marks the chosen architectures.

    The step line is the whole exact front. An architecture that was chosen under a limit on another cost can lie below
    it. Better is up: by the predicted loss, by E[α] (DDPNAS Eq. 9) if the result predicts none, or, without a θ, by the
    score of the evaluated architectures.

    Args:
        result: The result to generate from.
        cost: The cost on the horizontal axis.
        chosen: Architectures to mark, by their labels, e.g. {"macs ≤ 1.2M": architecture}.
        path: File to write.
        trials: Whether to show the architectures that the search evaluated.
        size: Width and height in inches.
    """
    quality = _quality_of(result)
    front = [(cost(a), quality(a)) for a in pareto(result, cost)]
    if not front:
        raise InvalidInputError(f"A Pareto front of `{cost.name}` needs at least one architecture, but there is none.")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        axes = figure.subplots()
        evaluated = dict.fromkeys(r.trial.architecture for r in _compared(result)) if trials else {}
        tried = [(cost(a), quality(a)) for a in evaluated]
        if tried:
            dots: Any = {"s": 14, "color": "#b4bac2", "linewidths": 0, "rasterized": len(tried) > _MOST_DOTS}
            axes.scatter(*_columns(tried), label="evaluated in the search", **dots)
        x, y = _columns(front)
        # The last step extends to the right edge: a larger limit buys nothing more.
        reach = max([*x, *(c for c, _ in tried), *(cost(a) for a in chosen.values())])
        line = "best evaluated" if result.objective == "score" else "best in reach (exact front)"
        axes.step([*x, reach], [*y, y[-1]], where="post", color="#4477aa", lw=1.8, label=line)
        if len(front) <= 60:
            axes.scatter(x, y, s=12, color="#4477aa", linewidths=0, zorder=3)
        points = {label: (cost(a), quality(a)) for label, a in chosen.items()}
        if points:
            axes.scatter(
                *_columns(points.values()), s=54, color="#ee6677", edgecolors="white", lw=1.2, zorder=5, label="chosen"
            )
        letter, factor = magnitude(reach)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / factor:.4g}{letter}"))
        axes.set_xlabel(f"{cost.name} ({cost.unit})" if cost.unit else cost.name)
        axes.set_ylabel(_quality_name(result))
        axes.set_title(f"One search of {result.space.name}, an architecture for every limit", loc="left", fontsize=10)
        axes.grid(color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        axes.margins(x=0.04, y=0.08)
        if result.prediction is not None and result.prediction.quantity == "loss":
            axes.invert_yaxis()
        figure.legend(loc="outside lower left", ncols=3 if size[0] > 6 else 2, frameon=False, fontsize=8.5)
        steps = [p for (_, before), (x, y) in itertools.pairwise(front) for p in ((x, before), (x, y))]
        place_labels(figure, axes, points, line=[front[0], *steps, (reach, front[-1][1])], dots=tried)
        save_figure(figure, path)


def plot_scores(
    scores: Sequence[float],
    path: str | Path | IO[bytes],
    *,
    size: tuple[float, float] = (7.2, 3.0),
    name: str = "score",
) -> None:
    """Draws the score of every trial in order, and the best so far.

    Args:
        scores: Scores, at least one; larger is better.
        path: File to write.
        size: Width and height in inches.
        name: Label of the vertical axis.
    """
    if not scores:
        raise InvalidInputError("A picture of scores needs at least one finished trial, but there is none.")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        axes = figure.subplots()
        trials = range(len(scores))
        many = len(scores) > _MOST_DOTS
        axes.scatter(trials, scores, s=14, color="#4477aa", linewidths=0, rasterized=many, label="a trial", zorder=3)
        best = list(itertools.accumulate(scores, max))
        axes.step(trials, best, where="post", color="#ee6677", lw=1.8, label="best so far", zorder=2)
        axes.set_xlabel("trial")
        axes.set_ylabel(name)
        axes.grid(color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.02, y=0.08)
        figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8.5)
        save_figure(figure, path)


# -- θ ----------------------------------------------------------------------------------------------------------------


def _grid(space: SearchSpace) -> list[list[int | None]]:
    """Arranges choices in rows of panels: one row per stage if stages are short enough, else nearly square."""
    stages = [[space.index(name) for name in names] for names in stages_of(c.name for c in space.choices).values()]
    widest = max(len(stage) for stage in stages)
    if len(stages) > 1 and widest > MOST_COLUMNS and len(stages) <= 2 * widest:
        columns = max(math.ceil(len(stage) / math.ceil(len(stage) / MOST_COLUMNS)) for stage in stages)
        stages = [stage[at : at + columns] for stage in stages for at in range(0, len(stage), columns)]
        widest = columns
    elif len(stages) == 1 or len(stages) > 2 * widest:
        everything = [i for stage in stages for i in stage]
        columns = len(everything) if len(everything) <= 5 else min(MOST_COLUMNS, math.ceil(len(everything) ** 0.5))
        columns -= columns % widest if widest <= columns else 0  # what belongs together stays in a row
        stages = [everything[start : start + columns] for start in range(0, len(everything), columns)]
        widest = columns
    return [[*stage, *[None] * (widest - len(stage))] for stage in stages]


def _theta_limits(trajectory: Sequence[ArchitectureDistribution]) -> list[tuple[float, float]]:
    """Returns each choice's vertical range: equal for choices with equally many candidates, of the same height for all.

    The mean of θ is one over the number of candidates; on one common range, choices with different numbers would be
    squeezed together.
    """
    lows = [min(float(d.theta[i].min()) for d in trajectory) for i in range(len(trajectory[0].theta))]
    highs = [max(float(d.theta[i].max()) for d in trajectory) for i in range(len(trajectory[0].theta))]
    sizes = [len(theta) for theta in trajectory[0].theta]
    ranges = {
        size: (
            min(low for low, n in zip(lows, sizes, strict=True) if n == size),
            max(high for high, n in zip(highs, sizes, strict=True) if n == size),
        )
        for size in sizes
    }
    height = 1.12 * max(max(high - low for low, high in ranges.values()), 1e-6)
    return [((sum(ranges[n]) - height) / 2, (sum(ranges[n]) + height) / 2) for n in sizes]


def _draw_theta(
    axes: Axes,
    trajectory: Sequence[ArchitectureDistribution],
    i: int,
    colors: Mapping[Candidate, str],
) -> None:
    choice, last = trajectory[0].space.choices[i], len(trajectory) - 1
    left = [k for k, alive in enumerate(trajectory[-1].alive[i]) if alive]
    winner = max(left, key=lambda k: float(trajectory[-1].theta[i][k]))
    for k, candidate in enumerate(choice.candidates):
        theta = [float(d.theta[i][k]) for d in trajectory]
        end = next((r for r, d in enumerate(trajectory) if not d.alive[i][k]), last)
        color = colors[candidate]
        axes.plot(range(end + 1), theta[: end + 1], color=color, lw=1.7 if k == winner else 1.25, zorder=3)
        if k not in left:
            axes.plot(range(end, last + 1), theta[end:], color=color, lw=1.0, ls=(0, (3, 2)), alpha=0.4, zorder=2)
            axes.plot([end], [theta[end]], marker="x", ms=4.5, mew=1.4, color=color, zorder=4)
    axes.plot(
        [last],
        [float(trajectory[-1].theta[i][winner])],
        marker="o",
        ms=5,
        color=colors[choice.candidates[winner]],
        zorder=5,
        clip_on=False,
    )
    axes.set_title(choice.name, loc="left", fontsize=8.5, pad=3)
    axes.grid(axis="y", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=3))
    axes.tick_params(labelsize=7.5, length=2.5)


def _label_grid(grid: Sequence[Sequence[int | None]], panels: Sequence[Sequence[Axes]]) -> None:
    """Writes the names of the axes at the left and under the lowest panel of each column."""
    for row in panels:
        row[0].set_ylabel("θ", rotation=0, labelpad=6, va="center")
    for column in range(len(grid[0])):
        lowest = max(r for r, row in enumerate(grid) if row[column] is not None)
        panels[lowest][column].set_xlabel("round", fontsize=8)
        panels[lowest][column].tick_params(labelbottom=True)


def _candidate_handles(colors: Mapping[Candidate, str], *, pruned: bool) -> list[Artist]:
    handles: list[Artist] = [Line2D([], [], color=color, lw=2.2, label=str(c)) for c, color in colors.items()]
    if pruned:
        handles.append(Line2D([], [], color=INK, lw=1.0, ls=(0, (3, 2)), alpha=0.6, marker="x", ms=5, label="pruned"))
    handles.append(Line2D([], [], color=INK, ls="", marker="o", ms=5, label="most probable left"))
    return handles


# -- Pareto front -----------------------------------------------------------------------------------------------------


def _compared(result: SearchResult) -> Sequence[TrialResult]:
    """Returns the trials that are shown: if scores stand for quality, only those of the largest budget."""
    return most_trained(result.history) if result.objective == "score" else result.history


def _quality_of(result: SearchResult) -> Callable[[Mapping[str, Candidate]], float]:
    """Returns the function for the vertical axis; `_quality_name` says what it is."""
    space, distribution, cells = result.space, result.distribution, cells_of(result.space)
    prediction = result.prediction

    def predicted(architecture: Mapping[str, Candidate]) -> float:
        assert prediction is not None
        value = float(prediction.value(space.encode(architecture)[None, :])[0])
        return prediction.offset + prediction.slope * value

    def expectation(architecture: Mapping[str, Candidate]) -> float:
        codes = space.encode(architecture)[None, :]
        assert distribution is not None
        return float(distribution.expectation(codes if cells is None else cells.left_out(codes))[0])

    if prediction is not None:
        return predicted
    if distribution is not None:
        return expectation
    scores: dict[Architecture, float] = {}
    for r in _compared(result):
        scores[r.trial.architecture] = max(r.score, scores.get(r.trial.architecture, r.score))

    def score(architecture: Mapping[str, Candidate]) -> float:
        if Architecture(architecture) not in scores:
            raise InvalidInputError(
                "Without a θ, only architectures that the search evaluated can be shown, but a chosen one was not. "
                "Leave it out, or draw the front of a search with a θ."
            )
        return scores[Architecture(architecture)]

    return score


def _quality_name(result: SearchResult) -> str:
    if result.prediction is not None:
        return "predicted loss: −log(score)" if result.prediction.quantity == "loss" else "predicted score"
    return "E[α]: mean θ of an architecture" if result.distribution is not None else "score"


def _columns(points: Iterable[tuple[float, float]]) -> tuple[list[float], list[float]]:
    pairs = list(points)
    return [x for x, _ in pairs], [y for _, y in pairs]
