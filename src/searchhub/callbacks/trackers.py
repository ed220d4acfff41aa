"""Sends a search to a tracker that Accelerate supports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate import Accelerator

from searchhub.callbacks.base import SearchCallback
from searchhub.trial import TrialResult


class TrackerCallback(SearchCallback):
    """Logs each trial's score, metrics and time.

    Args:
        accelerator: Accelerator that was made with `log_with`.
        config: Settings of the run. They are sent once; a value that a tracker cannot hold is sent as text.
    """

    def __init__(self, accelerator: Accelerator, config: Mapping[str, Any]) -> None:
        self._accelerator = accelerator
        self._config = {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in config.items()}

    def on_search_start(self, total: int, done: int, best: float | None) -> None:
        # Trackers make files, and a search must begin in a folder that is empty or its own: so not earlier than here.
        self._accelerator.init_trackers("searchhub", config=self._config)

    def on_trial_end(self, result: TrialResult, done: int, total: int, best: float | None) -> None:
        values = {f"search/{name}": value for name, value in result.metrics.items()}
        values |= {"search/score": result.score, "search/seconds": result.seconds}
        if best is not None:
            values["search/best"] = best
        self._accelerator.log(values, step=result.trial.number)
