import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml

from searchhub.costs.table import CostTable
from searchhub.effects import PredictedQuality
from searchhub.errors import InvalidInputError
from searchhub.generation import Limit, generate
from searchhub.networks.network import read_reports
from searchhub.reports import html
from searchhub.reports.html import write_report
from searchhub.reports.outcome import standard_error
from searchhub.reports.run import read_run
from searchhub.result import SearchResult
from searchhub.scoring import ScoringSearcher
from searchhub.searchers.ddp import DDPSearcher
from searchhub.searchers.random import RandomSearcher
from searchhub.searchers.warmup import WarmupSearcher
from searchhub.space import Choice, SearchSpace
from searchhub.spaces.darts import cell_edges, edge_name
from searchhub.trial import TrialResult

EVIL = "<script>alert(1)</script>"
TOKEN = "hf_" + "canary" * 4
SECTIONS = [
    "Networks",
    "Pareto fronts",
    "θ over the rounds",
    "Journal",
    "Costs",
    "Search cost",
    "Settings",
    "Versions",
]
VOID = {"meta", "br", "img"}


class Page(HTMLParser):
    """What a browser would see: elements, their attributes, and text by element."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes.extend((tag, *pair) for pair in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes.extend((tag, *pair) for pair in attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def text_of(self, tag):
        return [text for at, text in self.texts if at == tag]

    @property
    def visible(self):
        return " ".join(text for at, text in self.texts if at != "style")


def space_of(name="mobile"):
    solid = ("mbconv_e3_k3", "mbconv_e6_k5", EVIL)
    return SearchSpace(name, (Choice("stage1.layer1", solid), Choice("stage2.layer1", (*solid, "zero"))))


def run_folder(path, searcher, *, finished=True, networks=True):
    """A run of the searcher on an additive score, as `search()` and the recipe leave it."""
    space = searcher.space
    config = {
        "space": {"name": space.name, "fingerprint": space.fingerprint()},
        "searcher": searcher.config,
        "evaluator": {
            "task": {"name": f"birds & {EVIL}", "metric": "accuracy"},
            "model": {"id2label": {"0": EVIL}, "cache": "/home/ann/secret/birds", "hub_token": "swordfish"},
        },
        "config": {"note": f"with {TOKEN}", "nothing": None},
        "environment": {"device": "cpu", "processes": 1, "threads": 2},
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    }
    path.mkdir()
    (path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    lines = []
    while trials := searcher.ask():
        for trial in trials:
            score = float(1 / (2 + np.sum(space.encode(trial.architecture))))
            result = TrialResult(trial, score, {"loss": 1.25}, 0.5)
            searcher.tell([result])
            line = {k: v for k, v in result.to_dict().items() if k != "budget"}
            lines.append(json.dumps({**line, "time": f"2026-01-01T00:00:{trial.number % 60:02}+00:00"}))
    (path / "journal.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if not finished:
        return path
    entries = tuple(1e6 * np.arange(1.0, len(c.candidates) + 1) for c in space.choices)
    macs = CostTable("macs", space, 1e5, entries, "multiply-adds")
    result = searcher.result().with_costs(macs, CostTable("params", space, 10.0, entries, "parameters"))
    result.save(path / "result.json")
    if networks:
        chosen = generate(result, Limit("macs", max=4.5e6))
        write_network(path / "models" / "macs-4.5M" / "searchhub.json", "macs-4.5M", chosen, macs, 0.9)
        for i, accuracy in enumerate((0.7, 0.8)):
            name = f"macs-4.5M-random{i}"
            write_network(path / "baselines" / f"{name}.json", name, chosen, macs, accuracy)
    return path


def write_network(file, name, architecture, macs, accuracy, epochs=3):
    certificate = {"optimal": True, "method": "list-DP", "expectation": 0.25, "score": None, "note": ""}
    facts = {
        "name": name,
        "identity": {"architecture": architecture.to_dict(), "training": {"epochs": epochs}},
        "limits": [{"cost": "macs", "max": 4.5e6, "min": None, "equal": None}],
        "costs": {"macs": macs(architecture), "params": 1234.0},
        "metrics": {"accuracy": accuracy},
        "split": "test",
        "examples": 360,
        "epochs": epochs,
        "seconds": 61.0,
        "certificate": certificate,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts), encoding="utf-8")


def check(path):
    """What holds for the page of any run."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.text_of("h2") == SECTIONS
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.elements)
    assert "http://" not in text
    assert "https://" not in text
    for _, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("href", "src"):
            assert value.startswith(("#", "data:image/png;base64,"))
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {v[1:] for _, name, v in page.attributes if name == "href" and v.startswith("#")} <= set(ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(ids)
    assert not re.search(r"\b(nan|NaN|inf|None|null)\b", page.visible)
    assert ("meta", "name", "viewport") in page.attributes
    assert any("default-src 'none'" in (value or "") for _, _, value in page.attributes)
    for private in (TOKEN, "swordfish", "/home/ann", str(path.parent.parent)):
        assert private not in text
    return page


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_folder(tmp_path_factory.mktemp("runs") / "ddp", DDPSearcher(space_of(), estimation_epochs=1))


@pytest.fixture(scope="module")
def path(finished):
    return write_report(finished)


def test_page_of_a_finished_run_shows_everything(finished, path):
    assert path == finished / "report" / "report.html"
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    page = check(path)
    assert page.elements.count("svg") == 6
    for shown in ("macs-4.5M", "0.9000", "0.7500 ± 0.0707 (n=2)", "exact optimum (list-DP)", "1:01", "2.13.0", "birds"):
        assert shown in page.visible
    assert "not finished" not in page.visible
    assert "do not compare" not in page.visible
    assert "estimation_epochs" in page.text_of("dt")


def test_the_page_names_the_objective(finished, path, tmp_path):
    assert "Up: E[α] of DDPNAS Eq. 9." in check(path).visible  # of a certificate from before objectives had names, too
    assert "expectation" in check(path).text_of("dd")
    run = shutil.copytree(finished, tmp_path / "run")
    result = SearchResult.load(run)
    replace(result, prediction=PredictedQuality.fit(result.space, result.history)).save(run / "result.json")
    facts = json.loads((run / "models" / "macs-4.5M" / "searchhub.json").read_text())
    facts["certificate"] |= {"objective": "predicted quality", "predicted": 0.5, "loss": 1.25, "deviation": 0.0625}
    (run / "models" / "macs-4.5M" / "searchhub.json").write_text(json.dumps(facts))
    page = check(write_report(run))
    assert "Up: quality predicted from scores, as the loss that it amounts to." in page.visible
    assert {"predicted quality", "1.2500 ± 0.0625"} <= set(page.text_of("dd"))


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("p", id="the name of the data"),
        pytest.param("td", id="a candidate in the journal"),
        pytest.param("li", id="a candidate in a diagram"),
        pytest.param("text", id="a candidate in the legend of θ"),
        pytest.param("dd", id="a class in the settings"),
    ],
)
def test_names_are_text_and_never_markup(path, place):
    # The slash of its end reads like a path, and is redacted.
    assert any("<script>alert(1)<" in text for text in check(path).text_of(place))


def test_secrets_and_paths_stay_private(path):
    page = check(path)
    assert "REDACTED" in page.text_of("dd")
    assert "with REDACTED" in page.text_of("dd")
    assert "birds" in page.text_of("dd")


def test_the_same_run_gives_the_same_bytes(finished, path, tmp_path):
    assert write_report(finished, tmp_path / "again.html").read_bytes() == path.read_bytes()
    assert path.stat().st_size < 300_000


def test_run_without_networks_says_so(tmp_path):
    run = run_folder(tmp_path / "run", DDPSearcher(space_of(), estimation_epochs=1), networks=False)
    assert "No network has been trained" in check(write_report(run)).visible


def test_random_search_has_no_theta(tmp_path):
    run = run_folder(tmp_path / "run", RandomSearcher(space_of(), num_trials=5))
    page = check(write_report(run))
    assert "This searcher has no θ" in page.visible
    assert page.elements.count("svg") == 5


def test_warmup_is_listed_and_never_the_best(tmp_path):
    def warmed(trials):
        searcher = WarmupSearcher(RandomSearcher(space_of(), num_trials=trials), 2)
        run = run_folder(tmp_path / str(trials), searcher, finished=False)
        lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
        for line in lines[:2]:
            line["score"] = 0.99
        return run, lines

    run, lines = warmed(5)
    (run / "journal.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines[:4]))
    visible = check(write_report(run)).visible
    assert "4 of 7" in visible
    assert re.search(r"Best: trial [23] with 0\.[2-5]", visible)
    assert visible.count("warm-up") == 2
    (run / "journal.jsonl").write_text(json.dumps(lines[0]) + "\n")
    assert "No trial is finished yet" in check(write_report(run)).visible


def test_the_best_is_one_of_those_that_were_scored_on_the_same_weights(tmp_path):
    """Trials on earlier weights are no match for them, whatever they scored there."""
    searcher = ScoringSearcher(RandomSearcher(space_of(), num_trials=3), scored=4)
    run = run_folder(tmp_path / "run", searcher, finished=False)
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "evaluator": {"score": "likelihood"}}))
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    for i, line in enumerate(lines):
        line["weights_step"] = min(10 * i, 30)
        line["score"] = 0.99 if i < 3 else 0.25 + i / 100

    def page_after(done):
        (run / "journal.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines[:done]))
        return check(write_report(run))

    assert "Best: trial 2 with 0.9900" in page_after(3).visible
    page = page_after(6)
    assert "6 of 7" in page.visible
    assert "Best: trial 5 with 0.3000" in page.visible
    assert page.text_of("td").count("after the search") == 3
    assert "score (likelihood)" in page.visible


def test_unfinished_run_says_so_and_drops_the_torn_line(tmp_path):
    run = run_folder(tmp_path / "run", RandomSearcher(space_of(), num_trials=9), finished=False)
    lines = (run / "journal.jsonl").read_text().splitlines(keepends=True)
    (run / "journal.jsonl").write_text("".join(lines[:4]) + '{"trial": 4, "round": NaN' + "\n")
    page = check(write_report(run))
    assert "This search is not finished" in page.visible
    assert "4 of 9" in page.visible
    assert "cannot be read: 1" in page.visible
    assert page.elements.count("svg") == 1


def test_run_that_has_only_begun(tmp_path):
    run = run_folder(tmp_path / "run", RandomSearcher(space_of(), num_trials=9), finished=False)
    (run / "journal.jsonl").unlink()
    page = check(write_report(run))
    assert "No trial is finished yet" in page.visible


def test_result_alone_is_enough(tmp_path, finished):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_bytes((finished / "result.json").read_bytes())
    page = check(write_report(tmp_path / "run"))
    assert "They were not written down" in page.visible


def test_networks_trained_differently_are_not_to_be_compared(tmp_path):
    run = run_folder(tmp_path / "run", DDPSearcher(space_of(), estimation_epochs=1))
    network = read_reports(run)[0].network
    macs = CostTable("macs", space_of(), 0.0, (np.ones(3), np.ones(4)))
    write_network(run / "models" / "other" / "searchhub.json", "other", network.architecture, macs, 0.5, epochs=9)
    page = check(write_report(run)).visible
    assert "Do not compare these with networks that were trained otherwise" in page
    assert "Trained with epochs 9" in page


def test_many_trials_are_cut_to_the_best(tmp_path, monkeypatch):
    monkeypatch.setattr(html, "MOST_TRIALS", 3)
    run = run_folder(tmp_path / "run", RandomSearcher(space_of(), num_trials=8))
    page = check(write_report(run))
    assert "The 3 best of 8 trials" in page.visible


def test_it_opens_with_what_was_searched_for_and_what_came_out(path):
    page = check(path)
    words = " ".join(page.visible.split())
    assert page.elements.index("h1") < page.elements.index("section") < page.elements.index("h2")
    assert "This run searched 12 possible networks for the best on birds &" in words
    assert "with at most 4,500,000 multiply-adds." in words
    se = 100 * (0.9 * 0.1 / 360) ** 0.5
    assert f"The network that came out, macs-4.5M, has a test accuracy of 90.0 % ± {se:.1f} points on 360" in words
    assert "; random networks within the same limits are 15.0 points worse on average." in words
    assert f"less than {2 * 2**0.5 * se:.1f} points apart cannot be told apart" in words
    labels = [value for _, name, value in page.attributes if name == "aria-label"]
    assert labels[:2] == [
        "Test accuracy of 3 trained networks against their multiply-adds",
        "Test accuracy of 3 trained networks against their parameters",
    ]


def test_the_opening_compares_what_was_trained_alike_with_the_largest(tmp_path, finished):
    run = shutil.copytree(finished, tmp_path / "run")
    result = SearchResult.load(run)
    entries = tuple(np.arange(1.0, len(c.candidates) + 1) for c in result.space.choices)
    table = CostTable("latency_ms", result.space, 0.5, entries, "ms, a board, onnxruntime, batch 1")
    result.with_costs(table).save(run / "result.json")
    largest = generate(result, Limit("macs", min=7e6))
    write_network(run / "baselines" / "largest.json", "largest", largest, result.costs["macs"], 0.95)
    write_network(run / "models" / "other" / "searchhub.json", "other", largest, result.costs["macs"], 0.99, epochs=9)
    reports = {r.network.name: r for r in read_run(run).reports}
    assert {name: r.costs["latency_ms"] for name, r in reports.items()} == {
        name: table(r.network.architecture) for name, r in reports.items()
    }
    page = check(write_report(run))
    assert "; the largest network has 95.0 %, with 1." in page.visible
    assert "99.0 %" not in page.visible
    assert "milliseconds (a board, onnxruntime, batch 1)" in page.visible


def test_what_is_no_share_of_the_examples_has_no_standard_error(finished):
    report = read_reports(finished)[0]
    assert standard_error(report, "accuracy") == pytest.approx((0.9 * 0.1 / 360) ** 0.5)
    assert standard_error(replace(report, metrics={"accuracy": 1.0}), "accuracy") > 0
    assert standard_error(replace(report, metrics={"pearson": 0.5}), "pearson") is None


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"must be the folder of a run"):
        write_report(tmp_path)
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(InvalidInputError, match="must be readable YAML"):
        write_report(tmp_path)


def cells_run(folder, estimator="mean"):
    solid = ("sep_conv_3x3", EVIL)
    edges = tuple(Choice(edge_name("normal", s, t), ("none", *solid)) for s, t in cell_edges(2))
    searcher = DDPSearcher(SearchSpace("cells", edges), estimation_epochs=3, estimator=estimator)
    return run_folder(folder, searcher, networks=False)


def test_cells_are_drawn_and_pruning_is_judged(tmp_path):
    run = cells_run(tmp_path / "run")
    page = check(write_report(run))
    assert "normal cell" in page.visible
    assert "node 3" in page.visible
    assert "How sure the pruning was" in page.text_of("summary")
    assert "worst two in the wrong order (Th. 2)" in page.text_of("th")


@pytest.mark.parametrize("estimator", ["regression", "pairs"])
def test_what_did_not_prune_by_means_is_not_judged_by_them(tmp_path, estimator):
    page = check(write_report(cells_run(tmp_path / "run", estimator)))
    assert "θ at the end" in page.text_of("summary")
    assert "How sure the pruning was" not in page.visible


def test_random_search_pruned_nothing(tmp_path):
    page = check(write_report(run_folder(tmp_path / "run", RandomSearcher(space_of(), num_trials=8), networks=False)))
    assert "How sure the pruning was" not in page.visible
