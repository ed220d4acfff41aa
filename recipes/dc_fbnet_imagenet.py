"""Train FBNet's supernet by gradients, divide what it samples by how it learns, train each cluster's winner (DC-NAS).

    python recipes/dc_fbnet_imagenet.py                                       # handwritten digits, minutes on a CPU
    accelerate launch recipes/dc_fbnet_imagenet.py --config recipes/dc_fbnet_imagenet.yaml

Run the same command again to go on after an interruption.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from searchhub import (
    CandidateFeatures,
    FBNetSupernetConfig,
    FBNetSupernetForImageClassification,
    LatencyTable,
    MixtureSettings,
    MixtureTrainer,
    NetworkTrainer,
    SearchResult,
    SearchTrainer,
    save_trainer,
    search,
)
from searchhub.callbacks.progress import ProgressDisplay
from searchhub.costs.table import CostTable
from searchhub.data.images import ImageTask
from searchhub.data.loading import describe
from searchhub.distribution import FloatArray
from searchhub.errors import DivergedError, InvalidInputError
from searchhub.evaluators.networks import NetworkEvaluator
from searchhub.files import write_text
from searchhub.formatting import human, markdown_table, rich_table
from searchhub.hub.card import ComputeUsed
from searchhub.networks.card_facts import Provenance
from searchhub.networks.network import MODELS
from searchhub.reports.html import write_report
from searchhub.run_folder import MIXTURE
from searchhub.searchers.dc import DCSupernetSearcher
from searchhub.searchers.division import winners_in_order
from searchhub.space import SearchSpace
from searchhub.spaces.fbnet import FBNET_CANDIDATES
from searchhub.training.mixture import MixtureResult
from searchhub.trial import DIVERGED, Budget
from searchhub.visualization.clusters import over_k_text, plot_clusters, plot_winners, summarize_clusters
from searchhub.workflows.arguments import ImageDataArguments, RecipeTrainingArguments, RunArguments, option, parse
from searchhub.workflows.ranking import narrow, rank_winners
from searchhub.workflows.reloading import reload_networks
from searchhub.workflows.stages import main_first, run, search_callbacks, settings_of, start_run


@dataclass
class SpaceArguments:
    """Sizes of the space. The defaults suit 8 x 8 pictures."""

    stem_width: int = 8
    stem_stride: int = 1
    stage_widths: list[int] = option([8, 16, 24], "Channels of each stage.")
    stage_depths: list[int] = option([1, 2, 2], "Layers of each stage.")
    stage_strides: list[int] = option([1, 2, 2], "Stride of the first layer of each stage.")
    head_width: int = 64
    candidates: list[str] = option(list(FBNET_CANDIDATES), "Blocks on offer in every layer.")
    always_expand: bool = option(True, "Whether blocks of expansion 1 have their first 1x1 convolution.")
    stride_at: str = option(
        "expansion", "Convolution of a block that takes the stride.", choices=["expansion", "depthwise"]
    )

    def supernet(self, num_labels: int, image_size: int, seed: int) -> FBNetSupernetForImageClassification:
        """Returns the supernet, with weights that start from a seed."""
        torch.manual_seed(seed)
        config = FBNetSupernetConfig(**dataclasses.asdict(self), num_labels=num_labels, image_size=image_size)
        return FBNetSupernetForImageClassification(config)


@dataclass
class MixtureArguments:
    """Settings by which the supernet is trained, and its data."""

    search_classes: int | None = option(None, "Number of classes to train the supernet on, drawn by the seed.")
    search_class_file: str | None = option(None, "File that names these classes, one per line. Default: all classes.")
    logits_size: float = option(0.2, "Share, or number, of its training pictures that train the logits.")
    mixture_epochs: int = option(16, "Epochs of training the supernet.")
    warmup_epochs: int = option(3, "First epochs, in which all candidates stay equally probable.")
    logits_learning_rate: float = option(0.01, "Learning rate of Adam on the logits.")
    logits_weight_decay: float = option(5e-4, "Weight decay of Adam on the logits.")
    temperature: float = option(5.0, "Temperature of the Gumbel-softmax in the first epoch.")
    temperature_decay: float = option(0.956, "Factor on the temperature after each epoch.")
    cost: str = option("macs", "Cost in the logits' loss: `macs`, `params`, `none`, or a file of `measure_latency`.")
    cost_factor: float = option(0.2, "α of the loss CE · α log(cost)^β.")
    cost_exponent: float = option(0.6, "β of the loss CE · α log(cost)^β.")
    feature_images: int = option(500, "n: pictures over which the candidates' mean outputs are taken.")

    def classes(self) -> int | list[str] | None:
        """Returns the classes of the search's task; None stands for all."""
        if self.search_class_file is None:
            return self.search_classes
        if self.search_classes is not None:
            raise InvalidInputError("`--search_classes` and `--search_class_file` are both given. Drop one.")
        try:
            lines = Path(self.search_class_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"`--search_class_file` must be a file of names, but: {error}.") from error
        return [line.strip() for line in lines if line.strip()]

    def settings(self) -> MixtureSettings:
        """Returns the settings of the logits."""
        return MixtureSettings(
            epochs=self.mixture_epochs,
            warmup_epochs=self.warmup_epochs,
            learning_rate=self.logits_learning_rate,
            weight_decay=self.logits_weight_decay,
            temperature=self.temperature,
            temperature_decay=self.temperature_decay,
            cost_factor=self.cost_factor,
            cost_exponent=self.cost_exponent,
        )

    def cost_table(self, costs: dict[str, CostTable]) -> CostTable | None:
        """Returns the cost table that the loss uses; None if it uses none."""
        if self.cost in ("none", *costs):
            return costs.get(self.cost)
        return LatencyTable.load(self.cost, costs["macs"].space, allow_other_device=True)


@dataclass
class DivideArguments:
    """Settings by which sampled architectures are divided."""

    num_samples: int = option(100_000, "s: number of architectures to sample by the supernet's probabilities.")
    num_clusters: int = option(3, "K: number of clusters. The most probable architecture of each is trained.")
    as_in_paper: bool = option(False, "Train as the paper does, on a cosine to 0; another end of it is refused.")

    def searcher(
        self, space: SearchSpace, table: FloatArray, logits: FloatArray, epochs: int, seed: int
    ) -> DCSupernetSearcher:
        """Returns the searcher that asks for the winners."""
        return DCSupernetSearcher(
            space,
            table=table,
            logits=logits,
            num_samples=self.num_samples,
            num_clusters=self.num_clusters,
            budget=Budget(epochs),
            seed=seed,
        )


KINDS = (ImageDataArguments, SpaceArguments, MixtureArguments, DivideArguments, RecipeTrainingArguments, RunArguments)


def main(argv: list[str]) -> None:
    """Train the supernet, divide, train the winners, choose, reload."""
    data, sizes, mixing, dividing, training, where = arguments = parse(KINDS, argv, __doc__)
    accelerator = start_run(training, where)
    say = accelerator.print
    task, search_task = main_first(accelerator, tasks, data, mixing, where.seed)
    say(f"Data: {describe(task)}")
    say(f"The supernet's: {describe(search_task)}")
    supernet, final = (sizes.supernet(t.num_labels, t.image_size, where.seed) for t in (search_task, task))
    space = supernet.search_space
    say(f"Space: {len(space.choices)} layers, {space.size:,} architectures")
    features = CandidateFeatures(supernet, search_task, accelerator, num_images=mixing.feature_images, seed=where.seed)
    # A searcher that does not know yet what to divide: it says now what would stop it after the training.
    shape = (len(space.choices), max(len(choice.candidates) for choice in space.choices))
    untold = dividing.searcher(
        space, np.ones((*shape, mixing.mixture_epochs)), np.zeros(shape), training.epochs, where.seed
    )
    trainer = SearchTrainer(
        final, task, training.search_arguments(where, untold, train_on="train"), accelerator=accelerator
    )
    mixture = MixtureTrainer(
        supernet,
        search_task,
        training.search_settings(),
        accelerator,
        mixture=mixing.settings(),
        cost=mixing.cost_table({table.name: table for table in trainer.costs}),
        recorder=features,
        seed=where.seed,
    )
    trainer.check()
    if where.dry_run:
        say(plan(mixture, trainer.costs[0], training, dividing))
        return
    with ProgressDisplay(2, enabled=accelerator.is_main_process) as progress:
        learned = train_mixture(mixture, trainer.folder / MIXTURE, progress)
        inherit(final, supernet)
        searcher = dividing.searcher(space, features.table(), learned.logits, training.epochs, where.seed)
        told = provenance(trainer, searcher, mixture, learned, mixing, features)
        winners = trainer.network_trainer(SearchResult(space, ()).with_costs(*trainer.costs), provenance=told)
        evaluator = NetworkEvaluator(winners, lambda trial: f"cluster-{trial.number}", on_step=progress.step)
        callbacks = search_callbacks(accelerator, progress, "train the winners", settings_of(arguments))
        result = search(searcher, evaluator, run_dir=trainer.folder, callbacks=callbacks)
    conclude(result, searcher, winners, evaluator)


def tasks(data: ImageDataArguments, mixing: MixtureArguments, seed: int) -> tuple[ImageTask, ImageTask]:
    """The winners', and the supernet's: that trains weights and logits on two parts of train.

    So nothing is trained on the pictures by which winners are compared.
    """
    classes = mixing.classes()
    return data.task(seed), data.task(seed, classes=classes, logits_size=mixing.logits_size)


def plan(mixture: MixtureTrainer, macs: CostTable, training: RecipeTrainingArguments, dividing: DivideArguments) -> str:
    """What the run would do."""
    settings, (weights, logits) = mixture.mixture_settings, mixture.steps
    everything = macs.fixed + sum(float(entry.sum()) for entry in macs.entries)
    return (
        f"Supernet: {settings.epochs} epochs of {weights} steps on weights and, but for the first "
        f"{settings.warmup_epochs}, {logits} on logits, {mixture.settings.batch_size} examples each\n"
        f"  all candidates at once: {human(everything)} multiply-adds an example, "
        f"{human(sum(p.numel() for p in mixture.supernet.parameters()))} parameters\n"
        f"Division: {dividing.num_samples:,} architectures into {dividing.num_clusters} clusters\n"
        f"Winners: {dividing.num_clusters} networks, {training.epochs} epochs each"
    )


def train_mixture(mixture: MixtureTrainer, folder: Path, progress: ProgressDisplay) -> MixtureResult:
    """Train the supernet as a stage of the progress display, or go on with it."""
    with progress.stage("train the supernet", mixture.mixture_settings.epochs) as stage:
        mixture.on_step = stage.step
        learned = mixture.train(
            folder, on_epoch=lambda line, done: stage.advance(n=done - stage.done), say=progress.message
        )
        stage.advance(n=len(learned.history) - stage.done)  # an earlier process did them
    return learned


def provenance(
    trainer: SearchTrainer,
    searcher: DCSupernetSearcher,
    mixture: MixtureTrainer,
    learned: MixtureResult,
    mixing: MixtureArguments,
    features: CandidateFeatures,
) -> Provenance:
    """What cards tell of the supernet's training and of the division."""
    return Provenance(
        search_settings={
            "searcher": {k: v for k, v in searcher.config.items() if k not in ("table", "logits")},
            "mixture": {
                **mixture.mixture_settings.to_dict(),
                "cost": mixing.cost,
                "classes": mixture.task.num_labels,
            },
            "features": features.config,
            "training": mixture.settings.to_dict(),
        },
        search_cost=ComputeUsed(
            epochs=mixing.mixture_epochs,
            seconds=sum(line["seconds"] for line in learned.history),
            device=trainer.accelerator.device.type,
            processes=trainer.accelerator.num_processes,
        ),
        command=trainer.command,
    )


def conclude(
    result: SearchResult, searcher: DCSupernetSearcher, trainer: NetworkTrainer, evaluator: NetworkEvaluator
) -> None:
    """Put the winners in order, save the trainer, load the winners anew, and tell what came of it."""
    folder, accelerator = trainer.folder, trainer.accelerator
    if not winners_in_order(result):
        raise DivergedError(
            f"At least one winner must not diverge in its full training, but all {searcher.num_clusters} did. Lower "
            f"`--final_learning_rate`, with another `--output_dir` into which `{folder / MIXTURE}` is copied: then the "
            "supernet is not trained again."
        )
    result = result.with_costs(*trainer.result.costs.values())
    if accelerator.is_main_process:
        result = summarize_clusters(result, searcher)
    trainer = dataclasses.replace(trainer, result=result)
    save_trainer(trainer)
    rows = rank_winners(result, evaluator.reports(result.history), trainer)
    accelerator.end_training()
    if not accelerator.is_main_process:
        return
    pictures = draw(folder / "report", result, searcher)
    write_text(folder / "report" / "networks.md", markdown_table(rows) + "\n")
    models = [folder / MODELS / row["network"] for row in rows]
    kind = trainer.task.source.get("kind")
    reload_networks(models, mixed_precision=str(accelerator.mixed_precision), kind=kind)
    title = f"The most probable architecture of each cluster, trained alike; {trainer.task.metric_name}"
    Console().print(rich_table(narrow(rows), title=title))
    if lost := [evaluator.name(r.trial) for r in result.history if DIVERGED in r.metrics]:
        print(f"Diverged in full training, and not published: {', '.join(lost)}")
    print(f"Chosen, the best on validation: {models[0]}; table: {folder / 'report' / 'networks.md'}")
    print(f"Pictures: {', '.join(map(str, pictures))}")
    print(f"Report, one file to open in any browser: {write_report(folder)}")


def inherit(final: FBNetSupernetForImageClassification, supernet: FBNetSupernetForImageClassification) -> None:
    """Give the winners' supernet the trained weights: all but the classifier, where the search had other classes."""
    shapes = {name: tensor.shape for name, tensor in final.state_dict().items()}
    kept = {name: tensor for name, tensor in supernet.state_dict().items() if tensor.shape == shapes[name]}
    final.load_state_dict(kept, strict=False)


def draw(folder: Path, result: SearchResult, searcher: DCSupernetSearcher) -> list[Path]:
    """The pictures of the winners and of the clusters, and the clusters in numbers beside them."""
    pictures = [folder / "winners.png"]
    plot_winners(result, pictures[0])
    if searcher.num_clusters > 1:
        pictures.append(folder / "clusters.png")
        plot_clusters(result, pictures[1], table=searcher.table)
        write_text(folder / "clusters.md", over_k_text(result))
    return pictures


if __name__ == "__main__":
    run(main)
