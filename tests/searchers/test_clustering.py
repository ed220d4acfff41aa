import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from searchhub.errors import InvalidInputError
from searchhub.searchers import code_space, lloyd
from searchhub.searchers.clustering import (
    best_of,
    cluster_codes,
    cluster_features,
    most_probable,
    over_k,
    over_k_features,
    silhouette,
)
from searchhub.searchers.code_space import CodedSamples
from searchhub.space import INACTIVE


def cosines(rng, layers=5, candidates=4, epochs=6):
    """A table whose first epoch is 1, as cosines to it are."""
    table = 1.0 - 0.1 * np.cumsum(rng.random((layers, candidates, epochs)), axis=2)
    return table / table[:, :, :1]


def draw(rng, n, layers=5, candidates=4):
    return rng.integers(candidates, size=(n, layers), dtype=np.uint8)


def matrix(table, codes):
    return np.concatenate([rows[codes[:, layer]] for layer, rows in enumerate(table)], axis=1)


def reference(table, codes, start, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return KMeans(len(start), init=start, n_init=1, algorithm="lloyd", **options).fit(matrix(table, codes))


def assert_like(found, expected):
    assert (found.labels == expected.labels_).all()
    assert found.iterations == expected.n_iter_
    np.testing.assert_allclose(found.centroids, expected.cluster_centers_, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.inertia, expected.inertia_, rtol=1e-9)
    assert (found.counts == np.bincount(expected.labels_, minlength=len(found.counts))).all()


class TestAsScikitLearn:
    @pytest.mark.parametrize("seed", range(6))
    @pytest.mark.parametrize("num_clusters", [1, 2, 5, 12])
    def test_same_clusters_from_the_same_start(self, seed, num_clusters):
        rng = np.random.default_rng(seed)
        table, codes = cosines(rng), draw(rng, 700)
        start = matrix(table, codes[rng.choice(700, num_clusters, replace=False)]) + 0.01 * rng.random(30)
        found = cluster_codes(table, codes, num_clusters, start=start)
        assert_like(found, reference(table, codes, start))
        assert found.converged
        assert found.refilled == 0
        assert found.empty == ()

    def test_layers_in_several_groups_and_of_different_sizes(self):
        rng = np.random.default_rng(0)
        table = [cosines(rng, 1, candidates)[0] for candidates in (9, 9, 9, 9, 200, 1, 6, 7)]
        codes = np.stack([rng.integers(len(rows), size=900, dtype=np.uint8) for rows in table], axis=1)
        assert len(CodedSamples(table, codes).groups) == 4
        start = matrix(table, codes[:6])
        assert_like(cluster_codes(table, codes, 6, start=start), reference(table, codes, start))

    @pytest.mark.parametrize("options", [{"tol": 0.0}, {"tol": 0.05}, {"max_iter": 2}])
    def test_its_stopping_rule(self, options):
        rng = np.random.default_rng(1)
        table, codes = cosines(rng), draw(rng, 700)
        start = matrix(table, codes[:4])
        found = cluster_codes(table, codes, 4, start=start, **options)
        assert_like(found, reference(table, codes, start, **options))
        assert found.converged == ("max_iter" not in options)

    def test_duplicates_count_with_multiplicity(self):
        rng = np.random.default_rng(2)
        table, codes = cosines(rng, layers=2), draw(rng, 500, layers=2)  # 16 different ones
        start = matrix(table, np.unique(codes, axis=0)[[0, 7, 15]])
        assert_like(cluster_codes(table, codes, 3, start=start), reference(table, codes, start))

    @pytest.mark.parametrize("seed", range(4))
    def test_an_empty_cluster_takes_the_farthest(self, seed):
        rng = np.random.default_rng(seed)
        table, codes = cosines(rng), draw(rng, 300)
        start = np.concatenate([matrix(table, codes[:3]), np.full((1, 30), -9.0)])
        found = cluster_codes(table, codes, 4, start=start)
        assert_like(found, reference(table, codes, start))
        assert found.refilled == 1
        assert found.empty == ()

    def test_two_empty_clusters_take_different_architectures(self):
        rng = np.random.default_rng(0)
        table = cosines(rng, layers=2)
        codes = np.repeat(draw(rng, 40, layers=2), 3, axis=0)
        start = np.concatenate([matrix(table, codes[:1]), np.full((2, 12), -9.0)])
        found = cluster_codes(table, codes, 3, start=start)
        assert found.refilled == 2
        assert found.counts.min() > 0

    def test_k_of_as_many_as_there_are_leaves_nothing(self):
        rng = np.random.default_rng(0)
        table, codes = cosines(rng, layers=2), np.array([[0, 0], [1, 2], [3, 3], [1, 2]], dtype=np.uint8)
        found = cluster_codes(table, codes, 3)
        assert found.inertia == 0.0
        assert sorted(found.counts) == [1, 1, 2]


def test_of_equally_near_centroids_the_first():
    table = np.array([[[1.0, 0.0], [1.0, 0.5], [1.0, 1.0]]])
    codes = np.array([[0], [1], [2]], dtype=np.uint8)
    found = cluster_codes(table, codes, 2, start=np.array([[1.0, 1.0], [1.0, 0.0]]), max_iter=1, tol=0.0)
    # The middle one first went to cluster 0, whose centroid moved toward it.
    assert found.labels.tolist() == [1, 0, 0]
    assert found.centroids.tolist() == [[1.0, 0.75], [1.0, 0.0]]


def test_candidates_with_equal_features_are_one():
    table = np.array([[[1.0, 0.0], [1.0, -0.0], [1.0, 0.5]]])
    codes = np.array([[0], [1], [2], [2]], dtype=np.uint8)
    assert cluster_codes(table, codes, 2).counts.tolist() == [2, 2]
    with pytest.raises(InvalidInputError, match="num_clusters <= 2"):
        cluster_codes(table, codes, 3)


class TestTheStart:
    def test_features_are_gathered(self):
        rng = np.random.default_rng(0)
        table, codes = cosines(rng, layers=9), draw(rng, 50, layers=9)
        rows = np.array([3, 3, 49, 0])
        assert (CodedSamples(table, codes).features(rows) == matrix(table, codes[rows])).all()

    def test_draws_follow_the_weights(self, monkeypatch):
        monkeypatch.setattr(lloyd, "BLOCK", 4)
        rng = np.random.default_rng(0)
        weights = np.array([0.0, 2.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 0.0])
        sums = np.array([3.0, 0.0, 5.0])
        drawn = lloyd._draw(weights, sums, rng.random(8000))
        frequencies = np.bincount(drawn, minlength=11) / 8000
        np.testing.assert_allclose(frequencies, weights / 8, atol=0.02)
        assert set(drawn) == {1, 3, 9}
        assert lloyd._draw(weights, sums, np.array([0.0, np.nextafter(1.0, 0.0)])).tolist() == [1, 9]

    def test_finds_clusters_that_lie_apart(self):
        """Sizes 1 : 20 : 400: uniform draws would miss the small ones."""
        table = np.array([[[1.0, 0.0], [1.0, 0.5], [1.0, -0.9]]] * 3)
        codes = np.repeat(np.arange(3, dtype=np.uint8), [400, 20, 1])[:, None].repeat(3, axis=1)
        for seed in range(20):
            assert sorted(cluster_codes(table, codes, 3, seed=seed).counts) == [1, 20, 400]

    def test_a_seed_means_one_division_and_more_starts_none_worse(self):
        rng = np.random.default_rng(3)
        table, codes = cosines(rng), draw(rng, 400)
        once, again = (cluster_codes(table, codes, 7, seed=5) for _ in range(2))
        assert (once.labels == again.labels).all()
        better = 0
        for seed in range(4):
            inertia = [cluster_codes(table, codes, 7, seed=seed, n_init=n).inertia for n in (1, 4, 8)]
            assert inertia == sorted(inertia, reverse=True)
            better += inertia[2] < inertia[0]
        assert better > 0

    def test_blocks_are_no_part_of_lloyd(self, monkeypatch):
        rng = np.random.default_rng(4)
        table, codes = cosines(rng), draw(rng, 400)
        start = matrix(table, codes[:5])
        whole = cluster_codes(table, codes, 5, start=start)
        monkeypatch.setattr(code_space, "BLOCK", 7)
        small = cluster_codes(table, codes, 5, start=start)
        assert (whole.labels == small.labels).all()
        assert (whole.centroids == small.centroids).all()
        assert whole.inertia == small.inertia


@pytest.mark.parametrize("num_clusters", [2, 5, 12])
def test_who_is_sure_to_stay_is_not_looked_at_and_nothing_changes(monkeypatch, num_clusters):
    rng = np.random.default_rng(6)
    table, codes = cosines(rng), draw(rng, 900)
    looked_at = []
    plain = lloyd.look_up

    def counting(tables, words):
        looked_at.append(words.shape[1])
        return plain(tables, words)

    monkeypatch.setattr(lloyd, "look_up", counting)
    start = matrix(table, codes[:num_clusters])
    quick = cluster_codes(table, codes, num_clusters, start=start, tol=0.0)
    assert sum(looked_at) < 0.9 * quick.iterations * 900
    monkeypatch.setattr(lloyd, "_largest_loss", lambda before, after: np.full(num_clusters, np.inf))
    looked_at.clear()
    whole = cluster_codes(table, codes, num_clusters, start=start, tol=0.0)
    assert sum(looked_at) == whole.iterations * 900
    assert quick.iterations == whole.iterations > 3
    assert (quick.labels == whole.labels).all()
    assert (quick.centroids == whole.centroids).all()
    assert quick.inertia == whole.inertia


THREADS = """
import hashlib, json
import numpy as np
from threadpoolctl import threadpool_info
from searchhub.searchers.clustering import cluster_codes, cluster_features
import sklearn.cluster
rng = np.random.default_rng(0)
table = rng.random((12, 9, 40))
codes = rng.integers(9, size=(3000, 12), dtype=np.uint8)
features = np.concatenate([rows[codes[:, layer]] for layer, rows in enumerate(table)], axis=1)
found = [cluster_codes(table, codes, 6), cluster_features(features, 6, n_init=1),
         cluster_features(features[:300], 6, method="hierarchical")]
digests = [hashlib.sha256(f.labels.tobytes() + f.centroids.tobytes() + repr(f.inertia).encode()).hexdigest()
           for f in found]
print(json.dumps([max(pool["num_threads"] for pool in threadpool_info()), [f.threads for f in found], digests]))
"""


def test_the_same_bits_with_one_and_two_threads():
    seen = []
    for threads in (1, 2):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, str(threads))}
        done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        used, stamps, digests = json.loads(done.stdout)
        assert used == threads or len(os.sched_getaffinity(0)) == 1
        assert stamps == [None, 1, 1]
        seen.append(digests)
    assert seen[0] == seen[1]


class TestOverK:
    def test_a_row_for_each(self):
        table = np.array([[[1.0, 0.0], [1.0, 0.5], [1.0, 0.9]]] * 2)
        codes = np.repeat(np.arange(3, dtype=np.uint8), 30)[:, None].repeat(2, axis=1)
        codes[::10, 1] = 0
        rows = over_k(table, codes, [1, 2, 3])
        assert [row.num_clusters for row in rows] == [1, 2, 3]
        assert rows[0].inertia > rows[1].inertia > rows[2].inertia
        assert rows[0].silhouette is None
        assert rows[2].silhouette > 0.8
        assert sum(rows[2].counts) == 90
        assert all(row.converged and row.iterations >= 1 for row in rows)

    def test_the_silhouette_is_that_of_the_part(self):
        rng = np.random.default_rng(0)
        table, codes = cosines(rng), draw(rng, 300)
        whole = over_k(table, codes, [4])[0].silhouette
        labels = cluster_codes(table, codes, 4).labels
        assert whole == pytest.approx(silhouette(matrix(table, codes), labels), abs=1e-12)
        part = over_k(table, codes, [4], silhouette_samples=100)[0].silhouette
        assert part != whole
        assert part == pytest.approx(whole, abs=0.1)

    def test_none_where_it_has_no_meaning(self):
        assert silhouette(np.zeros((3, 2)), np.array([0, 1, 2])) is None
        assert silhouette(np.zeros((3, 2)), np.array([1, 1, 1])) is None


class TestTrainedApart:
    @pytest.mark.parametrize("method", ["kmeans", "hierarchical"])
    def test_finds_clusters_that_lie_apart(self, method):
        rng = np.random.default_rng(0)
        centers = np.array([0.0, 0.4, 0.9])
        features = (
            1.0 - np.repeat(centers, [5, 9, 6])[:, None, None] * np.linspace(0, 1, 4) + 0.01 * rng.random((20, 3, 4))
        )
        found = cluster_features(features, 3, method=method)
        assert len({tuple(sorted(set(found.labels[a:b]))) for a, b in ((0, 5), (5, 14), (14, 20))}) == 3
        assert sorted(found.counts) == [5, 6, 9]
        flat = features.reshape(20, 12)
        means = np.stack([flat[found.labels == k].mean(axis=0) for k in range(3)])
        np.testing.assert_allclose(found.centroids, means, atol=1e-12)
        assert found.inertia == pytest.approx(((flat - means[found.labels]) ** 2).sum())
        assert found.summary()["threads"] == 1
        assert json.dumps(found.summary())

    def test_flat_or_by_layer_is_the_same(self):
        features = np.random.default_rng(0).random((30, 3, 4))
        by_layer, flat = cluster_features(features, 4), cluster_features(features.reshape(30, 12), 4)
        assert (by_layer.labels == flat.labels).all()

    @pytest.mark.parametrize("method", ["kmeans", "hierarchical"])
    def test_over_the_number_of_clusters(self, method):
        features = np.random.default_rng(0).random((50, 3, 4))
        rows = over_k_features(features, [1, 3], method=method, seed=4, n_init=2)
        found = cluster_features(features, 3, method=method, seed=4, n_init=2)
        assert [row.num_clusters for row in rows] == [1, 3]
        assert (rows[1].inertia, rows[1].counts) == (found.inertia, tuple(found.counts))
        assert rows[1].silhouette == silhouette(features.reshape(50, 12), found.labels)
        part = over_k_features(features, [3], method=method, seed=4, n_init=2, silhouette_samples=20)
        assert part[0].silhouette != rows[1].silhouette

    def test_k_means_agrees_with_code_space(self):
        """One candidate a network: a table is a matrix, and Lloyd from its centroids has nothing left to do."""
        features = np.random.default_rng(0).random((60, 1, 8))
        found = cluster_features(features, 4)
        codes = np.arange(60, dtype=np.uint8)[:, None]
        same = cluster_codes(features.transpose(1, 0, 2), codes, 4, start=found.centroids)
        assert (same.labels == found.labels).all()
        assert same.inertia == pytest.approx(found.inertia)


class TestWinners:
    def test_the_best_of_each_and_the_first_of_equals(self):
        labels = np.array([1, 0, 1, 0, 2, 1])
        scores = np.array([0.2, 0.1, 0.7, 0.4, -np.inf, 0.7])
        assert best_of(labels, scores).tolist() == [3, 2, 4]

    def test_the_most_probable_by_logits_not_by_probabilities(self):
        # Sums of softmax outputs would choose [0, 1]: 0.9 + 0.05 > 0.45 + 0.45.
        probabilities = [np.array([0.9, 0.05, 0.05]), np.array([0.9, 0.001, 0.099])]
        codes = np.array([[0, 1], [1, 2], [2, 2]], dtype=np.uint8)
        labels = np.zeros(3, dtype=np.int32)
        logits = [np.log(p) + 7.0 for p in probabilities]
        assert (probabilities[0][codes[:, 0]] + probabilities[1][codes[:, 1]]).argmax() == 0
        expected = (probabilities[0][codes[:, 0]] * probabilities[1][codes[:, 1]]).argmax()
        assert most_probable(codes, labels, logits, 1).tolist() == [expected] == [1]

    def test_is_the_product_of_probabilities_in_each_cluster(self, monkeypatch):
        monkeypatch.setattr("searchhub.searchers.clustering.BLOCK", 16)
        rng = np.random.default_rng(0)
        codes, labels = draw(rng, 200), rng.integers(3, size=200)
        logits = rng.normal(size=(5, 4))
        likely = np.prod([np.exp(row)[codes[:, layer]] for layer, row in enumerate(logits)], axis=0)
        for k, winner in enumerate(most_probable(codes, labels, logits, 3)):
            assert labels[winner] == k
            assert likely[winner] == pytest.approx(likely[labels == k].max())
            assert winner == np.flatnonzero((labels == k) & (codes == codes[winner]).all(axis=1))[0]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([0, 2], [1.0, 1.0]), "cluster 1 is empty"),
            (([0, 1], [1.0, 1.0], 3), "cluster 2 is empty"),
            (([0, 1], [1.0, np.nan]), "architecture 1"),
            (([0, 3], [1.0, 1.0], 2), r"0 … 1"),
            (([0, -1], [1.0, 1.0]), "-1"),
            (([0, 1], [1.0]), "equally long"),
            (([], []), "equally long"),
        ],
    )
    def test_what_best_of_refuses(self, arguments, message):
        with pytest.raises(InvalidInputError, match=message):
            best_of(np.array(arguments[0], dtype=int), np.array(arguments[1]), *arguments[2:])

    @pytest.mark.parametrize(
        ("logits", "message"),
        [
            ([[0.25, 0.75], [0.5, 0.5]], "np.log"),
            ([[0.0, np.nan], [1.0, 2.0]], "layer 0"),
            ([[0.0, 1.0], [np.inf, 2.0]], "layer 1"),
            ([[0.0, 1.0], [2.0]], "layer 1 must be below 1"),
            ([[0.0, 1.0]], "1 layers"),
        ],
    )
    def test_what_most_probable_refuses(self, logits, message):
        with pytest.raises(InvalidInputError, match=message):
            most_probable(np.array([[0, 1]], dtype=np.uint8), np.array([0]), [np.array(row) for row in logits], 1)


class TestBadInput:
    TABLE = cosines(np.random.default_rng(0), layers=2)
    CODES = draw(np.random.default_rng(0), 30, layers=2)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_clusters": 0}, "num_clusters >= 1"),
            ({"num_clusters": 31}, r"num_clusters <= 1\d"),  # 30 architectures, at most 16 different
            ({"start": np.zeros((3, 12))}, "2 × 12"),
            ({"start": np.full((2, 12), np.nan)}, "not finite"),
            ({"start": np.zeros((2, 12)), "n_init": 2}, "n_init"),
            ({"n_init": 0}, "n_init >= 1"),
            ({"max_iter": 0}, "max_iter >= 1"),
            ({"tol": np.nan}, "tol >= 0"),
        ],
    )
    def test_settings(self, options, message):
        with pytest.raises(InvalidInputError, match=message):
            cluster_codes(self.TABLE, self.CODES, **{"num_clusters": 2, **options})

    def test_numbers_that_are_not_finite_are_named(self):
        table = self.TABLE.copy()
        table[1, 2, 3] = np.nan
        with pytest.raises(InvalidInputError, match="layer 1, candidate 2, epoch 4 is nan"):
            cluster_codes(table, self.CODES, 2)
        features = np.random.default_rng(0).random((5, 2, 3))
        features[4, 1, 2] = np.inf
        with pytest.raises(InvalidInputError, match="network 4, layer 1, epoch 3 is inf"):
            cluster_features(features, 2)
        with pytest.raises(InvalidInputError, match="network 4, column 5 is inf"):
            cluster_features(features.reshape(5, 6), 2)

    def test_one_epoch(self):
        with pytest.raises(InvalidInputError, match="at least 2 epochs"):
            cluster_codes(self.TABLE[:, :, :1], self.CODES, 2)
        with pytest.raises(InvalidInputError, match="at least 2 epochs"):
            cluster_features(np.ones((5, 2, 1)), 2)

    def test_nothing_varies(self):
        with pytest.raises(InvalidInputError, match="every column is constant"):
            cluster_codes(np.ones((2, 4, 3)), self.CODES, 1)
        with pytest.raises(InvalidInputError, match="every column is constant"):
            cluster_codes(self.TABLE, self.CODES[:1].repeat(4, axis=0), 1)
        with pytest.raises(InvalidInputError, match="every column is constant"):
            cluster_features(np.ones((5, 2, 3)), 2)

    @pytest.mark.parametrize(
        ("codes", "message"),
        [
            (CODES.astype(int), "uint8"),
            (CODES.tolist(), "list"),
            (CODES[:0], "uint8 array"),
            (CODES[:, :1], "2 layers"),
            (np.array([[0, 4]], dtype=np.uint8), "layer 1 must be below 4, but the largest is 4"),
            (np.array([[INACTIVE, 0]], dtype=np.uint8), "layer 0 is inactive"),
        ],
    )
    def test_codes(self, codes, message):
        with pytest.raises(InvalidInputError, match=message):
            cluster_codes(self.TABLE, codes, 2)

    @pytest.mark.parametrize("table", [[], np.ones((2, 3)), [np.ones((3, 2)), np.ones((3, 4))], np.ones((2, 0, 3))])
    def test_tables(self, table):
        with pytest.raises(InvalidInputError, match="same epochs"):
            cluster_codes(table, self.CODES, 2)

    def test_features(self):
        with pytest.raises(InvalidInputError, match="shape"):
            cluster_features(np.ones(4), 2)
        features = np.random.default_rng(0).random((3, 4)).repeat(2, axis=0)
        with pytest.raises(InvalidInputError, match="num_clusters <= 3"):
            cluster_features(features, 4)
        with pytest.raises(InvalidInputError, match="hierarchical"):
            cluster_features(features, 2, method="median")
