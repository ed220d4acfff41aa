import pytest

from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.generation import Limit, largest_within
from searchhub.generation.largest import GRAIN


@pytest.mark.parametrize("conditional", [False, True])
def test_nothing_uses_more_of_the_limit(make_search, conditional):
    infeasible = 0
    for seed in range(20):
        search = make_search(seed, costs=("integer", "real"), conditional=conditional)
        limits = [search.limit(table) for table in search.tables]
        limits = [Limit(limit.cost, max=limit.high) for limit in limits if limit.high < float("inf")]
        if not limits:
            continue
        within = search.within(limits)
        try:
            found = largest_within(search.result, *limits)
        except InfeasibleLimitError:
            assert not within
            infeasible += 1
            continue
        first = limits[0]
        assert all(limit.cost(found) <= limit.high for limit in limits)
        most = max(first.cost.of_row(row) for row in within)
        assert most - first.cost(found) <= len(search.space.choices) * GRAIN * first.high
    assert infeasible < 10


def test_a_limit_has_an_upper_end(make_search):
    search = make_search(0, costs=("integer",))
    with pytest.raises(InvalidInputError, match=r"must have an upper end .* but got none\. Give a `max`"):
        largest_within(search.result)
    with pytest.raises(InvalidInputError, match=r"but got `cost 0 >= 1`"):
        largest_within(search.result, Limit("cost 0", min=1))
