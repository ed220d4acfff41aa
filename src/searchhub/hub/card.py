"""Writes the README.md of a published model from what was really done and measured.

The text is built in plain Python. `ModelCard.from_template` is not used, because it executes the template it is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from searchhub.errors import InvalidInputError
from searchhub.formatting import cell, duration, human, markdown_table
from searchhub.models.papers import bibtex
from searchhub.redact import REDACTED, is_secret, redact, redact_command, redact_tokens
from searchhub.space import Candidate


@dataclass(frozen=True, kw_only=True)
class ReachedLimit:
    """A limit ν under which the architecture was generated, and the value that the architecture reached.

    Args:
        cost: Name of the cost, e.g. "macs".
        reached: The architecture's own value.
        minimum: Lower limit. None: there was none.
        maximum: Upper limit. None: there was none.
        equal: Exact value asked for. None: there was none.
        unit: Unit of the cost, e.g. "multiply-adds".
    """

    cost: str
    reached: float
    minimum: float | None = None
    maximum: float | None = None
    equal: float | None = None
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A metric on a split.

    Args:
        metric: Id of the metric, e.g. "accuracy".
        value: The value as computed, e.g. 0.95 for 95 %.
        split: Name of the split of the data set, e.g. "test".
        num_examples: How many examples the metric was computed on.
    """

    metric: str
    value: float
    split: str
    num_examples: int | None = None


@dataclass(frozen=True, kw_only=True)
class ComputeUsed:
    """What a search or a training used. A field that is not known is None."""

    trials: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    device: str | None = None
    processes: int | None = None


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """All that a card says. Nothing is made up: the card leaves out what is None or empty.

    Args:
        model_name: The name of the model, e.g. the folder's or repository's last part.
        model_class: The class of the model, e.g. "SearchedMobileForImageClassification".
        architecture: The choices made.
        configuration: What the model's configuration says of its blocks and sizes, where the choices have no names.
        origin: What kind of network it is; the first sentence of the card ends with it.
        auto_class: What loads it.
        processor_class: What prepares its inputs, e.g. "AutoImageProcessor".
        repo_id: The repository that it is, or will be, published in; None: the card speaks of the folder.
        remote_code: Whether the repository holds the modeling files, so that it loads without searchhub.
        needs_searchhub: Whether the Auto classes know the model only after `import searchhub`.
        pipeline_tag: The Hub's name for the task.
        tags: Tags beside "searchhub" and "neural-architecture-search".
        license: The Hub's id for the model's licence, e.g. "apache-2.0".
        dataset_id: Id of the data set on the Hub. None: the data are local.
        dataset_config: Configuration of the data set. None: it has only one.
        dataset_name: The name by which people know the data set.
        dataset_revision: Commit or fingerprint of the data set.
        base_model: The checkpoint from which the model was made.
        num_labels: How many classes the model distinguishes.
        input_shape: Shape of one input, e.g. (3, 32, 32).
        diagram: File name of the picture of the architecture, in the same folder.
        limits: Limits under which the architecture was generated.
        selection: How the architecture was chosen, and what that guarantees, e.g. "exact optimum of E[α] (list-DP)".
        expectation: E[α] of DDPNAS Eq. 9 under the search's θ.
        measured_loss: −log(score) of the network on the search's final weights. None: it was not measured.
        predicted_loss: The loss, −log(score), that the search's scores predict, e.g. "1.2345 ± 0.0123".
        params: Number of parameters.
        macs: Multiply-adds of one input.
        macs_unit: What they are of, e.g. "multiply-adds at 128 tokens".
        evaluations: What was measured on it. The first is the one to compare by.
        by_class: Metrics of single classes on the first split that `evaluations` name: maps a metric's name to (class
            name, value). They are a table of the card, and not in its metadata.
        comparison: Rows of a table that sets it beside others, e.g. random architectures trained alike.
        space_name: The name of the search space.
        search_settings: The settings of the searcher and the evaluator.
        search_cost: What the search took, which all networks generated from it share.
        training_settings: The settings of the final training.
        training_cost: What the final training took.
        seed: The seed of search and training.
        versions: Package to version.
        command: The command line, word by word.
        papers: The papers to cite, keys of `searchhub.models.papers.PAPERS` or BibTeX entries.
        notes: Paragraphs on what a reader should know, e.g. known limits.
    """

    model_name: str
    model_class: str
    architecture: Mapping[str, Candidate]
    configuration: Mapping[str, Any] = field(default_factory=dict)
    origin: str = "found by neural architecture search with searchhub"
    auto_class: str = "AutoModelForImageClassification"
    processor_class: str | None = None
    repo_id: str | None = None
    remote_code: bool = False
    needs_searchhub: bool = True
    pipeline_tag: str | None = "image-classification"
    tags: tuple[str, ...] = ()
    license: str | None = None
    dataset_id: str | None = None
    dataset_config: str | None = None
    dataset_name: str | None = None
    dataset_revision: str | None = None
    base_model: str | None = None
    num_labels: int | None = None
    input_shape: tuple[int, ...] | None = None
    diagram: str | None = None
    limits: tuple[ReachedLimit, ...] = ()
    selection: str | None = None
    expectation: float | None = None
    predicted_loss: str | None = None
    measured_loss: float | None = None
    params: int | None = None
    macs: int | None = None
    macs_unit: str = "multiply-adds"
    evaluations: tuple[Evaluation, ...] = ()
    by_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    comparison: tuple[Mapping[str, object], ...] = ()
    space_name: str | None = None
    search_settings: Mapping[str, Any] = field(default_factory=dict)
    search_cost: ComputeUsed = ComputeUsed()
    training_settings: Mapping[str, Any] = field(default_factory=dict)
    training_cost: ComputeUsed = ComputeUsed()
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = ()
    papers: tuple[str, ...] = ("ddpnas",)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        bibtex(self.papers)  # says now what is wrong with them
        if isinstance(self.command, str):
            raise InvalidInputError(
                f"`command` must be a list of words, but got the string {self.command!r}. Pass `sys.argv`: a string "
                "cannot be told apart into arguments that hold spaces."
            )


def model_card(facts: CardFacts) -> str:
    """Returns the whole README.md: YAML metadata, then Markdown.

    1. The card leaves out what is not known, line by line and section by section.
    2. It contains nothing that looks like an access token, wherever that came from.
    3. It reduces absolute paths in names, settings and the command to their last part (`searchhub.redact`).
    """
    sections = [
        _head(facts),
        _section("How to use", _usage(facts)),
        _section("Architecture", _architecture(facts)),
        _section("Limits and sizes", _sizes(facts)),
        _section("Results", _results(facts)),
        _section("Search", _facts_list(_search_rows(facts))),
        _section("Training", _facts_list(_training_rows(facts))),
        _section("Reproduce", _reproduce(facts)),
        _section("Citation", "\n\n".join(f"```bibtex\n{entry}\n```" for entry in bibtex(facts.papers))),
    ]
    body = "\n\n".join(section for section in sections if section)
    return redact_tokens(f"---\n{_metadata(facts).to_yaml()}\n---\n\n{body}\n")


def eval_results_yaml(facts: CardFacts, *, task_id: str | None = None) -> str | None:
    """Returns the content of `.eval_results/<name>.yaml`, which the Hub prefers to the card's model-index.

    Args:
        facts: The facts that the card tells.
        task_id: Id of the benchmark, as the repository of its data set names it. None: the configuration of the data
            set.

    Returns:
        None if nothing was measured, or if the data are not on the Hub: the format has no place for such results.
    """
    if facts.dataset_id is None or not facts.evaluations:
        return None
    entries = [
        EvalResultEntry(
            dataset_id=facts.dataset_id,
            task_id=task_id or facts.dataset_config or "default",
            value=e.value,
            dataset_revision=_git_revision(facts),
            notes=_evaluation_words(e),
        )
        for e in facts.evaluations
    ]
    text: str = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
    return redact_tokens(text)


# -- metadata ---------------------------------------------------------------------------------------------------------


def _metadata(facts: CardFacts) -> ModelCardData:
    dataset = facts.dataset_id or redact(facts.dataset_name or "")
    results = [
        EvalResult(
            task_type=facts.pipeline_tag,
            dataset_type=dataset,
            dataset_name=redact(facts.dataset_name or dataset),
            dataset_config=facts.dataset_config,
            dataset_split=e.split,
            dataset_revision=_git_revision(facts),
            metric_type=e.metric,
            metric_value=e.value,
        )
        for e in facts.evaluations
        if dataset and facts.pipeline_tag
    ]
    return ModelCardData(
        model_name=redact(facts.model_name) if results else None,
        eval_results=results or None,
        library_name="transformers",
        pipeline_tag=facts.pipeline_tag,
        license=facts.license,
        base_model=None if facts.base_model is None else redact(facts.base_model),
        datasets=None if facts.dataset_id is None else [facts.dataset_id],
        metrics=list(dict.fromkeys(e.metric for e in facts.evaluations)) or None,
        tags=["searchhub", "neural-architecture-search", *facts.tags],
    )


def _git_revision(facts: CardFacts) -> str | None:
    """Returns the data set's revision if it is a commit on the Hub; metadata have no place for other fingerprints."""
    revision = facts.dataset_revision or ""
    return revision if facts.dataset_id and re.fullmatch(r"[0-9a-f]{40}", revision) else None


# -- sections ---------------------------------------------------------------------------------------------------------


def _head(facts: CardFacts) -> str:
    what = f"`{facts.model_class}`, {facts.origin}"
    if facts.space_name:
        what += f" in the space `{redact(facts.space_name)}`"
    if facts.dataset_name or facts.dataset_id:
        what += f" and trained on {redact(facts.dataset_name or facts.dataset_id or '')}"
    if facts.num_labels:
        what += f" ({facts.num_labels:,} classes)"
    return "\n\n".join([f"# {redact(facts.model_name)}", f"{what}.", *(redact(note) for note in facts.notes)])


def _usage(facts: CardFacts) -> str:
    place = facts.repo_id or f"path/to/{redact(facts.model_name)}"
    names = sorted(name for name in (facts.auto_class, facts.processor_class) if name)
    load = [f'model = {facts.auto_class}.from_pretrained("{place}")']
    if facts.processor_class:
        load.append(f'processor = {facts.processor_class}.from_pretrained("{place}")')
    imports = f"from transformers import {', '.join(names)}"
    first = ["import searchhub  # makes the model known to transformers"] if facts.needs_searchhub else []
    with_searchhub = "\n".join([*first, imports, "", *load])
    text = f"```python\n{with_searchhub}\n```"
    if facts.remote_code:
        # A tokenizer reads the model's configuration, too, which is code of the folder; an image processor does not.
        trusting = load if facts.processor_class == "AutoTokenizer" else load[:1]
        load[: len(trusting)] = [f"{line.removesuffix(')')}, trust_remote_code=True)" for line in trusting]
        without = "\n".join([imports, "", *load])
        text += (
            "\n\nWithout searchhub, from the modeling files beside the weights. `trust_remote_code=True` runs those "
            f"files: read them first, and pin a `revision`.\n\n```python\n{without}\n```"
        )
    if facts.pipeline_tag == "image-segmentation" and facts.processor_class:
        text += f"\n\nEither way, the class of each pixel of a picture:\n\n```python\n{_SEGMENT}\n```"
    return text


_SEGMENT = """\
import torch
from PIL import Image

picture = Image.open("picture.jpg")
with torch.no_grad():
    outputs = model(**processor(picture, return_tensors="pt"))
size = (picture.height, picture.width)
classes = processor.post_process_semantic_segmentation(outputs, target_sizes=[size])[0]  # int64 [height, width]
names = [model.config.id2label[i] for i in classes.unique().tolist()]"""


def _architecture(facts: CardFacts) -> str:
    names = list(facts.architecture)
    if names and all("." in name for name in names):
        stages: dict[str, list[str]] = {}
        for name in names:
            stages.setdefault(name.partition(".")[0], []).append(f"`{facts.architecture[name]}`")
        table = markdown_table([{"stage": s, "layers": " · ".join(layers)} for s, layers in stages.items()])
    else:
        table = markdown_table([{"choice": name, "candidate": f"`{facts.architecture[name]}`"} for name in names])
    picture = f"![Diagram of the architecture]({facts.diagram})" if facts.diagram else ""
    settings = _facts_list(_setting_rows(facts.configuration))
    return "\n\n".join(part for part in (table if names else "", settings, picture) if part)


def _sizes(facts: CardFacts) -> str:
    rows = [
        {"limit": _limit_words(limit), "reached": _amount(limit.reached), "unit": limit.unit or None}
        for limit in facts.limits
    ]
    lines = [
        ("Parameters", None if facts.params is None else _amount(facts.params)),
        (f"FLOPs ({facts.macs_unit})", None if facts.macs is None else _amount(facts.macs)),
        ("Input", None if facts.input_shape is None else " × ".join(str(n) for n in facts.input_shape)),
        ("Chosen by", None if facts.selection is None else redact(facts.selection)),
        ("Predicted loss", None if facts.predicted_loss is None else f"{facts.predicted_loss} (−log of the score)"),
        ("Loss on the search's weights", None if facts.measured_loss is None else f"{facts.measured_loss:.4f}"),
        ("E[α]", None if facts.expectation is None else f"{facts.expectation:.6g} (DDPNAS Eq. 9)"),
    ]
    return "\n\n".join(part for part in (markdown_table(rows) if rows else "", _facts_list(lines)) if part)


def _results(facts: CardFacts) -> str:
    rows = [
        {"metric": e.metric, "value": e.value, "split": e.split, "examples": e.num_examples} for e in facts.evaluations
    ]
    parts = [markdown_table(rows)] if rows else []
    if facts.by_class:
        names = dict.fromkeys(name for values in facts.by_class.values() for name in values)
        by_class = [
            {"class": redact(name), **{metric: values.get(name) for metric, values in facts.by_class.items()}}
            for name in names
        ]
        on = f" on {facts.evaluations[0].split}" if facts.evaluations else ""
        parts.append(f"By class{on}:\n\n{markdown_table(by_class)}")
    if facts.comparison:
        clean = [{k: redact(v) if isinstance(v, str) else v for k, v in row.items()} for row in facts.comparison]
        parts.append("Beside others, trained alike:\n\n" + markdown_table(clean))
    return "\n\n".join(parts)


def _search_rows(facts: CardFacts) -> list[tuple[str, str | None]]:
    return [*_setting_rows(facts.search_settings), *_spent_rows(facts.search_cost)]


def _training_rows(facts: CardFacts) -> list[tuple[str, str | None]]:
    data = facts.dataset_name or facts.dataset_id
    return [
        ("base model", None if facts.base_model is None else f"`{redact(facts.base_model)}`"),
        ("data", None if data is None else redact(data)),
        ("data revision", facts.dataset_revision),
        *_setting_rows(facts.training_settings),
        *_spent_rows(facts.training_cost),
    ]


def _reproduce(facts: CardFacts) -> str:
    rows = [("Seed", None if facts.seed is None else str(facts.seed))]
    rows.append(("Versions", ", ".join(f"{name} {version}" for name, version in facts.versions.items()) or None))
    command = f"```bash\n{redact_command(facts.command)}\n```" if facts.command else ""
    return "\n\n".join(part for part in (command, _facts_list(rows)) if part)


# -- words ------------------------------------------------------------------------------------------------------------


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _facts_list(rows: Sequence[tuple[str, str | None]]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in rows if value is not None)


def _setting_rows(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str | None]]:
    """Lists nested settings under dotted names. None is a setting like any other ("no bound") and is listed too."""
    rows: list[tuple[str, str | None]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            rows.extend(_setting_rows(value, f"{prefix}{name}."))
        else:
            words = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            rows.append((f"`{prefix}{name}`", REDACTED if is_secret(str(name)) and value else redact(words)))
    return rows


def _spent_rows(spent: ComputeUsed) -> list[tuple[str, str | None]]:
    return [
        ("trials run", None if spent.trials is None else cell(spent.trials)),
        ("epochs run", None if spent.epochs is None else cell(spent.epochs)),
        ("wall time", None if spent.seconds is None else f"{duration(spent.seconds)} ({spent.seconds:.0f} s)"),
        ("device", None if spent.device is None else redact(spent.device)),
        ("processes", None if spent.processes is None else cell(spent.processes)),
    ]


def _limit_words(limit: ReachedLimit) -> str:
    if limit.equal is not None:
        return f"{limit.cost} = {_amount(limit.equal)}"
    low = "" if limit.minimum is None else f"{_amount(limit.minimum)} ≤ "
    high = "" if limit.maximum is None else f" ≤ {_amount(limit.maximum)}"
    return f"{low}{limit.cost}{high}"


def _amount(value: float) -> str:
    """Returns a count in full, with its magnitude where that helps: 1,234,567 (1.23M)."""
    if value != int(value):
        return f"{value:,.6g}"
    return f"{int(value):,} ({human(value)})" if abs(value) >= 100_000 else f"{int(value):,}"


def _evaluation_words(evaluation: Evaluation) -> str:
    examples = "" if evaluation.num_examples is None else f", {evaluation.num_examples:,} examples"
    return f"{evaluation.metric} on {evaluation.split}{examples}"
