"""The door by which a method reaches a public function that stands above it, like `model.push_to_hub` → `publish`.

Imports between modules run one way, so a value or a model cannot import what is made of it. A method that is short for
a public function looks that function up here when it is called. This is the only way up, for functions and for the
types in such a method's signature, and it leads to public names alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for signatures; nothing of it is imported when a program runs
    from searchhub import GeneratedArchitecture as GeneratedArchitecture
    from searchhub import Limit as Limit
    from searchhub import PublishedRevision as PublishedRevision


def public(name: str) -> Any:
    """The public function or class `searchhub.<name>`.

    >>> public("Limit")("macs", max=600)
    Limit(cost='macs', max=600, min=None, equal=None)
    """
    return getattr(importlib.import_module("searchhub"), name)
