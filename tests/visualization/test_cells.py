import xml.etree.ElementTree as ElementTree

import pytest

from searchhub.space import Architecture
from searchhub.spaces.darts import darts_space
from searchhub.spaces.genotype import Genotype
from searchhub.spaces.nasbench201 import nasbench201_space
from searchhub.visualization.cells import are_cells, cell_graphs, plot_cells
from searchhub.visualization.diagram import plot_architecture

GENOTYPE = Genotype.parse(
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_5x5', 1), ('dil_conv_3x3', 1), ('dil_conv_5x5', 2)], "
    "normal_concat=range(2, 4), reduce=[('max_pool_3x3', 0), ('avg_pool_3x3', 1), ('skip_connect', 1), "
    "('skip_connect', 2)], reduce_concat=range(2, 4))"
)
NASBENCH201 = Architecture(
    dict(
        zip(
            (choice.name for choice in nasbench201_space().choices),
            ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "none", "avg_pool_3x3"),
            strict=True,
        )
    )
)


def texts(path):
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_edges_become_a_graph_of_each_kind():
    normal, reduction = cell_graphs(GENOTYPE.architecture())
    assert (normal.kind, normal.inputs, normal.nodes) == ("normal", (0, 1), (2, 3))
    assert normal.edges == (
        (0, 2, "sep_conv_3x3"),
        (1, 2, "sep_conv_5x5"),
        (1, 3, "dil_conv_3x3"),
        (2, 3, "dil_conv_5x5"),
    )
    assert reduction.edges[-1] == (2, 3, "skip_connect")
    (cell,) = cell_graphs(NASBENCH201)
    assert (cell.kind, cell.inputs, cell.nodes) == ("", (0,), (1, 2, 3))
    assert [edge[:2] for edge in cell.edges] == [(0, 2), (1, 2), (0, 3), (2, 3)]


def test_only_edges_are_cells():
    assert are_cells(choice.name for choice in darts_space().choices)
    assert are_cells(NASBENCH201)
    assert not are_cells(["stage1.layer1", "normal.node2.from0"])


@pytest.mark.parametrize("space", [None, darts_space(num_nodes=2)])
def test_picture_names_nodes_and_operations(tmp_path, space):
    path = tmp_path / "cells.svg"
    plot_cells(GENOTYPE.architecture(), path, "Found", space=space)
    found = texts(path)
    assert found[0] == "Found"
    for operation, times in (("sep_conv_3x3", 1), ("skip_connect", 2), ("none", 0), ("dil_conv_5x5", 1)):
        assert found.count(operation) == times
    for name in ("normal cell", "reduction cell", "cell k−2", "cell k−1", "node 2", "node 3", "output"):
        assert name in found
    assert "node 4" not in found


def test_diagram_of_an_architecture_is_a_graph_where_it_is_cells(tmp_path):
    plot_architecture(NASBENCH201, tmp_path / "a.svg")
    found = texts(tmp_path / "a.svg")
    assert found.count("node 1") == 1
    assert "input" in found
    assert "none" not in found
    plot_architecture(Architecture({"stage1.layer1": "none"}), tmp_path / "b.svg")
    assert "none" in texts(tmp_path / "b.svg")


def test_a_cell_that_is_empty_is_drawn(tmp_path):
    """As a search may sample one."""
    empty = Architecture(dict.fromkeys((choice.name for choice in darts_space().choices), "none"))
    plot_cells(empty, tmp_path / "empty.svg")
    assert "node 5" in texts(tmp_path / "empty.svg")
