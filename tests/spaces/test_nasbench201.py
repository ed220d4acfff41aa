import pytest

from searchhub.spaces.nasbench201 import nasbench201_space
from searchhub.testing.space import SpaceContract


class TestNasBench201Space(SpaceContract):
    @pytest.fixture(params=[True, False], ids=["groups", "no groups"])
    def space(self, request):
        return nasbench201_space(groups=request.param)


def test_edges_stand_in_the_order_of_the_architecture_string():
    # |op~0|+|op~0|op~1|+|op~0|op~1|op~2|
    assert [choice.name for choice in nasbench201_space().choices] == [
        "node1.from0",
        "node2.from0",
        "node2.from1",
        "node3.from0",
        "node3.from1",
        "node3.from2",
    ]
    assert nasbench201_space().size == 15_625


def test_convolutions_against_the_rest():
    choice = nasbench201_space().choices[4]
    assert choice.candidates == ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    assert [label == "parameter" for label in choice.groups] == [False, False, True, True, False]
    assert nasbench201_space(groups=False).choices[4].groups == ()
