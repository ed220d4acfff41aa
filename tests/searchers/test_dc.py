import hashlib
import itertools

import numpy as np
import pytest

from searchhub.costs.table import CostTable
from searchhub.errors import InvalidInputError
from searchhub.generation import Limit, generate
from searchhub.result import SearchResult
from searchhub.searchers.clustering import cluster_codes
from searchhub.searchers.dc import DCSearcher, DCSupernetSearcher, sample_distinct
from searchhub.searchers.division import Division, winners_in_order
from searchhub.space import Choice, Condition, SearchSpace
from searchhub.testing import SearcherContract
from searchhub.trial import Budget, TrialResult

SPACE = SearchSpace("s", tuple(Choice(f"layer{i}", ("a", "b", "c", "d")) for i in range(4)))
FULL = Budget(epochs=20)


def dc(space=SPACE, **options):
    defaults = {"num_samples": 12, "num_clusters": 3, "proxy_epochs": 4, "proxy_share": 0.5, "budget": FULL}
    return DCSearcher(space, **{**defaults, **options})


def learned(trial):
    """Features that the first choice decides, with a little noise: networks with "a" and "b" learn alike."""
    if trial.round > 0:
        return None
    seed = int(hashlib.sha256(str(trial.architecture).encode()).hexdigest()[:8], 16)
    noise = 1e-3 * np.random.default_rng(seed).standard_normal((4, trial.budget.epochs))
    level = 0.9 if trial.architecture["layer0"] in ("a", "b") else 0.1
    rows = np.full((4, trial.budget.epochs), level) + noise
    rows[:, 0] = 1.0
    return tuple(map(tuple, rows.tolist()))


def told(searcher, score=lambda trial: 0.5, features=learned):
    while trials := searcher.ask():
        searcher.tell([TrialResult(t, score(t), features=features(t)) for t in trials])
    return searcher


class TestContract(SearcherContract):
    def outcome(self, trial):
        return TrialResult(trial, self.score(trial), features=learned(trial))

    @pytest.fixture(params=["uniform", "probabilities", "given", "early stopping", "hierarchical"])
    def make_searcher(self, request):
        architectures = [SPACE.decode(row) for row in sample_distinct(SPACE, 9, np.random.default_rng(0))]
        options = {
            "uniform": {},
            "probabilities": {"probabilities": [np.array([0.4, 0.3, 0.2, 0.1])] * 4},
            "given": {"num_samples": None, "architectures": architectures},
            "early stopping": {"num_clusters": 1, "proxy_epochs": 1},
            "hierarchical": {"method": "hierarchical"},
        }[request.param]
        return lambda seed: dc(seed=seed, **options)


class TestSupernetContract(SearcherContract):
    @pytest.fixture
    def make_searcher(self):
        return lambda seed: supernet_dc(seed=seed)


def test_samples_are_distinct_and_early_stopped_then_winners_fully_trained():
    history = told(dc(num_samples=100)).history
    early, full = history[:100], history[100:]
    assert len({r.trial.architecture for r in early}) == 100
    assert {r.trial.budget for r in early} == {Budget(4, data_share=0.5)}
    assert [r.trial.budget for r in full] == [FULL] * 3
    assert [r.trial.round for r in history] == [0] * 100 + [1] * 3


def test_the_best_of_each_cluster_wins_and_the_best_of_these_is_the_answer():
    def score(trial):
        if trial.round == 1:
            return 0.7 if trial.architecture["layer0"] in ("a", "b") else 0.8
        bonus = 0.3 if trial.architecture["layer0"] in ("a", "b") else 0.0  # fast learners look better early
        return 0.2 + bonus + 0.01 * "abcd".index(trial.architecture["layer1"])

    searcher = told(dc(num_samples=60, num_clusters=2), score)
    division = searcher.division
    assert [w["layer0"] in ("a", "b") for w in division.winners] == [True, False]
    assert [w["layer1"] for w in division.winners] == ["d", "d"]
    assert division.won_by == pytest.approx((0.53, 0.23))
    assert sum(division.sizes) == 60
    for label, result in zip(division.labels, searcher.history, strict=False):
        assert (label == 0) == (result.trial.architecture["layer0"] in ("a", "b"))
    result = SearchResult.from_dict(searcher.result().to_dict())
    assert [w.cluster for w in winners_in_order(result)] == [1, 0]
    assert result.best_trial.trial.architecture == division.winners[1]
    assert generate(result) == division.winners[1], "though the early-stopped score of others may be larger"


def test_generate_looks_at_fully_trained_networks_only():
    cost = CostTable("cost", SPACE, 0.0, tuple(np.arange(4.0) for _ in range(4)))
    searcher = told(dc(num_samples=40), lambda trial: 0.9 if trial.round == 0 else 0.1)
    result = searcher.result().with_costs(cost)
    winners = {w: cost(w) for w in searcher.division.winners}
    assert generate(result, Limit("cost", max=max(winners.values()))) in winners
    smallest = min(cost(r.trial.architecture) for r in searcher.history)
    assert smallest < min(winners.values()), "else the next line shows nothing"
    with pytest.raises(InvalidInputError):
        generate(result, Limit("cost", max=smallest))


def test_one_cluster_is_early_stopping():
    searcher = told(dc(num_clusters=1, proxy_epochs=1), lambda t: t.number / 100, features=lambda trial: None)
    assert searcher.division.winners == (searcher.history[11].trial.architecture,)


def test_networks_that_diverged_are_left_out():
    searcher = told(
        dc(num_clusters=2),
        lambda t: 0.99 if t.number in (3, 5) else 0.5,
        features=lambda t: None if t.number in (3, 5) else learned(t),
    )
    assert [i for i, label in enumerate(searcher.division.labels) if label == -1] == [3, 5]
    assert sum(searcher.division.sizes) == 10
    lost = {searcher.history[i].trial.architecture for i in (3, 5)}
    assert lost.isdisjoint(searcher.division.winners)


def test_theta_decides_what_is_sampled():
    theta = [np.array([0.0, 0.0, 0.5, 0.5])] * 4
    codes = sample_distinct(SPACE, 16, np.random.default_rng(0), theta)
    assert sorted(map(tuple, codes.tolist())) == list(itertools.product((2, 3), repeat=4))
    with pytest.raises(InvalidInputError, match=r"only 16 do\. Lower `num_samples`"):
        sample_distinct(SPACE, 17, np.random.default_rng(0), theta)


def test_the_whole_space_can_be_sampled():
    codes = sample_distinct(SPACE, SPACE.size, np.random.default_rng(0))
    assert len(np.unique(codes, axis=0)) == SPACE.size
    first = np.array([tuple(codes[i]) for i in range(20)])
    assert len(np.unique(first[:, 0])) > 1, "in the order drawn, not sorted"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_clusters": 13}, "`1 <= num_clusters <= samples <= size of the space` must hold, but got 13, 12 and 256"),
        ({"num_samples": 257}, "got 3, 257 and 256"),
        ({"num_clusters": 0}, "got 0, 12 and 256"),
        ({"proxy_epochs": 1}, "`proxy_epochs >= 2` must hold"),
        ({"budget": Budget(2)}, "full training must be more than the early-stopped one"),
        ({"method": "spectral"}, "`method` must be one of"),
        ({"n_init": 0}, "`n_init >= 1`"),
        ({"num_samples": None}, "Either `num_samples` or `architectures`"),
        ({"probabilities": [np.ones(4)] * 3}, "has 4 choices, but 3"),
        ({"probabilities": [np.ones(4)] * 3 + [np.array([1, -1, 1, 1])]}, "`layer3` must have 4 finite probabilities"),
        ({"probabilities": [np.ones(4)] * 3 + [np.zeros(4)]}, "one above 0"),
        ({"proxy_share": 1.5}, "`data_share` of a budget"),
    ],
)
def test_what_cannot_work_is_said_at_once(options, message):
    with pytest.raises(InvalidInputError, match=message):
        dc(**options)


def test_duplicates_in_a_list_are_named():
    one, two = (SPACE.decode([i] * 4) for i in range(2))
    with pytest.raises(InvalidInputError, match="distinct, but 0 and 2 are both"):
        dc(num_samples=None, architectures=[one, two, one])
    with pytest.raises(InvalidInputError, match="must not be empty"):
        dc(num_samples=None, architectures=[])


def test_an_evaluator_without_features_is_named():
    with pytest.raises(InvalidInputError, match="the evaluator records none"):
        told(dc(), features=lambda trial: None)


def test_features_that_never_change_are_an_error():
    with pytest.raises(InvalidInputError, match="every column is constant"):
        told(dc(), features=lambda trial: ((1.0, 0.5, 0.5, 0.5),) * 4)


def test_features_that_are_not_finite_name_layer_and_epoch():
    trial = dc().ask()[0]
    with pytest.raises(InvalidInputError, match="trial 0 has nan at layer 1, epoch 3"):
        TrialResult(trial, 0.5, features=((1.0, 0.5, 0.5), (1.0, 0.5, float("nan"))))


def test_layers_that_come_and_go_are_refused():
    space = SearchSpace("c", (Choice("a", (1, 2)), Choice("b", (1, 2, 3), condition=Condition("a", (2,)))))
    with pytest.raises(InvalidInputError, match=r"choices of `c` depend on others: \['b'\]"):
        dc(space, num_samples=4, num_clusters=2)
    assert told(dc(space, num_samples=4, num_clusters=1), features=lambda t: None).division.sizes == (4,)
    with pytest.raises(InvalidInputError, match="same layers and epochs"):
        told(dc(), features=lambda t: ((1.0, 0.5),) * (1 + t.number % 2))


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"diverged_epoch": 3.0, "diverged_layer": 1.0}, "trial 2, the output of `layer1` was .* finite in epoch 3"),
        ({"diverged_epoch": 1.0}, "trial 2, the loss was no longer finite in epoch 1"),
        ({}, r"trial 2, the loss was no longer finite\."),
    ],
)
def test_where_too_many_diverge_the_first_is_told(metrics, words):
    searcher = dc()
    results = [
        TrialResult(t, 0.5, features=learned(t)) if t.number < 2 else TrialResult(t, 0.0, {"diverged": 1.0, **metrics})
        for t in searcher.ask()
    ]
    with pytest.raises(InvalidInputError, match=rf"of 12 only 2 have: 10 diverged.*{words}.*Lower `num_clusters`"):
        searcher.tell(results)


# -- sampled from a supernet ------------------------------------------------------------------------------------------

RNG = np.random.default_rng(1)
TABLE = [np.concatenate([np.ones((4, 1)), RNG.random((4, 3))], axis=1) for _ in range(4)]
LOGITS = [RNG.standard_normal(4) for _ in range(4)]


def supernet_dc(**options):
    defaults = {"table": TABLE, "logits": LOGITS, "num_samples": 5000, "num_clusters": 3, "budget": FULL}
    return DCSupernetSearcher(SPACE, **{**defaults, **options})


def test_only_winners_are_asked_for_the_most_probable_of_their_clusters():
    searcher = supernet_dc()
    trials = searcher.ask()
    assert [t.budget for t in trials] == [FULL] * 3
    probabilities = [np.exp(row) / np.exp(row).sum() for row in LOGITS]
    codes = SPACE.sample(5000, np.random.default_rng(0), probabilities)
    labels = cluster_codes(TABLE, codes, 3, seed=0).labels
    log = np.sum([np.log(p)[codes[:, i]] for i, p in enumerate(probabilities)], axis=0)
    expected = {}
    for k in range(3):
        own = np.flatnonzero(labels == k)
        best = own[log[own].argmax()]
        expected[SPACE.decode(codes[best])] = (len(own), log[best])
    division = searcher.division
    assert set(division.winners) == set(expected)
    for winner, size, won_by in zip(division.winners, division.sizes, division.won_by, strict=True):
        assert (size, pytest.approx(won_by)) == expected[winner]
    assert list(division.won_by) == sorted(division.won_by, reverse=True)
    assert division.labels is None
    places = [list(expected).index(winner) for winner in division.winners]
    assert [row for row, _ in division.drawn] == [tuple(row) for row in codes[:500].tolist()]
    assert [places[cluster] for _, cluster in division.drawn] == labels[:500].tolist()


def test_the_best_winner_by_full_training_comes_first():
    searcher = supernet_dc()
    trials = searcher.ask()
    searcher.tell([TrialResult(t, score) for t, score in zip(trials, (0.2, 0.9, 0.5), strict=True)])
    assert not searcher.ask()
    result = SearchResult.from_dict(searcher.result().to_dict())
    assert [w.cluster for w in winners_in_order(result)] == [1, 2, 0]
    assert Division.from_dict(result.division) == searcher.division


def test_settings_tell_tables_apart():
    assert supernet_dc().config == supernet_dc().config
    other = [TABLE[0] * 0.9, *TABLE[1:]]
    assert supernet_dc(table=other).config != supernet_dc().config
    shifted = [row + 3.0 for row in LOGITS]
    np.testing.assert_allclose(supernet_dc(logits=shifted).logits, supernet_dc().logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_clusters": 5001}, "`1 <= num_clusters <= num_samples`"),
        ({"logits": LOGITS[:3]}, "has 4 choices, but 3"),
        ({"logits": [np.array([0.0, 1.0, np.nan, 0.0]), *LOGITS[1:]]}, "`logits` must be finite"),
        ({"table": TABLE[:3]}, "as many candidates a layer"),
        ({"table": [TABLE[0] * np.nan, *TABLE[1:]]}, "layer 0, candidate 0, epoch 1 is nan"),
        ({"table": [rows[:, :1] for rows in TABLE]}, "at least 2 epochs, but got 1.* Train for more epochs"),
    ],
)
def test_wrong_tables_are_refused(options, message):
    with pytest.raises(InvalidInputError, match=message):
        supernet_dc(**options)
