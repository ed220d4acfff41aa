from searchhub.space import Choice, SearchSpace
from searchhub.visualization.palette import GRAY, architecture_colors, candidate_colors, ink_on, is_hollow, space_colors


def test_candidates_have_colors_of_their_own():
    for n in (1, 10, 11, 40):
        names = [f"op{i}" for i in range(n)]
        assert len(set(candidate_colors(names).values())) == n


def test_hollow_candidates_are_gray_but_told_apart():
    colors = candidate_colors(["none", "conv", "skip_connect"])
    assert colors["none"] == GRAY
    assert len(set(colors.values())) == 3
    assert is_hollow("Zero")
    assert not is_hollow(0)


def test_numbers_go_from_dark_to_light():
    colors = candidate_colors([4, 1, 2])
    assert ink_on(colors[1]) == "white"
    assert ink_on(colors[4]) == "black"
    assert list(colors) == [4, 1, 2]


def test_an_architecture_has_the_colors_of_its_space():
    space = SearchSpace("s", (Choice("a", ("x", "y")), Choice("b", ("y", "z", "zero"))))
    assert architecture_colors({"a": "y", "b": "zero"}, space) == space_colors(space)
    assert set(architecture_colors({"a": "y", "b": "zero"})) == {"y", "zero"}
