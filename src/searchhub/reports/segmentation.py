"""Writes the part of a report that tells what networks reach on each class, and shows it on a few test pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from searchhub.files import read_json_object
from searchhub.networks.network import EXAMPLES, EXAMPLES_INDEX
from searchhub.reports.markup import Child, Markup, image, joined, table, tag
from searchhub.reports.run import Run


def classes_section(run: Run) -> Markup | None:
    """Shows metrics of single classes, and strips of picture, truth and predictions.

    Args:
        run: The run. Its networks' facts hold the metrics, its `EXAMPLES` the pictures.

    Returns:
        None where no published network has metrics of single classes.
    """
    measured = {
        report.network.name: values
        for report in run.reports
        if report.network.published and (values := _by_class(report.facts))
    }
    if not measured:
        return None
    folder = run.path / EXAMPLES
    index = read_json_object(folder / EXAMPLES_INDEX) or {}
    colours = _colours(index)
    parts: list[Child] = []
    metrics = dict.fromkeys(metric for values in measured.values() for metric in values)
    for metric in metrics:
        found = {name: values.get(metric, {}) for name, values in measured.items()}
        labels = dict.fromkeys([*colours, *(label for values in found.values() for label in values)])
        rows = [
            {
                "class": _named(label, colours.get(label)),
                **{name: f"{values[label]:.4f}" if label in values else None for name, values in found.items()},
            }
            for label in labels
        ]
        parts += [tag("h3", f"{metric} of each class on the test split"), table(rows)]
    if strips := _strips(folder, index, list(measured)):
        parts += [
            tag("h3", "What the networks take pictures for"),
            *strips,
            tag(
                "p",
                "Pictures of the test split at equal distances, chosen by nobody. Black in the truth has no class, and "
                "counts nowhere. The pictures are the data set's: its terms hold for this page, too.",
                class_="caption",
            ),
        ]
    return joined(parts)


def _by_class(facts: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Returns the metrics of single classes in a network's facts; empty if there are none."""
    found = facts.get("by_class")
    if not isinstance(found, dict):
        return {}
    return {
        str(metric): {str(label): float(v) for label, v in values.items() if isinstance(v, int | float)}
        for metric, values in found.items()
        if isinstance(values, dict)
    }


def _colours(index: Mapping[str, Any]) -> dict[str, str]:
    """Returns the colour of each class, in order, as CSS writes it."""
    try:
        return {
            str(known["name"]): "#" + "".join(f"{min(255, max(0, int(part))):02x}" for part in known["colour"])
            for known in index.get("classes", [])
        }
    except (KeyError, TypeError, ValueError):  # another program wrote it
        return {}


def _named(label: str, colour: str | None) -> Child:
    if colour is None:
        return label
    return joined([tag("span", class_="swatch", style=f"background:{colour}"), label])


def _strips(folder: Path, index: Mapping[str, Any], networks: list[str]) -> list[Markup]:
    """Returns a strip for each example: the picture, the truth, and what each network said of it."""
    examples = index.get("examples", [])
    strips = []
    for place, number in enumerate(examples if isinstance(examples, list) else []):
        files = {
            "picture": (f"{place}-picture.jpg", "jpeg"),
            "truth": (f"{place}-truth.png", "png"),
            **{name: (f"{place}-prediction-{name}.png", "png") for name in networks},
        }
        figures = [
            tag(
                "figure",
                image((folder / name).read_bytes(), kind, f"{words} of test example {number}"),
                tag("figcaption", words),
            )
            for words, (name, kind) in files.items()
            if (folder / name).is_file()
        ]
        if figures:
            strips.append(tag("div", *figures, class_="strip"))
    return strips
