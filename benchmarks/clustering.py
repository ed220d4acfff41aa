"""k-means of sampled architectures (DC-NAS Sec. 3.2) in code space, beside scikit-learn on the explicit matrix.

    OMP_NUM_THREADS=1 python benchmarks/clustering.py

10^7 architectures of 22 layers are drawn with the probabilities softmax(normal numbers) over 9 candidates a layer. The
cosines of a candidate decay over 80 epochs from 1 to its own level at its own rate, with noise of 0.02. k-means++ and
Lloyd with K = 5 and scikit-learn's stopping rule (tol 1e-4), then the most probable architecture of each cluster.

`cpu_seconds` is the process time of clustering, from table and codes to labels (drawing them is not in it), and
`peak_gib` the largest resident memory of the process that draws, clusters and chooses. In a process of its own,
scikit-learn clusters as many architectures as fit `--explicit_gib` thrice (its matrix, a copy, and what the variances
take), from the centroids that k-means++ finds for them; code space starts from the same, and the labels of both are
compared. `ratio` is scikit-learn's CPU time by that of code space on these. `--over_k 1 2 3` prints inertia and
silhouette of those K instead. Ends with a line `RESULT {json}`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

from searchhub.distribution import softmax
from searchhub.searchers.clustering import cluster_codes, most_probable, over_k
from searchhub.searchers.code_space import CodedSamples
from searchhub.searchers.lloyd import plus_plus
from searchhub.space import Choice, Codes, SearchSpace

CANDIDATES = 9
PIECE = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--clusters", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--explicit_gib", type=float, default=2.0, help="memory for scikit-learn; 0: leave it out")
    parser.add_argument("--over_k", type=int, nargs="+", help="numbers of clusters to compare instead")
    parser.add_argument("--part", choices=("code_space", "explicit"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        return print(json.dumps({"code_space": in_code_space, "explicit": explicit}[arguments.part](arguments)))
    if arguments.over_k:
        return compare(arguments)
    result = run_part("code_space")
    features = arguments.layers * arguments.epochs
    print(f"{arguments.samples:,} × {arguments.layers} layers × {arguments.epochs} epochs, K = {arguments.clusters}")
    print(f"the matrix would take {arguments.samples * features * 8 / 2**30:.1f} GiB; load {os.getloadavg()[0]:.1f}")
    print(f"{result.pop('equal_pairs'):.3g} pairs of equal architectures are to be expected")
    print(f"clusters of {result.pop('counts')} architectures; winners at {result.pop('winners')}")
    if arguments.explicit_gib > 0:
        result |= run_part("explicit")
    print("RESULT " + json.dumps(result))


def compare(arguments: argparse.Namespace) -> None:
    """A line for each K."""
    table, _, codes = material(arguments, arguments.samples)
    start = time.process_time()
    rows = over_k(table, codes, arguments.over_k, seed=arguments.seed)
    print(f"{'K':>3} {'inertia':>12} {'silhouette':>10} {'iterations':>10} {'smallest':>10} {'largest':>10}")
    for row in rows:
        score = "" if row.silhouette is None else f"{row.silhouette:.4f}"
        sizes = f"{min(row.counts):>10} {max(row.counts):>10}"
        print(f"{row.num_clusters:>3} {row.inertia:>12.5g} {score:>10} {row.iterations:>10} {sizes}")
    scores = {row.num_clusters: row.silhouette and round(row.silhouette, 4) for row in rows}
    seconds = round(time.process_time() - start, 2)
    print("RESULT " + json.dumps({"samples": arguments.samples, "cpu_seconds": seconds, "silhouette": scores}))


def run_part(part: str) -> dict:
    """The figures of one part, in a process of its own: the memory of one is not counted for the other."""
    command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


def material(arguments: argparse.Namespace, samples: int) -> tuple[np.ndarray, list[np.ndarray], Codes]:
    """Cosines [layers, candidates, epochs], logits, codes [samples, layers]; fewer samples are the first of more."""
    rng = np.random.default_rng(arguments.seed)
    shape = (arguments.layers, CANDIDATES, 1)
    level, rate = rng.uniform(0.2, 0.9, shape), rng.uniform(0.02, 0.3, shape)
    cosines = level + (1.0 - level) * np.exp(-rate * np.arange(arguments.epochs))
    cosines[:, :, 1:] += 0.02 * rng.normal(size=(arguments.layers, CANDIDATES, arguments.epochs - 1))
    logits = list(rng.normal(size=shape[:2]))
    space = SearchSpace("fbnet", tuple(Choice(f"layer.{i}", tuple(range(CANDIDATES))) for i in range(shape[0])))
    codes = np.empty((samples, arguments.layers), dtype=np.uint8)
    for start in range(0, samples, PIECE):
        piece = space.sample(PIECE, rng, [softmax(row) for row in logits])
        codes[start : start + PIECE] = piece[: samples - start]
    return cosines, logits, codes


def in_code_space(arguments: argparse.Namespace) -> dict:
    table, logits, codes = material(arguments, arguments.samples)
    start = time.process_time()
    found = cluster_codes(table, codes, arguments.clusters, seed=arguments.seed)
    seconds = time.process_time() - start
    winners = most_probable(codes, found.labels, logits, arguments.clusters)
    alike = np.prod([(softmax(row) ** 2).sum() for row in logits])
    return {
        "equal_pairs": arguments.samples * (arguments.samples - 1) / 2 * alike,
        "cpu_seconds": round(seconds, 2),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
        "iterations": found.iterations,
        "inertia": found.inertia,
        "converged": found.converged,
        "refilled": found.refilled,
        "counts": found.counts.tolist(),
        "winners": winners.tolist(),
    }


def explicit(arguments: argparse.Namespace) -> dict:
    from sklearn.cluster import KMeans

    rows = int(arguments.explicit_gib * 2**30 / (3 * 8 * arguments.layers * arguments.epochs))
    table, _, codes = material(arguments, min(rows, arguments.samples))
    samples = CodedSamples(table, codes)
    centroids = plus_plus(samples, arguments.clusters, np.random.default_rng(arguments.seed))
    start = time.process_time()
    own = cluster_codes(table, codes, arguments.clusters, start=centroids)
    seconds = time.process_time() - start
    matrix = samples.features(np.arange(len(codes)))
    model = KMeans(arguments.clusters, init=centroids, n_init=1, algorithm="lloyd")
    start = time.process_time()
    model.fit(matrix)
    explicit_seconds = time.process_time() - start
    return {
        "explicit_samples": len(codes),
        "explicit_cpu_seconds": round(explicit_seconds, 2),
        "explicit_peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
        "ratio": round(explicit_seconds / seconds, 1),
        "same_labels": bool((own.labels == model.labels_).all()),
        "same_iterations": own.iterations == model.n_iter_,
    }


if __name__ == "__main__":
    main()
