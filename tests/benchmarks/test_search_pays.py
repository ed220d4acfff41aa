import importlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage

from searchhub import EvolutionSearcher, ImageTask, Limit, search
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
        module = importlib.import_module("search_pays")
        for part in (module, importlib.import_module("search_pays_pieces")):
            patch.setattr(part, "DECILES", (0.2, 0.5, 0.8))
        yield module


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


def noise(dataset, *, image_size, max_train_samples, max_eval_samples, seed):
    """A task of random pictures, of two classes."""
    rng = np.random.default_rng(seed)
    features = Features({"image": Image(), "label": ClassLabel(num_classes=2)})

    def split(n):
        pictures = rng.integers(0, 256, (n, image_size, image_size, 3), dtype=np.uint8)
        columns = {"image": [PILImage.fromarray(p) for p in pictures], "label": rng.integers(0, 2, n).tolist()}
        return Dataset.from_dict(columns, features=features)

    sizes = {"train": max_train_samples, "validation": max_eval_samples, "test": 1}
    names = {"image_column": "image", "label_column": "label", "label_names": ["no", "yes"]}
    return ImageTask(dataset, {k: split(n) for k, n in sizes.items()}, image_size=image_size, **names)


@pytest.fixture
def run(script, pieces, networks, table, tmp_path, monkeypatch, capsys):
    """Runs the script on noise; returns RESULT and the names of the pieces that were measured."""
    monkeypatch.setattr(pieces, "ALONE", (2,))
    monkeypatch.setattr(pieces, "load_image_task", noise)
    monkeypatch.setattr(script, "Networks", lambda given: networks if given else pieces.Networks(None))

    def runs(*more, with_table=True):
        given = [f"--table={table}"] if with_table else []
        script.main(["--dataset=noise", f"--folder={tmp_path}", *given, *SIZES, *SHORT, *more])
        *said, last = capsys.readouterr().out.splitlines()
        return json.loads(last.removeprefix("RESULT ")), [line.split(":")[0] for line in said if line.endswith(" s")]

    return runs


def test_each_part_is_measured_once_and_compared(run, tmp_path):
    result, measured = run("--alone=3", "--alone_epochs=1")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert sorted(measured) == names
    assert [name.split("-")[0] for name in names] == ["alone"] * (2 + 3) + ["paper", "search"]
    piece = json.loads((tmp_path / names[-1]).read_text())
    # Five trials on the way, and six architectures on the final weights.
    rounds = [line["round"] for line in piece["result"]["history"]]
    assert rounds == [0] * 3 + [1] * 2 + [SCORING] * 6
    assert len(piece["sample"]["codes"]) == 12
    assert np.allclose(piece["sample"]["scores"], np.exp(-np.array(piece["sample"]["losses"])))
    assert len(set(piece["sample"]["losses"])) > 6
    paper = json.loads((tmp_path / names[-2]).read_text())["result"]
    assert paper["searcher"]["estimation_epochs"] == 3
    assert len(paper["history"]) == 15
    assert all(line["score"] == line["metrics"]["accuracy"] for line in paper["history"])
    # What RESULT says at its top are figures of the tables below.
    methods = result["methods"]
    assert methods["window's mean"]["gain"]["mean"] == 0
    assert methods["window's best"]["share"]["mean"] == 1
    found = methods["search"]
    assert result["gain_over_window_mean"] == found["gain"]["mean"]
    assert result["share_of_possible_gain"] == found["share"]["mean"]
    lead = methods["as in the paper"]["lead_of_search"]["mean"]
    assert lead == pytest.approx(found["gain"]["mean"] - methods["as in the paper"]["gain"]["mean"], abs=0.002)
    assert result["tau"] == result["agreement"]["search: loss"]["tau"]
    assert result["agreement"]["multiply-adds"]["tau"] > 0.7
    assert result["with_alone"]["search: loss"]["networks"] == 3
    # The same command finds everything done; what is lost is measured again, to the same figures but for time.
    lost = next(tmp_path.glob("alone-*"))
    lost.unlink()
    again, measured = run("--alone=3", "--alone_epochs=1")
    assert measured == [lost.name]
    assert {**again, "seconds": 0} == {**result, "seconds": 0}


def test_without_a_table_seeds_are_compared(run, tmp_path):
    more = ["--seeds=2", "--searcher=ddp-noprune", "--paths=together", "--score=metric"]
    result, _ = run(*more, with_table=False)
    assert result.keys() == {"between_seeds", "seeds", "seconds", "settings"}
    assert result["between_seeds"].keys() == {f"search: {n}" for n in ("loss", "accuracy", "predictions", "E[α]")}
    pieces = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    assert [piece["settings"]["paths"] for piece in pieces] == ["together"] * 2
    assert all(piece["sample"]["scores"] == piece["sample"]["accuracies"] for piece in pieces)
    # They score the same networks.
    assert pieces[0]["sample"]["codes"] == pieces[1]["sample"]["codes"]
    assert pieces[0]["sample"]["losses"] != pieces[1]["sample"]["losses"]
    with pytest.raises(SystemExit):
        run("--parts", "paper", with_table=False)


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
    assert windows.gain(np.where([True, False, False], np.nan, windows.mean + 9)) == pytest.approx(6)
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
