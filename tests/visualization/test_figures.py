import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import rcParams
from PIL import Image

from searchhub.costs.table import CostTable
from searchhub.effects import PredictedQuality
from searchhub.errors import InvalidInputError
from searchhub.generation import Limit, generate
from searchhub.searchers.ddp import DDPSearcher
from searchhub.searchers.random import RandomSearcher
from searchhub.space import Choice, Condition, SearchSpace
from searchhub.spaces.darts import darts_space
from searchhub.spaces.mobile import mobile_space
from searchhub.trial import TrialResult
from searchhub.visualization.diagram import plot_architecture, stages_of
from searchhub.visualization.figures import _grid, _theta_limits, plot_distribution, plot_pareto, plot_scores


def finished(searcher, seed=0):
    """A result of the searcher on an additive score."""
    space, rng = searcher.space, np.random.default_rng(seed)
    values = [rng.normal(size=len(c.candidates)) for c in space.choices]
    while trials := searcher.ask():
        for trial in trials:
            row = space.encode(trial.architecture)
            total = sum(v[c] for v, c in zip(values, row, strict=True) if c != 255)
            searcher.tell([TrialResult(trial, float(1 / (1 + np.exp(-total))))])
    entries = tuple(1e3 * np.arange(1.0, len(c.candidates) + 1) for c in space.choices)
    return searcher.result().with_costs(CostTable("macs", space, 1e4, entries, "multiply-adds"))


@pytest.fixture(scope="module")
def space():
    return mobile_space(stage_widths=(8, 16), stage_depths=(2, 2), stage_strides=(1, 2), kernel_sizes=(3, 5))


@pytest.fixture(scope="module")
def result(space):
    return finished(DDPSearcher(space, estimation_epochs=1))


def picture(path):
    image = Image.open(path)
    image.load()
    return image


def test_pictures_are_drawn_without_touching_global_state(result, tmp_path):
    before = dict(rcParams)
    architecture = generate(result, Limit("macs", max=2.2e4))
    plot_distribution(result, tmp_path / "theta.png")
    plot_pareto(result, result.costs["macs"], {"macs ≤ 22K": architecture}, tmp_path / "pareto.png")
    plot_architecture(architecture, tmp_path / "architecture.png", "macs ≤ 22K", space=result.space)
    assert dict(rcParams) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["architecture.png", "pareto.png", "theta.png"]
    for path in tmp_path.iterdir():
        image = picture(path)
        assert min(image.size) > 150
        assert len(image.convert("RGB").getcolors(1 << 20)) > 20


def test_a_binary_file_gets_png(result):
    file = io.BytesIO()
    plot_architecture(result.best_trial.trial.architecture, file)
    assert picture(file).format == "PNG"


def test_the_suffix_decides_the_format(result, tmp_path):
    plot_architecture(result.best_trial.trial.architecture, tmp_path / "a.svg", "Title <&>")
    text = (tmp_path / "a.svg").read_text()
    assert "stage1" in text
    assert "Title &lt;&amp;&gt;" in text
    with pytest.raises(InvalidInputError, match=r"\.png, \.svg or \.pdf"):
        plot_architecture(result.best_trial.trial.architecture, tmp_path / "a.xyz")


def test_theta_in_svg_names_every_choice_and_candidate(result, space, tmp_path):
    plot_distribution(result, tmp_path / "theta.svg")
    text = (tmp_path / "theta.svg").read_text()
    for choice in space.choices:
        assert choice.name in text
        assert all(str(candidate) in text for candidate in choice.candidates)
    assert text.count("mbconv_e3_k3") == 1  # one legend for all panels
    assert "pruned" in text


def test_without_pruning_no_line_is_called_pruned(space, tmp_path):
    result = finished(DDPSearcher(space, estimation_epochs=1, prune=False))
    plot_distribution(result, tmp_path / "theta.svg")
    assert "pruned" not in (tmp_path / "theta.svg").read_text()


def test_a_search_without_theta_has_a_front_but_no_theta(space, tmp_path):
    result = finished(RandomSearcher(space, num_trials=8))
    best = result.best_trial.trial.architecture
    plot_pareto(result, result.costs["macs"], {"best": best}, tmp_path / "front.svg")
    assert "best evaluated" in (tmp_path / "front.svg").read_text()
    with pytest.raises(InvalidInputError, match="Random search has none"):
        plot_distribution(result, tmp_path / "theta.png")
    other = next(
        a
        for a in map(space.decode, np.ndindex(*(len(c.candidates) for c in space.choices)))
        if a not in {r.trial.architecture for r in result.history}
    )
    with pytest.raises(InvalidInputError, match="only architectures that the search evaluated"):
        plot_pareto(result, result.costs["macs"], {"never seen": other}, tmp_path / "front.png")


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_predicted_quality_is_drawn_as_the_loss_or_score_that_it_amounts_to(result, tmp_path, scale):
    codes = np.array([result.space.encode(r.trial.architecture) for r in result.history])
    scores = scale * np.array([r.score for r in result.history])
    predicting = replace(result, prediction=PredictedQuality.of_scores(result.space, codes, scores))
    plot_pareto(predicting, result.costs["macs"], {"any": generate(predicting)}, tmp_path / "front.svg")
    text = (tmp_path / "front.svg").read_text()
    assert ("predicted loss: −log(score)" if scale == 1.0 else "predicted score") in text
    assert "best in reach (exact front)" in text
    plot_pareto(replace(predicting, distribution=None), result.costs["macs"], {}, tmp_path / "other.svg")
    assert "best in reach (exact front)" in (tmp_path / "other.svg").read_text()


def test_conditional_choices_can_be_drawn(tmp_path):
    space = SearchSpace(
        "depth",
        (Choice("depth", (1, 2)), Choice("w1", (1, 2, 4)), Choice("w2", (1, 2, 4), (), Condition("depth", (2,)))),
    )
    result = finished(DDPSearcher(space, estimation_epochs=1))
    plot_distribution(result, tmp_path / "theta.png")
    plot_pareto(result, result.costs["macs"], {"any": generate(result)}, tmp_path / "front.png", trials=False)
    plot_architecture(space.decode([0, 2, 0]), tmp_path / "architecture.png")
    assert len(list(tmp_path.iterdir())) == 3


def test_no_architecture_no_diagram(tmp_path):
    with pytest.raises(InvalidInputError, match="at least one active choice"):
        plot_architecture({}, tmp_path / "a.png")


def names(*names):
    return SearchSpace("s", tuple(Choice(name, ("a", "b")) for name in names))


def test_grid_has_a_row_a_stage_where_that_fits():
    full = mobile_space()
    assert [len([i for i in row if i is not None]) for row in _grid(full)] == [4, 4, 4, 4, 4, 1]
    assert _grid(names("a", "b", "c")) == [[0, 1, 2]]
    flat = _grid(names(*(f"l{i}" for i in range(21))))
    assert [len(row) for row in flat] == [5] * 5
    assert flat[-1] == [20, None, None, None, None]


def test_grid_of_long_stages_begins_each_in_a_row_of_its_own():
    """DARTS: two kinds of cell with 14 edges."""
    grid = _grid(darts_space())
    assert grid == [[*range(start, start + 7)] for start in (0, 7, 14, 21)]
    uneven = _grid(names(*(f"a.{i}" for i in range(9)), "b.0"))
    assert uneven == [[0, 1, 2, 3, 4], [5, 6, 7, 8, None], [9, None, None, None, None]]


def test_grid_of_many_short_stages_keeps_each_in_a_row():
    grid = _grid(names(*(f"layer{i}.{w}" for i in range(12) for w in ("heads", "ffn"))))
    assert [len(row) for row in grid] == [4] * 6
    assert grid[1] == [4, 5, 6, 7]


def test_stages_are_what_stands_before_the_first_dot():
    assert stages_of(["a.x", "b.y", "a.z"]) == {"a": ["a.x", "a.z"], "b": ["b.y"]}
    assert stages_of(["depth", "a.x", "a.y"]) == {"": ["depth"], "a": ["a.x", "a.y"]}
    assert stages_of([]) == {}


def test_panels_have_the_same_height_and_show_every_theta(result):
    limits = _theta_limits(result.trajectory)
    heights = [high - low for low, high in limits]
    assert heights == pytest.approx([heights[0]] * len(heights))
    for distribution in result.trajectory:
        for theta, (low, high) in zip(distribution.theta, limits, strict=True):
            assert low < theta.min()
            assert theta.max() < high


def test_scores_of_few_and_of_many_trials(tmp_path):
    plot_scores([0.5], tmp_path / "one.png")
    plot_scores([0.1, 0.7, 0.3] * 1000, tmp_path / "many.svg", name="score (accuracy)")
    assert picture(tmp_path / "one.png").size == (1080, 450)
    assert (tmp_path / "many.svg").stat().st_size < 300_000  # the dots are one picture
    with pytest.raises(InvalidInputError, match="at least one finished trial"):
        plot_scores([], tmp_path / "none.png")


def test_dollars_in_names_are_no_formula(tmp_path):
    plot_architecture({"a": "$\\frac$", "b": "$1"}, tmp_path / "dollars.png")
    assert (tmp_path / "dollars.png").exists()
