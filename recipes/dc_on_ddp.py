"""Divide what a finished DDPNAS search samples: early-stop from its shared weights, train the winners (DC-NAS).

    python recipes/ddp_mobile.py --output_dir runs/quickstart
    python recipes/dc_on_ddp.py --search runs/quickstart --output_dir runs/quickstart-divided

Architectures are sampled by the search's θ, and their networks start from its supernet's weights; the winners are
trained as the search's own networks were, but on the training split only, so that validation can choose among them.
Run the same command again to go on after an interruption; `--early_from` is as in dc_channels_cifar100.py.

For spaces whose networks are trained as they are searched, with the same layers in each: those of ddp_mobile.py, with
whichever configuration. Cells have other sizes in a search, and are derived from it; networks of BERT differ in depth.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

from searchhub import NetworkTrainer, ScratchEvaluator, SearchResult, load_trainer, make_accelerator
from searchhub.errors import InvalidInputError
from searchhub.workflows.arguments import DivideArguments, option, parse
from searchhub.workflows.divide_and_conquer import divide_and_conquer
from searchhub.workflows.stages import run


@dataclass
class SourceArguments:
    """The search to start from, and the settings of this run."""

    search: str = option("runs/quickstart", "Folder of a finished run of DDPNAS.")
    output_dir: str = option("runs/divided", "The run's own folder.")
    dataset: str | None = option(None, "Path or Hub id of the search's data now. Default: as before.")
    epochs: int | None = option(None, "Epochs of the winners' training. Default: as the search's networks.")
    proxy_learning_rate: float | None = option(
        None, "Peak learning rate of early-stopped training. Default: as the networks'."
    )
    proxy_batch_size: int | None = option(None, "Batch size of early-stopped training. Default: as the networks'.")
    mixed_precision: str | None = option(
        None, "Precision of early-stopped and final training. Default: as the search's.", choices=["no", "fp16", "bf16"]
    )
    trust_code: bool = option(False, "Whether code outside of searchhub is imported that the search's folder names.")
    config: str | None = option(None, "YAML file of these settings. The command line wins over it.")
    seed: int = option(0, "Seed of sampling, clustering and training.")

    def load(self) -> NetworkTrainer:
        """Returns the trainer of the search.

        Raises:
            InvalidInputError: The run has no θ to sample by, or its networks are not trained as they are searched.
        """
        accelerator = None
        if self.mixed_precision is not None:
            accelerator = make_accelerator(mixed_precision=self.mixed_precision, seed=self.seed)
        data = {} if self.dataset is None else {"dataset": self.dataset}
        found = load_trainer(self.search, accelerator, data=data, trust_code=self.trust_code)
        if found.result.distribution is None:
            raise InvalidInputError(
                f"`--search` must be a run with a θ, but `{self.search}` has none. Run DDPNAS first."
            )
        if found.supernet.final is not found.supernet:
            raise InvalidInputError(
                f"`--search` must be a run whose networks are trained as they are searched, but those of "
                f"{found.result.space.name} have other sizes, and are derived. Train these with their own recipe."
            )
        return found


def main(argv: list[str]) -> None:
    """Early-stop, divide, train the winners, choose."""
    source, dividing = parse((SourceArguments, DivideArguments), argv, __doc__)
    searched = source.load()
    accelerator, result = searched.accelerator, searched.result
    say = accelerator.print
    say(f"Processes: {accelerator.num_processes} on {accelerator.device.type}")
    say(f"Search: {result.space.name}, {result.space.size:,} architectures, on {searched.task.name}")
    epochs = searched.epochs if source.epochs is None else source.epochs
    searcher = dividing.searcher(result.space, epochs, source.seed, result.distribution.theta)
    say(dividing.words(searcher))
    proxy = {"learning_rate": source.proxy_learning_rate, "batch_size": source.proxy_batch_size}
    settings = dataclasses.replace(searched.settings, **{n: value for n, value in proxy.items() if value is not None})
    early = ScratchEvaluator(
        searched.supernet,
        searched.task,
        settings,
        accelerator,
        inherit_weights=True,
        seed=source.seed,
        **dividing.recorded(),
    )
    plain = {name: value for name, value in searcher.config.items() if name != "probabilities"}
    told = {**searched.provenance.search_settings, "divided": {**plain, "sampled by": "θ of the search"}}
    winners = dataclasses.replace(
        searched,
        result=SearchResult(result.space, ()).with_costs(*result.costs.values()),
        epochs=epochs,
        seed=source.seed,
        folder=Path(source.output_dir),
        train_on="train",
        provenance=dataclasses.replace(searched.provenance, search_settings=told, command=["python", *sys.argv]),
    )
    divide_and_conquer(searcher, early, winners, early_from=dividing.early_from).conclude()


if __name__ == "__main__":
    run(main)
