"""Evaluate segmentation networks on a test split, as anyone would load them: a table in the form of DDPNAS Table 6.

    python recipes/eval_segmentation.py --models runs/camvid --output runs/camvid/table6.md runs/camvid/table6.json
    python recipes/eval_segmentation.py --models runs/camvid --only Seq05VD          # one drive of the test
    python recipes/eval_segmentation.py --models runs/city/models/macs-5G owner/name --dataset path/to/cityscapes \
        --window 512 1024

Prints a JSON line a model, then two tables in Markdown: mean IoU, pixel accuracy, parameters, and multiply-adds at both
of Cityscapes' usual sizes; and the IoU of each class. A run's folder stands for all its networks.

Scores follow Cityscapes: one confusion matrix of the whole split; pixels whose truth is void (255, and the ids that are
not evaluated) count nowhere; a class that is neither there nor predicted is left out of the mean. Pictures go through
the processor in the model's folder, and outputs are compared at the masks' own size.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSemanticSegmentation
from transformers.utils import logging as transformers_logging

from searchhub.cli.networks import read_settings
from searchhub.costs.macs import count_macs
from searchhub.costs.params import params_per_module
from searchhub.errors import InvalidInputError, SearchhubError
from searchhub.files import write_json, write_text
from searchhub.formatting import markdown_table
from searchhub.hub.pretrained import find_folder
from searchhub.training.accelerator import make_accelerator
from searchhub.workflows.arguments import option, parse
from searchhub.workflows.evaluation import PRECISIONS, class_rows, evaluate_networks, networks_in, recorded_precision
from searchhub.workflows.sliding import SlidingWindows

SIZES = ((512, 1024), (1024, 2048))
"""Heights and widths of the pictures that multiply-adds refer to."""

UNKNOWN = (
    "FLOPs are multiply-adds of one picture. DDPNAS does not say which size those of its Table 6 refer to, and no "
    "single size fits its rows."
)


@dataclass
class Arguments:
    """The models to evaluate, and how."""

    models: list[str] = field(metadata={"help": "Model folders, run folders, or Hub ids."})
    dataset: str | None = option(
        None,
        "Hub id, parquet, a folder of pictures and masks, or one with Cityscapes' leftImg8bit and gtFine. Default: the "
        "data that each folder, or the run around it, names.",
    )
    data: list[str] | None = option(
        None, "Other arguments for the loader, like `label_names=names.txt`. Default: those of each model's training."
    )
    split: str = option("test", "Split of the data.", choices=["test", "validation", "train"])
    only: str | None = option(
        None, "Regular expression: only test pictures with it in their files' names, as those of one drive."
    )
    window: list[int] | None = option(
        None, "Height and width of windows that slide over what the processor made. Default: whole pictures."
    )
    overlap: float = option(0.25, "Share of a window that the next one covers too; logits are averaged there.")
    batch_size: int = option(1, "Pictures of one forward pass.")
    mixed_precision: str | None = option(
        None, "Precision. Default: the one in which the networks were measured for their cards.", choices=PRECISIONS
    )
    check: bool = option(False, "Fail if a model does not reach what its card says.")
    output: list[str] = option([], "Files to write: the tables to `*.md`, all numbers to `*.json`.")
    config: str | None = option(None, "YAML file of these settings. The command line wins over it.")

    def __post_init__(self) -> None:
        if self.check and self.window is not None:
            raise InvalidInputError(
                "`--check` needs whole pictures, of which cards speak, but `--window` is given. Drop one."
            )
        if self.only is not None and (self.check or self.split != "test"):
            raise InvalidInputError(
                "`--only` is a part of the test split, of which cards do not speak, but `--check` or another `--split` "
                "is given. Drop one."
            )
        if wrong := [file for file in self.output if Path(file).suffix not in (".md", ".json")]:
            raise InvalidInputError(f"`--output` must name files `*.md` or `*.json`, but names {wrong}.")


def main(argv: list[str]) -> None:
    """Print a JSON line a model, and the tables."""
    (args,) = parse((Arguments,), argv, __doc__)
    transformers_logging.disable_progress_bar()
    wrap = None if args.window is None else partial(SlidingWindows, size=tuple(args.window), overlap=args.overlap)
    if wrap is not None:
        wrap(torch.nn.Identity())  # says now what is no window
    given = {} if args.dataset is None else {"kind": "segmentation", "dataset": args.dataset}
    given |= read_settings(args.data)
    given |= {} if args.only is None else {"test_names": args.only}
    folders = [folder for name in args.models for folder in folders_of(name)]
    accelerator = make_accelerator(mixed_precision=args.mixed_precision or recorded_precision(folders))
    options = {"split": args.split, "batch_size": args.batch_size, "data": given, "wrap": wrap}
    rows: list[dict[str, Any]] = []
    for found in evaluate_networks(folders, accelerator, **options):
        row = {
            **found.to_dict(),
            **costs_of(find_folder(found.path)),
            "only": args.only,
            "window": args.window,
            "overlap": args.overlap if args.window else None,
        }
        if accelerator.is_main_process:
            print(json.dumps(row), flush=True)
        rows.append(row)
        if args.check:
            found.check()
    if not accelerator.is_main_process:
        return
    text = tables(rows)
    print(f"\n{text}")
    for file in map(Path, args.output):
        if file.suffix == ".json":
            write_json(file, {"networks": rows})
        else:
            write_text(file, text)


def folders_of(name: str) -> list[str]:
    """The models that a name stands for: a run's folder for all its networks."""
    return [str(path) for path in networks_in(name)] if Path(name).is_dir() else [name]


def costs_of(folder: Path) -> dict[str, Any]:
    """What a network is, its parameters, and its multiply-adds on one picture of each of `SIZES`, without computing."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForSemanticSegmentation.from_config(config, trust_remote_code=False).eval()
        channels = getattr(config, "num_channels", 3)
        macs = {f"{h}x{w}": count_macs(model, {"pixel_values": torch.empty(1, channels, h, w)}) for h, w in SIZES}
    head = [getattr(config, "segmentation_head", None), getattr(config, "output_stride", None)]
    words = [config.model_type, *([] if head[0] is None else [head[0]])]
    words += [] if head[1] is None else [f"output stride {head[1]}"]
    return {"backbone": ", ".join(words), "params": params_per_module(model)[""], "macs": macs}


def tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of networks in the form of Table 6, what it is of, and a table of classes, in Markdown."""
    networks = [
        {
            "Models": row["name"],
            "Backbone": row["backbone"],
            "mIoU(%)": f"{100 * row['metrics']['mean_iou']:.2f}",
            "pixel accuracy(%)": f"{100 * row['metrics']['pixel_accuracy']:.2f}",
            "Parameters(M)": f"{row['params'] / 1e6:.3f}",
            **{f"FLOPs(B) at {size}": f"{macs / 1e9:.3f}" for size, macs in row["macs"].items()},
        }
        for row in rows
    ]
    on = dict.fromkeys(
        f"{row['data']}, {row['split']}, {row['examples']:,} pictures"
        + (", " if row["only"] is None else f" with `{row['only']}` in their names, ")
        + ("whole" if row["window"] is None else f"windows of {row['window'][0]}x{row['window'][1]}")
        for row in rows
    )
    parts = [markdown_table(networks), f"Measured on {'; '.join(on)}. {UNKNOWN}"]
    parts += [markdown_table(classes) for classes in class_rows(rows).values()]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
