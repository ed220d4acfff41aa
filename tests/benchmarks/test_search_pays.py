import importlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from searchhub import EvolutionSearcher, Limit, search
from searchhub.evaluators.tabular import NASBENCH_MACRO_FILE, TabularEvaluator
from searchhub.spaces.nasbench_macro import canonical_codes
from searchhub.trial import SCORED, SCORING, Trial, TrialResult

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "search_pays.py"
SIZES = ["--image_size=8", "--train_samples=48", "--eval_samples=32", "--batch_size=16", "--batch_norm_batches=1"]
SHORT = ["--passes=2", "--estimation_epochs=1", "--scored=6", "--sample=12"]


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        yield importlib.import_module("search_pays")


@pytest.fixture(scope="module")
def pieces(script):
    return importlib.import_module("search_pays_pieces")


@pytest.fixture(scope="module")
def table(pieces, tmp_path_factory):
    """In the form of NAS-Bench-Macro's; a network is the better the more it costs, and rows that mean one differ."""
    networks = pieces.Networks(None)
    macs = networks.macs.of_codes(networks.codes)
    off = np.where((networks.codes == canonical_codes(networks.codes)).all(axis=1), 1.0, -1.0)
    path = tmp_path_factory.mktemp("table") / NASBENCH_MACRO_FILE
    keys = ["".join(digits) for digits in itertools.product("012", repeat=8)]
    rows = {
        key: {"mean_acc": 50 + m / 1e7 + o, "params": 1, "flops": int(m)}
        for key, m, o in zip(keys, macs, off, strict=True)
    }
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture(scope="module")
def networks(pieces, table):
    return pieces.Networks(table)


def test_each_part_is_measured_once_and_compared(script, pieces, table, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pieces, "ALONE", (2,))
    folder = tmp_path / "pieces"
    command = ["--dataset=digits", f"--table={table}", f"--folder={folder}", "--seeds=2", "--alone=3", *SIZES, *SHORT]
    command.append("--alone_epochs=1")
    script.main(command)
    *said, last = capsys.readouterr().out.splitlines()
    result = json.loads(last.removeprefix("RESULT "))
    kinds = [path.name.split("-")[0] for path in sorted(folder.iterdir())]
    assert kinds == ["alone"] * (2 * 2 + 3) + ["paper"] * 2 + ["search"] * 2
    piece = json.loads(next(folder.glob("search-seed1-*")).read_text())
    # Five trials on the way, six architectures on the final weights, and the same number by the two others.
    rounds = [line["round"] for line in piece["result"]["history"]]
    assert rounds == [0] * 3 + [1] * 2 + [SCORING] * 6
    assert (len(piece["sample"]["codes"]), len(piece["random"]["codes"])) == (12, 6)
    assert np.allclose(piece["sample"]["scores"], np.exp(-np.array(piece["sample"]["losses"])))
    assert len(set(piece["sample"]["losses"])) > 6
    paper = json.loads(next(folder.glob("paper-seed1-*")).read_text())["result"]
    assert paper["searcher"]["estimation_epochs"] == 3
    assert len(paper["history"]) == 15
    assert all(line["score"] == line["metrics"]["accuracy"] for line in paper["history"])
    # The same networks of the sample, whatever the seed.
    assert piece["sample"]["codes"] == json.loads(next(folder.glob("search-seed0-*")).read_text())["sample"]["codes"]
    # The largest network is the best of this table, and multiply-adds order it.
    assert result["agreement"]["multiply-adds"]["tau"] > 0.9
    assert result["methods"]["largest that fits"]["share"]["mean"] == pytest.approx(1.0, abs=0.1)
    assert result["methods"]["window's mean"]["gain"]["mean"] == 0
    assert result["methods"]["window's best"]["share"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    found = result["methods"]["search"]
    assert result["gain_over_window_mean"] == found["gain"]["mean"]
    assert result["share_of_possible_gain"] == found["share"]["mean"]
    lead = result["methods"]["as in the paper"]["lead_of_search"]
    assert lead["low"] <= lead["mean"] <= lead["high"]
    paper_gain = result["methods"]["as in the paper"]["gain"]["mean"]
    assert lead["mean"] == pytest.approx(found["gain"]["mean"] - paper_gain, abs=0.002)
    assert result["tau"] == result["agreement"]["search: loss"]["tau"]
    assert result["between_seeds"].keys() >= {"search: loss", "search: predictions", "paper: accuracy"}
    assert result["with_alone"]["search: loss"]["networks"] == 3
    assert sum(line.startswith(("search-", "paper-", "alone-")) for line in said) == len(kinds)
    # The same command finds everything done; what is lost is measured again, to the same figures but for time.
    next(folder.glob("alone-*-seed1-*")).unlink()
    script.main(command)
    *said, again = capsys.readouterr().out.splitlines()
    assert [line.split("-")[0] for line in said if line.endswith(" s")] == ["alone"]
    same = json.loads(again.removeprefix("RESULT "))
    assert {**same, "seconds": 0} == {**result, "seconds": 0}


def test_without_a_table_seeds_are_compared(script, tmp_path, capsys):
    command = ["--dataset=digits", f"--folder={tmp_path}", "--seeds=2", "--searcher=ddp-noprune", *SIZES, *SHORT]
    script.main([*command, "--paths=together", "--score=metric"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1].removeprefix("RESULT "))
    assert result.keys() == {"between_seeds", "seeds", "seconds", "settings"}
    assert -1 <= result["between_seeds"]["search: loss"]["tau"] <= 1
    pieces = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    assert [piece["settings"]["paths"] for piece in pieces] == ["together"] * 2
    assert all(piece["sample"]["scores"] == piece["sample"]["accuracies"] for piece in pieces)
    with pytest.raises(SystemExit):
        script.main([*command, "--parts", "paper"])


def test_networks_are_distinct_by_meaning(networks):
    assert len(networks.costs) == len(networks.accuracies) == 3969
    # Rows of the table that mean one network differ by up to 2 points; it has their mean.
    same = np.array([[0, 0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0, 0]], dtype=np.uint8)
    assert len(set(networks.index(same))) == 1
    assert networks.accuracies[networks.index(same)[0]] == pytest.approx(50 + networks.macs.of_codes(same)[0] / 1e7)
    sample = networks.sample(3969, seed=1)
    assert sorted(networks.index(sample)) == list(range(3969))
    assert (sample != canonical_codes(sample)).any()
    assert np.array_equal(sample[:9], networks.sample(9, seed=1))


def test_near_pairs(script):
    costs = np.array([100.0, 50.0, 102.0, 48.0, 101.0])
    rng = np.random.default_rng(0)
    for one, other in rng.integers(0, 4, (20, 2, 5)).astype(float):
        pairs = [
            np.sign(one[i] - one[j]) * np.sign(other[i] - other[j])
            for i, j in itertools.combinations(range(5), 2)
            if abs(costs[i] - costs[j]) <= 0.05 * max(costs[i], costs[j])
        ]
        assert len(pairs) == 4
        assert script.near_agreement(one, other, costs) == round(sum(pairs) / 4, 3)
    assert script.near_agreement(costs[:2], costs[:2], costs[:2]) is None


def test_gain_and_share(script, networks):
    windows = script.Windows(networks)
    assert windows.share(windows.gain(windows.best)) == pytest.approx(1)
    half = (windows.mean + windows.best) / 2
    assert windows.share(windows.gain(half)) == pytest.approx(0.5)
    # Accuracies of this table add up but for what rows of one meaning differ in.
    assert windows.share(windows.gain(windows.additive)) > 0.9
    # Where a method has no network within a limit, it gains nothing.
    assert windows.gain(np.where(np.arange(9) == 0, np.nan, windows.mean + 9)) == pytest.approx(8)
    smallest, largest = [0] * 8, [2] * 8
    found = windows.best_scored([largest, smallest], [0.9, 0.1])
    assert (found == networks.accuracies[networks.index(np.array([smallest], dtype=np.uint8))[0]]).all()
    assert np.isnan(windows.best_scored([largest], [0.9])).all()
    assert script.interval([1.0]) == {"mean": 1.0, "low": None, "high": None}
    assert script.interval([0.0, 2.0]) == {"mean": 1.0, "low": -11.706, "high": 13.706}


def test_evolution_stays_within_its_limit(pieces, networks):
    limit = Limit(networks.macs, max=float(networks.limits[0]))
    scores = networks.macs.of_codes(networks.codes) / networks.macs.bounds()[1]
    evaluator = TabularEvaluator(networks.space, scores)
    found = search(pieces.EvolutionWithin(networks.space, limit, num_trials=30, population_size=5), evaluator)
    costs = [networks.macs(r.trial.architecture) for r in found.history]
    assert len(costs) == 30
    assert max(costs) <= limit.max
    free = search(EvolutionSearcher(networks.space, num_trials=30, population_size=5), evaluator)
    assert max(networks.macs(r.trial.architecture) for r in free.history) > limit.max


def test_an_architecture_is_scored_once_on_final_weights(pieces, networks):
    asked = []

    def evaluator(trials):
        asked.extend(trials)
        return [TrialResult(trial, 0.5) for trial in trials]

    weights = pieces.FinalWeights(evaluator)
    architecture = networks.space.decode(networks.codes[7])
    trials = [Trial(i, architecture, SCORED, SCORING) for i in range(3)]
    assert [result.trial for result in weights(trials)] == trials
    assert asked == trials[:1]
