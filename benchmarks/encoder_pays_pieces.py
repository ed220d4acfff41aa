"""What `encoder_pays.py` measures, a piece at a time: searches judged by the parent, their rivals, trained networks."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from bert_pruning import Pruned, as_searched, cost_of, prune_to
from transformers import PreTrainedModel

from searchhub import Architecture, Limit, generate
from searchhub.costs.onnx_session import in_onnxruntime
from searchhub.costs.params import params_table
from searchhub.costs.table import CostTable
from searchhub.costs.timing import Stopwatch
from searchhub.data.distilled import DistilledTask, JudgedTask
from searchhub.data.task import Batch, Split, Task
from searchhub.data.text import TextTask
from searchhub.data.unlabelled import teachable
from searchhub.data.view import TaskView
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.evaluators.supernet import SupernetEvaluator
from searchhub.files import write_json
from searchhub.generation import largest_within, sample_within
from searchhub.library import single_changes, sum_of_changes
from searchhub.models.bert.importance_bert import importance, order_by, order_by_importance
from searchhub.models.bert.plain_bert import as_plain_bert
from searchhub.models.bert.supernet_bert import BertSupernetForSequenceClassification
from searchhub.models.identity import weights_digest
from searchhub.networks.original import AfterTraining, OriginalTrainer, importance_batches
from searchhub.result import SearchResult
from searchhub.run_folder import TEACHER
from searchhub.scoring import ScoringSearcher, refine
from searchhub.search import search
from searchhub.searchers.ddp import DDPSearcher
from searchhub.space import SearchSpace
from searchhub.spaces.bert import DEPTH, full_width, heads_choice, intermediate_choice, kept_layers
from searchhub.training.batches import derive_seed
from searchhub.training.distillation import kept_outputs, with_outputs
from searchhub.training.fit import fit
from searchhub.training.loop import evaluate, outputs
from searchhub.training.settings import TrainingSettings
from searchhub.trial import SCORED, SCORING, Budget, Trial
from searchhub.workflows.compression import Original

THIS, LIBRARY, PAPER, RANDOM, AT_DEPTH = "this", "library", "paper", "random", "at_depth"
DEEP, WIDE, LARGEST, MAGNITUDE, FISHER = "uniform_depth", "uniform_width", "largest", "magnitude", "fisher"
ORIGINAL = "original"
ROWS = (THIS, LIBRARY, PAPER, RANDOM, AT_DEPTH, DEEP, WIDE, LARGEST, MAGNITUDE, FISHER)
OWN_ORDER = (MAGNITUDE, FISHER)
"""Rows that keep other heads and neurons than the first ones of the search's order."""
DRAWN = (RANDOM, AT_DEPTH)
"""Rows of several networks."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that decides the figures, beside data and checkpoint.

    Args:
        steps: Optimizer steps by which shared weights are trained.
        scored: Architectures that are scored after them.
        refined: Architectures that are proposed near the optimum of each limit, and scored.
        judged: Validation texts on which the parent judges.
        epochs: Passes of the training of each network.
        search: Settings of the search's training.
        final: Settings of the training of each network.
        start: Weights that all networks start from: those after the search, "supernet", or the "original" ones.
        random_networks: Networks of each row that is drawn.
    """

    steps: int
    scored: int
    refined: int
    judged: int
    epochs: int
    search: TrainingSettings
    final: TrainingSettings
    start: str
    random_networks: int


class FewerToValidate(TaskView):
    """A task of which only some validation examples count, evenly over the split: as many as judge the other searches.

    Args:
        task: The task.
        n: How many, at most.
    """

    def __init__(self, task: Task, n: int) -> None:
        super().__init__(task)
        size = task.size("validation")
        self._rows = torch.arange(min(n, size)) * size // min(n, size)

    def size(self, split: Split) -> int:
        return len(self._rows) if split == "validation" else self.task.size(split)

    def batch(self, split: Split, indices: torch.Tensor, *, device: torch.device, seed: int | None = None) -> Batch:
        rows = self._rows[indices] if split == "validation" else indices
        return self.task.batch(split, rows, device=device, seed=seed)

    def order(self, split: Split, *, batch_size: int, seed: int) -> torch.Tensor:
        return self.task.order(split, batch_size=batch_size, seed=seed)

    def fingerprint(self) -> str:
        return self.fingerprint_with(self._rows)


class Parent:
    """The fine-tuned original, ordered by importance, with what it says of all texts; made once for all seeds.

    Args:
        original: The checkpoint.
        task: The texts.
        accelerator: Accelerator of this process.
        folder: Folder of all pieces.
        training: Settings of its fine-tuning.
        seed: Seed of that.
        hidden: Whether hidden states are kept, too.
    """

    def __init__(
        self,
        original: Original,
        task: TextTask,
        accelerator: Accelerator,
        folder: Path,
        training: TrainingSettings,
        seed: int,
        hidden: bool,
    ) -> None:
        self.supernet, self.task, self.accelerator, self.folder = original.supernet, task, accelerator, folder
        full = self.supernet.full_architecture

        def order(supernet: Any) -> None:
            order_by_importance(supernet, self.batches)

        self.batches = importance_batches(task, 512, training.batch_size, self.supernet.device, seed)
        trainer = OriginalTrainer(
            self.supernet,
            full,
            task,
            training,
            accelerator,
            epochs=original.epochs,
            seed=seed,
            folder=folder,
            then=AfterTraining(order, {"order": "first_order", "order_examples": 512, "order_seed": seed}),
        )
        self.facts = trainer.train(_every_minute("the original"))
        self.whole = self.supernet.subnet_of_any_size(full)
        self.logits, self.hidden = kept_outputs(
            teachable(task),
            self.whole,
            accelerator,
            folder / TEACHER,
            {"teacher": weights_digest(self.supernet)},
            hidden=hidden,
            on_step=_every_minute("the original's outputs"),
            say=print,
        )
        self.size = params_table(self.supernet, embeddings=False)
        self.original_size = _encoder_params(self.supernet, full)

    def judged(self, n: int) -> JudgedTask:
        """The task whose labels are the parent's outputs."""
        return JudgedTask(teachable(self.task), self.logits, self.hidden, judged=n)

    def taught(self, settings: TrainingSettings) -> DistilledTask:
        """The task of the final training."""
        return with_outputs(self.task, self.logits, self.hidden, labels=settings.distillation_weight < 1)


class Seed:
    """Everything that is measured with one seed.

    Args:
        parent: The original.
        settings: The settings.
        seed: Seed of search and training.
    """

    def __init__(self, parent: Parent, settings: Settings, seed: int) -> None:
        self.parent, self.settings, self.seed = parent, settings, seed
        self.space, self.accelerator = parent.supernet.search_space, parent.accelerator
        self.folder = parent.folder / f"seed{seed}"
        self._of_magnitude: dict[Any, Pruned] = {}

    # -- searches -----------------------------------------------------------------------------------------------------

    def _evaluator(self, supernet: Any, task: Any, training: TrainingSettings, **options: Any) -> SupernetEvaluator:
        return SupernetEvaluator(supernet, task, training, self.accelerator, seed=self.seed, **options)

    @cached_property
    def search(self) -> tuple[SearchResult, SupernetEvaluator]:
        """The search, and the evaluator with its final weights."""
        settings = self.settings
        trials = DDPSearcher(self.space, estimation_epochs=1, seed=self.seed).num_trials
        each = max(1, round(settings.steps / trials))
        ddp = DDPSearcher(self.space, estimation_epochs=1, seed=self.seed, budget=Budget(1, each))
        searcher = ScoringSearcher(ddp, scored=settings.scored, sizes=self.parent.size)
        evaluator = self._evaluator(
            copy.deepcopy(self.parent.supernet),
            self.parent.judged(settings.judged),
            dataclasses.replace(settings.search, distillation_weight=1.0),
            num_trials=searcher.trained_trials,
            max_steps_per_trial=each,
            sizes=self.parent.size,
        )
        started = time.process_time()
        result = search(searcher, evaluator, run_dir=self.folder / "search")
        self._keep_seconds("search", time.process_time() - started)
        return result.with_costs(self.parent.size), evaluator

    @cached_property
    def paper(self) -> SearchResult:
        """DDPNAS as written, on labels: a path a trial, accuracy, mean, T = 3, γ = .8, pruning, E[α]; equal steps."""
        trials = DDPSearcher(self.space, seed=self.seed).num_trials
        each = max(1, round(self.settings.steps / trials))
        searcher = DDPSearcher(self.space, seed=self.seed, budget=Budget(1, each))
        evaluator = self._evaluator(
            copy.deepcopy(self.parent.supernet),
            FewerToValidate(self.parent.task, self.settings.judged),
            dataclasses.replace(self.settings.search, min_learning_rate=0.0, hidden_weight=0.0),
            num_trials=searcher.num_trials,
            max_steps_per_trial=each,
            paths="trial",
            score="metric",
        )
        started = time.process_time()
        result = search(searcher, evaluator, run_dir=self.folder / "paper")
        self._keep_seconds("paper", time.process_time() - started)
        return result.with_costs(self.parent.size)

    def refined(self, limit: Limit) -> SearchResult:
        """The search with near-optimal architectures of a limit scored whole."""
        result, evaluator = self.search
        file = self.folder / f"refined{self.settings.refined}-{limit.max:g}.json"
        if not file.exists():
            started = time.process_time()
            found = refine(result, [limit], evaluator, self.settings.refined, first=len(result.history), seed=self.seed)
            write_json(file, found.to_dict())
            self._keep_seconds(file.stem, time.process_time() - started)
        return SearchResult.from_dict(json.loads(file.read_text(encoding="utf-8"))).with_costs(self.parent.size)

    @cached_property
    def untrained(self) -> SupernetEvaluator:
        """What scores cuts of the original that nobody trained."""
        training = dataclasses.replace(self.settings.search, distillation_weight=1.0)
        return self._evaluator(self.parent.supernet, self.parent.judged(self.settings.judged), training, num_trials=1)

    @cached_property
    def library(self) -> SearchResult:
        """The sum of single changes of the original."""
        whole = full_width(self.space)[0]
        scores = self.scores(single_changes(self.space, whole), self.untrained, "library")
        result, _ = self.search
        return dataclasses.replace(result, prediction=sum_of_changes(self.space, whole, scores))

    def scores(
        self, architectures: Sequence[Architecture], evaluator: SupernetEvaluator, name: str
    ) -> dict[Architecture, float]:
        """Scores of architectures by forward passes alone; what is known is read."""
        file = self.folder / f"scores-{name}.json"
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        keys = {a: json.dumps(a.to_dict(), sort_keys=True) for a in architectures}
        new = [a for a in architectures if keys[a] not in known]
        if new:
            started = time.process_time()
            trials = [Trial(i, a, SCORED, SCORING) for i, a in enumerate(new)]
            known |= {keys[r.trial.architecture]: r.score for r in evaluator(trials)}
            write_json(file, known)
            self._keep_seconds(f"scores-{name}", time.process_time() - started)
        return {a: known[keys[a]] for a in architectures}

    # -- networks -----------------------------------------------------------------------------------------------------

    def architectures(self, limit: Limit, rows: Sequence[str]) -> dict[str, Architecture]:
        """The architectures of some rows within a limit, by the names of the networks; rows that find none drop out."""
        best = Architecture(generate(self.refined(limit), limit))
        finders: dict[str, Callable[[], Architecture]] = {
            THIS: lambda: best,
            LIBRARY: lambda: generate(self.library, limit, use_budget=False),
            PAPER: lambda: generate(self.paper, limit, objective="expectation"),
            LARGEST: lambda: largest_within(self.search[0], limit),
            WIDE: lambda: self._first_within(limit, self._uniform_widths()),
            DEEP: lambda: self._first_within(limit, self.parent.supernet.whole_layers),
            MAGNITUDE: lambda: self._pruned(limit).architecture,
            FISHER: lambda: self._fisher(limit),
        }
        found: dict[str, Architecture] = {}
        for row in rows:
            found |= self._found(row, limit, finders.get(row), best)
        return found

    def _found(
        self, row: str, limit: Limit, find: Callable[[], Architecture] | None, best: Architecture
    ) -> dict[str, Architecture]:
        try:
            if find is not None:
                return {row: Architecture(find())}
            drawn = self._drawn(limit, row, best[DEPTH] if row == AT_DEPTH else None)
            return {f"{row}{i}": architecture for i, architecture in enumerate(drawn)}
        except (InfeasibleLimitError, InvalidInputError) as error:  # of few architectures too few are within
            print(f"{row}: {error}")
            return {}

    def _first_within(self, limit: Limit, candidates: Sequence[Architecture]) -> Architecture:
        size = self.parent.supernet
        for architecture in candidates:
            if _encoder_params(size, architecture) <= limit.high:
                return architecture
        raise InfeasibleLimitError("nothing is small enough", {})

    def _uniform_widths(self) -> list[Architecture]:
        """Architectures of all layers, each of the same width and heads, the largest first."""
        deepest = full_width(self.space)[0]
        names = [[c for c in self.space.choices if c.name.endswith(end)] for end in ("intermediate_size", "heads")]
        found = [
            Architecture({**deepest, **{c.name: w for c in names[0]}, **{c.name: h for c in names[1]}})
            for w in names[0][0].candidates
            for h in names[1][0].candidates
        ]
        return sorted(found, key=lambda a: -_encoder_params(self.parent.supernet, a))

    def _drawn(self, limit: Limit, row: str, depth: Any) -> list[Architecture]:
        n, table = self.settings.random_networks, self.parent.size
        window = Limit(table, min=float(np.nextafter(0.95 * limit.high, np.inf)), max=limit.high)
        rng = np.random.default_rng(derive_seed(self.seed, row, f"{limit.high:g}"))
        if depth is None:
            return sample_within(self.space, [window], n, rng)
        return sample_within(self._of_depth(depth), [_of_space(window, self._of_depth(depth))], n, rng)

    def _of_depth(self, depth: Any) -> SearchSpace:
        """The space with one depth alone."""
        config = copy.deepcopy(self.parent.supernet.config)
        config.depths = [depth]
        return config.space()

    def _fisher(self, limit: Limit) -> Architecture:
        """Heads and neurons by Fisher information for each parameter, all layers kept, as many as fit."""
        supernet = self._by_fisher
        heads, neurons = (of.cpu() for of in importance(supernet, self.parent.batches, "fisher"))
        config = supernet.config
        size = 4 * config.hidden_size * config.attention_head_size, 2 * config.hidden_size
        items = [
            (float(value) / size[kind], layer, kind)
            for kind, of in enumerate((heads, neurons))
            for layer, row in enumerate(of)
            for value in row[1:]  # each layer keeps the first of both
        ]
        layers = config.num_hidden_layers
        counts = np.ones((layers, 2), dtype=int)

        def made(chosen: np.ndarray) -> Architecture:
            sizes: dict[str, Any] = {DEPTH: layers}
            for layer in kept_layers(layers, layers):
                sizes[heads_choice(layer)], sizes[intermediate_choice(layer)] = map(int, chosen[layer])
            return Architecture(sizes)

        left = limit.high - _encoder_params(supernet, made(counts))
        if left < 0:
            raise InfeasibleLimitError("nothing is small enough", {})
        extra = 3 * config.attention_head_size, 1  # biases
        for _, layer, kind in sorted(items, reverse=True):
            if size[kind] + extra[kind] <= left:
                counts[layer, kind] += 1
                left -= size[kind] + extra[kind]
        return made(counts)

    @cached_property
    def _by_fisher(self) -> BertSupernetForSequenceClassification:
        ordered = copy.deepcopy(self.parent.supernet)
        order_by_importance(ordered, self.parent.batches, "fisher")
        return ordered

    def _pruned(self, limit: Limit) -> Pruned:
        """What torch-pruning leaves of the weights that all networks start from; made once for each limit."""
        if limit.max not in self._of_magnitude:
            start = self.search[1].supernet if self.settings.start == "supernet" else self.parent.supernet
            whole = as_plain_bert(start.subnet_of_any_size(start.full_architecture))
            self._of_magnitude[limit.max] = prune_to(start, whole, [Limit("encoder_params", max=limit.high)])
        return self._of_magnitude[limit.max]

    def model(self, name: str, architecture: Architecture, limit: Limit) -> PreTrainedModel:
        """A network before its training, with the weights that all start from."""
        start = self.search[1].supernet if self.settings.start == "supernet" else self.parent.supernet
        if name == MAGNITUDE:
            return as_searched(start, self._pruned(limit))
        if name == FISHER:
            start = copy.deepcopy(start)
            # The Fisher information is the original's, whichever weights networks start from.
            order_by(start, importance(self.parent.supernet, self.parent.batches, "fisher"))
        return copy.deepcopy(start.subnet_of_any_size(architecture))

    def trained(self, name: str, architecture: Architecture, limit: Limit) -> dict[str, Any]:
        """Trains a network, or reads what was measured: its size, score, and which test items it gets right."""
        key = hashlib.sha256(
            json.dumps(
                [architecture.to_dict(), name in OWN_ORDER and name, _plain(self.settings)], sort_keys=True
            ).encode()
        ).hexdigest()[:12]
        file = self.folder / f"network-{key}.json"
        if not file.exists():
            write_json(file, self._train(name, self.model(name, architecture, limit), architecture))
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return {**found, "name": name}

    def _train(self, name: str, model: PreTrainedModel, architecture: Architecture) -> dict[str, Any]:
        started = time.process_time()
        settings = self.settings
        task = self.parent.taught(settings.final)
        fit(
            model,
            task,
            settings.final,
            self.accelerator,
            epochs=settings.epochs,
            seed=self.seed,
            evaluate_on="validation",
            on_step=_every_minute(name),
        )
        return {
            "architecture": architecture.to_dict(),
            "encoder_params": _encoder_params(self.parent.supernet, architecture),
            **measured(model, self.parent.task, settings.final.eval_batch_size, self.accelerator),
            "seconds": round(time.process_time() - started, 1),
        }

    def original_alike(self) -> dict[str, Any]:
        """The original trained on as the networks are: same data, teacher and passes, from its own weights."""
        file = (
            self.folder / f"original-{hashlib.sha256(json.dumps(_plain(self.settings)).encode()).hexdigest()[:12]}.json"
        )
        if not file.exists():
            full = self.parent.supernet.full_architecture
            write_json(file, self._train(ORIGINAL, copy.deepcopy(self.parent.whole), full))
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return {**found, "name": ORIGINAL}

    def _keep_seconds(self, name: str, seconds: float) -> None:
        file = self.folder / "seconds.json"
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        write_json(file, {**known, name: round(known.get(name, 0.0) + seconds, 1)})


def measured(model: PreTrainedModel, task: TextTask, batch_size: int, accelerator: Accelerator) -> dict[str, Any]:
    """What a network reaches on the test split, and for classes which items it gets right, as a text of 0 and 1."""
    if task.regression:
        return {"score": evaluate(model, task, "test", batch_size, accelerator).metrics[task.metric_name]}
    logits, labels = outputs(model, task, "test", batch_size, accelerator)
    right = (task.predictions(logits) == labels).long().tolist()
    return {"score": sum(right) / len(right), "right": "".join(map(str, right))}


def _encoder_params(supernet: BertSupernetForSequenceClassification, architecture: Architecture) -> int:
    """Parameters without embeddings of an architecture of any sizes."""
    return cost_of(supernet, architecture, "encoder_params")


def _of_space(limit: Limit, space: SearchSpace) -> Limit:
    """A limit on the same cost in a space that offers fewer depths."""
    table = limit.cost
    assert isinstance(table, CostTable)
    entries = {c.name: (c.candidates, e) for c, e in zip(table.space.choices, table.entries, strict=True)}
    kept = []
    for choice in space.choices:
        candidates, entry = entries[choice.name]
        kept.append(np.array([entry[candidates.index(c)] for c in choice.candidates]))
    return dataclasses.replace(limit, cost=CostTable(table.name, space, table.fixed, tuple(kept), table.unit))


def _plain(settings: Settings) -> dict[str, Any]:
    return dataclasses.asdict(settings)


def _every_minute(what: str) -> Callable[[int, int], None]:
    """Tells once a minute how far something is."""
    last = [time.monotonic()]

    def tell(done: int, steps: int) -> None:
        if time.monotonic() - last[0] > 60:
            last[0] = time.monotonic()
            print(f"{what}: {done}/{steps}", flush=True)

    return tell


def latencies(parent: Parent, architecture: Architecture, length: int) -> list[dict[str, str]]:
    """Milliseconds of a network and of the original, one thread, in turn, for batches of 1 and 32 in both runtimes."""
    networks = [parent.supernet.extract(parent.supernet.subnet_of_any_size(architecture)).eval(), parent.whole.eval()]
    watch, rows = Stopwatch(min_run_time=2.0), []
    for batch_size in (1, 32):
        ids = torch.randint(
            parent.whole.config.vocab_size, (batch_size, length), generator=torch.Generator().manual_seed(0)
        )
        calls = [(network, (ids,), {}) for network in networks]
        for runtime, blocks in (("torch", calls), ("onnxruntime", [in_onnxruntime(call, 1) for call in calls])):
            times = np.median(watch.in_turn(*blocks), axis=0)
            rows.append(
                {
                    "runtime": runtime,
                    "batch": str(batch_size),
                    "network, ms": f"{times[0]:.2f}",
                    "original, ms": f"{times[1]:.2f}",
                    "speed-up": f"{times[1] / times[0]:.1f}",
                }
            )
    return rows
