"""The commands `publish` and `export`: they prepare networks for others, and for other runtimes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchhub.cli.options import AsJson

if TYPE_CHECKING:
    from searchhub.result import SearchResult


class What(str, Enum):
    """The part of a run that is published."""

    model = "model"
    result = "result"
    supernet = "supernet"


def publish(
    run: Annotated[str, typer.Argument(metavar="RUN_OR_MODEL", help="Folder of a run, a model or a supernet.")],
    repo_id: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="Repository on the Hub; made where there is none.")
    ],
    what: Annotated[
        What | None,
        typer.Option(
            "--what", help="Part of a run. Default: its result; for other folders what is in them.", show_default=False
        ),
    ] = None,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Visibility of a new repository.", show_default=False)
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Branch to push to.", show_default=False)] = None,
    message: Annotated[str | None, typer.Option("--message", help="Message of the commit.", show_default=False)] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of pushing.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Push over something else.")] = False,
    as_json: AsJson = False,
) -> None:
    """Push a model, a search result or a supernet to the Hub, in one commit. Log in first: hf auth login.

    Example: searchhub publish runs/mine/models/macs-300M me/mobile-300M --private
    """
    from searchhub.cli.output import print_json, print_line
    from searchhub.hub.publish import publish as push

    done = push(
        _what(Path(run), what),
        repo_id,
        private=private,
        revision=revision,
        commit_message=message,
        create_pr=create_pr,
        overwrite=overwrite,
    )
    print_json(dict(vars(done))) if as_json else print_line(str(done))


def _what(folder: Path, what: What | None) -> Path | SearchResult:
    """Returns what `searchhub.publish` is given."""
    from searchhub.errors import InvalidInputError
    from searchhub.hub.contents import MODEL_CONFIG
    from searchhub.networks.network import MODELS
    from searchhub.result import SearchResult

    if what is What.result:
        return SearchResult.load(folder)
    if what is None or (folder / MODEL_CONFIG).exists():
        return folder
    if what is What.supernet:
        return folder / "supernet"
    models = sorted(path.parent for path in folder.glob(f"{MODELS}/[!.]*/{MODEL_CONFIG}"))
    if len(models) != 1:
        names = ", ".join(path.name for path in models) or "none"
        raise InvalidInputError(
            f"`{folder}` must hold one network for `--what model` to mean it, but holds {names}. Name its folder, in "
            f"`{folder / MODELS}`."
        )
    return models[0]


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder of a model, or its Hub id.")],
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="File to write.")] = Path("model.onnx"),
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Examples in the call that is timed.")] = 1,
    sequence_length: Annotated[
        int | None, typer.Option("--sequence-length", min=1, help="Tokens in that call, of text.", show_default=False)
    ] = None,
    opset: Annotated[
        int | None, typer.Option("--opset", help="Version of ONNX operators. Default: torch's.", show_default=False)
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of torch and onnxruntime.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Export a network to ONNX, check that it computes the same, and time both.

    Example: searchhub export runs/mine/models/macs-300M --output model.onnx
    """
    from searchhub.cli.output import hide_loading, print_facts, print_json
    from searchhub.cli.source import locate
    from searchhub.export.onnx import export_onnx
    from searchhub.hub.contents import MODEL_CONFIG

    hide_loading()
    locate(model, MODEL_CONFIG)  # the Hub is not asked about a slip in a path
    done = export_onnx(
        model, output, batch_size=batch_size, sequence_length=sequence_length, opset=opset, threads=threads
    )
    if as_json:
        print_json(done.to_dict())
        return
    print_facts(
        [
            ("written", f"{done.path} ({done.bytes:,} bytes, opset {done.opset})"),
            ("largest difference", f"{done.max_abs_difference:.2g} on inputs of {len(done.compared)} shapes"),
            ("torch", f"{done.torch_ms:.3g} ms"),
            ("onnxruntime", f"{done.onnxruntime_ms:.3g} ms"),
            ("timed", f"{done.timed} on {done.device}, {done.threads} thread{'s' * (done.threads != 1)}"),
        ]
    )
