"""What watches a search: the hooks, a progress display and trackers."""

from searchhub.callbacks.base import SearchCallback

__all__ = ["SearchCallback"]
