"""What can go wrong, by what the user can do about it.

Every message says what must hold, what came, and the way out.
"""

from __future__ import annotations


class SearchhubError(Exception):
    """Root of the errors that searchhub raises on purpose."""


class InvalidInputError(SearchhubError, ValueError):
    """An argument, a file or a data set that cannot be worked with. Raised before any work is lost."""


class InfeasibleLimitError(InvalidInputError):
    """No architecture of the space meets the limits.

    Attributes:
        smallest: Per cost name, the smallest value that any architecture in reach has.
    """

    def __init__(self, message: str, smallest: dict[str, float] | None = None) -> None:
        super().__init__(message)
        self.smallest = dict(smallest or {})


class RunFolderError(SearchhubError):
    """A run folder that is in use, damaged, or cannot be written to."""


class RunMismatchError(RunFolderError, InvalidInputError):
    """A run folder that was started with other settings, data, space, or number of processes or threads."""


class DivergedError(SearchhubError, ArithmeticError):
    """The loss of a training is no longer a finite number."""


class ExportError(SearchhubError):
    """A network that cannot be exported, or whose export does not compute what the network computes."""


class HubError(SearchhubError):
    """The Hub refused, or could not be reached. Nothing is lost: the same call can be made again."""
