"""Divide what a finished DDPNAS search samples: early-stop from its shared weights, train the winners (DC-NAS).

    python recipes/ddp_mobile.py --output_dir runs/quickstart
    python recipes/dc_on_ddp.py --search runs/quickstart --output_dir runs/quickstart-divided

Architectures are sampled by the search's θ, and their networks start from its supernet's weights; the winners are
trained as the search's own networks were, but on the training split only, so that validation can choose among them.
Run the same command again to go on after an interruption; `--early_from` is as in dc_channels_cifar100.py.

For spaces whose networks are trained as they are searched, with the same layers in each: those of ddp_mobile.py and
ddp_mobile_imagenet.py. Cells have other sizes in a search, and are derived from it; networks of BERT differ in depth.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

from searchhub import ScratchEvaluator, make_accelerator
from searchhub.callbacks.progress import ProgressDisplay
from searchhub.errors import InvalidInputError, SearchhubError
from searchhub.networks.saved_trainer import load_trainer, save_trainer
from searchhub.result import SearchResult
from searchhub.workflows.arguments import DivideArguments, option, parse
from searchhub.workflows.divide_and_conquer import divide_and_conquer


@dataclass
class SourceArguments:
    """Which search, and where the run goes."""

    search: str = option("runs/quickstart", "Folder of a finished run of DDPNAS.")
    output_dir: str = option("runs/divided", "The run's own folder.")
    dataset: str | None = option(None, "Where the search's data are now. Default: where they were.")
    epochs: int | None = option(None, "Of the winners' training. Default: as the search's networks.")
    proxy_learning_rate: float | None = option(None, "Peak of early-stopped training. Default: as the networks'.")
    proxy_batch_size: int | None = option(None, "Of early-stopped training. Default: as the networks'.")
    mixed_precision: str | None = option(
        None, "Of early-stopped and final training. Default: as the search's.", choices=["no", "fp16", "bf16"]
    )
    config: str | None = option(None, "YAML file of these settings; the command line wins.")
    seed: int = option(0, "Of sampling, clustering and training.")


def main(argv: list[str]) -> None:
    """Early-stop, divide, train the winners, choose."""
    source, dividing = parse((SourceArguments, DivideArguments), argv, __doc__)
    accelerator = None
    if source.mixed_precision is not None:
        accelerator = make_accelerator(mixed_precision=source.mixed_precision, seed=source.seed)
    data = {} if source.dataset is None else {"dataset": source.dataset}
    of_search = load_trainer(source.search, accelerator, data=data)
    accelerator, result = of_search.accelerator, of_search.result
    say = accelerator.print
    say(f"Processes: {accelerator.num_processes} on {accelerator.device.type}")
    if result.distribution is None:
        raise InvalidInputError(f"`--search` must be a run with a θ, but `{source.search}` has none. Run DDPNAS first.")
    if of_search.supernet.final is not of_search.supernet:
        raise InvalidInputError(
            f"`--search` must be a run whose networks are trained as they are searched, but those of "
            f"{result.space.name} have other sizes, and are derived. Train its networks with their own recipe."
        )
    say(f"Search: {result.space.name}, {result.space.size:,} architectures, on {of_search.task.name}")
    epochs = of_search.epochs if source.epochs is None else source.epochs
    searcher = dividing.searcher(result.space, epochs, source.seed, result.distribution.theta)
    say(dividing.words(searcher))
    settings = of_search.settings
    proxy = {"learning_rate": source.proxy_learning_rate, "batch_size": source.proxy_batch_size}
    settings = dataclasses.replace(settings, **{name: value for name, value in proxy.items() if value is not None})
    with ProgressDisplay(1, enabled=accelerator.is_main_process) as progress:
        early = ScratchEvaluator(
            of_search.supernet,
            of_search.task,
            settings,
            accelerator,
            inherit_weights=True,
            features=dividing.features,
            feature_examples=dividing.feature_examples,
            seed=source.seed,
            on_step=progress.step,
        )
        plain = {name: value for name, value in searcher.config.items() if name != "probabilities"}
        trainer = dataclasses.replace(
            of_search,
            result=SearchResult(result.space, ()).with_costs(*result.costs.values()),
            epochs=epochs,
            seed=source.seed,
            folder=Path(source.output_dir),
            train_on="train",
            search_settings={**of_search.search_settings, "divided": {**plain, "sampled by": "θ of the search"}},
            command=["python", *sys.argv],
        )
        callbacks = [progress.callback("early-stop, divide, train the winners")]
        options = {"early_from": dividing.early_from, "callbacks": callbacks, "on_step": progress.step}
        found = divide_and_conquer(searcher, early, trainer, **options)
    save_trainer(found.trainer)
    accelerator.end_training()
    if accelerator.is_main_process:
        found.tell()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SearchhubError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to go on.", file=sys.stderr)
        sys.exit(130)
