"""DC-NAS's Table 1 at a size for CPUs: does dividing networks before early stopping find better ones?

    python benchmarks/dc_nas.py train --dataset PATH --lines networks.jsonl --networks 100
    python benchmarks/dc_nas.py analyse --lines networks.jsonl

`train` takes networks of the channel-ratio space (Sec. 4.1), base widths an eighth of the paper's, on 16 x 16 pictures.
Each is trained from its own start for every η on a share of the training data, with features after every epoch, and
once fully, on all of it for ten times the largest η. It appends a JSON line a network, goes on where it stopped, and
`--part 0/2` and `--part 1/2` share the work between two processes. The networks are the same whatever their number.

`analyse` repeats the search many times, each on s of the trained networks, drawn without replacement: early stopping
at η, division into K clusters, the best of each (Eq. 8); of these the best by validation after full training wins
(Eq. 10), and its test accuracy counts. Random search takes as many of the same networks as the search costs in full
trainings, s · η · share / full epochs + K. `top K` takes the K best early-stopped networks of all, without clusters, at
the cost of the search: what it lacks is due to dividing, not to training K networks. Standard errors are over repeats:
they say how well the mean over these networks is known, not what other networks would give. Differences of methods are
paired by repeat, and their errors are over networks: the mean over all draws of s of n networks is a U-statistic, whose
variance is at most s / (n - s) times that of a draw around it (from Hoeffding, 1948).

Kendall's τ-b between early-stopped and full accuracy is taken over all pairs of networks, and over the pairs within
clusters; intervals (95 %) are of the bootstrap over networks, the clusters as they are.
Ends with a line `RESULT {json}`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchhub.searchers.division import divide

DC_NAS, TOP, RANDOM = "DC-NAS", "top K", "random"
ETAS = (5, 10, 20)
CHANNELS = (4, 8, 16, 32, 64, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train networks, early-stopped and fully")
    training.add_argument("--dataset", default="digits", help="folder of parquet or pictures; default: embedded digits")
    training.add_argument("--lines", type=Path, required=True, help="file to which a JSON line a network is appended")
    training.add_argument("--networks", type=int, default=100)
    training.add_argument("--part", default="0/1", help="which share of them, e.g. 0/2")
    training.add_argument("--image_size", type=int, default=16)
    training.add_argument("--channels", type=int, nargs="+", default=list(CHANNELS), help="of the base network")
    training.add_argument("--max_train_samples", type=int, default=5000)
    training.add_argument("--max_eval_samples", type=int, default=2000, help="of validation and of test")
    training.add_argument("--share", type=float, default=0.1, help="of the training data, in early-stopped training")
    training.add_argument("--etas", type=int, nargs="+", default=list(ETAS))
    training.add_argument("--full_epochs", type=int, help="default: ten times the largest η")
    training.add_argument("--batch_size", type=int, default=32)
    training.add_argument("--learning_rate", type=float, default=0.05)
    training.add_argument("--seed", type=int, default=0)
    analysis = commands.add_parser("analyse", help="what searches on these networks would have found")
    analysis.add_argument("--lines", type=Path, required=True)
    analysis.add_argument("--clusters", type=int, nargs="+", default=[1, 3, 5, 10, 20])
    analysis.add_argument("--samples", type=int, help="s; default: half of the networks")
    analysis.add_argument("--repeats", type=int, default=200)
    analysis.add_argument("--bootstrap", type=int, default=1000)
    analysis.add_argument("--method", choices=("kmeans", "hierarchical"), default="kmeans")
    analysis.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    {"train": train, "analyse": analyse}[arguments.command](arguments)


# -- training ---------------------------------------------------------------------------------------------------------


def train(arguments: argparse.Namespace) -> None:
    """Append a line for every network that has none yet."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    settings = settings_of(arguments)
    part, parts = (int(n) for n in arguments.part.split("/"))
    done = {line["network"] for line in read_lines(arguments.lines, settings)}
    todo = [n for n in range(part, arguments.networks, parts) if n not in done]
    print(f"{len(done)} networks are done; {len(todo)} to do", flush=True)
    started = time.perf_counter()
    for i, line in enumerate(trained(arguments, todo), 1):
        append(arguments.lines, {**line, "settings": settings})
        scores = ", ".join(f"{k}: {v['score']:.3f}" for k, v in line["early"].items())
        seconds = time.perf_counter() - started
        print(
            f"network {line['network']}: {scores}, full: {line['full']['score']:.3f} "
            f"({line['full']['seconds']:.0f} s; {seconds / i * (len(todo) - i) / 60:.0f} minutes to go)",
            flush=True,
        )


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What lines of one file have in common."""
    names = ("image_size", "channels", "max_train_samples", "max_eval_samples", "share", "etas", "batch_size")
    settings = {name: getattr(arguments, name) for name in (*names, "learning_rate", "seed")}
    full_epochs = arguments.full_epochs or 10 * max(arguments.etas)
    return {"dataset": Path(arguments.dataset).name, **settings, "full_epochs": full_epochs}


def trained(arguments: argparse.Namespace, networks: list[int]) -> Iterator[dict[str, Any]]:
    """Train networks, by their numbers."""
    from searchhub.costs.params import params_table
    from searchhub.data.loading import load_image_task
    from searchhub.evaluators.scratch import ScratchEvaluator
    from searchhub.models.channel_cnn.supernet_channel_cnn import ChannelCnnSupernet, ChannelCnnSupernetConfig
    from searchhub.training.accelerator import make_accelerator
    from searchhub.training.loop import evaluate
    from searchhub.training.settings import TrainingSettings
    from searchhub.trial import Budget, Trial

    options = {name: getattr(arguments, name) for name in ("image_size", "max_train_samples", "max_eval_samples")}
    task = load_image_task(arguments.dataset, seed=arguments.seed, **options)
    config = ChannelCnnSupernetConfig(
        image_size=arguments.image_size, channels=arguments.channels, num_labels=task.num_labels
    )
    supernet = ChannelCnnSupernet(config)
    accelerator = make_accelerator(seed=arguments.seed)
    training = TrainingSettings(
        batch_size=arguments.batch_size, learning_rate=arguments.learning_rate, weight_decay=5e-4, max_grad_norm=5.0
    )

    def on_test(model: Any) -> dict[str, float]:
        measured = evaluate(model, task, "test", training.eval_batch_size, accelerator)
        return {"test": measured.metrics[task.metric_name]}

    early = ScratchEvaluator(supernet, task, training, accelerator, seed=arguments.seed, measure=on_test)
    full = ScratchEvaluator(  # the same but for its features, which nobody needs
        supernet, task, training, accelerator, seed=arguments.seed, measure=on_test, feature_examples=1
    )
    settings = settings_of(arguments)
    budgets = {str(eta): Budget(eta, data_share=arguments.share) for eta in arguments.etas}
    budgets["full"] = Budget(settings["full_epochs"])
    params = params_table(supernet)
    space = supernet.search_space
    rows = np.array(list(itertools.product(*(range(len(c.candidates)) for c in space.choices))), dtype=np.uint8)
    rows = rows[np.random.default_rng(arguments.seed).permutation(len(rows))]
    for network in networks:
        architecture = space.decode(rows[network])
        found = {}
        for i, (name, budget) in enumerate(budgets.items()):
            evaluator = full if name == "full" else early
            (result,) = evaluator([Trial(network * len(budgets) + i, architecture, budget)])
            found[name] = {
                "score": result.score,
                "test": result.metrics.get("test", 0.0),
                "seconds": round(result.seconds, 2),
                "features": None if result.features is None or name == "full" else result.features,
            }
        yield {
            "network": network,
            "architecture": architecture.to_dict(),
            "params": params(architecture),
            "full": found.pop("full"),
            "early": found,
        }


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line in one write; a torn one of a killed process is closed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        torn = path.stat().st_size and path.read_bytes()[-1:] != b"\n"
        file.write((b"\n" if torn else b"") + (json.dumps(line, allow_nan=False) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path, settings: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The networks of a file, by number; torn lines are passed over.

    Raises:
        SystemExit: They were trained with other settings.
    """
    lines: dict[int, dict[str, Any]] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        settings = line["settings"] if settings is None else settings
        if line["settings"] != settings:
            raise SystemExit(f"error: `{path}` holds networks of {line['settings']}, not of {dict(settings)}.")
        lines[line["network"]] = line
    return [lines[number] for number in sorted(lines)]


# -- analysis ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Networks:
    """Trained networks: early-stopped scores and features by η, validation and test accuracy after full training."""

    early: Mapping[int, NDArray[np.float64]]
    features: Mapping[int, NDArray[np.float64]]
    validation: NDArray[np.float64]
    test: NDArray[np.float64]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, lines: Sequence[Mapping[str, Any]]) -> Networks:
        """Of the lines of a file; networks that diverged are left out."""
        kept = [x for x in lines if all(early["features"] is not None for early in x["early"].values())]
        etas = lines[0]["settings"]["etas"]
        return cls(
            {eta: np.array([x["early"][str(eta)]["score"] for x in kept]) for eta in etas},
            {eta: np.array([x["early"][str(eta)]["features"] for x in kept]) for eta in etas},
            np.array([x["full"]["score"] for x in kept]),
            np.array([x["full"]["test"] for x in kept]),
            lines[0]["settings"],
        )

    def __len__(self) -> int:
        return len(self.test)


def analyse(arguments: argparse.Namespace) -> None:
    """Print what searches would have found, and how well early stopping ranks."""
    lines = read_lines(arguments.lines)
    if len(lines) < 4:
        raise SystemExit(f"error: `{arguments.lines}` must hold at least 4 networks, but holds {len(lines)}.")
    networks = Networks.of(lines)
    samples = arguments.samples or len(networks) // 2
    if not 2 <= samples < len(networks):
        raise SystemExit(f"error: `2 <= --samples < {len(networks)} networks` must hold, but it is {samples}.")
    print(f"{len(networks)} networks, {len(lines) - len(networks)} diverged and left out; {networks.settings}")
    print(f"full test accuracy: mean {100 * networks.test.mean():.2f}, best {100 * networks.test.max():.2f}")
    found = searches(networks, samples, arguments)
    print(f"\ntest accuracy (%) of what is found among {samples} networks, mean of {arguments.repeats} repeats ± SE")
    for (name, eta, k), of in found.items():
        cost = f"{of.trainings:.1f} full trainings"
        print(f"{name:>7} η = {eta:2} K = {k:2}: {of.mean:.2f} ± {of.standard_error:.2f} ({cost})")
    print("\ndifference of DC-NAS to others, and at most its standard error over networks")
    compared = differences(found, samples, len(networks))
    for row in compared:
        shown = f"{row['mean']:+.2f} ± {row['standard_error']:.2f}"
        print(f"η = {row['eta']:2} K = {row['clusters']:2} against {row['against']:>6}: {shown}")
    ranks = correlations(networks, arguments)
    print("\nKendall τ-b of early-stopped validation and full test accuracy [95 % interval]")
    for (eta, k), row in ranks.items():
        shown = ", ".join(f"{name} {value:.3f} [{low:.3f}, {high:.3f}]" for name, (value, low, high) in row.items())
        print(f"η = {eta:2} K = {k:2}: {shown}")
    result = {
        "networks": len(networks),
        "samples": samples,
        "repeats": arguments.repeats,
        "settings": networks.settings,
        "accuracy": [
            {
                "method": name,
                "eta": eta,
                "clusters": k,
                "mean": of.mean,
                "standard_error": of.standard_error,
                "trainings": of.trainings,
            }
            for (name, eta, k), of in found.items()
        ],
        "differences": compared,
        "tau": [{"eta": eta, "clusters": k, **row} for (eta, k), row in ranks.items()],
    }
    print("RESULT " + json.dumps(result))


@dataclass(frozen=True)
class Found:
    """What repeats of one search found: test accuracy in percent, one a repeat; and the cost in full trainings."""

    tests: NDArray[np.float64]
    trainings: float

    @property
    def mean(self) -> float:
        return float(self.tests.mean())

    @property
    def standard_error(self) -> float:
        """Over repeats."""
        return float(self.tests.std(ddof=1) / len(self.tests) ** 0.5)


def searches(networks: Networks, samples: int, arguments: argparse.Namespace) -> dict[tuple[str, int, int], Found]:
    """What is found, by method, η and K."""
    tests: dict[tuple[str, int, int], list[float]] = {}
    costs: dict[tuple[str, int, int], float] = {}
    share, full_epochs = networks.settings["share"], networks.settings["full_epochs"]
    clusters = [k for k in arguments.clusters if k <= samples]
    for repeat in range(arguments.repeats):
        rng = np.random.default_rng([arguments.seed, repeat])
        drawn = rng.choice(len(networks), size=samples, replace=False)
        for eta, k in itertools.product(networks.early, clusters):
            early, features = networks.early[eta][drawn], networks.features[eta][drawn]
            _, winners, _ = divide(features, early, k, method=arguments.method, seed=repeat)
            cost = samples * eta * share / full_epochs + k
            tried = rng.choice(samples, size=min(samples, round(cost)), replace=False)
            top = np.argsort(-early, kind="stable")[:k]
            for name, own in ((DC_NAS, winners), (TOP, top), (RANDOM, tried)):
                best = drawn[own][networks.validation[drawn[own]].argmax()]
                tests.setdefault((name, eta, k), []).append(100 * networks.test[best])
                costs[name, eta, k] = len(tried) if name == RANDOM else cost
    return {key: Found(np.array(tests[key]), costs[key]) for key in sorted(tests)}


def differences(found: Mapping[tuple[str, int, int], Found], samples: int, n: int) -> list[dict[str, Any]]:
    """Of DC-NAS to the other methods, and to itself without clusters, paired by repeat.

    Args:
        found: By method, η and K.
        samples: s, networks that a search is on.
        n: All networks.
    """
    rows = []
    for method, eta, k in found:
        others = {TOP: (TOP, eta, k), RANDOM: (RANDOM, eta, k), "K = 1": (DC_NAS, eta, 1)}
        for name, other in others.items():
            if method != DC_NAS or other not in found or (k == 1 and name != RANDOM):
                continue
            gains = found[method, eta, k].tests - found[other].tests
            error = gains.std(ddof=1) * (samples / (n - samples)) ** 0.5
            rows.append(
                {
                    "eta": eta,
                    "clusters": k,
                    "against": name,
                    "mean": float(gains.mean()),
                    "standard_error": float(error),
                }
            )
    return rows


def correlations(
    networks: Networks, arguments: argparse.Namespace
) -> dict[tuple[int, int], dict[str, tuple[float, float, float]]]:
    """By η and K: τ over all pairs, within clusters, and the difference, each with its interval."""
    rng = np.random.default_rng(arguments.seed)
    n = len(networks)
    weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), size=arguments.bootstrap)])
    rows = {}
    for eta, k in itertools.product(networks.early, arguments.clusters):
        if not 1 < k < n:
            continue
        labels, _, _ = divide(networks.features[eta], networks.early[eta], k, method=arguments.method)
        everywhere = tau(networks.early[eta], networks.test, weights, np.ones((n, n), dtype=bool))
        within = tau(networks.early[eta], networks.test, weights, labels[:, None] == labels)
        named = {"all": everywhere, "within": within, "difference": within - everywhere}
        rows[eta, k] = {
            name: (float(v[0]), *(float(q) for q in np.nanquantile(v[1:], [0.025, 0.975]))) for name, v in named.items()
        }
    return rows


def tau(
    x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64], pairs: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Kendall's τ-b over some pairs, once for each row of how often networks count; NaN where no pair differs.

    Args:
        x: [n].
        y: [n].
        weights: [times, n].
        pairs: [n, n], symmetric: which pairs are looked at.
    """
    by_x, by_y = np.sign(x[:, None] - x) * pairs, np.sign(y[:, None] - y) * pairs

    def total(terms: NDArray[np.float64]) -> NDArray[np.float64]:
        return ((weights @ terms) * weights).sum(axis=1)

    with np.errstate(invalid="ignore", divide="ignore"):
        values: NDArray[np.float64] = total(by_x * by_y) / np.sqrt(total(by_x**2) * total(by_y**2))
    return values


if __name__ == "__main__":
    main()
