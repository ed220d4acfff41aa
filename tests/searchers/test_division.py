import dataclasses
import json

import numpy as np
import pytest

from searchhub.errors import InvalidInputError
from searchhub.result import SearchResult
from searchhub.searchers.division import Division, divide, winners_in_order
from searchhub.space import Architecture, Choice, SearchSpace
from searchhub.trial import Budget, Trial, TrialResult

SPACE = SearchSpace("s", (Choice("a", tuple(range(6))),))


def features():
    """Two far groups: even networks turn little, odd ones much."""
    rng = np.random.default_rng(0)
    level = np.where(np.arange(10) % 2, 0.2, 0.9)[:, None, None]
    return np.clip(level + 0.01 * rng.standard_normal((10, 3, 4)), -1, 1)


SCORES = np.array([0.1, 0.5, 0.4, 0.2, 0.4, 0.9, 0.3, 0.9, 0.0, 0.1])


@pytest.mark.parametrize("method", ["kmeans", "hierarchical"])
def test_each_cluster_has_its_best_and_clusters_go_by_them(method):
    labels, winners, clusters = divide(features(), SCORES, 2, method=method)
    assert labels.tolist() == [1, 0] * 5, "the cluster of the best network of all is number 0"
    assert winners.tolist() == [5, 2], "of equal scores the first"
    assert sorted(clusters.counts.tolist()) == [5, 5]


def test_one_cluster_is_early_stopping_whatever_the_features():
    labels, winners, clusters = divide(np.full((10, 3, 4), np.nan), SCORES, 1)
    assert labels.tolist() == [0] * 10
    assert winners.tolist() == [5]
    assert clusters is None


def test_the_winner_of_all_is_among_those_of_any_number_of_clusters():
    for k in range(1, 11):
        labels, winners, _ = divide(features(), SCORES, k)
        assert winners[0] == 5
        assert sorted(SCORES[winners], reverse=True) == SCORES[winners].tolist()
        assert labels[winners].tolist() == list(range(k))
        assert [SCORES[w] for w in winners] == [SCORES[labels == j].max() for j in range(k)]


def result(scores, labels=(0, 1, 0, -1)):
    """Four networks early-stopped, of which 2 and 1 won; then these fully trained."""
    winners = (Architecture({"a": 2}), Architecture({"a": 1}))
    division = Division((2, 1), winners, (0.5, 0.3), labels, {"num_clusters": 2})
    early = [TrialResult(Trial(i, Architecture({"a": i}), Budget(2, data_share=0.5)), 0.99) for i in range(4)]
    full = [
        TrialResult(Trial(4 + i, winner, Budget(9), 1), score)
        for i, (winner, score) in enumerate(zip(winners, scores, strict=False))
    ]
    return SearchResult(SPACE, (*early, *full), division=division.to_dict())


def test_winners_are_in_the_order_of_full_training():
    found = winners_in_order(SearchResult.from_dict(json.loads(json.dumps(result((0.6, 0.7)).to_dict()))))
    assert [(w.cluster, w.size, w.architecture["a"], w.won_by, w.score) for w in found] == [
        (1, 1, 1, 0.3, 0.7),
        (0, 2, 2, 0.5, 0.6),
    ]


def test_winners_that_are_not_trained_yet_have_no_place():
    assert [w.cluster for w in winners_in_order(result((0.6,)))] == [0]
    assert winners_in_order(result(())) == []


def test_winners_that_diverged_have_no_place():
    whole = result((0.0, 0.7))
    lost = dataclasses.replace(whole.history[4], metrics={"diverged": 1.0})
    found = dataclasses.replace(whole, history=(*whole.history[:4], lost, whole.history[5]))
    assert [w.cluster for w in winners_in_order(found)] == [1]


def test_early_stopped_scores_are_not_compared_with_full_ones():
    assert result((0.6, 0.7)).best_trial.trial.number == 5


def test_a_division_survives_json():
    division = Division.from_dict(result(()).division)
    assert Division.from_dict(json.loads(json.dumps(division.to_dict()))) == division


def test_another_search_has_no_winners():
    with pytest.raises(InvalidInputError, match="no `division`"):
        winners_in_order(SearchResult(SPACE, ()))
    assert "division" not in SearchResult(SPACE, ()).to_dict()
