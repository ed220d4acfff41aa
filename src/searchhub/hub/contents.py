"""Tells what a folder or a repository holds, and whether one may replace the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from searchhub.run_folder import RESULT

MODEL_CONFIG = "config.json"

FACTS = "searchhub.json"
"""File that says for programs what was searched, generated and measured. The card says it for people."""

EVAL_RESULTS = ".eval_results/searchhub.yaml"
"""File from which the Hub reads what was measured. The Hub prefers it to the card's model-index."""

# Settings of a model that may change from one version of the same architecture to the next.
_PASSING = re.compile(r"transformers_version|architectures|auto_map|(torch_)?dtype|label2id|_.*|.*(dropout|momentum).*")


@dataclass(frozen=True)
class Contents:
    """What a folder or a repository holds.

    Args:
        kind: "model" (a supernet is one, with a model type of its own) or "search result".
        identity: What tells it apart from others: sizes and blocks of a model, or the space of a search.
    """

    kind: str
    identity: Mapping[str, Any]


def contents_of(read: Callable[[str], dict[str, Any] | None]) -> Contents | None:
    """Returns the contents that the files describe; None if they are neither a model nor a search result.

    Args:
        read: Function that returns the JSON object in the file of a given name; None if there is no such file.
    """
    config = read(MODEL_CONFIG)
    if config is not None and "model_type" in config:
        # transformers leaves out the names of two labels, its default.
        identity = {**config, "num_labels": len(config.get("id2label") or "01")}
        identity.pop("id2label", None)
        return Contents("model", {k: v for k, v in identity.items() if not _PASSING.fullmatch(k)})
    result = read(RESULT)
    if result is not None and isinstance(result.get("space"), dict):
        return Contents("search result", result["space"])
    return None


def difference(mine: Contents, theirs: Contents) -> str | None:
    """Returns how two contents differ, in words; None if they are versions of the same thing.

    A setting that only one of them has came with another version of a library, and does not count.
    """
    if mine.kind != theirs.kind:
        return f"a {theirs.kind} there, a {mine.kind} here"
    words = []
    for name in mine.identity.keys() & theirs.identity.keys():
        here, there = mine.identity[name], theirs.identity[name]
        if here != there:
            words.append(f"`{name}` is {_short(there, here)} there, {_short(here, there)} here")
    words.sort(key=lambda text: (not text.startswith("`model_type`"), text))
    more = f" (and {len(words) - 3} more)" if len(words) > 3 else ""
    return "; ".join(words[:3]) + more if words else None


def _short(value: Any, other: Any) -> str:
    """Shortens a value. For two lists of equal length it shows only where they differ."""
    if isinstance(value, list) and isinstance(other, list) and len(value) == len(other) > 4:
        i = next(i for i, (a, b) in enumerate(zip(value, other, strict=True)) if a != b)
        return f"{_short(value[i], other[i])} at {i}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
