"""Writes Hub-ready folders of what a search leaves: its result, from which networks are generated, and its supernet."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import median_high
from typing import TYPE_CHECKING

from huggingface_hub import ModelCardData

from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.files import write_text
from searchhub.formatting import human
from searchhub.generation.cells import reachable_range
from searchhub.hub.contents import MODEL_CONFIG
from searchhub.redact import REDACTED, is_secret, redact, redact_tokens
from searchhub.result import SearchResult
from searchhub.run_folder import RESULT
from searchhub.searchers.division import Division, winners_in_order
from searchhub.space import SearchSpace
from searchhub.trial import most_trained

if TYPE_CHECKING:
    from searchhub.models.supernet import Supernet


def save_result_folder(result: SearchResult, folder: str | Path) -> None:
    """Writes what is published of a search result, result.json and its card, each whole or not at all.

    Other files of the folder stay as they are.

    Args:
        result: The result of a search.
        folder: The folder to write into.

    Raises:
        InvalidInputError: The folder holds a model, whose card would be replaced.
        RunFolderError: The place cannot be written to.
    """
    folder = Path(folder)
    if (folder / MODEL_CONFIG).exists():
        raise InvalidInputError(
            f"`{folder}` must not be the folder of a model to hold a search result, but has a {MODEL_CONFIG}. Choose "
            "another folder."
        )
    write_text(folder / "README.md", result_card(result))
    result.save(folder / RESULT)


def write_supernet_folder(supernet: Supernet, folder: Path) -> None:
    """Writes the shared weights, their configuration and a card."""
    # safetensors stores dense row-major tensors; training may have left others.
    supernet.save_pretrained(folder, state_dict={k: v.contiguous() for k, v in supernet.state_dict().items()})
    (folder / "README.md").write_text(supernet_card(supernet), encoding="utf-8")


def result_card(result: SearchResult) -> str:
    """Returns the README.md of a search result. `path/to/search` stands for the place where it is published."""
    limit = "".join(f', Limit("{c.name}", max={_reachable(result, c)})' for c in list(result.costs.values())[:1])
    names = "Limit, SearchResult, generate" if limit else "SearchResult, generate"
    rows = [_space_row(result.space)]
    rows.append(f"- trials: {len(result.history):,}")
    rows.append("- θ: " + ("none, the best evaluated is generated" if result.objective == "score" else _theta(result)))
    if result.prediction is not None:
        rows.append(f"- predicted quality: from {len(result.prediction.codes):,} scores; `generate` maximises it")
    for cost in result.costs.values():
        low, high = reachable_range(cost)
        rows.append(f"- `{cost.name}`: {human(low)} to {human(high)} {cost.unit}".rstrip())
    rows += _winners(result) if result.division else []
    for name, value in result.searcher.items():
        rows.append(f"- `{name}`: {REDACTED if is_secret(name) else redact(str(value))}")
    return _card(
        "result of a search",
        "What one neural architecture search with searchhub left. A network for every limit is generated from it, "
        "without searching again.",
        f'from searchhub import {names}\n\nresult = SearchResult.from_pretrained("path/to/search")\n'
        f"architecture = generate(result{limit})",
        rows,
    )


def _theta(result: SearchResult) -> str:
    return "none" if result.distribution is None else "yes"


def _reachable(result: SearchResult, cost: CostTable) -> str:
    """Returns a limit that can be met: half way between the extremes or, without θ, at an evaluated cost, rounded."""
    low, high = reachable_range(cost)
    if result.objective != "score" or not result.history:
        return f"{(low + high) / 2:.4g}"
    value = median_high(cost(r.trial.architecture) for r in most_trained(result.history))
    step = 10.0 ** (math.floor(math.log10(value)) - 3) if value > 0 else 1.0
    return f"{math.ceil(value / step) * step:.4g}"


def _winners(result: SearchResult) -> list[str]:
    """Tells how DC-NAS divided the architectures, and which ones won, the best first."""
    division = Division.from_dict(result.division)
    won_by = "log-probability" if division.labels is None else "early-stopped score"
    rows = [f"- clusters: {', '.join(f'{size:,}' for size in division.sizes)} architectures"]
    for order, winner in enumerate(winners_in_order(result), 1):
        candidates = redact(" · ".join(map(str, winner.architecture.values())))
        rows.append(
            f"- no. {order}, of cluster {winner.cluster}: {winner.score:.4f} fully trained, {won_by} "
            f"{winner.won_by:.4f}: `{candidates}`"
        )
    return rows


def supernet_card(supernet: Supernet) -> str:
    """Returns the README.md of a supernet. `path/to/supernet` stands for the place where it is published."""
    kind = type(supernet)
    rows = [_space_row(supernet.search_space)]
    rows.append(f"- parameters: {human(sum(p.numel() for p in supernet.parameters()))}")
    return _card(
        "supernet",
        f"`{kind.__name__}`: the shared weights of every architecture of a search space, from searchhub. It is no "
        "network of its own; each architecture in it is one, to be trained further before it is used.",
        f"from {kind.__module__} import {kind.__name__}\n\n"
        f'supernet = {kind.__name__}.from_pretrained("path/to/supernet")\n'
        "model = supernet.extract(architecture)  # its own copy of the weights",
        rows,
    )


def _space_row(space: SearchSpace) -> str:
    return f"- space: `{redact(space.name)}`, {len(space.choices)} choices, {human(space.size)} architectures"


def _card(title: str, what: str, usage: str, rows: list[str]) -> str:
    data = ModelCardData(library_name="searchhub", tags=["searchhub", "neural-architecture-search"])
    text = f"# {title.capitalize()}\n\n{what}\n\n## How to use\n\n```python\n{usage}\n```\n\n## What is in it\n\n"
    return redact_tokens(f"---\n{data.to_yaml()}\n---\n\n{text}" + "\n".join(rows) + "\n")
