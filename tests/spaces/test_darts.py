import pytest

from searchhub.errors import InvalidInputError
from searchhub.space import Architecture
from searchhub.spaces.darts import OPERATIONS, cell_edges, cell_inputs, darts_space, edge_name, edge_of
from searchhub.testing.space import SpaceContract


class TestDartsSpace(SpaceContract):
    @pytest.fixture(params=[True, False], ids=["groups", "no groups"])
    def space(self, request):
        return darts_space(groups=request.param)


class TestSmallDartsSpace(SpaceContract):
    @pytest.fixture
    def space(self):
        return darts_space(num_nodes=2, operations=("none", "skip_connect", "sep_conv_3x3"))


def test_two_kinds_of_fourteen_edges_with_eight_operations():
    space = darts_space()
    assert len(space.choices) == 28
    assert all(choice.candidates == OPERATIONS for choice in space.choices)
    assert [choice.name for choice in space.choices[:6]] == [
        "normal.node2.from0",
        "normal.node2.from1",
        "normal.node3.from0",
        "normal.node3.from1",
        "normal.node3.from2",
        "normal.node4.from0",
    ]
    assert space.choices[14].name == "reduction.node2.from0"
    assert space.choices[27].name == "reduction.node5.from4"


def test_half_of_the_operations_have_parameters():
    labels = darts_space().choices[0].groups
    assert labels == ("non-parameter",) * 4 + ("parameter",) * 4


def test_names_of_edges_are_read_back():
    for kind in ("normal", "reduction"):
        for source, target in cell_edges():
            assert edge_of(edge_name(kind, source, target)) == (kind, source, target)
    with pytest.raises(InvalidInputError, match=r"normal\.node2\.from0"):
        edge_of("stage1.layer2")


def test_inputs_leave_none_out_and_keep_every_node():
    space = darts_space(num_nodes=2)
    chosen = {choice.name: "none" for choice in space.choices}
    chosen["normal.node3.from2"] = "skip_connect"
    architecture = Architecture(chosen)
    assert cell_inputs(architecture, "normal") == {2: [], 3: [("skip_connect", 2)]}
    assert cell_inputs(architecture, "reduction") == {2: [], 3: []}


@pytest.mark.parametrize(
    ("arguments", "message"), [({"num_nodes": 0}, "num_nodes"), ({"operations": ["conv"]}, "conv")]
)
def test_what_is_not_a_cell_is_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        darts_space(**arguments)
