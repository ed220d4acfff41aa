import numpy as np
import pytest

from searchhub.costs.structure import HeightCost, cells_of, non_parameter_table, structural_costs
from searchhub.errors import InvalidInputError
from searchhub.space import INACTIVE, Choice, SearchSpace
from searchhub.spaces.bert import bert_space
from searchhub.spaces.darts import OPERATIONS, darts_space, edge_name
from searchhub.spaces.mobile import mobile_space
from searchhub.spaces.nasbench201 import nasbench201_space


def cell_row(space, *edges):
    """The codes of an architecture that is `none` on all edges but those named, (kind, source, target, operation)."""
    chosen = dict.fromkeys((choice.name for choice in space.choices), "none")
    for kind, source, target, operation in edges:
        chosen[edge_name(kind, source, target)] = operation
    return space.encode(chosen)


def test_cells_of_a_space():
    cells = cells_of(darts_space())
    assert cells.kinds == ("normal", "reduction")
    assert [(node.kind, node.number) for node in cells.nodes[:5]] == [
        *(("normal", number) for number in (2, 3, 4, 5)),
        ("reduction", 2),
    ]
    assert cells.nodes[1].sources == (0, 1, 2)
    assert [cells.space.choices[i].name for i in cells.nodes[1].choices] == [
        "normal.node3.from0",
        "normal.node3.from1",
        "normal.node3.from2",
    ]
    assert all(OPERATIONS[code] == "none" for code in cells.none)
    for other in (mobile_space(), nasbench201_space(), bert_space()):
        assert cells_of(other) is None


def test_cells_survive_a_file():
    space = SearchSpace.from_dict(darts_space().to_dict())
    assert cells_of(space) == cells_of(darts_space())


def test_cells_that_are_not_whole_are_refused():
    without_none = SearchSpace("s", (Choice("normal.node2.from0", ("skip_connect",)),))
    with pytest.raises(InvalidInputError, match="must have `none` to leave it out"):
        cells_of(without_none)
    one_edge = SearchSpace("s", (Choice("normal.node2.from1", ("none", "skip_connect")),))
    with pytest.raises(InvalidInputError, match="Node 2 of the normal cell must have an edge from each node before it"):
        cells_of(one_edge)


def test_height_counts_nodes_on_the_longest_path():
    space = darts_space()
    height = HeightCost(cells_of(space))
    flat = [("normal", source, target, "skip_connect") for target in (2, 3, 4, 5) for source in (0, 1)]
    assert height.of_row(cell_row(space, *flat)) == 1
    chain = [("reduction", source, source + 1, "sep_conv_3x3") for source in (1, 2, 3, 4)]
    deep = cell_row(space, *flat, *chain)
    assert height.of_row(deep) == 4
    assert height(space.decode(deep)) == 4
    assert HeightCost(cells_of(space), "normal").of_row(deep) == 1
    assert HeightCost(cells_of(space), "reduction").of_row(deep) == 4
    # Two ways to node 5, of one and of two nodes before it.
    two_ways = [("normal", 0, 2, "skip_connect"), ("normal", 2, 4, "skip_connect"), ("normal", 4, 5, "skip_connect")]
    assert height.of_row(cell_row(space, *two_ways, ("normal", 1, 5, "sep_conv_3x3"))) == 3
    # No path from the inputs leads there.
    cut_off = [("normal", 2, 3, "skip_connect"), ("normal", 3, 4, "skip_connect"), ("normal", 4, 5, "skip_connect")]
    assert height.of_row(cell_row(space, *cut_off)) == 0
    assert height.of_codes(np.stack([deep, cell_row(space, *two_ways)])).tolist() == [4, 3]
    assert height.bounds() == (1, 4)


def test_non_parameter_operations_are_counted():
    space = darts_space()
    row = cell_row(
        space,
        ("normal", 0, 2, "skip_connect"),
        ("normal", 1, 2, "max_pool_3x3"),
        ("normal", 0, 3, "sep_conv_3x3"),
        ("reduction", 0, 2, "avg_pool_3x3"),
        ("reduction", 1, 2, "dil_conv_5x5"),
    )
    assert non_parameter_table(space).of_row(row) == 3
    assert non_parameter_table(space, "normal").of_row(row) == 2
    assert non_parameter_table(space, "reduction").of_row(row) == 1
    assert non_parameter_table(darts_space(groups=False)).of_row(row) == 3
    with pytest.raises(InvalidInputError, match="a kind of cell"):
        non_parameter_table(space, "pooling")


def test_non_parameter_operations_of_other_spaces():
    space = nasbench201_space()
    row = space.encode(
        dict(zip((c.name for c in space.choices), ("none", "skip_connect", "avg_pool_3x3") * 2, strict=True))
    )
    assert non_parameter_table(space).of_row(row) == 4
    with pytest.raises(InvalidInputError, match="must have groups"):
        non_parameter_table(nasbench201_space(groups=False))


def test_limits_may_name_what_the_structure_costs():
    costs = structural_costs(cells_of(darts_space()))
    assert set(costs) == {
        "non_parameter",
        "height",
        "normal.non_parameter",
        "normal.height",
        "reduction.non_parameter",
        "reduction.height",
    }
    assert all(name == cost.name for name, cost in costs.items())


def test_edges_that_are_left_out_are_masked():
    space = darts_space()
    row = cell_row(space, ("normal", 0, 2, "skip_connect"))
    kept = cells_of(space).left_out(row[None, :])[0]
    assert kept[0] == row[0]
    assert (kept[1:] == INACTIVE).all()
