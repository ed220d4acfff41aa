r"""Make a BERT checkpoint smaller with one search, for every limit at once.

    accelerate launch recipes/ddp_bert_glue.py --model_name_or_path google-bert/bert-base-uncased --task_name sst2 \
        --max_params 67e6 --output_dir runs/sst2

Fine-tunes the checkpoint, unless its classifier has the data's labels already; orders its heads and neurons by
importance, searches, and fine-tunes a network for each limit. Run the same command again to go on after an
interruption; add limits to get more networks from the same search.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from transformers.utils import logging as transformers_logging

from searchhub import SearchTrainer
from searchhub.data.describe import describe_task
from searchhub.data.text import TextTask
from searchhub.data.text_loading import load_tokenizer
from searchhub.errors import InvalidInputError
from searchhub.models.bert.plain_bert import plain_where_possible
from searchhub.models.bert.supernet_bert import BertSupernetForSequenceClassification
from searchhub.networks.choose import Finder
from searchhub.networks.network import read_original
from searchhub.run_folder import LATENCY
from searchhub.training.settings import TrainingSettings
from searchhub.trial import SCORING
from searchhub.workflows.arguments import RunArguments, parse
from searchhub.workflows.stages import main_first, run, settings_of, start_run
from searchhub.workflows.text_arguments import (
    UNIFORM,
    BertArguments,
    BertNetworkArguments,
    BertSearcherArguments,
    BertTrainingArguments,
    TextDataArguments,
    uniform_layers,
)

KINDS = (
    TextDataArguments,
    BertArguments,
    BertSearcherArguments,
    BertTrainingArguments,
    BertNetworkArguments,
    RunArguments,
)


def main(argv: list[str]) -> None:
    """Fine-tune, order, search, generate, fine-tune again, compare, reload."""
    data, sizes, searching, training, wanted, where = arguments = parse(KINDS, argv, __doc__)
    training.check(searching)
    transformers_logging.set_verbosity_error()
    accelerator = start_run(training, where)
    say = accelerator.print
    task = main_first(accelerator, data.task, load_tokenizer(sizes.model_name_or_path), where.seed)
    say(f"Data: {describe_task(task)}")
    original = sizes.original(task, where.seed, accelerator)
    supernet = original.supernet
    searcher = searching.build(supernet.search_space, where.seed)
    say(f"Space: {searcher.space.size:,} architectures of {sizes.model_name_or_path}")
    args = training.bert_arguments(where, searcher, sizes, searching, original)
    trainer = SearchTrainer(
        supernet,
        task,
        dataclasses.replace(args, publish_as=plain_where_possible if wanted.plain_bert else None),
        score=searching.score,
        evaluator_options=searching.evaluator_options(),
        objective=searching.find(supernet),
        costs=partial(wanted.costs, supernet, None if where.dry_run else Path(where.output_dir) / LATENCY, accelerator),
        more_costs=wanted.latency_tables(supernet),
        accelerator=accelerator,
        tracked=settings_of(arguments),
    )
    check_smoothing(task, trainer.final_training)
    trainer.check()  # before latency is measured for the limits
    limits, baselines = wanted.limits_within(trainer.costs), baselines_of(wanted, searching, supernet)
    if where.dry_run:
        say(trainer.estimate(*limits))
        networks = len(limits) * (1 + wanted.random_networks + len(baselines)) + wanted.train_largest
        say(f"Before the search: the original, {original.epochs} epochs. After it: at most {networks} networks.")
        return
    trainer.check(*limits, random_networks=wanted.random_networks)
    trainer.search()
    if wanted.uniform_network and not supernet.whole_layers:
        trainer.progress.message("No uniform networks: the sizes on offer leave no layer whole.")
    options = {"random_networks": wanted.random_networks, "largest": wanted.train_largest, "baselines": baselines}
    networks = trainer.train(*limits, **options)
    trainer.summarize(networks, also=closing_words(trainer, searching) if accelerator.is_main_process else ())


def closing_words(trainer: SearchTrainer, searching: BertSearcherArguments) -> list[str]:
    """Returns lines about what the original reached before the search, and how fast it judged."""
    facts = read_original(trainer.folder) or {}
    how = "fine-tuned before the search" if facts["epochs"] else "taken as it is"
    lines = [f"The original, {how}: {facts['metrics']}", *([facts["note"]] if "note" in facts else [])]
    scored = [r for r in trainer.search().history if r.trial.round == SCORING]
    if searching.judge == "parent" and scored:
        texts = min(searching.judged, trainer.task.size("validation"))
        rate = texts * len(scored) / max(1e-9, sum(r.seconds for r in scored))
        lines.append(f"It judged {len(scored)} architectures on {texts:,} texts each, {rate:,.0f} texts a second.")
    return lines


def baselines_of(
    wanted: BertNetworkArguments, searching: BertSearcherArguments, supernet: BertSupernetForSequenceClassification
) -> Mapping[str, Finder]:
    """What finds the baselines beside each network: evenly spread whole layers, unless these are what is trained."""
    if not wanted.uniform_network or searching.searcher == UNIFORM or not supernet.whole_layers:
        return {}
    return {UNIFORM: uniform_layers(supernet)}


def check_smoothing(task: TextTask, final: TrainingSettings) -> None:
    """Check before work starts that labels that are numbers are not smoothed."""
    if task.regression and final.label_smoothing:
        raise InvalidInputError(
            f"`--final_label_smoothing` must be 0 for `{task.name}`, whose label is a number and no class. Drop it."
        )


if __name__ == "__main__":
    run(main)
