import pytest

from searchhub.errors import InvalidInputError
from searchhub.spaces.channels import channels_space
from searchhub.testing import SpaceContract


class TestChannelsSpace(SpaceContract):
    @pytest.fixture(params=[{}, {"num_layers": 3, "ratios": (0.5, 1)}], ids=["full", "small"])
    def space(self, request):
        return channels_space(**request.param)


def test_full_size_space_is_dc_nas():
    space = channels_space()
    assert space.size == 5**6 == 15_625
    assert [c.name for c in space.choices] == [f"layer{i}" for i in range(1, 7)]
    assert space.choices[0].candidates == (0.25, 0.5, 1, 2, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_layers": 0}, "num_layers >= 1"),
        ({"ratios": ()}, "greater than 0 and increasing"),
        ({"ratios": (0, 1)}, "greater than 0 and increasing"),
        ({"ratios": (1, 0.5)}, "greater than 0 and increasing"),
        ({"ratios": (1, 1)}, "greater than 0 and increasing"),
    ],
)
def test_impossible_spaces_are_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        channels_space(**arguments)
