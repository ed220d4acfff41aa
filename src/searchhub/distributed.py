"""One process decides and all learn of it: the value or the error of the main process reaches every process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from searchhub import errors
from searchhub.errors import SearchhubError

T = TypeVar("T")


class Processes(Protocol):
    """What `OnMain` needs from an evaluator."""

    @property
    def is_main_process(self) -> bool: ...

    def broadcast(self, value: T) -> T: ...


class OnMain:
    """Runs something on the main process. Its value, or its error, reaches every process: none waits forever."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def __call__(self, function: Callable[[], T]) -> T:
        if not self._processes.is_main_process:
            sent: dict[str, Any] = self._processes.broadcast({})
            if "error" in sent:
                raise _error(sent["error"], sent["message"])
            value: T = sent["value"]
            return value
        try:
            value = function()
        except Exception as error:
            # Ctrl-C is not passed on: it reaches every process by itself, and some may be gone already.
            self._processes.broadcast({"error": type(error).__name__, "message": str(error)})
            raise
        self._processes.broadcast({"value": value})
        return value


def _error(name: str, message: str) -> Exception:
    known = getattr(errors, name, None)
    if isinstance(known, type) and issubclass(known, SearchhubError):
        return known(message)
    return SearchhubError(f"The main process stopped with {name}: {message}")
