import io
from dataclasses import replace

import numpy as np
import pytest

from searchhub.errors import InvalidInputError
from searchhub.reports import html
from searchhub.reports.html import write_report
from searchhub.result import SearchResult
from searchhub.searchers.dc import DCSupernetSearcher
from searchhub.searchers.division import Division
from searchhub.space import Choice, SearchSpace
from searchhub.trial import Budget, Trial, TrialResult
from searchhub.visualization.clusters import (
    over_k_rows,
    over_k_text,
    plot_clusters,
    plot_winners,
    principal_components,
    summarize_clusters,
)

SPACE = SearchSpace("s", (Choice("a", (0.25, 1, 4)), Choice("b", (0.25, 1, 4)), Choice("c", ("skip", "k3"))))


def result(labels=(0, 1, 0, -1, 1)):
    rng = np.random.default_rng(0)
    architectures = [SPACE.decode([i % 3, i // 3, i % 2]) for i in range(5)]
    early = [
        TrialResult(
            Trial(i, a, Budget(3, data_share=0.5)),
            0.1 * i,
            features=tuple(map(tuple, rng.random((3, 3)).tolist())) if label != -1 else None,
        )
        for i, (a, label) in enumerate(zip(architectures, (0, 1, 0, -1, 1), strict=True))
    ]
    winners = (architectures[4], architectures[2])
    full = [TrialResult(Trial(5 + i, w, Budget(9), 1), 0.5) for i, w in enumerate(winners)]
    return SearchResult(SPACE, (*early, *full), division=Division((2, 2), winners, (0.4, 0.2), labels).to_dict())


@pytest.mark.parametrize("plot", [plot_clusters, plot_winners])
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_pictures_are_drawn(tmp_path, plot, suffix):
    plot(result(), tmp_path / f"picture.{suffix}")
    assert (tmp_path / f"picture.{suffix}").stat().st_size > 2000


def test_pictures_say_sizes_winners_and_scores(tmp_path):
    plot_clusters(result(), tmp_path / "c.svg")
    plot_winners(result(), tmp_path / "w.svg")
    clusters, winners = ((tmp_path / name).read_text() for name in ("c.svg", "w.svg"))
    assert all(text in clusters for text in ("cluster 0: 2 networks", "cluster 1: 2 networks", "0: 0.400", "1: 0.200"))
    assert all(text in winners for text in ("cluster 0, 0.500 when fully trained", "0.25", "skip", ">a<", ">c<"))


def test_architectures_sampled_from_a_supernet_are_drawn_by_its_table(tmp_path):
    winners = (SPACE.decode([0, 0, 0]), SPACE.decode([2, 2, 1]))
    drawn = (((0, 0, 1), 0), ((2, 2, 0), 1), ((1, 0, 0), 0))
    division = Division((700, 300), winners, (-1.5, -2.5), drawn=drawn)
    table = [np.linspace(0, 1, 2 * len(c.candidates)).reshape(-1, 2) for c in SPACE.choices]
    found = SearchResult(SPACE, (), division=Division.from_dict(division.to_dict()).to_dict())
    plot_clusters(found, tmp_path / "c.svg", table=table)
    text = (tmp_path / "c.svg").read_text()
    assert all(words in text for words in ("cluster 0: 700 networks", "0: -1.500", "5 of the sampled architectures"))


def sampled():
    """Of a supernet, and its searcher."""
    rng = np.random.default_rng(2)
    table = [
        np.concatenate([np.ones((len(c.candidates), 1)), rng.random((len(c.candidates), 3))], 1) for c in SPACE.choices
    ]
    searcher = DCSupernetSearcher(
        SPACE,
        table=table,
        logits=[rng.standard_normal(len(c.candidates)) for c in SPACE.choices],
        num_samples=400,
        num_clusters=2,
        budget=Budget(3),
        seed=5,
    )
    searcher.tell([TrialResult(trial, 0.5) for trial in searcher.ask()])
    return searcher.result(), searcher


def test_other_numbers_of_clusters_of_what_a_supernet_samples():
    found, searcher = sampled()
    told = summarize_clusters(found, searcher)
    rows = over_k_rows(told)
    assert [row["K"] for row in rows] == [1, 2, 3, 4]
    assert rows[1]["inertia"] == found.division["summary"]["inertia"], "the same architectures from the same start"
    assert [rows[1]["smallest cluster"], rows[1]["largest cluster"]] == sorted(found.division["sizes"])
    assert [row["silhouette"] is None for row in rows] == [True, False, False, False]
    assert "K on 400 of the architectures; K = 2 was taken" in over_k_text(told)
    assert f"| 2 | {rows[1]['inertia']:.4g} |" in over_k_text(told)
    assert summarize_clusters(told, searcher) is told
    assert Division.from_dict(told.division) == searcher.division
    assert over_k_text(found) == ""


def test_other_numbers_of_clusters_of_networks_trained_apart():
    """Of four that did not diverge."""
    rows = over_k_rows(summarize_clusters(result()))
    assert [row["K"] for row in rows] == [1, 2, 3, 4]
    assert [row["smallest cluster"] + row["largest cluster"] for row in rows[:2]] == [8, 4]
    assert rows[0]["inertia"] > rows[1]["inertia"] > rows[2]["inertia"] > rows[3]["inertia"] == pytest.approx(0)
    found = result()
    one = replace(
        found, division=Division((4,), (found.history[4].trial.architecture,), (0.4,), (0, 0, 0, -1, 0)).to_dict()
    )
    assert summarize_clusters(one) is one, "nothing was divided"


def test_a_supernets_report_shows_its_clusters(tmp_path):
    found, searcher = sampled()
    told = summarize_clusters(found, searcher)
    plot_clusters(found, tmp_path / "table.svg", table=searcher.table)
    plot_clusters(told, tmp_path / "told.svg")
    assert "400 of the sampled" not in (tmp_path / "told.svg").read_text()
    assert "402 of the sampled architectures" in (tmp_path / "told.svg").read_text()
    told.save(tmp_path / "result.json")
    page = write_report(tmp_path).read_text()
    for text in ("402 of the sampled architectures", "principal component 1", "K = 2 was taken", "silhouette"):
        assert text in page, text


def test_principal_components_are_the_largest_spread():
    rng = np.random.default_rng(1)
    spread = rng.standard_normal((200, 2)) * (5.0, 1.0)
    directions = np.linalg.qr(rng.standard_normal((6, 2)))[0].T
    points, shares = principal_components(spread @ directions + 3.0)
    centred = spread - spread.mean(axis=0)
    assert abs(np.corrcoef(points[:, 0], centred[:, 0])[0, 1]) > 0.99
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0] > 0.9
    assert np.linalg.norm(points, axis=1) == pytest.approx(np.linalg.norm(centred, axis=1))


def test_one_direction_of_spread_is_enough():
    points, shares = principal_components(np.array([[0.0], [1.0], [2.0]]))
    assert points[:, 0].tolist() == pytest.approx([-1, 0, 1])
    assert points[:, 1].tolist() == [0, 0, 0]
    assert shares.tolist() == pytest.approx([1, 0])


def test_other_searches_have_no_such_pictures(tmp_path):
    plain = SearchResult(SPACE, ())
    for plot in (plot_clusters, plot_winners):
        with pytest.raises(InvalidInputError, match="no `division`"):
            plot(plain, io.BytesIO())
    with pytest.raises(InvalidInputError, match="sampled from a supernet"):
        plot_clusters(result(labels=None), io.BytesIO())


def test_the_report_tells_sizes_winners_and_their_order(tmp_path):
    found = result()
    found.save(tmp_path / "result.json")
    page = write_report(tmp_path).read_text()
    for text in (
        "Clusters",
        "4 architectures in 2 clusters; 1 diverged",
        "early-stopped score",
        "cluster 0: 2 networks",
    ):
        assert text in page, text
    SearchResult(SPACE, found.history).save(tmp_path / "result.json")
    assert "early-stopped score" not in write_report(tmp_path).read_text()


def test_the_report_lists_what_was_fully_trained_first(tmp_path, monkeypatch):
    """Early-stopped networks may score higher; the best one is among the others, and is listed."""
    monkeypatch.setattr(html, "MOST_TRIALS", 2)
    found = result()
    early = [replace(r, score=0.9) for r in found.history[:5]]
    replace(found, history=(*early, *found.history[5:])).save(tmp_path / "result.json")
    page = write_report(tmp_path).read_text()
    assert "Best: trial 5 with 0.5000" in page
