"""Shows a run while it goes on: the stage, how far it is, how long it will take, and the best score so far."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from searchhub.callbacks.base import SearchCallback
from searchhub.formatting import duration
from searchhub.result import SearchResult
from searchhub.trial import SCORING, WARMUP, Trial, TrialResult

Clock = Callable[[], float]


class Stage:
    """One part of a run: a number of units (trials, epochs) of about equal length. `ProgressDisplay.stage` makes it.

    It is a context manager: leaving it ends the stage; an exception marks the stage as stopped.

    Args:
        display: The display that shows the stage.
        name: What the stage does, e.g. "training network 3 of 17".
        total: How many units there are.
        done: How many units an earlier process did. They count as done, but not for the speed.
        best: The best score so far. None: there is none.
        clock: Function that returns seconds.
    """

    def __init__(
        self, display: ProgressDisplay, name: str, total: int, *, done: int, best: float | None, clock: Clock
    ) -> None:
        self.name = name
        self.total = total
        self.done = done
        self.best = best
        self.unit = ""
        self.size = 1
        self.steps = (0, 0)
        self._display = display
        self._clock = clock
        self._first = done
        self._start = clock()

    def advance(self, *, best: float | None = None, n: int = 1) -> None:
        """Notes that `n` units are done; `best` is the best score so far, if there is one."""
        self.done += n
        self.steps = (0, 0)
        self.best = self.best if best is None else best
        self._display._changed()

    def step(self, done: int, total: int) -> None:
        """Notes how far the current unit is, e.g. optimizer steps of an epoch."""
        self.steps = (done, total)
        self._display._changed()

    def begin(self, unit: str, size: int = 1) -> None:
        """Names the unit that begins, e.g. "trial 12"; or `size` units whose steps are taken together."""
        self.unit, self.size, self.steps = unit, size, (0, 0)
        self._display._changed()

    @property
    def elapsed(self) -> float:
        """Seconds since this process began the stage."""
        return self._clock() - self._start

    @property
    def eta(self) -> float | None:
        """Seconds until the stage ends, at the mean speed of this process; None until the speed is known."""
        part = self.size * self.steps[0] / self.steps[1] if self.steps[1] else 0.0
        here = self.done - self._first + part
        left = self.total - self.done - part
        if left <= 0:
            return 0.0
        return self.elapsed / here * left if here > 0 else None

    @property
    def note(self) -> str:
        """Elapsed time, remaining time and best score as text."""
        eta = self.eta
        parts = [duration(self.elapsed), "ETA ?" if eta is None else f"ETA {duration(eta)}"]
        if self.best is not None:
            parts.append(f"best {self.best:.4f}")
        return ", ".join(parts)

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._display._end(self)


class ProgressDisplay:
    """Shows a run of several stages: as live lines on a terminal, as occasional plain lines elsewhere.

    Plain lines (in a log file, CI, a pipe) hold no control codes. One is written when a stage begins and one when it
    ends; between them one every `interval` seconds, and less often as a stage grows long.

    >>> with ProgressDisplay(2) as progress:
    ...     with progress.stage("training", total=3) as stage:
    ...         for epoch in range(3):
    ...             stage.advance(best=0.9)
    [1/2] training: 3 to do
    [1/2] training: 3/3 done in 0:00, best 0.9000

    Args:
        num_stages: How many stages the run has. None: the number is not known.
        enabled: False shows nothing, e.g. on all processes but the main one.
        file: File to write to. None: standard output.
        interval: Least number of seconds between plain lines.
        clock: Function that returns seconds. Tests replace it.
    """

    def __init__(
        self,
        num_stages: int | None = None,
        *,
        enabled: bool = True,
        file: TextIO | None = None,
        interval: float = 5.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self.num_stages = num_stages
        self._enabled = enabled
        self._file = file or sys.stdout
        self._interval = interval
        self._clock = clock
        self._number = 0
        self._stage: Stage | None = None
        self._start = self._last_line = clock()
        # FORCE_COLOR makes rich take any file for a terminal, but control codes belong on real ones only.
        console = Console(file=self._file)
        live = enabled and self._file.isatty() and console.is_terminal and not console.is_dumb_terminal
        self._live = _LiveLines(console) if live else None

    # -- stages -------------------------------------------------------------------------------------------------------

    def stage(self, name: str, total: int, *, done: int = 0, best: float | None = None) -> Stage:
        """Begins the next stage. A stage that is still open ends as stopped.

        Args:
            name: What the stage does.
            total: How many units it has.
            done: How many of them an earlier process did.
            best: The best score among those.
        """
        if self._stage is not None:
            self._end(self._stage)
        self._number += 1
        self._stage = stage = Stage(self, name, total, done=done, best=best, clock=self._clock)
        if self._live:
            self._live.show(stage, self._heading(), self._overall)
        else:
            before = f", {done} of them done before" if done else ""
            self._line(f"{self._prefix()}{name}: {total} to do{before}")
        return stage

    def step(self, done: int, total: int) -> None:
        """Notes how far the current unit of the current stage is. Without a stage it does nothing."""
        if self._stage is not None:
            self._stage.step(done, total)

    def callback(self, name: str = "search", scored: int = 0) -> SearchCallback:
        """Returns a callback for `search()` that shows the search as one stage, with one unit per trial.

        Args:
            name: Name of the stage.
            scored: How many trials at the end are scored without training; they are a stage of their own.
        """
        return _SearchProgress(self, name, scored)

    def message(self, text: str) -> None:
        """Prints a line that stays, without disturbing the display."""
        self._line(text)

    # -- as a context -------------------------------------------------------------------------------------------------

    def __enter__(self) -> ProgressDisplay:
        self._start = self._clock()
        if self._live:
            self._live.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stage is not None:
            self._end(self._stage)
        if self._live:
            self._live.progress.stop()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        stage = self._stage
        if stage is None:
            return
        if self._live:
            self._live.update(stage)
            return
        # Write one line per 20th of the stage's time, so that a day's log stays readable, but a sign of life every ten
        # minutes.
        due = max(self._interval, min(stage.elapsed / 20, 600.0))
        if stage.done < stage.total and self._clock() - self._last_line >= due:
            doing = f", {stage.unit}" if stage.unit else ""
            doing += f", step {stage.steps[0]}/{stage.steps[1]}" if stage.steps[1] else ""
            self._line(f"{self._prefix()}{stage.name}: {stage.done}/{stage.total}, {stage.note}{doing}")

    def _end(self, stage: Stage) -> None:
        if stage is not self._stage:
            return
        self._stage = None
        if self._live:
            self._live.hide()
        state = "done in" if stage.done >= stage.total else "stopped after"
        best = "" if stage.best is None else f", best {stage.best:.4f}"
        self._line(f"{self._prefix()}{stage.name}: {stage.done}/{stage.total} {state} {duration(stage.elapsed)}{best}")

    def _prefix(self) -> str:
        return f"[{self._number}/{self.num_stages}] " if self.num_stages else ""

    def _heading(self) -> str:
        return f"stage {self._number} of {self.num_stages}" if self.num_stages else "whole run"

    def _overall(self) -> tuple[int, int | None, str]:
        return self._number - 1, self.num_stages, duration(self._clock() - self._start)

    def _line(self, text: str) -> None:
        self._last_line = self._clock()
        if not self._enabled:
            return
        if self._live:
            self._live.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._file, flush=True)


class _LiveLines:
    """The live lines of a terminal: the whole run, the stage, and the unit inside it."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[count]}", markup=False),
            _Note(),
            console=console,
            refresh_per_second=4,
        )
        self._rows: tuple[TaskID, TaskID, TaskID] | None = None

    def show(self, stage: Stage, heading: str, overall: Callable[[], tuple[int, int | None, str]]) -> None:
        self.hide()
        add = self.progress.add_task
        before, num_stages, _ = overall()
        whole = add(
            heading,
            total=num_stages,
            completed=before,
            visible=num_stages is not None and num_stages > 1,
            count=f"{before}/{num_stages}",
            note=lambda: overall()[2],
        )
        main = add(stage.name, total=stage.total, completed=stage.done, count="", note=lambda: stage.note)
        unit = add("", total=None, visible=False, count="", note=lambda: "")
        self._rows = (whole, main, unit)
        self.update(stage)

    def update(self, stage: Stage) -> None:
        if self._rows is None:
            return
        _, main, unit = self._rows
        self.progress.update(main, completed=stage.done, count=f"{stage.done}/{stage.total}")
        done, total = stage.steps
        self.progress.update(
            unit,
            description=f"  {stage.unit or 'step'}",
            completed=done,
            total=total or None,
            count=f"{done}/{total}" if total else "",
            visible=bool(stage.unit or total) and stage.done < stage.total,
        )

    def hide(self) -> None:
        for row in self._rows or ():
            self.progress.remove_task(row)
        self._rows = None


class _Note(ProgressColumn):
    """Text that changes with time and is asked for anew at each refresh."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["note"](), style="dim")


class _SearchProgress(SearchCallback):
    def __init__(self, display: ProgressDisplay, name: str, scored: int) -> None:
        self._display = display
        self._name = name
        self._scored = scored
        self._before = 0
        self._stage: Stage | None = None

    def on_search_start(self, total: int, done: int, best: float | None) -> None:
        trained = total - self._scored
        self._stage = self._display.stage(self._name, trained, done=min(done, trained), best=best)
        if done > trained:
            self._begin_scoring(trained, done - trained, best)

    def _begin_scoring(self, before: int, done: int, best: float | None) -> None:
        if self._scored and not self._before and self._stage is not None:
            self._display._end(self._stage)
            self._before = before
            self._stage = self._display.stage("score architectures", self._scored, done=done, best=best)

    def on_proposal_start(self, trials: Sequence[Trial]) -> None:
        if self._stage is not None and trials[0].round != SCORING:
            names = f"trials {trials[0].number} to {trials[-1].number}" if len(trials) > 1 else _unit(trials[0])
            self._stage.begin(names, len(trials))

    def on_trial_start(self, trial: Trial) -> None:
        if trial.round == SCORING:
            self._begin_scoring(trial.number, 0, None)
        if self._stage is not None:
            self._stage.begin(_unit(trial))

    def on_trial_end(self, result: TrialResult, done: int, total: int, best: float | None) -> None:
        if self._stage is not None:
            self._stage.advance(best=best, n=done - self._before - self._stage.done)

    def on_search_end(self, result: SearchResult) -> None:
        if self._stage is not None:
            self._display._end(self._stage)

    def on_message(self, text: str) -> None:
        self._display.message(text)


def _unit(trial: Trial) -> str:
    rounds = {WARMUP: ", warm-up", SCORING: ""}
    return f"trial {trial.number}{rounds.get(trial.round, f', round {trial.round}')}"
